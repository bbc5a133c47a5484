"""Several cameras at the real node over real DDS: batches, and what becomes of them when the backend fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import GO_ON, HANG, HOLD, HOLDS, NAN, THROW
from ros_harness import FakeCamera, NodeProcess, Peer, connect, make_tiny_model, newest, values_of
from sensor_msgs.msg import Image

from seg_perception import backends, model_file
from seg_perception.camera.messages import to_rgb
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame

StartNode = Callable[..., NodeProcess]

SIZES = {"gate": (192, 128), "front": (192, 128), "left": (192, 128), "rear": (120, 90)}
"""The first one's frames hold the network, so that those of the others wait for it together."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes any number of images."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx", batch=None)


class Rig:
    """A node with several cameras and a network that can be held."""

    def __init__(self, start: StartNode, peer: Peer, **parameters: Any) -> None:
        self.peer, names = peer, list(SIZES)
        self.process = start(
            ["network", "batches"], camera_names=names, batch="always", batch_wait_ms=0.0, **parameters
        )
        self.cameras = {name: FakeCamera(peer, f"{name}/image", SIZES[name]) for name in names}
        self.masks = {name: peer.listen(Image, f"/segmentation/{name}/label_mask") for name in names}
        self.diagnostics = peer.diagnostics()
        self.seed = 0
        self.until_all_answer()

    def values(self, part: str) -> dict[str, str]:
        return values_of(self.diagnostics, part)

    def until_values(self, part: str, **wanted: str) -> None:
        self.peer.until(
            lambda: wanted.items() <= self.values(part).items(), f"{wanted} of {part}\n{self.process.output}"
        )

    def send(self, name: str, frame_id: str = "") -> Image:
        self.seed += 1
        message = self.cameras[name].message(self.seed)
        message.header.frame_id = frame_id or message.header.frame_id
        return self.cameras[name].send(message)

    def batch(self, **frame_ids: str) -> dict[str, Image]:
        """Frames of these cameras, with these frame_ids, that have waited for the network together, behind the first one's."""
        lines = self.process.lines
        begin = len(lines)
        self.send("gate", HOLD)
        self.peer.until(lambda: HOLDS in lines[begin:], "the network to be held")
        sent = {name: self.send(name, frame_id) for name, frame_id in frame_ids.items()}
        waiting = {f"camera {list(SIZES).index(name)} waits" for name in frame_ids}
        self.peer.until(lambda: waiting <= set(lines[begin:]), f"the frames to wait\n{self.process.output}")
        self.send("gate", GO_ON)
        self.peer.until(lambda: f"a run of {len(sent) + 1}" in lines[begin:], f"the batch\n{self.process.output}")
        return sent

    def mask(self, name: str, sent: Image) -> Image:
        message: Image = self.peer.until(lambda: newest(self.masks[name], sent), f"the mask of {name}")
        return message

    def until_all_answer(self) -> None:
        for name, camera in self.cameras.items():
            connect(self.peer, camera, self.masks[name])


def test_cameras_in_one_batch_keep_their_own_masks_and_share_one_recovery(
    start: StartNode, peer: Peer, model: Path
) -> None:
    """Three cameras of two sizes. Then a frame at which the answer is no number costs that frame alone, one at which the
    network throws or hangs all of its batch; each of them is one restart of the backend."""
    rig = Rig(start, peer, backend_timeout=3.0, backend_restarts=10)
    info = model_file.load(model)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    sent = rig.batch(front="", left="", rear="")
    for name, image in sent.items():
        mask = rig.mask(name, image)
        expected = pipeline.run(Frame(to_rgb(image))).panoptic.semantic
        assert (mask.header, mask.width, mask.height) == (image.header, *SIZES[name])
        assert np.array_equal(np.frombuffer(mask.data, np.uint8).reshape(expected.shape), expected), name

    sent = rig.batch(front="", left=f"{NAN}semantic_logits", rear="")
    for name in ("front", "rear"):
        rig.mask(name, sent[name])
    rig.until_values("camera left", bad_not_finite="1")
    rig.until_values("backend", backend_restarts="1")
    rig.until_all_answer()

    rig.batch(front="", left=THROW)
    for name in ("front", "left"):
        rig.until_values(f"camera {name}", bad_backend_failed="1")
    rig.until_values("backend", backend_restarts="2")
    rig.until_all_answer()

    rig.batch(front=HANG, left="", rear="")
    for name in ("front", "left", "rear"):
        rig.until_values(f"camera {name}", bad_backend_hangs="1")
    rig.until_values("backend", backend_restarts="3")
    rig.until_all_answer()
    for name in ("gate", "front", "rear"):
        assert "bad_not_finite" not in rig.values(f"camera {name}")
    assert "hang" not in rig.values("camera gate")["message"]
    assert rig.process.stop() == 0, rig.process.output
