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
from typing import NoReturn

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from diagnostic_msgs.srv import SelfTest
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from seg_perception import model_file
from seg_perception.backends.shipped_models import find_model
from seg_perception.compiled import note_kept, why_compiling
from seg_perception.errors import SegPerceptionError
from seg_perception.fast_dds import clear_shared_memory, shared_memory_problem
from seg_perception.ros import fill_messages as fill
from seg_perception.ros.camera import Camera, OnFrame
from seg_perception.ros.diagnostics import node_status, outcome_status
from seg_perception.ros.extrinsics import TransformSource
from seg_perception.ros.inputs import Arrival
from seg_perception.ros.life_cycle import DEACTIVATE, ManagedNode
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.parameter_server import ParameterServer
from seg_perception.ros.real_time import Scheduling, freeze_garbage, keep_memory
from seg_perception.ros.running import end_process, run, stop_on_signals
from seg_perception.ros.settings import Settings
from seg_perception.ros.shared_grid import SharedGrid
from seg_perception.ros.topics import DIAGNOSTICS, SELF_TEST
from seg_perception.ros.video import VIDEO_MESSAGES, video_message
from seg_perception.ros.works import Works
from seg_perception.self_test import Outcome

DIAGNOSTICS_PERIOD_S = 1.0
LOOK_PERIOD_S = 0.1
"""A camera that stalls, or is back, is told after so long at most, without waiting for the next second."""
QUIET_S = 0.1
"""Diagnostics that a change calls for keep this distance from the ones before; the regular ones follow anyway."""


class SegmentationNode(ManagedNode):
    """Configured it holds a network, active it also runs frames."""

    def __init__(self, stop: threading.Event, warning: str = "", on_frame: OnFrame | None = None) -> None:
        """warning: what is wrong with the machine, for log and diagnostics."""
        super().__init__("segmentation", stop, automatically_declare_parameters_from_overrides=True)
        self._transforms: TransformSource | None = None
        self._parameter_server = ParameterServer(self, self._hear_tf)
        self._cameras: list[Camera] = []
        self._shared: SharedGrid | None = None
        self._works = Works(self, lambda: self._parameter_server.settings, self._report)
        self._progress = ""
        self._diagnostics = self.create_publisher(DiagnosticArray, DIAGNOSTICS.name, qos_profile(DIAGNOSTICS.qos))
        # By the steady clock: diagnostics go on while simulated time stands still.
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(DIAGNOSTICS_PERIOD_S, self._every_second, clock=clock)
        self._looking = self.create_timer(LOOK_PERIOD_S, self._look, clock=clock)
        self._soon = self.create_guard_condition(self._publish_diagnostics)
        self._published_s = 0.0
        self._results = self.create_publisher(DiagnosticStatus, f"~/{SELF_TEST.name}", qos_profile(SELF_TEST.qos))
        group = ReentrantCallbackGroup()  # a callback that waits must not hold up those of its group
        self.create_service(SelfTest, "~/self_test", self._on_self_test, callback_group=group)
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
        scheduling = Scheduling(node.priority, node.cpu_affinity)
        scheduling.check()
        if node.image_transport in VIDEO_MESSAGES:
            video_message(node.image_transport)
        self._step("loading the model file")
        loaded = model_file.load(find_model(node.model, node.backend))
        self._parameter_server.know(loaded.labels)
        settings = self._parameter_server.settings
        self._step("starting the backend")
        backend = self._works.open(loaded, scheduling)
        if node.use_tf:
            self._transforms = TransformSource(self)
            self._hear_tf()
        self._step("opening the outputs")
        if settings.fusion.cameras:
            self._shared = SharedGrid(self, list(settings.poses), settings)
        for name in settings.poses:  # one by one: where one fails, those before it are given back
            self._cameras.append(
                Camera(
                    self,
                    name,
                    backend,
                    settings,
                    self._transforms,
                    self._ground_changed,
                    self._works.failed,
                    self._works.slots,
                    self._on_frame,
                    self._shared,
                )
            )
        why = why_compiling()
        self._step(
            f"warming up; {why}, which takes up to a minute once: `seg_perception compile` does it ahead"
            if why
            else "warming up"
        )
        self._cameras[0].warm_up()
        if why:
            note_kept()
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
        freeze_garbage()
        self._works.start(self._cameras)
        for index, camera in enumerate(self._cameras):
            camera.outputs.announce(self._parameter_server.settings)
            camera.listen(lambda arrival, index=index: self._accept(index, arrival))  # type: ignore[misc]
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Finish the frame that runs and take no more."""
        without_backend = self._stop()
        for camera in self._cameras:
            camera.retract_grid("inactive")
        if without_backend:
            raise SegPerceptionError(without_backend)
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
        return self._works.frames.put(index, arrival) if self._parameter_server.settings.node.enabled else None

    def _stop(self) -> str:
        """Take no more frames; says why there is no backend, empty where there is one."""
        for camera in self._cameras:
            camera.stop_listening()
        without_backend = self._works.stop()
        gc.unfreeze()
        return without_backend

    def _release(self) -> None:
        self._stop()
        for camera in self._cameras:
            camera.retract_grid("the node ends")  # for who listens now: who comes later finds no topic
            camera.destroy()
        self._cameras = []
        if self._shared is not None:
            self._shared.destroy()
            self._shared = None
        if self._transforms is not None:
            self._transforms.destroy()
            self._transforms = None
        self._works.close()
        self._progress = ""

    def say_outcome(self, outcome: Outcome) -> None:
        """Any thread: tell how a self-test ended."""
        if outcome.passed is False:  # two calls: rclpy lets one call have one severity
            self.get_logger().error(f"self-test: {outcome.sentence}")
        else:
            self.get_logger().info(f"self-test: {outcome.sentence}")
        self._results.publish(self._outcome_message(outcome))
        self.tell()

    def _outcome_message(self, outcome: Outcome) -> DiagnosticStatus:
        name = self.get_fully_qualified_name()
        return fill.status_message(f"{name}: self-test", name, outcome_status(outcome))

    async def _on_self_test(self, request: SelfTest.Request, response: SelfTest.Response) -> SelfTest.Response:
        asked: Future[Outcome] = Future()

        def answer(outcome: Outcome) -> None:
            asked.set_result(outcome)
            if self.executor is not None:
                self.executor.wake()

        self._works.test(answer)
        outcome = await asked
        response.id, response.status = self.get_fully_qualified_name(), [self._outcome_message(outcome)]
        response.passed = bytes([bool(outcome.passed)])
        return response

    def give_up(self) -> bool:
        """The network's thread: go to error, since there is no backend; False where a transition is under way."""
        given_up = self.change_state(DEACTIVATE)
        return not given_up.done()

    def _ground_changed(self) -> None:
        """A worker thread: have the executor's say so without waiting for the next second."""
        if time.monotonic() - self._published_s > QUIET_S:
            self._soon.trigger()

    def _every_second(self) -> None:
        if self.state == "active":
            self._works.look_after()
        for camera in self._cameras:
            camera.look_around()
        self._publish_diagnostics()

    def _look(self) -> None:
        if any(camera.has_news for camera in self._cameras):
            self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        self._published_s = time.monotonic()
        state, server, works = self.state, self._parameter_server, self._works
        problem = self.problem or server.problem or works.problem
        warning = "; ".join(filter(None, (self._warning, works.warning)))
        statuses = {"backend": node_status(state, problem, self._progress, works.facts, warning)}
        for camera in self._cameras:
            statuses[f"camera {camera.name}".rstrip()] = camera.status(server.settings, state)
        shared = self._shared
        if shared is not None:
            statuses["drivable_grid"] = shared.status()
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
