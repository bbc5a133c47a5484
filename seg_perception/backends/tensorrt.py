"""The network on an NVIDIA GPU, with TensorRT or TensorRT for RTX.

Building engines has been tried with the real library; running them only against recorded calls, on no GPU so far.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends import tensorrt_engine
from seg_perception.backends.cuda import Cuda, Gpu, Transfer
from seg_perception.backends.engine_cache import EngineCache, EngineKey, sha256_of, write_aside
from seg_perception.backends.tensorrt_engine import Flavor
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo
from seg_perception.results import NetworkOutput

LOG_EVERY_S = 5.0


def why_unavailable() -> str | None:
    """Why TensorRT cannot run here, None when it can: what `auto` asks. Imports no TensorRT."""
    if not tensorrt_engine.installed():
        return "neither tensorrt nor tensorrt_rtx is installed"
    if importlib.util.find_spec("cuda") is None:
        return "cuda-python is not installed"
    try:
        Cuda().gpu()
    except SegPerceptionError as error:
        return str(error)
    return None


class TensorRTBackend:
    """Runs a model file as an engine that is built on this machine and cached.

    batch: images per run; the model's own where its file fixes one. One stream, pinned buffers and, after a first
    ordinary run, one CUDA graph of copy in, network, copy out: nothing is allocated per frame.
    """

    def __init__(
        self,
        model: ModelInfo,
        *,
        cache_dir: Path | None = None,
        batch: int = 1,
        flavor: Flavor | None = None,
        cuda: Cuda | None = None,
        log: Callable[[str], None],
    ) -> None:
        """flavor, cuda: None = what is installed.

        Raises SegPerceptionError when TensorRT or a GPU is missing, or when no engine can be built, loaded or run.
        """
        self._model = model
        self._log = log
        self._batch = model.batch or batch
        self._flavor = flavor or tensorrt_engine.load_flavor((tensorrt_engine.installed() or ["tensorrt"])[0])
        self._cuda = cuda or Cuda()
        self._gpu = self._cuda.gpu()
        self._cache = EngineCache(cache_dir)
        self._transfers: dict[str, Transfer] = {}
        self._stream: Any = None
        self._graph: Any = None
        self._graph_state = "not captured yet"
        self._closed = False
        try:
            self._engine = self._load(engine_key(model, self._flavor, self._gpu, self._batch))
            self._kernels, self._context = self._make_context()
            self._stream = self._cuda.call("cudaStreamCreateWithFlags", self._cuda.runtime.cudaStreamNonBlocking)
            self._bind()
        except BaseException:
            self.close()
            raise

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """See Backend. Raises ValueError for images that do not fit, SegPerceptionError when the GPU fails."""
        if self._closed:
            raise RuntimeError("the backend is closed")
        source = self._transfers[INPUT].array
        if images.dtype != np.uint8 or images.shape != source.shape:
            raise ValueError(f"images is {images.dtype} {list(images.shape)}, expected uint8 {list(source.shape)}")
        np.copyto(source, images)
        if self._graph is not None:
            self._cuda.call("cudaGraphLaunch", self._graph, self._stream)
            self._cuda.call("cudaStreamSynchronize", self._stream)
        else:
            self._enqueue()
            self._cuda.call("cudaStreamSynchronize", self._stream)
            if self._graph_state == "not captured yet":
                self._capture()
        return NetworkOutput(*(self._transfers[name].array for name in OUTPUTS))

    def warm_up(self) -> None:
        """See Backend; the ordinary run, the capture of the graph, and its first launch."""
        black = np.zeros_like(self._transfers[INPUT].array)
        self.infer(black)
        self.infer(black)

    def describe(self) -> Mapping[str, str]:
        """See Backend."""
        return {
            "backend": f"{self._flavor.trt.__name__} {self._flavor.version}",
            "device": f"{self._gpu.name} ({self._gpu.compute_capability})",
            "model": self._model.name,
            "precision": self._model.precision,
            "batch": str(self._batch),
            "cuda_graph": self._graph_state,
        }

    def close(self) -> None:
        """See Backend."""
        if self._closed:
            return
        self._closed = True
        if self._graph is not None:
            self._cuda.call("cudaGraphExecDestroy", self._graph)
        self._context = self._kernels = self._engine = None
        for transfer in self._transfers.values():
            transfer.free()
        if self._stream is not None:
            self._cuda.call("cudaStreamDestroy", self._stream)

    def _load(self, key: EngineKey) -> Any:
        """The deserialized engine of key; a cached one that does not load is built again, once."""
        runtime = self._runtime = self._flavor.trt.Runtime(self._flavor.logger)
        engine = runtime.deserialize_cuda_engine(self._cache.get(key, self._build, self._log))
        if engine is None:
            self._log(f"engine {self._cache.path(key)} does not load here, so it is built again")
            self._cache.discard(key)
            engine = runtime.deserialize_cuda_engine(self._cache.get(key, self._build, self._log))
        if engine is None:
            cause = (self._flavor.logger.errors or ["it gave no reason"])[-1]
            raise SegPerceptionError(
                f"TensorRT cannot load the engine that it built ({cause}): use the backend onnxruntime"
            )
        return engine

    def _build(self) -> bytes:
        name, version = self._flavor.name, self._flavor.version
        self._log(
            f"building an engine of {self._model.name} with {name} {version} for {self._gpu.name}: this takes a while"
        )
        started = time.monotonic()
        said = started

        def progress(share: float, phase: str) -> None:
            nonlocal said
            if time.monotonic() - said >= LOG_EVERY_S:
                said = time.monotonic()
                self._log(f"building the engine: {share:.0%}, {phase}")

        gpu = f"{self._gpu.name}-{self._gpu.compute_capability}".replace(" ", "_").replace("/", "_")
        timing_cache = self._cache.beside(f"timing-{name}-{version}-{gpu}.cache")
        engine = tensorrt_engine.build(
            self._flavor, self._model, batch=self._batch, timing_cache=timing_cache, progress=progress
        )
        self._log(f"built the engine in {time.monotonic() - started:.0f} s ({len(engine) / 1e6:.0f} MB)")
        return engine

    def _make_context(self) -> tuple[Any, Any]:
        """Cache of just-in-time compiled kernels (TensorRT for RTX; else None), and the execution context."""
        if self._flavor.name != "rtx":
            return None, self._engine.create_execution_context()
        config = self._engine.create_runtime_config()
        kernels = config.create_runtime_cache()
        path = self._kernels_path()
        if path.is_file():
            kernels.deserialize(path.read_bytes())
        config.set_runtime_cache(kernels)
        return kernels, self._engine.create_execution_context(config)

    def _kernels_path(self) -> Path:
        key = engine_key(self._model, self._flavor, self._gpu, self._batch)
        return self._cache.path(key).with_suffix(".kernels")

    def _bind(self) -> None:
        """Check the engine's tensors against the model file and give each its memory."""
        expected = tensor_shapes(self._model, self._batch)
        found = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if self._context is None or found != set(expected):
            raise SegPerceptionError(
                f"the engine has the tensors {sorted(found)}, expected {sorted(expected)}: export the model again"
            )
        self._context.set_input_shape(INPUT, expected[INPUT][0])
        for name, (shape, dtype) in expected.items():
            got_shape = tuple(self._context.get_tensor_shape(name))
            got_dtype = np.dtype(self._flavor.trt.nptype(self._engine.get_tensor_dtype(name)))
            if (got_shape, got_dtype) != (shape, np.dtype(dtype)):
                raise SegPerceptionError(
                    f"the engine's tensor '{name}' is {got_dtype} {list(got_shape)}, "
                    f"expected {np.dtype(dtype)} {list(shape)}: export the model again"
                )
            self._transfers[name] = Transfer(self._cuda, shape, dtype)
            self._context.set_tensor_address(name, self._transfers[name].device)

    def _enqueue(self) -> None:
        self._transfers[INPUT].to_device(self._stream)
        if not self._context.execute_async_v3(int(self._stream)):
            cause = (self._flavor.logger.errors or ["it gave no reason"])[-1]
            raise SegPerceptionError(
                f"TensorRT cannot run the engine ({cause}): check nvidia-smi, or use the backend onnxruntime"
            )
        for name in OUTPUTS:
            self._transfers[name].to_host(self._stream)

    def _capture(self) -> None:
        """Record a run as a CUDA graph; where that cannot be, runs go on one by one and describe() says so."""
        if self._kernels is not None:
            write_aside(self._kernels_path(), bytes(self._kernels.serialize()))
        cuda = self._cuda
        try:
            mode = cuda.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
            cuda.call("cudaStreamBeginCapture", self._stream, mode)
            try:
                self._enqueue()
            finally:
                graph = cuda.call("cudaStreamEndCapture", self._stream)
            self._graph = cuda.call("cudaGraphInstantiate", graph, 0)
            cuda.call("cudaGraphDestroy", graph)
        except SegPerceptionError as error:
            self._graph_state = f"none: {error}"
            self._log(f"no CUDA graph, each run costs a little more: {error}")
            return
        self._graph_state = "captured"


def engine_key(model: ModelInfo, flavor: Flavor, gpu: Gpu, batch: int) -> EngineKey:
    """All that an engine of model on this GPU depends on."""
    return EngineKey(
        model_name=model.name,
        model_sha256=sha256_of(model.path),
        flavor=flavor.name,
        version=flavor.version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=model.precision,
        batch=model.batch or batch,
        options={"strongly_typed": str(hasattr(flavor.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"))},
    )


def tensor_shapes(model: ModelInfo, batch: int) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """Shape and type of every tensor of a model file, by name, for runs of batch images."""
    outputs = zip(OUTPUTS, (len(model.labels), 1, 2))
    return {
        INPUT: ((batch, *model.size_hw, 3), np.uint8),
        **{name: ((batch, channels, *model.grid_hw), np.float32) for name, channels in outputs},
    }
