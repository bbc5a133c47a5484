"""What evaluation writes its frames to: an annotated bag, a file of Rerun's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, TypeVar

from seg_perception.ground.geometry import GroundProjection
from seg_perception.results import Result

T = TypeVar("T")


class CameraRecorder(Protocol):
    """Takes the frames of one camera in their order."""

    def write(self, number: int, result: Result, projection: GroundProjection | None) -> None:
        """A frame and all that was found in it. number: see SourceFrame; projection: of the masks' pixels, None without
        geometry."""
        ...


class Recorder(Protocol):
    """Takes recordings of cameras, one after the other."""

    def camera(self, topic: str, *, alone: bool) -> CameraRecorder:
        """What takes the frames of one image topic. alone: whether it is the only one."""
        ...


class LastingRecorder:
    """A recorder whose disk may become full: then nothing is left of its file, and its frames are measured all the same. A
    `with` block opens and ends it. problem: why there is no file, one sentence, else empty."""

    def __init__(self, file: AbstractContextManager[Recorder], path: Path) -> None:
        self._file, self._path = file, path
        self._recorder: Recorder
        self.problem = ""

    def __enter__(self) -> LastingRecorder:
        self._recorder = self._file.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.problem:
            return
        try:
            self._file.__exit__(kind, error, trace)
        except OSError as failure:
            self._tell(failure)

    def camera(self, topic: str, *, alone: bool) -> CameraRecorder:
        """See Recorder."""
        return _LastingCamera(self, self.keep(lambda: self._recorder.camera(topic, alone=alone)))

    def keep(self, write: Callable[[], T]) -> T | None:
        """What write returns, unless the disk takes no more, or took no more before."""
        if self.problem:
            return None
        try:
            return write()
        except OSError as failure:
            self._tell(failure)
            with suppress(OSError):
                self._file.__exit__(type(failure), failure, failure.__traceback__)
            return None

    def _tell(self, failure: OSError) -> None:
        why = failure.strerror or failure
        self.problem = f"{self._path} cannot be written ({why}), so there is none: free the disk and evaluate again"


class _LastingCamera:
    def __init__(self, recorder: LastingRecorder, camera: CameraRecorder | None) -> None:
        self._recorder, self._camera = recorder, camera

    def write(self, number: int, result: Result, projection: GroundProjection | None) -> None:
        camera = self._camera
        if camera is not None:
            self._recorder.keep(lambda: camera.write(number, result, projection))
