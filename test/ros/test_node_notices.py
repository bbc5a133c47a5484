"""What the node notices of itself, says in diagnostics and does about it: the real node over real DDS, with faults put
in. docs/reliability.md promises what is held here."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from faults import HANG, HANGS
from lifecycle_msgs.msg import Transition
from ros_harness import FakeCamera, NodeProcess, Peer, change_state, connect, newest, state, values_of
from sensor_msgs.msg import Image

from seg_perception.errors import EXIT_HUNG, EXIT_INTERRUPTED
from seg_perception.fast_dds import SEGMENT, is_locked

StartNode = Callable[..., NodeProcess]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
LEASE_S = 20.0
"""After which Fast DDS misses a participant that said no word."""
IN_ORDER_S = 2.0
"""Within which a signal ends a node in which nothing hangs: the median, for a busy machine may take longer once."""
SIGNAL_S = 5.0
"""Within which a signal ends the node, whatever state it is in."""


def hang(process: NodeProcess, peer: Peer, camera: FakeCamera) -> None:
    """Let the network hang, while the camera goes on."""
    message = camera.message()
    message.header.frame_id = HANG
    camera.send(message)
    process.wait_for_line(HANGS)
    peer.node.create_timer(0.02, camera.send)


def test_a_network_that_hangs_is_an_error_and_deactivating_ends_the_process(start: StartNode, peer: Peer) -> None:
    process = start(["hang"], camera_timeout=1.0, backend_timeout=3600.0)
    camera, masks = FakeCamera(peer), peer.listen(Image, "/segmentation/label_mask")
    diagnostics = peer.diagnostics()
    connect(peer, camera, masks)
    hang(process, peer, camera)
    words = "images come on /image, nothing goes out since "

    def told() -> bool:
        values = values_of(diagnostics, "camera")
        found = (values.get("level"), values.get("camera_stalled"))
        return words in values.get("message", "") and found == ("2", "false")

    peer.until(told, "the hang in diagnostics, and that the camera goes on")
    process.wait_for_line("thread 'frames 0' stands in threading.py:")
    assert state(peer) == "active", "the executor answers"

    heard = len(diagnostics)
    assert not change_state(peer, Transition.TRANSITION_DEACTIVATE)
    assert len(diagnostics) > heard, "and goes on while the transition waits"
    words = "deactivating does not end after 4 s (thread 'frames 0' stands in threading.py:"
    process.wait_for_line(words)
    peer.until(lambda: values_of(diagnostics, "backend")["message"].startswith(words), "diagnostics saying so")
    assert process.wait() == EXIT_HUNG, process.output


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_ends_a_node_whose_network_hangs(start: StartNode, peer: Peer, number: int) -> None:
    process = start(["hang"])
    camera, masks = FakeCamera(peer), peer.listen(Image, "/segmentation/label_mask")
    connect(peer, camera, masks)
    hang(process, peer, camera)
    code, seconds = process.end(number)
    assert (code, seconds < SIGNAL_S) == (EXIT_HUNG, True), f"{seconds:.1f} s\n{process.output}"


def test_a_backend_that_cannot_be_given_back_is_left(start: StartNode, peer: Peer) -> None:
    process = start(["endless_close"], autostart=False)
    assert change_state(peer, Transition.TRANSITION_CONFIGURE)
    assert not change_state(peer, Transition.TRANSITION_CLEANUP)
    assert process.wait() == EXIT_HUNG
    assert "cleaningup does not end after 4 s (thread 'transition' stands in threading.py:" in process.output


def test_while_it_configures_it_listens_and_a_signal_ends_it(start: StartNode, peer: Peer) -> None:
    process = start(["endless_warm_up"])
    diagnostics = peer.diagnostics()
    words = "configuring: warming up"
    peer.until(lambda: values_of(diagnostics, "backend").get("message", "").startswith(words), "the step it is at")
    values = values_of(diagnostics, "backend")
    assert (values["level"], values["lifecycle_state"]) == ("1", "configuring")
    assert state(peer) == "configuring"
    assert not change_state(peer, Transition.TRANSITION_ACTIVATE), "one transition at a time"
    code, seconds = process.end(signal.SIGINT)
    assert (code, seconds < SIGNAL_S) == (0, True), f"{seconds:.1f} s\n{process.output}"
    assert "left in the middle of configuring (thread 'transition' stands in threading.py:" in process.output


@pytest.mark.parametrize("hangs", [False, True])
def test_who_leaves_says_so_and_gives_its_shared_memory_back(start: StartNode, peer: Peer, hangs: bool) -> None:
    process = start(["hang"])
    camera, masks = FakeCamera(peer), peer.listen(Image, "/segmentation/label_mask")
    connect(peer, camera, masks)
    if hangs:
        hang(process, peer, camera)
    paths = {Path(word) for word in Path(f"/proc/{process.pid}/maps").read_text().split()}
    segments = [path for path in paths if SEGMENT.fullmatch(path.name)]
    assert process.stop() == (EXIT_HUNG if hangs else 0), process.output
    left = [segment for segment in segments if segment.exists() and not is_locked(Path(f"{segment}_el"))]
    assert segments and not left
    gone = lambda: not peer.node.count_publishers("/diagnostics")  # noqa: E731
    peer.until(gone, "its departure", LEASE_S / 2)


def test_the_second_signal_ends_it_at_once(start: StartNode, peer: Peer) -> None:
    process = start(["endless_warm_up"])
    process.wait_for_line("warming up")
    first, _ = process.signal(signal.SIGINT), time.sleep(0.2)
    code, seconds = process.end(signal.SIGINT)
    assert (first, code, seconds < 1.0) == (None, EXIT_INTERRUPTED, True), f"{seconds:.1f} s\n{process.output}"


def test_a_signal_ends_it_in_every_state_of_rest(start: StartNode, peer: Peer) -> None:
    ways = {
        "unconfigured": (),
        "inactive": (Transition.TRANSITION_CONFIGURE,),
        "active": (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE),
        "finalized": (Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,),
    }
    took_s = []
    for number, (resting, way) in zip(SIGNALS * 2, ways.items()):
        process = start(autostart=False)
        assert all(change_state(peer, transition) for transition in way)
        assert state(peer) == resting
        code, seconds = process.end(number)
        assert (code, seconds < SIGNAL_S) == (0, True), f"{resting}: {seconds:.1f} s\n{process.output}"
        took_s.append(seconds)
        peer.until(lambda: not peer.node.count_publishers("/segmentation/transition_event"), "its departure")
    assert median(took_s) < IN_ORDER_S, took_s


def test_a_failed_configuration_is_an_error_until_the_next_success(start: StartNode, peer: Peer) -> None:
    process = start(["out_of_memory"], autostart=False)
    diagnostics = peer.diagnostics()

    def says(level: int, words: str, resting: str) -> None:
        def said() -> bool:
            values = values_of(diagnostics, "backend")
            return (values.get("level"), values.get("lifecycle_state")) == (str(level), resting) and words in values[
                "message"
            ]

        peer.until(said, f"level {level}, {resting}, {words!r}")

    says(1, "not configured", "unconfigured")
    assert not change_state(peer, Transition.TRANSITION_CONFIGURE)
    says(2, "RuntimeError: CUDA error 2: out of memory", "unconfigured")
    assert not change_state(peer, Transition.TRANSITION_ACTIVATE), "which the state does not allow"
    says(2, "RuntimeError: CUDA error 2: out of memory", "unconfigured")
    assert change_state(peer, Transition.TRANSITION_CONFIGURE)
    says(1, "inactive", "inactive")
    assert values_of(diagnostics, "camera")["message"] == "inactive, so no images are taken"
    assert change_state(peer, Transition.TRANSITION_ACTIVATE)
    says(0, "running", "active")
    assert change_state(peer, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    says(1, "finalized for good", "finalized")
    assert process.stop() == 0, process.output


@pytest.mark.parametrize("faults", [["old_rclpy"], []])
def test_a_transition_that_the_state_does_not_allow_is_refused_and_nothing_else(
    start: StartNode, peer: Peer, faults: list[str]
) -> None:
    process = start(faults)
    camera, masks = FakeCamera(peer), peer.listen(Image, "/segmentation/label_mask")
    diagnostics = peer.diagnostics()
    connect(peer, camera, masks)
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_INACTIVE_SHUTDOWN, 99):
        assert not change_state(peer, transition)
    assert not change_state(peer, label="configure") and not change_state(peer, label="nonsense")
    sent = camera.send()
    peer.until(lambda: newest(masks, sent), "a mask")
    assert state(peer) == "active"
    peer.until(lambda: values_of(diagnostics, "backend").get("level") == "0", "no alarm")
    assert change_state(peer, label="deactivate")
    assert process.stop() == 0, process.output


def test_16_bit_images_that_use_12_are_told_from_black_ones(start: StartNode, peer: Peer) -> None:
    camera, diagnostics = FakeCamera(peer), peer.diagnostics()
    start()
    peer.until_heard(camera.images)

    def said() -> dict[str, str]:
        values = np.full((4, 6), 4095, "<u2")
        message = Image(encoding="mono16", height=4, width=6, step=12, data=values.tobytes())
        message.header.stamp = camera.message().header.stamp
        camera.send(message)
        told = values_of(diagnostics, "camera")
        return told if words in told.get("message", "") and told["level"] == "1" else {}

    words = "images of 16 bit in a row hold no value above 4095, so are black: set image_bit_depth"
    assert int(peer.until(said, "the doubt")["dim_images"]) > 0


def with_shared_memory(size: str, first: str = "") -> tuple[str, ...]:
    """Runs its arguments with a /dev/shm of that size, after a command of the shell for which they are "$@"."""
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    command = ("unshare", "--mount", "sh", "-c", f'{mount} && {first or "true"}; exec "$@"', "sh")
    trial = ("unshare", "--mount", "sh", "-c", mount)
    if not shutil.which("unshare") or subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount: no small /dev/shm to try")
    return command


KILL_ONE = """{
    "$@" > /dev/null 2>&1 & until find /dev/shm -name "fastdds_*_el" ! -name "*port*" | grep -q .; do sleep 0.1; done
    kill -9 $!; wait; touch -d "1 minute ago" /dev/shm/*; ls /dev/shm; echo one was killed
}"""


def test_a_killed_node_leaves_no_shared_memory_that_stops_the_next(domain: None, model: Path) -> None:
    """It leaves 17 MB, so that in 30 the next one's segment would not fit."""
    small = with_shared_memory("30m", KILL_ONE)
    process = NodeProcess({"model": str(model)}, faults=["endless_warm_up"], before=small)
    try:
        process.wait_for_line("warming up")
        told, (left, _, said) = process.output, process.output.partition("one was killed")
        assert "fastdds_" in left and said and "free, where the segment" not in said, told
        assert process.stop() == 0, process.output
    finally:
        process.close()


def test_shared_memory_that_is_too_small_is_told_at_the_start(domain: None) -> None:
    process = NodeProcess({"autostart": False}, before=with_shared_memory("5m"))
    try:
        process.wait_for_line("/dev/shm has 5 MB free, where the segment of ")
        assert process.stop() == 0, process.output
    finally:
        process.close()
