"""Things that keep their number, with the real node over real DDS, on a model that takes what is blue for cars."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from ros_harness import FakeCamera, NodeProcess, Peer, connect, make_road_and_cars_model, newest, values_of
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from seg_perception.labels import CAMVID
from seg_perception.play.answers import answer
from seg_perception.ros.fill_messages import ImageFiller
from seg_perception.segment_fields import segment_fields
from seg_perception_msgs.msg import Segment, Segments

ROAD, CAR = CAMVID.by_name("road").id, CAMVID.by_name("car").id
PERIOD_NS = 33_333_333


@pytest.fixture(scope="module")
def blue_cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model: red is road, blue is car, and every patch of blue has a centre."""
    return make_road_and_cars_model(tmp_path_factory.mktemp("model") / "blue_cars.onnx")


class Street:
    """A camera that sees cars drive, and what is told of them."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.camera = peer, FakeCamera(peer)
        self.masks, self.segments = (peer.listen(kind, f"/segmentation/{name}") for kind, name in TOPICS)
        self.diagnostics = peer.diagnostics()
        self._filler = ImageFiller("rgb8")

    def connect(self) -> None:
        """Until a frame went all the way, to each of the topics."""
        connect(self.peer, self.camera, self.masks)
        self.peer.until(lambda: self.camera.send() and self.segments, "first segments")

    def show(self, stamp_ns: int, *lefts: int, size_wh: tuple[int, int] = (192, 128)) -> tuple[list[Segment], Image]:
        """Cars with these left edges at that time; the things and the instance mask of the frame."""
        width, height = size_wh
        rgb = np.zeros((height, width, 3), np.uint8)
        rgb[..., 0] = 200
        for left in lefts:
            rgb[height // 2 : height // 2 + 32, left : left + 32] = (0, 0, 255)
        message = self._filler.fill(rgb, Image().header)
        message.header.stamp = Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        message.header.frame_id = self.camera.frame_id
        sent = self.camera.send(message)
        self.peer.until(lambda: newest(self.segments, sent) and newest(self.masks, sent), "the segments of a frame")
        things = [s for s in newest(self.segments, sent).segments if s.is_thing]
        return sorted(things, key=lambda thing: thing.x), newest(self.masks, sent)


TOPICS = ((Image, "instance_mask"), (Segments, "segments"))


def test_cars_keep_their_numbers_until_the_clock_jumps_back(
    start: Callable[..., NodeProcess], peer: Peer, blue_cars: Path
) -> None:
    pose = [0.0, 0.0, 1.2, 0.0, 0.2, 0.0]
    start(model=str(blue_cars), instance_ids="track", stamp_max_age=0.0, tracking__birth_frames=2, camera_pose=pose)
    street = Street(peer)
    markers = peer.listen(MarkerArray, "/segmentation/tracks")
    street.connect()
    street.camera.send_info()
    peer.until(lambda: street.camera.send() and markers, "markers")
    now_ns = peer.node.get_clock().now().nanoseconds + 100 * 10**9  # so that all is forgotten that came before
    numbers, states, speeds = [], [], []
    for i in range(12):
        things, mask = street.show(now_ns + i * PERIOD_NS, 4 + 4 * i, 140)
        assert len(things) == 2
        numbers.append(tuple(thing.track_id for thing in things))
        states.append({thing.state for thing in things})
        speeds.append(things[0].image_velocity_x)
        assert all(thing.id == thing.track_id for thing in things)
        pixels = np.frombuffer(mask.data, np.uint16).reshape(mask.height, mask.width)
        assert [pixels[t.y + t.height // 2, t.x + t.width // 2] for t in things] == [t.id for t in things]
    assert len(set(numbers)) == 1 and len(set(numbers[0])) == 2
    assert states[0] == {"new"} and states[1:] == [{"confirmed"}] * 11
    assert speeds[-1] == pytest.approx(4 * 30, rel=0.25)
    assert things[0].seen == 12 and things[0].age == pytest.approx(11 / 30, abs=0.01)
    told = peer.until(
        lambda: [m.markers for m in markers if _shows(m, numbers[-1], now_ns + 11 * PERIOD_NS)], "markers"
    )
    assert {m.ns for m in told[0]} == {"trail", "velocity", "number"}
    assert {m.header.frame_id for m in told[0] if m.action == m.ADD} == {"base_footprint"}
    _reads_as_it_was_told(things[0])

    things, _ = street.show(now_ns - 20 * 10**9, 48, 140)
    assert [thing.track_id for thing in things] == [1, 2] and [thing.seen for thing in things] == [1, 1]
    values = peer.until(
        lambda: (v := values_of(street.diagnostics, "camera")) and v.get("tracking_restarts_clock_back") and v,
        "diagnostics that say why tracks began anew",
    )
    assert (values["tracking"], values["tracks"]) == ("on", "2")
    assert "the stamps went back by 20." in values["tracking_restart"]

    things, _ = street.show(now_ns - 19 * 10**9 - 9 * 10**8, 24, 70, size_wh=(96, 128))
    assert [thing.seen for thing in things] == [1] * len(things) and things[0].track_id == 3
    peer.until(lambda: values_of(street.diagnostics, "camera").get("tracking_restarts_size"), "a word on the new size")


def _shows(array: MarkerArray, numbers: tuple[int, ...], stamp_ns: int) -> bool:
    shown = [marker for marker in array.markers if marker.action == marker.ADD]
    stamps = {marker.header.stamp.sec * 10**9 + marker.header.stamp.nanosec for marker in shown}
    return {marker.id for marker in shown} == set(numbers) and stamps == {stamp_ns}


def _reads_as_it_was_told(thing: Segment) -> None:
    """What `run` and `evaluate --mode live` read of it, for their pictures."""
    (read,) = answer(
        {"label_mask": Image(height=1, width=1, data=b"0"), "segments": Segments(segments=[thing])}
    ).segments
    assert read.track is not None and read.track.ground is not None
    assert (read.track.id, read.track.state, read.track.seen) == (thing.track_id, thing.state, thing.seen)
    assert read.track.velocity_px_s == (thing.image_velocity_x, thing.image_velocity_y)
    assert read.track.ground.foot_m == (thing.foot_x, thing.foot_y)
    assert segment_fields(read, CAMVID.names)["velocity_std_y"] == pytest.approx(thing.velocity_std_y, rel=1e-5)


def test_without_tracking_there_are_no_numbers(start: Callable[..., NodeProcess], peer: Peer, blue_cars: Path) -> None:
    start(model=str(blue_cars), tracking__enabled=False)
    street = Street(peer)
    street.connect()
    things, _ = street.show(peer.node.get_clock().now().nanoseconds, 20, 120)
    assert [(t.track_id, t.seen, t.state) for t in things] == [(0, 0, "")] * 2
    assert all(np.isnan(t.image_velocity_x) for t in things) and {t.id for t in things} == {1, 2}
    peer.until(lambda: values_of(street.diagnostics, "camera").get("tracking") == "off", "that nothing is followed")
