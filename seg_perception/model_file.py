"""The ONNX file is the whole model: what it carries beside the network is read, written and checked here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from seg_perception.errors import SegPerceptionError
from seg_perception.files import written_aside
from seg_perception.labels import LabelSet

METADATA_KEY = "seg_perception"
FORMAT_VERSION = 1
PRECISIONS = ("fp32", "fp16", "int8")
INPUT = "image"
OUTPUTS = ("semantic_logits", "center_heatmap", "center_offset")


@dataclass(frozen=True)
class ModelInfo:
    """What the file says of itself. size_hw: the network's input (height, width), multiples of 32. grid_hw: the size
    of its outputs. batch: number of images a run takes, None when any. parameters and macs (multiply-accumulates of one
    image at size_hw) are counts. metrics: by data set, then by metric. parity: how far the file is from the network as
    trained, and on which data; quantization: how int8 was made; both empty where the file does not say. pretrained:
    whose weights training began with and their licence, empty where it began with none."""

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
    pretrained: str = ""

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
    pretrained: str = "",
) -> dict[str, Any]:
    """The JSON object that a model file carries under METADATA_KEY. Export adds `parity` once it has measured it."""
    if precision not in PRECISIONS:
        raise SegPerceptionError(f"precision '{precision}' is unknown: allowed are {', '.join(PRECISIONS)}")
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
    return content if quantization is None else {**content, "quantization": dict(quantization)}


def write_metadata(model: onnx.ModelProto, content: Mapping[str, Any]) -> None:
    """Put content into model, in place of what stood there."""
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(content))


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write aside, then rename, so that no half-written model is ever found at path."""
    with written_aside(path) as aside:
        onnx.save(model, str(aside))


def load(path: Path | str) -> ModelInfo:
    """Read and check a model file; the weights are not kept.

    Raises SegPerceptionError when the file is missing, no ONNX, without our metadata, of another version, or when its
    inputs and outputs are not those of the contract.
    """
    path = Path(path)
    model = _parse(path)
    content = _content(model, path)
    inputs = {value.name: value for value in model.graph.input}
    outputs = {value.name: value for value in model.graph.output}
    missing = [name for name in (INPUT, *OUTPUTS) if name not in (inputs if name == INPUT else outputs)]
    if missing:
        raise SegPerceptionError(
            f"{path} has no tensor {', '.join(missing)}: it is no panoptic model file, export it again"
        )
    batch, height, width, channels = _shape(inputs[INPUT], path)
    if inputs[INPUT].type.tensor_type.elem_type != onnx.TensorProto.UINT8 or channels != 3:
        raise SegPerceptionError(f"{path}: the input '{INPUT}' must be uint8 [N, h, w, 3], export it again")
    if not height or not width or height % 32 or width % 32:
        raise SegPerceptionError(
            f"{path} takes images of {width}x{height}: fixed multiples of 32 are needed, "
            "export it with other --height and --width"
        )
    labels = LabelSet.from_json(content["labels"])
    _, classes, rows, columns = _shape(outputs["semantic_logits"], path)
    if classes != len(labels):
        raise SegPerceptionError(
            f"{path} has {classes} logits and {len(labels)} classes in its label set, export it again"
        )
    if not rows or not columns or height % rows or height // rows != width // columns:
        raise SegPerceptionError(f"{path}: logits of {columns}x{rows} do not divide an input of {width}x{height}")
    return ModelInfo(
        path=path,
        name=str(content["name"]),
        network=str(content["network"]),
        labels=labels,
        precision=str(content["precision"]),
        size_hw=(height, width),
        grid_hw=(rows, columns),
        batch=batch,
        training_data=str(content["training_data"]),
        license_note=str(content["license_note"]),
        parameters=int(content["parameters"]),
        macs=int(content["macs"]),
        metrics=content.get("metrics", {}),
        parity=content.get("parity", {}),
        quantization=content.get("quantization", {}),
        pretrained=str(content.get("pretrained", "")),
    )


def _parse(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise SegPerceptionError(f"there is no model file {path}: give --model a file, or export one")
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf raises a class of its own that moves between its versions
        raise SegPerceptionError(
            f"{path} is not a readable ONNX file ({type(error).__name__}): copy or export it again"
        ) from error


def _content(model: onnx.ModelProto, path: Path) -> dict[str, Any]:
    text = next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)
    if text is None:
        raise SegPerceptionError(
            f"{path} carries no '{METADATA_KEY}' metadata, so its classes are unknown: make it with "
            "'seg_perception export'"
        )
    try:
        content: dict[str, Any] = json.loads(text)
        version = content["format_version"]
        missing = [
            key
            for key in ("name", "network", "labels", "precision", "training_data", "license_note", "parameters", "macs")
            if key not in content
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise SegPerceptionError(
            f"{path}: its '{METADATA_KEY}' metadata cannot be read ({error!r}), export it again"
        ) from error
    if version != FORMAT_VERSION:
        raise SegPerceptionError(
            f"{path} is of format version {version}, this program reads {FORMAT_VERSION}: export it again with it"
        )
    if missing:
        raise SegPerceptionError(f"{path}: its metadata lacks {', '.join(missing)}, export it again")
    return content


def _shape(value: onnx.ValueInfoProto, path: Path) -> tuple[int | None, int, int, int]:
    """Dimensions of a 4-D tensor; 0 where a length is not fixed, None for such a batch."""
    dims = value.type.tensor_type.shape.dim
    if len(dims) != 4:
        raise SegPerceptionError(f"{path}: tensor '{value.name}' has {len(dims)} dimensions, expected 4")
    lengths = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in dims]
    return lengths[0] or None, lengths[1], lengths[2], lengths[3]
