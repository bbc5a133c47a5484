"""Boxes and points by files of the Segment Anything kind: here stand-ins with that interface, whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from street import CAR, TREE, write_job

from seg_perception.cli import main
from seg_perception.datasets import open_dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.labelling.sam import DECODER_INPUTS, SegmentAnything, read_prompts
from seg_perception.labels import CAMVID

SIDE = 64
FLOAT = TensorProto.FLOAT


def save(path: Path, nodes: list, inputs: list, outputs: list, constants: dict[str, np.ndarray]) -> Path:
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    info = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs]
    out = [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs]
    graph = helper.make_graph(nodes, "stand_in", info, out, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def encoder(path: Path, raw: bool = False) -> Path:
    """Gives the prepared image itself as its embedding."""
    shape = [SIDE, SIDE, 3] if raw else [1, 3, SIDE, SIDE]
    return save(path, [helper.make_node("Identity", ["image"], ["image_embeddings"])], [("image", shape)],
                [("image_embeddings", shape)], {})  # fmt: skip


def decoder(path: Path, drop: str = "", embedding: list[int] | None = None) -> Path:
    """Two masks of which the second is meant: what lies within 10 px of the encoder's frame of the first point, and is inside
    of the last two, if those are a box."""
    constants = {
        "zero": np.array(0, np.float32), "one": np.array(1, np.float32), "half": np.array(0.5, np.float32),
        "side": np.array(SIDE, np.float32), "ten": np.array(10.0, np.float32), "i0": np.array([0]), "i1": np.array([1]),
        "unsqueeze": np.array([0, 1]), "rows": np.array([1]), "last": np.array([0]), "scores": np.array([[0.1, 0.9]], np.float32),
        "three": np.array([3], np.float32),
        "minus1": np.array([-1]), "minus2": np.array([-2]), "axis": np.array([0]),
    }  # fmt: skip

    def node(kind: str, inputs: str, output: str, **more: object) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), output.split(), **more)

    nodes = [
        node("ReduceMax", "orig_im_size", "longest", keepdims=0), node("Div", "side longest", "scale"),
        node("Gather", "orig_im_size i0", "height1"), node("Gather", "orig_im_size i1", "width1"),
        node("Squeeze", "height1 axis", "height"), node("Squeeze", "width1 axis", "width"),
        node("Range", "zero height one", "y0"), node("Range", "zero width one", "x0"),
        node("Add", "y0 half", "y1"), node("Add", "x0 half", "x1"),
        node("Mul", "y1 scale", "y2"), node("Mul", "x1 scale", "x2"),
        node("Unsqueeze", "y2 rows", "y"), node("Unsqueeze", "x2 last", "x"),
        node("Squeeze", "point_coords axis", "points"), node("Squeeze", "point_labels axis", "labels"),
        *(node("Gather", f"points {i}", name) for i, name in (("i0", "first"), ("minus2", "corner"), ("minus1", "end"))),
        *(node("Split", name, f"{name}_x {name}_y", axis=1, num_outputs=2) for name in ("first", "corner", "end"))
    ]  # fmt: skip
    for split in nodes[-3:]:
        del split.attribute[:]
        split.attribute.append(helper.make_attribute("axis", 1))
    nodes += [
        node("Sub", "x first_x", "dx"), node("Sub", "y first_y", "dy"), node("Mul", "dx dx", "dx2"), node("Mul", "dy dy", "dy2"),
        node("Add", "dx2 dy2", "d2"), node("Sqrt", "d2", "d"), node("Sub", "ten d", "disc"),
        node("Sub", "x corner_x", "l"), node("Sub", "end_x x", "r"), node("Sub", "y corner_y", "t"), node("Sub", "end_y y", "b"),
        node("Min", "l r t b", "inside"),
        node("Gather", "labels minus1", "kind"), node("Equal", "kind three", "is_box"),
        node("Where", "is_box inside disc", "mask"),
        node("Unsqueeze", "mask unsqueeze", "second"), node("Neg", "second", "first_mask"),
        node("Concat", "first_mask second", "masks", axis=1), node("Identity", "scores", "iou_predictions"),
    ]  # fmt: skip
    inputs = {
        "image_embeddings": embedding or [1, 3, SIDE, SIDE], "point_coords": [1, "n", 2], "point_labels": [1, "n"],
        "mask_input": [1, 1, 16, 16], "has_mask_input": [1], "orig_im_size": [2],
    }  # fmt: skip
    assert set(inputs) == set(DECODER_INPUTS)
    kept = [(name, shape) for name, shape in inputs.items() if name != drop]
    outputs = [("masks", [1, 2, "h", "w"]), ("iou_predictions", [1, 2])]
    if drop == "masks":
        outputs = outputs[1:]
    return save(path, nodes, kept, outputs, constants)


def prompts(path: Path, *shapes: tuple[str, str, list, int | None]) -> None:
    rows = [
        {"label": label, "shape_type": kind, "points": points, "group_id": group}
        for label, kind, points, group in shapes
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"shapes": rows, "imagePath": "x.png"}))


def words(tmp_path: Path, *more: str) -> list[str]:
    sam = ["--sam", str(encoder(tmp_path / "e.onnx")), str(decoder(tmp_path / "d.onnx"))]
    job = ["--images", str(tmp_path / "job" / "images"), "--prompts", str(tmp_path / "prompts")]
    return ["label", "propose", *job, *sam, "--tool", "cvat-masks", "--out", str(tmp_path / "out"), *more]


def test_boxes_and_points_become_masks_of_their_class(tmp_path: Path) -> None:
    write_job(tmp_path / "job", ["a"])
    prompts(
        tmp_path / "prompts" / "a.json",
        ("car", "rectangle", [[90, 30], [60, 10]], None),
        ("tree", "point", [[40.0, 60.0]], None),
    )
    assert main(words(tmp_path, "--labels", "camvid", "--least-area", "1")) == 0
    sample = open_dataset("voc", tmp_path / "out", "", CAMVID)[0]
    car, tree = (np.argwhere(sample.label == index) for index in (CAR + 1, TREE + 1))
    assert car.min(axis=0).tolist() == [10, 60] and car.max(axis=0).tolist() == [29, 89] and len(car) == 20 * 30
    y, x = np.mgrid[:96, :144] + 0.5
    disc = np.hypot(x - 40, y - 60) * SIDE / 144 < 10
    assert (disc == (sample.label == TREE + 1)).all() and len(tree)


def test_a_prompt_lies_in_front_of_the_masks(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", ["a", "b"])
    prompts(tmp_path / "prompts" / "a.json", ("car", "rectangle", [[5, 5], [25, 25]], None))
    assert main(words(tmp_path, "--masks", str(job / "masks"), "--labels", "camvid")) == 0
    dataset = open_dataset("voc", tmp_path / "out", "", CAMVID)
    cars = [np.unique(dataset[index].instance).size - 1 for index in (0, 1)]
    assert cars == [3, 2]


@pytest.mark.parametrize("raw", [False, True])
def test_the_encoder_gets_the_image_as_it_was_trained_to(raw: bool, tmp_path: Path) -> None:
    sam = SegmentAnything(encoder(tmp_path / "e.onnx", raw), decoder(tmp_path / "d.onnx"))
    rgb = np.random.default_rng(0).integers(0, 256, (32, 128, 3), np.uint8)
    prepared = sam._prepared(rgb, SIDE / 128)
    small = cv2.resize(rgb, (64, 16), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    if raw:
        assert prepared.shape == (64, 64, 3) and (prepared[:16] == small).all() and not prepared[16:].any()
        return
    wanted = (small - [123.675, 116.28, 103.53]) / [58.395, 57.12, 57.375]
    assert np.allclose(prepared[0, :, :16], np.moveaxis(wanted, -1, 0), atol=1e-5) and not prepared[0, :, 16:].any()


def test_points_in_and_out_and_a_box_of_one_group_go_to_the_decoder_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = SegmentAnything(encoder(tmp_path / "e.onnx"), decoder(tmp_path / "d.onnx"))
    fed: list[dict[str, np.ndarray]] = []
    run = sam._run
    monkeypatch.setattr(sam, "_run", lambda session, feeds: (fed.append(feeds), run(session, feeds))[1])
    path = tmp_path / "prompts" / "a.json"
    box = ("car", "rectangle", [[90, 30], [60, 10]], 4)
    prompts(
        path, ("car", "point", [[70, 20]], 4), ("-", "point", [[100, 5]], 4), box, ("tree", "point", [[2, 4]], None)
    )
    car, tree = read_prompts(path)
    assert (car.name, tree.name) == ("car", "tree")
    sam.masks(np.zeros((64, 128, 3), np.uint8), [car, tree])
    _, first, second = fed
    assert first["point_coords"].tolist() == [[[35, 10], [50, 2.5], [30, 5], [45, 15]]]
    assert first["point_labels"].tolist() == [[1, 0, 2, 3]]
    assert second["point_coords"].tolist() == [[[1, 2], [0, 0]]] and second["point_labels"].tolist() == [[1, -1]]
    assert first["orig_im_size"].tolist() == [64, 128] and not first["has_mask_input"].any()


def test_other_files_are_refused(tmp_path: Path) -> None:
    good = encoder(tmp_path / "e.onnx")
    for drop, told in (("has_mask_input", "it lacks has_mask_input"), ("masks", "the output masks")):
        with pytest.raises(SegPerceptionError, match=told):
            SegmentAnything(good, decoder(tmp_path / "d.onnx", drop))
    with pytest.raises(SegPerceptionError, match="is no encoder of Segment Anything: its inputs are"):
        SegmentAnything(tmp_path / "d.onnx", tmp_path / "d.onnx")
    sam = SegmentAnything(good, decoder(tmp_path / "d2.onnx", embedding=[1, 9, 9, 9]))
    prompts(tmp_path / "p" / "a.json", ("car", "point", [[1, 1]], None))
    with pytest.raises(SegPerceptionError, match="does not run"):
        sam.masks(np.zeros((8, 8, 3), np.uint8), read_prompts(tmp_path / "p" / "a.json"))


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ([("car", "polygon", [[0, 0], [1, 0], [1, 1]], None)], "has a polygon of 'car'"),
        ([("car", "point", [[0, 0]], 1), ("bus", "point", [[1, 1]], 1)], "marked as bus and car"),
        ([("-car", "point", [[0, 0]], 1)], "marked as no class"),
        ([("cra", "point", [[0, 0]], None)], "did you mean 'car'"),
    ],
)
def test_prompts_that_mean_nothing_are_named(
    shapes: list, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_job(tmp_path / "job", ["a"])
    prompts(tmp_path / "prompts" / "a.json", *shapes)
    assert main(words(tmp_path, "--labels", "camvid")) == 2
    assert told in capsys.readouterr().err and not (tmp_path / "out").exists()
