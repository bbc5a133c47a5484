"""The self-test of the real node: at activation, on request, and after a restart of the backend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from diagnostic_msgs.srv import SelfTest
from fakes import with_answer
from faults import DAMAGE
from lifecycle_msgs.msg import Transition
from ros_harness import LATCHED, FakeCamera, NodeProcess, Peer, change_state, connect, make_tiny_model, state, values_of
from sensor_msgs.msg import Image

from seg_perception.errors import EXIT_ERROR

StartNode = Callable[..., NodeProcess]
RESULT = "/segmentation/self_test_result"


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model file that holds its answer."""
    return str(with_answer(make_tiny_model(tmp_path_factory.mktemp("answered") / "tiny.onnx", contrast=0.1)))


def ask(peer: Peer) -> tuple[bool, str]:
    """Request a test: whether it passed, and what is said of it."""
    answer = peer.call(SelfTest, "/segmentation/self_test", SelfTest.Request())
    (status,) = answer.status
    assert answer.id == "/segmentation" and status.name == "/segmentation: self-test"
    return answer.passed == b"\x01", status.message


def level(status: DiagnosticStatus) -> int:
    return status.level if isinstance(status.level, int) else status.level[0]


def test_it_passes_between_two_frames_and_finds_a_gpu_that_breaks_meanwhile(
    start: StartNode, peer: Peer, answered: str
) -> None:
    process = start(["network"], model=answered)
    camera, masks = FakeCamera(peer), peer.listen(Image, "/segmentation/label_mask")
    diagnostics = peer.diagnostics()
    connect(peer, camera, masks)
    late: list[Any] = peer.listen(DiagnosticStatus, RESULT, LATCHED)
    peer.until(lambda: late, "what was latched")
    assert (level(late[0]), late[0].message[:8]) == (0, "passed: ")
    peer.until(lambda: values_of(diagnostics, "backend").get("self_test", "").startswith("passed: "), "diagnostics")

    peer.node.create_timer(0.02, camera.send)
    passed, sentence = ask(peer)
    assert passed, sentence

    message = camera.message()
    message.header.frame_id = DAMAGE

    def is_answered() -> bool:
        camera.send(message)  # again and again: one alone may be replaced by a newer image
        return any(mask.header.frame_id == DAMAGE for mask in masks)

    peer.until(is_answered, "a mask of the broken GPU")
    passed, sentence = ask(peer)
    assert not passed and "have another class" in sentence
    peer.until(lambda: any(level(status) == 2 for status in late), "the failure on the topic")
    peer.until(lambda: values_of(diagnostics, "backend").get("backend_restarts") == "1", "the restart")
    peer.until(lambda: level(late[-1]) == 0, "the new backend's test")
    passed, sentence = ask(peer)
    assert passed, sentence
    assert change_state(peer, Transition.TRANSITION_DEACTIVATE)
    passed, sentence = ask(peer)
    assert not passed and "no frames are run" in sentence
    assert process.stop() == 0, process.output


def test_a_node_whose_engine_is_another_models_is_not_activated(start: StartNode, peer: Peer, answered: str) -> None:
    process = start(["wrong_engine"], model=answered, autostart=False)
    results, diagnostics = peer.listen(DiagnosticStatus, RESULT, LATCHED), peer.diagnostics()
    assert change_state(peer, Transition.TRANSITION_CONFIGURE)
    assert not change_state(peer, Transition.TRANSITION_ACTIVATE)
    assert state(peer) == "unconfigured"
    peer.until(lambda: results and level(results[-1]) == 2, "the failure on the topic")
    words = "the self-test failed: of the known image's cells "
    peer.until(lambda: words in values_of(diagnostics, "backend").get("message", ""), "diagnostics")
    assert values_of(diagnostics, "backend")["level"] == "2"
    assert process.stop() == 0, process.output


def test_by_itself_it_leaves_with_the_reason(start: StartNode, peer: Peer, answered: str) -> None:
    process = start(["wrong_engine"], model=answered)
    assert process.wait() == EXIT_ERROR
    assert "the self-test failed: of the known image's cells " in process.output


def test_warn_goes_on_and_says_so(start: StartNode, peer: Peer, answered: str) -> None:
    process = start(["wrong_engine"], model=answered, self_test="warn")
    camera, masks = FakeCamera(peer), peer.listen(Image, "/segmentation/label_mask")
    diagnostics = peer.diagnostics()
    connect(peer, camera, masks)
    words = "the self-test failed: of the known image's cells "
    peer.until(lambda: values_of(diagnostics, "backend").get("message", "").startswith(words), "diagnostics")
    assert (values_of(diagnostics, "backend")["level"], state(peer)) == ("2", "active")
    assert process.stop() == 0, process.output


def test_a_file_without_an_answer_says_so_and_is_refused_where_a_test_is_required(
    start: StartNode, peer: Peer, model: Path
) -> None:
    process = start(model=str(model))
    results = peer.listen(DiagnosticStatus, RESULT, LATCHED)
    peer.until(lambda: results, "the result")
    assert level(results[0]) == 1 and f"{model} holds no answer to it" in results[0].message
    assert process.stop() == 0, process.output
    process = start(model=str(model), self_test="require")
    assert process.wait() == EXIT_ERROR
    assert "holds no answer to it, 'seg_perception export --model' writes one" in process.output
