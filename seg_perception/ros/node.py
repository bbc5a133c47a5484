"""The lifecycle node `segmentation`: newest camera image in, panoptic masks and drivable ground out.

Callbacks run in one executor thread and do nothing slow; worker threads run frames. Where this file says nothing of
threads, it is the executor's.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Header

from seg_perception import backends, model_file
from seg_perception.backends.base import Backend
from seg_perception.backends.shipped_models import find_model
from seg_perception.errors import EXIT_ERROR, SegPerceptionError
from seg_perception.ros.camera import Camera
from seg_perception.ros.diagnostics import ERROR, OK, Status
from seg_perception.ros.extrinsics import TransformSource
from seg_perception.ros.inputs import Arrival, NewestFrames
from seg_perception.ros.lane import Lane, overlaps
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.parameter_server import ParameterServer
from seg_perception.ros.parameters import Settings
from seg_perception.ros.real_time import Scheduling, freeze_garbage, keep_memory
from seg_perception.ros.topics import DIAGNOSTICS

DIAGNOSTICS_PERIOD_S = 1.0
QUIET_S = 0.1
"""Diagnostics that a change calls for keep this distance from the ones before; the regular ones follow anyway."""

Transition = Callable[["SegmentationNode", LifecycleState], TransitionCallbackReturn]


def _loud(transition: Transition) -> Transition:
    """rclpy swallows what a transition raises, so log it first."""

    @wraps(transition)
    def run(node: SegmentationNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except Exception:
            node.get_logger().error(traceback.format_exc())
            raise

    return run


class SegmentationNode(LifecycleNode):
    """Configured it holds a network, active it also runs frames."""

    def __init__(self) -> None:
        super().__init__("segmentation", automatically_declare_parameters_from_overrides=True)
        self._parameter_server = ParameterServer(self)
        self._backend: Backend | None = None
        self._transforms: TransformSource | None = None
        self._cameras: list[Camera] = []
        self._frames = NewestFrames(0)
        self._workers: list[threading.Thread] = []
        self._scheduling = Scheduling()
        self._slots = 1
        self._finalized = False
        self._progress = "not configured"
        self._problem = ""
        self._diagnostics = self.create_publisher(DiagnosticArray, DIAGNOSTICS.name, qos_profile(DIAGNOSTICS.qos))
        # By the steady clock: diagnostics go on while simulated time stands still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=clock)
        self._soon = self.create_guard_condition(self._publish_diagnostics)
        self._published_s = 0.0

    def autostart(self) -> bool:
        """Configure and activate where the parameter says so; False when that failed."""
        if not self.get_parameter("autostart").value:
            return True
        done = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == done and self.trigger_activate() == done

    def shut_down(self) -> None:
        """End from whatever state it is in."""
        if not self._finalized:
            self.trigger_shutdown()

    @_loud
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the network and open the outputs."""
        try:
            self._configure(self._parameter_server.settings)
        except SegPerceptionError as error:
            self.get_logger().error(str(error))
            self._release()
            self._problem = str(error)
            self._publish_diagnostics()
            return TransitionCallbackReturn.FAILURE
        self._problem = ""
        return super().on_configure(state)

    def _configure(self, settings: Settings) -> None:
        node = settings.node
        self._scheduling = Scheduling(node.priority, node.cpu_affinity)
        self._scheduling.check()
        model = model_file.load(find_model(node.model, node.backend))
        self._backend = backends.choose(
            model,
            backend=node.backend,
            fallback=node.fallback,
            providers=node.providers,
            cache_dir=Path(node.engine_cache).expanduser() if node.engine_cache else None,
            threads=node.threads or None,
            log=self._report,
        )
        self._slots = 2 if overlaps(node.overlap, self._backend, len(settings.poses)) else 1
        if node.use_tf and (settings.fusion.enabled or None in settings.poses.values()):
            self._transforms = TransformSource(self)
        self._cameras = [
            Camera(self, name, model, self._backend, settings, self._transforms, self._ground_changed, self._slots)
            for name in settings.poses
        ]
        self.get_logger().info("warming up; the first start after an installation compiles for up to a minute")
        self._cameras[0].warm_up()
        vision_problem = self._cameras[0].outputs.vision_problem
        if vision_problem:
            self.get_logger().info(f"no label_info and no detections: {vision_problem}")

    def _report(self, line: str) -> None:
        """A line of the backend while it starts, which may take minutes: to the log and, at once, to diagnostics."""
        self.get_logger().info(line)
        self._progress = line
        self._publish_diagnostics()

    @_loud
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Listen and run frames."""
        result = super().on_activate(state)
        self._frames = NewestFrames(len(self._cameras))
        lane = Lane(self._frames, self._cameras, lambda: self._parameter_server.settings)
        freeze_garbage()
        for slot in range(self._slots):
            worker = threading.Thread(target=lane.work, args=(slot,), name=f"frames {slot}")
            worker.start()
            self._workers.append(worker)
            self._scheduling.apply(worker)
        for index, camera in enumerate(self._cameras):
            camera.outputs.announce(self._parameter_server.settings)
            camera.listen(lambda arrival, index=index: self._accept(index, arrival))  # type: ignore[misc]
        return result

    @_loud
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the frame that runs and take no more."""
        self._stop_workers()
        return super().on_deactivate(state)

    @_loud
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give the network back."""
        self._release()
        return super().on_cleanup(state)

    @_loud
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back for good."""
        self._finalized = True
        self._release()
        return super().on_shutdown(state)

    @_loud
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a failed transition: give everything back, so that configuring can be tried again."""
        self._release()
        return super().on_error(state)

    def _accept(self, index: int, arrival: Arrival) -> bool:
        return self._parameter_server.settings.node.enabled and self._frames.put(index, arrival)

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
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        self._progress = "not configured"

    def _ground_changed(self) -> None:
        """A worker thread: have the executor's say so without waiting for the next second."""
        if time.monotonic() - self._published_s > QUIET_S:
            self._soon.trigger()

    def _publish_diagnostics(self) -> None:
        self._published_s = time.monotonic()
        name = self.get_fully_qualified_name()
        statuses = [_message(f"{name}: backend", name, self._backend_status())]
        for camera in self._cameras:
            status = camera.status(self._parameter_server.settings)
            if status is not None:
                statuses.append(_message(f"{name}: camera {camera.name}".rstrip(), name, status))
        self._diagnostics.publish(
            DiagnosticArray(header=Header(stamp=self.get_clock().now().to_msg()), status=statuses)
        )

    def _backend_status(self) -> Status:
        facts: Mapping[str, str] = self._backend.describe() if self._backend is not None else {}
        problem = self._problem or self._parameter_server.problem
        return Status(ERROR if problem else OK, problem or self._progress, {**facts, "engine_state": self._progress})


def _message(name: str, hardware_id: str, status: Status) -> DiagnosticStatus:
    values = [KeyValue(key=key, value=value) for key, value in status.values.items()]
    # rclpy wants the level as one byte.
    return DiagnosticStatus(
        level=bytes([status.level]), name=name, message=status.message, hardware_id=hardware_id, values=values
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns the exit code: 0, or 2 when autostart failed.

    rclpy's own signal handlers would tear down the middleware before the node could deactivate and clean up.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    keep_memory()
    rclpy.init(args=None if arguments is None else list(arguments), signal_handler_options=SignalHandlerOptions.NO)
    node = SegmentationNode()
    try:
        if not node.autostart():
            return EXIT_ERROR
        _spin_until(stop, node)
        return 0
    finally:
        node.shut_down()
        node.destroy_node()
        rclpy.shutdown()


def _spin_until(stop: threading.Event, node: SegmentationNode) -> None:
    """Run callbacks until stop is set; an exception in one of them ends this too and is raised here.

    They run in a thread of their own because Python handles signals only in the main thread, between two of its steps,
    and waiting for the middleware is one long step.
    """
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with ThreadPoolExecutor(1, "executor") as threads:
        spinning = threads.submit(executor.spin)
        spinning.add_done_callback(lambda _: stop.set())
        stop.wait()
        executor.shutdown()
        spinning.result()


if __name__ == "__main__":
    sys.exit(main())
