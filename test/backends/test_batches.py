"""Images of several pipelines in one run of the network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes import FakeBackend, empty_output, model_info
from numpy.typing import NDArray

from seg_perception.backends.base import OnDevice
from seg_perception.backends.batches import Batches
from seg_perception.errors import BackendError, SegPerceptionError
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, NetworkOutput, Wants
from seg_perception.ros.lane import Lane

MODEL = model_info()


def image(value: int, height: int = 64) -> NDArray[np.uint8]:
    return np.full((1, height, 96, 3), value, np.uint8)


def numbered(images: NDArray[np.uint8]) -> NetworkOutput:
    """Class k everywhere for an image of value k."""
    output = empty_output(MODEL, len(images))
    for logits, one in zip(output.semantic_logits, images):
        logits[one[0, 0, 0]] = 20
    return output


def test_images_of_one_size_go_together_and_each_gets_its_own_answer() -> None:
    runs: list[list[int]] = []

    def answer(images: NDArray[np.uint8]) -> NetworkOutput:
        runs.append(images[:, 0, 0, 0].tolist())
        return numbered(images)

    images = [image(3), image(5, height=32), image(4), image(6, height=32), image(2, height=128)]
    answers = dict(Batches().answers(FakeBackend(answer), images))
    assert runs == [[3, 4], [5, 6], [2]]
    assert sorted(answers) == [0, 1, 2, 3, 4]
    for index, one in answers.items():
        only = one.output.only(one.place)
        assert only.semantic_logits.shape[0] == 1
        assert only.semantic_logits[0].argmax(axis=0).max() == images[index][0, 0, 0, 0]
        assert one.span_ns[0] <= one.span_ns[1] and one.error is None


def test_the_next_run_waits_until_its_answer_is_asked_for() -> None:
    """Since it may overwrite the answers of the one before."""
    backend = FakeBackend(numbered)
    answers = Batches().answers(backend, [image(1), image(2, height=32)])
    next(answers)
    assert backend.runs == 1
    next(answers)
    assert backend.runs == 2


def test_a_single_image_is_not_copied() -> None:
    given: list[Any] = []
    one = image(1)
    list(Batches().answers(FakeBackend(lambda images: given.append(images) or numbered(images)), [one]))
    assert given[0] is one


def test_buffers_stay() -> None:
    given: list[int] = []

    def answer(images: NDArray[np.uint8]) -> NetworkOutput:
        given.append(images.ctypes.data)
        return numbered(images)

    batches = Batches()
    for count in (4, 2, 3, 4):
        answers = dict(batches.answers(FakeBackend(answer), [image(k) for k in range(count)]))
        assert [int(answers[k].output.only(k).semantic_logits[0].argmax(axis=0)[0, 0]) for k in range(count)] == list(
            range(count)
        )
    assert len(set(given)) == 1


def test_images_on_the_device_go_in_one_run_of_all_of_them() -> None:
    given: list[Any] = []
    backend: Any = type("OnGpu", (), {"infer": lambda self, images: given.append(images) or images})()
    answers = dict(Batches().answers(backend, [OnDevice(1), OnDevice(2), OnDevice(3)]))
    assert given == [OnDevice(3)]
    assert [answers[k].place for k in range(3)] == [0, 1, 2]


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (RuntimeError("no device"), r"the network failed \(RuntimeError: no device\)"),
        (SegPerceptionError("it is gone"), "^it is gone$"),
        (BackendError("it hangs", "backend_hangs"), "^it hangs$"),
    ],
)
def test_an_error_is_one_to_all_of_its_run_and_to_no_other(raised: Exception, words: str) -> None:
    def answer(images: NDArray[np.uint8]) -> NetworkOutput:
        if len(images) == 2:
            raise raised
        return numbered(images)

    answers = dict(Batches().answers(FakeBackend(answer), [image(1), image(2), image(3, height=32)]))
    assert answers[2].error is None
    for index in (0, 1):
        with pytest.raises(BackendError, match=words):
            Pipeline(MODEL, FakeBackend(numbered)).decode(None, answers[index])  # type: ignore[arg-type]


class Camera:
    """A camera of the lane that is nothing but its pipeline."""

    def __init__(self, backend: Any, number: int) -> None:
        self._pipeline = Pipeline(MODEL, backend, slots=2)
        rng = np.random.default_rng(number)
        self._pixels = rng.integers(0, 256, (80, 120, 3), dtype=np.uint8)
        self.out = 0

    def prepare(self, arrival: Any, settings: Any, slot: int, place: int) -> Any:
        return self._pipeline.prepare(Frame(self._pixels), Wants(False, False, False, False, False), slot, place)

    def see(self, ready: Any, answer: Any) -> Any:
        return self._pipeline.decode(ready, answer)

    def publish(self, half: Any) -> None:
        self._pipeline.place(half)
        self.out += 1


class Waiting(FakeBackend):
    """A device beside the CPU: a run takes as long for several images as for one."""

    def __init__(self, seconds: float) -> None:
        super().__init__(numbered)
        self._seconds = seconds

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        time.sleep(self._seconds)
        return super().infer(images[..., :1] * 0)


def frames_per_second(cameras: list[Camera], backend: Any, most: int, frames: int) -> float:
    """Of a lane of one thread whose cameras always have a frame."""
    left = [frames]

    def take(most: int, wait_s: float, ended: Any) -> list[tuple[int, None]]:
        count = min(most, left[0])
        left[0] -= count
        return [((left[0] + k) % len(cameras), None) for k in range(count)]

    batches = Batches()

    def network(ready: Any) -> Iterator[tuple[int, Any]]:
        return batches.answers(backend, [one.images for one in ready])

    line = SimpleNamespace(take=take)
    begin_s = time.monotonic()
    Lane(line, cameras, lambda: None, network, most).work(0)
    return frames / (time.monotonic() - begin_s)


def test_four_cameras_get_at_least_1_3_times_as_many_frames_of_a_device_in_batches() -> None:
    backend = Waiting(0.02)
    cameras = [Camera(backend, number) for number in range(4)]
    frames_per_second(cameras, backend, 4, 8)
    rates = [[frames_per_second(cameras, backend, most, 12) for most in (1, 4)] for _ in range(3)]
    assert max(batched / alone for alone, batched in rates) >= 1.3, rates
    assert {camera.out for camera in cameras} == {(8 + 3 * 24) // 4}
