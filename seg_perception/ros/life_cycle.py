"""A lifecycle node that goes on listening while it changes state, and lives on where a transition fails."""

from __future__ import annotations

import threading
import time
import traceback
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future

from seg_perception.errors import SegPerceptionError
from seg_perception.ros.watchdog import standing, watched

PATIENCE_S = 4.0
"""How long a transition may take that ends something: whoever asks for it wants it ended, by the end of the process where it
does not come otherwise."""
BEGIN_S = 30.0
"""How long activating may take, which begins something: nothing goes out before, and a new process on a machine that is too
busy would take longer still."""

CONFIGURE, ACTIVATE = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE
DEACTIVATE = Transition.TRANSITION_DEACTIVATE
_LIMITS_S: dict[int, float | None] = {CONFIGURE: None, ACTIVATE: BEGIN_S}
"""Of those that may take another time than PATIENCE_S; configuring may build an engine."""
_SHUTDOWN = {
    State.PRIMARY_STATE_UNCONFIGURED: Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
    State.PRIMARY_STATE_INACTIVE: Transition.TRANSITION_INACTIVE_SHUTDOWN,
    State.PRIMARY_STATE_ACTIVE: Transition.TRANSITION_ACTIVE_SHUTDOWN,
}
_CALLBACKS = {
    State.TRANSITION_STATE_CONFIGURING: "on_configure",
    State.TRANSITION_STATE_ACTIVATING: "on_activate",
    State.TRANSITION_STATE_DEACTIVATING: "on_deactivate",
    State.TRANSITION_STATE_CLEANINGUP: "on_cleanup",
    State.TRANSITION_STATE_SHUTTINGDOWN: "on_shutdown",
    State.TRANSITION_STATE_ERRORPROCESSING: "on_error",
}


class ManagedNode(LifecycleNode):
    """A lifecycle node whose transitions run in a thread of their own, one at a time: `on_configure` and its like are
    called there and may take their time.

    rclpy's own service runs them in the executor, which hears nothing meanwhile; loses what they raise; and up to Jazzy
    lets a transition that the state does not allow end the process (ros2/rclpy#1319).
    """

    def __init__(self, name: str, stop: threading.Event, **options: Any) -> None:
        super().__init__(name, **options)
        self.stop = stop
        """Set where the process is to end: on_configure looks at it between its steps."""
        self.problem = ""
        """Why the latest transition failed, in one sentence; empty after a success."""
        self.hung = threading.Event()
        """Set where a transition did not end in time: something waits for ever, and only a new process helps."""
        self.left_behind = False
        """Whether a thread that waits for ever was left behind, so that the process cannot end in order."""
        self._changing = threading.Lock()
        service = self._service_change_state
        # A callback that waits must not hold up those of its group.
        service.callback, service.callback_group = self._on_change_state, ReentrantCallbackGroup()

    @property
    def state(self) -> str:
        """The life cycle's state: unconfigured, inactive, active, finalized, or between them configuring and so on.
        Raises InvalidHandle once the node is destroyed."""
        return self._current()[1]

    def tell(self) -> None:
        """Called in the transition's thread after each change of the state, for diagnostics."""

    def change_state(self, *transitions: int) -> Future[bool]:
        """Begin transitions, one after the other while they succeed.

        The future says whether all did; it comes at the latest when one has taken too long. Refused while one runs.
        """
        done: Future[bool] = Future()
        if self._changing.acquire(blocking=False):
            self._begin(transitions, done)
        else:
            self.get_logger().warning(f"a transition was refused, the node is {self.state}: wait for its end")
            done.set_result(False)
        return done

    def shut_down(self, timeout_s: float) -> bool:
        """End from whatever state it is in and wait for that, in another thread than the executor's; False when it
        takes too long."""
        end_s = time.monotonic() + timeout_s
        if not self._changing.acquire(timeout=timeout_s):
            return False
        transition = _SHUTDOWN.get(self._current()[0])
        done: Future[bool] = Future()
        ended = threading.Event()
        done.add_done_callback(lambda _: ended.set())
        self._begin((transition,) if transition is not None else (), done)
        return ended.wait(end_s - time.monotonic()) and not self.hung.is_set()

    def destroy_node(self) -> None:
        """Take it off the network."""
        super().destroy_node()
        # rclpy forgets this one, which holds the node, and with it the network and its shared memory.
        self._state_machine.destroy_when_not_in_use()

    def _current(self) -> tuple[int, str]:
        # Held, since a thread that comes back after destroy_node would crash the process.
        with self._state_machine:
            number, label = self._state_machine.current_state
        return number, label

    def _end_transition(self, result: TransitionCallbackReturn) -> None:
        with self._state_machine:
            self._state_machine.trigger_transition_by_label(result.to_label(), True)

    def _begin(self, transitions: tuple[int, ...], done: Future[bool]) -> None:
        """Start a transition's thread, which gives the lock back."""
        threading.Thread(target=self._change, args=(transitions, done), name="transition", daemon=True).start()

    async def _on_change_state(
        self, request: ChangeState.Request, response: ChangeState.Response
    ) -> ChangeState.Response:
        transition = request.transition.id
        try:
            if request.transition.label:
                transition = self._state_machine.get_transition_by_label(request.transition.label)
            response.success = await self.change_state(transition)
        except rclpy_implementation.RCLError as error:
            self.get_logger().warning(f"a transition was refused: {error}")
            response.success = False
        return response

    def _change(self, transitions: tuple[int, ...], done: Future[bool]) -> None:
        """The thread of a transition."""
        succeeded = False
        try:
            succeeded = all(self._take(transition, done) for transition in transitions)
        except rclpy_implementation.InvalidHandle:  # it hung until the node had signed off, and the process leaves
            return
        finally:
            self._changing.release()
            self._answer(done, succeeded)

    def _answer(self, done: Future[bool], succeeded: bool) -> None:
        if not done.done():
            done.set_result(succeeded)
        executor = self.executor
        if executor is not None:
            executor.wake()

    def _take(self, transition: int, done: Future[bool]) -> bool:
        """One transition, and the way back where it fails; whether it succeeded."""
        number, label = self._current()
        before = LifecycleState(label=label, state_id=number)
        try:
            with self._state_machine:
                self._state_machine.trigger_transition_by_id(transition, True)
        except rclpy_implementation.RCLError:
            self.get_logger().warning(f"transition {transition} was refused: the node is {label}")
            return False
        self.tell()
        with self._in_time(_LIMITS_S.get(transition, PATIENCE_S), done):
            result = self._call(before)
            self._end_transition(result)
        if result == TransitionCallbackReturn.ERROR:
            with self._in_time(PATIENCE_S, done):
                self._end_transition(self._call(before))
        if result == TransitionCallbackReturn.SUCCESS:
            self.problem = ""
        self.tell()
        return bool(result == TransitionCallbackReturn.SUCCESS)

    def _call(self, before: LifecycleState) -> TransitionCallbackReturn:
        """Call what belongs to the state of now; what it raises becomes the problem."""
        callback = getattr(self, _CALLBACKS[self._current()[0]])
        try:
            return callback(before)
        except SegPerceptionError as error:
            self.problem = str(error)
            self.get_logger().error(self.problem)
        except Exception as error:  # the edge of the transition's thread: a planner must hear of it
            self.problem = f"{type(error).__name__}: {error}"
            self.get_logger().error(traceback.format_exc())
        return TransitionCallbackReturn.ERROR

    def _in_time(self, limit_s: float | None, done: Future[bool]) -> AbstractContextManager[None]:
        return nullcontext() if limit_s is None else watched(limit_s, partial(self._late, limit_s, done))

    def _late(self, limit_s: float, done: Future[bool]) -> None:
        """The watchdog's thread: a transition waits for what does not end."""
        try:
            state = self.state
        except rclpy_implementation.InvalidHandle:  # the process leaves already
            return
        self.leave(f"{state} does not end after {limit_s:g} s ({standing('frames', 'transition', 'video')})", done)

    def leave(self, cause: str, done: Future[bool] | None = None) -> None:
        """End the process, since something in it waits for ever. done: a transition's answer that is due before."""
        self.problem = f"{cause}: the process ends, start it again"
        self.get_logger().fatal(self.problem)
        self.hung.set()
        self.tell()
        if done is not None:
            self._answer(done, False)
        self.stop.set()
