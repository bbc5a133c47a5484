"""The network run on the images of several pipelines at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import Backend, OnDevice
from seg_perception.errors import BackendError, SegPerceptionError

Images = NDArray[np.uint8] | OnDevice
"""What a pipeline prepared: [1, h, w, 3], or in the backend's own memory."""

MOST_SIZES = 4
"""Of images that buffers are kept for; a camera may change its own."""


@dataclass(frozen=True)
class Answer:
    """What the network said to an image: `place` of output, or why it said nothing. span_ns: begin and end of its run."""

    output: Any
    place: int
    span_ns: tuple[int, int]
    error: BackendError | None = None


def answers_of(run: Callable[[], Any], count: int = 1) -> list[Answer]:
    """The answer to each of count images that the network takes in one run; an error is one to all of them."""
    output, begin = None, perf_counter_ns()
    error: BackendError | None = None
    try:
        output = run()
    except BackendError as failed:
        error = failed
    except SegPerceptionError as failed:
        error = BackendError(str(failed))
        error.__cause__ = failed
    except Exception as failed:  # each vendor's library raises classes of its own
        error = BackendError(f"the network failed ({type(failed).__name__}: {failed})")
        error.__cause__ = failed
    span_ns = begin, perf_counter_ns()
    return [Answer(output, place, span_ns, error) for place in range(count)]


class Batches:
    """Puts images of one size one behind the other, in buffers that stay. Belongs to one thread at a time."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, ...], NDArray[np.uint8]] = {}

    def answers(self, backend: Backend, images: Sequence[Images]) -> Iterator[tuple[int, Answer]]:
        """Index of an image and the answer to it, which holds until the next is asked for. Images of one size go through
        the network together; those in the backend's own memory lie there by their index."""
        sizes: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            sizes.setdefault(() if isinstance(image, OnDevice) else image.shape, []).append(index)
        for members in sizes.values():
            run = partial(self._run, backend, [images[index] for index in members])
            yield from zip(members, answers_of(run, len(members)))

    def _run(self, backend: Backend, images: list[Images]) -> Any:
        return backend.infer(self._joined(images))  # type: ignore[arg-type]  # its own steps prepared it

    def _joined(self, images: list[Images]) -> Images:
        last = images[-1]
        if isinstance(last, OnDevice) or len(images) == 1:
            return last  # on the device it stands for those before it, too
        count = len(images)
        buffer = self._buffers.get(last.shape)
        if buffer is None or len(buffer) < count:
            if len(self._buffers) >= MOST_SIZES:
                self._buffers.clear()
            buffer = self._buffers[last.shape] = np.empty((count, *last.shape[1:]), np.uint8)
        np.concatenate([image for image in images if not isinstance(image, OnDevice)], out=buffer[:count])
        return buffer[:count]
