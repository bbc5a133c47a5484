"""The little of CUDA's runtime that a backend needs, each call checked. Imported when a GPU is looked for."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seg_perception.errors import BackendError, SegPerceptionError


@dataclass(frozen=True)
class Gpu:
    """name: as the driver says it; compute_capability: as '8.6'."""

    name: str
    compute_capability: str


DRIVER = "libcuda.so.1"


def driver_installed() -> bool:
    """Whether this machine, or the container, has NVIDIA's driver at all."""
    try:
        ctypes.CDLL(DRIVER)
    except OSError:
        return False
    return True


class Cuda:
    """CUDA's runtime through cuda-python."""

    def __init__(self, runtime: ModuleType | None = None) -> None:
        """Raises SegPerceptionError when cuda-python is missing."""
        try:
            self.runtime: Any = runtime or importlib.import_module("cuda.bindings.runtime")
        except ImportError as error:
            raise SegPerceptionError(
                f"'cuda.bindings' cannot be imported ({error}): install cuda-bindings for this CUDA"
            ) from error

    def call(self, function: str, *arguments: Any) -> Any:
        """Result of a function of the runtime, None where it has none.

        Raises BackendError naming the function and CUDA's reason.
        """
        error, *results = getattr(self.runtime, function)(*arguments)
        if error != self.runtime.cudaError_t.cudaSuccess:
            _, text = self.runtime.cudaGetErrorString(error)
            reason = text.decode() if isinstance(text, bytes) else str(error)
            raise BackendError(f"CUDA's {function} failed ({reason}): check nvidia-smi, the driver and free GPU memory")
        return results[0] if results else None

    def gpu(self) -> Gpu:
        """The GPU in use. Raises SegPerceptionError when there is none."""
        try:
            count = self.call("cudaGetDeviceCount")
        except BackendError as error:
            if driver_installed():
                raise
            # CUDA calls the version of a driver that is not there insufficient.
            raise SegPerceptionError(
                f"no NVIDIA driver was found ({DRIVER} is not there): install one, or start the container with --gpus all, on a "
                "Jetson with --runtime nvidia"
            ) from error
        if not count:
            raise SegPerceptionError("CUDA finds no GPU: check nvidia-smi, or use the backend onnxruntime")
        properties = self.call("cudaGetDeviceProperties", 0)
        name = properties.name.decode() if isinstance(properties.name, bytes) else str(properties.name)
        return Gpu(name.rstrip("\0"), f"{properties.major}.{properties.minor}")


NOT_YET, CAPTURED = "not captured yet", "captured"
"""States of Work; another one says why there is no graph."""
LONGEST_WAIT_RUNS = 1024
"""Runs without a graph, at most, between two attempts to capture one."""


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
        """Copy values, of the shape and type of this memory, to the GPU and wait for it. Raises ValueError for more than it
        holds."""
        values = np.ascontiguousarray(values)  # copied as they lie in memory
        if values.nbytes > self.bytes:
            raise ValueError(f"{values.nbytes} bytes for memory of {self.bytes}")
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
        self._pinned = memoryview(memory)
        self.array: NDArray[Any] = np.ndarray(shape, dtype, buffer=self._pinned)

    def hold(self, shape: Sequence[int], dtype: DTypeLike) -> None:
        """Use the same memory for another array, which must not be larger than the first."""
        self.array = np.ndarray(shape, dtype, buffer=self._pinned)

    def to_device(self, size: int | None = None) -> None:
        """Queue the copy of the first size bytes from host to GPU; None = of the array."""
        kind = self.stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self.stream.copy(self.address, self.array.ctypes.data, self.array.nbytes if size is None else size, kind)

    def to_host(self, size: int | None = None) -> None:
        """Queue the copy of the first size bytes from GPU to host; None = of the array."""
        kind = self.stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self.stream.copy(self.array.ctypes.data, self.address, self.array.nbytes if size is None else size, kind)


class Buffers:
    """Arrays on the GPU by name. One that is reserved again keeps its memory where that is large enough: so a mask of
    another size costs an allocation only if it is the largest so far."""

    def __init__(self, stream: Stream) -> None:
        self.memory: dict[str, DeviceMemory] = {}
        self.results: dict[str, Transfer] = {}
        self._stream = stream

    def reserve(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> DeviceMemory:
        """Memory for such an array."""
        if not self._has_room(self.memory, name, shape, dtype):
            self.memory[name] = DeviceMemory(self._stream, shape, dtype)
        return self.memory[name]

    def reserve_result(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        """Memory for such an array, and its twin on the host."""
        if self._has_room(self.results, name, shape, dtype):
            self.results[name].hold(shape, dtype)
        else:
            self.results[name] = Transfer(self._stream, shape, dtype)

    def free(self) -> None:
        """Give all of it back."""
        held = (*self.memory.values(), *self.results.values())
        self.memory, self.results = {}, {}
        do_all(memory.free for memory in held)

    @staticmethod
    def _has_room(held: Mapping[str, DeviceMemory], name: str, shape: tuple[int, ...], dtype: DTypeLike) -> bool:
        if name not in held:
            return False
        if held[name].bytes >= np.prod(shape) * np.dtype(dtype).itemsize:
            return True
        held[name].free()
        return False


class Work:
    """What `enqueue` queues on a stream, of fixed shapes and addresses: call by call in the first run, which CUDA
    demands, then as one CUDA graph. state: whether there is a graph, and why not.

    The graph is captured in the second run, so that work that is done only once, as after every change of size in a
    folder of photos, costs no capture. One that fails is tried again in the 3rd, 5th, 9th, ... run.
    """

    def __init__(self, stream: Stream, enqueue: Callable[[], None], log: Callable[[str], None]) -> None:
        self.state = NOT_YET
        self._stream, self._enqueue, self._log = stream, enqueue, log
        self._runs, self._next_capture = 0, 1
        self._graph: Any = None
        self._destroy: Callable[[], object] = lambda: None

    def run(self) -> None:
        """Queue it; where that fails half way, what is queued has been waited for."""
        if self._graph is None and self._runs == self._next_capture:
            self._capture()
            self._next_capture += min(self._runs, LONGEST_WAIT_RUNS)
        if self._graph is not None:
            self._stream.cuda.call("cudaGraphLaunch", self._graph, self._stream.handle)
            return
        # Kernels are launched by the driver, which needs a current context on this thread: the runtime makes one.
        self._stream.cuda.call("cudaSetDevice", 0)
        try:
            self._enqueue()
        except BaseException:
            # Whoever handles it may free what the queued half works on; and it says more than a wait that fails, too.
            with contextlib.suppress(SegPerceptionError):
                self._stream.synchronize()
            raise
        self._runs += 1

    def destroy(self) -> None:
        """Give the graph back; may be called twice."""
        self._destroy()

    def _capture(self) -> None:
        cuda, graph = self._stream.cuda, None
        cuda.call("cudaSetDevice", 0)
        try:
            mode = cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            with _nothing_collected():
                cuda.call("cudaStreamBeginCapture", self._stream.handle, mode)
                try:
                    self._enqueue()
                except BaseException:
                    with contextlib.suppress(SegPerceptionError):
                        graph = cuda.call("cudaStreamEndCapture", self._stream.handle)
                    raise
                graph = cuda.call("cudaStreamEndCapture", self._stream.handle)
            self._graph = cuda.call("cudaGraphInstantiate", graph, 0)
        except SegPerceptionError as error:
            if self.state == NOT_YET:
                self._log(f"no CUDA graph for now, each run costs a little more: {error}")
            self.state = f"none: {error}"
            return
        finally:
            if graph is not None:
                cuda.call("cudaGraphDestroy", graph)
        self._destroy = _once(self, cuda, "cudaGraphExecDestroy", self._graph)
        self.state = CAPTURED


def do_all(calls: Iterable[Callable[[], object]]) -> None:
    """Call each, in order, also after one that raises; raises what the last of those raised, the others as its
    context."""
    with contextlib.ExitStack() as stack:
        for call in reversed(list(calls)):
            stack.callback(call)


@contextlib.contextmanager
def _nothing_collected() -> Iterator[None]:
    """Freeing memory breaks the capture that its thread is in, and Python may free what it collects at any allocation."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _once(owner: Any, cuda: Cuda, function: str, handle: Any) -> Callable[[], object]:
    """Call function(handle) when the result is called or owner is gone, whichever is first. Not at the program's end:
    the driver may be gone by then, and gives everything back itself."""
    finalizer = weakref.finalize(owner, cuda.call, function, handle)
    finalizer.atexit = False
    return finalizer
