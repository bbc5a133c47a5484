"""Another size of the network while frames go on, for cameras of a shape that the backend was not built for. Needs no ROS.

An engine has one size. Where the model file leaves it open, the size that stretches the cameras' images least is made beside
the one that runs, and takes over between two frames once it is warm and has passed its self-test; until then, and where that
fails, the old one goes on.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from seg_perception.backends.base import Backend
from seg_perception.errors import SegPerceptionError
from seg_perception.model_file import ModelInfo

Size = tuple[int, int]
"""(height, width), px."""

MUCH = 1.1
"""A stretch of width against height by that is worth another size."""
SETTLED_S = 3.0
"""For how long all cameras must have kept their shapes."""
PAUSE_S = 60.0
"""Between two changes of size: a camera that goes to and fro costs no more than that."""


class Resizing:
    """From one activation to the next deactivation. One size is made at a time, in a thread of its own, since an engine may
    take minutes, and so longer than the node is active."""

    def __init__(
        self,
        make: Callable[[Size], Backend],
        take_over: Callable[[Backend], bool],
        log: Callable[[str], None],
        turn: threading.Lock,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """make: a warm backend of that size that has passed its self-test; whatever it raises leaves the old one. take_over:
        lets it run the frames from the next one on; False where the old one has failed meanwhile, or the end has come. turn:
        held while one is made, by whichever activation: two builders at once would share the GPU and its memory."""
        self._make_backend, self._take_over, self._log, self._clock = make, take_over, log, clock
        self._turn, self._stopped = turn, False
        self._making: Size | None = None
        self._failed: dict[Size, str] = {}
        self._changed_s = -math.inf
        self._told = ""

    def stop(self) -> None:
        """Begin nothing any more; what is being made is closed when it comes."""
        self._stopped = True

    @property
    def warning(self) -> str:
        """Which images are squeezed now, why, and what becomes of it; empty where none are."""
        return self._told

    def look_after(self, model: ModelInfo, size_hw: Size, shapes: Mapping[str, tuple[Size, float]]) -> None:
        """Once a second. model: the file's, whose size is open; size_hw: what runs; shapes: of each camera's images, and
        since when."""
        told = self._looked_after(model, size_hw, shapes)
        if told and told != self._told:
            self._log(told)
        self._told = told

    def _looked_after(self, model: ModelInfo, size_hw: Size, shapes: Mapping[str, tuple[Size, float]]) -> str:
        images = {name: image_hw for name, (image_hw, _) in shapes.items()}
        squeezed = squeezed_by(model, size_hw, images)
        if not squeezed:
            return ""
        told = f"{_list(squeezed)} squeezed to the engine's {words(size_hw)}, which costs accuracy"
        if (making := self._making) is not None:  # read once: its thread may end now
            return f"{told}, until an engine for {words(making)} is built, in the background"
        better = size_for_all(model, squeezed, images)
        if better is None:
            return f"{told}: one engine cannot suit cameras of such different shapes, start a node for each shape"
        if better in self._failed:
            why = f"there is no engine for {words(better)} ({self._failed[better]})"
            return f"{told}: {why}; mend that and activate again, or set network_size to {_parameter(size_hw)} to stay"
        now_s = self._clock()
        if now_s < self._changed_s + PAUSE_S:
            return (
                f"{told}: the size changes once in {PAUSE_S:g} s, so that shapes that come and go cost little; keep one"
            )
        if now_s < max(since_s for _, since_s in shapes.values()) + SETTLED_S:
            return f"{told}: another size is made once the images have kept their shape for {SETTLED_S:g} s; keep one"
        self._making = better
        threading.Thread(target=self._make, args=(better,), name="resizing", daemon=True).start()
        return f"{told}, until an engine for {words(better)} is built, in the background"

    def _make(self, size_hw: Size) -> None:
        with self._turn:
            if not self._stopped:
                self._make_in_turn(size_hw)
        self._making = None

    def _make_in_turn(self, size_hw: Size) -> None:
        backend, taken = None, False
        try:
            backend = self._make_backend(size_hw)
            taken = self._take_over(backend)
        except Exception as error:  # the edge of the thread; every vendor's library raises classes of its own
            self._failed[size_hw] = str(error) or type(error).__name__
        if taken:
            self._changed_s = self._clock()
            self._log(f"the network runs at {words(size_hw)} now; network_size {_parameter(size_hw)} starts with it")
        elif backend is not None:
            with suppress(SegPerceptionError):
                backend.close()


def squeezed_by(model: ModelInfo, size_hw: Size, images: Mapping[str, Size]) -> dict[str, Size]:
    """Cameras whose images a network of size_hw stretches by MUCH more than the model's best size for them does."""
    return {
        name: image_hw
        for name, image_hw in images.items()
        if stretch(image_hw, size_hw) >= MUCH * stretch(image_hw, model.size_for(image_hw))
    }


def size_for_all(model: ModelInfo, squeezed: Mapping[str, Size], images: Mapping[str, Size]) -> Size | None:
    """The best size for one of the squeezed cameras that squeezes none; None where there is none."""
    sizes = dict.fromkeys(map(model.size_for, squeezed.values()))
    return next((size_hw for size_hw in sizes if not squeezed_by(model, size_hw, images)), None)


def stretch(image_hw: Size, size_hw: Size) -> float:
    """By how much width is stretched against height, or the reverse; 1 where neither is."""
    ratio = size_hw[1] / size_hw[0] * image_hw[0] / image_hw[1]
    return max(ratio, 1 / ratio)


def size_values(model: ModelInfo, shape: tuple[Size, float] | None) -> dict[str, str]:
    """At which size the network sees the latest image, and by how much that stretches it."""
    if shape is None:
        return {}
    size_hw = model.size_for(shape[0])
    return {"network_size": words(size_hw), "network_stretch": f"{stretch(shape[0], size_hw):.2f}"}


def words(size_hw: Size) -> str:
    """As people write it."""
    return f"{size_hw[1]}x{size_hw[0]}"


def _parameter(size_hw: Size) -> str:
    return f"[{size_hw[1]}, {size_hw[0]}]"


def _list(squeezed: Mapping[str, Size]) -> str:
    named = (f"{words(image_hw)}{f' ({name})' if name else ''}" for name, image_hw in squeezed.items())
    return f"images of {', '.join(named)} are"
