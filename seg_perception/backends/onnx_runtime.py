"""The network on ONNX Runtime: the CPU unless other execution providers are named."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from seg_perception import model_file
from seg_perception.errors import BackendError, SegPerceptionError, cause_of, nearest_name
from seg_perception.machine import usable_cores
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo
from seg_perception.results import NetworkOutput

CPU_PROVIDER = "CPUExecutionProvider"


class OnnxRuntimeBackend:
    """Runs a model file on ONNX Runtime.

    providers: names of execution providers, best first; empty = the CPU. What the first cannot run goes to the next,
    and to the CPU in the end. threads: of the CPU provider; None = one per physical core. fallback: why it runs in another
    one's place, empty where it was chosen.
    """

    def __init__(
        self, model: ModelInfo, *, providers: Sequence[str] = (), threads: int | None = None, fallback: str = ""
    ) -> None:
        """Raises SegPerceptionError for a provider that this ONNX Runtime lacks, or a model that it cannot load; BackendError
        where a provider does not start."""
        self.model = model
        self._fallback = {"fallback": fallback} if fallback else {}
        self._threads = threads or physical_cores()
        self._session: ort.InferenceSession | None = open_session(
            model_file.content_of(model), _checked(providers), self._threads, str(model.path)
        )

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """See Backend. Raises ValueError for images that do not fit the model, BackendError where it cannot be run, and
        SegPerceptionError where its answer does not fit."""
        if self._session is None:
            raise RuntimeError("the backend is closed")
        check_images(images, self.model)
        answers = run(self._session, OUTPUTS, images, str(self.model.path))
        _check_answers(answers, images, self.model)
        return NetworkOutput(*answers)

    def warm_up(self) -> None:
        """See Backend."""
        self.infer(np.zeros((self.model.batch or 1, *self.model.size_hw, 3), np.uint8))

    def describe(self) -> Mapping[str, str]:
        """See Backend."""
        session = self._session  # read once: another thread may close it now
        active = session.get_providers() if session else []
        return {
            "backend": f"onnxruntime {ort.__version__}",
            "device": ", ".join(name.removesuffix("ExecutionProvider") for name in active),
            "model": self.model.name,
            "precision": self.model.precision,
            "threads": str(self._threads),
            **self._fallback,
        }

    def close(self) -> None:
        """See Backend."""
        self._session = None


def check_images(images: NDArray[np.uint8], model: ModelInfo) -> None:
    """Raise ValueError unless images is uint8 [N, h, w, 3] at a size that the model takes, N its batch or any."""
    fits = images.ndim == 4 and images.shape[3] == 3 and model.takes((images.shape[1], images.shape[2]))
    fits = fits and model.batch in (None, images.shape[0])
    if images.dtype != np.uint8 or not fits:
        sides = f"{model.size_hw[0]}, {model.size_hw[1]}" if model.limits is None else f"h, w within {model.limits}"
        wanted = f"uint8 [{model.batch or 'N'}, {sides}, 3]"
        raise ValueError(f"images is {images.dtype} {list(images.shape)}, expected {wanted}")


def _check_answers(answers: Sequence[NDArray[np.float32]], images: NDArray[np.uint8], model: ModelInfo) -> None:
    """Raise SegPerceptionError unless the answers are of the shapes that the model file states: its nodes may make others."""
    grid = images.shape[1] // model.stride, images.shape[2] // model.stride
    for name, answer, channels in zip(OUTPUTS, answers, (len(model.labels), 1, 2)):
        wanted = (len(images), channels, *grid)
        if answer.shape != wanted:
            raise SegPerceptionError(
                f"{model.path} answers {name} {list(answer.shape)}, where its own description says {list(wanted)}: export it "
                "again"
            )


def physical_cores() -> int:
    """Cores that this process may use, two threads of one core counted once, as far as a container's share of their time
    goes; at least 1."""
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text() if siblings.is_file() else str(cpu))
    return max(1, min(len(cores), usable_cores()))


def _checked(providers: Sequence[str]) -> list[str]:
    known = ort.get_available_providers()
    for name in providers:
        if name not in known:
            raise SegPerceptionError(f"this ONNX Runtime has no provider '{name}': {nearest_name(name, known)}")
    return [*(name for name in providers if name != CPU_PROVIDER), CPU_PROVIDER]


def open_session(
    model: Path | bytes,
    providers: Sequence[str] = (CPU_PROVIDER,),
    threads: int | None = None,
    name: str = "the model",
) -> ort.InferenceSession:
    """A model file, or one in memory, ready to run. name: of the latter, for errors. Raises SegPerceptionError when it
    cannot be loaded, and BackendError where one of the providers does not start: ONNX Runtime itself would take the next
    without a word, and so it would where one fails in a run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or physical_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Idle workers that spin for their next run take the cores from the decode that follows, and from the transport: on 2
    # cores that others use too, the network itself took more than twice as long. Bound outputs, no arena, no memory
    # pattern, denormals as zero and dynamic blocks, measured in turn with this, changed its CPU time by less than 3 %.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(
            model if isinstance(model, bytes) else str(model), options, providers=list(providers), enable_fallback=0
        )
    except Exception as error:  # ONNX Runtime raises classes of its extension module, which have no common base
        name = name if isinstance(model, bytes) else str(model)
        raise SegPerceptionError(
            f"ONNX Runtime {ort.__version__} cannot load {name} ({cause_of(error)}): export it again, or update onnxruntime"
        ) from error
    absent = [provider for provider in providers if provider not in session.get_providers()]
    if absent:
        raise BackendError(
            f"ONNX Runtime's {', '.join(absent)} does not start here: check the driver and the libraries that it needs, or leave "
            "it out of providers"
        )
    return session


def run(
    session: ort.InferenceSession,
    outputs: Sequence[str] | None,
    images: NDArray[Any],
    name: str = "the model",
    *,
    image: str = INPUT,
    quiet: bool = False,
) -> list[NDArray[Any]]:
    """These outputs of a session, None = all, for images; name: of its model file, for errors; image: of its input; quiet:
    whether what goes wrong is kept from stderr. Raises BackendError where one of its nodes fails."""
    options = None
    if quiet:
        options = ort.RunOptions()
        options.log_severity_level = 4
    try:
        return list(session.run(outputs, {image: images}, options))
    except Exception as error:  # as above
        raise BackendError(
            f"ONNX Runtime {ort.__version__} cannot run {name} ({cause_of(error)}): export it again, or update onnxruntime"
        ) from error
