"""One camera's work on a frame, where its parts are not what they were a moment before. Needs no node."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rclpy.time import Time
from std_msgs.msg import Header

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.labels import CAMVID
from seg_perception.panoptic.relabel import Told
from seg_perception.ros import camera as camera_file
from seg_perception.ros import outputs
from seg_perception.ros.camera import Camera
from seg_perception.ros.diagnostics import GROUND_OK, CameraMonitor, GroundState
from seg_perception.ros.inputs import Arrival, Calibration
from seg_perception.ros.notices import Notices
from seg_perception.ros.outputs import CameraOutputs, Placed
from seg_perception.ros.settings import Settings

CAMERA = CameraModel(640, 480, ((500, 0, 320), (0, 500, 240), (0, 0, 1)))
POSED = Settings.from_values({"camera_pose": [0.0, 0.0, 1.2, 0.0, 0.1, 0.0], "tracking.use_odometry": False})


class Changing(Calibration):
    """The executor hears a calibration whenever a frame's thread has looked at the one before."""

    def __init__(self, *heard: tuple[CameraModel | None, str]) -> None:
        self._heard = list(heard)

    @property  # type: ignore[override]
    def latest(self) -> tuple[CameraModel | None, str]:
        self._heard.append(self._heard.pop(0))
        return self._heard[-1]


@pytest.mark.parametrize("good_first", [False, True])
def test_a_frame_has_one_calibration_whenever_another_is_heard(good_first: bool) -> None:
    heard = [(None, "not calibrated"), (CAMERA, "")]
    used: list[Any] = []
    camera = Camera.__new__(Camera)
    camera._pipeline = SimpleNamespace(set_camera=lambda *given: used.append(given[0]))  # type: ignore[assignment]
    camera._mounting = SimpleNamespace(  # type: ignore[assignment]
        of_camera=lambda arrival, settings: (CameraPose(0.0, 0.0, 1.2), outputs_are_made)
    )
    camera._ego = None
    outputs_are_made = SimpleNamespace(problem="", cause="ok")
    told = SimpleNamespace(calibration=Changing(*(reversed(heard) if good_first else heard)))
    arrival = Arrival(SimpleNamespace(header=Header()), 0.0)
    model, ground = camera._place(told, arrival, (480, 640), POSED)  # type: ignore[arg-type]
    assert used == [model] == [CAMERA if good_first else None]
    assert bool(ground.problem) != good_first


class Recorder:
    """A publisher."""

    def __init__(self, topic: str) -> None:
        self.topic_name, self.sent = topic, list[Any]()

    def publish(self, message: Any) -> None:
        self.sent.append(message)

    def get_subscription_count(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("watched", "asked"),
    [
        ("free_space", True),
        ("segmentation_mask", True),
        ("segmentation_mask/compressed", True),
        ("points", True),
        ("tracks", False),
        ("segments", False),
        ("label_mask", False),
    ],
)
def test_depth_is_asked_for_by_all_that_shows_the_ground_and_by_nothing_else(watched: str, asked: bool) -> None:
    """The overlay's free distance was that of flat ground while nobody listened to the grid or the scan beside it."""
    camera, heard = Camera.__new__(Camera), list[int]()
    newest = SimpleNamespace(of=lambda stamp_ns, *_: heard.append(stamp_ns))
    camera._depth = SimpleNamespace(newest=newest)  # type: ignore[assignment]
    frame = SimpleNamespace(stamp_ns=7, size_hw=(2, 3), frame_id="")
    ready = SimpleNamespace(frame=frame, wants=outputs.wants(frozenset({watched})))
    prepared = SimpleNamespace(ready=ready, ground=GROUND_OK, watched=frozenset({watched}), camera_input=None)
    camera._depth_of(prepared)  # type: ignore[arg-type]
    assert heard == [7] * asked


def recorded_outputs(monkeypatch: pytest.MonkeyPatch) -> tuple[CameraOutputs, dict[str, Recorder]]:
    """Outputs with vision_msgs, and the publisher of each topic."""

    def message(**fields: Any) -> Any:
        return SimpleNamespace(**fields)

    types = SimpleNamespace(LabelInfo=message, VisionClass=message, Detection2DArray=message)
    monkeypatch.setattr(outputs.fill, "vision_msgs", lambda: (types, ""))
    made: dict[str, Recorder] = {}
    node: Any = SimpleNamespace(
        resolve_topic_name=lambda name: name,
        create_lifecycle_publisher=lambda kind, topic, qos, event_callbacks: made.setdefault(topic, Recorder(topic)),
        get_clock=lambda: SimpleNamespace(now=Time),
    )
    return CameraOutputs(node, "", Told(CAMVID)), made


def result_of(stamp_ns: int) -> Any:
    """A frame in which nothing is found."""
    drivable = SimpleNamespace(free_space=None, points=None)
    panoptic = SimpleNamespace(semantic=np.zeros((2, 3), np.uint8))
    return SimpleNamespace(frame=SimpleNamespace(stamp_ns=stamp_ns), panoptic=panoptic, drivable=drivable, tracks=())


@pytest.mark.parametrize(
    ("stamp_ns", "enabled", "follows"), [(5, True, True), (0, True, False), (-5, True, False), (5, False, False)]
)
def test_detections_know_whether_things_are_followed_though_none_is_a_track(
    monkeypatch: pytest.MonkeyPatch, stamp_ns: int, enabled: bool, follows: bool
) -> None:
    """As in a frame that comes late after all tracks ended: a number of the frame would pass for that of a track."""
    camera, made = recorded_outputs(monkeypatch)
    monkeypatch.setattr(outputs.fill, "detections", lambda types, panoptic, labels, header, follows: follows)
    settings = Settings.from_values({"tracking.enabled": enabled})
    camera.publish(result_of(stamp_ns), Header(), Placed("", None, None, ""), frozenset({"detections"}), settings)
    assert made["~/detections"].sent == [follows]


def test_a_threshold_that_changes_is_told_to_who_reads_label_info(monkeypatch: pytest.MonkeyPatch) -> None:
    camera, made = recorded_outputs(monkeypatch)
    result = result_of(0)
    camera.announce(Settings.from_values({}))
    for threshold in (0.0, 0.5, 0.5, 0.25):
        settings = Settings.from_values({"panoptic.min_confidence": threshold})
        camera.publish(result, Header(), Placed("", None, None, ""), frozenset(), settings)
    assert [info.threshold for info in made["~/label_info"].sent] == [0.0, 0.5, 0.25]


def test_an_image_that_comes_while_its_topic_is_being_subscribed_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor's thread takes images from the moment on at which the middleware knows of the subscription."""
    camera = Camera.__new__(Camera)
    node: Any = SimpleNamespace()
    camera.name, camera._node, camera._settings, camera._calibration = "", node, POSED, Calibration()
    camera._notices, camera._depth, camera._input = Notices(node, lambda: None), None, None
    arrival, run = Arrival(SimpleNamespace(header=Header()), 0.0), list[Any]()
    monitor = CameraMonitor("/image", 2.0, time.monotonic())

    class Hasty:
        """An input whose first image is there at once."""

        def __init__(self, node: Any, name: str, settings: Any, accept: Any, calibration: Any) -> None:
            self.monitor, self.open = monitor, lambda: accept(arrival)

    monkeypatch.setattr(camera_file, "CameraInput", Hasty)
    monkeypatch.setattr(Camera, "_prepare", lambda camera, *given: given)
    camera.listen(lambda arrival: run.append(camera.prepare(arrival, POSED)))
    assert run and run[0] is not None


def test_what_stopped_the_ground_before_it_was_deactivated_is_not_told_after(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    camera = Camera.__new__(Camera)
    node: Any = SimpleNamespace(get_logger=lambda: SimpleNamespace(warning=logged.append, info=logged.append))
    camera.name, camera._node, camera._settings, camera._calibration = "", node, POSED, Calibration()
    camera._notices = Notices(node, lambda: None)
    camera._pipeline = SimpleNamespace(tracker=None, model=None)  # type: ignore[assignment]
    monitor = CameraMonitor("/image", 2.0, time.monotonic())
    monkeypatch.setattr(camera_file, "CameraInput", lambda *given: SimpleNamespace(monitor=monitor, open=lambda: None))
    problem = GroundState("tf_missing", "no transform")
    camera.listen(lambda arrival: None)
    camera._notices.note(problem)
    assert "no transform" in camera.status(POSED, "active").message and len(logged) == 1
    camera._input = None
    camera.listen(lambda arrival: None)
    assert "no transform" not in camera.status(POSED, "active").message
    camera._notices.note(problem)
    assert "no transform" in camera.status(POSED, "active").message and len(logged) == 2


def test_a_network_slower_than_the_timeout_is_not_logged_with_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred frames of a second each, of which 0.8 s are told as silence."""
    logged: list[str] = []
    node: Any = SimpleNamespace(get_logger=lambda: SimpleNamespace(error=logged.append))
    notices, monitor, now_s = Notices(node, lambda: None), CameraMonitor("/image", 0.8, 0.0), 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    for frame in range(100):
        monitor.received(float(frame))
        monitor.accepted(float(frame))
        now_s = frame + 0.9
        assert "nothing goes out" in notices.status(monitor, True, {}).message
        monitor.answered(float(frame))
        now_s = frame + 0.95
        assert "nothing goes out" not in notices.status(monitor, True, {}).message
    assert len(logged) == 20
    for _ in range(2):
        monitor.accepted(now_s := now_s + 1.0)
        for _ in range(8):
            now_s += 1.0
            notices.status(monitor, True, {})
        monitor.answered(now_s)
        notices.status(monitor, True, {})
    assert len(logged) == 22, "what hangs for longer is told once, though it begins right after another"


def test_ground_that_comes_and_goes_with_every_frame_is_not_logged_with_every_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As with transforms that come just in time or just not; what stays so is told."""
    logged: list[str] = []
    node: Any = SimpleNamespace(get_logger=lambda: SimpleNamespace(warning=logged.append, info=logged.append))
    notices, monitor, now_s = Notices(node, lambda: None), CameraMonitor("/image", 2.0, 0.0), 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    late = GroundState("tf_late", "the newest transform is older than the image")
    for frame in range(201):
        now_s = frame / 10
        notices.note(GROUND_OK if frame % 2 else late)
        notices.status(monitor, True, {})
    assert len(logged) <= 10 and late.problem in logged[0]
    notices.note(GROUND_OK)
    for _ in range(6):
        now_s += 1.0
        notices.status(monitor, True, {})
    assert "back after" in logged[-1]
