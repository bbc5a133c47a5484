"""The node with faults put in, as a program: `python test/faults.py hang old_rclpy -- --ros-args …`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from places import CHECKOUT

sys.path.insert(0, str(CHECKOUT))

from seg_perception import backends
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import BackendError
from seg_perception.pipeline import Pipeline
from seg_perception.results import NetworkOutput
from seg_perception.ros import node, resizing
from seg_perception.ros.camera import Camera
from seg_perception.ros.newest import NewestFrames
from seg_perception.ros.running import end_process

HANG = "hang"
"""frame_id of an image at which the network hangs."""
HANGS = "it waits for ever now"
"""What the program prints then."""
HELD = "it waits for SIGUSR1"
"""What the program prints in the middle of a warm-up that is held."""
HOLD, GO_ON = "hold", "go on"
"""frame_id of an image at which the network waits, until an image of the other frame_id comes."""
HOLDS = "the network is held"
"""What the program prints then."""
UNLUCKY = 13
"""The jpeg_quality at which a transition fails."""
OUT_OF_LUCK = "out of luck"
"""Why."""


def wait_for_ever(*_: Any, **__: Any) -> Any:
    """As a driver's call that never returns: the interpreter goes on."""
    print(HANGS, flush=True)
    threading.Event().wait()


def hang() -> None:
    """The network never returns from an image of that frame_id."""
    prepare = Pipeline.prepare

    def patched(self: Pipeline, frame: Any, *rest: Any, **named: Any) -> Any:
        return (wait_for_ever if frame.frame_id == HANG else prepare)(self, frame, *rest, **named)

    Pipeline.prepare = patched  # type: ignore[method-assign]


THROW, NAN, DAMAGE = "throw", "nan ", "damage"
"""frame_id of an image at which the network throws; answers not-a-number in the output named after it; is damaged, so that
it answers wrongly from then on, until it is made anew."""


def network() -> None:
    """The network fails at images of these frame_ids."""
    prepare, infer, asked = Pipeline.prepare, OnnxRuntimeBackend.infer, []
    goes_on, put = threading.Event(), NewestFrames.put

    def waits(self: NewestFrames[Any], camera: int, frame: Any) -> bool:
        replaced = put(self, camera, frame)
        if frame.message is not None and frame.message.header.frame_id == GO_ON:
            goes_on.set()
        return replaced

    def noted(self: Pipeline, frame: Any, *rest: Any, **named: Any) -> Any:
        asked.append(frame.frame_id)
        return prepare(self, frame, *rest, **named)

    def failing(self: OnnxRuntimeBackend, images: Any) -> NetworkOutput:
        faults = asked[:]
        asked.clear()
        if HOLD in faults:
            goes_on.clear()
            print(f"{HOLDS}\n", end="", flush=True)
            goes_on.wait()
        if THROW in faults:
            raise RuntimeError("the device fell off the bus")
        answer = infer(self, images)
        if HANG in faults:
            wait_for_ever()
        for place, fault in enumerate(faults):
            if fault.startswith(NAN):
                getattr(answer, fault.removeprefix(NAN))[place, 0, -1, -1] = np.nan
        self.damaged = getattr(self, "damaged", False) or DAMAGE in faults
        return wrong(answer) if self.damaged else answer

    Pipeline.prepare, OnnxRuntimeBackend.infer, NewestFrames.put = noted, failing, waits  # type: ignore[method-assign, assignment]


def batches() -> None:
    """Every frame that waits for the network is told with its camera's number, and every run with its number of images."""
    infer, put = OnnxRuntimeBackend.infer, NewestFrames.put

    def waits(self: NewestFrames[Any], camera: int, frame: Any) -> bool:
        replaced = put(self, camera, frame)
        print(f"camera {camera} waits\n", end="", flush=True)
        return replaced

    def told(self: OnnxRuntimeBackend, images: Any) -> NetworkOutput:
        print(f"a run of {len(images)}\n", end="", flush=True)
        return infer(self, images)

    OnnxRuntimeBackend.infer, NewestFrames.put = told, waits  # type: ignore[method-assign]


def wrong(answer: NetworkOutput) -> NetworkOutput:
    """Each class is taken for the next, as of an engine of another model."""
    return replace(answer, semantic_logits=np.roll(answer.semantic_logits, 1, axis=1))


def wrong_engine() -> None:
    """The network is another than the model file's."""
    infer = OnnxRuntimeBackend.infer
    OnnxRuntimeBackend.infer = lambda self, images: wrong(infer(self, images))  # type: ignore[method-assign]


def fake_gpu() -> None:
    """TensorRT is found and runs, on the CPU."""
    from seg_perception.backends.tensorrt import backend as tensorrt

    class OnGpu(OnnxRuntimeBackend):
        def __init__(self, model: Any, **_: Any) -> None:
            super().__init__(model.at(model.size_hw))  # built for one size, as engines are

        def describe(self) -> Any:
            return {**super().describe(), "device": "a GPU"}

    tensorrt.TensorRTBackend = OnGpu  # type: ignore[misc, assignment]


def quick_sizes() -> None:
    """Nobody waits long for another size of the network; upright ones cannot be had, and the widest cannot be used."""
    from seg_perception.backends.tensorrt import backend as tensorrt

    made = tensorrt.TensorRTBackend

    def make(model: Any, **how: Any) -> Any:
        if model.size_hw[0] > model.size_hw[1]:
            raise BackendError("CUDA's cudaMalloc failed (out of memory)")
        return made(model, **how)

    use = Camera.use

    def used(self: Camera, backend: Any) -> None:
        if backend.model.size_hw == (32, 192):
            raise MemoryError("no room for masks")
        use(self, backend)

    Camera.use = used  # type: ignore[method-assign]
    tensorrt.TensorRTBackend = make  # type: ignore[misc, assignment]
    resizing.SETTLED_S = resizing.PAUSE_S = 0.2


def no_gpu() -> None:
    """TensorRT is found and cannot start."""
    from seg_perception.backends.tensorrt import backend as tensorrt

    def fail(*_: Any, **__: Any) -> Any:
        raise BackendError("CUDA's cudaMalloc failed (out of memory)")

    tensorrt.TensorRTBackend = fail  # type: ignore[misc, assignment]


def endless_warm_up() -> None:
    """Warming up, as compiling or building an engine, takes longer than anyone waits."""
    Pipeline.warm_up = wait_for_ever  # type: ignore[method-assign]


def slow_restart() -> None:
    """Only the first backend begins at all."""
    choose, tries = backends.choose, iter([True])
    backends.choose = lambda *rest, **named: (choose if next(tries, False) else wait_for_ever)(*rest, **named)


def held_warm_up() -> None:
    """Warming up goes on when SIGUSR1 comes."""
    warm_up, told = Pipeline.warm_up, threading.Event()
    signal.signal(signal.SIGUSR1, lambda *_: told.set())

    def patched(self: Pipeline) -> None:
        print(HELD, flush=True)
        told.wait()
        warm_up(self)

    Pipeline.warm_up = patched  # type: ignore[method-assign]


def endless_close() -> None:
    """The backend cannot be given back."""
    OnnxRuntimeBackend.close = wait_for_ever  # type: ignore[method-assign]


def out_of_memory() -> None:
    """The first try to start the backend fails as a GPU's driver fails."""
    choose, tries = backends.choose, iter([True])

    def patched(*arguments: Any, **named: Any) -> Any:
        if next(tries, False):
            raise RuntimeError("CUDA error 2: out of memory")
        return choose(*arguments, **named)

    backends.choose = patched


def unlucky() -> None:
    """Every transition does its work and then fails, while a parameter has a value that brings bad luck."""

    def patch(name: str) -> None:
        method = getattr(node.SegmentationNode, name)

        def patched(self: node.SegmentationNode, state: Any) -> Any:
            result = method(self, state)
            if self._parameter_server.settings.node.jpeg_quality == UNLUCKY:
                raise RuntimeError(OUT_OF_LUCK)
            return result

        setattr(node.SegmentationNode, name, patched)

    for name in ("on_configure", "on_activate", "on_deactivate", "on_cleanup", "on_shutdown"):
        patch(name)


def old_rclpy() -> None:
    """rclpy up to Jazzy, whose life cycle lets a transition that is not allowed raise out of its service, as in
    https://github.com/ros2/rclpy/blob/humble/rclpy/rclpy/lifecycle/node.py."""
    from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
    from rclpy.lifecycle.node import LifecycleNodeMixin

    def change_state(self: Any, transition_id: int) -> Any:
        before = LifecycleState(*reversed(self._state_machine.current_state))
        self._state_machine.trigger_transition_by_id(transition_id, True)
        result = self._LifecycleNodeMixin__execute_callback(self._state_machine.current_state[0], before)
        self._state_machine.trigger_transition_by_label(result.to_label(), True)
        if result == TransitionCallbackReturn.ERROR:
            result = self._LifecycleNodeMixin__execute_callback(self._state_machine.current_state[0], before)
            self._state_machine.trigger_transition_by_label(result.to_label(), True)
        return result

    LifecycleNodeMixin._LifecycleNodeMixin__change_state = change_state  # type: ignore[attr-defined]


FAULTS: dict[str, Callable[[], None]] = {
    one.__name__: one
    for one in (
        hang,
        network,
        batches,
        wrong_engine,
        fake_gpu,
        quick_sizes,
        no_gpu,
        slow_restart,
        endless_warm_up,
        held_warm_up,
        endless_close,
        out_of_memory,
        unlucky,
        old_rclpy,
    )
}

if __name__ == "__main__":
    names, _, arguments = " ".join(sys.argv[1:]).partition(" -- ")
    for name in names.split():
        FAULTS[name]()
    end_process(node.main([sys.argv[0], *arguments.split(" ")]))
