"""The lifecycle node `segmentation`: newest camera image in, panoptic masks and drivable ground out.

Callbacks run in one executor thread and do nothing slow; worker threads run frames, and a thread of its own each change
of the life cycle's state, the `on_…` methods. Where this file says nothing of threads, it is the executor's.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from seg_perception import backends, model_file
from seg_perception.backends.base import Backend
from seg_perception.backends.shipped_models import find_model
from seg_perception.errors import SegPerceptionError
from seg_perception.fast_dds import clear_shared_memory, shared_memory_problem
from seg_perception.ros import fill_messages as fill
from seg_perception.ros.camera import Camera, OnFrame
from seg_perception.ros.diagnostics import node_status
from seg_perception.ros.extrinsics import TransformSource
from seg_perception.ros.inputs import Arrival, NewestFrames
from seg_perception.ros.lane import Lane, overlaps
from seg_perception.ros.life_cycle import ManagedNode
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.parameter_server import ParameterServer
from seg_perception.ros.parameters import Settings
from seg_perception.ros.real_time import Scheduling, freeze_garbage, keep_memory
from seg_perception.ros.running import end_process, run, stop_on_signals
from seg_perception.ros.topics import DIAGNOSTICS
from seg_perception.ros.video import VIDEO_MESSAGES, video_message

DIAGNOSTICS_PERIOD_S = 1.0
QUIET_S = 0.1
"""Diagnostics that a change calls for keep this distance from the ones before; the regular ones follow anyway."""


class SegmentationNode(ManagedNode):
    """Configured it holds a network, active it also runs frames."""

    def __init__(self, stop: threading.Event, warning: str = "", on_frame: OnFrame | None = None) -> None:
        """warning: what is wrong with the machine, for log and diagnostics."""
        super().__init__("segmentation", stop, automatically_declare_parameters_from_overrides=True)
        self._transforms: TransformSource | None = None
        self._parameter_server = ParameterServer(self, self._hear_tf)
        self._backend: Backend | None = None
        self._cameras: list[Camera] = []
        self._frames = NewestFrames(0)
        self._workers: list[threading.Thread] = []
        self._scheduling = Scheduling()
        self._slots = 1
        self._progress = ""
        self._diagnostics = self.create_publisher(DiagnosticArray, DIAGNOSTICS.name, qos_profile(DIAGNOSTICS.qos))
        # By the steady clock: diagnostics go on while simulated time stands still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(DIAGNOSTICS_PERIOD_S, self._every_second, clock=clock)
        self._soon = self.create_guard_condition(self._publish_diagnostics)
        self._published_s = 0.0
        self._warning, self._on_frame = warning, on_frame
        if warning:
            self.get_logger().warning(warning)

    def tell(self) -> None:
        """Any thread: have the executor publish diagnostics now."""
        self._soon.trigger()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and open the outputs."""
        self._configure(self._parameter_server.settings)
        return super().on_configure(state)

    def _configure(self, settings: Settings) -> None:
        node = settings.node
        self._step("checking the threads' scheduling")
        self._scheduling = Scheduling(node.priority, node.cpu_affinity)
        self._scheduling.check()
        if node.image_transport in VIDEO_MESSAGES:
            video_message(node.image_transport)
        self._step("loading the model file")
        loaded = model = model_file.load(find_model(node.model, node.backend))
        if settings.network_hw is not None:
            model = model.at(settings.network_hw)
        self._step("starting the backend")
        self._backend = backends.choose(
            model,
            backend=node.backend,
            fallback=node.fallback,
            providers=node.providers,
            precision=node.precision,
            cache_dir=Path(node.engine_cache).expanduser() if node.engine_cache else None,
            threads=node.threads or None,
            log=self._report,
        )
        fixed = settings.network_hw is None and self._backend.model.limits is None and loaded.limits is not None
        open_model, model = loaded if fixed else None, self._backend.model
        self._slots = 2 if overlaps(node.overlap, self._backend, len(settings.poses)) else 1
        if node.use_tf:
            self._transforms = TransformSource(self)
            self._hear_tf()
        self._step("opening the outputs")
        self._cameras = [
            Camera(
                self,
                name,
                model,
                self._backend,
                settings,
                self._transforms,
                self._ground_changed,
                self._slots,
                open_model,
                self._on_frame,
            )
            for name in settings.poses
        ]
        self._step("warming up; the first start after an installation compiles for up to a minute")
        self._cameras[0].warm_up()
        self._step("ready")
        vision_problem = self._cameras[0].outputs.vision_problem
        if vision_problem:
            self.get_logger().info(f"no label_info and no detections: {vision_problem}")

    def _hear_tf(self) -> None:
        """Listen to TF once somebody needs it: poses may change while the node runs."""
        transforms, settings = self._transforms, self._parameter_server.settings
        elsewhere = settings.ground_frame != settings.node.base_frame
        odometry = settings.fusion.enabled or (settings.tracking.enabled and settings.tracking.use_odometry)
        if transforms is not None and (odometry or elsewhere or None in settings.poses.values()):
            transforms.listen()

    def _step(self, what: str) -> None:
        """Begin a step of configuring, where the process is not about to end."""
        if self.stop.is_set():
            raise SegPerceptionError(f"stopped by a signal before {what}: start the node again")
        self._report(what)

    def _report(self, line: str) -> None:
        """A line of what the start is at, which may take minutes: to the log and, at once, to diagnostics."""
        self.get_logger().info(line)
        self._progress = line
        self.tell()

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and run frames."""
        result = super().on_activate(state)
        self._frames = NewestFrames(len(self._cameras))
        lane = Lane(self._frames, self._cameras, lambda: self._parameter_server.settings)
        freeze_garbage()
        for slot in range(self._slots):
            worker = threading.Thread(target=lane.work, args=(slot,), name=f"frames {slot}", daemon=True)
            worker.start()
            self._workers.append(worker)
            self._scheduling.apply(worker)
        for index, camera in enumerate(self._cameras):
            camera.outputs.announce(self._parameter_server.settings)
            camera.listen(lambda arrival, index=index: self._accept(index, arrival))  # type: ignore[misc]
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the frame that runs and take no more."""
        self._stop_workers()
        for camera in self._cameras:
            camera.outputs.retract_grid()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the network back."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back for good."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed transition: give everything back, so that configuring can be tried again."""
        self._release()
        return super().on_error(state)

    def _accept(self, index: int, arrival: Arrival) -> bool | None:
        return self._frames.put(index, arrival) if self._parameter_server.settings.node.enabled else None

    def _stop_workers(self) -> None:
        for camera in self._cameras:
            camera.stop_listening()
        self._frames.close()
        for worker in self._workers:
            worker.join()
        self._workers = []
        gc.unfreeze()

    def _release(self) -> None:
        self._stop_workers()
        for camera in self._cameras:
            camera.destroy()
        self._cameras = []
        if self._transforms is not None:
            self._transforms.destroy()
            self._transforms = None
        # Diagnostics go on meanwhile, in the executor: they must not ask a backend that is being closed.
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.close()
        self._progress = ""

    def _ground_changed(self) -> None:
        """A worker thread: have the executor's say so without waiting for the next second."""
        if time.monotonic() - self._published_s > QUIET_S:
            self._soon.trigger()

    def _every_second(self) -> None:
        for camera in self._cameras:
            camera.look_around()
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        self._published_s = time.monotonic()
        backend, state, server = self._backend, self.state, self._parameter_server
        facts = backend.describe() if backend is not None else {}
        statuses = {"backend": node_status(state, self.problem or server.problem, self._progress, facts, self._warning)}
        for camera in self._cameras:
            statuses[f"camera {camera.name}".rstrip()] = camera.status(server.settings, state)
        stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(fill.diagnostics(self.get_fully_qualified_name(), statuses, stamp))


def main(arguments: Sequence[str] | None = None, on_frame: OnFrame | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code: see running.run."""
    stop = stop_on_signals()
    keep_memory()
    clear_shared_memory()
    warning = shared_memory_problem(os.environ)
    rclpy.init(args=None if arguments is None else list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    node = SegmentationNode(stop, warning, on_frame)
    return run(node, autostart=node.get_parameter("autostart").value)


def program() -> NoReturn:
    """The program `segmentation`."""
    end_process(main())


if __name__ == "__main__":
    program()
