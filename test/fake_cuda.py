"""A GPU on ordinary memory, strict in what a real one would only answer with a crash or with wrong numbers.

Work is done when it is waited for and not before; whoever touches memory that is not there, or not of the right kind,
fails. Kernels are the real ones, compiled by g++ for the CPU from the source that NVRTC compiles for a GPU.
"""

# ruff: noqa: N802, N815 - names are CUDA's and TensorRT's
from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import AUTO_PRECISION
from seg_perception.backends.cuda.driver import Cuda, Gpu
from seg_perception.backends.cuda.kernels import STRUCTS, CudaKernels, source
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo

if TYPE_CHECKING:
    from seg_perception.backends.tensorrt.backend import TensorRTBackend

HOST, DEVICE = "host", "device"
POISON = 0xA5
"""What memory holds that nothing was written to."""
GPU_BYTES = 1 << 30
GUARD_BYTES = 16384
"""Behind every piece of memory lie so many bytes that nothing may write to."""

SHIM = """
#include <cmath>
#include <cstring>
#define __device__
#define __global__
struct Index { unsigned x; };
static thread_local Index blockIdx, blockDim, threadIdx;
template <typename T> static T atomicAdd(T *at, T value) { T old = *at; *at += value; return old; }
template <typename T> static T atomicOr(T *at, T value) { T old = *at; *at |= value; return old; }
template <typename T> static T atomicMin(T *at, T value) { T old = *at; if (value < old) *at = value; return old; }
template <typename T> static T atomicMax(T *at, T value) { T old = *at; if (value > old) *at = value; return old; }
static int __ffs(int bits) { return __builtin_ffs(bits); }
using std::floor;
using std::isfinite;
%s
template <typename Arguments>
static void run(void (*kernel)(Arguments), unsigned blocks, unsigned threads, bool backwards, const void *bytes) {
    Arguments arguments;
    std::memcpy(&arguments, bytes, sizeof arguments);
    blockDim.x = threads;
    for (unsigned i = 0; i < blocks * threads; i++) {
        unsigned at = backwards ? blocks * threads - 1 - i : i;
        blockIdx.x = at / threads;
        threadIdx.x = at %% threads;
        kernel(arguments);
    }
}
extern "C" int size_of_resize() { return sizeof(Resize); }
extern "C" int size_of_decode() { return sizeof(Decode); }
extern "C" int size_of_steady() { return sizeof(Steady); }
extern "C" void run_resize(void (*kernel)(Resize), unsigned blocks, unsigned threads, bool backwards, const void *bytes)
{ run(kernel, blocks, threads, backwards, bytes); }
extern "C" void run_decode(void (*kernel)(Decode), unsigned blocks, unsigned threads, bool backwards, const void *bytes)
{ run(kernel, blocks, threads, backwards, bytes); }
extern "C" void run_steady(void (*kernel)(Steady), unsigned blocks, unsigned threads, bool backwards, const void *bytes)
{ run(kernel, blocks, threads, backwards, bytes); }
"""

KIND_OF = {
    kernel: next(struct for struct in STRUCTS if struct.__name__ == kind)
    for kernel, kind in re.findall(r"^KERNEL (\w+)\(const (\w+)", source(), re.MULTILINE)
}
"""What each kernel takes."""


def compile_for_cpu(folder: Path) -> Path:
    """Shared library, in a folder, of the kernels, and of the loops over their threads. Raises FileNotFoundError without g++."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise FileNotFoundError("g++ is not installed")
    unit, library = folder / "kernels.cpp", folder / "kernels.so"
    unit.write_text(SHIM % source())
    options = ["-std=c++14", "-O1", "-ffp-contract=off", "-Wall", "-Wno-unused-function", "-Werror", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", str(library), str(unit)], check=True)
    return library


class FakeCudaRuntime:
    """CUDA's runtime; records the names of the calls. `fails` names functions that report an error."""

    cudaError_t = SimpleNamespace(cudaSuccess=0)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: set[str] = set()
        self.fails_after: dict[str, int] = {}
        self.memory: dict[int, tuple[str, Any, int]] = {}
        self.sent_bytes = self.fetched_bytes = 0
        self.streams: set[int] = set()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self.events: dict[int, float] = {}
        self._queue: list[Callable[[], None]] = []
        self._capturing: list[Callable[[], None]] | None = None
        self._handles = 0

    @property
    def held(self) -> dict[str, int]:
        """How many things of each kind were not given back; empty when all were."""
        kinds = [kind for kind, _, _ in self.memory.values()]
        counts = {HOST: kinds.count(HOST), DEVICE: kinds.count(DEVICE), "streams": len(self.streams)}
        counts.update(graphs=len(self.graphs), executables=len(self.executables))
        return {name: count for name, count in counts.items() if count}

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            left = self.fails_after.get(name)
            if left is not None:
                self.fails_after[name] = left - 1
            if name in self.fails or left == 0:
                if name == "cudaStreamEndCapture":
                    self._capturing = None  # a capture that is no graph has ended all the same
                return (7, None)
            # An unknown name is a mistake in the code under test, so it must not pass.
            return (0, *getattr(FakeCudaRuntime, f"_{name}")(self, *arguments))

        return call

    def clear(self) -> None:
        """Forget what is queued or being captured, after a test of what goes wrong."""
        self._queue.clear()
        self._capturing = None

    def check_guards(self) -> None:
        """Fail where something was written behind the end of memory."""
        for _, buffer, size in self.memory.values():
            guard = np.frombuffer(buffer, np.uint8, GUARD_BYTES, size)
            assert (guard == POISON).all(), f"written behind the end of {size} bytes"

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        """Do work when the stream is waited for, or with the graph that is being captured."""
        assert stream in self.streams, f"stream {stream} is not there"
        (self._queue if self._capturing is None else self._capturing).append(work)

    def array(self, address: int, shape: tuple[int, ...], dtype: Any, kind: str = DEVICE) -> NDArray[Any]:
        """View of memory of a kind, which must be there and long enough."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        for start, (held, _, length) in self.memory.items():
            if start <= address < start + length:
                assert held == kind, f"{held} memory used as {kind} memory"
                assert address + size <= start + length, f"{address + size - start} bytes used of {length}"
                return np.ndarray(shape, dtype, buffer=memoryview((ctypes.c_uint8 * size).from_address(address)))
        raise AssertionError(f"no {kind} memory at {address}: freed, or never there")

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, f"fake error {error}".encode()

    def _handle(self) -> int:
        self._handles += 1
        return self._handles

    def _cudaGetDeviceCount(self) -> tuple[int]:
        return (1,)

    def _cudaGetDeviceProperties(self, device: int) -> tuple[Any]:
        return (SimpleNamespace(name=b"Fake GPU\0", major=8, minor=6),)

    def _cudaSetDevice(self, device: int) -> tuple[()]:
        return ()

    def _allocate(self, kind: str, size: int) -> tuple[int]:
        assert self._capturing is None, "memory taken during capture"
        buffer = (ctypes.c_uint8 * (size + GUARD_BYTES))()
        ctypes.memset(buffer, POISON, size + GUARD_BYTES)
        address = ctypes.addressof(buffer)
        self.memory[address] = (kind, buffer, size)
        return (address,)

    def _cudaHostAlloc(self, size: int, flags: int) -> tuple[int]:
        return self._allocate(HOST, size)

    def _cudaMalloc(self, size: int) -> tuple[int]:
        return self._allocate(DEVICE, size)

    def _free(self, kind: str, address: int) -> tuple[()]:
        assert not self._queue, "memory freed while work is queued"
        assert self._capturing is None, "memory freed during capture"
        held, buffer, size = self.memory.pop(address)
        assert held == kind, f"{held} memory freed as {kind} memory"
        ctypes.memset(buffer, POISON, size)
        return ()

    def _cudaFree(self, address: int) -> tuple[()]:
        return self._free(DEVICE, address)

    def _cudaFreeHost(self, address: int) -> tuple[()]:
        return self._free(HOST, address)

    def _cudaStreamCreateWithFlags(self, flags: int) -> tuple[int]:
        assert flags == self.cudaStreamNonBlocking
        stream = self._handle()
        self.streams.add(stream)
        return (stream,)

    def _cudaStreamDestroy(self, stream: int) -> tuple[()]:
        self.streams.remove(stream)
        return ()

    def _cudaStreamSynchronize(self, stream: int) -> tuple[()]:
        assert stream in self.streams and self._capturing is None
        while self._queue:
            self._queue.pop(0)()
        self.check_guards()
        return ()

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[()]:
        upload = kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice

        def copy() -> None:
            if kind == self.cudaMemcpyKind.cudaMemcpyDeviceToDevice:
                np.copyto(self.array(target, (size,), np.uint8), self.array(source, (size,), np.uint8))
                return
            on_device = self.array(target if upload else source, (size,), np.uint8)
            pinned = any(
                start <= (source if upload else target) < start + n for start, (_, _, n) in self.memory.items()
            )
            if pinned or not upload:
                on_host = self.array(source if upload else target, (size,), np.uint8, HOST)
            else:
                on_host = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(source))
            self.sent_bytes += size if upload else 0
            self.fetched_bytes += 0 if upload else size
            np.copyto(*((on_device, on_host) if upload else (on_host, on_device)))

        self.enqueue(stream, copy)
        return ()

    def _cudaMemGetInfo(self) -> tuple[int, int]:
        taken = sum(size for kind, _, size in self.memory.values() if kind == DEVICE)
        return GPU_BYTES - taken, GPU_BYTES

    def _cudaDriverGetVersion(self) -> tuple[int]:
        return (13000,)

    def _cudaRuntimeGetVersion(self) -> tuple[int]:
        return (12060,)

    def _cudaSetDeviceFlags(self, flags: int) -> tuple[()]:
        return ()

    def _cudaEventCreate(self) -> tuple[int]:
        return (self._handle(),)

    def _cudaEventRecord(self, event: int, stream: int) -> tuple[()]:
        def record() -> None:
            self.events[event] = time.perf_counter()

        self.enqueue(stream, record)
        return ()

    def _cudaEventSynchronize(self, event: int) -> tuple[()]:
        while event not in self.events:
            self._queue.pop(0)()
        return ()

    def _cudaEventElapsedTime(self, first: int, last: int) -> tuple[float]:
        return (1e3 * (self.events[last] - self.events[first]),)

    def _cudaEventDestroy(self, event: int) -> tuple[()]:
        del self.events[event]
        return ()

    def _cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[()]:
        assert stream in self.streams and self._capturing is None
        self._capturing = []
        return ()

    def _cudaStreamEndCapture(self, stream: int) -> tuple[int]:
        assert self._capturing is not None
        graph = self._handle()
        self.graphs[graph], self._capturing = self._capturing, None
        return (graph,)

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[int]:
        executable = self._handle()
        self.executables[executable] = self.graphs[graph]
        return (executable,)

    def _cudaGraphDestroy(self, graph: int) -> tuple[()]:
        del self.graphs[graph]
        return ()

    def _cudaGraphLaunch(self, executable: int, stream: int) -> tuple[()]:
        for work in self.executables[executable]:
            self.enqueue(stream, work)
        return ()

    def _cudaGraphExecDestroy(self, executable: int) -> tuple[()]:
        assert not self._queue, "a graph destroyed while work is queued"
        del self.executables[executable]
        return ()


class FakeNvrtc:
    """NVRTC whose machine code is the name of a library for the CPU."""

    nvrtcResult = SimpleNamespace(NVRTC_SUCCESS=0)

    def __init__(self, library: Path) -> None:
        self._code = str(library).encode()
        self.programs: set[int] = set()
        self.options: list[bytes] = []
        self.compile_error = 0

    def nvrtcVersion(self) -> tuple[int, int, int]:
        return 0, 13, 0

    def nvrtcCreateProgram(self, source: bytes, name: bytes, count: int, headers: list[Any], names: list[Any]) -> Any:
        assert b"paint_masks" in source
        self.programs.add(1)
        return 0, 1

    def nvrtcCompileProgram(self, program: int, count: int, options: list[bytes]) -> tuple[int]:
        assert count == len(options)
        self.options = options
        return (self.compile_error,)

    def nvrtcGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, f"fake error {error}".encode()

    def nvrtcGetProgramLogSize(self, program: int) -> tuple[int, int]:
        return 0, 4

    def nvrtcGetProgramLog(self, program: int, log: bytearray) -> tuple[int]:
        log[:] = b"log\0"
        return (0,)

    def nvrtcGetCUBINSize(self, program: int) -> tuple[int, int]:
        return 0, len(self._code)

    def nvrtcGetCUBIN(self, program: int, code: bytearray) -> tuple[int]:
        code[:] = self._code
        return (0,)

    def nvrtcDestroyProgram(self, program: int) -> tuple[int]:
        self.programs.remove(program)
        return (0,)


class FakeDriver:
    """CUDA's driver, which launches what FakeNvrtc compiled. backwards: the order in which threads run."""

    CUresult = SimpleNamespace(CUDA_SUCCESS=0)

    def __init__(self, runtime: FakeCudaRuntime) -> None:
        self._runtime = runtime
        self.modules: dict[int, ctypes.CDLL] = {}
        self.launched: list[str] = []
        self.backwards = False
        self.load_error = 0

    def cuGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, f"fake error {error}".encode()

    def cuModuleLoadData(self, code: bytes) -> tuple[int, int]:
        if self.load_error:
            return self.load_error, 0
        library = ctypes.CDLL(code.decode())
        for struct in STRUCTS:
            assert getattr(library, f"size_of_{struct.__name__.lower()}")() == ctypes.sizeof(struct)
        self.modules[1] = library
        return 0, 1

    def cuModuleUnload(self, module: int) -> tuple[int]:
        del self.modules[module]
        return (0,)

    def cuModuleGetFunction(self, module: int, name: bytes) -> tuple[int, Any]:
        try:
            return 0, getattr(self.modules[module], name.decode())
        except AttributeError:
            return 500, None

    def cuLaunchKernel(self, kernel: Any, *arguments: Any) -> tuple[int]:
        *grid_and_block, shared, stream, parameters, extra = arguments
        blocks, *more_blocks, threads, one, also_one = grid_and_block
        assert more_blocks == [1, 1] and one == also_one == 1 and shared == extra == 0 and threads <= 1024
        kind = KIND_OF[kernel.__name__]
        copied = kind.from_buffer_copy(kind.from_address(ctypes.c_void_p.from_address(parameters).value))

        def work() -> None:
            for name, field in kind._fields_:
                if field is ctypes.c_void_p:
                    self._runtime.array(getattr(copied, name), (1,), np.uint8)
            getattr(self.modules[1], f"run_{kind.__name__.lower()}")(
                kernel, blocks, threads, self.backwards, ctypes.byref(copied)
            )

        self.launched.append(kernel.__name__)
        self._runtime.enqueue(int(stream), work)
        return (0,)


class FakeTensorRT:
    """What the backend uses of the tensorrt module, on a FakeCudaRuntime. An engine is the bytes `FAKE<what>`; its
    network is the model file, run by ONNX Runtime."""

    __name__ = "fake_tensorrt"
    __version__ = "10.3.0"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    ComputeCapability = SimpleNamespace(CURRENT="current")
    BuilderFlag = SimpleNamespace(REQUIRE_USER_ALLOCATION="user allocation")
    DynamicShapesKernelSpecializationStrategy = SimpleNamespace(LAZY="lazy", EAGER="eager")

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)

    class IProgressMonitor:
        pass

    def __init__(self, cuda: FakeCudaRuntime, model: ModelInfo) -> None:
        self.cuda, self.model = cuda, model
        self.dtypes = {INPUT: np.uint8, **dict.fromkeys(OUTPUTS, np.float32)}
        self.builds = 0
        self.build_result: bytes | None = b"FAKE engine"
        self.run_result = True
        self.parse_errors: list[str] = []
        self.timing_caches: list[bytes] = []
        self.profiles: list[tuple[Any, ...]] = []
        self.contexts = 0
        self.flags: list[str] = []
        self.specialised: list[str] = []
        self.harm: Callable[[list[NDArray[Any]]], None] = lambda answers: None

    @staticmethod
    def nptype(dtype: Any) -> Any:
        return dtype

    def Builder(self, logger: Any) -> Any:
        def build(network: Any, config: Any) -> bytes | None:
            self.builds += 1
            monitor = config.progress_monitor
            monitor.phase_start("all", None, 2)
            go_on = monitor.step_complete("all", 0)
            monitor.phase_finish("all")
            return self.build_result if go_on else None

        def timing_cache(content: bytes) -> Any:
            self.timing_caches.append(content)
            return SimpleNamespace(serialize=lambda: b"timings")

        return SimpleNamespace(
            create_network=lambda flags: SimpleNamespace(),
            create_builder_config=lambda: SimpleNamespace(
                add_optimization_profile=lambda profile: 0,
                create_timing_cache=timing_cache,
                set_timing_cache=lambda cache, ignore_mismatch: True,
                set_compute_capability=lambda capability, place: True,
                set_flag=self.flags.append,
            ),
            create_optimization_profile=lambda: SimpleNamespace(
                set_shape=lambda name, *shapes: self.profiles.append((name, *shapes))
            ),
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return SimpleNamespace(
            parse=lambda content: not self.parse_errors,
            num_errors=len(self.parse_errors),
            get_error=lambda i: SimpleNamespace(desc=lambda: self.parse_errors[i]),
        )

    def Runtime(self, logger: Any) -> Any:
        self.runtime = SimpleNamespace(deserialize_cuda_engine=self._engine, engine_host_code_allowed=True)
        return self.runtime

    def _engine(self, content: bytes) -> Any:
        if content[:4] != b"FAKE":
            return None
        names = list(self.dtypes)
        return SimpleNamespace(
            num_io_tensors=len(names),
            get_tensor_name=lambda i: names[i],
            get_tensor_dtype=self.dtypes.__getitem__,
            create_execution_context=self._context,
            create_runtime_config=lambda: SimpleNamespace(
                dynamic_shapes_kernel_specialization_strategy="lazy",
                create_runtime_cache=lambda: SimpleNamespace(serialize=lambda: b"kernels"),
                set_runtime_cache=lambda cache: True,
            ),
        )

    def _context(self, config: Any = None) -> Any:
        """config: of TensorRT for RTX."""
        if config is not None:
            self.specialised.append(config.dynamic_shapes_kernel_specialization_strategy)
        return _FakeContext(self)


class _FakeContext:
    def __init__(self, trt: FakeTensorRT) -> None:
        trt.contexts += 1
        self._trt = trt
        self._count = 0
        self._addresses: dict[str, int] = {}
        self._session: Any = None

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        model = self._trt.model
        assert name == INPUT and shape[1:] == (*model.size_hw, 3)
        assert model.batch in (None, shape[0]), f"{shape[0]} images for a model of {model.batch}"
        if model.batch is None:
            (_, least, _, most) = self._trt.profiles[-1] if self._trt.profiles else (None, (1,), None, shape)
            assert least[0] <= shape[0] <= most[0], f"{shape[0]} images, the profile has {least[0]} to {most[0]}"
        self._count = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        model = self._trt.model
        channels = {OUTPUTS[0]: len(model.labels), OUTPUTS[1]: 1, OUTPUTS[2]: 2}
        return (self._count, *((*model.size_hw, 3) if name == INPUT else (channels[name], *model.grid_hw)))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert set(self._addresses) == {INPUT, *OUTPUTS}, "tensors without memory"
        if self._trt.run_result:
            self._trt.cuda.enqueue(stream, self._run)
        return self._trt.run_result

    def _run(self) -> None:
        trt = self._trt
        if self._session is None:
            import onnxruntime  # here, because gpu-check must do without

            self._session = onnxruntime.InferenceSession(str(trt.model.path), providers=["CPUExecutionProvider"])
        tensors = {
            name: trt.cuda.array(address, self.get_tensor_shape(name), trt.dtypes[name])
            for name, address in self._addresses.items()
        }
        answers = self._session.run(list(OUTPUTS), {INPUT: tensors[INPUT]})
        trt.harm(answers)
        for name, answer in zip(OUTPUTS, answers):
            tensors[name][:] = answer


class Machine:
    """A GPU with TensorRT, and what a backend on it logged. library: the kernels (compile_for_cpu), None = no NVRTC."""

    def __init__(self, model: ModelInfo, cache_dir: Path, batch: int = 1, library: Path | None = None) -> None:
        self.model, self.cache_dir, self.batch = model, cache_dir, batch
        self.precision, self.flavor = AUTO_PRECISION, "tensorrt"
        self.runtime: FakeCudaRuntime = FakeCudaRuntime()
        self.trt = FakeTensorRT(self.runtime, model)
        self.driver = FakeDriver(self.runtime)
        self.nvrtc = None if library is None else FakeNvrtc(library)
        self.lines: list[str] = []

    def backend(self) -> TensorRTBackend:
        from seg_perception.backends.tensorrt import engine as engines  # here, because it needs onnx
        from seg_perception.backends.tensorrt.backend import TensorRTBackend

        return TensorRTBackend(
            self.model,
            cache_dir=self.cache_dir,
            precision=self.precision,
            batch=self.batch,
            flavor=engines.Flavor(self.flavor, self.trt, engines._make_logger(self.trt)),
            cuda=Cuda(self.runtime),
            compile_kernels=self._compile,
            log=self.lines.append,
        )

    def _compile(self, gpu: Gpu) -> CudaKernels:
        if self.nvrtc is None:
            raise SegPerceptionError("NVRTC is not there: install it")
        return CudaKernels(gpu, self.nvrtc, self.driver)
