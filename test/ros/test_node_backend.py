"""A backend that throws, answers what is no number or hangs: the real node over real DDS drops the frame, makes the
backend anew, and goes to error where that does not help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from faults import HANG, HANGS, NAN, THROW
from lifecycle_msgs.msg import Transition
from ros_harness import FakeCamera, NodeProcess, Peer, change_state, connect, newest, stamp_ns, state, values_of
from sensor_msgs.msg import Image

from seg_perception.errors import EXIT_HUNG
from seg_perception.model_file import OUTPUTS

StartNode = Callable[..., NodeProcess]


class Watched:
    """A node with a network that fails on demand, and what came of every frame that was sent."""

    def __init__(self, start: StartNode, peer: Peer, faults: tuple[str, ...] = (), **parameters: Any) -> None:
        self.process = start(["network", *faults], always_publish=["instance_mask", "segments"], **parameters)
        self.peer, self.camera = peer, FakeCamera(peer)
        self.masks, self.diagnostics = peer.listen(Image, "/segmentation/label_mask"), peer.diagnostics()
        connect(peer, self.camera, self.masks)
        self.sent: set[int] = set()
        self.bad: set[int] = set()

    def send(self, frame_id: str = "camera") -> Image:
        message = self.camera.message(seed=len(self.sent))
        message.header.frame_id = frame_id
        self.sent.add(stamp_ns(message))
        if frame_id != "camera":
            self.bad.add(stamp_ns(message))
        return self.camera.send(message)

    def values(self, part: str) -> dict[str, str]:
        return values_of(self.diagnostics, part)

    def until(self, part: str, condition: Callable[[dict[str, str]], Any], what: str) -> None:
        self.peer.until(lambda: (values := self.values(part)) and condition(values), f"{what}\n{self.process.output}")

    def until_it_answers(self) -> None:
        """Frames go all the way again."""
        self.masks.clear()
        self.peer.until(lambda: self.send() and self.masks, f"a mask\n{self.process.output}")

    def judge(self) -> None:
        """Every mask is the answer to one good frame: no bad frame has one, and none comes twice."""
        stamps = [stamp_ns(mask) for mask in self.masks]
        assert len(stamps) == len(set(stamps)), "a mask came twice"
        assert set(stamps) <= self.sent - self.bad, "a mask of a frame that the network did not answer"


@pytest.mark.parametrize(
    ("frame_id", "cause"), [(THROW, "backend_failed"), *((f"{NAN}{name}", "not_finite") for name in OUTPUTS)]
)
def test_a_frame_that_the_network_fails_at_has_no_mask_and_the_backend_is_made_anew(
    start: StartNode, peer: Peer, frame_id: str, cause: str
) -> None:
    watched = Watched(start, peer)
    bad = watched.send(frame_id)
    watched.until("camera", lambda values: values.get(f"bad_{cause}") == "1", "the frame counted by its cause")
    watched.until("backend", lambda values: values["backend_restarts"] == "1", "the restart")
    watched.until_it_answers()
    watched.judge()
    assert newest(watched.masks, bad) is None
    watched.until("backend", lambda values: "the backend was restarted: " in values["message"], "the restart told")
    assert watched.values("backend")["level"] == "1"
    assert state(peer) == "active"
    assert watched.process.stop() == 0, watched.process.output


def test_a_backend_that_goes_on_failing_ends_in_error_with_the_reason_and_can_be_configured_again(
    start: StartNode, peer: Peer
) -> None:
    watched = Watched(start, peer, backend_restarts=2)
    words = "the backend failed more often than 2 times a minute, the last time: the network failed (RuntimeError: the device"

    def failed() -> bool:
        watched.send(THROW)
        values = watched.values("backend")
        return values.get("lifecycle_state") == "unconfigured" and words in values["message"] and values["level"] == "2"

    peer.until(failed, f"the error\n{watched.process.output}")
    watched.judge()
    assert change_state(peer, Transition.TRANSITION_CONFIGURE)
    assert change_state(peer, Transition.TRANSITION_ACTIVATE)
    peer.until_heard(watched.camera.images)
    watched.until_it_answers()
    watched.judge()
    watched.until("backend", lambda values: values["level"] == "0", "no alarm any more")
    assert watched.process.stop() == 0, watched.process.output


def test_no_restarts_where_none_are_allowed(start: StartNode, peer: Peer) -> None:
    watched = Watched(start, peer, backend_restarts=0)
    watched.send(THROW)
    watched.until("backend", lambda values: values["lifecycle_state"] == "unconfigured", "the error")
    assert "more often than 0 times a minute" in watched.values("backend")["message"]


def test_a_network_that_hangs_is_left_behind_and_another_goes_on(start: StartNode, peer: Peer) -> None:
    watched = Watched(start, peer, backend_timeout=1.0, camera_timeout=0.5)
    watched.send(HANG)
    watched.process.wait_for_line(HANGS)
    watched.until("camera", lambda values: values.get("bad_backend_hangs") == "1", "the hang counted")
    watched.until_it_answers()
    watched.judge()
    words = "the network has not answered for 1 s (thread 'frames 0' stands in threading.py:"
    watched.until("backend", lambda values: words in values["message"], "where it stands")
    assert change_state(peer, Transition.TRANSITION_DEACTIVATE), "the thread that hangs holds nothing up"
    assert watched.process.stop() == 0, watched.process.output


def test_a_gpus_driver_that_hangs_ends_the_process(start: StartNode, peer: Peer) -> None:
    watched = Watched(start, peer, ("fake_gpu",), backend="tensorrt", backend_timeout=1.0)
    watched.send(HANG)
    watched.process.wait_for_line("the network has not answered for 1 s")
    assert watched.process.wait() == EXIT_HUNG, watched.process.output
    watched.judge()


@pytest.mark.parametrize("frame_id", [THROW, HANG])
def test_a_gpu_that_goes_on_failing_is_replaced_by_the_cpu_which_is_told_every_second(
    start: StartNode, peer: Peer, frame_id: str
) -> None:
    watched = Watched(
        start, peer, ("fake_gpu",), backend="tensorrt", fallback="cpu", backend_timeout=1.0, backend_restarts=1
    )
    assert watched.values("backend").get("device", "a GPU") == "a GPU"
    watched.send(frame_id)
    if frame_id == THROW:
        watched.until("backend", lambda values: values["backend_restarts"] == "1", "a first restart, on the GPU")
        watched.until("backend", lambda values: values.get("device") == "a GPU", "the GPU again")
        watched.until_it_answers()
        watched.send(frame_id)
    words = "fallback to the CPU: the network "
    told = lambda values: words in values["message"] and values.get("device") == "CPU"  # noqa: E731
    watched.until("backend", told, "the fallback")
    watched.until_it_answers()
    watched.judge()
    heard = len(watched.diagnostics)
    watched.peer.until(lambda: len(watched.diagnostics) >= heard + 3, "diagnostics")
    for message in watched.diagnostics[heard:]:
        values = values_of([message], "backend")
        assert (told(values), values["level"]) == (True, "1"), values


def test_a_gpu_that_cannot_start_is_replaced_by_the_cpu_which_is_told_every_second(
    start: StartNode, peer: Peer
) -> None:
    watched = Watched(start, peer, ("no_gpu",), backend="tensorrt", fallback="cpu")
    words = "fallback after an error of TensorRT: CUDA's cudaMalloc failed (out of memory)"
    watched.until("backend", lambda values: words in values["message"], "the fallback")
    heard = len(watched.diagnostics)
    watched.peer.until(lambda: len(watched.diagnostics) >= heard + 2, "diagnostics")
    assert all(words in values_of([message], "backend")["message"] for message in watched.diagnostics[heard:])


def test_deactivating_while_the_backend_is_made_anew_is_an_error_that_says_so(start: StartNode, peer: Peer) -> None:
    watched = Watched(start, peer, ("slow_restart",))
    watched.send(THROW)
    watched.process.wait_for_line(HANGS)
    watched.until(
        "backend", lambda values: values["level"] == "2" and "is being restarted" in values["message"], "that"
    )
    assert not change_state(peer, Transition.TRANSITION_DEACTIVATE)
    assert state(peer) == "unconfigured"
    assert watched.process.stop() == 0, watched.process.output
