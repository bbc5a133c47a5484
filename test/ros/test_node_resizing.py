"""A camera that changes its shape: the real node sees it at another size of the network, or says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fakes import with_answer, with_open_size
from lifecycle_msgs.msg import Transition
from ros_harness import FakeCamera, NodeProcess, Peer, change_state, make_tiny_model, stamp_ns, values_of
from sensor_msgs.msg import Image

from seg_perception.network_size import SizeLimits

StartNode = Callable[..., NodeProcess]
USUAL, WIDE, TALL, WIDEST = (192, 128), (384, 96), (96, 384), (576, 64)


@pytest.fixture(scope="module")
def open_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model file of 96x64 px that takes other shapes, and holds its answer to the known image."""
    path = make_tiny_model(tmp_path_factory.mktemp("open") / "tiny.onnx", contrast=0.1)
    return str(with_answer(with_open_size(path, SizeLimits((32, 32), (256, 256)))))


class Played:
    """A node that gets images all the time, of the size in force, and its masks."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.diagnostics = peer, peer.diagnostics()
        self.masks = peer.listen(Image, "/segmentation/label_mask")
        self.camera = FakeCamera(peer)
        self.sent: dict[int, tuple[int, int]] = {}
        self._timer = peer.node.create_timer(0.02, self._send)

    def _send(self) -> None:
        message = self.camera.send()
        self.sent[stamp_ns(message)] = (message.width, message.height)

    def until(self, part: str, condition: Callable[[dict[str, str]], Any], process: NodeProcess) -> dict[str, str]:
        """Wait for values of diagnostics, then for a mask of an image that was sent later."""
        self.peer.until(lambda: condition(values_of(self.diagnostics, part)), f"diagnostics\n{process.output}")
        values, last = values_of(self.diagnostics, part), max(self.sent)
        self.peer.until(lambda: self.masks and stamp_ns(self.masks[-1]) > last, f"a mask\n{process.output}")
        return values

    def judge(self) -> None:
        """Every mask is one image's alone and has its size, and no image was lost to the network. Ends the camera."""
        self._timer.cancel()
        stamps = [stamp_ns(mask) for mask in self.masks]
        assert len(set(stamps)) == len(stamps) > 0
        assert all((mask.width, mask.height) == self.sent[stamp_ns(mask)] for mask in self.masks)
        assert values_of(self.diagnostics, "camera")["bad_frames"] == "0"


def test_an_engine_of_the_cameras_new_shape_takes_over_between_two_frames_and_one_that_fails_does_not(
    start: StartNode, peer: Peer, open_model: str
) -> None:
    process = start(["fake_gpu", "quick_sizes"], model=open_model, backend="tensorrt", self_test="require")
    played = Played(peer)
    values = played.until("backend", lambda values: values.get("device") == "a GPU" and played.masks, process)
    assert (values["network_size"], values["level"]) == ("96x64: by the model file", "0")

    played.camera.size_wh = WIDE
    by_shape = "160x32: by the shape of the images"
    played.until("backend", lambda values: values["network_size"] == by_shape and values["level"] == "0", process)
    process.wait_for_line("images of 384x96 are squeezed to the engine's 96x64, which costs accuracy, until an engine")
    process.wait_for_line("the network runs at 160x32 now; network_size [160, 32] starts with it")
    seen = played.until("camera", lambda values: values.get("network_size") == "160x32", process)
    assert seen["network_stretch"] == "1.25"

    played.camera.size_wh = TALL
    why = (
        "there is no engine for 32x160 (CUDA's cudaMalloc failed (out of memory)); mend that and activate again, or set"
    )
    values = played.until("backend", lambda values: why in values["message"], process)
    assert (values["level"], values["network_size"], values["backend_restarts"]) == ("1", by_shape, "0")

    played.camera.size_wh = WIDEST
    why = "there is no engine for 192x32 (no room for masks)"
    values = played.until("backend", lambda values: why in values["message"], process)
    assert values["network_size"] == by_shape

    played.camera.size_wh = WIDE
    assert change_state(peer, Transition.TRANSITION_DEACTIVATE), process.output
    assert change_state(peer, Transition.TRANSITION_ACTIVATE), "the self-test knows the answer at its size, too"
    played.until("backend", lambda values: values["network_size"] == by_shape, process)
    played.judge()
    assert process.stop() == 0, process.output


def test_on_the_cpu_each_image_is_seen_in_its_own_shape(start: StartNode, peer: Peer, open_model: str) -> None:
    process = start(model=open_model)
    played = Played(peer)
    for size_wh, size in ((USUAL, "96x64"), (WIDE, "160x32"), (TALL, "32x160")):
        played.camera.size_wh = size_wh
        played.until("camera", lambda values, size=size: values.get("network_size") == size, process)  # type: ignore[misc]
    values = values_of(played.diagnostics, "backend")
    assert (values["network_size"], values["level"]) == ("by the shape of each camera's images", "0")
    played.judge()
