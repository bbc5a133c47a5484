"""What a model file is made of: a checkpoint, another model file, or a network of another program. The first alone needs
torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from seg_perception import model_file
from seg_perception.backends.base import Backend
from seg_perception.backends.graph.sizes import fixed
from seg_perception.backends.graph.stored import widened
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.network_size import SizeLimits


@dataclass(frozen=True)
class Source:
    """make_graph: in precision, with weights of the width that it computes in; it may take long. facts: what
    model_file.metadata is to be told, but for the name, the precision and how that was reached. reference: runs it at
    size_hw, to compare with. limits: the sizes that a model file takes beside size_hw; open_size: whether the graph may run at
    others at all."""

    make_graph: Callable[[], onnx.ModelProto]
    precision: str
    labels: LabelSet
    size_hw: tuple[int, int]
    facts: dict[str, Any]
    reference: Backend
    quantization: dict[str, Any] | None = None
    float32_layers: tuple[str, ...] | None = None
    parity: dict[str, Any] | None = None
    limits: SizeLimits | None = None
    open_size: bool = True


def from_model(path: Path, precision: str | None) -> Source:
    """A model file, of any version that is read, to be written in a precision (None: its own). Raises SegPerceptionError
    as model_file.load, and where it takes no single image or is neither float32 nor of that precision."""
    info, model = model_file.read(path)
    info.check_takes_one()
    precision = precision or info.precision
    if info.precision not in ("fp32", precision):
        raise SegPerceptionError(
            f"{path} is of precision {info.precision}, of which no {precision} can be made: name an fp32 file"
        )
    if info.note:
        print(info.note)
    facts = {
        "network": info.network,
        "training_data": info.training_data,
        "pretrained": info.pretrained,
        "license_note": info.license_note,
        "parameters": info.parameters,
        "macs": info.macs,
        "temperature": info.temperature,
        "mirror": info.mirror,
        # figures of another precision are not those of the new file
        "metrics": dict(info.metrics) if info.precision == precision else {},
    }
    return Source(
        make_graph=lambda: fixed(widened(model), info.size_hw, info.grid_hw),
        precision=info.precision,
        labels=info.labels,
        size_hw=info.size_hw,
        limits=info.limits,
        facts=facts,
        reference=OnnxRuntimeBackend(info.at(info.size_hw)),
        quantization=dict(info.quantization) or None,
        float32_layers=info.float32_layers,
        parity=dict(info.parity) or None,
    )
