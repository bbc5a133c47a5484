"""The drivable grid of all cameras, in the odometry frame: one topic, one memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from threading import Lock

from nav_msgs.msg import OccupancyGrid
from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time
from std_msgs.msg import Header

from seg_perception.ground.fusion import GridFusion
from seg_perception.ground.odometry import PlanarPose
from seg_perception.results import Grid
from seg_perception.ros.diagnostics import OK, WARN, Status
from seg_perception.ros.outputs import LatchedGrid, qos_profile
from seg_perception.ros.settings import Settings
from seg_perception.ros.topics import output

TOPIC = output("drivable_grid")


class SharedGrid:
    """`~/drivable_grid` beside the cameras' own. Any thread may call any method."""

    def __init__(self, node: LifecycleNode, names: Sequence[str], settings: Settings) -> None:
        self._node = node
        self._publisher = node.create_lifecycle_publisher(OccupancyGrid, f"~/{TOPIC.name}", qos_profile(TOPIC.qos))
        self._latched = LatchedGrid(node, self._publisher)
        self._fusion = GridFusion(settings.fusion.half_life_s)
        self._frame = settings.node.odom_frame
        self._problems = dict.fromkeys(names, "no frame yet")
        self._is_watched = False
        self._lock, self._turn = Lock(), Lock()

    def watched(self, settings: Settings) -> bool:
        """Whether the cameras' grids are to be made for it."""
        self._is_watched = TOPIC.name in settings.node.always_publish or self._publisher.get_subscription_count() > 0
        return self._is_watched

    def add(self, camera: str, grid: Grid, pose: PlanarPose, stamp_ns: int, half_life_s: float) -> None:
        """Publish it with a frame of a camera; see GridFusion.fuse."""
        with self._turn:  # so that none overtakes a newer one; who only asks does not wait for what is being sent
            with self._lock:
                self._fusion.half_life_s = half_life_s
                fused = self._fusion.fuse(grid, pose, stamp_ns, camera)
                self._problems[camera] = ""
                stamp = Time(nanoseconds=self._fusion.stamp_ns).to_msg()
            self._latched.publish(fused, Header(stamp=stamp, frame_id=self._frame))

    def lacks(self, camera: str, problem: str) -> None:
        """A camera adds nothing now, and why; without any, late subscribers get a grid that knows nothing."""
        with self._lock:
            self._problems[camera] = problem
            nobody_adds = all(self._problems.values())
        if nobody_adds:
            self._latched.retract()

    def retract(self) -> None:
        """Nobody watches it."""
        self._latched.retract()

    def status(self) -> Status:
        """For diagnostics: which cameras it lacks."""
        if not self._is_watched:
            return Status(OK, "not watched", {})
        with self._lock:
            told = {camera: self._told(camera) for camera in self._problems}
        lacking = [f"{camera} ({problem})" for camera, problem in told.items() if problem]
        sentence = f"the grid of all cameras lacks {', '.join(lacking)}" if lacking else "of all cameras"
        return Status(WARN if lacking else OK, sentence, {camera: problem or "ok" for camera, problem in told.items()})

    def _told(self, camera: str) -> str:
        problem, behind_s = self._problems[camera], self._fusion.behind_s(camera)
        if problem or self._fusion.holds(camera):
            return problem
        if math.isinf(behind_s):
            return "all was forgotten since its newest frame, as time or the odometry jumped"
        return f"its newest frame is {behind_s:.1f} s older than that of another camera, and has faded"

    def destroy(self) -> None:
        """Take the topic down."""
        self._node.destroy_lifecycle_publisher(self._publisher)
