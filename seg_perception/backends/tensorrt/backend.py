"""The network on an NVIDIA GPU, with TensorRT or TensorRT for RTX.

Building engines has been tried with the real library; running them only against recorded calls, on no GPU so far.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import AUTO_PRECISION, OnDevice, tensor_shapes
from seg_perception.backends.cuda.driver import CAPTURED, NOT_YET, Cuda, Gpu, Stream, Transfer, Work
from seg_perception.backends.cuda.kernels import CudaKernels
from seg_perception.backends.cuda.steps import CudaSteps
from seg_perception.backends.graph.precision import in_precision, resolved
from seg_perception.backends.tensorrt import engine as engines
from seg_perception.backends.tensorrt import out_of_date
from seg_perception.backends.tensorrt.cache import EngineCache, EngineKey, file_name, read_kept, write_kept
from seg_perception.backends.tensorrt.engine import Flavor
from seg_perception.backends.tensorrt.out_of_date import Origin
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo
from seg_perception.results import NetworkOutput

LOG_EVERY_S = 5.0


def why_unavailable() -> str | None:
    """Why TensorRT cannot run here, None when it can: what `auto` asks. Imports no TensorRT."""
    if not engines.installed():
        return "neither tensorrt nor tensorrt_rtx is installed"
    if importlib.util.find_spec("cuda") is None:
        return "cuda-bindings is not installed: pip install 'cuda-bindings<13' for CUDA 12 (JetPack 6), else 'cuda-bindings<14'"
    try:
        Cuda().gpu()
    except SegPerceptionError as error:
        return str(error)
    return None


class TensorRTBackend:
    """Runs a model file as an engine that is built on this machine and cached.

    precision: to compute in, one of PRECISION_CHOICES. batch: most images per run; the model's own where its file
    fixes one. One stream, pinned buffers and, after a first
    ordinary run, one CUDA graph per number of images: nothing is allocated per frame. Each number has an execution
    context of its own, as TensorRT advises for graphs, and with it its scratch memory.
    """

    def __init__(
        self,
        model: ModelInfo,
        *,
        cache_dir: Path | None = None,
        precision: str = AUTO_PRECISION,
        batch: int = 1,
        flavor: Flavor | None = None,
        cuda: Cuda | None = None,
        compile_kernels: Callable[[Gpu], CudaKernels] = CudaKernels,
        log: Callable[[str], None],
    ) -> None:
        """flavor, cuda: None = what is installed.

        Raises SegPerceptionError when TensorRT or a GPU is missing, or when no engine can be built, loaded or run.
        """
        self.model = model = model.at(model.size_hw)  # an engine is built for one size
        self._log = log
        self._batch = model.batch or batch
        self._precision = resolved(model, precision)
        self._flavor = flavor or engines.load_flavor((engines.installed() or ["tensorrt"])[0])
        self._cuda = cuda or Cuda()
        self._gpu = self._cuda.gpu()
        self._cache = EngineCache(cache_dir)
        self._tensors: dict[str, Transfer] = {}
        self._contexts: dict[int, Any] = {}
        self._works: dict[tuple[int, bool], Work] = {}
        self._steps: CudaSteps | None = None
        self._closed = False
        self._owned = ExitStack()
        self._stream = Stream(self._cuda)
        self._owned.callback(self._stream.destroy)
        self._owned.callback(self._drop_engine)
        self._owned.callback(self._tensors.clear)
        try:
            self._key = engine_key(model, self._flavor, self._gpu, self._batch, self._precision)
            self._engine = self._load(self._key)
            self._owned.callback(out_of_date.hold(self, self._cache.path(self._key)))
            self._runtime_config, self._jit_cache = self._make_jit_cache()
            for name, (shape, dtype) in tensor_shapes(model, self._batch).items():
                self._tensors[name] = Transfer(self._stream, shape, dtype)
                self._owned.callback(self._tensors[name].free)
            self._context(self._batch)
            self._masks = self._make_steps(compile_kernels)
        except BaseException as error:
            # Where the GPU has failed for good, closing fails as well, and only the first error says what happened.
            with suppress(Exception):
                self.close()
            if isinstance(error, SegPerceptionError) or not isinstance(error, Exception):
                raise
            # Each vendor's library raises classes of its own.
            raise SegPerceptionError(
                f"{self._flavor.trt.__name__} {self._flavor.version} failed ({type(error).__name__}: {error}): check nvidia-smi "
                "and free GPU memory, or use the backend onnxruntime"
            ) from error

    @overload
    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput: ...

    @overload
    def infer(self, images: OnDevice) -> OnDevice: ...

    def infer(self, images: NDArray[np.uint8] | OnDevice) -> NetworkOutput | OnDevice:
        """See Backend and DeviceSteps; waits for the GPU.

        Raises ValueError for images that do not fit, SegPerceptionError when the GPU fails.
        """
        if self._closed:
            raise RuntimeError("the backend is closed")
        if isinstance(images, OnDevice):
            self._check_count(images.count)
            self._run(images.count, with_copies=False)
            return images
        source = self._tensors[INPUT].array
        if images.dtype != np.uint8 or images.shape[1:] != source.shape[1:]:
            wanted = f"uint8 [N, {', '.join(map(str, source.shape[1:]))}]"
            raise ValueError(f"images is {images.dtype} {list(images.shape)}, expected {wanted}")
        count = len(images)
        self._check_count(count)
        np.copyto(source[:count], images)
        self._run(count, with_copies=True)
        return NetworkOutput(*(self._tensors[name].array[:count] for name in OUTPUTS))

    def warm_up(self) -> None:
        """See Backend; the ordinary run, the capture of the graph, and its first launch, for every number of images."""
        black = np.zeros_like(self._tensors[INPUT].array)
        for count in self._counts:
            for _ in range(2):
                self.infer(black[:count])
                if self._steps is not None:
                    self.infer(OnDevice(count))

    def device_steps(self) -> CudaSteps | None:
        """See DeviceBackend."""
        return self._steps

    def describe(self) -> Mapping[str, str]:
        """See Backend. cuda_graph: whether all work runs as graphs, else which does not; masks: where they are made."""
        return {
            "backend": f"{self._flavor.trt.__name__} {self._flavor.version}",
            "device": f"{self._gpu.name} ({self._gpu.compute_capability})",
            "model": self.model.name,
            "precision": self._precision,
            "batch": str(self._batch),
            "cuda_graph": self._graphs(),
            "masks": self._masks,
        }

    def close(self) -> None:
        """See Backend. What was handed out by device_steps() is closed, too."""
        closed, self._closed = self._closed, True
        with self._owned:
            if not closed:
                self._stream.synchronize()

    @property
    def _counts(self) -> range:
        """Numbers of images that a run may have."""
        return range(self.model.batch or 1, self._batch + 1)

    def _graphs(self) -> str:
        states = [("network", work.state) for work in list(self._works.values())]
        if self._steps is not None:
            states += self._steps.graphs()
        missing = (f"{step}: {state}" for step, state in states if state != CAPTURED)
        return "; ".join(dict.fromkeys(missing)) or (CAPTURED if states else NOT_YET)

    def _check_count(self, count: int) -> None:
        if count not in self._counts:
            raise ValueError(f"a run of {count} images, expected {self._counts[0]} to {self._batch}")

    def _drop_engine(self) -> None:
        # Contexts before their engine, the engine before its runtime.
        self._works.clear()
        self._contexts.clear()
        self._runtime_config = self._jit_cache = self._engine = self._runtime = None

    def _make_steps(self, compile_kernels: Callable[[Gpu], CudaKernels]) -> str:
        """Steps beside the network, where the kernels can be compiled; says where masks are made."""
        try:
            kernels = compile_kernels(self._gpu)
        except SegPerceptionError as error:
            self._log(f"masks are made on the CPU: {error}")
            return f"CPU: {error}"
        self._steps = CudaSteps(self.model, kernels, self._stream, self._tensors, self._log)
        self._owned.callback(self._steps.close)
        return "GPU"

    def _load(self, key: EngineKey) -> Any:
        """The deserialized engine of key; a cached one that does not load is built again, once."""
        runtime = self._runtime = self._flavor.trt.Runtime(self._flavor.logger)
        runtime.engine_host_code_allowed = False  # an engine is numbers and kernels for the GPU, no program for the CPU
        origin = Origin.of(self.model)
        engine = self._deserialized(runtime, self._cache.get(key, self._build, self._log, origin))
        if engine is None:
            self._log(f"engine {self._cache.path(key)} does not load here, so it is built again")
            self._cache.discard(key)
            engine = self._deserialized(runtime, self._cache.get(key, self._build, self._log, origin))
        if engine is None:
            raise SegPerceptionError(
                f"TensorRT cannot load the engine that it built ({self._cause()}): use the backend onnxruntime"
            )
        self._flavor.logger.errors.clear()  # of an engine that did not load
        return engine

    def _deserialized(self, runtime: Any, content: bytes) -> Any:
        """The engine, None where it is none for this machine. Raises SegPerceptionError where memory is all that it lacks: another
        would take minutes to build, and as much to run."""
        self._flavor.logger.errors.clear()
        engine = runtime.deserialize_cuda_engine(content)
        if engine is None and any(
            "outofmemory" in error.lower().replace(" ", "") for error in self._flavor.logger.errors
        ):
            raise SegPerceptionError(
                f"the GPU has no memory for the engine ({self._cause()}): end what else uses it, or use the backend onnxruntime"
            )
        return engine

    def _cause(self) -> str:
        """What TensorRT said last."""
        return str((self._flavor.logger.errors or ["it gave no reason"])[-1])

    def _build(self) -> bytes:
        name, version = self._flavor.name, self._flavor.version
        self._log(
            f"building an engine of {self.model.name} with {name} {version} for {self._gpu.name}: this takes a while"
        )
        started = time.monotonic()
        said = started

        def progress(share: float, phase: str) -> None:
            nonlocal said
            if time.monotonic() - said >= LOG_EVERY_S:
                said = time.monotonic()
                self._log(f"building the engine: {share:.0%}, {phase}")

        gpu = f"{self._gpu.name}-{self._gpu.compute_capability}"
        engine = engines.build(
            self._flavor,
            self.model,
            precision=self._precision,
            batch=self._batch,
            timing_cache=self._cache.beside(file_name(f"timing-{name}-{version}-{gpu}") + ".cache"),
            progress=progress,
            log=self._log,
        )
        self._log(f"built the engine in {time.monotonic() - started:.0f} s ({len(engine) / 1e6:.0f} MB)")
        return engine

    def _make_jit_cache(self) -> tuple[Any, Any]:
        """Configuration of contexts, and the cache of just-in-time compiled kernels in it: both None but for TensorRT
        for RTX."""
        if self._flavor.name != "rtx":
            return None, None
        config = self._engine.create_runtime_config()
        # As it comes, kernels for a run's very shapes are compiled while others run in their place, and a graph would keep those.
        config.dynamic_shapes_kernel_specialization_strategy = (
            self._flavor.trt.DynamicShapesKernelSpecializationStrategy.EAGER
        )
        cache = config.create_runtime_cache()
        if kept := read_kept(self._jit_cache_path()):
            cache.deserialize(kept)
        config.set_runtime_cache(cache)
        return config, cache

    def _keep_jit_cache(self) -> None:
        """For the next start; where it cannot be kept, that one compiles again."""
        if self._jit_cache is None:
            return
        try:
            write_kept(self._jit_cache_path(), bytes(self._jit_cache.serialize()))
        except SegPerceptionError as error:
            self._log(f"kernels are compiled again at the next start: {error}")

    def _jit_cache_path(self) -> Path:
        return self._cache.path(self._key).with_suffix(".kernels")

    def _context(self, count: int) -> Any:
        """The context for so many images, bound to the shared tensors and checked against the model file."""
        if count in self._contexts:
            return self._contexts[count]
        arguments = () if self._runtime_config is None else (self._runtime_config,)
        context = self._engine.create_execution_context(*arguments)
        expected = tensor_shapes(self.model, count)
        found = {self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)}
        if context is None or found != set(expected):
            raise SegPerceptionError(
                f"the engine has the tensors {sorted(found)}, expected {sorted(expected)}: export the model again"
            )
        context.set_input_shape(INPUT, expected[INPUT][0])
        for name, (shape, dtype) in expected.items():
            got_shape = tuple(context.get_tensor_shape(name))
            got_dtype = np.dtype(self._flavor.trt.nptype(self._engine.get_tensor_dtype(name)))
            if (got_shape, got_dtype) != (shape, np.dtype(dtype)):
                raise SegPerceptionError(
                    f"the engine's tensor '{name}' is {got_dtype} {list(got_shape)}, "
                    f"expected {np.dtype(dtype)} {list(shape)}: export the model again"
                )
            context.set_tensor_address(name, self._tensors[name].address)
        self._contexts[count] = context
        return context

    def _run(self, count: int, with_copies: bool) -> None:
        """Run the network on the first count images and wait. with_copies: from and to the pinned arrays."""
        kind = count, with_copies
        first = kind not in self._works
        if first:
            self._works[kind] = self._work(count, with_copies)
            self._owned.callback(self._works[kind].destroy)
        self._works[kind].run()
        self._stream.synchronize()
        if first:
            self._keep_jit_cache()

    def _work(self, count: int, with_copies: bool) -> Work:
        context, stream, tensors = self._context(count), self._stream, self._tensors

        def enqueue() -> None:
            if with_copies:
                tensors[INPUT].to_device(tensors[INPUT].bytes * count // self._batch)
            if not context.execute_async_v3(int(stream.handle)):
                raise SegPerceptionError(
                    f"TensorRT cannot run the engine ({self._cause()}): check nvidia-smi, or use the backend onnxruntime"
                )
            if with_copies:
                for name in OUTPUTS:
                    tensors[name].to_host(tensors[name].bytes * count // self._batch)

        return Work(stream, enqueue, self._log)


def engine_key(model: ModelInfo, flavor: Flavor, gpu: Gpu, batch: int, precision: str = AUTO_PRECISION) -> EngineKey:
    """All that an engine of model on this GPU in a precision of PRECISION_CHOICES depends on."""
    return EngineKey(
        model_name=model.name,
        model_sha256=hashlib.sha256(in_precision(model, precision)).hexdigest(),
        flavor=flavor.name,
        version=flavor.version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        precision=resolved(model, precision),
        batch=model.batch or batch,
        options={
            "strongly_typed": str(hasattr(flavor.trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")),
            "images": f"{model.batch or 1} to {model.batch or batch}",
            **({} if flavor.capture_flag is None else {"capturable": "True"}),
        },
    )
