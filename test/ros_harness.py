"""A node process, a fake camera, and waiting for topics over real DDS; owns its context, so tests do not share one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from fakes import write_model
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from patience import WAIT_S, Patience, comes, ends
from places import CHECKOUT, TESTS
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from seg_perception.labels import CAMVID
from seg_perception.network import joined
from seg_perception.ros.fill_messages import ImageFiller
from seg_perception.ros.outputs import qos_profile

SENSOR_DATA = qos_profile("sensor data")
RELIABLE = qos_profile("reliable")
LATCHED = qos_profile("reliable, transient local")
EVERY_MESSAGE = QoSProfile(depth=1000, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.VOLATILE)


def make_tiny_model(
    path: Path, size_hw: tuple[int, int] = (64, 96), busy: int = 0, contrast: float = 0.01, batch: int | None = 1
) -> Path:
    """A model file that needs no training: classes by colour at 1/8, no centres. busy: extra convolutions of 64
    channels at full size, to be slow on purpose. contrast: how sure it is. batch: images a run, None = any number."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    weights = {
        "to_logits": rng.normal(0, contrast, (len(CAMVID), 3, 1, 1)),
        "to_center": np.full((1, 3, 1, 1), 0.001),
        "to_offset": np.full((2, 3, 1, 1), 0.001),
    }
    features = "planes"
    for k in range(busy):
        weights[f"busy{k}"] = np.full((3, 3, 7, 7), 1 / 147)
        nodes.append(helper.make_node("Conv", [features, f"busy{k}"], [f"busy_out{k}"], pads=[3, 3, 3, 3]))
        features = f"busy_out{k}"
    nodes += [
        helper.make_node("AveragePool", [features], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["cells", "to_logits"], ["semantic_logits"]),
        helper.make_node("Conv", ["cells", "to_center"], ["center_raw"]),
        helper.make_node("Sigmoid", ["center_raw"], ["center_heatmap"]),
        helper.make_node("Conv", ["cells", "to_offset"], ["center_offset"]),
    ]
    tensors = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    write_model(path, nodes, tensors, size_hw, batch=batch)
    return path


def make_road_and_cars_model(path: Path) -> Path:
    """A model file: what is red is road, what is blue is car, and every patch of blue has a centre."""
    road, car = CAMVID.by_name("road").id, CAMVID.by_name("car").id
    to_logits = np.zeros((len(CAMVID), 3, 1, 1))
    to_logits[road, 0], to_logits[car, 2] = 0.1, 0.1
    tensors = {
        "to_logits": to_logits,
        "to_center": np.array((-0.1, 0.0, 0.1)).reshape(1, 3, 1, 1),
        "to_offset": np.zeros((2, 3, 1, 1)),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Conv", ["cells", "to_logits"], ["semantic_logits"]),
        helper.make_node("Conv", ["cells", "to_center"], ["center_raw"]),
        helper.make_node("Sigmoid", ["center_raw"], ["center_heatmap"]),
        helper.make_node("Conv", ["cells", "to_offset"], ["center_offset"]),
    ]
    weights = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in tensors.items()]
    write_model(path, nodes, weights, (64, 96))
    return path


@contextmanager
def ros_domain() -> Iterator[None]:
    """A domain of these tests alone, so that a robot or another test on the network is neither heard nor disturbed."""
    with joined():
        yield


class NodeProcess:
    """`python -m seg_perception.ros.node` as a process of its own, with parameters from a YAML file as users do."""

    def __init__(
        self,
        parameters: Mapping[str, Any],
        remappings: Mapping[str, str] | None = None,
        faults: Sequence[str] = (),
        before: Sequence[str] = (),
    ) -> None:
        """faults: of faults.py, to put in; before: a command that runs the node as its arguments."""
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name) / "parameters.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}))
        program = [str(TESTS / "faults.py"), *faults, "--"] if faults else ["-m", "seg_perception.ros.node"]
        command = [*before, sys.executable, *program, "--ros-args", "--params-file", str(file)]
        for source, target in (remappings or {}).items():
            command += ["-r", f"{source}:={target}"]
        self._process = subprocess.Popen(
            command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._said = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self.lines.append(line.rstrip())
                self._said.notify_all()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    @property
    def output(self) -> str:
        """All it has printed."""
        return "\n".join(self.lines)

    def wait_for_line(self, part: str) -> None:
        """Wait until it prints a line with this part."""
        with self._said:
            said = lambda: any(part in line for line in self.lines)  # noqa: E731
            found = comes(lambda left_s: self._said.wait_for(said, left_s))
        assert found, f"no line with {part!r} in:\n{self.output}"

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        assert ends(self._process), f"it does not end:\n{self.output}"
        self._reader.join(WAIT_S)
        return self._process.returncode

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the end; returns the exit code."""
        self.signal(number)
        return self.wait()

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, *numbers: int) -> tuple[int, float]:
        """Send signals and wait for the end; returns the exit code and the seconds that it took, without those in which
        its threads were ready and all cores were busy with something else."""
        since_s, before = time.monotonic(), self._starved_s()
        for number in numbers:
            self.signal(number)
        starved = dict(before)
        patience = Patience()
        while self._process.poll() is None and patience.left_s:
            starved.update(self._starved_s())
            time.sleep(0.01)
        took_s = time.monotonic() - since_s
        return self.wait(), took_s - sum(starved.values()) + sum(before.values())

    def _starved_s(self) -> dict[str, float]:
        """By thread, how long it has waited for a core so far; empty where the system does not say."""
        found = {}
        for task in Path(f"/proc/{self.pid}/task").glob("*"):
            with suppress(OSError):  # it has ended meanwhile
                found[task.name] = int((task / "schedstat").read_text().split()[1]) / 1e9
        return found

    def close(self) -> None:
        """End it whatever state it is in; in order, where what it ran is being measured."""
        if self._process.poll() is None and "COVERAGE_PROCESS_CONFIG" in os.environ:
            with suppress(subprocess.TimeoutExpired):
                self._process.send_signal(signal.SIGINT)
                self._process.wait(WAIT_S)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()


class Peer:
    """A ROS node inside the test: subscribes, publishes as a camera, calls services; spins in a thread of its own."""

    def __init__(self, name: str = "peer") -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self.node = Node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._changed = threading.Condition()
        self._received: dict[str, list[Any]] = {}
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def close(self) -> None:
        """Leave the network."""
        self._executor.shutdown()
        self._thread.join(WAIT_S)
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def listen(self, kind: Any, topic: str, qos: QoSProfile = RELIABLE) -> list[Any]:
        """Collect every message of a topic; the list grows."""
        received = self._received.setdefault(topic, [])

        def keep(message: Any) -> None:
            with self._changed:
                received.append(message)
                self._changed.notify_all()

        self.node.create_subscription(kind, topic, keep, qos)
        return received

    def until(self, condition: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> Any:
        """Wait until condition, which is asked after every message and now and then, gives something true."""
        patience = Patience(timeout_s)
        with self._changed:
            while True:
                value = condition()
                if value:
                    return value
                left_s = patience.left_s
                assert left_s, f"waited {timeout_s} s and more in vain for {what}"
                self._changed.wait(min(left_s, 0.05))

    def until_heard(self, publisher: Any, count: int = 1) -> None:
        """Wait until a publisher has subscribers."""
        self.until(lambda: publisher.get_subscription_count() >= count, f"a subscriber of {publisher.topic_name}")

    def until_served(self, topics: Sequence[str]) -> None:
        """Wait until every topic has a publisher."""
        for topic in topics:
            self.until(lambda topic=topic: self.node.count_publishers(topic), f"a publisher of {topic}")  # type: ignore[misc]

    def diagnostics(self) -> list[DiagnosticArray]:
        """Collect diagnostics."""
        return self.listen(DiagnosticArray, "/diagnostics", RELIABLE)

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service; returns its answer."""
        client = self.node.create_client(kind, service)
        try:
            assert client.wait_for_service(WAIT_S), f"no service {service}"
            future = client.call_async(request)
            self.until(future.done, f"an answer of {service}")
            return future.result()
        finally:
            self.node.destroy_client(client)


class FakeCamera:
    """Publishes images, and calibration that fits them, as a camera driver does."""

    def __init__(self, peer: Peer, topic: str = "image", size_wh: tuple[int, int] = (192, 128)) -> None:
        self._peer, self.size_wh = peer, size_wh
        base = topic.rpartition("image")[0]
        self.frame_id = f"{base.strip('/') or 'camera'}_optical"
        self.images = peer.node.create_publisher(Image, topic, EVERY_MESSAGE)
        self.infos = peer.node.create_publisher(CameraInfo, f"{base}camera_info", EVERY_MESSAGE)
        self._filler = ImageFiller("rgb8")

    def picture(self, seed: int = 0) -> NDArray[np.uint8]:
        """Patches of plain colours that differ with seed, so that a model that goes by colour sees several classes."""
        width, height = self.size_wh
        patches = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 6 // width
        return np.ascontiguousarray(patches[rows[:, None], columns])

    def message(self, seed: int = 0) -> Image:
        """An rgb8 message of now."""
        message = self._filler.fill(self.picture(seed), Image().header)
        message.header.stamp = self._peer.node.get_clock().now().to_msg()
        message.header.frame_id = self.frame_id
        return message

    def send(self, message: Image | None = None) -> Image:
        """Publish a message, or a new one of now; returns it."""
        message = message or self.message()
        self.images.publish(message)
        return message

    def send_info(self, focal_px: float = 150.0, **changes: Any) -> None:
        """Publish an ideal camera's calibration, with some fields changed."""
        width, height = self.size_wh
        k = [focal_px, 0.0, width / 2, 0.0, focal_px, height / 2, 0.0, 0.0, 1.0]
        info = CameraInfo(width=width, height=height, distortion_model="plumb_bob", d=[0.0] * 5, k=k)
        info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
        info.p = [*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0]
        info.header.frame_id = self.frame_id
        for name, value in changes.items():
            setattr(info, name, value)
        self.infos.publish(info)


def values_of(arrays: Sequence[DiagnosticArray], part: str) -> dict[str, str]:
    """Newest values of the status whose name contains part, with its `message` and `level`; empty when none came."""
    for message in reversed(arrays):
        for status in message.status:
            if part in status.name:
                level = status.level if isinstance(status.level, int) else status.level[0]
                return {**{v.key: v.value for v in status.values}, "message": status.message, "level": str(level)}
    return {}


def connect(peer: Peer, camera: FakeCamera, masks: list[Any]) -> None:
    """Send frames until one has gone all the way, then forget what came: from here on nothing is missed.

    That each side has found the other is known to neither, so one frame alone could be sent too early.
    """
    peer.until_heard(camera.images)
    peer.until_heard(camera.infos)
    peer.until(lambda: camera.send() and masks, "a first mask")
    last = camera.send()
    peer.until(lambda: newest(masks, last), "the last of the first masks")
    masks.clear()


def set_parameters(peer: Peer, **values: Any) -> Any:
    """Set parameters, `__` for the dot in their names, all or none; returns the answer."""
    request = SetParametersAtomically.Request()
    for name, value in values.items():
        message: ParameterMessage = Parameter(name.replace("__", "."), value=value).to_parameter_msg()
        request.parameters.append(message)
    return peer.call(SetParametersAtomically, "/segmentation/set_parameters_atomically", request).result


def newest(messages: list[Any], sent: Image) -> Any:
    """The message that belongs to a sent image."""
    return next((message for message in messages if message.header.stamp == sent.header.stamp), None)


def stamp_ns(message: Any) -> int:
    """The stamp of a message's header."""
    return int(message.header.stamp.sec * 10**9 + message.header.stamp.nanosec)


def change_state(peer: Peer, transition: int = 0, label: str = "") -> bool:
    """Ask for a transition of the life cycle, by number or label."""
    request = ChangeState.Request(transition=Transition(id=transition, label=label))
    return bool(peer.call(ChangeState, "/segmentation/change_state", request).success)


def state(peer: Peer) -> str:
    """The life cycle's state that the node answers."""
    return str(peer.call(GetState, "/segmentation/get_state", GetState.Request()).current_state.label)
