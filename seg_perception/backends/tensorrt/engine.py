"""Model file to engine, with TensorRT (10.3 to 11.x) or TensorRT for RTX: one code for both libraries."""

from __future__ import annotations

import importlib
import importlib.util
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from seg_perception.backends.base import AUTO_PRECISION
from seg_perception.backends.graph.precision import in_precision
from seg_perception.backends.tensorrt.cache import read_kept, write_kept
from seg_perception.errors import LONGEST_REASON, SegPerceptionError
from seg_perception.model_file import INPUT, ModelInfo
from seg_perception.signals import kept

MODULES = {"tensorrt": ("tensorrt",), "rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
"""Names that each flavour may be imported by, the preferred flavour first."""

Progress = Callable[[float, str], None]
"""Takes the share of the build that is done, 0 to 1, and what it is doing."""


@dataclass(frozen=True)
class Flavor:
    """One of the two libraries. name: `tensorrt` or `rtx`. logger: there is one per process, as both demand."""

    name: str
    trt: ModuleType
    logger: Any

    @property
    def version(self) -> str:
        """As the library says it."""
        return str(self.trt.__version__)

    @property
    def compute_capabilities(self) -> dict[str, Any]:
        """What the builder can be told to build for, such as {'8.6': ComputeCapability.SM86}; empty if only for the
        GPU at hand."""
        known = getattr(self.trt, "ComputeCapability", None)
        if self.name != "rtx" or known is None:
            return {}
        numbers = {name[2:]: value for name, value in known.__members__.items() if name.startswith("SM")}
        return {f"{digits[:-1]}.{digits[-1]}": numbers[digits] for digits in sorted(numbers, key=int)}

    @property
    def capture_flag(self) -> Any:
        """The builder's flag without which an engine of TensorRT for RTX may take memory during a run, which cannot be captured
        as a CUDA graph then; None where there is none (TensorRT, and RTX before 1.2)."""
        return getattr(self.trt.BuilderFlag, "REQUIRE_USER_ALLOCATION", None) if self.name == "rtx" else None


def installed() -> list[str]:
    """Names of the flavours that can be imported, without importing them."""
    return [name for name, modules in MODULES.items() if any(map(_is_installed, modules))]


def _is_installed(module: str) -> bool:
    """A folder of that name in the working folder is a module for Python, too, but of no origin."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


@lru_cache(maxsize=len(MODULES))
def load_flavor(name: str) -> Flavor:
    """Import a flavour. Raises SegPerceptionError when it is not installed, or does not start."""
    module = next((module for module in MODULES[name] if _is_installed(module)), None)
    if module is None:
        packages = {"tensorrt": "tensorrt (on a Jetson: JetPack's)", "rtx": "tensorrt-rtx-cu13-bindings and -libs"}
        raise SegPerceptionError(f"the TensorRT flavour '{name}' is not installed: install {packages[name]}")
    try:
        trt = importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise SegPerceptionError(f"'{module}' cannot be imported ({error}): install it again, for this CUDA") from error
    return Flavor(name, trt, _make_logger(trt))


def build(
    flavor: Flavor,
    model: ModelInfo,
    *,
    precision: str = AUTO_PRECISION,
    batch: int = 1,
    compute_capability: str | None = None,
    timing_cache: Path | None = None,
    progress: Progress = lambda share, phase: None,
    log: Callable[[str], None] = lambda line: None,
) -> bytes:
    """Compile a model file for runs of 1 to batch images, or of as many as it fixes.

    precision: to compute in, one of PRECISION_CHOICES. compute_capability: '8.6' and the like builds for such GPUs
    with no GPU at hand (flavour `rtx`); None builds for the GPU at hand. timing_cache: file that remembers measured
    kernels, read if there and written (flavour `tensorrt`); where it cannot be written, log says so.
    Raises SegPerceptionError for a precision that the file cannot give, and when the parser or the builder refuses; and
    what progress raises, which ends the build at its next step, as Ctrl-C does.
    """
    graph = in_precision(model, precision)
    monitor = _make_monitor(flavor.trt, progress)
    with _stopped_by_signals(monitor):
        engine, remembered = _compiled(flavor, model, graph, batch, compute_capability, timing_cache, monitor)
    if monitor.stopped_by is not None:
        raise monitor.stopped_by
    if engine is None:
        cause = flavor.logger.errors[-1] if flavor.logger.errors else "it gave no reason"
        raise SegPerceptionError(
            f"TensorRT {flavor.version} cannot build {model.path} ({cause}): free GPU memory or use onnxruntime"
        )
    if remembered is not None and timing_cache is not None:
        try:
            write_kept(timing_cache, bytes(remembered.serialize()))
        except SegPerceptionError as error:
            log(f"kernels are measured again by the next build: {error}")
    return bytes(engine)


def _compiled(
    flavor: Flavor,
    model: ModelInfo,
    graph: bytes,
    batch: int,
    compute_capability: str | None,
    timing_cache: Path | None,
    monitor: Any,
) -> tuple[Any, Any]:
    """What the builder makes of a graph, None where it refuses; and what it has measured, as _use_timing_cache."""
    trt, logger = flavor.trt, flavor.logger
    logger.errors.clear()
    builder = trt.Builder(logger)
    typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        causes = "; ".join(_parser_error(parser.get_error(i)) for i in range(parser.num_errors))
        raise SegPerceptionError(f"TensorRT {flavor.version} cannot parse {model.path} ({causes}): export it again")
    config = builder.create_builder_config()
    config.progress_monitor = monitor
    if model.batch is None:
        config.add_optimization_profile(_up_to(builder, batch, (*model.size_hw, 3)))
    if flavor.name == "rtx":
        config.num_compute_capabilities = 1
        config.set_compute_capability(_capability(flavor, compute_capability), 0)
        if flavor.capture_flag is not None:
            config.set_flag(flavor.capture_flag)
    elif compute_capability is not None:
        raise SegPerceptionError(
            "TensorRT builds for the GPU at hand only: leave out the compute capability, or use rtx"
        )
    remembered = _use_timing_cache(flavor, config, timing_cache)
    return builder.build_serialized_network(network, config), remembered


@contextmanager
def _stopped_by_signals(monitor: Any) -> Iterator[None]:
    """Let Ctrl-C and what ends a program as it does end the build at its next step, and take effect behind it. Raised while
    the library calls its logger, as nearly always, it would be printed and lost."""
    came: list[int] = []
    try:
        with kept(lambda number: monitor.stop(KeyboardInterrupt())) as came:
            yield
    finally:
        for number in came:
            signal.raise_signal(number)


def _up_to(builder: Any, batch: int, image_shape: tuple[int, ...]) -> Any:
    """1 to batch images; fastest with batch."""
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, (1, *image_shape), (batch, *image_shape), (batch, *image_shape))
    return profile


def _parser_error(error: Any) -> str:
    # TensorRT 10.3 tells no operator.
    operator = f" in {error.node_operator()} '{error.node_name()}'" if hasattr(error, "node_operator") else ""
    # Of a machine without a GPU, where engines are built for others, it says at each error that there is no driver.
    lines = (line for line in error.desc().splitlines() if "cudaError 35" not in line)
    return f"{' '.join(' '.join(lines).split())[:LONGEST_REASON]}{operator}"


def _capability(flavor: Flavor, wanted: str | None) -> Any:
    if wanted is None:
        return flavor.trt.ComputeCapability.CURRENT
    known = flavor.compute_capabilities
    if wanted not in known:
        raise SegPerceptionError(
            f"TensorRT for RTX {flavor.version} cannot build for compute capability {wanted}: known are {', '.join(known)}"
        )
    return known[wanted]


def _use_timing_cache(flavor: Flavor, config: Any, path: Path | None) -> Any:
    """The cache that config now fills; None where the flavour measures nothing (TensorRT for RTX)."""
    if path is None or flavor.name == "rtx":
        return None
    cache = config.create_timing_cache(read_kept(path) or b"")
    if cache is None or not config.set_timing_cache(cache, False):
        # The file is of another TensorRT or GPU: measure anew.
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _make_logger(trt: ModuleType) -> Any:
    """A logger that keeps errors, to name them as causes, and prints nothing: the library repeats itself a lot."""

    class Logger(trt.ILogger):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                del self.errors[:-9]
                self.errors.append(" ".join(message.split())[:300])

    return Logger()


def _make_monitor(trt: ModuleType, progress: Progress) -> Any:
    """Turns the library's nested phases into one rising share; stop ends a build at its next step, and so does what progress
    raises."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped_by: BaseException | None = None
            self.phases: list[list[Any]] = []
            self.share = 0.0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phases.append([phase_name, 0, max(1, num_steps)])

        def phase_finish(self, phase_name: str) -> None:
            for i in reversed(range(len(self.phases))):
                if self.phases[i][0] == phase_name:
                    del self.phases[i]
                    break
            if not self.phases:
                self._report(1.0, phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            share = 0.0
            for phase in reversed(self.phases):
                if phase[0] == phase_name:
                    phase[1] = step + 1
                share = min(1.0, (phase[1] + share) / phase[2])
            self._report(share, phase_name)
            return self.stopped_by is None

        def stop(self, cause: BaseException) -> None:
            self.stopped_by = self.stopped_by or cause

        def _report(self, share: float, phase_name: str) -> None:
            self.share = max(self.share, share)
            if self.stopped_by is not None:
                return
            try:
                progress(self.share, phase_name)
            except BaseException as error:  # it must not pass through the library's C++
                self.stop(error)

    return Monitor()
