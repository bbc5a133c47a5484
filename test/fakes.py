"""Stand-ins: a tiny model file that every runtime accepts, a backend with a given answer, a recorded GPU."""

# ruff: noqa: N802, N815 - names are CUDA's and TensorRT's
from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from seg_perception import model_file
from seg_perception.labels import CAMVID, LabelClass, LabelSet
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo
from seg_perception.results import NetworkOutput

TWO_LABELS = LabelSet(
    (LabelClass(0, "road", (128, 64, 128), drivable_cost=0), LabelClass(1, "car", (0, 0, 142), thing=True))
)


def model_info(
    labels: LabelSet = CAMVID, size_hw: tuple[int, int] = (64, 96), stride: int = 8, batch: int | None = None
) -> ModelInfo:
    """A model of which there is no file."""
    grid_hw = (size_hw[0] // stride, size_hw[1] // stride)
    return ModelInfo(
        Path("none.onnx"), "fake", "fake", labels, "fp32", size_hw, grid_hw, batch, "nothing", "none", 0, 0
    )


def tiny_model(
    path: Path, size_hw: tuple[int, int] = (64, 96), labels: LabelSet = CAMVID, batch: int | None = None, seed: int = 0
) -> ModelInfo:
    """Write a model file of one convolution with random weights and read it back."""
    rng = np.random.default_rng(seed)
    channels = len(labels) + 3
    weights = numpy_helper.from_array(rng.normal(size=(channels, 3, 8, 8)).astype(np.float32) / 2000, "weights")
    splits = numpy_helper.from_array(np.array([len(labels), 1, 2], np.int64), "splits")
    nodes = [
        helper.make_node("Cast", [INPUT], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "weights"], ["all"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Split", ["all", "splits"], [OUTPUTS[0], "heat", OUTPUTS[2]], axis=1),
        helper.make_node("Sigmoid", ["heat"], [OUTPUTS[1]]),
    ]
    return write_model(path, nodes, [weights, splits], size_hw, labels, batch)


def write_model(
    path: Path,
    nodes: list[Any],
    weights: list[Any],
    size_hw: tuple[int, int],
    labels: LabelSet = CAMVID,
    batch: int | None = 1,
) -> ModelInfo:
    """Write nodes from `image` to the three outputs at stride 8 as a model file, and read it back. batch: None = any."""
    first: Any = "N" if batch is None else batch
    grid = [size_hw[0] // 8, size_hw[1] // 8]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, [first, *size_hw, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [first, count, *grid])
            for name, count in zip(OUTPUTS, (len(labels), 1, 2))
        ],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content = model_file.metadata(
        name="tiny",
        network="tiny",
        labels=labels,
        precision="fp32",
        training_data="none, made by a test",
        license_note="none",
        parameters=sum(int(np.prod(tensor.dims)) for tensor in weights),
        macs=0,
    )
    model_file.write_metadata(model, content)
    onnx.checker.check_model(model)
    model_file.save(model, path)
    return model_file.load(path)


class FakeBackend:
    """Answers with what `answer` makes of the images; keeps the latest images and counts runs."""

    def __init__(self, answer: Callable[[NDArray[np.uint8]], NetworkOutput]) -> None:
        self._answer = answer
        self.runs = 0
        self.images: NDArray[np.uint8] | None = None
        self.closed = False

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        self.runs += 1
        self.images = images.copy()
        return self._answer(images)

    def warm_up(self) -> None:
        self.runs += 1

    def describe(self) -> Mapping[str, str]:
        return {"backend": "fake", "device": "none", "model": "fake", "precision": "fp32"}

    def close(self) -> None:
        self.closed = True


def empty_output(model: ModelInfo, images: int = 1) -> NetworkOutput:
    """The first class everywhere and no centre."""
    h, w = model.grid_hw
    logits = np.zeros((images, len(model.labels), h, w), np.float32)
    logits[:, 0] = 10
    return NetworkOutput(logits, np.zeros((images, 1, h, w), np.float32), np.zeros((images, 2, h, w), np.float32))


class FakeCudaRuntime:
    """CUDA's runtime on ordinary memory: does what it is told, at once or when a captured graph is launched, and
    records the names of the calls. `fails` names functions that report an error."""

    cudaError_t = SimpleNamespace(cudaSuccess=0)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails: set[str] = set()
        self.memory: dict[int, Any] = {}
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}

    def __getattr__(self, name: str) -> Callable[..., tuple[Any, ...]]:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            if name in self.fails:
                return (7, None)
            return (0, *getattr(self, f"_{name}", lambda *_: ())(*arguments))

        return call

    def enqueue(self, work: Callable[[], None]) -> None:
        """Do work now, or with the graph that is being captured."""
        if self.capturing is None:
            work()
        else:
            self.capturing.append(work)

    def cudaGetErrorString(self, error: int) -> tuple[int, bytes]:
        return 0, f"fake error {error}".encode()

    def _cudaGetDeviceCount(self) -> tuple[int]:
        return (1,)

    def _cudaGetDeviceProperties(self, device: int) -> tuple[Any]:
        return (SimpleNamespace(name=b"Fake GPU\0", major=8, minor=6),)

    def _allocate(self, size: int) -> tuple[int]:
        buffer = (ctypes.c_uint8 * size)()
        address = ctypes.addressof(buffer)
        self.memory[address] = buffer
        return (address,)

    def _cudaHostAlloc(self, size: int, flags: int) -> tuple[int]:
        return self._allocate(size)

    def _cudaMalloc(self, size: int) -> tuple[int]:
        return self._allocate(size)

    def _cudaFree(self, address: int) -> tuple[()]:
        del self.memory[address]
        return ()

    _cudaFreeHost = _cudaFree

    def _cudaStreamCreateWithFlags(self, flags: int) -> tuple[int]:
        return (1,)

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> tuple[()]:
        self.enqueue(lambda: ctypes.memmove(target, source, size) and None)
        return ()

    def _cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[()]:
        self.capturing = []
        return ()

    def _cudaStreamEndCapture(self, stream: int) -> tuple[int]:
        number = len(self.graphs) + 1
        self.graphs[number], self.capturing = self.capturing or [], None
        return (number,)

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[int]:
        return (graph,)

    def _cudaGraphLaunch(self, graph: int, stream: int) -> tuple[()]:
        for work in self.graphs[graph]:
            work()
        return ()


def array_at(address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """View of memory at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, buffer=memoryview((ctypes.c_uint8 * size).from_address(address)))


class FakeTensorRT:
    """What the backend uses of the tensorrt module, on a FakeCudaRuntime. An engine is the bytes `FAKE<what>`; its
    network writes 1, 2, 3 times the sum of the image to the three outputs."""

    __name__ = "fake_tensorrt"
    __version__ = "10.3.0"
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)

    class ILogger:
        Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2)

    class IProgressMonitor:
        pass

    def __init__(self, cuda: FakeCudaRuntime, shapes: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
        self.cuda = cuda
        self.shapes = dict(shapes)
        self.builds = 0
        self.build_result: bytes | None = b"FAKE engine"
        self.run_result = True
        self.parse_errors: list[str] = []
        self.timing_caches: list[bytes] = []

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
            ),
            create_optimization_profile=lambda: SimpleNamespace(set_shape=lambda *shapes: None),
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return SimpleNamespace(
            parse=lambda content: not self.parse_errors,
            num_errors=len(self.parse_errors),
            get_error=lambda i: SimpleNamespace(desc=lambda: self.parse_errors[i]),
        )

    def Runtime(self, logger: Any) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=self._engine)

    def _engine(self, content: bytes) -> Any:
        if content[:4] != b"FAKE":
            return None
        names = list(self.shapes)
        return SimpleNamespace(
            num_io_tensors=len(names),
            get_tensor_name=lambda i: names[i],
            get_tensor_dtype=lambda name: self.shapes[name][1],
            create_execution_context=self._context,
        )

    def _context(self) -> Any:
        addresses: dict[str, int] = {}

        def work() -> None:
            total = array_at(addresses[INPUT], *self.shapes[INPUT]).sum(dtype=np.float64)
            for factor, name in enumerate(OUTPUTS, start=1):
                array_at(addresses[name], *self.shapes[name])[:] = factor * total

        def execute(stream: int) -> bool:
            if self.run_result:
                self.cuda.enqueue(work)
            return self.run_result

        return SimpleNamespace(
            set_input_shape=lambda name, shape: True,
            get_tensor_shape=lambda name: self.shapes[name][0],
            set_tensor_address=addresses.__setitem__,
            execute_async_v3=execute,
        )
