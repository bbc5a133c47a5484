"""The little of CUDA's runtime that a backend needs, each call checked. Imported when a GPU is looked for."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seg_perception.errors import SegPerceptionError


@dataclass(frozen=True)
class Gpu:
    """name: as the driver says it; compute_capability: as '8.6'."""

    name: str
    compute_capability: str


class Cuda:
    """CUDA's runtime through cuda-python."""

    def __init__(self, runtime: ModuleType | None = None) -> None:
        """Raises SegPerceptionError when cuda-python is missing."""
        try:
            self.runtime: Any = runtime or importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise SegPerceptionError(
                f"'cuda.bindings' cannot be imported ({error}): install cuda-python for this CUDA"
            ) from error

    def call(self, function: str, *arguments: Any) -> Any:
        """Result of a function of the runtime, None where it has none.

        Raises SegPerceptionError naming the function and CUDA's reason.
        """
        error, *results = getattr(self.runtime, function)(*arguments)
        if error != self.runtime.cudaError_t.cudaSuccess:
            _, text = self.runtime.cudaGetErrorString(error)
            reason = text.decode() if isinstance(text, bytes) else str(error)
            raise SegPerceptionError(
                f"CUDA's {function} failed ({reason}): check nvidia-smi, the driver and free GPU memory"
            )
        return results[0] if results else None

    def gpu(self) -> Gpu:
        """The GPU in use. Raises SegPerceptionError when there is none."""
        if not self.call("cudaGetDeviceCount"):
            raise SegPerceptionError("CUDA finds no GPU: check nvidia-smi, or use the backend onnxruntime")
        properties = self.call("cudaGetDeviceProperties", 0)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        return Gpu(name.rstrip("\0"), f"{properties.major}.{properties.minor}")


class Transfer:
    """Memory of one tensor: `array` in pinned host memory, and `device`, the address of its twin on the GPU."""

    def __init__(self, cuda: Cuda, shape: Sequence[int], dtype: DTypeLike) -> None:
        self._cuda = cuda
        self._bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._host = int(cuda.call("cudaHostAlloc", self._bytes, 0))
        try:
            self.device = int(cuda.call("cudaMalloc", self._bytes))
        except SegPerceptionError:
            cuda.call("cudaFreeHost", self._host)
            raise
        memory = (ctypes.c_uint8 * self._bytes).from_address(self._host)
        self.array: NDArray[Any] = np.ndarray(shape, dtype, buffer=memoryview(memory))

    def to_device(self, stream: Any) -> None:
        """Queue the copy from host to GPU."""
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._cuda.call("cudaMemcpyAsync", self.device, self._host, self._bytes, kind, stream)

    def to_host(self, stream: Any) -> None:
        """Queue the copy from GPU to host."""
        kind = self._cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._cuda.call("cudaMemcpyAsync", self._host, self.device, self._bytes, kind, stream)

    def free(self) -> None:
        """Give both back; `array` must not be read any more."""
        self._cuda.call("cudaFree", self.device)
        self._cuda.call("cudaFreeHost", self._host)
