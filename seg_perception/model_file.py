"""The ONNX file is the whole model: what it carries beside the network is read, written and checked here.

A file of format version 2 holds the SHA-256 of itself, so that a bit that flipped on the way to the robot is noticed
before anything runs. Files of version 1 have none; they still load, with a note.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seg_perception import model_facts, model_weights
from seg_perception.errors import SegPerceptionError, quoted
from seg_perception.labels import LabelSet
from seg_perception.model_tensors import INPUT as INPUT
from seg_perception.model_tensors import OUTPUTS as OUTPUTS
from seg_perception.model_tensors import sizes_in
from seg_perception.network_size import SizeLimits
from seg_perception.writing import is_file, written_aside

if TYPE_CHECKING:
    import onnx  # else imported where a file is opened: a frame's path needs a model's facts, not its file

METADATA_KEY = "seg_perception"
FORMAT_VERSION = 2
LARGEST_FILE = 1 << 30
"""Bytes: larger than any network for a vehicle."""
WITHOUT_CHECKSUM = 1
"""The former version, which is still read."""

_OF_A_CHECKPOINT = "'seg_perception export --checkpoint' makes a model file of a checkpoint"
_OF_AN_ENGINE = "name the model file that the engine was built from"
_OTHER_FILES = {
    **dict.fromkeys((".pt", ".pth", ".ckpt"), _OF_A_CHECKPOINT),
    **dict.fromkeys((".engine", ".plan", ".trt"), _OF_AN_ENGINE),
}
"""What to do with files that are taken for model files, by the end of their names."""

PRECISIONS = model_facts.PRECISIONS

CHECKSUM = "file_sha256"
_CHECKSUM_START = f'"{CHECKSUM}": "'.encode()
_UNKNOWN_DIGITS = b"0" * 64


@dataclass(frozen=True)
class ModelInfo:
    """What the file says of itself. size_hw: the network's input (height, width), multiples of 32; limits: which sizes it
    takes, None where that alone. grid_hw: the size of its outputs at size_hw. batch: number of images a run takes, None
    when any. parameters and macs (multiply-accumulates of one image at size_hw) are counts. metrics: by data set, then by
    metric. parity: how far the file is from the network as trained, and on which data; quantization: how int8 was made;
    both empty where the file does not say. float32_layers: names of nodes whose numbers are too large for float16, None
    where the file does not say. note: what its user should know, to be logged; mostly empty. pretrained: whose weights
    training began with and their licence, empty where it began with none. temperature: what the logits in the graph were
    divided by, so that confidence means what it says. sha256: of the file as it was read, empty where there is none.
    self_test: the answer to self_test.py's known image at size_hw, empty where the file holds none. mirror: whether training
    saw images in a mirror (`seen`) and the pairs of names of classes that change places there (`swapped`), empty where the
    file does not say."""

    path: Path
    name: str
    network: str
    labels: LabelSet
    precision: str
    size_hw: tuple[int, int]
    grid_hw: tuple[int, int]
    batch: int | None
    training_data: str
    license_note: str
    parameters: int
    macs: int
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    parity: Mapping[str, Any] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    float32_layers: tuple[str, ...] | None = None
    note: str = ""
    pretrained: str = ""
    temperature: float = 1.0
    limits: SizeLimits | None = None
    sha256: str = ""
    self_test: Mapping[str, Any] = field(default_factory=dict)
    mirror: Mapping[str, Any] = field(default_factory=dict)

    def size_for(self, image_hw: tuple[int, int]) -> tuple[int, int]:
        """The network's input (height, width) for images of image_hw: of the image's shape and about as many px as
        size_hw, where the file leaves it open."""
        if self.limits is None:
            return self.size_hw
        return self.limits.nearest(image_hw, self.size_hw[0] * self.size_hw[1])

    def takes(self, size_hw: tuple[int, int]) -> bool:
        """Whether the network runs at this size."""
        return size_hw == self.size_hw if self.limits is None else self.limits.takes(size_hw)

    def at(self, size_hw: tuple[int, int]) -> ModelInfo:
        """The same model, for this size alone. Raises SegPerceptionError where it does not run at it."""
        (self.limits or SizeLimits(self.size_hw, self.size_hw)).check(size_hw)
        grid_hw = size_hw[0] // self.stride, size_hw[1] // self.stride
        macs = self.macs * size_hw[0] * size_hw[1] // (self.size_hw[0] * self.size_hw[1])
        return replace(self, size_hw=size_hw, grid_hw=grid_hw, macs=macs, limits=None)

    def check_takes_one(self) -> None:
        """Raises SegPerceptionError where a run takes several images, no more and no fewer: frames come one by one."""
        if self.batch not in (None, 1):
            raise SegPerceptionError(
                f"{self.path} takes {self.batch} images at a time and no single one, as frames come: name a file that takes any "
                "number, as export makes them"
            )

    @property
    def stride(self) -> int:
        """Pixels of the network's input per cell of its outputs."""
        return self.size_hw[0] // self.grid_hw[0]


def metadata(
    *,
    name: str,
    network: str,
    labels: LabelSet,
    precision: str,
    training_data: str,
    license_note: str,
    parameters: int,
    macs: int,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    quantization: Mapping[str, Any] | None = None,
    float32_layers: Sequence[str] | None = None,
    pretrained: str = "",
    sizes: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    mirror: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The JSON object that a model file carries under METADATA_KEY. Export adds `parity` once it has measured it, and
    save the checksum. Raises SegPerceptionError for what load would refuse."""
    content = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "network": network,
        "labels": labels.to_json(),
        "precision": precision,
        "training_data": training_data,
        "pretrained": pretrained,
        "license_note": license_note,
        "parameters": parameters,
        "macs": macs,
        "metrics": {data: dict(values) for data, values in (metrics or {}).items()},
    }
    if quantization is not None:
        content["quantization"] = dict(quantization)
    if temperature != 1:
        content["temperature"] = temperature
    if mirror:
        content["mirror"] = dict(mirror)
    if sizes is not None:
        content["sizes"] = dict(sizes)
    if float32_layers is not None:
        content["float32_layers"] = list(float32_layers)
    try:
        model_facts.check(content)
    except SegPerceptionError as error:
        raise SegPerceptionError(f"the model '{name}' {error}") from error
    return content


def write_metadata(model: onnx.ModelProto, content: Mapping[str, Any]) -> None:
    """Put content into model, in place of what stood there."""
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(content))


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model that has its metadata, with the checksum; aside, then renamed, so that no half-written model is ever
    found at path. model itself does not change."""
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    before = entry.value
    entry.value = json.dumps({**json.loads(before), CHECKSUM: _UNKNOWN_DIGITS.decode()})
    data = bytearray(model.SerializeToString())
    entry.value = before
    start = data.rindex(_CHECKSUM_START) + len(_CHECKSUM_START)
    data[start : start + 64] = hashlib.sha256(data).hexdigest().encode()
    with written_aside(path, durable=True) as aside:
        aside.write_bytes(data)


def load(path: Path | str) -> ModelInfo:
    """Read and check a model file; the weights are not kept.

    Raises SegPerceptionError when the file is missing, no ONNX, changed since it was written, without our metadata or
    with such as make no sense, of an unknown version, or when its inputs and outputs are not those of the contract.
    """
    return read(path)[0]


def read(path: Path | str) -> tuple[ModelInfo, onnx.ModelProto]:
    """A model file with its graph and weights. Raises as load."""
    path = Path(path)
    data = _bytes(path)
    digits = _verified(data, path)
    model = _parse(data, path)
    try:
        content = _content(model, digits)
        sizes = content.get("sizes")
        batch, size_hw, grid_hw = sizes_in(model.graph, len(content["labels"]), sizes)
    except SegPerceptionError as error:
        raise SegPerceptionError(f"{path} {error}") from error
    info = ModelInfo(
        path=path,
        labels=LabelSet.from_json(content["labels"]),
        precision=content["precision"],
        size_hw=size_hw,
        grid_hw=grid_hw,
        batch=batch,
        limits=None if sizes is None else model_facts.limits_of(sizes),
        float32_layers=tuple(content["float32_layers"]) if "float32_layers" in content else None,
        note="" if digits else _without_checksum(path),
        **{key: content[key] for key in (*model_facts.NEEDED_TEXTS, *model_facts.COUNTS)},
        **{key: content.get(key, {}) for key in model_facts.TABLES},
        pretrained=content.get("pretrained", ""),
        temperature=float(content.get("temperature", 1.0)),
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return info, model


def content_of(info: ModelInfo) -> bytes:
    """The bytes of the file that info was read from. Raises SegPerceptionError where it is another by now."""
    data = _bytes(info.path)
    if info.sha256 not in ("", hashlib.sha256(data).hexdigest()):
        raise SegPerceptionError(f"{info.path} has become another file since it was read: start again")
    return data


def graph_of(info: ModelInfo) -> onnx.ModelProto:
    """The graph and weights of the file that info was read from. Raises as content_of."""
    return _parse(content_of(info), info.path)


def _without_checksum(path: Path) -> str:
    return (
        f"{path} is of format version {WITHOUT_CHECKSUM}, whose files have no checksum: "
        f"'seg_perception export --model {path} --out {path}' makes it one of version {FORMAT_VERSION}, of half the size"
    )


def _bytes(path: Path) -> bytes:
    if not is_file(path):
        raise SegPerceptionError(f"there is no model file {path}: give --model a file, or export one")
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise SegPerceptionError(
                f"{path} has {size / 1e9:.1f} GB, a model file at most {LARGEST_FILE / 1e9:.1f}: name a model file"
            )
        return path.read_bytes()
    except OSError as error:
        raise SegPerceptionError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def _verified(data: bytes, path: Path) -> str:
    """The checksum that data carries, empty where it carries none. Raises SegPerceptionError where it does not fit."""
    start = data.rfind(_CHECKSUM_START) + len(_CHECKSUM_START)
    if start < len(_CHECKSUM_START):
        return ""
    view, digits = memoryview(data), data[start : start + 64]
    found = hashlib.sha256(view[:start])
    found.update(_UNKNOWN_DIGITS)
    found.update(view[start + 64 :])
    if found.hexdigest().encode() != digits:
        raise SegPerceptionError(
            f"{path} has changed since it was exported (its SHA-256 does not fit): copy it again, or export it again"
        )
    return digits.decode()


def _parse(data: bytes, path: Path) -> onnx.ModelProto:
    import onnx

    try:
        model = onnx.load_from_string(data)
    except Exception as error:  # protobuf raises a class of its own that moves between its versions
        remedy = _OTHER_FILES.get(path.suffix, "copy or export it again")
        raise SegPerceptionError(f"{path} is not a readable ONNX file ({type(error).__name__}): {remedy}") from error
    model_weights.check(model, path)
    return model


def _content(model: onnx.ModelProto, digits: str) -> dict[str, Any]:
    """The metadata, checked. Errors are ends of sentences that begin with the file's path."""
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    if text is None:
        raise SegPerceptionError(
            f"carries no '{METADATA_KEY}' metadata, so its classes are unknown: 'seg_perception export --onnx' makes a model "
            "file of another program's network"
        )
    try:
        content = json.loads(text)
        version = content["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SegPerceptionError(
            f"has '{METADATA_KEY}' metadata that cannot be read ({error!r}), export it again"
        ) from error
    if not model_facts.is_count(version) or version not in (WITHOUT_CHECKSUM, FORMAT_VERSION):
        raise SegPerceptionError(
            f"is of format version {quoted(repr(version))}, this program reads {FORMAT_VERSION} and {WITHOUT_CHECKSUM}: "
            "export it again with it"
        )
    if content.get(CHECKSUM, "") != digits or bool(digits) != (version == FORMAT_VERSION):
        raise SegPerceptionError(
            f"is of format version {version} and its '{CHECKSUM}' is missing or not its own: "
            "copy it again, or export it again"
        )
    model_facts.check(content)
    return dict(content)
