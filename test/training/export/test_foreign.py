"""Networks of other programs become model files, in whatever way their exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from fakes import tiny_model
from foreign_networks import CLASSES, HEIGHT, WIDTH, Node, foreign_network
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seg_perception import model_file
from seg_perception.backends.graph.stored import narrowed
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.backends.tensorrt import engine as engines
from seg_perception.cli import main
from seg_perception.labels import CITYSCAPES
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, Wants
from seg_perception.training.export import quantize

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NEWEST = min(21, onnx.defs.onnx_opset_version() - 1)
"""Version of ONNX's operators; the ONNX Runtime of an onnx's own time may not know its newest."""
NORMALISED = ("--mean", *MEAN, "--std", *STD)

ENLARGE: Node = ("Resize", ["none", "eight"], {"mode": "linear", "coordinate_transformation_mode": "half_pixel"})
BEST: Node = ("ArgMax", [], {"axis": 1, "keepdims": 1})
TO_PLANES: Node = ("Transpose", [], {"perm": [0, 3, 1, 2]})
TO_PIXELS: Node = ("Transpose", [], {"perm": [0, 2, 3, 1]})

ACROSS: Node = ("Transpose", [], {"perm": [0, 3, 2, 1]})


def _cast(kind: int) -> Node:
    return "Cast", [], {"to": kind}


STYLES: dict[str, dict[str, Any]] = {
    "logits": {},
    "enlarged": {"after": (ENLARGE,), "opset": 12},
    "the best class": {"after": (ENLARGE, BEST), "result": TensorProto.INT64, "opset": 13},
    "the best class in bytes": {
        "after": (ENLARGE, BEST, _cast(TensorProto.UINT8)),
        "result": TensorProto.UINT8,
        "opset": 17,
    },
    "probabilities": {"after": (("Softmax", [], {"axis": 1}),), "opset": 14},
    "probabilities of torch's before opset 13": {
        "after": (ENLARGE, ACROSS, ("Softmax", [], {"axis": 3}), ACROSS, BEST),
        "result": TensorProto.INT64,
        "opset": 11,
    },
    "pixels first": {
        "before": (TO_PLANES,),
        "after": (TO_PIXELS, ("Neg", [], {}), ("Neg", [], {})),
        "shape": (1, HEIGHT, WIDTH, 3),
        "opset": 16,
    },
    "pixels first behind what is enlarged": {
        "before": (TO_PLANES,),
        "after": (ENLARGE, TO_PIXELS, ("Softmax", [], {"axis": 3})),
        "shape": (1, HEIGHT, WIDTH, 3),
        "opset": 13,
    },
    "any batch": {"shape": ("N", 3, HEIGHT, WIDTH), "opset": NEWEST},
    "float16": {
        "kind": TensorProto.FLOAT16,
        "inside": TensorProto.FLOAT16,
        "result": TensorProto.FLOAT16,
        "opset": 18,
    },
    "names that are ours": {"image": "image", "out": "semantic_logits", "opset": 18},
}


def _style(path: Path, name: str) -> Path:
    style = dict(STYLES[name])
    return foreign_network(path, *style.pop("after", ()), **style)


def _adopt(path: Path, out: Path, *words: object, labels: object = "cityscapes") -> int:
    return main(["export", "--onnx", str(path), "--labels", str(labels), "--out", str(out), *map(str, words)])


def _image(seed: int = 3, hw: tuple[int, int] = (HEIGHT, WIDTH)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (1, *hw, 3), np.uint8)


def _logits(images: NDArray[np.uint8], mean: Any = MEAN, std: Any = STD, white: float = 1.0) -> NDArray[np.float64]:
    """What the network of foreign_network says, by its definition."""
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(CLASSES, 3, 8, 8)) / 8, rng.normal(size=CLASSES)
    pixels = (images * (white / 255) - np.array(mean)) / np.array(std)
    count, height, width, _ = pixels.shape
    cells = pixels.reshape(count, height // 8, 8, width // 8, 8, 3)
    return np.einsum("nyaxbc,kcab->nkyx", cells, weight) + bias[None, :, None, None]


@pytest.mark.parametrize("style", STYLES)
def test_the_file_says_of_an_image_what_the_network_does(style: str, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert _adopt(_style(tmp_path / "theirs.onnx", style), out, *NORMALISED) == 0
    info = model_file.load(out)
    assert info.grid_hw == (HEIGHT // 8, WIDTH // 8) and info.labels == CITYSCAPES and info.limits is None
    assert info.precision == ("fp16" if style == "float16" else "fp32")
    assert info.batch == (None if style == "any batch" else 1)
    assert info.parameters == CLASSES * (3 * 64 + 1) + 4 and info.macs == CLASSES * 3 * HEIGHT * WIDTH
    found = OnnxRuntimeBackend(info).infer(_image())
    wanted = _logits(_image())
    assert np.abs(found.semantic_logits - wanted).max() < (0.05 if style == "float16" else 0.01) * np.abs(wanted).max()
    assert not found.center_heatmap.any() and not found.center_offset.any()


@pytest.mark.skipif("rtx" not in engines.installed(), reason="TensorRT for RTX is not installed")
@pytest.mark.parametrize("style", ["the best class", "pixels first", "any batch", "float16"])
def test_an_engine_is_built_of_it(style: str, tmp_path: Path) -> None:
    out, engine = tmp_path / "out.onnx", tmp_path / "out.engine"
    assert _adopt(_style(tmp_path / "theirs.onnx", style), out, *NORMALISED) == 0
    words = ["build-engine", "--model", out, "--compute-capability", "8.6", "--out", engine]
    assert main([*map(str, words)]) == 0 and engine.stat().st_size > 1000


def test_the_masks_are_the_networks_and_nothing_is_told_apart(tmp_path: Path) -> None:
    """By OpenCV's bilinear enlargement, at the size of the network's input."""
    out = tmp_path / "out.onnx"
    assert _adopt(_style(tmp_path / "theirs.onnx", "the best class"), out, *NORMALISED) == 0
    info = model_file.load(out)
    panoptic = Pipeline(info, OnnxRuntimeBackend(info)).run(Frame(_image()[0]), Wants()).panoptic
    large = cv2.resize(_logits(_image())[0].transpose(1, 2, 0), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    assert np.mean(panoptic.semantic != large.argmax(2)) < 0.01
    assert not panoptic.instance.any()


@pytest.mark.parametrize(
    ("words", "mean", "std", "white", "bgr"),
    [
        (("--mean", 0, 0, 0, "--std", 1, 1, 1), (0, 0, 0), (1, 1, 1), 1.0, False),
        (
            ("--mean", 123.675, 116.28, 103.53, "--std", 58.395, 57.12, 57.375, "--pixel-max", 255),
            (123.675, 116.28, 103.53),
            (58.395, 57.12, 57.375),
            255.0,
            False,
        ),
        (
            ("--bgr", "--mean", 104, 117, 123, "--std", 1, 1, 1, "--pixel-max", 255),
            (104, 117, 123),
            (1, 1, 1),
            255.0,
            True,
        ),
    ],
    ids=["none", "of 255", "blue first"],
)
def test_pixels_are_normalised_as_training_did(
    words: tuple[object, ...], mean: Any, std: Any, white: float, bgr: bool, tmp_path: Path
) -> None:
    out = tmp_path / "out.onnx"
    assert _adopt(foreign_network(tmp_path / "theirs.onnx"), out, *words) == 0
    images = _image()
    wanted = _logits(images[..., ::-1] if bgr else images, mean, std, white)
    found = OnnxRuntimeBackend(model_file.load(out)).infer(images).semantic_logits
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


def test_a_network_that_takes_bytes_normalises_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its first step moves the axes of bytes, which TensorRT refuses."""
    theirs = foreign_network(
        tmp_path / "theirs.onnx",
        before=(TO_PLANES, _cast(TensorProto.FLOAT)),
        kind=TensorProto.UINT8,
        shape=(1, HEIGHT, WIDTH, 3),
    )
    assert _adopt(theirs, tmp_path / "out.onnx", *NORMALISED) == 2
    assert "leave out --mean" in capsys.readouterr().err
    assert _adopt(theirs, tmp_path / "out.onnx") == 0
    info, model = model_file.read(tmp_path / "out.onnx")
    assert model.graph.node[0].op_type == "Cast"
    found = OnnxRuntimeBackend(info).infer(_image()).semantic_logits
    wanted = _logits(_image(), (0, 0, 0), (1, 1, 1), 255)
    assert np.abs(found - wanted).max() < 0.01 * np.abs(wanted).max()


def test_an_open_size_stays_open_and_its_default_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = foreign_network(
        tmp_path / "theirs.onnx", ENLARGE, BEST, result=TensorProto.INT64, shape=("N", 3, "h", "w")
    )
    out = tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED) == 2 and "--height and --width" in capsys.readouterr().err
    size = ("--height", HEIGHT, "--width", WIDTH, "--sizes", "64x64", "128x128")
    assert _adopt(theirs, out, *NORMALISED, *size) == 0
    info = model_file.load(out)
    assert info.size_hw == (HEIGHT, WIDTH) and info.takes((128, 64)) and info.batch is None
    images = _image(5, (128, 64))
    found = OnnxRuntimeBackend(info).infer(images).semantic_logits
    assert np.abs(found - _logits(images)).max() < 0.01 * np.abs(found).max()


def test_an_open_number_of_channels_is_three(tmp_path: Path) -> None:
    theirs = foreign_network(tmp_path / "theirs.onnx", shape=("batch", "channels", "height", "width"))
    out = tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED, "--height", HEIGHT, "--width", WIDTH, "--sizes", "64x64", "128x128") == 0
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).semantic_logits
    assert np.abs(found - _logits(_image())).max() < 0.01 * np.abs(found).max()


def test_a_batch_that_only_the_description_leaves_open_is_one(tmp_path: Path) -> None:
    reshape: Node = ("Reshape", ["shape"], {})
    theirs = foreign_network(tmp_path / "theirs.onnx", reshape, shape=("N", 3, HEIGHT, WIDTH))
    model = onnx.load(str(theirs))
    shape = np.array([1, CLASSES, HEIGHT // 8, WIDTH // 8])
    model.graph.initializer.append(numpy_helper.from_array(shape, "shape"))
    onnx.save(model, str(theirs))
    assert _adopt(theirs, tmp_path / "out.onnx", *NORMALISED) == 0
    assert model_file.load(tmp_path / "out.onnx").batch == 1


def test_weights_beside_the_file_are_taken_in_and_their_absence_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(str(foreign_network(tmp_path / "theirs.onnx")))
    theirs = tmp_path / "external.onnx"
    onnx.save(model, str(theirs), save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert main(["benchmark", "--model", str(theirs)]) == 2 and "export --onnx" in capsys.readouterr().err
    out = tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED) == 0
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).semantic_logits
    assert np.abs(found - _logits(_image())).max() < 0.01 * np.abs(found).max()
    (tmp_path / "weights.bin").unlink()
    capsys.readouterr()
    assert _adopt(theirs, out, *NORMALISED) == 2 and "files that hold its weights" in capsys.readouterr().err


def test_a_number_of_the_format_newer_than_its_operators_need_is_lowered(tmp_path: Path) -> None:
    theirs = foreign_network(tmp_path / "theirs.onnx")
    model = onnx.load(str(theirs))
    model.ir_version = 99
    onnx.save(model, str(theirs))
    with pytest.raises(Exception, match="IR version"):
        ort.InferenceSession(str(theirs))
    assert _adopt(theirs, tmp_path / "out.onnx", *NORMALISED) == 0


def test_the_long_name_of_its_operators_is_known(tmp_path: Path) -> None:
    def spell(model: onnx.ModelProto) -> None:
        model.opset_import[0].domain = "ai.onnx"

    assert _adopt(_changed(spell)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx", *NORMALISED) == 0


def test_of_two_outputs_that_could_be_the_logits_one_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = foreign_network(tmp_path / "theirs.onnx", ("Neg", [], {}), more_outputs=("logits",))
    out = tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED) == 2
    assert "2 outputs of 19 channels (logits, output): say by --logits" in capsys.readouterr().err
    assert _adopt(theirs, out, *NORMALISED, "--logits", "output") == 0
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).semantic_logits
    assert np.abs(found + _logits(_image())).max() < 0.01 * np.abs(found).max()
    assert _adopt(theirs, out, *NORMALISED, "--logits", "outputs") == 2
    assert "did you mean 'output'?" in capsys.readouterr().err


def test_what_enlarges_otherwise_than_the_decode_is_kept(tmp_path: Path) -> None:
    corners: Node = ("Resize", ["none", "eight"], {"mode": "linear", "coordinate_transformation_mode": "align_corners"})
    assert (
        _adopt(foreign_network(tmp_path / "theirs.onnx", corners, BEST, result=7), tmp_path / "out.onnx", *NORMALISED)
        == 0
    )
    assert model_file.load(tmp_path / "out.onnx").grid_hw == (HEIGHT, WIDTH)


def test_what_enlarged_from_the_corner_before_opset_11_is_kept(tmp_path: Path) -> None:
    """Its Resize could not say how it places pixels."""
    corner: Node = ("Resize", ["eight"], {"mode": "linear"})
    theirs, out = tmp_path / "theirs.onnx", tmp_path / "out.onnx"
    foreign_network(theirs, corner, BEST, result=TensorProto.INT64, opset=10)
    assert _adopt(theirs, out, *NORMALISED) == 0
    info = model_file.load(out)
    assert info.grid_hw == (HEIGHT, WIDTH)
    panoptic = Pipeline(info, OnnxRuntimeBackend(info)).run(Frame(_image()[0]), Wants()).panoptic
    pixels = (_image() / 255 - np.array(MEAN)) / np.array(STD)
    session = ort.InferenceSession(str(theirs))
    (wanted,) = session.run(None, {"input": pixels.transpose(0, 3, 1, 2).astype(np.float32)})
    assert np.mean(panoptic.semantic != wanted[0, 0]) < 0.01


@pytest.mark.parametrize("opset", [9, 10, 11, 13])
def test_scales_stay_float32_where_any_opset_has_them(opset: int, tmp_path: Path) -> None:
    """They are the second input of a Resize before opset 11, and then the third."""
    scales = ["eight"] if opset < 11 else ["none", "eight"]
    after: tuple[Node, ...] = (("Resize" if opset > 9 else "Upsample", scales, {"mode": "linear"}), ("Neg", [], {}))
    theirs, out = foreign_network(tmp_path / "theirs.onnx", *after, opset=opset), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED, "--precision", "fp16") == 0
    (wanted,) = ort.InferenceSession(str(theirs)).run(
        None, {"input": ((_image() / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)}
    )
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).semantic_logits
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize(("sizes", "kept"), [((16, 64), 4), ((64, 64), 8), ((16,), 4)], ids=str)
def test_of_what_is_enlarged_twice_the_last_step_alone_is_taken_off(
    sizes: tuple[int, ...], kept: int, tmp_path: Path
) -> None:
    """sizes: heights that it is enlarged to, from 8; a step to the size that it has already is none. kept: px a cell."""

    def enlarge(model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.node[-1].output[0] = last = "logits"
        for place, rows in enumerate(sizes):
            lengths = np.array([1, CLASSES, rows, rows * WIDTH // HEIGHT])
            graph.initializer.append(numpy_helper.from_array(lengths, f"size.{place}"))
            inputs = [last, "none", "none", f"size.{place}"]
            last = "output" if place == len(sizes) - 1 else f"large.{place}"
            graph.node.append(helper.make_node("Resize", inputs, [last], mode="linear"))

    theirs, out = _changed(enlarge)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED) == 0
    assert model_file.load(out).stride == kept


def test_an_open_size_is_tried_at_an_odd_multiple_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network whose deepest layer sees every 64 px runs at half of the sizes that a model file takes."""

    def deep(model: onnx.ModelProto) -> None:
        graph = model.graph
        graph.node[-1].output[0] = "logits"
        floor = {"kernel_shape": [8, 8], "strides": [8, 8]}
        graph.node.append(helper.make_node("MaxPool", ["logits"], ["deep"], **floor))
        graph.node.append(helper.make_node("Resize", ["deep", "none", "eight"], ["back"], mode="nearest"))
        graph.node.append(helper.make_node("Add", ["logits", "back"], ["output"]))

    theirs, out = _changed(deep, shape=("N", 3, "h", "w"))(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    size = ("--height", 64, "--width", 128)
    assert _adopt(theirs, out, *NORMALISED, *size) == 2
    assert "does not run at 160x96" in capsys.readouterr().err and not out.exists()
    assert _adopt(theirs, out, *NORMALISED, *size, "--fixed-size") == 0


@pytest.mark.parametrize("pixels_first", [False, True])
def test_channels_of_as_many_as_rows_and_columns_are_told_apart_from_them(pixels_first: bool, tmp_path: Path) -> None:
    classes, side = 16, 128
    shape = (1, side, side, 3) if pixels_first else (1, 3, side, side)
    before = (TO_PLANES,) if pixels_first else ()
    after: tuple[Node, ...] = (TO_PIXELS, ("Softmax", [], {"axis": 3})) if pixels_first else ()
    fewer: Node = ("Gather", ["fewer"], {"axis": 1})
    theirs, out, labels = (tmp_path / name for name in ("theirs.onnx", "out.onnx", "labels.yaml"))
    model = onnx.load(str(foreign_network(theirs, fewer, *after, before=before, shape=shape)))
    model.graph.initializer.append(numpy_helper.from_array(np.arange(classes), "fewer"))
    onnx.save(model, str(theirs))
    labels.write_text("".join(f"- {{name: class {k}, color: [{k}, 0, 0]}}\n" for k in range(classes)))
    assert _adopt(theirs, out, *NORMALISED, labels=labels) == 0
    images = _image(3, (side, side))
    found = OnnxRuntimeBackend(model_file.load(out)).infer(images).semantic_logits
    assert np.abs(found - _logits(images)[:, :classes]).max() < 0.01 * np.abs(found).max()


def test_probabilities_that_stay_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As of logits, the decode would make a confidence of them that is almost the same for all classes."""
    softmax: Node = ("Softmax", [], {"axis": 1})
    for after, told in (((softmax, ("Neg", [], {}), ("Neg", [], {})), True), ((softmax,), False), ((), False)):
        theirs = foreign_network(tmp_path / "theirs.onnx", *after, opset=13)
        assert _adopt(theirs, tmp_path / "out.onnx", *NORMALISED) == 0
        assert ("'output' holds probabilities" in capsys.readouterr().out) is told


def test_one_class_is_refused_for_every_pixel_would_be_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "road.yaml"
    labels.write_text("- {name: road, color: [128, 64, 128], drivable_cost: 0}\n")
    theirs = foreign_network(tmp_path / "theirs.onnx")
    assert _adopt(theirs, tmp_path / "out.onnx", *NORMALISED, labels=labels) == 2
    assert "holds one class" in capsys.readouterr().err


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_are_made_of_it_at_once_and_later(precision: str, tmp_path: Path) -> None:
    for k in range(4):
        cv2.imwrite(str(tmp_path / f"{k}.png"), _image(k)[0])
    theirs, once, later = (tmp_path / f"{name}.onnx" for name in ("theirs", "once", "later"))
    _style(theirs, "probabilities")
    words = ("--precision", precision, "--images", tmp_path)
    assert _adopt(theirs, once, *NORMALISED, *words) in (0, 3)
    assert _adopt(theirs, later, *NORMALISED) == 0
    assert main(["export", "--model", str(later), "--out", str(later), *map(str, words)]) in (0, 3)
    for path in (once, later):
        info = model_file.load(path)
        found = OnnxRuntimeBackend(info).infer(_image()).semantic_logits
        assert info.precision == precision and info.network == "theirs of another program"
        assert np.abs(found - _logits(_image())).max() < 0.1 * np.abs(found).max()


def _panoptic(model: onnx.ModelProto) -> None:
    """Adds `heat`, its `probability` and `way` to the centre, and enlarges the logits to a size that these have not."""
    rng = np.random.default_rng(2)
    for name, channels in (("heat", 1), ("way", 2)):
        values = rng.normal(size=(channels, 3, 8, 8)).astype(np.float32) / 8
        model.graph.initializer.append(numpy_helper.from_array(values, f"{name}.weight"))
        attributes = {"kernel_shape": [8, 8], "strides": [8, 8]}
        model.graph.node.append(helper.make_node("Conv", ["input", f"{name}.weight"], [name], **attributes))
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    model.graph.node.append(helper.make_node("Sigmoid", ["heat"], ["probability"]))


def test_a_network_that_tells_objects_apart_keeps_doing_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, out = _changed(_panoptic, ENLARGE, BEST, result=7)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    words = ("--mean", 0, 0, 0, "--std", 1, 1, 1, "--centers")
    assert _adopt(theirs, out, *words, "heat", "way") == 2 and "behind its sigmoid" in capsys.readouterr().err
    assert _adopt(theirs, out, *words, "way", "heat") == 2 and "in this order" in capsys.readouterr().err
    assert _adopt(theirs, out, *words, "probabilty", "way") == 2
    assert "did you mean 'probability'?" in capsys.readouterr().err
    assert _adopt(theirs, out, *words, "output", "way") == 2 and "of one size" in capsys.readouterr().err
    assert _adopt(theirs, out, *words, "probability", "way") == 0
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image())
    session = ort.InferenceSession(str(theirs))
    heat, way = session.run(["heat", "way"], {"input": _image().transpose(0, 3, 1, 2).astype(np.float32) / 255})
    assert np.abs(found.center_heatmap - 1 / (1 + np.exp(-heat))).max() < 0.01
    assert np.abs(found.center_offset - way).max() < 0.01 * np.abs(way).max()
    wanted = _logits(_image(), (0, 0, 0), (1, 1, 1))
    assert np.abs(found.semantic_logits - wanted).max() < 0.01 * np.abs(wanted).max()


def _linear_heat(model: onnx.ModelProto) -> None:
    """As _panoptic, with `trained`: near 0 to 1 without a sigmoid, as Panoptic-DeepLab learns its heatmap by squared errors."""
    _panoptic(model)
    for name, value in (("wider", 1.8), ("lower", 0.45)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    model.graph.node.append(helper.make_node("Mul", ["probability", "wider"], ["wide"]))
    model.graph.node.append(helper.make_node("Sub", ["wide", "lower"], ["trained"]))


@pytest.mark.parametrize("opset", [10, 17])
def test_a_heatmap_that_goes_somewhat_beyond_its_range_ends_there(opset: int, tmp_path: Path) -> None:
    theirs, out = _changed(_linear_heat, opset=opset)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    words = ("--mean", 0, 0, 0, "--std", 1, 1, 1, "--centers", "trained", "way")
    assert _adopt(theirs, out, *words) == 0
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).center_heatmap
    session = ort.InferenceSession(str(theirs))
    (heat,) = session.run(["heat"], {"input": _image().transpose(0, 3, 1, 2).astype(np.float32) / 255})
    wanted = 1.8 / (1 + np.exp(-heat)) - 0.45
    assert wanted.min() < 0 and wanted.max() > 1 and np.abs(found - wanted.clip(0, 1)).max() < 0.01
    assert found.min() == 0 and found.max() == 1


def _function(model: onnx.ModelProto) -> None:
    """Doubles the logits by a function of the file's own, as newer exporters write parts that repeat."""
    body = helper.make_node("Add", ["x", "x"], ["y"])
    model.functions.append(
        helper.make_function("theirs", "Double", ["x"], ["y"], [body], [helper.make_opsetid("", 11)])
    )
    model.opset_import.append(helper.make_opsetid("theirs", 1))
    model.graph.node[-1].output[0] = "logits"
    model.graph.node.append(helper.make_node("Double", ["logits"], ["output"], domain="theirs"))
    model.ir_version = 8


def test_functions_of_the_file_are_written_out(tmp_path: Path) -> None:
    pytest.importorskip("onnx.inliner", reason="this onnx cannot")
    theirs, out = _changed(_function)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED) == 0
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).semantic_logits
    assert np.abs(found - 2 * _logits(_image())).max() < 0.01 * np.abs(found).max()


def _constants(model: onnx.ModelProto) -> None:
    """Adds 0.5 + 0.25 - 0.75 to the logits, in the ways that exporters write constants."""
    graph = model.graph
    graph.node[-1].output[0] = "logits"
    quarter = numpy_helper.from_array(np.array([0.25], np.float32))
    graph.node.extend(
        [
            helper.make_node("Constant", [], ["first"], value_float=0.5),
            helper.make_node("Constant", [], ["lengths"], value_ints=[1, 1, 1, 1]),
            helper.make_node("ConstantOfShape", ["lengths"], ["second"], value=quarter),
            helper.make_node("Constant", [], ["third"], value=numpy_helper.from_array(np.array(0.75, np.float32))),
            helper.make_node("Add", ["logits", "first"], ["a"]),
            helper.make_node("Add", ["a", "second"], ["b"]),
            helper.make_node("Sub", ["b", "third"], ["output"]),
        ]
    )
    model.opset_import[0].version = 13


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_constants_are_those_of_the_network_however_they_are_written(precision: str, tmp_path: Path) -> None:
    theirs, out = _changed(_constants)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED, "--precision", precision) == 0
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).semantic_logits
    assert np.abs(found - _logits(_image())).max() < 0.01 * np.abs(found).max()


def _touchy(model: onnx.ModelProto) -> None:
    """Small errors of the logits become large ones."""
    graph = model.graph
    graph.node[-1].output[0] = "logits"
    graph.initializer.append(numpy_helper.from_array(np.array(300, np.float32), "much"))
    graph.node.append(helper.make_node("Mul", ["logits", "much"], ["more"]))
    graph.node.append(helper.make_node("Sin", ["more"], ["output"]))


def test_weights_stay_float32_where_float16_would_change_the_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, out = _changed(_touchy)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED) == 0
    assert "so they stay float32" in capsys.readouterr().out
    info, model = model_file.read(out)
    assert {weight.data_type for weight in model.graph.initializer} == {TensorProto.FLOAT, TensorProto.INT64}
    assert info.precision == "fp32" and info.parity["largest_error_relative"] < 0.03


def _without_convolutions(model: onnx.ModelProto) -> None:
    """Nothing is left of it but what a Resize makes of its image, as channels."""
    graph = model.graph
    del graph.node[:]
    graph.initializer.append(numpy_helper.from_array(np.zeros((3, CLASSES), np.float32), "mix"))
    graph.node.append(helper.make_node("Transpose", ["input"], ["pixels"], perm=[0, 2, 3, 1]))
    graph.node.append(helper.make_node("MatMul", ["pixels", "mix"], ["output"]))


def test_int8_of_a_network_without_convolutions_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, out = _changed(_without_convolutions)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    cv2.imwrite(str(tmp_path / "image.png"), _image()[0])
    assert _adopt(theirs, out, *NORMALISED, "--precision", "int8", "--images", tmp_path) == 2
    assert "no convolutions" in capsys.readouterr().err and not out.exists()
    assert _adopt(theirs, out, *NORMALISED) == 0
    assert model_file.load(out).grid_hw == (HEIGHT, WIDTH)


def _stored_as_half(model: onnx.ModelProto) -> None:
    """As files are made smaller; a Cast to float32 stands in front of what reads a weight."""
    model.CopyFrom(narrowed(model))
    assert TensorProto.FLOAT16 in {weight.data_type for weight in model.graph.initializer}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_weights_that_are_stored_as_float16_are_widened_first(precision: str, tmp_path: Path) -> None:
    theirs, out = _changed(_stored_as_half)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED, "--precision", precision) == 0
    info, model = model_file.read(out)
    found = OnnxRuntimeBackend(info).infer(_image()).semantic_logits
    assert info.precision == precision and np.abs(found - _logits(_image())).max() < 0.01 * np.abs(found).max()
    (convolution,) = (node for node in model.graph.node if node.op_type == "Conv")
    makers = {node.output[0]: node for node in model.graph.node}
    stored = makers[convolution.input[1]].input[0] if precision == "fp32" else convolution.input[1]
    assert {weight.name: weight.data_type for weight in model.graph.initializer}[stored] == TensorProto.FLOAT16


def _half_inside(model: onnx.ModelProto) -> None:
    """A convolution in float16 between an image and logits in float32, as mixed precision leaves the last layer."""
    graph = model.graph
    for name in ("weight", "bias"):
        weight = next(one for one in graph.initializer if one.name == name)
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name))
    convolution = graph.node[0]
    convolution.input[0], convolution.output[0] = "halves", "half.logits"
    cast = helper.make_node("Cast", ["input"], ["halves"], to=TensorProto.FLOAT16)
    graph.node.insert(0, cast)
    graph.node.append(helper.make_node("Cast", ["half.logits"], ["logits"], to=TensorProto.FLOAT))
    graph.node.append(helper.make_node("Add", ["logits", "logits"], ["output"]))


def test_a_network_that_computes_in_float16_says_so_whatever_its_ends_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs, out = _changed(_half_inside)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED) == 0
    assert model_file.load(out).precision == "fp16"
    assert _adopt(theirs, out, *NORMALISED, "--precision", "fp32") == 2
    assert "of precision fp16, of which no fp32" in capsys.readouterr().err


def test_int8_of_an_older_opset_is_raised_to_one_with_a_scale_per_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = quantize.Damage(1e9, 1e9, 1e9)
    monkeypatch.setattr(quantize.to_int8, "__defaults__", (allowed, ()))
    cv2.imwrite(str(tmp_path / "image.png"), _image()[0])
    words = ("--precision", "int8", "--images", tmp_path)
    assert _adopt(foreign_network(tmp_path / "theirs.onnx"), tmp_path / "out.onnx", *NORMALISED, *words) == 0
    info, model = model_file.read(tmp_path / "out.onnx")
    assert info.precision == "int8" and model.opset_import[0].version == quantize.LEAST_OPSET
    assert TensorProto.INT8 in {weight.data_type for weight in model.graph.initializer if len(weight.dims) == 4}


@pytest.mark.parametrize("opset", [9, 10])
def test_what_an_older_opset_enlarged_from_the_corner_stays_so_in_int8(
    opset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize.to_int8, "__defaults__", (quantize.Damage(1e9, 1e9, 1e9), ()))
    cv2.imwrite(str(tmp_path / "image.png"), _image()[0])
    enlarge: Node = ("Resize" if opset > 9 else "Upsample", ["eight"], {"mode": "linear"})
    theirs, out = foreign_network(tmp_path / "theirs.onnx", enlarge, opset=opset), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED, "--precision", "int8", "--images", tmp_path) == 0
    pixels = ((_image() / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32)
    (wanted,) = ort.InferenceSession(str(theirs)).run(None, {"input": pixels})
    found = OnnxRuntimeBackend(model_file.load(out)).infer(_image()).semantic_logits
    assert np.abs(found - wanted).max() < 0.1 * np.abs(wanted).max()


def test_int8_that_no_layer_can_bear_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "image.png"), _image()[0])
    words = ("--precision", "int8", "--images", tmp_path)
    theirs, out = _changed(_touchy)(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *NORMALISED, *words) == 2
    assert "so none would be left: export" in capsys.readouterr().err and not out.exists()


def _changed(change: Callable[[onnx.ModelProto], object], *after: Node, **style: Any) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        model = onnx.load(str(foreign_network(path, *after, **style)))
        change(model)
        onnx.save(model, str(path))
        return path

    return make


def _two_inputs(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("depth", TensorProto.FLOAT, [1, 1, HEIGHT, WIDTH]))


def _branch(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("branch", TensorProto.FLOAT, None)
    body = helper.make_graph([helper.make_node("Identity", ["output"], ["branch"])], "b", [], [value])
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "always"))
    model.graph.node.append(helper.make_node("If", ["always"], ["chosen"], then_branch=body, else_branch=body))
    model.graph.output[0].name = "chosen"


def _dynamically_quantised(model: onnx.ModelProto) -> None:
    graph = model.graph
    graph.node[-1].output[0] = "logits"
    graph.node.append(helper.make_node("DynamicQuantizeLinear", ["logits"], ["bytes", "scale", "zero"]))
    graph.node.append(helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["output"]))


def _opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 99


def _own(path: Path) -> Path:
    tiny_model(path)
    return path


REFUSED: dict[str, tuple[Callable[[Path], Path], tuple[object, ...], str]] = {
    "no normalisation": (foreign_network, (), "give --mean and --std"),
    "of 255 as of 1": (foreign_network, ("--mean", 123, 116, 103, "--std", 58, 57, 57), "give --pixel-max 255"),
    "of 1 as of 255": (foreign_network, (*NORMALISED, "--pixel-max", 255), "give --pixel-max 1"),
    "a size beside a fixed one": (foreign_network, (*NORMALISED, "--height", 128), "leave out --height and --width"),
    "sizes of a fixed one": (foreign_network, (*NORMALISED, "--sizes", "64x64", "128x128"), "--sizes is of no use"),
    "several images": (
        lambda path: foreign_network(path, shape=(4, 3, HEIGHT, WIDTH)),
        NORMALISED,
        "takes 4 images at a time",
    ),
    "a grey image": (lambda path: foreign_network(path, shape=(1, 1, HEIGHT, WIDTH)), NORMALISED, "three channels"),
    "no multiple of 32 for an open one": (
        lambda path: foreign_network(path, shape=(1, 3, "h", "w")),
        (*NORMALISED, "--height", 100, "--width", 96),
        "up to 16384 are needed: give --height and --width such",
    ),
    "no multiple of 32": (lambda path: foreign_network(path, shape=(1, 3, 520, 520)), NORMALISED, "multiples of 32"),
    "a double": (
        lambda path: foreign_network(path, kind=TensorProto.DOUBLE),
        NORMALISED,
        "of float32, float16 or uint8",
    ),
    "two inputs": (_changed(_two_inputs), NORMALISED, "takes 2 inputs (input, depth)"),
    "branches": (_changed(_branch), NORMALISED, "branches or loops"),
    "an opset of the future": (_changed(_opset), NORMALISED, "update onnx"),
    "integers of ONNX Runtime's own": (
        _changed(_dynamically_quantised, opset=13),
        NORMALISED,
        "quantised by DynamicQuantizeLinear",
    ),
    "our own": (_own, NORMALISED, "give it as --model"),
    "float16 as float32": (
        lambda path: _style(path, "float16"),
        (*NORMALISED, "--precision", "fp32"),
        "of precision fp16, of which no fp32",
    ),
    "no file": (lambda path: path, NORMALISED, "there is no file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_taken_is_told_in_a_sentence(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words, told = REFUSED[case]
    theirs, out = make(tmp_path / "theirs.onnx"), tmp_path / "out.onnx"
    assert _adopt(theirs, out, *words) == 2
    said = capsys.readouterr().err.strip()
    assert told in said and "\n" not in said and not out.exists()


def test_labels_of_another_number_are_told_with_what_the_network_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = foreign_network(tmp_path / "theirs.onnx")
    assert _adopt(theirs, tmp_path / "out.onnx", *NORMALISED, labels="camvid") == 2
    said = capsys.readouterr().err
    assert "'output' [1, 19, 8, 12]" in said and "each of the 11 classes" in said
    words = ["export", "--onnx", str(theirs), "--out", str(tmp_path / "out.onnx"), *map(str, NORMALISED)]
    assert main(words) == 2 and "give --labels" in capsys.readouterr().err
    words = ["export", "--model", str(theirs), "--out", str(tmp_path / "out.onnx"), "--labels", "camvid"]
    assert main(words) == 2 and "give --onnx too" in capsys.readouterr().err


def test_the_network_itself_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs, link = foreign_network(tmp_path / "theirs.onnx"), tmp_path / "link.onnx"
    link.symlink_to(theirs)
    before = theirs.read_bytes()
    for out in (theirs, link):
        assert _adopt(theirs, out, *NORMALISED) == 2
        assert "give --out another name" in capsys.readouterr().err and theirs.read_bytes() == before


def test_the_refusal_of_others_files_names_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = foreign_network(tmp_path / "theirs.onnx")
    assert main(["build-engine", "--model", str(theirs)]) == 2
    assert "'seg_perception export --onnx' makes a model file" in capsys.readouterr().err
    for name, remedy in (
        ("x.pt", "export --checkpoint"),
        ("x.engine", "the model file that the engine was built from"),
    ):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no ONNX")
        assert main(["build-engine", "--model", str(tmp_path / name)]) == 2
        assert remedy in capsys.readouterr().err
