"""One camera of the node: what comes in, its pipeline, what goes out, and the work on one frame between them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from rclpy.lifecycle import LifecycleNode

from seg_perception.backends.base import Backend
from seg_perception.backends.batches import Answer
from seg_perception.camera.messages import BadImageError, ImageReader
from seg_perception.camera_model import CameraModel
from seg_perception.errors import LONGEST_REASON, BackendError, SegPerceptionError, quoted
from seg_perception.ground.fusion import GridFusion
from seg_perception.ground.odometry import PlanarPose
from seg_perception.panoptic.relabel import Told
from seg_perception.pipeline import Pipeline, Ready, Seen
from seg_perception.results import Depth, Frame, Grid, Result
from seg_perception.ros.depth import DepthInput
from seg_perception.ros.diagnostics import FAILED, GROUND_UNWATCHED, GroundState, Status, node_status, tracking_values
from seg_perception.ros.extrinsics import TransformError, TransformSource
from seg_perception.ros.image_doubts import ImageDoubts
from seg_perception.ros.inputs import Arrival, Calibration, CameraInput
from seg_perception.ros.mounting import Mounting
from seg_perception.ros.notices import Notices
from seg_perception.ros.outputs import SHARED_GRID, CameraOutputs, Placed, wants, watches_ground
from seg_perception.ros.qos_events import MISMATCH
from seg_perception.ros.resizing import size_values
from seg_perception.ros.settings import Settings
from seg_perception.ros.shared_grid import SharedGrid
from seg_perception.ros.stamps import AHEAD, NOT_NEWER, ZERO, Doubt

OnFrame = Callable[[str, int, Mapping[str, float]], None]
"""Hears of every frame that is published: its camera, its stamp in ns and the time of each stage in ms."""


@dataclass(frozen=True)
class Prepared:
    """A frame on its way into the network, with what is needed to publish it. camera: of its image, None where that is not
    calibrated."""

    camera_input: CameraInput
    arrival: Arrival
    settings: Settings
    watched: frozenset[str]
    camera: CameraModel | None
    ground: GroundState
    ready: Ready
    convert_ms: float


@dataclass(frozen=True)
class HalfDone:
    """A frame whose network has run."""

    prepared: Prepared
    seen: Seen


class Camera:
    """All that belongs to one camera; name may be empty.

    A frame's way is `prepare`, the network, `see`, then `publish`: see pipeline.Pipeline for which threads they may belong
    to. slots: frames that may be on that way at once.
    """

    def __init__(
        self,
        node: LifecycleNode,
        name: str,
        backend: Backend,
        settings: Settings,
        transforms: TransformSource | None,
        ground_changed: Callable[[], None],
        backend_failed: Callable[[Backend, BackendError], object],
        slots: int = 1,
        on_frame: OnFrame | None = None,
        shared: SharedGrid | None = None,
    ) -> None:
        """Called from a worker thread: ground_changed where what stops the outputs on the ground is another, backend_failed
        where the backend lost a frame, and on_frame. shared: the grid that all cameras add to. `shape`: of the newest image,
        (height, width), and since when by the steady clock; None before the first."""
        self.name = name
        self._node, self._settings, self._mounting = node, settings, Mounting(name, transforms)
        self._notices, self._backend_failed, self._on_frame = Notices(node, ground_changed), backend_failed, on_frame
        self._slots, self._shared = slots, shared
        self._pipeline = self._pipeline_of(backend)
        self._readers = [
            ImageReader(settings.node.image_bit_depth, settings.node.image_16uc1_is_grey, settings.node.image_limits)
            for _ in range(slots)
        ]
        self._doubts = ImageDoubts(settings.node.image_bit_depth)
        self.shape: tuple[tuple[int, int], float] | None = None
        self._fusion = GridFusion(settings.fusion.half_life_s) if settings.fusion.enabled else None
        self._ego = settings.ego(name)
        self.outputs = CameraOutputs(node, name, settings.told(name, backend.model.labels))
        self._told_of = settings
        self._input: CameraInput | None = None
        self._depth: DepthInput | None = None
        self._calibration = Calibration()

    def use(self, backend: Backend) -> None:
        """Go on with another backend, while no frame is under way."""
        pipeline = self._pipeline_of(backend)
        pipeline.keep_tracks_of(self._pipeline)
        self._pipeline = pipeline

    def _pipeline_of(self, backend: Backend) -> Pipeline:
        settings = self._settings
        return Pipeline(
            backend.model,
            backend,
            panoptic=settings.panoptic,
            drivable=settings.drivable,
            tracking=settings.tracking,
            temporal=settings.temporal,
            instance_ids=settings.node.instance_ids,
            mask_hw=settings.mask_hw,
            slots=self._slots,
            told=settings.told(self.name, backend.model.labels),
        )

    def drop(self, arrival: Arrival, error: BackendError) -> None:
        """Count and name a frame that the backend keeps."""
        camera_input = self._input
        if camera_input is not None:
            camera_input.reject(error.cause, str(error))
            camera_input.monitor.answered(arrival.arrived_s)

    def warm_up(self) -> None:
        """Run a frame of nothing, so that the first one of the camera does not wait for compilers."""
        self._pipeline.warm_up()
        if self._fusion is not None:
            unknown = Grid(np.full((1, 1), -1, np.int8), 1.0, (0.0, 0.0))
            GridFusion(1.0).fuse(unknown, PlanarPose(0.0, 0.0, 0.0), 0)

    def listen(self, accept: Callable[[Arrival], bool | None]) -> None:
        """Subscribe; accept gets every readable message and says whether it replaced one, None where it was not taken."""
        settings, self.shape = self._settings, None
        self._notices.begin()
        if topic := settings.depth_topics[self.name]:
            self._depth = DepthInput(self._node, topic, settings.node.depth_tolerance)
        self._input = camera_input = CameraInput(self._node, self.name, settings.node, accept, self._calibration)
        camera_input.open()

    def look_around(self) -> None:
        """Once a second, in the executor: hear of what is published in another way than most."""
        camera_input = self._input
        if camera_input is not None:
            camera_input.look_around()
            for sentence in self.outputs.mismatches():
                camera_input.monitor.doubted(MISMATCH, sentence, time.monotonic())

    def stop_listening(self) -> None:
        """Unsubscribe."""
        if self._input is not None:
            self._input.destroy()
            self._input = None
        if self._depth is not None:
            self._depth.destroy()
            self._depth = None

    def retract_grid(self, why: str) -> None:
        """No late subscriber gets what this camera saw last."""
        self.outputs.retract_grid()
        if self._shared is not None:
            self._shared.lacks(self.name, why)

    def destroy(self) -> None:
        """Take all topics down."""
        self.stop_listening()
        self.outputs.destroy()

    def prepare(self, arrival: Arrival, settings: Settings, slot: int = 0, place: int = 0) -> Prepared | None:
        """See Steps; None where the frame cannot be used, which is counted and named."""
        camera_input = self._input
        if camera_input is None:
            return None
        with _answering(camera_input, arrival):
            return self._prepare(camera_input, arrival, settings, slot, place)
        return None

    def see(self, prepared: Prepared, answer: Answer) -> HalfDone | None:
        """See Steps; None where the network failed at it, which is counted and named."""
        with _answering(prepared.camera_input, prepared.arrival):
            return HalfDone(prepared, self._decode(prepared.ready, answer))
        return None

    def publish(self, half: HalfDone) -> None:
        """Run the rest of a frame and publish what is watched of it."""
        camera_input, arrival = half.prepared.camera_input, half.prepared.arrival
        with _answering(camera_input, arrival):
            self._publish(half)
        camera_input.monitor.answered(arrival.arrived_s)

    def _prepare(
        self, camera_input: CameraInput, arrival: Arrival, settings: Settings, slot: int, place: int
    ) -> Prepared:
        since_s = time.monotonic()
        self._apply(settings)
        header = arrival.message.header
        reader = self._readers[slot]
        frame = Frame(reader.read(arrival.message), arrival.stamp_ns, header.frame_id)
        if doubt := self._doubts.brightness(reader.brightest):
            camera_input.doubt(doubt)
        shape = self.shape
        if shape is None or shape[0] != frame.size_hw:
            self.shape = frame.size_hw, since_s
        watched = self.outputs.watched(settings)
        if self._shared is not None and self._shared.watched(settings):
            watched |= {SHARED_GRID}
        camera, ground = self._place(camera_input, arrival, frame.size_hw, settings)
        convert_ms = (time.monotonic() - since_s) * 1e3
        ready = self._pipeline.prepare(frame, wants(watched), slot, place)
        return Prepared(camera_input, arrival, settings, watched, camera, ground, ready, convert_ms)

    def _decode(self, ready: Ready, answer: Answer) -> Seen:
        try:
            return ready.pipeline.decode(ready, answer)
        except BackendError as error:
            self._backend_failed(ready.pipeline.backend, error)
            raise

    def _publish(self, half: HalfDone) -> None:
        prepared = half.prepared
        watched, arrival = prepared.watched, prepared.arrival
        if told := self._changed_told(self._told_of, prepared.settings):
            self.outputs.tell(told, prepared.settings)
        self._told_of = prepared.settings
        result = self._pipeline.place(half.seen, self._depth_of(prepared))
        if doubt := self._pipeline.depth_problem:
            prepared.camera_input.doubt(Doubt(doubt.cause, doubt.sentence))
        run_s = time.monotonic()
        placed, ground = self._placed(result, prepared)
        if self._shared is not None and SHARED_GRID not in watched:
            self._shared.retract()
        elif self._shared is not None and ground.problem:
            self._shared.lacks(self.name, ground.problem)
        self.outputs.publish(result, arrival.message.header, placed, watched, prepared.settings)
        done_s = time.monotonic()
        self._notices.note(ground if watches_ground(watched) else GROUND_UNWATCHED)
        stages_ms = {"convert": prepared.convert_ms, **result.stages_ms, "publish": (done_s - run_s) * 1e3}
        stamp_age_ms = (self._node.get_clock().now().nanoseconds - arrival.stamp_ns) / 1e6
        prepared.camera_input.monitor.finished(done_s, (done_s - arrival.arrived_s) * 1e3, stamp_age_ms, stages_ms)
        if self._on_frame is not None:
            self._on_frame(self.name, arrival.stamp_ns, stages_ms)

    def _depth_of(self, prepared: Prepared) -> Depth | None:
        """The depth of a frame's image, once the network has run, so that it has had time to come; None where there is none,
        which is counted and named."""
        depth, frame = self._depth, prepared.ready.frame
        if depth is None or not prepared.ready.wants.on_ground or prepared.ground.problem:
            return None
        try:
            return depth.newest.of(frame.stamp_ns, frame.size_hw, frame.frame_id, time.monotonic())
        except BadImageError as error:
            prepared.camera_input.doubt(Doubt(error.cause, str(error)))
            return None

    def _changed_told(self, before: Settings, settings: Settings) -> Told | None:
        """Classes as they are told from now on; None where nothing of it changed."""
        if not settings.tells_otherwise(before):
            return None
        return settings.told(self.name, self._pipeline.model.labels)

    def _apply(self, settings: Settings) -> None:
        """Take over settings that changed, between two frames."""
        before = self._settings
        if settings is not before:
            self._pipeline.configure(
                panoptic=settings.panoptic if settings.panoptic != before.panoptic else None,
                drivable=settings.drivable if settings.drivable != before.drivable else None,
                tracking=settings.tracking if settings.tracking != before.tracking else None,
                temporal=settings.temporal if settings.temporal != before.temporal else None,
                told=self._changed_told(before, settings),
            )
            if self._fusion is not None:
                self._fusion.half_life_s = settings.fusion.half_life_s
            self._settings = settings

    def _place(
        self, camera_input: CameraInput, arrival: Arrival, image_hw: tuple[int, int], settings: Settings
    ) -> tuple[CameraModel | None, GroundState]:
        """Tell the pipeline the calibration of now and the mounting as of the image's stamp; returns that calibration, where
        it is one of the image."""
        camera, problem = camera_input.calibration.latest
        misfit = camera.misfit(image_hw) if camera else None
        of_image = None if misfit else camera
        if arrival.doubt is not None and arrival.doubt.cause == ZERO:
            self._pipeline.set_camera(None, None, self._ego)
            return of_image, GroundState(ZERO, arrival.doubt.sentence)
        pose, ground = self._mounting.of_camera(arrival, settings)
        if problem or misfit:
            ground = GroundState("camera_info", problem or misfit or "")
        elif not ground.problem and self._ego and camera:
            misfit = self._ego.misfit((camera.width, camera.height))
            ground = GroundState("ego_mask", misfit) if misfit else ground
        self._pipeline.set_camera(camera, pose, self._ego, self._odometry(arrival, settings))
        return of_image, ground

    def _odometry(self, arrival: Arrival, settings: Settings) -> PlanarPose | None:
        """Where the vehicle is, for speeds over the ground; None where TF does not know it, which is no fault."""
        if not (settings.tracking.enabled and settings.tracking.use_odometry):
            return None
        try:
            return self._mounting.of_vehicle(arrival, settings)
        except TransformError:
            return None

    def _placed(self, result: Result, prepared: Prepared) -> tuple[Placed, GroundState]:
        """Where the outputs on the ground are, with the grid that remembers if it shall, and what stops them now."""
        settings, arrival, ground = prepared.settings, prepared.arrival, prepared.ground
        node, grid = settings.node, result.drivable.grid
        if not ground.problem and self._pipeline.ground_problem:
            ground = GroundState("geometry", self._pipeline.ground_problem)
        frame_id = "" if ground.problem else settings.ground_frame
        motion_frame = {"odometry": node.odom_frame, "base": settings.ground_frame}.get(result.motion_frame, "")
        placed = Placed(frame_id, self._pipeline.projection, grid, frame_id, motion_frame, prepared.camera)
        if self._fusion is None or grid is None:
            return placed, ground
        doubt = arrival.doubt
        # What is ahead of all others' time would make those old.
        if doubt is not None and (doubt.cause == NOT_NEWER or (self._shared is not None and doubt.cause == AHEAD)):
            return replace(placed, grid=None), GroundState(doubt.cause, doubt.sentence, "drivable_grid")
        try:
            pose = self._mounting.of_vehicle(arrival, settings)
        except TransformError as error:
            return replace(placed, grid=None), GroundState(f"odom_{error.cause}", str(error), "drivable_grid")
        if self._shared is not None and SHARED_GRID in prepared.watched:
            self._shared.add(self.name, grid, pose, arrival.stamp_ns, settings.fusion.half_life_s)
        if "drivable_grid" not in prepared.watched:
            return replace(placed, grid=None), ground
        fused = self._fusion.fuse(grid, pose, arrival.stamp_ns)
        return replace(placed, grid=fused, grid_frame=node.odom_frame), ground

    @property
    def has_news(self) -> bool:
        """Whether a silence, of the camera or of what goes out, has begun or ended since status() was asked for."""
        camera_input = self._input
        return camera_input is not None and self._notices.has_news(camera_input.monitor)

    def status(self, settings: Settings, state: str) -> Status:
        """The camera's diagnostics; state: of the node's life cycle. Says what changed in the log too."""
        camera_input = self._input
        if camera_input is None:
            return node_status(state, "", "", {})
        monitor, enabled = camera_input.monitor, settings.node.enabled
        more = {**tracking_values(self._pipeline.tracker), **size_values(self._pipeline.model, self.shape)}
        status = self._notices.status(monitor, enabled, more)
        if not enabled:
            self.retract_grid("not enabled")
        elif monitor.is_silent(time.monotonic()):
            self.retract_grid(status.message)
        return status


@contextmanager
def _answering(camera_input: CameraInput, arrival: Arrival) -> Iterator[None]:
    """Count and name a frame that cannot be used: its answer, for want of outputs."""
    try:
        yield
        return
    except (BadImageError, BackendError) as error:
        camera_input.reject(error.cause, str(error))
    except SegPerceptionError as error:
        camera_input.reject(FAILED, str(error))
    except Exception as error:  # the edge of the worker thread: one frame that fails must not end perception
        camera_input.reject(FAILED, f"{type(error).__name__}: {quoted(error, LONGEST_REASON)}", traceback.format_exc())
    camera_input.monitor.answered(arrival.arrived_s)
