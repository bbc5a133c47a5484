"""What else goes wrong on a robot: cameras that come late, change or come twice, clocks that stand, parameters that change
in the middle of configuring, model files that are not there. The real node over real DDS; docs/reliability.md promises
what is held here."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from builtin_interfaces.msg import Time as TimeMessage
from faults import HELD
from lifecycle_msgs.msg import Transition
from rclpy.time import Time
from ros_harness import (
    EVERY_MESSAGE,
    FakeCamera,
    NodeProcess,
    Peer,
    change_state,
    connect,
    make_tiny_model,
    newest,
    set_parameters,
    state,
    values_of,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from seg_perception.files import write_image
from seg_perception.labels import VOID
from seg_perception.ros.diagnostics import STALE
from seg_perception.ros.node import DIAGNOSTICS_PERIOD_S

StartNode = Callable[..., NodeProcess]
MASKS = "/segmentation/label_mask"


def says(peer: Peer, diagnostics: list[Any], level: int, words: str, part: str = "camera") -> dict[str, str]:
    """Wait until a status has this level and these words; returns its values."""

    def said() -> dict[str, str]:
        values = values_of(diagnostics, part)
        return values if values.get("level") == str(level) and words in values["message"] else {}

    values: dict[str, str] = peer.until(said, f"level {level}, {words!r}")
    return values


def test_a_camera_that_comes_late_stalls_changes_and_comes_back(start: StartNode, peer: Peer) -> None:
    start(camera_timeout=0.5)
    diagnostics, masks = peer.diagnostics(), peer.listen(Image, MASKS)
    says(peer, diagnostics, STALE, "no image yet on /image for ")
    for size_wh, encoding in (((192, 128), "rgb8"), ((320, 96), "rgb8"), ((96, 160), "mono8")):
        camera = FakeCamera(peer, size_wh=size_wh)
        camera.send_info()

        def send(camera: FakeCamera = camera, encoding: str = encoding) -> Image:
            message, (width, height) = camera.message(), camera.size_wh
            if encoding == "mono8":
                grey = bytes(message.data[::3])
                message = Image(
                    header=message.header, height=height, width=width, encoding=encoding, step=width, data=grey
                )
            return camera.send(message)

        timer = peer.node.create_timer(0.05, send)
        fits = lambda size_wh=size_wh: masks and (masks[-1].width, masks[-1].height) == size_wh  # noqa: E731
        peer.until(fits, f"masks of {size_wh}")
        heard = lambda: "no image" not in values_of(diagnostics, "camera")["message"]  # noqa: E731
        peer.until(heard, "the end of the stall")
        values = values_of(diagnostics, "camera")
        assert (values["camera_stalled"], values["bad_frames"]) == ("false", "0"), values["last_problem"]
        peer.node.destroy_timer(timer)
        for publisher in (camera.images, camera.infos):
            peer.node.destroy_publisher(publisher)
        values = says(peer, diagnostics, STALE, "camera stalled: no image on /image for ")
        assert values["camera_stalled"] == "true"
    turns = [gap_s for gap_s, turned in turns_of(diagnostics) if turned]
    assert len(turns) >= 6 and min(turns) < 0.9 * DIAGNOSTICS_PERIOD_S, "all of them waited for the next second"


def turns_of(diagnostics: list[Any]) -> Iterator[tuple[float, bool]]:
    """Of each message but the first: s since the one before, and whether the camera has stalled, or is back, in it."""
    told = [
        (Time.from_msg(array.header.stamp).nanoseconds * 1e-9, "no image" in values_of([array], "camera")["message"])
        for array in diagnostics
        if "message" in values_of([array], "camera")
    ]
    for (before_s, was), (now_s, now) in pairwise(told):
        yield now_s - before_s, now != was


def test_parameters_that_change_while_it_configures_are_in_force_when_it_is_active(
    start: StartNode, peer: Peer
) -> None:
    process = start(["held_warm_up"], autostart=False)
    configured: list[bool] = []
    asking = Peer("manager")
    thread = threading.Thread(target=lambda: configured.append(change_state(asking, Transition.TRANSITION_CONFIGURE)))
    thread.start()
    process.wait_for_line(HELD)
    assert state(peer) == "configuring"
    assert set_parameters(peer, panoptic__min_confidence=1.0).successful
    refused = set_parameters(peer, panoptic__center_threshold=7.0)
    assert not refused.successful and "center_threshold" in refused.reason
    process.signal(signal.SIGUSR1)
    thread.join()
    asking.close()
    assert configured == [True]
    assert change_state(peer, Transition.TRANSITION_ACTIVATE)
    camera, masks = FakeCamera(peer), peer.listen(Image, MASKS)
    connect(peer, camera, masks)
    sent = camera.send()
    mask = peer.until(lambda: newest(masks, sent), "a mask")
    assert set(mask.data) == {VOID}, "no pixel is certain"
    assert process.stop() == 0, process.output


def test_a_clock_that_never_starts_or_stands_is_told_while_masks_go_on(start: StartNode, peer: Peer) -> None:
    process = start(use_sim_time=True)
    clock = peer.node.create_publisher(Clock, "/clock", EVERY_MESSAGE)
    diagnostics, masks, camera = peer.diagnostics(), peer.listen(Image, MASKS), FakeCamera(peer)
    connect(peer, camera, masks)
    now = [100.0, 0.0]

    def stamp(seconds: float) -> Any:
        return Time(nanoseconds=int(seconds * 1e9)).to_msg()

    def tick() -> None:
        now[0] += 0.05
        message = camera.message()
        message.header.stamp = stamp(now[0])
        camera.send(message)
        if now[1]:
            now[1] = now[0]
            clock.publish(Clock(clock=stamp(now[1])))

    peer.node.create_timer(0.05, tick)
    says(peer, diagnostics, 1, "use_sim_time is true and no time has come on /clock")
    now[1] = now[0]
    peer.until_heard(clock)
    on = lambda: "clock" not in values_of(diagnostics, "camera")["message"]  # noqa: E731
    peer.until(on, "time that runs")
    now[1] = 0.0
    says(peer, diagnostics, 1, "ahead of this node's clock")
    heard = len(masks)
    peer.until(lambda: len(masks) > heard, "masks while time stands")
    now[1] = now[0]
    peer.until(lambda: "clock" not in values_of(diagnostics, "camera")["message"], "time that runs again")
    assert process.stop() == 0, process.output


def test_a_time_on_the_clock_that_is_none_ends_nothing(start: StartNode, peer: Peer) -> None:
    """rclpy's own subscriber of /clock takes no time below 0, as of a simulator that begins at -1 s."""
    process = start(use_sim_time=True)
    clock = peer.node.create_publisher(Clock, "/clock", EVERY_MESSAGE)
    masks, camera = peer.listen(Image, MASKS), FakeCamera(peer)
    connect(peer, camera, masks)
    peer.until_heard(clock)

    def left_out() -> bool:
        """rclpy keeps the newest message alone, so one that another overtakes is never looked at."""
        clock.publish(Clock(clock=TimeMessage(sec=-1)))
        return "a message on /clock is left out" in process.output

    peer.until(left_out, "what it says of a time below 0")
    for sec in (-(2**31), 0, 2**31 - 1, 5):
        clock.publish(Clock(clock=TimeMessage(sec=sec)))
    sent = camera.send()
    peer.until(lambda: newest(masks, sent), "a mask")
    assert process.stop() == 0, process.output


def test_outputs_that_are_old_are_told_until_they_are_not(start: StartNode, peer: Peer, tmp_path: Path) -> None:
    slow = make_tiny_model(tmp_path / "slow.onnx", size_hw=(256, 352), busy=10)
    start(model=str(slow), threads=1, max_age=0.02, camera_timeout=3600.0)
    diagnostics, masks, camera = peer.diagnostics(), peer.listen(Image, MASKS), FakeCamera(peer)
    connect(peer, camera, masks)
    says(peer, diagnostics, 1, "s old, more than max_age (0.02 s)")
    gone = lambda: "max_age" not in values_of(diagnostics, "camera")["message"]  # noqa: E731
    peer.until(gone, "its end, as nothing comes out any more")


def test_after_each_kind_of_bad_model_file_the_next_try_is_as_good_as_the_first(
    start: StartNode, peer: Peer, model: Path, tmp_path: Path
) -> None:
    """As after another file that is missing, of the second camera, when the first has its outputs."""
    path, good, ego = tmp_path / "model.onnx", model.read_bytes(), tmp_path / "ego.png"
    names = {"camera_names": ["front", "left"], "left__ego_mask": str(ego)}
    process, diagnostics = start(autostart=False, model=str(path), **names), peer.diagnostics()
    bare = onnx.load(str(model))
    del bare.metadata_props[:]
    kinds: list[tuple[bytes | None, str]] = [
        (None, "there is no such file"),
        (b"no model", "is not a readable ONNX file"),
        (good[: len(good) // 2], "model.onnx"),
        (bare.SerializeToString(), "metadata"),
        (good, "ego.png cannot be read"),
    ]
    for data, words in kinds:
        if data is not None:
            path.write_bytes(data)
        assert not change_state(peer, Transition.TRANSITION_CONFIGURE), words
        assert state(peer) == "unconfigured"
        message = says(peer, diagnostics, 2, words, "backend")["message"]
        process.wait_for_line(message)
    write_image(ego, np.eye(8, dtype=np.uint8) * 255)
    assert change_state(peer, Transition.TRANSITION_CONFIGURE)
    says(peer, diagnostics, 1, "inactive", "backend")
    peer.until_served(["/segmentation/front/label_mask", "/segmentation/left/label_mask"])
    assert peer.node.count_publishers("/segmentation/front/label_mask") == 1, "a try that failed left one behind"
    assert "Traceback" not in process.output
    assert process.stop() == 0, process.output


def test_nothing_goes_out_after_deactivating_and_cycles_leave_nothing_behind(start: StartNode, peer: Peer) -> None:
    process = start(autostart=False)
    diagnostics, masks, camera = peer.diagnostics(), peer.listen(Image, MASKS), FakeCamera(peer)
    peer.node.create_timer(0.03, camera.send)
    held: list[tuple[int, int]] = []
    for _ in range(5):
        assert change_state(peer, Transition.TRANSITION_CONFIGURE)
        assert change_state(peer, Transition.TRANSITION_ACTIVATE)
        heard = len(masks)
        peer.until(lambda heard=heard: len(masks) > heard + 3, "masks")  # type: ignore[misc]
        assert change_state(peer, Transition.TRANSITION_DEACTIVATE)
        diagnostics.clear()
        peer.until(lambda: values_of(diagnostics, "backend").get("lifecycle_state") == "inactive", "inactive")
        heard, told = len(masks), len(diagnostics)
        peer.until(lambda told=told: len(diagnostics) > told, "a second more")  # type: ignore[misc]
        assert len(masks) == heard, "camera and node are idle together"
        assert change_state(peer, Transition.TRANSITION_CLEANUP)
        files, tasks = (sum(1 for _ in Path(f"/proc/{process.pid}/{one}").iterdir()) for one in ("fd", "task"))
        held.append((files, tasks))
    for first, *_, last in zip(*held):
        assert last - first < len(held) - 1, f"open files and threads after each cycle: {held}"
