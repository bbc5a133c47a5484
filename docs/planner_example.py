"""A planner's side of the node: how fast it may go straight on, and who moves around it.

    python3 planner_example.py        # beside a node called /segmentation; Ctrl-C ends it

Whoever reads seg_perception_msgs may begin with this. It minds what is easily missed: what is old is not known, NaN is no
distance, infinite is one, an area that is not in the message was not seen, and feet are in a frame of their own.
"""

from __future__ import annotations

import math

import rclpy
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time

from seg_perception_msgs.msg import DrivableAreas, Segment, Segments

NODE = "/segmentation"
DRIVES_ON = "road"
"""Where several classes will do, read ~/free_space instead: one class ends where the other begins."""
OLDEST_S = 0.5
FRONT_M = 0.6
"""From the origin of ground_frame to the vehicle's front bumper."""
FASTEST_M_S, DECELERATION_M_S2, REACTION_S = 3.0, 1.5, 0.3


def free_ahead_m(message: DrivableAreas, class_name: str = DRIVES_ON) -> float:
    """How far it is known that the vehicle's whole width may go straight on, from its front bumper; 0 where that is not known."""
    if not message.ground_frame:  # no calibration or no pose: nothing is in metres
        return 0.0
    for area in message.areas:  # classes that are not seen have no entry
        if area.class_name == class_name and not math.isnan(area.free_distance_width_m):
            # Infinite: as far as drivable.range_max_m. What is nearer than area.view_begins_m was not seen: remember it.
            return max(area.free_distance_width_m - FRONT_M, 0.0)
    return 0.0


def speed_limit_m_s(free_m: float) -> float:
    """As fast as it can go and still stop within free_m."""
    reacting = DECELERATION_M_S2 * REACTION_S
    return min(math.sqrt(reacting**2 + 2 * DECELERATION_M_S2 * free_m) - reacting, FASTEST_M_S)


def movers(message: Segments) -> list[Segment]:
    """Things that are followed for long enough and stand on known ground. Their feet and speeds are in message.motion_frame: in
    odom_frame over the ground, else as seen from the vehicle; transform them before you compare them with what is ahead."""
    return [one for one in message.segments if one.state in ("confirmed", "returned") and not math.isnan(one.foot_x)]


class Planner(Node):
    """Says ten times a second what it would do."""

    def __init__(self) -> None:
        super().__init__("planner")
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
        self._areas: DrivableAreas | None = None
        self._things: Segments | None = None
        self.create_subscription(DrivableAreas, f"{NODE}/drivable_areas", self._on_areas, qos)
        self.create_subscription(Segments, f"{NODE}/segments", self._on_segments, qos)
        self.create_timer(0.1, self._plan)

    def _on_areas(self, message: DrivableAreas) -> None:
        self._areas = message

    def _on_segments(self, message: Segments) -> None:
        self._things = message

    def _is_new(self, message: DrivableAreas | Segments) -> bool:
        """By when the image was taken: a message may be late, and the node may be gone."""
        if message.header.stamp.sec < 0:  # a driver's that is no time, of which rclpy makes none either
            return False
        age = self.get_clock().now() - Time.from_msg(message.header.stamp)
        return Duration() <= age <= Duration(seconds=OLDEST_S)

    def limit_m_s(self) -> float:
        """How fast the vehicle may go now."""
        areas = self._areas
        return speed_limit_m_s(free_ahead_m(areas)) if areas is not None and self._is_new(areas) else 0.0

    def around(self) -> list[Segment]:
        """Who moves around it now."""
        things = self._things
        return movers(things) if things is not None and self._is_new(things) else []

    def _plan(self) -> None:
        said = [
            f"{one.class_name} {one.track_id}: {math.hypot(one.velocity_x, one.velocity_y):.1f} m/s"
            for one in self.around()
        ]
        self.get_logger().info(f"at most {self.limit_m_s():.1f} m/s; {', '.join(said) or 'nobody'}")


def main() -> None:
    """Plan until Ctrl-C."""
    rclpy.init()
    try:
        rclpy.spin(Planner())
    except (KeyboardInterrupt, ExternalShutdownException):
        return


if __name__ == "__main__":
    main()
