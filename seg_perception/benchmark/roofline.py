"""The bound that arithmetic and memory set on a network's speed: computed from its model file, never measured.

After the roofline of Williams, Waterman and Patterson (Communications of the ACM 52, 2009): a step takes at least its
operations over the processor's peak and at least its bytes over the memory's bandwidth, whichever is longer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from seg_perception import model_file
from seg_perception.backends.graph.operations import multiply_accumulates
from seg_perception.backends.graph.sizes import fixed
from seg_perception.backends.graph.stored import widened
from seg_perception.errors import SegPerceptionError, cause_of

BYTES = {"fp16": 2, "int8": 1}
"""Of a weight and of an activation, by precision."""

OUTPUT_BYTES = 4
"""The network's outputs are float32 in every precision."""


@dataclass(frozen=True)
class Device:
    """A GPU by its data sheet. tera_ops: dense operations a second, in 10^12, by precision; bandwidth_gb: of its memory,
    10^9 bytes a second; source: where the figures stand and what was derived."""

    name: str
    tera_ops: Mapping[str, float]
    bandwidth_gb: float
    source: str


DEVICES = (
    Device(
        "Orin Nano 8 GB Super",
        {"fp16": 16.75, "int8": 33.5},
        102.0,
        "Jetson Orin Nano Super Developer Kit data sheet: 67 INT8 TOPS with sparsity, 102 GB/s. "
        "Halved for dense, halved again for float16.",
    ),
    Device(
        "AGX Orin 64 GB",
        {"fp16": 42.5, "int8": 85.0},
        204.8,
        "Jetson AGX Orin Series technical brief v1.2: 170 INT8 TOPS with sparsity on the GPU (the module's 275 count "
        "its two DLAs), 204.8 GB/s. Halved for dense, halved again for float16.",
    ),
    Device(
        "Thor T5000",
        {"fp16": 258.75, "int8": 517.5},
        273.0,
        "Jetson Thor data sheet: 2070 FP4 TFLOPS with sparsity, 273 GB/s. Halved for dense, halved for FP8, halved "
        "again for float16; INT8 is assumed to run at FP8's rate.",
    ),
)

_NUMBERS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8)
_FREE = ("Constant", "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Shape", "Dropout")
_QUANTIZATION = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Tensor:
    """What a tensor weighs. numbers: elements that are stored in the network's precision; fixed_bytes: bytes of a tensor
    that is stored the same way in every precision."""

    numbers: int = 0
    fixed_bytes: int = 0

    def bytes(self, precision: str) -> int:
        """At a precision of BYTES."""
        return self.numbers * BYTES[precision] + self.fixed_bytes


@dataclass(frozen=True)
class Layer:
    """One operator of the network on its own: multiply-accumulates, and every tensor that it reads or writes."""

    operator: str
    macs: int
    tensors: tuple[Tensor, ...]

    def bytes(self, precision: str) -> int:
        """Read and written at a precision of BYTES."""
        return sum(tensor.bytes(precision) for tensor in self.tensors)


@dataclass(frozen=True)
class Network:
    """A network for one image. ends: the tensors that no runtime can keep on the chip from one frame to the next: the
    weights, the image and the outputs."""

    name: str
    size_hw: tuple[int, int]
    layers: tuple[Layer, ...]
    ends: tuple[Tensor, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(layer.macs for layer in self.layers)

    def bytes(self, precision: str, *, fused: bool) -> int:
        """Over the memory bus: fused, only weights, image and outputs; else what every operator reads and writes."""
        if fused:
            return sum(tensor.bytes(precision) for tensor in self.ends)
        return sum(layer.bytes(precision) for layer in self.layers)


def load(path: Path) -> Network:
    """The network of a model file. Raises SegPerceptionError as model_file.load, and for a graph that cannot be counted."""
    info, model = model_file.read(path)
    try:
        network = of_graph(fixed(widened(model), info.size_hw, info.grid_hw), info.name, info.size_hw)
    except (onnx.shape_inference.InferenceError, IndexError) as error:
        # Nodes contradict each other, or lack inputs.
        cause = cause_of(error)
        raise SegPerceptionError(f"the operations of {path} cannot be counted ({cause}): export it again") from error
    if not network.macs:
        raise SegPerceptionError(f"{path} multiplies nothing, so nothing bounds its speed: name another model file")
    return network


def of_graph(model: onnx.ModelProto, name: str, size_hw: tuple[int, int]) -> Network:
    """The network that a graph computes for a batch of one. Raises SegPerceptionError for a shape that is not fixed."""
    for value in model.graph.input:
        if value.name == model_file.INPUT:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    for value in (*model.graph.output, *model.graph.value_info):
        value.type.tensor_type.ClearField("shape")  # or a batch of any size would stay one
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int, Sequence[int | None]]] = {
        t.name: (t.data_type, list(t.dims)) for t in graph.initializer
    }
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        shapes[value.name] = kind.elem_type, [d.dim_value if d.HasField("dim_value") else None for d in kind.shape.dim]
    outputs = {value.name for value in graph.output}

    def shape(tensor: str) -> list[int]:
        lengths = shapes.get(tensor, (0, [None]))[1]
        known = [length for length in lengths if length is not None]
        if len(known) < len(lengths):
            raise SegPerceptionError(
                f"the operations of {name} cannot be counted, as the shape of its tensor '{tensor}' is only known when it runs: "
                "export it with fixed sizes from where it was trained"
            )
        return known

    def weigh(tensor: str) -> Tensor:
        kind = shapes[tensor][0] if tensor in shapes else 0
        if tensor in outputs:
            return Tensor(fixed_bytes=math.prod(shape(tensor)) * OUTPUT_BYTES)
        if kind in _NUMBERS:
            return Tensor(numbers=math.prod(shape(tensor)))
        # what is left are shapes and sizes, which are known before the first frame
        return Tensor(fixed_bytes=math.prod(shape(tensor)) if kind == TensorProto.UINT8 else 0)

    layers = tuple(
        Layer(
            node.op_type,
            multiply_accumulates(node, shape),
            tuple(weigh(tensor) for tensor in (*node.input, *node.output) if tensor),
        )
        for node in graph.node
        if node.op_type not in (*_FREE, *_QUANTIZATION)
    )
    ends = (*graph.initializer, *graph.input, *graph.output)
    return Network(name, size_hw, layers, tuple(weigh(tensor) for tensor in dict.fromkeys(end.name for end in ends)))


def bounds_fps(network: Network, device: Device, precision: str) -> dict[str, float]:
    """Frames a second that the network cannot exceed on a device: `fused`, if everything between the image and the
    outputs stays on the chip; `layer_by_layer`, if every operator fetches and stores its tensors, one after another."""
    peak, bandwidth = device.tera_ops[precision] * 1e12, device.bandwidth_gb * 1e9

    def time_s(macs: int, moved: int) -> float:
        return max(2 * macs / peak, moved / bandwidth)

    fused_s = time_s(network.macs, network.bytes(precision, fused=True))
    single_s = sum(time_s(layer.macs, layer.bytes(precision)) for layer in network.layers)
    return {"fused": 1 / fused_s, "layer_by_layer": 1 / single_s}


def computed(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """One entry per network and precision, for --json. The same network in another precision is left out."""
    entries: list[dict[str, Any]] = []
    seen: set[tuple[tuple[int, int], int]] = set()
    for path in paths:
        network = load(path)
        if (network.size_hw, network.macs) in seen:
            continue
        seen.add((network.size_hw, network.macs))
        for precision in BYTES:
            entries.append(
                {
                    "network": network.name,
                    "size": f"{network.size_hw[1]}x{network.size_hw[0]}",
                    "precision": precision,
                    "macs": network.macs,
                    "bytes_fused": network.bytes(precision, fused=True),
                    "bytes_layer_by_layer": network.bytes(precision, fused=False),
                    "fps_at_most": {device.name: bounds_fps(network, device, precision) for device in DEVICES},
                }
            )
    return entries


def markdown(entries: Sequence[Mapping[str, Any]]) -> str:
    """The page benchmarks/roofline.md."""
    lines = [
        "# Roofline of the shipped networks",
        "",
        "Computed by `seg_perception benchmark --roofline`, **not measured**: frames a second that the network",
        "alone cannot exceed, by the operations and bytes of its model file and each device's data sheet (Williams,",
        "Waterman and Patterson, 2009). *Fused*: only weights, image and outputs cross the memory bus. *Layer by layer*:",
        "every operator fetches and stores all its tensors. TensorRT fuses some, so its own limit lies between the two; a",
        "network in practice stays below, since small layers do not fill a GPU.",
        "",
        "| network | precision | GMAC | MB fused / layer by layer | "
        + " | ".join(f"{device.name}: fused / layer by layer" for device in DEVICES)
        + " |",
        "| --- | --- | --- | --- |" + " --- |" * len(DEVICES),
    ]
    for entry in entries:
        cells = [
            f"{entry['network']}, {entry['size']}",
            entry["precision"],
            f"{entry['macs'] / 1e9:.2f}",
            f"{entry['bytes_fused'] / 1e6:.1f} / {entry['bytes_layer_by_layer'] / 1e6:.0f}",
            *(f"{fps['fused']:.0f} / {fps['layer_by_layer']:.0f}" for fps in entry["fps_at_most"].values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    told = "Dense rates, by what is quoted of these documents, which were not at hand themselves:"
    lines += ["", f"Two operations make one MAC. {told}", ""]
    for device in DEVICES:
        rates = ", ".join(f"{precision} {rate:g}" for precision, rate in device.tera_ops.items())
        lines.append(f"- {device.name}: {rates} × 10¹² operations/s, {device.bandwidth_gb:g} GB/s. {device.source}")
    return "\n".join(lines) + "\n"
