"""What the node answered, kept on disk until the play is over: judging while playing would take the node's processor."""

from __future__ import annotations

import math
import pickle
import zlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.files import ScratchFile
from seg_perception.results import Answer

LIVE_JPEG_QUALITY = 92


class Spool:
    """Answers, in a scratch file of folder. sent_s: when each frame was sent, in s from the start; age_ms:
    of its answer, NaN where none came. One thread adds, then one reads."""

    def __init__(self, folder: Path) -> None:
        self._file = ScratchFile(folder)
        self._answers: dict[int, tuple[int, int]] = {}
        self._frames: dict[int, tuple[int, int]] = {}
        self.sent_s: list[float] = []
        self.age_ms: list[float] = []

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the space back; what was sent and when stays known."""
        self._file.close()

    def __len__(self) -> int:
        """Number of answers."""
        return len(self._answers)

    @property
    def answered(self) -> list[int]:
        """Indices of the frames that were answered."""
        return sorted(self._answers)

    @property
    def rate_hz(self) -> float | None:
        """How many were sent a second."""
        span_s = span(self.sent_s)
        return None if span_s is None else len(self.sent_s) / span_s

    def sent(self, time_s: float) -> None:
        """The next frame was sent."""
        self.sent_s.append(time_s)
        self.age_ms.append(math.nan)

    def add_answer(self, index: int, age_ms: float, answer: Answer) -> None:
        """Keep the answer to the frame of that index; the first one counts."""
        if index in self._answers:
            return
        self._answers[index] = self._keep(answer)
        self.age_ms[index] = age_ms

    def _keep(self, answer: Answer) -> tuple[int, int]:
        # level 1 packs masks, which are long runs, fifty-fold in a few ms, and other threads run meanwhile
        return self._file.append(zlib.compress(pickle.dumps(answer), 1))

    def answer(self, index: int) -> Answer | None:
        """The answer to a frame, None where none came."""
        place = self._answers.get(index)
        if place is None:
            return None
        answer: Answer = pickle.loads(zlib.decompress(self._file.read(place)))  # a file that nobody else can open
        return answer

    def add_frame(self, index: int, rgb: NDArray[np.uint8]) -> None:
        """Keep a frame that its source cannot give again."""
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, LIVE_JPEG_QUALITY])
        self._frames[index] = self._file.append(encoded.tobytes())

    def frame(self, index: int) -> NDArray[np.uint8]:
        """A frame of add_frame, uint8 [H, W, 3] RGB."""
        bgr: Any = cv2.imdecode(np.frombuffer(self._file.read(self._frames[index]), np.uint8), cv2.IMREAD_COLOR)
        return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def span(*sent_s: Sequence[float]) -> float | None:
    """The seconds that the frames of one camera sent at these times stand for, from the first to the last and a period;
    None of fewer than two. Of several cameras that of the longest, or all from the first to the last where that is more:
    they may send at once, one between the other's frames, or one after the other."""
    spans_s = [(max(times) - min(times)) * len(times) / (len(times) - 1) for times in sent_s if len(times) > 1]
    everything = [time_s for times in sent_s for time_s in times]
    longest_s = max(*spans_s, max(everything) - min(everything), 0.0) if spans_s else 0.0
    return longest_s if longest_s > 0 else None


class AgeSpool(Spool):
    """Knows which frames were answered and how old the answers were, and keeps none: packing them would take the
    processor from the node that is measured."""

    def _keep(self, answer: Answer) -> tuple[int, int]:
        return (0, 0)
