"""Ways to run the network, and the choice between them. Vendor libraries are imported when they are chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from seg_perception.backends.base import AUTO_PRECISION, PRECISION_CHOICES, Backend
from seg_perception.errors import BackendError, SegPerceptionError, nearest_name
from seg_perception.model_file import ModelInfo

BACKENDS = ("auto", "onnxruntime", "tensorrt")
FALLBACKS = ("none", "cpu")


def choose(
    model: ModelInfo,
    *,
    backend: str = "auto",
    fallback: str = "none",
    providers: Sequence[str] = (),
    cache_dir: Path | None = None,
    precision: str = AUTO_PRECISION,
    threads: int | None = None,
    batch: int = 1,
    log: Callable[[str], None],
) -> Backend:
    """The backend to run model with; says which and why in one line to log.

    backend: `auto` takes TensorRT where a GPU and TensorRT are found, else ONNX Runtime; or one of BACKENDS by name.
    fallback: `cpu` runs ONNX Runtime on the CPU when TensorRT or a provider was chosen and fails; `none` raises.
    providers, threads: of ONNX Runtime. cache_dir: where engines are kept, None = the user's cache folder. precision:
    one of PRECISION_CHOICES, what TensorRT computes in (ONNX Runtime: what the file states). batch: most images per run of an
    engine (ONNX Runtime takes any number that the model file allows).
    Raises SegPerceptionError for an unknown name, for a model file that takes no single image, and when the backend cannot be
    made.
    """
    if fallback not in FALLBACKS:
        raise SegPerceptionError(f"'{fallback}' is no fallback: {nearest_name(fallback, FALLBACKS)}")
    model.check_takes_one()
    if model.note:
        log(model.note)
    _check_precision(model, backend, precision)
    backend, reason = resolve(backend)
    if backend == "onnxruntime":
        try:
            return _onnx_runtime(model, providers, threads, reason, log)
        except BackendError as error:
            if fallback == "none":
                raise
            return on_the_cpu(model, threads, f"fallback after an error of a provider: {error}", log)
    from seg_perception.backends.tensorrt.backend import TensorRTBackend

    try:
        chosen = TensorRTBackend(model, cache_dir=cache_dir, precision=precision, batch=batch, log=log)
    except SegPerceptionError as error:
        if fallback == "none":
            raise
        return on_the_cpu(model, threads, f"fallback after an error of TensorRT: {error}", log)
    log(f"backend: {chosen.describe()['backend']} on {chosen.describe()['device']} ({reason})")
    return chosen


def on_the_cpu(model: ModelInfo, threads: int | None, reason: str, log: Callable[[str], None]) -> Backend:
    """The backend to fall back to, which says why wherever it describes itself."""
    return _onnx_runtime(model, (), threads, reason, log, fallback=reason)


def resolve(backend: str) -> tuple[str, str]:
    """What a choice of BACKENDS means on this machine, and why: `tensorrt` or `onnxruntime`.

    Raises SegPerceptionError for an unknown name.
    """
    if backend not in BACKENDS:
        raise SegPerceptionError(f"'{backend}' is no backend: {nearest_name(backend, BACKENDS)}")
    if backend != "auto":
        return backend, "asked for"
    from seg_perception.backends.tensorrt.backend import why_unavailable

    problem = why_unavailable()
    if problem is None:
        return "tensorrt", "a GPU and TensorRT were found"
    return "onnxruntime", f"no TensorRT: {problem}"


def _check_precision(model: ModelInfo, backend: str, precision: str) -> None:
    """Raise SegPerceptionError for an unknown precision, and for one that a backend asked for by name cannot give."""
    if precision not in PRECISION_CHOICES:
        raise SegPerceptionError(f"'{precision}' is no precision: {nearest_name(precision, PRECISION_CHOICES)}")
    if backend == "onnxruntime" and precision not in (AUTO_PRECISION, model.precision):
        raise SegPerceptionError(
            f"onnxruntime runs {model.path} in its own precision, {model.precision}, so '{precision}' cannot be had: leave "
            f"it at '{AUTO_PRECISION}', or make a file by 'seg_perception export --model {model.path} --precision {precision}'"
        )


def _onnx_runtime(
    model: ModelInfo,
    providers: Sequence[str],
    threads: int | None,
    reason: str,
    log: Callable[[str], None],
    fallback: str = "",
) -> Backend:
    from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend

    chosen = OnnxRuntimeBackend(model, providers=providers, threads=threads, fallback=fallback)
    log(f"backend: {chosen.describe()['backend']} on {chosen.describe()['device']} ({reason})")
    return chosen
