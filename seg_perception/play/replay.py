"""After the play: the overlay video, the metrics and the sample pictures from the frames and what was answered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.worst_frames import WorstFrames
from seg_perception.files import quiet_opencv
from seg_perception.labels import LabelSet
from seg_perception.metrics.free_distance import FreeDistance, FreeTimeline
from seg_perception.play.judge import Judge
from seg_perception.play.spool import Spool
from seg_perception.recordings.sources import Source, SourceFrame
from seg_perception.reports.panels import Panels, Placing
from seg_perception.reports.report import Picture
from seg_perception.results import Answer, Frame
from seg_perception.writing import written_aside

SAMPLES = 6
CODECS = ("avc1", "mp4v")
"""H.264 plays everywhere, but OpenCV from PyPI cannot encode it."""


@dataclass
class Replay:
    """What came out. numbers: metrics under their names in report.json, empty without labels; rows: its `per_frame`;
    problems: labels that cannot be used; notes: what the reader must know; finished: False when Ctrl-C ended it early;
    frames: looked at."""

    numbers: dict[str, Any] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    free: FreeTimeline = field(default_factory=FreeTimeline)
    frames: int = 0
    finished: bool = True


def replay(
    source: Source,
    spool: Spool,
    labels: LabelSet,
    video: Path | None = None,
    placing: Placing | None = None,
    together: Judge | None = None,
    worst: WorstFrames | None = None,
) -> Replay:
    """Judge the answers where source has labels, and write the video, where one is asked for, of all frames sent.

    A frame without an answer shows the newest one before it, as that is all a robot has then, and says how old it is;
    before the first answer frames stay plain. placing: how the images are placed over the ground, which is then shown
    beside them. together and worst get the frames too, under source's part. Ctrl-C ends it with a whole video of what
    was done.
    """
    result, judge = Replay(), Judge(labels)
    distances = FreeDistance(labels, placing.settings.range_max_m) if placing else FreeDistance(labels)
    panels = Panels(labels, placing)
    newest: Answer | None = None
    newest_index = 0
    chosen = _evenly(spool.answered, SAMPLES)
    frames = tqdm(_frames(source, spool), total=len(spool.sent_s), unit="frame", desc="report")
    with VideoWriter(video, source.rate_hz) if video else nullcontext() as writer:
        try:
            for index, item in enumerate(frames):
                answer = spool.answer(index)
                if answer is not None:
                    newest, newest_index = answer, index
                if writer is not None or index in chosen:
                    drawn = panels.draw(item.frame.rgb, newest, index - newest_index)
                if writer is not None:
                    writer.write(drawn)
                result.frames += 1
                miou = judge.add(item.name, item, answer, newest, spool.age_ms[index])
                if together is not None:
                    together.add(f"{source.part} {item.name}", item, answer, newest, spool.age_ms[index])
                if answer is None:
                    continue
                if worst is not None and miou is not None and item.truth is not None:
                    worst.offer(miou, index, item, answer.semantic, item.truth)
                distances.add(spool.sent_s[index], answer.drivable, item.free_distance_m)
                if index in chosen:
                    result.pictures.append(_picture(item, panels, labels))
        except KeyboardInterrupt:
            result.finished = False
    result.numbers = {**judge.numbers(), **distances.summary()}
    result.rows, result.problems, result.notes = judge.rows, judge.problems, judge.notes
    result.free = distances.timeline()
    return result


class VideoWriter:
    """An MP4 of RGB frames, written aside and renamed in the end; without a frame there is no file.

    Frames of another size than the first are brought to it.
    """

    def __init__(self, path: Path, rate_hz: float) -> None:
        self._path, self._rate_hz, self._stack = path, rate_hz, ExitStack()
        self._writer: Any = None
        self._size_wh = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def write(self, rgb: NDArray[np.uint8]) -> None:
        """Add a frame, uint8 [H, W, 3]. Raises SegPerceptionError when no codec works."""
        if self._writer is None:
            # encoders want even sizes
            self._size_wh = rgb.shape[1] + rgb.shape[1] % 2, rgb.shape[0] + rgb.shape[0] % 2
            aside = self._stack.enter_context(written_aside(self._path))
            self._writer = _open_writer(aside, self._rate_hz, self._size_wh)
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        if (bgr.shape[1], bgr.shape[0]) != self._size_wh:
            bgr = cv2.resize(bgr, self._size_wh, interpolation=cv2.INTER_LINEAR)
        self._writer.write(bgr)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.release()
        self._stack.__exit__(kind, error, trace)


def _open_writer(path: Path, rate_hz: float, size_wh: tuple[int, int]) -> Any:
    for codec in CODECS:
        with quiet_opencv():
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), rate_hz, size_wh)
        if writer.isOpened():
            return writer
        writer.release()
    raise SegPerceptionError(f"OpenCV cannot write MP4 ({', '.join(CODECS)}): install an OpenCV with FFmpeg")


def _frames(source: Source, spool: Spool) -> Iterator[SourceFrame]:
    """The frames that were sent, again."""
    if source.live:
        for index in range(len(spool.sent_s)):
            yield SourceFrame(Frame(spool.frame(index)), f"frame {index}")
        return
    yield from (item for item, _ in zip(source, spool.sent_s, strict=False))


def _picture(item: SourceFrame, panels: Panels, labels: LabelSet) -> Picture:
    assert panels.camera is not None
    images = [("what the node answered", panels.camera.copy())]
    if item.truth is None:
        images.append(("camera image", item.frame.rgb.copy()))
    else:
        images.append(("truth", labels.colors[item.truth.semantic]))
    if panels.ground is not None:
        images.append(("the ground from above", panels.ground.copy()))
    return Picture(item.name, images)


def _evenly(indices: list[int], count: int) -> set[int]:
    """At most count of the indices, evenly spread."""
    if not indices:
        return set()
    return {indices[place] for place in np.linspace(0, len(indices) - 1, min(count, len(indices))).astype(int)}
