"""Which GPU, driver and libraries there are, and what is missing for the other sections."""

from __future__ import annotations

from importlib import metadata

from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.verdicts import MEASURED

PACKAGES = ("numpy", "numba", "torch", "cuda-bindings", "onnx", "onnxruntime", "tensorrt")


def check(lab: Lab) -> None:
    """First of all: what it finds missing decides which other sections run."""
    missing = lab.libraries.missing()
    lab.keep(missing=missing)
    if "gpu" in missing:
        lab.row("GPU", missing["gpu"], MEASURED)
    else:
        gpu = lab.cuda.gpu()
        lab.keep(gpu=gpu.name, compute_capability=gpu.compute_capability)
        with lab.part("versions of driver and runtime"):
            driver, runtime = (_version(lab.cuda.call(f"cuda{which}GetVersion")) for which in ("Driver", "Runtime"))
            lab.row("GPU", f"{gpu.name}, {gpu.compute_capability}, driver for CUDA {driver}, runtime {runtime}")
    lab.row("packages", ", ".join(f"{name} {_installed(name)}" for name in PACKAGES))


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _installed(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "none"
