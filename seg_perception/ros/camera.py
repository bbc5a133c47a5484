"""One camera of the node: what comes in, its pipeline, what goes out, and the work on one frame between them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from rclpy.time import Time

from seg_perception.backends.base import Backend
from seg_perception.camera_messages import BadImageError, ImageReader
from seg_perception.errors import SegPerceptionError
from seg_perception.geometry import CameraPose
from seg_perception.model_file import ModelInfo
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame
from seg_perception.ros.diagnostics import Status
from seg_perception.ros.extrinsics import TransformSource
from seg_perception.ros.inputs import Arrival, CameraInput
from seg_perception.ros.outputs import CameraOutputs, wants, watches_ground
from seg_perception.ros.parameters import Settings

FAILED = "failed"
"""Cause of a frame that the pipeline itself could not run, beside the causes of camera_messages.py."""


class Camera:
    """All that belongs to one camera. process and configure belong to the worker thread; name may be empty."""

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        model: ModelInfo,
        backend: Backend,
        settings: Settings,
        transforms: TransformSource | None,
    ) -> None:
        self.name = name
        self._node, self._settings, self._transforms = node, settings, transforms
        self._pipeline = Pipeline(
            model, backend, panoptic=settings.panoptic, drivable=settings.drivable, mask_hw=settings.mask_hw
        )
        self._reader = ImageReader()
        self._placing_problem = ""
        self._ground_problem: str | None = None
        self.outputs = CameraOutputs(node, name, model.labels)
        self._input: CameraInput | None = None

    def listen(self, accept: Callable[[Arrival], bool]) -> None:
        """Subscribe; accept gets every readable message and says whether it replaced one."""
        node = self._settings.node
        compressed = node.image_transport == "compressed"
        self._input = CameraInput(self._node, self.name, compressed, node.camera_timeout, accept)

    def stop_listening(self) -> None:
        """Unsubscribe."""
        if self._input is not None:
            self._input.destroy()
            self._input = None

    def destroy(self) -> None:
        """Take all topics down."""
        self.stop_listening()
        self.outputs.destroy()

    def process(self, arrival: Arrival, settings: Settings) -> None:
        """Run one frame and publish what is watched of it; a frame that cannot be used is counted and named."""
        camera_input = self._input
        if camera_input is None:
            return
        try:
            self._run(camera_input, arrival, settings)
        except BadImageError as error:
            camera_input.reject(error.cause, str(error))
        except SegPerceptionError as error:
            camera_input.reject(FAILED, str(error))
        except Exception as error:  # the edge of the worker thread: one frame that fails must not end perception
            camera_input.reject(FAILED, f"{type(error).__name__}: {error}", traceback.format_exc())

    def _run(self, camera_input: CameraInput, arrival: Arrival, settings: Settings) -> None:
        started_s = time.monotonic()
        self._apply(settings)
        header = arrival.message.header
        frame = Frame(self._reader.to_rgb(arrival.message), Time.from_msg(header.stamp).nanoseconds, header.frame_id)
        watched = self.outputs.watched(settings)
        self._place(camera_input, frame.frame_id, settings)
        read_s = time.monotonic()
        result = self._pipeline.run(frame, wants(watched))
        run_s = time.monotonic()
        problem = self._placing_problem or self._pipeline.ground_problem
        self.outputs.publish(result, header, "" if problem else settings.ground_frame, watched, settings)
        done_s = time.monotonic()
        self._ground_problem = problem if watches_ground(watched) else None
        stages_ms = {"convert": (read_s - started_s) * 1e3, **result.stages_ms, "publish": (done_s - run_s) * 1e3}
        stamp_age_ms = (self._node.get_clock().now().nanoseconds - frame.stamp_ns) / 1e6
        camera_input.monitor.finished(done_s, (done_s - arrival.arrived_s) * 1e3, stamp_age_ms, stages_ms)

    def _apply(self, settings: Settings) -> None:
        """Take over settings that changed, between two frames."""
        before = self._settings
        if settings is not before:
            self._pipeline.configure(
                panoptic=settings.panoptic if settings.panoptic != before.panoptic else None,
                drivable=settings.drivable if settings.drivable != before.drivable else None,
            )
            self._settings = settings

    def _place(self, camera_input: CameraInput, frame_id: str, settings: Settings) -> None:
        """Tell the pipeline the calibration and mounting of now."""
        pose: CameraPose | None = settings.poses[self.name]
        problem = ""
        if pose is None:
            problem = "camera_pose is empty, and TF was not asked for when the node was configured"
            if self._transforms is not None:
                pose, problem = self._transforms.lookup(settings.node.base_frame, frame_id)
        self._placing_problem = camera_input.camera_problem or problem
        self._pipeline.set_camera(camera_input.camera, pose)

    def status(self, settings: Settings) -> Status | None:
        """The camera's diagnostics, None while it does not listen."""
        if self._input is None:
            return None
        return self._input.monitor.status(time.monotonic(), self._ground_problem, settings.node.enabled)
