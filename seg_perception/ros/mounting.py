"""Where one camera and its vehicle are, as parameters and TF have it."""

from __future__ import annotations

from rclpy.time import Time

from seg_perception.camera_model import CameraPose
from seg_perception.ground.odometry import PlanarPose
from seg_perception.ros.diagnostics import GROUND_OK, GroundState
from seg_perception.ros.extrinsics import TransformError, TransformSource, is_same_pose
from seg_perception.ros.inputs import Arrival
from seg_perception.ros.settings import Settings


class Mounting:
    """`of_camera` belongs to one thread, `of_vehicle` to any. transforms: None where TF was not asked for."""

    def __init__(self, camera: str, transforms: TransformSource | None) -> None:
        self._camera, self._transforms = camera, transforms
        self._latest: CameraPose | None = None

    def of_camera(self, arrival: Arrival, settings: Settings) -> tuple[CameraPose | None, GroundState]:
        """The camera's pose as of an image's stamp, and what stops the outputs on the ground where there is none."""
        pose, ground, node = settings.poses[self._camera], GROUND_OK, settings.node
        if pose is None:
            try:
                pose = self._from_tf(arrival, settings)
            except TransformError as error:
                ground = GroundState(error.cause, f"{error}, or give camera_pose")
        if pose is not None and settings.ground_frame != node.base_frame:
            try:
                stamp = Time(nanoseconds=arrival.stamp_ns)
                self._tf().expect_same(node.base_frame, settings.ground_frame, stamp, node.tf_tolerance)
            except TransformError as error:
                pose, ground = None, GroundState(error.cause, f"{error}, or leave ground_frame empty")
        return pose, ground

    def of_vehicle(self, arrival: Arrival, settings: Settings) -> PlanarPose:
        """Where the vehicle is in odom_frame as of an image's stamp; raises TransformError."""
        node, stamp = settings.node, Time(nanoseconds=arrival.stamp_ns)
        return self._tf().planar_pose(node.odom_frame, node.base_frame, stamp, node.tf_tolerance)

    def _from_tf(self, arrival: Arrival, settings: Settings) -> CameraPose:
        """The same object while it differs by no more than rounding."""
        node, frame_id = settings.node, settings.camera_frames[self._camera] or arrival.message.header.frame_id
        stamp = Time(nanoseconds=arrival.stamp_ns)
        pose = self._tf().camera_pose(node.base_frame, frame_id, stamp, node.tf_tolerance, node.camera_frame_axes)
        if self._latest is None or not is_same_pose(pose, self._latest):
            self._latest = pose
        return self._latest

    def _tf(self) -> TransformSource:
        if self._transforms is None:
            raise TransformError(
                "tf_not_asked", "TF was not asked for when the node was configured: let use_tf be true"
            )
        return self._transforms
