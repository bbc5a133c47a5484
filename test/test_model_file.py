"""What a model file says of itself: every file that must not run is refused with one sentence, and names its path."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from fakes import tiny_model, with_open_size
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, numpy_helper

from seg_perception import model_facts, model_file
from seg_perception.backends.graph.precision import in_precision
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, LabelSet
from seg_perception.network_size import SizeLimits


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a good file."""
    return tiny_model(tmp_path_factory.mktemp("good") / "tiny.onnx", size_hw=(32, 32)).path.read_bytes()


def said(path: Path) -> str:
    """The one sentence that a file is refused with."""
    with pytest.raises(SegPerceptionError) as caught:
        model_file.load(path)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text
    return text


def content_of(model: onnx.ModelProto) -> dict[str, Any]:
    return dict(json.loads(next(entry.value for entry in model.metadata_props if entry.key == "seg_perception")))


def changed(path: Path, change: Callable[[dict[str, Any], onnx.GraphProto], object]) -> Path:
    """A good file, but for what change does to its metadata and graph; its checksum fits."""
    model = onnx.load(str(tiny_model(path).path))
    content = content_of(model)
    change(content, model.graph)
    model_file.write_metadata(model, content)
    model_file.save(model, path)
    return path


def former(path: Path) -> Path:
    """A file as the former version wrote it."""
    model = onnx.load(str(tiny_model(path).path))
    content = {**content_of(model), "format_version": 1}
    del content["file_sha256"]
    model_file.write_metadata(model, content)
    onnx.save(model, str(path))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    info = tiny_model(tmp_path / "tiny.onnx", size_hw=(64, 96))
    assert (info.name, info.precision, info.size_hw, info.grid_hw) == ("tiny", "fp32", (64, 96), (8, 12))
    assert (info.labels, info.note, info.float32_layers) == (CAMVID, "", None)
    assert info.parameters == 14 * 3 * 8 * 8 + 3


def test_the_checksum_is_that_of_the_file_with_zeros_in_its_place(whole: bytes) -> None:
    """So anybody can check it without this program."""
    zeros = re.sub(rb'("file_sha256": ")[0-9a-f]{64}', rb"\g<1>" + b"0" * 64, whole)
    assert content_of(onnx.load_from_string(whole))["file_sha256"] == hashlib.sha256(zeros).hexdigest()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_refused(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """In weights, graph, metadata, the checksum itself."""
    at = data.draw(st.integers(0, len(whole) - 1), label="byte")
    flipped = bytearray(whole)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    path = tmp_path_factory.mktemp("flipped", numbered=True) / "tiny.onnx"
    path.write_bytes(flipped)
    said(path)


def test_every_flipped_bit_of_the_metadata_is_refused(whole: bytes, tmp_path: Path) -> None:
    """Where the checksum and the version stand, all of them: no flip turns it off."""
    path, start = tmp_path / "tiny.onnx", whole.rindex(b'"file_sha256"')
    places = [*range(start - 4, min(start + 90, len(whole)))]
    version = whole.index(b'"format_version"')
    for at in (*places, *range(version - 20, version + 22)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[at] ^= 1 << bit
            path.write_bytes(flipped)
            said(path)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_refused(whole: bytes, tmp_path: Path, share: float) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(whole[: int(share * len(whole))])
    said(path)


def test_another_programs_weights_are_refused(whole: bytes, tmp_path: Path) -> None:
    model = onnx.load_from_string(whole)
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 2, weights.name))
    onnx.save(model, str(tmp_path / "tiny.onnx"))
    assert "has changed since it was exported" in said(tmp_path / "tiny.onnx")


def test_a_file_of_the_former_version_loads_with_a_note(tmp_path: Path) -> None:
    path = former(tmp_path / "old.onnx")
    info = model_file.load(path)
    assert info.name == "tiny"
    assert "format version 1" in info.note and f"export --model {path}" in info.note and "\n" not in info.note


def test_the_note_is_logged_where_a_backend_is_chosen(tmp_path: Path) -> None:
    from seg_perception import backends

    lines: list[str] = []
    info = model_file.load(former(tmp_path / "old.onnx"))
    backends.choose(info, backend="onnxruntime", log=lines.append).close()
    assert info.note in lines


def without(key: str) -> Callable[[dict[str, Any], onnx.GraphProto], object]:
    return lambda content, graph: content.pop(key)


def set_to(key: str, value: Any) -> Callable[[dict[str, Any], onnx.GraphProto], object]:
    return lambda content, graph: content.update({key: value})


def in_label(key: str, value: Any) -> Callable[[dict[str, Any], onnx.GraphProto], object]:
    return lambda content, graph: content["labels"][0].update({key: value})


NEEDED = ("name", "network", "labels", "precision", "training_data", "license_note", "parameters", "macs")

DAMAGE = {"classes_changed": 0.0, "center": 0.0, "offset_px": 0.0}
QUANTIZATION = {"layers": 1, "calibration_images": 1, "kept_float": {}, "reached": DAMAGE, "allowed": DAMAGE}

SIZES = {"default": [64, 96], "smallest": [64, 64], "largest": [128, 192], "stride": 8}

BAD_METADATA = [
    *((without(key), rf"metadata without {key}") for key in NEEDED),
    (set_to("format_version", 3), "of format version 3, this program reads 2 and 1"),
    (set_to("format_version", "2"), "of format version '2'"),
    (set_to("format_version", True), "of format version True"),
    (set_to("format_version", 1), "format version 1 and its 'file_sha256'"),
    *((set_to(key, 7), f"has the {key} 7: text is needed") for key in NEEDED if key in model_facts.NEEDED_TEXTS),
    (set_to("pretrained", 7), "has the pretrained 7: text is needed"),
    (set_to("precision", "fp8"), "'fp8': allowed are fp32, fp16, int8"),
    (set_to("precision", ["fp32"]), "precision"),
    (set_to("parameters", "many"), "'many' parameters: a whole number"),
    (set_to("parameters", -1), "-1 parameters"),
    (set_to("parameters", True), "True parameters"),
    (set_to("macs", 1.5), "1.5 macs"),
    *((set_to(key, 10**400), rf"{key}: a whole number") for key in ("parameters", "macs")),
    (set_to("metrics", "good"), "metrics of 'good'"),
    (set_to("metrics", {"camvid val": "good"}), "metrics 'good' for camvid val"),
    (set_to("metrics", {"camvid val": {"miou": "0.7"}}), "metrics .*0.7"),
    (set_to("metrics", {"camvid val": {"miou": None}}), "metrics .*None"),
    (set_to("metrics", {"camvid val": {"miou": float("nan")}}), "metrics .*nan"),
    (set_to("parity", [1]), "parity of"),
    (set_to("quantization", 3), "quantization of 3"),
    *(
        (set_to("quantization", {**QUANTIZATION, key: value}), "has the quantization .*: export it again")
        for key, value in [
            ("layers", "many"),
            ("calibration_images", None),
            ("kept_float", 3),
            ("reached", 3),
            ("reached", {"classes_changed": 0.1}),
            ("allowed", {**DAMAGE, "center": float("nan")}),
            ("allowed", {**DAMAGE, "offset_px": 10**400}),
        ]
    ),
    (set_to("quantization", {"by": "somebody"}), "has the quantization"),
    (set_to("float32_layers", "conv"), "float32_layers 'conv'"),
    (set_to("float32_layers", [1]), "float32_layers"),
    (set_to("labels", "road"), "label set"),
    (set_to("labels", None), "label set"),
    (set_to("labels", [3]), "label set"),
    (in_label("thing", "false"), "thing is 'false', which is no bool"),
    (in_label("thing", 0), "thing is 0"),
    (in_label("name", 3), "name is 3"),
    (in_label("id", "0"), "id is '0'"),
    (in_label("id", 0.0), "id is 0.0"),
    (in_label("color", [1, 2]), "label set"),
    (in_label("color", [1, 2, 300]), "colour"),
    (in_label("color", ["1", "2", "3"]), "color is '1'"),
    (in_label("drivable_cost", "free"), "drivable_cost is 'free'"),
    (in_label("drivable_cost", 101), "drivable_cost 101"),
    (in_label("covers", "wall"), "covers is 'wall'"),
    (in_label("covers", [1]), "covers is 1"),
    *(
        (set_to("temperature", value), "has the temperature")
        for value in (0, -1.5, float("nan"), "warm", True, None, 10**400)
    ),
    *(
        (set_to("mirror", value), "has the mirror|has mirror of")
        for value in (
            [1],
            {"seen": 1, "swapped": []},
            {"seen": True},
            {"seen": True, "swapped": 3},
            {"seen": True, "swapped": [["road"]]},
            {"seen": True, "swapped": [["road", "sea"]]},
            {"seen": True, "swapped": [["road", 3]]},
            {"seen": True, "swapped": [["road", "sky"], ["sky", "car"]]},
        )
    ),
    (set_to("name", "a\ud800"), "half a letter in .*a.ud800'"),
    (in_label("name", "\udfff"), "half a letter"),
    (set_to("sizes", [64, 96]), "has the sizes"),
    (set_to("sizes", SIZES), "says that it takes several sizes"),  # and its graph takes one
    *(
        (set_to("sizes", {**SIZES, key: value}), "has the sizes")
        for key, value in [
            ("smallest", [64]),
            ("smallest", [64, 96.0]),
            ("smallest", [0, 96]),
            ("largest", [32, 96]),
            ("default", [32, 96]),
            ("default", [70, 96]),
            ("stride", 0),
            ("stride", 7),
            ("stride", "8"),
            ("stride", True),
        ]
    ),
    (lambda content, graph: content["labels"].pop(), "14 logits|11 logits and 10 classes"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_METADATA)
def test_metadata_that_makes_no_sense_is_refused(tmp_path: Path, change: Any, reason: str) -> None:
    assert re.search(reason, said(changed(tmp_path / "bad.onnx", change)))


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', "3", "null", "[" * 100_000])
def test_metadata_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.onnx"
    model = onnx.load(str(tiny_model(path).path))
    next(entry for entry in model.metadata_props if entry.key == "seg_perception").value = text
    onnx.save(model, str(path))
    assert "metadata that cannot be read" in said(path)


def test_metadata_that_can_only_just_be_read_is_refused_like_any() -> None:
    """What reads deeply nested JSON reaches a little deeper than what writes it."""
    for depth in range(1, sys.getrecursionlimit()):
        try:
            content = json.loads(f'{{"name": {"[" * depth}{"]" * depth}}}')
        except RecursionError:
            break
        with pytest.raises(SegPerceptionError):
            model_facts.check(content)


def dims(value: Any) -> Any:
    return value.type.tensor_type.shape.dim


def unfix(graph: onnx.GraphProto) -> None:
    dims(graph.input[0])[1].dim_param = "h"


def rename(value: Any) -> None:
    value.name = "other"


def retype(value: Any, kind: int) -> None:
    value.type.tensor_type.elem_type = kind


def resize(value: Any, place: int, length: int) -> None:
    dims(value)[place].dim_value = length


def also_fed(graph: onnx.GraphProto) -> None:
    graph.input.add().CopyFrom(graph.input[0])
    graph.input[1].name = "extra"


BAD_GRAPHS = [
    (lambda graph: rename(graph.input[0]), "no tensor image"),
    *(
        (lambda graph, place=place: rename(graph.output[place]), f"no tensor {name}")
        for place, name in enumerate(model_file.OUTPUTS)
    ),
    (lambda graph: retype(graph.input[0], TensorProto.FLOAT), r"input 'image' than uint8"),
    (lambda graph: resize(graph.input[0], 3, 4), r"input 'image' than uint8"),
    (lambda graph: dims(graph.input[0]).pop(), "of 3 dimensions, expected 4"),
    (lambda graph: resize(graph.input[0], 1, 63), "images of 96x63: fixed multiples of 32"),
    (lambda graph: resize(graph.input[0], 2, 97), "images of 97x64: fixed multiples of 32"),
    (unfix, "leaves its height or width open and says in no 'sizes'"),
    *((lambda graph, place=place: resize(graph.input[0], place, -32), "negative") for place in range(4)),
    (lambda graph: [resize(value, place, -4) for value in graph.output for place in (2, 3)], "negative"),
    (also_fed, "takes 'extra' beside 'image'"),
    (lambda graph: resize(graph.output[0], 1, 10), "10 logits and 11 classes"),
    (lambda graph: resize(graph.output[0], 2, 7), "logits of 12x7"),
    (lambda graph: resize(graph.output[0], 3, 6), "logits of 6x8"),
    (lambda graph: resize(graph.output[0], 3, 13), "logits of 13x8"),
    (lambda graph: retype(graph.output[0], TensorProto.FLOAT16), "output 'semantic_logits' than float32"),
    (lambda graph: resize(graph.output[1], 1, 2), r"output 'center_heatmap' than float32 \[N, 1, 8, 12\]"),
    (lambda graph: resize(graph.output[2], 3, 6), r"output 'center_offset' than float32 \[N, 2, 8, 12\]"),
]


@pytest.mark.parametrize(("change", "reason"), BAD_GRAPHS)
def test_a_graph_that_is_not_of_the_contract_is_refused(tmp_path: Path, change: Any, reason: str) -> None:
    path = changed(tmp_path / "bad.onnx", lambda content, graph: change(graph))
    assert re.search(reason, said(path))


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    model = onnx.load(str(tiny_model(path).path))
    onnx.save(model, str(path), save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = onnx.load(str(path), load_external_data=False)
    model_file.save(model, path)
    assert "weights in another file" in said(path)


def _elsewhere(name: str) -> TensorProto:
    """A tensor of a file outside the model's folder."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def _in_a_constant(graph: onnx.GraphProto) -> None:
    graph.node.append(onnx.helper.make_node("Constant", [], ["far"], value=_elsewhere("far")))


def _in_a_branch(graph: onnx.GraphProto) -> None:
    inner = onnx.helper.make_graph([], "inner", [], [], [_elsewhere("far")])
    graph.node.append(onnx.helper.make_node("If", ["condition"], ["out"], then_branch=inner, else_branch=inner))


def _in_a_sparse_one(graph: onnx.GraphProto) -> None:
    graph.sparse_initializer.append(onnx.SparseTensorProto(values=_elsewhere("far"), dims=[9]))


@pytest.mark.parametrize("hide", [_in_a_constant, _in_a_branch, _in_a_sparse_one])
def test_numbers_of_another_file_are_found_wherever_they_hide(tmp_path: Path, hide: Any) -> None:
    """Runtimes read them from the working folder, or from anywhere that the path says."""
    assert "weights in another file" in said(changed(tmp_path / "bad.onnx", lambda content, graph: hide(graph)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensor: tensor.dims.append(7),
        lambda tensor: setattr(tensor, "data_type", TensorProto.FLOAT16),
        lambda tensor: setattr(tensor, "data_type", 99),
        lambda tensor: setattr(tensor, "raw_data", tensor.raw_data[:-1]),
    ],
    ids=["shape", "type", "unknown", "short"],
)
def test_weights_that_do_not_fit_their_own_shape_are_named(tmp_path: Path, damage: Any) -> None:
    """`export`, `build-engine` and `train --start-from` would meet them in a traceback."""
    bad = changed(tmp_path / "bad.onnx", lambda content, graph: damage(graph.initializer[0]))
    assert "has weights that do not fit their shape or type" in said(bad)


def test_a_file_that_became_another_since_it_was_read_is_not_run(tmp_path: Path) -> None:
    """Its classes would be those of the first, its numbers those of the second."""
    model = tiny_model(tmp_path / "tiny.onnx")
    OnnxRuntimeBackend(model).close()
    tiny_model(tmp_path / "tiny.onnx", seed=1)
    for use in (OnnxRuntimeBackend, model_file.graph_of, lambda info: in_precision(info, "fp32")):
        with pytest.raises(SegPerceptionError, match="has become another file since it was read"):
            use(model)


@pytest.mark.parametrize("stride", [3, 64])
def test_a_stride_that_no_step_knows_is_refused(tmp_path: Path, stride: int) -> None:
    """The GPU halves the image as often as the stride says, in room for 32 at most."""
    path = tmp_path / "bad.onnx"
    model = onnx.load(str(tiny_model(path, size_hw=(192, 192)).path))
    for value in model.graph.output:
        for axis in (2, 3):
            resize(value, axis, 192 // stride)
    model_file.save(model, path)
    assert f"has logits at every {stride} px" in said(path)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_a_file_of_open_size_has_outputs_of_float32(tmp_path: Path, kind: int) -> None:
    path = with_open_size(tiny_model(tmp_path / "bad.onnx").path, SizeLimits((64, 96), (128, 192)))
    _, model = model_file.read(path)
    retype(model.graph.output[1], kind)
    model_file.save(model, path)
    assert "another output 'center_heatmap' than float32 [N, 1, h, w]" in said(path)


def test_sizes_are_judged_before_anything_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)
    assert "has 1099.5 GB, a model file at most 1.1" in said(path)

    def wide(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32 << 20

    def many(graph: onnx.GraphProto) -> None:
        graph.input[0].type.tensor_type.shape.dim[0].dim_value = 10**9

    for change in (wide, many):
        assert "at most 256 of 16384 px" in said(changed(tmp_path / "bad.onnx", lambda content, graph: change(graph)))  # noqa: B023
    sizes = {"default": [32, 32], "smallest": [32, 32], "largest": [32 << 20, 32 << 20], "stride": 8}
    assert "up to 16384" in said(changed(tmp_path / "bad.onnx", lambda content, graph: content.update(sizes=sizes)))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_power_cut_while_a_model_is_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """In the middle of the bytes, or before they have their name."""
    path = tiny_model(tmp_path / "tiny.onnx").path
    before, model = model_file.load(path), onnx.load(str(path))
    child = os.fork()
    if not child:
        gc.disable()  # what other tests left may wait, when it is collected, for threads that are not here

        def cut(self: Path, data: bytes) -> None:
            with self.open("wb") as file:
                file.write(data[: int(share * len(data))])
            os._exit(9)

        Path.write_bytes = cut  # type: ignore[method-assign, assignment]
        model_file.save(model, path)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert model_file.load(path).sha256 == before.sha256
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.fstat(file).st_size))
    model_file.save(model, path)
    assert synced == [path.stat().st_size], "the disk has it before it has its name"
    assert [file.name for file in tmp_path.iterdir()] == ["tiny.onnx"]


def test_what_is_no_model_file_is_refused(tmp_path: Path) -> None:
    assert "there is no model file" in said(tmp_path / "none.onnx")
    assert "there is no model file" in said(tmp_path)
    (tmp_path / "text.onnx").write_text("no model")
    assert "not a readable ONNX file" in said(tmp_path / "text.onnx")
    model = onnx.load(str(tiny_model(tmp_path / "plain.onnx").path))
    del model.metadata_props[:]
    onnx.save(model, str(tmp_path / "plain.onnx"))
    assert "carries no 'seg_perception' metadata" in said(tmp_path / "plain.onnx")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_model(tmp_path / "tiny.onnx").path

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read (Permission denied)" in said(path)


def test_metadata_of_others_survives_a_rewrite(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    model = onnx.load(str(tiny_model(path).path))
    model.metadata_props.add(key="fleet", value='{"robot": 7, "file_sha256": "of another"}')
    content = content_of(model)
    model_file.write_metadata(model, {**content, "name": "again"})
    model_file.save(model, path)
    found = onnx.load(str(path)).metadata_props
    assert [entry.value for entry in found if entry.key == "fleet"] == ['{"robot": 7, "file_sha256": "of another"}']
    assert len(found) == 2 and model_file.load(path).name == "again"


def test_saving_leaves_the_model_as_it_is(tmp_path: Path) -> None:
    model = onnx.load(str(tiny_model(tmp_path / "tiny.onnx").path))
    before = model.SerializeToString()
    model_file.save(model, tmp_path / "again.onnx")
    assert model.SerializeToString() == before
    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "tiny.onnx").read_bytes()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"precision": "int4"}, "'int4': allowed are fp32, fp16, int8"),
        ({"name": 3}, "text"),
        ({"parameters": 1.5}, "whole number"),
        ({"metrics": {"val": {"miou": float("nan")}}}, "numbers by name"),
    ],
)
def test_what_would_be_refused_is_not_written(wrong: dict[str, Any], reason: str) -> None:
    facts: dict[str, Any] = {"name": "", "network": "", "labels": CAMVID, "precision": "fp32", "training_data": ""}
    facts |= {"license_note": "", "parameters": 0, "macs": 0}
    with pytest.raises(SegPerceptionError, match=reason):
        model_file.metadata(**{**facts, **wrong})


def test_a_label_set_is_read_as_it_was_written() -> None:
    assert LabelSet.from_json(json.loads(json.dumps(CAMVID.to_json()))) == CAMVID
