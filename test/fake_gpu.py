"""The libraries of a fake GPU for gpu-check, which runs its sections in processes of their own."""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from fake_cuda import FakeCudaRuntime, FakeDriver, FakeNvrtc, FakeTensorRT
from numpy.typing import DTypeLike

from seg_perception.backends.cuda import driver
from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.libraries import Libraries
from seg_perception.model_file import ModelInfo

KERNELS = "FAKE_GPU_KERNELS"
"""Variable of the environment: what compile_for_cpu made."""


@dataclass
class FakeLibraries(Libraries):
    """PyTorch computes on the CPU, in the order of the fake's stream."""

    def flavors(self) -> list[str]:
        return ["tensorrt"]

    def flavor(self, name: str, model: ModelInfo) -> Any:
        from seg_perception.backends.tensorrt import engine as engines  # which needs onnx

        trt = FakeTensorRT(self.runtime, model)
        return engines.Flavor(name, trt, engines._make_logger(trt))

    def tensor(self, address: int, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        held = memoryview((ctypes.c_uint8 * size).from_address(address))
        return importlib.import_module("torch").from_numpy(np.ndarray(shape, dtype, buffer=held))

    def queue(self, stream: int, work: Callable[[], object]) -> None:
        self.runtime.enqueue(stream, work)

    def torch_graph(self, work: Callable[[], object]) -> Callable[[], object]:
        return work


def working() -> Libraries:
    """All of it is there."""
    runtime = FakeCudaRuntime()
    nvrtc = FakeNvrtc(Path(os.environ[KERNELS]))
    return FakeLibraries(runtime, FakeDriver(runtime), nvrtc, torch_device="cpu", quick=True)


def _failing(call: str) -> Libraries:
    libraries = working()
    libraries.runtime.fails.add(call)
    return libraries


def without_torch() -> Libraries:
    """No PyTorch, no TensorRT."""
    libraries = working()
    found = libraries.missing()
    libraries.missing = lambda: {**found, "torch": "no PyTorch: install torch", "tensorrt": "not installed"}  # type: ignore[method-assign]
    return libraries


def without_gpu() -> Libraries:
    """A driver that finds no GPU."""
    driver.driver_installed = lambda: True
    return _failing("cudaGetDeviceCount")


def without_nvrtc() -> Libraries:
    """No run-time compiler, so that masks are made on the CPU."""

    def absent(*arguments: Any) -> Any:
        raise RuntimeError("libnvrtc was not found")

    libraries = working()
    libraries.nvrtc = SimpleNamespace(nvrtcVersion=absent, nvrtcCreateProgram=absent)
    return libraries


def without_graphs() -> Libraries:
    """A driver that makes no graph of what was captured."""
    return _failing("cudaGraphInstantiate")


def wrong_engine() -> Libraries:
    """A TensorRT whose engines give the classes in another order."""
    libraries = working()
    make = libraries.flavor

    def reorder(answers: list[Any]) -> None:
        answers[0] = np.roll(answers[0], 1, axis=1)

    def flavor(name: str, model: ModelInfo) -> Any:
        made = make(name, model)
        made.trt.harm = reorder
        return made

    libraries.flavor = flavor  # type: ignore[method-assign]
    return libraries


def wrong_kernels() -> Libraries:
    """A GPU that paints one class too many, as a miscompiled kernel might."""
    libraries = working()
    launch = libraries.driver.cuLaunchKernel

    def harmed(kernel: Any, *arguments: Any) -> Any:
        answer = launch(kernel, *arguments)
        if kernel.__name__ == "paint_masks":
            parameters = arguments[8]
            decode = importlib.import_module("fake_cuda").Decode
            at = decode.from_address(ctypes.c_void_p.from_address(parameters).value or 0)
            address, size = at.semantic, at.height * at.width
            libraries.runtime.enqueue(int(arguments[7]), lambda: ctypes.memset(address, 1, size // 2))
        return answer

    libraries.driver.cuLaunchKernel = harmed
    return libraries


# Sections that go wrong


def first(lab: Lab) -> None:
    """Nothing is missing."""
    lab.keep(missing={})
    lab.check("first", True)


def crash(lab: Lab) -> None:
    lab.check("before it", True, 1)
    print("on its way to the end", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def diverges(lab: Lab) -> None:
    """As a loss may; NaN and infinity are no JSON."""
    lab.keep(losses=[1.0, float("nan")], peak={"gb": float("inf"), "steps": (3, -float("inf"))})
    lab.row("loss", float("nan"))


def hang(lab: Lab) -> None:
    """With a process of its own, which must not outlive it either."""
    other = subprocess.Popen(["sleep", "1000"])
    lab.keep(other=other.pid)
    lab.check("before it", True, 2)
    other.wait()


def raises(lab: Lab) -> None:
    with lab.part("a part"):
        raise ValueError("half way")
    lab.check("after it", True)
    raise RuntimeError("all the way")
