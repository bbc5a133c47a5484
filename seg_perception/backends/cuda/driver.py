"""The little of CUDA's runtime that a backend needs, each call checked. Imported when a GPU is looked for."""

from __future__ import annotations

import ctypes
import importlib
import weakref
from collections.abc import Callable, Sequence
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


class Stream:
    """The one queue in which all work of a backend runs in order."""

    def __init__(self, cuda: Cuda) -> None:
        self.cuda = cuda
        self.handle = cuda.call("cudaStreamCreateWithFlags", cuda.runtime.cudaStreamNonBlocking)
        self._destroy = _once(self, cuda, "cudaStreamDestroy", self.handle)

    def copy(self, target: int, source: int, size: int, kind: Any) -> None:
        """Queue a copy of size bytes between two addresses; kind: a cudaMemcpyKind."""
        self.cuda.call("cudaMemcpyAsync", target, source, size, kind, self.handle)

    def synchronize(self) -> None:
        """Wait until all queued work is done."""
        self.cuda.call("cudaStreamSynchronize", self.handle)

    def destroy(self) -> None:
        """Give it back; may be called twice."""
        self._destroy()


class DeviceMemory:
    """Room for one array on the GPU, at `address`; given back by free(), or with the object."""

    def __init__(self, stream: Stream, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.stream = stream
        self.bytes = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        self.address = int(stream.cuda.call("cudaMalloc", self.bytes))
        self._free = _once(self, stream.cuda, "cudaFree", self.address)

    def fill(self, values: NDArray[Any]) -> None:
        """Copy values, of the shape and type of this memory, to the GPU and wait for it."""
        kind = self.stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.stream.copy(self.address, values.ctypes.data, values.nbytes, kind)
        self.stream.synchronize()

    def free(self) -> None:
        """Give it back; may be called twice."""
        self._free()


class Transfer(DeviceMemory):
    """Memory of one array on the GPU and its twin `array` in pinned host memory, which lives as long as any view of
    it."""

    def __init__(self, stream: Stream, shape: Sequence[int], dtype: DTypeLike) -> None:
        super().__init__(stream, shape, dtype)
        host = int(stream.cuda.call("cudaHostAlloc", self.bytes, 0))
        memory = (ctypes.c_uint8 * self.bytes).from_address(host)
        _once(memory, stream.cuda, "cudaFreeHost", host)
        self.array: NDArray[Any] = np.ndarray(shape, dtype, buffer=memoryview(memory))

    def to_device(self, size: int | None = None) -> None:
        """Queue the copy of the first size bytes from host to GPU; None = all."""
        kind = self.stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.stream.copy(self.address, self.array.ctypes.data, self.bytes if size is None else size, kind)

    def to_host(self, size: int | None = None) -> None:
        """Queue the copy of the first size bytes from GPU to host; None = all."""
        kind = self.stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.stream.copy(self.array.ctypes.data, self.address, self.bytes if size is None else size, kind)


class Work:
    """What `enqueue` queues on a stream, of fixed shapes and addresses: call by call in the first run, which CUDA
    demands, then as one CUDA graph. state: whether there is a graph, and why not."""

    def __init__(self, stream: Stream, enqueue: Callable[[], None], log: Callable[[str], None]) -> None:
        self.state = "not captured yet"
        self._stream, self._enqueue, self._log = stream, enqueue, log
        self._graph: Any = None
        self._destroy: Callable[[], object] = lambda: None

    def run(self) -> None:
        """Queue it. The first run waits for the work to be done, and so does one that fails half way."""
        if self._graph is not None:
            self._stream.cuda.call("cudaGraphLaunch", self._graph, self._stream.handle)
            return
        # Kernels are launched by the driver, which needs a current context on this thread: the runtime makes one.
        self._stream.cuda.call("cudaSetDevice", 0)
        try:
            self._enqueue()
        except SegPerceptionError:
            self._stream.synchronize()
            raise
        if self.state == "not captured yet":
            self._stream.synchronize()
            self._capture()

    def destroy(self) -> None:
        """Give the graph back; may be called twice."""
        self._destroy()

    def _capture(self) -> None:
        cuda, graph = self._stream.cuda, None
        try:
            mode = cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            cuda.call("cudaStreamBeginCapture", self._stream.handle, mode)
            try:
                self._enqueue()
            finally:
                graph = cuda.call("cudaStreamEndCapture", self._stream.handle)
            self._graph = cuda.call("cudaGraphInstantiate", graph, 0)
        except SegPerceptionError as error:
            self.state = f"none: {error}"
            self._log(f"no CUDA graph, each run costs a little more: {error}")
            return
        finally:
            if graph is not None:
                cuda.call("cudaGraphDestroy", graph)
        self._destroy = _once(self, cuda, "cudaGraphExecDestroy", self._graph)
        self.state = "captured"


def _once(owner: Any, cuda: Cuda, function: str, handle: Any) -> Callable[[], object]:
    """Call function(handle) when the result is called or owner is gone, whichever is first. Not at the program's end:
    the driver may be gone by then, and gives everything back itself."""
    finalizer = weakref.finalize(owner, cuda.call, function, handle)
    finalizer.atexit = False
    return finalizer
