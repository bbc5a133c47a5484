"""Every precision from one checkpoint, as a user exports it: whole files, their contract, and the parity they carry."""

from __future__ import annotations

import dataclasses
import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import cv2
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

torch = pytest.importorskip("torch", reason="export needs torch")

from seg_perception import model_file  # noqa: E402
from seg_perception.backends.graph import half, precision, stored  # noqa: E402
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend  # noqa: E402
from seg_perception.backends.tensorrt import engine as engines  # noqa: E402
from seg_perception.camera.preprocess import Preprocessor  # noqa: E402
from seg_perception.cli import main  # noqa: E402
from seg_perception.errors import SegPerceptionError  # noqa: E402
from seg_perception.files import read_rgb  # noqa: E402
from seg_perception.labels import CAMVID  # noqa: E402
from seg_perception.network_size import SizeLimits  # noqa: E402
from seg_perception.pipeline import Pipeline  # noqa: E402
from seg_perception.results import Frame, NetworkOutput  # noqa: E402
from seg_perception.training.export import export, from_checkpoint, saving  # noqa: E402
from seg_perception.training.export.quantize import Damage, to_int8  # noqa: E402
from seg_perception.training.loop import checkpoint  # noqa: E402
from seg_perception.training.networks import make_network  # noqa: E402

SIZE_HW = (64, 96)
ANY_DAMAGE = Damage(1e9, 1e9, 1e9)
FRAMES = 3


def write_checkpoint(path: Path) -> Path:
    """PIDNet-S as it is born, but for a last layer that tells the classes apart, in a checkpoint with more than export
    needs."""
    torch.manual_seed(0)
    network = make_network("pidnet_s", len(CAMVID))
    torch.nn.init.normal_(network.semantic.classify.weight)
    content = {"network": "pidnet_s", "labels": CAMVID.to_json(), "size_hw": SIZE_HW, "data": ["camvid"]}
    checkpoint.save(path, {**content, "average": network.state_dict(), "step": 4, "config": {"batch_size": 2}})
    return path


def write_camvid(root: Path) -> None:
    """Smooth frames at the network's size, and stripes for labels, the last of them void."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (root / split / part).mkdir(parents=True)
        for i in range(FRAMES):
            coarse = rng.integers(0, 256, (4, 6, 3), np.uint8)
            cv2.imwrite(str(root / split / f"images/{i}.png"), cv2.resize(coarse, SIZE_HW[::-1]))
            stripes = np.arange(12, dtype=np.uint8).repeat(8)[None].repeat(SIZE_HW[0], 0)
            cv2.imwrite(str(root / split / f"labels/{i}.png"), stripes)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, a labelled data set, and a model file of each precision made of both."""
    root = tmp_path_factory.mktemp("export")
    write_camvid(root / "camvid")
    words = ["export", "--checkpoint", str(write_checkpoint(root / "c.pt"))]
    data = ["--dataset", "camvid", "--root", str(root / "camvid")]
    with pytest.MonkeyPatch.context() as patch:
        # the search for sensitive layers has its own tests, and here it would be long
        patch.setattr(export, "to_int8", functools.partial(to_int8, allowed=ANY_DAMAGE))
        for precision in model_file.PRECISIONS:
            out = ["--out", str(root / f"{precision}.onnx"), "--json", str(root / f"{precision}.json")]
            assert main([*words, *data, *out, "--precision", precision]) == 0
    return root


@pytest.mark.parametrize("precision", model_file.PRECISIONS)
def test_each_precision_keeps_the_contract(root: Path, precision: str) -> None:
    info = model_file.load(root / f"{precision}.onnx")
    assert (info.precision, info.size_hw, info.grid_hw, info.batch) == (precision, SIZE_HW, (16, 24), None)
    model = onnx.load(str(info.path))
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == from_checkpoint.OPSET
    output = OnnxRuntimeBackend(info).infer(np.zeros((2, *SIZE_HW, 3), np.uint8))
    assert output.semantic_logits.shape == (2, len(CAMVID), 16, 24)
    assert not {node.op_type for node in model.graph.node} & {"Identity", "Constant"}


def test_batch_normalisation_is_folded_into_the_convolutions_before_it(root: Path) -> None:
    graph = onnx.load(str(root / "fp32.onnx")).graph
    convolved = {node.output[0] for node in graph.node if node.op_type == "Conv"}
    left = [node for node in graph.node if node.op_type == "BatchNormalization"]
    assert left, "the pre-activated layers keep theirs"
    assert not [node.name for node in left if node.input[0] in convolved]


def test_two_bytes_a_weight_are_enough_and_one_for_int8(root: Path) -> None:
    infos = [model_file.load(root / f"{precision}.onnx") for precision in model_file.PRECISIONS]
    for info, bytes_each in zip(infos, (2, 2, 1)):
        assert info.path.stat().st_size < 1.2 * bytes_each * info.parameters


@pytest.mark.parametrize("precision", model_file.PRECISIONS)
def test_the_file_carries_its_parity_and_it_can_be_measured_again(root: Path, precision: str) -> None:
    info = model_file.load(root / f"{precision}.onnx")
    parity = info.parity
    assert parity == json.loads((root / f"{precision}.json").read_text())["parity"]
    assert (parity["data"], parity["frames"]) == ("camvid val", FRAMES)
    network, backend = checkpoint.averaged_network(checkpoint.load(root / "c.pt")), OnnxRuntimeBackend(info)
    errors, values = [], []
    for i in range(FRAMES):
        image = read_rgb(root / f"camvid/val/images/{i}.png")[None]
        with torch.no_grad():
            wanted = network(torch.from_numpy(image))[0].numpy()
        errors.append(np.abs(wanted - backend.infer(image).semantic_logits).max())
        values.append(np.abs(wanted).max())
    assert parity["logit_error"] == pytest.approx(max(errors), rel=1e-3, abs=1e-5)
    assert parity["logit_error_relative"] == pytest.approx(max(errors) / max(values), rel=1e-3, abs=1e-5)
    assert parity["miou_change"] == pytest.approx(parity["miou"] - parity["miou_fp32"])
    assert 0 < parity["miou_fp32"] < 1


def test_the_less_bits_the_more_changes(root: Path) -> None:
    """ONNX Runtime computes most of fp16 in float32, so that its weights, rounded as those of fp32, are what changes."""
    fp32, fp16, int8 = (model_file.load(root / f"{precision}.onnx").parity for precision in model_file.PRECISIONS)
    for parity in (fp32, fp16):
        assert parity["logit_error"] < 0.1 * int8["logit_error"]
        assert parity["pixels_changed"] <= int8["pixels_changed"] < 0.2
    assert fp32["miou_change"] == pytest.approx(0, abs=5e-3)


def test_int8_is_symmetric_with_a_scale_per_channel(root: Path) -> None:
    graph = onnx.load(str(root / "int8.onnx")).graph
    weights = {weight.name: numpy_helper.to_array(weight) for weight in graph.initializer}
    writers = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 50
    for node in convolutions:
        activation, kernel = (writers[name] for name in node.input[:2])
        assert (activation.op_type, kernel.op_type) == ("DequantizeLinear", "DequantizeLinear")
        assert writers[activation.input[0]].op_type == "QuantizeLinear"
        assert weights[activation.input[1]].shape == ()
        values, scales, zeros = (weights[name] for name in kernel.input)
        assert values.dtype == np.int8 and scales.shape == (len(values),)
        assert not zeros.any() and not weights[activation.input[2]].any()
        assert weights[activation.input[2]].dtype == np.int8
        assert len(node.input) == 2 or weights[node.input[2]].dtype == np.float32
    made = model_file.load(root / "int8.onnx").quantization
    assert (made["calibration_images"], made["layers"], made["kept_float"]) == (FRAMES - 1, len(convolutions), {})


def test_int8_without_frames_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = root / "none.onnx"
    words = ["export", "--checkpoint", str(root / "c.pt"), "--out", str(out), "--precision", "int8"]
    assert main(words) == 2
    assert "give --images a folder of frames" in capsys.readouterr().err
    assert not out.exists()


def test_int8_of_a_data_set_without_that_split_says_where_frames_come_from(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kitti/training").mkdir(parents=True)
    words = ["export", "--checkpoint", str(root / "c.pt"), "--out", str(tmp_path / "none.onnx"), "--precision", "int8"]
    assert main([*words, "--dataset", "kitti", "--root", str(tmp_path / "kitti"), "--split", "training"]) == 2
    assert "its split 'train': where it has none, give --images a folder of frames" in capsys.readouterr().err


def test_a_data_set_without_its_folder_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "--checkpoint", str(root / "c.pt"), "--out", str(root / "none.onnx"), "--dataset", "camvid"]
    assert main(words) == 2
    assert "camvid lies in a folder: say which by --root" in capsys.readouterr().err


def test_frames_are_spread_over_the_folder_and_squeezed_to_the_networks_size(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "CALIBRATION_IMAGES", 2)
    images = export.sample_images(root / "camvid/val/images", None, CAMVID, (32, 64))
    assert [image.shape for image in images] == [(1, 32, 64, 3)] * 2
    for image, number in zip(images, (0, FRAMES - 1)):
        frame = Frame(read_rgb(root / f"camvid/val/images/{number}.png"))
        np.testing.assert_array_equal(image, Preprocessor((32, 64))(frame))


def test_a_mean_of_checkpoints_says_all_that_taught_it(root: Path, tmp_path: Path) -> None:
    """Whose licences bind it; what has no share taught nothing."""
    first, paths = checkpoint.load(root / "c.pt"), []
    for name, data, pretrained in (("a", ["camvid", "mine"], ""), ("b", ["kitti", "mine"], "W (L)"), ("c", ["x"], "X")):
        paths.append(tmp_path / f"{name}.pt")
        checkpoint.save(paths[-1], {**first, "data": data, "pretrained": pretrained})
    facts = from_checkpoint.from_checkpoints(paths, [0.5, 0.5, 0.0], None, None).facts
    assert (facts["training_data"], facts["pretrained"]) == ("camvid, mine, kitti", "W (L)")


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (
            {"mirror": True, "swapped_by_mirror": [["car", "bicyclist"]]},
            {"seen": True, "swapped": [["car", "bicyclist"]]},
        ),
        ({"mirror": False, "swapped_by_mirror": []}, {"seen": False, "swapped": []}),
        ({"mirror": True, "swapped_by_mirror": []}, {"seen": False, "swapped": []}),
        (None, {}),
    ],
)
def test_a_mean_of_checkpoints_says_of_mirrors_what_all_of_them_say(
    root: Path, tmp_path: Path, others: dict[str, Any] | None, told: dict[str, Any]
) -> None:
    """`--tta flip` would ask it for what a part of it has never seen. What has no share says nothing."""
    first = checkpoint.load(root / "c.pt")
    pairs = {"mirror": True, "swapped_by_mirror": [["car", "bicyclist"]]}
    paths = [tmp_path / f"{name}.pt" for name in "abc"]
    for path, augment in zip(paths, ({"mirror": False, "swapped_by_mirror": []}, pairs, others), strict=True):
        checkpoint.save(path, {**first, "config": {} if augment is None else {"augment": augment}})
    assert from_checkpoint.from_checkpoints(paths, [0.0, 0.5, 0.5], None, None).facts["mirror"] == told


def test_what_training_says_of_mirrors_is_in_the_file_and_in_files_made_of_it(root: Path, tmp_path: Path) -> None:
    content = checkpoint.load(root / "c.pt")
    pairs = [["car", "bicyclist"]]
    checkpoint.save(tmp_path / "c.pt", {**content, "config": {"augment": {"mirror": True, "swapped_by_mirror": pairs}}})
    assert run_export("--checkpoint", tmp_path / "c.pt", "--out", tmp_path / "m.onnx") == 0
    assert run_export("--model", tmp_path / "m.onnx", "--precision", "fp16", "--out", tmp_path / "half.onnx") == 0
    for name in ("m.onnx", "half.onnx"):
        assert model_file.load(tmp_path / name).mirror == {"seen": True, "swapped": pairs}
    checkpoint.save(tmp_path / "c.pt", {**content, "config": {"augment": {"mirror": True, "swapped_by_mirror": 3}}})
    assert run_export("--checkpoint", tmp_path / "c.pt", "--out", tmp_path / "m.onnx") == 2


def test_a_network_that_gives_no_numbers_is_not_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = checkpoint.load(root / "c.pt")
    content["average"]["semantic.classify.bias"][0] = float("inf")
    checkpoint.save(root / "broken.pt", content)
    out = root / "broken.onnx"
    assert main(["export", "--checkpoint", str(root / "broken.pt"), "--out", str(out)]) == 2
    assert "not finite" in capsys.readouterr().err
    assert not out.exists()


# from a model file


def run_export(*words: object) -> int:
    return main(["export", *map(str, words)])


def former(path: Path, out: Path) -> Path:
    """The file at path as the former version wrote it: float32 weights, no checksum."""
    model = stored.widened(model_file.read(path)[1])
    entry = next(entry for entry in model.metadata_props if entry.key == model_file.METADATA_KEY)
    content = {**json.loads(entry.value), "format_version": 1, "metrics": {"camvid val": {"miou": 0.5}}}
    del content["file_sha256"], content["float32_layers"]
    model_file.write_metadata(model, content)
    onnx.save(model, str(out))
    return out


def test_a_file_of_the_former_version_is_converted(root: Path, tmp_path: Path) -> None:
    old, new = former(root / "fp32.onnx", tmp_path / "old.onnx"), tmp_path / "new.onnx"
    data = ["--dataset", "camvid", "--root", root / "camvid"]
    assert run_export("--model", old, "--out", new, *data) == 0
    before, after = model_file.load(old), model_file.load(new)
    assert before.note and not after.note and after.name == "new"
    for field in ("network", "labels", "precision", "training_data", "license_note", "parameters", "macs", "metrics"):
        assert getattr(after, field) == getattr(before, field)
    assert after.path.stat().st_size < 0.55 * before.path.stat().st_size
    assert after.float32_layers == model_file.load(root / "fp32.onnx").float32_layers
    assert after.parity["parity_of_reference"] == before.parity
    # the old one was made of the same half-precision weights, so nothing changes
    assert (after.parity["pixels_changed"], after.parity["frames"], after.parity["logit_error"]) == (0, FRAMES, 0)


def test_a_file_may_be_converted_in_its_place(root: Path, tmp_path: Path) -> None:
    path = former(root / "fp32.onnx", tmp_path / "model.onnx")
    assert run_export("--model", path, "--out", path) == 0
    assert not model_file.load(path).note
    again = path.read_bytes()
    assert run_export("--model", path, "--out", path) == 0
    assert not model_file.load(path).note and len(path.read_bytes()) == pytest.approx(len(again), rel=0.01)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_other_precisions_are_made_of_the_float32_file(
    root: Path, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "to_int8", functools.partial(to_int8, allowed=ANY_DAMAGE))
    out, data = tmp_path / f"{precision}.onnx", ["--dataset", "camvid", "--root", root / "camvid"]
    assert run_export("--model", root / "fp32.onnx", "--out", out, "--precision", precision, *data) == 0
    info, direct = model_file.load(out), model_file.load(root / f"{precision}.onnx")
    assert (info.precision, info.metrics) == (precision, {}), "what was measured in another precision is not its own"
    image = np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), np.uint8)
    of_file, of_checkpoint = (OnnxRuntimeBackend(each).infer(image).semantic_logits for each in (info, direct))
    largest = 0.01 if precision == "fp16" else 0.2
    np.testing.assert_allclose(of_file, of_checkpoint, atol=largest * np.abs(of_checkpoint).max())


def test_int8_that_breaks_its_own_limit_is_told_by_the_exit_code(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def strict(*frames: Any, **more: Any) -> tuple[onnx.ModelProto, dict[str, Any]]:
        model, facts = to_int8(*frames, allowed=ANY_DAMAGE, **more)
        return model, {**facts, "allowed": dict.fromkeys(facts["allowed"], 1e-12)}

    monkeypatch.setattr(export, "to_int8", strict)
    out, data = tmp_path / "int8.onnx", ["--dataset", "camvid", "--root", root / "camvid"]
    assert run_export("--model", root / "fp32.onnx", "--out", out, "--precision", "int8", *data) == 3
    assert "breaks the limit of int8 (classes changed" in capsys.readouterr().err and out.exists()


def test_what_a_model_file_cannot_give_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "none.onnx"
    for words, reason in (
        (["--model", root / "fp16.onnx", "--precision", "fp32"], "is of precision fp16, of which no fp32 can be made"),
        (["--model", root / "int8.onnx", "--precision", "fp16"], "is of precision int8, of which no fp16 can be made"),
        (["--model", root / "fp32.onnx", "--height", "64"], "--height is of no use beside --model"),
        (["--model", root / "fp32.onnx", "--width", "64"], "--width is of no use beside --model"),
        (["--model", root / "fp32.onnx", "--shares", "1"], "--shares is of no use beside --model"),
        (["--model", root / "fp32.onnx", "--precision", "int8"], "int8 needs frames to calibrate on"),
        (["--model", tmp_path / "missing.onnx"], "there is no model file"),
    ):
        assert run_export(*words, "--out", out) == 2
        assert reason in capsys.readouterr().err
        assert not out.exists()


def test_a_model_file_is_exported_without_torch(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from seg_perception.cli import main; "
        f"sys.exit(main(['export', '--model', {str(root / 'fp32.onnx')!r}, '--out', {str(tmp_path / 'o.onnx')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_layers_too_large_for_float16_are_named_in_the_file(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a robot needs no frames to make float16 of it."""
    assert model_file.load(root / "fp32.onnx").float32_layers == ()
    monkeypatch.setattr(half, "LARGEST_SAFE", 1.0)
    assert run_export("--model", root / "fp32.onnx", "--out", tmp_path / "large.onnx") == 0
    info = model_file.load(tmp_path / "large.onnx")
    assert info.float32_layers and len(set(info.float32_layers)) == len(info.float32_layers)
    monkeypatch.undo()
    graph = onnx.load_from_string(precision.in_precision(info, "fp16"))
    types = {weight.name: weight.data_type for weight in graph.graph.initializer}
    kept = [node for node in graph.graph.node if node.op_type == "Conv" and node.name in info.float32_layers]
    assert kept and {types[node.input[1]] for node in kept} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("size_hw", [(64, 96), (96, 64), (160, 224)])
def test_a_file_runs_at_any_size_as_the_network_does(root: Path, precision: str, size_hw: tuple[int, int]) -> None:
    info = model_file.load(root / f"{precision}.onnx")
    assert info.limits == SizeLimits((64, 96), (1024, 2048))
    if not info.takes(size_hw):
        with pytest.raises(SegPerceptionError, match="cannot run at 64x96"):
            info.at(size_hw)
        return
    image = np.random.default_rng(1).integers(0, 256, (1, *size_hw, 3), np.uint8)
    found = OnnxRuntimeBackend(info.at(size_hw)).infer(image)
    with torch.no_grad():
        wanted = checkpoint.averaged_network(checkpoint.load(root / "c.pt"))(torch.from_numpy(image))
    outputs = (found.semantic_logits, found.center_heatmap, found.center_offset)
    for output, expected in zip(outputs, wanted, strict=True):
        largest = max(1.0, float(expected.abs().max()))
        assert np.abs(output - expected.numpy()).max() / largest < saving.LARGEST_RELATIVE_ERROR[precision]


def test_a_camera_is_seen_in_its_own_shape(root: Path) -> None:
    # the network of the tests is as small as its file allows: a larger budget leaves a choice
    info = dataclasses.replace(model_file.load(root / "fp32.onnx"), size_hw=(160, 224), grid_hw=(40, 56))
    seen: list[tuple[int, ...]] = []

    class Watched(OnnxRuntimeBackend):
        def infer(self, images: np.ndarray) -> NetworkOutput:
            seen.append(images.shape[1:3])
            return super().infer(images)

    pipeline = Pipeline(info, Watched(info))
    for camera_hw in ((360, 1200), (360, 480), (360, 1200)):
        panoptic = pipeline.run(Frame(np.zeros((*camera_hw, 3), np.uint8))).panoptic
        assert panoptic.semantic.shape == camera_hw
    assert seen == [info.size_for((360, 1200)), info.size_for((360, 480)), info.size_for((360, 1200))]
    assert len(set(seen)) == 2


def test_a_file_may_keep_one_size_and_another_file_opens_it(root: Path, tmp_path: Path) -> None:
    fixed, opened = tmp_path / "fixed.onnx", tmp_path / "opened.onnx"
    words = ["export", "--model", str(root / "fp32.onnx"), "--out"]
    assert main([*words, str(fixed), "--fixed-size"]) == 0
    info = model_file.load(fixed)
    assert (info.limits, info.size_hw) == (None, SIZE_HW)
    with pytest.raises(ValueError, match="expected uint8"):
        OnnxRuntimeBackend(info).infer(np.zeros((1, 160, 224, 3), np.uint8))
    again = ["export", "--model", str(fixed), "--out", str(opened), "--sizes", "96x64", "320x256"]
    assert main(again) == 0
    assert model_file.load(opened).limits == SizeLimits((64, 96), (256, 320))
    assert main([*words, str(opened)]) == 0
    assert model_file.load(opened).limits == model_file.load(root / "fp32.onnx").limits


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--sizes", "128x128", "320x256"], "cannot run at 96x64"),
        (["--sizes", "96x64", "wide"], "'wide' is no size"),
        (["--sizes", "96x64", "64x64"], "cannot be"),
        (["--sizes", "96x64", "320x256", "--fixed-size"], "leave one of them out"),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], reason: str
) -> None:
    out = tmp_path / "out.onnx"
    assert main(["export", "--model", str(root / "fp32.onnx"), "--out", str(out), *options]) == 2
    assert reason in capsys.readouterr().err
    assert not out.exists()


def test_an_engine_is_built_for_the_size_that_is_asked_for(root: Path, tmp_path: Path) -> None:
    if "rtx" not in engines.installed():
        pytest.skip("TensorRT for RTX is not installed")
    prints = set()
    for size in ([], ["--network-size", "96x64"], ["--network-size", "224x160"]):
        out, told = tmp_path / "engine", tmp_path / "told.json"
        words = ["build-engine", "--model", str(root / "fp32.onnx"), "--compute-capability", "8.6", "--out", str(out)]
        assert main([*words, *size, "--json", str(told)]) == 0
        prints.add(json.loads(told.read_text())["fingerprint"])
    assert len(prints) == 2  # the first two are of one size


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--height", "16416", "--width", "16416"], "a size of 16416x16416 cannot be exported"),
        (["--temperature", "warm"], "--temperature is 'warm'"),
        (["--temperature", "fit"], "a temperature is fitted on labels"),
        (["--metrics", "missing.json"], "missing.json is no readable report.json"),
    ],
)
def test_what_cannot_be_is_told_before_the_network_is_traced(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    reason: str,
) -> None:
    """int8 calibrates for minutes first; a network of such a size has no end."""
    monkeypatch.setattr(export, "convert", Mock(side_effect=AssertionError("it was traced")))
    monkeypatch.setattr(from_checkpoint, "multiply_accumulates", Mock(return_value=1))
    out = tmp_path / "out.onnx"
    assert run_export("--checkpoint", root / "c.pt", "--out", out, *options) == 2
    assert reason in capsys.readouterr().err


def test_two_reports_of_the_same_data_are_refused(tmp_path: Path) -> None:
    """The file has room for one, and the later was kept without a word."""
    reports = [tmp_path / name for name in ("a.json", "b.json", "c.json")]
    for report, source in zip(reports, ("camvid val", "drive", "camvid val")):
        report.write_text(json.dumps({"source": source, "miou": 0.5}))
    with pytest.raises(SegPerceptionError, match=r"a\.json and .*c\.json are both of 'camvid val': give one of them"):
        export._metrics(reports)
    assert list(export._metrics(reports[:2])) == ["camvid val", "drive"]


@pytest.mark.parametrize("number", ["NaN", "1e999", "true", '"0.5"', "[0.5]"])
def test_a_report_whose_figure_is_no_number_is_named(tmp_path: Path, number: str) -> None:
    (tmp_path / "report.json").write_text(f'{{"source": "camvid val", "miou": {number}}}')
    with pytest.raises(SegPerceptionError, match=r"report\.json is no readable report\.json"):
        export._metrics([tmp_path / "report.json"])


def test_a_file_that_is_no_report_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(b"\x89PNG" + bytes(9999))
    with pytest.raises(SegPerceptionError, match="no readable report") as caught:
        export._metrics([tmp_path / "report.json"])
    assert len(str(caught.value)) < 500


def test_no_checkpoint_is_replaced_by_its_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--out best.pt`; and what has no ending is taken for a checkpoint by `--start-from` and `distill`."""
    path = tmp_path / "best.pt"
    path.write_bytes(b"weights of days")
    for out in (path, tmp_path / "mine"):
        assert main(["export", "--checkpoint", str(path), "--out", str(out)]) == 2
        assert "ends in .onnx" in capsys.readouterr().err
    assert path.read_bytes() == b"weights of days" and not (tmp_path / "mine").exists()
