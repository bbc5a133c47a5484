"""What stops the outputs on the ground and what brings them back, with the real node over real DDS.

tf2_ros is not on PyPI, so the node finds the stand-in of fake_tf2/ in its place.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from fakes import TWO_LABELS, tiny_model
from geometry_msgs.msg import TransformStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import OccupancyGrid
from places import TESTS
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.duration import Duration
from rclpy.parameter import Parameter
from rclpy.time import Time
from ros_harness import (
    EVERY_MESSAGE,
    LATCHED,
    SENSOR_DATA,
    FakeCamera,
    NodeProcess,
    Peer,
    change_state,
    ros_domain,
    stamp_ns,
    values_of,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from seg_perception.camera_model import CameraPose
from seg_perception.recordings.mounting import optical_quaternion
from seg_perception.results import POINT
from seg_perception_msgs.msg import DrivableAreas

BASE = "base_footprint"
STATIC = Time()


class Robot:
    """A camera, TF and all that is heard of the node."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.camera = peer, FakeCamera(peer)
        self.tf = peer.node.create_publisher(TransformStamped, "/fake_tf", EVERY_MESSAGE)
        self.masks = peer.listen(Image, "/segmentation/label_mask")
        self.areas = peer.listen(DrivableAreas, "/segmentation/drivable_areas")
        self.grids = peer.listen(OccupancyGrid, "/segmentation/drivable_grid", LATCHED)
        self.diagnostics = peer.listen(DiagnosticArray, "/diagnostics")

    def connect(self) -> None:
        """Wait until a frame has gone all the way."""
        self.peer.until_heard(self.camera.images)
        self.peer.until_heard(self.camera.infos)
        self.peer.until(lambda: self.camera.send() and self.masks and self.areas, "a first frame")

    def says(self, *pose: float, at: Time = STATIC, parent: str = BASE, child: str = "", turn: Any = None) -> None:
        """Publish where a frame is: x, y, z, roll, pitch, yaw of a body, whose optical frame a camera has."""
        turn = turn or optical_quaternion(CameraPose(*pose))
        message = TransformStamped(child_frame_id=child or self.camera.frame_id)
        message.header.frame_id, message.header.stamp = parent, at.to_msg()
        v, q = message.transform.translation, message.transform.rotation
        (v.x, v.y, v.z), (q.x, q.y, q.z, q.w) = map(float, pose[:3]), map(float, turn)
        self.tf.publish(message)

    def send_bad(self) -> None:
        """An image that cannot be read."""
        message = self.camera.message()
        message.encoding = "rgb9"
        self.camera.send(message)

    def now(self, later_s: float = 0.0) -> Time:
        """The clock that stamps the images."""
        time: Time = self.peer.node.get_clock().now() + Duration(seconds=later_s)
        return time

    def until_said(self, cause: str, words: str = "") -> dict[str, str]:
        """Send frames until diagnostics give this state of the ground."""

        def said() -> dict[str, str]:
            self.camera.send()
            values = values_of(self.diagnostics, "camera")
            level = "0" if cause == "ok" else "1"
            fits = (values.get("ground"), values.get("level")) == (cause, level)
            return values if fits and words in values["message"] else {}

        values: dict[str, str] = self.peer.until(said, f"{cause}: {words}")
        return values

    def one_frame(self, has_grid: bool) -> tuple[DrivableAreas, OccupancyGrid | None]:
        """Areas and grid of a new frame, whose mask must always come; without a grid, the next frame has come too."""
        sent = self.camera.send()
        topics = [self.masks, self.areas, *([self.grids] if has_grid else [])]
        self.peer.until(lambda: all(of(messages, sent) for messages in topics), "the outputs of a frame")
        if not has_grid:
            after = self.camera.send()
            self.peer.until(lambda: of(self.areas, after) and of(self.masks, after), "the outputs of the next")
        return of(self.areas, sent), of(self.grids, sent)

    def has_ground(self, expected: bool = True) -> bool:
        """Whether a frame has all outputs on the ground, or, where they are not expected, any."""
        areas, grid = self.one_frame(expected)
        found = [bool(areas.ground_frame), grid is not None, any(area.outlines_ground for area in areas.areas)]
        return all(found) if expected else any(found)


def of(messages: list[Any], sent: Image) -> Any:
    return next((message for message in reversed(messages) if message.header.stamp == sent.header.stamp), None)


@pytest.fixture(scope="module")
def domain() -> Iterator[None]:
    with ros_domain():
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that finds road, and cars on it, in the fake camera's pictures."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx", labels=TWO_LABELS, seed=3).path


@pytest.fixture
def robot(domain: None) -> Iterator[Robot]:
    peer = Peer()
    yield Robot(peer)
    peer.close()


@pytest.fixture
def start(domain: None, model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., NodeProcess]]:
    running: list[NodeProcess] = []
    fake = str(TESTS / "fake_tf2")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([fake, os.environ.get("PYTHONPATH", "")]))

    def begin(**parameters: Any) -> NodeProcess:
        named = {name.replace("__", "."): value for name, value in parameters.items()}
        running.append(NodeProcess({"model": str(model), "backend": "onnxruntime", **named}))
        return running[-1]

    yield begin
    for process in running:
        process.close()


def set_parameter(peer: Peer, name: str, value: Any) -> None:
    request = SetParametersAtomically.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    assert peer.call(SetParametersAtomically, "/segmentation/set_parameters_atomically", request).result.successful


POSE = (0.0, 0.0, 1.2, 0.0, 0.2, 0.0)


def test_every_trouble_with_tf_is_named_and_so_is_its_end(start: Callable[..., NodeProcess], robot: Robot) -> None:
    process = start()
    robot.connect()
    robot.peer.until_heard(robot.tf)
    robot.camera.send_info()
    robot.until_said("tf_missing", 'no ground outputs: no transform from camera_optical to base_footprint ("')
    assert not robot.has_ground(expected=False)

    robot.says(*POSE, at=robot.now())
    robot.until_said("tf_late", " s older than the image: ")
    assert not robot.has_ground(expected=False)
    robot.says(*POSE, at=robot.now(1000.0))
    robot.until_said("ok")
    assert robot.has_ground()

    past = robot.camera.message()
    past.header.stamp = robot.now(-3600.0).to_msg()
    robot.camera.send(past)
    robot.peer.until(lambda: of(robot.masks, past), "a mask of an image from the past")
    process.wait_for_line("the image's stamp is ")
    robot.until_said("ok")

    robot.says(*POSE, at=robot.now(-0.1), turn=(0.0, 0.0, 0.0, 0.0))
    robot.until_said("tf_invalid", "its quaternion of length 1")
    assert not robot.has_ground(expected=False)
    for later_s in (0.0, 500.0):
        robot.says(*POSE, at=robot.now(later_s))
    robot.until_said("ok")
    assert robot.has_ground()
    process.wait_for_line("/image: ground outputs back after: the transform from camera_optical")
    for words, count in (("no ground outputs: no transform from", 1), ("no ground outputs: the newest transform", 1)):
        assert sum(words in line for line in process.lines) == count, process.output


def test_a_simulators_camera_names_a_body_frame_that_tf_calls_otherwise(
    start: Callable[..., NodeProcess], robot: Robot
) -> None:
    start(camera_frame="robot/camera", camera_frame_axes="body")
    robot.connect()
    robot.peer.until_heard(robot.tf)
    robot.camera.send_info()
    robot.until_said("tf_missing", "no transform from robot/camera to base_footprint")
    robot.says(0.0, 0.0, 1.2, child="robot/camera", turn=(0.0, math.sin(0.1), 0.0, math.cos(0.1)))
    robot.until_said("ok")
    areas, _ = robot.one_frame(has_grid=True)
    (begins_m,) = {area.view_begins_m for area in areas.areas}
    lowest = 64 / 150  # of the picture's edge, as a slope
    assert begins_m == pytest.approx(1.2 / math.tan(0.2 + math.atan(lowest)), abs=0.1)


BAD_INFOS: list[tuple[dict[str, Any], str]] = [
    ({"k": [0.0] * 9, "p": [0.0] * 12}, "the focal length is 0, 0 px"),
    ({"k": [math.nan, 0.0, 96.0, 0.0, 150.0, 64.0, 0.0, 0.0, 1.0]}, "holds numbers that are not finite"),
    (
        {"distortion_model": "plumb_bop", "d": [-0.1, 0.01, 0.0, 0.0, 0.0]},
        "there is no distortion model 'plumb_bop': did you mean 'plumb_bob'?",
    ),
    ({"d": [0.1, 0.2, 0.3]}, "distortion model plumb_bob came with 3 coefficients: 0 or 4 or 5 or 8"),
    ({"k": [150.0, 0.0, 0.0, 0.0, 150.0, 0.0, 96.0, 64.0, 1.0]}, "where fx 0 cx; 0 fy cy; 0 0 1 is due"),
    ({"width": 0}, "the calibrated image is 0x128 px"),
    ({"width": 228}, "the image is 192x128 px and its camera_info is of 228x128 px, another shape"),
]
BAD_POSES: list[tuple[list[float], str]] = [
    ([0.0, 0.0, 1.2, 0.0, -1.5, 0.0], "the camera sees no ground, only what is above the horizon"),
    ([0.0, 0.0, -0.5, 0.0, 0.2, 0.0], "the camera's pose is -0.5 m above the ground"),
]


def test_every_trouble_with_calibration_and_pose_is_named_and_so_is_its_end(
    start: Callable[..., NodeProcess], robot: Robot
) -> None:
    process = start(use_tf=False, camera_pose=list(POSE))
    robot.connect()
    robot.until_said("camera_info", "no ground outputs: no camera_info on /camera_info")
    assert not robot.has_ground(expected=False)
    for changes, words in BAD_INFOS:
        robot.camera.send_info(**changes)
        robot.until_said("camera_info", words)
        assert not robot.has_ground(expected=False)
    robot.camera.send_info()
    robot.until_said("ok")
    assert robot.has_ground()
    for pose, words in BAD_POSES:
        set_parameter(robot.peer, "camera_pose", pose)
        robot.until_said("geometry", words)
        assert not robot.has_ground(expected=False)
    set_parameter(robot.peer, "camera_pose", list(POSE))
    robot.until_said("ok")
    assert robot.has_ground()
    backs = [line for line in process.lines if "/image: ground outputs back after: " in line]
    assert len(backs) == 2, process.output


def test_a_ground_frame_that_is_another_place_is_refused(start: Callable[..., NodeProcess], robot: Robot) -> None:
    start(camera_pose=list(POSE), ground_frame="floor")
    robot.connect()
    robot.peer.until_heard(robot.tf)
    robot.camera.send_info()
    robot.until_said("tf_missing", "no transform from floor to base_footprint")
    robot.says(1.0, 0.0, 0.0, child="floor", turn=(0.0, 0.0, 0.0, 1.0))
    robot.until_said("ground_frame", "ground_frame 'floor' is 1 m and 0 rad off base_footprint")
    assert not robot.has_ground(expected=False)
    robot.says(0.0, 0.0, 0.0, child="floor", turn=(0.0, 0.0, 0.0, 1.0))
    robot.until_said("ok")
    areas, grid = robot.one_frame(has_grid=True)
    assert areas.ground_frame == "floor" and grid is not None and grid.header.frame_id == "floor"


def ego_mask(path: Path, hw: tuple[int, int], rows: int) -> Path:
    """A mask whose last rows are the own vehicle."""
    image = np.zeros(hw, np.uint8)
    image[hw[0] - rows :] = 255
    assert cv2.imwrite(str(path), image)
    return path


def test_an_ego_mask_is_unseen_and_one_of_another_shape_stops_the_ground(
    start: Callable[..., NodeProcess], robot: Robot, tmp_path: Path
) -> None:
    start(camera_pose=list(POSE), ego_mask=str(ego_mask(tmp_path / "ego.png", (64, 96), 10)))
    robot.connect()
    robot.camera.send_info()
    robot.until_said("ok")
    areas, _ = robot.one_frame(has_grid=True)
    lowest = max(point.y for area in areas.areas for outline in area.outlines_px for point in outline.points)
    assert lowest == 128 - 20 - 0.5
    assert all(area.view_begins_m > 1.5 for area in areas.areas)
    robot.camera.size_wh = (160, 128)
    robot.camera.send_info()
    robot.until_said("ego_mask", "is 96x64 px and the camera's images 160x128 px, another shape")
    assert not robot.has_ground(expected=False)


@pytest.mark.parametrize(("name", "words"), [("missing.png", "cannot be read"), ("black.png", "black all over")])
def test_a_node_whose_ego_mask_is_of_no_use_says_so_and_is_not_configured(
    start: Callable[..., NodeProcess], robot: Robot, tmp_path: Path, name: str, words: str
) -> None:
    ego_mask(tmp_path / "black.png", (64, 96), 0)
    start(ego_mask=str(tmp_path / name), autostart=False)
    assert not change_state(robot.peer, Transition.TRANSITION_CONFIGURE)
    robot.peer.until(
        lambda: words in values_of(robot.diagnostics, "backend").get("message", ""), f"diagnostics that say {words}"
    )


def test_a_mounting_that_changes_while_it_runs_is_followed(start: Callable[..., NodeProcess], robot: Robot) -> None:
    """And one that turns up late is taken when it comes, and what is no rotation is named and left."""
    start()
    robot.connect()
    robot.peer.until_heard(robot.tf)
    robot.camera.send_info()
    robot.until_said("tf_missing")
    robot.says(*POSE)
    robot.until_said("ok")
    # How far the last row sees, from 1.2 m up and from 2.4 m.
    before = {area.view_begins_m for area in robot.one_frame(has_grid=True)[0].areas}
    robot.says(0.0, 0.0, 2.4, 0.0, 0.2, 0.0)

    def follows() -> bool:
        areas, _ = robot.one_frame(has_grid=True)
        return {round(area.view_begins_m / 2, 1) for area in areas.areas} == {round(value, 1) for value in before}

    robot.peer.until(follows, "a mounting twice as high")
    robot.says(*POSE, turn=(0.5, 0.5, 0.5, 0.9))
    robot.until_said("tf_invalid", "its quaternion of length 1")
    assert not robot.has_ground(expected=False)
    robot.says(*POSE)
    robot.until_said("ok")


def test_points_come_with_the_mask_they_belong_to_and_only_where_there_is_ground(
    start: Callable[..., NodeProcess], robot: Robot
) -> None:
    start(camera_pose=list(POSE), mask_size=[80, 60])
    clouds = robot.peer.listen(PointCloud2, "/segmentation/points", SENSOR_DATA)
    robot.connect()
    robot.camera.send()
    assert not clouds, "without a calibration nothing has a place"
    robot.camera.send_info()
    robot.until_said("ok")
    sent = robot.camera.send()
    robot.peer.until(lambda: of(clouds, sent) and of(robot.masks, sent), "mask and points of one frame")
    cloud, mask = of(clouds, sent), of(robot.masks, sent)
    assert (cloud.width, cloud.height) == (mask.width, mask.height) == (80, 60)
    assert cloud.header.frame_id == BASE
    points = np.frombuffer(cloud.data, POINT)
    assert points["label"].tobytes() == bytes(mask.data)
    assert np.isfinite(points["x"]).any() and (points["z"][np.isfinite(points["x"])] == 0).all()


def latched() -> OccupancyGrid:
    """What a planner that comes now gets."""
    late = Peer("late")
    try:
        grids = late.listen(OccupancyGrid, "/segmentation/drivable_grid", LATCHED)
        grid: OccupancyGrid = late.until(lambda: grids and grids[-1], "a latched grid")
        return grid
    finally:
        late.close()


def is_unknown(grid: OccupancyGrid) -> bool:
    return set(grid.data) == {-1}


@pytest.mark.parametrize(
    "why", ["nobody listens", "the camera stalls", "all images are bad", "the ground stops", "it is not enabled"]
)
def test_a_planner_that_comes_late_gets_no_old_grid(start: Callable[..., NodeProcess], robot: Robot, why: str) -> None:
    start(use_tf=False, camera_pose=list(POSE), camera_timeout=0.5)
    robot.connect()
    robot.camera.send_info()
    robot.until_said("ok")
    _, grid = robot.one_frame(has_grid=True)
    assert grid is not None and not is_unknown(grid)
    size = grid.info.width, grid.info.height, grid.info.resolution
    if why == "nobody listens":
        node = robot.peer.node
        node.destroy_subscription(next(s for s in node.subscriptions if s.topic_name.endswith("drivable_grid")))
        for _ in range(10):  # that it has left is known to the node some time, and some frames, later
            before = len(robot.masks)
            robot.peer.until(lambda before=before: robot.camera.send() and len(robot.masks) > before + 3, "more frames")
            if is_unknown(latched()):
                break
    else:
        if why == "the ground stops":
            robot.camera.send_info(k=[0.0] * 9, p=[0.0] * 12)
            robot.until_said("camera_info")
        elif why == "it is not enabled":
            set_parameter(robot.peer, "enabled", False)
        bad = why == "all images are bad"
        robot.peer.until(lambda: (bad and robot.send_bad()) or is_unknown(robot.grids[-1]), "an unknown grid")
    old = latched()
    assert is_unknown(old) and (old.info.width, old.info.height, old.info.resolution) == size
    assert old.header.frame_id == BASE


def test_a_planner_that_listens_is_left_with_no_grid_by_a_node_that_ends(
    start: Callable[..., NodeProcess], robot: Robot
) -> None:
    """Nav2's static layer keeps the last grid that came, for ever."""
    node = start(use_tf=False, camera_pose=list(POSE))
    robot.connect()
    robot.camera.send_info()
    robot.until_said("ok")
    _, grid = robot.one_frame(has_grid=True)
    assert grid is not None and not is_unknown(grid)
    assert node.stop() == 0
    robot.peer.until(lambda: is_unknown(robot.grids[-1]), "an unknown grid")


def test_the_fused_grid_stays_in_the_odometry_frame_and_stops_alone(
    start: Callable[..., NodeProcess], robot: Robot
) -> None:
    start(camera_pose=list(POSE), fusion__enabled=True, drivable__resolution_m=0.5)
    robot.connect()
    robot.peer.until_heard(robot.tf)
    robot.camera.send_info()
    robot.until_said("odom_tf_missing", "no drivable_grid: no transform from base_footprint to odom (")
    areas, grid = robot.one_frame(has_grid=False)
    assert areas.ground_frame == BASE and grid is None

    corners = []
    for x, y in ((0.0, 0.0), (3.25, -1.75)):
        robot.says(x, y, 0.0, parent="odom", child=BASE, turn=(0.0, 0.0, 0.0, 1.0))
        robot.until_said("ok")
        areas, grid = robot.one_frame(has_grid=True)
        assert areas.ground_frame == BASE and grid is not None and grid.header.frame_id == "odom"
        corners.append((grid.info.origin.position.x, grid.info.origin.position.y))
        assert grid.info.width == grid.info.height == 93, "the corner at (20, 10) is 44.7 cells away: 2 * (45 + 1) + 1"
        assert set(grid.data) == {-1, 0, 100}
    assert corners == [(-23.0, -23.0), (-20.0, -25.0)], "by floor(3.25 / 0.5) and floor(-1.75 / 0.5) cells"


def stamped(robot: Robot, stamp: Time) -> Image:
    message = robot.camera.message()
    message.header.stamp = stamp.to_msg()
    return robot.camera.send(message)


Stamps = Callable[[Robot, int], Time]
START = Time(seconds=1000)
BAD_STAMPS: dict[str, tuple[Stamps, str]] = {
    "stamp_zero": (lambda robot, i: Time(), "the image's stamp is 0 s: let the camera's driver stamp its images"),
    "stamp_not_newer": (lambda robot, i: START, "the image's stamp is 0.000 s before that of the image before"),
    "stamp_old": (lambda robot, i: robot.now(-86400.0), "s old, more than stamp_max_age (5 s): mend the clocks"),
    "stamp_ahead": (
        lambda robot, i: robot.now(86400.0),
        "s ahead of this node's clock, more than stamp_max_ahead (0.5 s)",
    ),
}
BACKWARD: Stamps = lambda robot, i: robot.now(-1.0 * i)  # noqa: E731


@pytest.mark.parametrize(
    ("cause", "stamps", "words"),
    [(cause, *kind) for cause, kind in BAD_STAMPS.items()]
    + [("stamp_not_newer", BACKWARD, "before that of the image before")],
)
def test_a_stamp_that_cannot_be_believed_is_named_and_one_of_zero_has_nothing_in_metres(
    start: Callable[..., NodeProcess], robot: Robot, cause: str, stamps: Stamps, words: str
) -> None:
    start(use_tf=False, camera_pose=list(POSE))
    robot.connect()
    robot.camera.send_info()
    robot.until_said("ok")
    sent: list[int] = []

    def said() -> dict[str, str]:
        sent.append(stamp_ns(stamped(robot, stamps(robot, len(sent)))))
        values = values_of(robot.diagnostics, "camera")
        # Where a busy machine sends nothing for a moment the status is STALE and tells both: the warning alone is awaited.
        is_warned = cause in values and words in values["message"] and values["level"] == "1"
        return values if is_warned else {}

    values = robot.peer.until(said, f"a warning, {cause}: {words}")
    assert int(values[cause]) > 0

    def answers() -> list[DrivableAreas]:
        said()
        return [area for area in robot.areas if stamp_ns(area) in sent]

    areas = robot.peer.until(answers, "their areas")
    assert {bool(area.ground_frame) for area in areas} == {cause != "stamp_zero"}
    assert {stamp_ns(mask) for mask in robot.masks} & set(sent), "masks go on"
    robot.peer.until(lambda: robot.camera.send() and values_of(robot.diagnostics, "camera")["level"] == "0", "its end")


def test_time_that_stands_makes_no_grid_that_remembers(start: Callable[..., NodeProcess], robot: Robot) -> None:
    start(camera_pose=list(POSE), fusion__enabled=True, drivable__resolution_m=0.5)
    robot.connect()
    robot.peer.until_heard(robot.tf)
    robot.camera.send_info()
    robot.says(0.0, 0.0, 0.0, parent="odom", child=BASE, turn=(0.0, 0.0, 0.0, 1.0))
    robot.until_said("ok")
    still = robot.now()

    def said() -> bool:
        stamped(robot, still)
        return values_of(robot.diagnostics, "camera")["ground"] == "stamp_not_newer"

    robot.peer.until(said, "no drivable_grid")
    robot.grids.clear()
    for _ in range(3):
        sent = stamped(robot, still)
        robot.peer.until(lambda sent=sent: of(robot.areas, sent), "areas")  # type: ignore[misc]
    assert not robot.grids
    assert robot.one_frame(has_grid=True)[1] is not None, "time that runs again brings it back"


def test_simulated_time_that_jumps_back_begins_anew(start: Callable[..., NodeProcess], robot: Robot) -> None:
    """As a recording that is played in a loop: for TF, which keeps only what is not much older than its newest."""
    clock = robot.peer.node.create_publisher(Clock, "/clock", EVERY_MESSAGE)
    start(use_sim_time=True)
    robot.peer.until_heard(clock)
    robot.peer.until_heard(robot.tf)
    for begin_s in (10000, 500):
        now = Time(seconds=begin_s)
        clock.publish(Clock(clock=now.to_msg()))

        def ok(begin_s: int = begin_s, steps: Iterator[int] = itertools.count(1)) -> bool:  # noqa: B008
            now = Time(seconds=begin_s, nanoseconds=next(steps) * 1000)
            clock.publish(Clock(clock=now.to_msg()))
            robot.says(*POSE, at=now)
            if begin_s == 500 and now.nanoseconds % 10**9 == 5000:
                robot.says(*POSE, at=Time(seconds=10001))  # one that was under way when time jumped
            robot.camera.send_info()
            stamped(robot, now)
            values = values_of(robot.diagnostics, "camera")
            placed = [area for area in robot.areas if area.header.stamp.sec == begin_s and area.ground_frame]
            return bool(placed) and values.get("level") == "0"

        robot.peer.until(ok, f"ground at {begin_s} s")


def test_a_calibration_that_was_published_once_before_the_node_came_is_heard_and_kept(
    start: Callable[..., NodeProcess], robot: Robot
) -> None:
    robot.camera.infos = robot.peer.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    robot.camera.send_info()
    start(use_tf=False, camera_pose=list(POSE))
    robot.peer.until_heard(robot.camera.images)
    robot.until_said("ok")
    assert robot.has_ground()
    robot.peer.node.destroy_publisher(robot.camera.infos)
    for transition in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
        assert change_state(robot.peer, transition)
    robot.areas.clear()
    robot.peer.until(lambda: robot.camera.send() and any(area.ground_frame for area in robot.areas), "metres again")


def test_an_empty_pose_while_it_runs_goes_back_to_tf(start: Callable[..., NodeProcess], robot: Robot) -> None:
    start(camera_pose=list(POSE))
    robot.connect()
    robot.camera.send_info()
    robot.until_said("ok")
    empty = [
        ParameterType.PARAMETER_BYTE_ARRAY,
        ParameterType.PARAMETER_BOOL_ARRAY,
        ParameterType.PARAMETER_DOUBLE_ARRAY,
    ]
    for kind in empty:
        value = ParameterValue(type=kind)
        request = SetParametersAtomically.Request(parameters=[ParameterMessage(name="camera_pose", value=value)])
        answer = robot.peer.call(SetParametersAtomically, "/segmentation/set_parameters_atomically", request).result
        assert answer.successful, answer.reason
        robot.until_said("tf_missing", "no transform from camera_optical to base_footprint")
        set_parameter(robot.peer, "camera_pose", list(POSE))
        robot.until_said("ok")
    set_parameter(robot.peer, "camera_pose", [])
    robot.peer.until_heard(robot.tf)
    robot.says(*POSE)
    robot.until_said("ok")
    assert robot.has_ground()
