"""`fusion.cameras`: one grid of two cameras, with the real node over real DDS and fake_tf2/ in the place of tf2_ros."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes import TWO_LABELS, tiny_model
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import OccupancyGrid
from numpy.typing import NDArray
from places import TESTS
from ros_harness import EVERY_MESSAGE, LATCHED, FakeCamera, NodeProcess, Peer, connect, newest, values_of
from sensor_msgs.msg import Image

from seg_perception import backends, model_file
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame

NAMES = ("front", "left")
POSE = [0.0, 0.0, 1.2, 0.0, 0.2, 0.0]
ROAD, CAR = 0, 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that finds road and cars by colour."""
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny.onnx", labels=TWO_LABELS, seed=3).path


def colours(path: Path) -> dict[int, NDArray[np.uint8]]:
    """For each class a colour that the model takes for it."""
    info = model_file.load(path)
    pipeline = Pipeline(info, backends.choose(info, backend="onnxruntime", log=print))
    found: dict[int, NDArray[np.uint8]] = {}
    for colour in np.random.default_rng(0).integers(0, 256, (100, 3), dtype=np.uint8):
        semantic = pipeline.run(Frame(np.broadcast_to(colour, (64, 96, 3)).copy())).panoptic.semantic
        if (semantic == semantic[0, 0]).all():
            found.setdefault(int(semantic[0, 0]), colour)
    return found


class Shows(FakeCamera):
    """A camera that shows a given picture."""

    shown: NDArray[np.uint8]

    def picture(self, seed: int = 0) -> NDArray[np.uint8]:
        return self.shown


def cells(message: OccupancyGrid) -> NDArray[np.int8]:
    return np.array(message.data, np.int8).reshape(message.info.height, message.info.width)


def test_two_cameras_make_one_grid_that_is_never_old(
    start: Callable[..., NodeProcess], peer: Peer, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look the same way. front sees road all over; left sees a car ahead on the left, and then nothing more."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS / "fake_tf2"), os.environ.get("PYTHONPATH", "")]))
    found = colours(model)
    process = start(
        camera_names=list(NAMES),
        use_tf=True,
        fusion__enabled=True,
        fusion__cameras=True,
        fusion__half_life_s=1.0,
        drivable__resolution_m=0.5,
        tracking__use_odometry=False,
        camera_timeout=4.0,
        **{f"{name}__camera_pose": list(POSE) for name in NAMES},
    )
    cameras = {name: Shows(peer, f"{name}/image") for name in NAMES}
    for camera in cameras.values():
        camera.shown = np.broadcast_to(found[ROAD], (128, 192, 3)).copy()
    masks = {name: peer.listen(Image, f"/segmentation/{name}/label_mask") for name in NAMES}
    own = {name: peer.listen(OccupancyGrid, f"/segmentation/{name}/drivable_grid", LATCHED) for name in NAMES}
    grids = peer.listen(OccupancyGrid, "/segmentation/drivable_grid", LATCHED)
    diagnostics = peer.diagnostics()
    tf = peer.node.create_publisher(TransformStamped, "/fake_tf", EVERY_MESSAGE)

    def told() -> dict[str, str]:
        return values_of(diagnostics, ": drivable_grid")

    def until_told(words: str, level: str) -> None:
        peer.until(lambda: words in told().get("message", "") and told()["level"] == level, f"{words}\n{told()}")

    for name, camera in cameras.items():
        connect(peer, camera, masks[name])
        camera.send_info()
    assert not grids, "nothing is known of where the vehicle is"
    peer.until_heard(tf)
    here = TransformStamped(child_frame_id="base_footprint")
    here.header.frame_id, here.transform.rotation.w = "odom", 1.0
    tf.publish(here)

    left, front = cameras["left"], cameras["front"]
    left.shown[:80, :96] = found[CAR]
    peer.until(lambda: left.send() and own["left"], "a grid of left's")
    until_told("the grid of all cameras lacks front (", "1")
    for _ in range(3):
        sent = front.send()
        grid = peer.until(lambda sent=sent: newest(grids, sent), f"the grid\n{process.output}")  # type: ignore[misc]
        assert grid.header.frame_id == "odom"
        lefts = cells(own["left"][-1])
        fronts = cells(peer.until(lambda sent=sent: newest(own["front"], sent), "its own"))  # type: ignore[misc]
        assert ((lefts == 100) & (fronts == 0)).any() and (fronts != 100).all()
        assert np.array_equal(cells(grid), np.where(lefts == 100, 100, np.where(fronts >= 0, fronts, lefts)))
    until_told("of all cameras", "0")

    late = Peer("late")
    try:
        latched = late.listen(OccupancyGrid, "/segmentation/drivable_grid", LATCHED)
        late.until(lambda: latched, "the grid for a late subscriber")
        assert latched[0].header.stamp == sent.header.stamp
    finally:
        late.close()

    peer.until(lambda: front.send() and "lacks left (its newest frame is" in told().get("message", ""), "left to fade")
    sent = front.send()
    grid = peer.until(lambda: newest(grids, sent), "the grid without left")
    fronts = cells(peer.until(lambda: newest(own["front"], sent), "its own"))
    assert ((lefts == 100) & (fronts == 0)).any() and (cells(grid)[fronts == 0] == 0).all()
    peer.until(lambda: (cells(grids[-1]) == -1).all(), "a grid that knows nothing once front has stalled, too")
    until_told("front (camera stalled: no image on ", "1")
    assert process.stop() == 0, process.output
