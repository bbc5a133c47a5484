"""What goes out: results as messages, by hand-made results and the message definitions."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header

from seg_perception.camera_model import CameraModel
from seg_perception.labels import CAMVID
from seg_perception.panoptic.relabel import Told
from seg_perception.results import (
    Drivable,
    DrivableArea,
    FreeSpace,
    Grid,
    GroundMotion,
    LookAhead,
    Outline,
    Panoptic,
    Segment,
    Track,
)
from seg_perception.ros import fill_messages as fill

HEADER = Header(frame_id="camera")
HEADER.stamp.sec, HEADER.stamp.nanosec = 12, 34

CAR = Segment(id=1, class_id=8, is_thing=True, score=0.75, area=4, box=(1, 2, 2, 3))
ROAD = Segment(id=2, class_id=3, is_thing=False, score=0.5, area=9, box=(0, 0, 4, 5))


def panoptic() -> Panoptic:
    semantic = np.full((5, 4), 3, np.uint8)
    return Panoptic(semantic, np.zeros((5, 4), np.uint16), np.full((5, 4), 128, np.uint8), (CAR, ROAD))


def over_the_wire(message: Any) -> Any:
    return deserialize_message(serialize_message(message), type(message))


def test_masks_are_little_endian_and_unpadded() -> None:
    wide = np.zeros((3, 9), np.uint16)
    wide[:, :5] = np.arange(15).reshape(3, 5) + 0x0102
    got = over_the_wire(fill.ImageFiller("mono16").fill(wide[:, :5], HEADER))
    assert (got.encoding, got.height, got.width, got.step, got.is_bigendian) == ("mono16", 3, 5, 10, 0)
    assert bytes(got.data[:4]) == b"\x02\x01\x03\x01"
    assert got.header == HEADER


def test_a_filler_reuses_its_message_and_follows_the_size() -> None:
    filler = fill.ImageFiller("mono8")
    first = filler.fill(np.full((2, 3), 7, np.uint8), HEADER)
    second = filler.fill(np.full((2, 3), 8, np.uint8), HEADER)
    assert first is second and list(second.data) == [8] * 6
    assert list(filler.fill(np.full((1, 2), 9, np.uint8), HEADER).data) == [9, 9]


def test_a_filler_refuses_another_type_of_pixels() -> None:
    with pytest.raises(TypeError):
        fill.ImageFiller("mono8").fill(np.zeros((2, 3), np.uint16), HEADER)


def test_an_overlay_as_jpeg_keeps_its_colours() -> None:
    message = fill.jpeg(np.full((16, 16, 3), (200, 100, 20), np.uint8), 95, HEADER)
    bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(bgr[8, 8].astype(int) - (20, 100, 200)).max() < 6
    assert "jpeg" in message.format


def test_segments_say_all_of_each() -> None:
    got = over_the_wire(fill.segments(panoptic(), CAMVID, HEADER))
    car, road = got.segments
    assert (got.width, got.height, got.header) == (4, 5, HEADER)
    assert (car.id, car.class_id, car.class_name, car.is_thing, car.score, car.area) == (1, 8, "car", True, 0.75, 4)
    assert (car.x, car.y, car.width, car.height) == (1, 2, 2, 3)
    assert (road.class_name, road.is_thing) == ("road", False)


def test_a_thing_says_which_it_is_and_how_it_moves() -> None:
    ground = GroundMotion(
        (7.0, -2.0), (3.0, 4.0), ((1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 0.25, 0.1), (0, 0, 0.1, 0.16))
    )
    track = Track(77, 9, "returned", 2.5, 60, 0.0, (1.0, 2.0, 2.0, 3.0), (12.0, -6.0), (2.0, 3.0), ground)
    things = replace(panoptic(), segments=(replace(CAR, track=track), ROAD))
    got = over_the_wire(fill.segments(things, CAMVID, HEADER, "odom"))
    car, road = got.segments
    assert got.motion_frame == "odom"
    assert (car.id, car.track_id, car.track_class_id, car.state, car.age, car.seen) == (1, 77, 9, "returned", 2.5, 60)
    assert (car.image_velocity_x, car.image_velocity_y) == (12.0, -6.0)
    assert (car.image_velocity_std_x, car.image_velocity_std_y) == (2.0, 3.0)
    assert (car.foot_x, car.foot_y, car.velocity_x, car.velocity_y) == (7.0, -2.0, 3.0, 4.0)
    assert (car.velocity_std_x, car.velocity_std_y) == pytest.approx((0.5, 0.4))
    assert car.velocity_correlation == pytest.approx(0.1 / (0.5 * 0.4))
    assert (road.track_id, road.seen, road.state) == (0, 0, "")
    assert all(math.isnan(value) for value in (road.image_velocity_x, road.foot_x, road.velocity_y))


def test_a_thing_without_geometry_has_no_speed_on_the_ground() -> None:
    track = Track(3, 8, "new", 0.0, 1, 0.0, (1.0, 2.0, 2.0, 3.0), (0.0, 0.0), (9.0, 9.0))
    (car, _) = fill.segments(replace(panoptic(), segments=(replace(CAR, track=track), ROAD)), CAMVID, HEADER).segments
    assert car.track_id == 3 and car.image_velocity_std_x == 9.0
    assert all(math.isnan(v) for v in (car.foot_x, car.velocity_x, car.velocity_std_y, car.velocity_correlation))


def test_drivable_areas_keep_holes_and_unknown_measures() -> None:
    square = Outline(np.array([[0, 0], [3, 0], [3, 3]], np.float32))
    hole = Outline(np.array([[1, 1], [2, 1], [2, 2]], np.float32), hole=True)
    edge = LookAhead(10.0, 3.5, math.inf)
    area = DrivableArea(4, 0.25, 0.5, (square, hole), (square,), 7.5, math.nan, 6.5, (edge,), 3.25)
    got = over_the_wire(fill.drivable_areas(Drivable((area,)), CAMVID, HEADER, "base"))
    assert got.ground_frame == "base"
    sent = got.areas[0]
    assert (sent.class_id, sent.class_name, sent.cost, sent.coverage, sent.area_m2) == (4, "pavement", 60, 0.25, 7.5)
    assert math.isnan(sent.free_distance_m) and sent.free_distance_width_m == 6.5
    assert sent.view_begins_m == 3.25
    assert [(e.ahead_m, e.left_m, e.right_m) for e in sent.edges] == [(10.0, 3.5, math.inf)]
    assert [(o.hole, [(p.x, p.y, p.z) for p in o.points]) for o in sent.outlines_px] == [
        (False, [(0, 0, 0), (3, 0, 0), (3, 3, 0)]),
        (True, [(1, 1, 0), (2, 1, 0), (2, 2, 0)]),
    ]
    assert len(sent.outlines_ground) == 1


def test_points_are_reused_from_frame_to_frame_and_never_twice_in_one() -> None:
    def areas(*outlines: list[list[float]]) -> Drivable:
        parts = tuple(Outline(np.array(points, np.float32)) for points in outlines)
        return Drivable((DrivableArea(3, 0.1, 0.5, parts[:1]), DrivableArea(4, 0.1, 0.5, parts[1:])))

    points = fill.Points()
    made: set[int] = set()
    for outlines in (
        ([[0, 0], [3, 0], [3, 3]], [[5, 5], [6, 5], [6, 6], [5, 6]]),
        ([[9, 9], [8, 9], [8, 8], [9, 8]], [[1, 1], [2, 1], [2, 2]]),
        ([[4, 4], [5, 4], [4, 5]], [[7, 7], [8, 7], [7, 8]]),
    ):
        message = fill.drivable_areas(areas(*outlines), CAMVID, HEADER, "", points)
        used = [point for area in message.areas for outline in area.outlines_px for point in outline.points]
        made = made or {id(point) for point in used}
        assert {id(point) for point in used} <= made and len({id(point) for point in used}) == len(used)
        assert [[p.x, p.y] for p in used] == [list(map(float, point)) for outline in outlines for point in outline]
        assert len(message.areas[0].outlines_px[0].points) == len(outlines[0])


def test_grid_rows_are_y_and_its_origin_the_corner() -> None:
    cells = np.array([[0, 60, -1], [100, -1, 0]], np.int8)
    got = over_the_wire(fill.occupancy_grid(Grid(cells, 0.25, (-1.0, 2.0)), HEADER))
    assert list(got.data) == [0, 60, -1, 100, -1, 0]
    assert (got.info.width, got.info.height, got.info.resolution) == (3, 2, 0.25)
    assert (got.info.origin.position.x, got.info.origin.position.y) == (-1.0, 2.0)
    assert got.info.origin.orientation.w == 1.0


def test_scan_bearings_and_what_is_beyond_range_or_unknown() -> None:
    ranges = np.array([1.5, math.inf, math.nan], np.float32)
    seen = np.array([1.5, 30.0, 8.0], np.float32)
    got = over_the_wire(fill.laser_scan(FreeSpace(ranges, seen, -0.5, 0.5, 0.25, 30.0), HEADER))
    assert (got.angle_min, got.angle_max, got.angle_increment) == (-0.5, 0.5, 0.5)
    assert (got.range_min, got.range_max) == (0.25, 30.0)
    assert got.ranges[0] == 1.5 and math.isinf(got.ranges[1]) and math.isnan(got.ranges[2])
    assert list(got.intensities) == [1.5, 30.0, 8.0]


def vision_types() -> Any:
    """vision_msgs where it is installed, else stand-ins with its fields, as its definitions have them."""
    types, _ = fill.vision_msgs()
    if types is not None:
        return types

    def record(**fields: Any) -> SimpleNamespace:
        return SimpleNamespace(**fields)

    def box() -> SimpleNamespace:
        return record(center=record(position=record(x=0.0, y=0.0), theta=0.0), size_x=0.0, size_y=0.0)

    return SimpleNamespace(
        VisionClass=record,
        LabelInfo=record,
        ObjectHypothesisWithPose=lambda: record(hypothesis=record(class_id="", score=0.0)),
        Detection2D=lambda **fields: record(bbox=box(), **fields),
        Detection2DArray=record,
    )


def test_label_info_names_every_class() -> None:
    got = fill.label_info(vision_types(), Told(CAMVID), HEADER, 0.25)
    assert [(c.class_id, c.class_name) for c in got.class_map] == list(enumerate(CAMVID.names))
    assert got.threshold == 0.25


def test_detections_are_the_things_with_their_ids() -> None:
    got = fill.detections(vision_types(), panoptic(), CAMVID, HEADER)
    (detection,) = got.detections
    assert (detection.id, detection.header) == ("1", HEADER)
    assert (detection.results[0].hypothesis.class_id, detection.results[0].hypothesis.score) == ("8", 0.75)
    assert (detection.bbox.center.position.x, detection.bbox.center.position.y) == (1.5, 3.0)
    assert (detection.bbox.size_x, detection.bbox.size_y) == (2.0, 3.0)
    track = Track(77, 8, "new", 0.0, 1, 0.0, (1.0, 2.0, 2.0, 3.0), (0.0, 0.0), (9.0, 9.0))
    followed = replace(panoptic(), segments=(replace(CAR, track=track), ROAD))
    assert [d.id for d in fill.detections(vision_types(), followed, CAMVID, HEADER).detections] == ["77"]
    # of a frame that comes late: what is no track must not have the number of one
    late = replace(panoptic(), segments=(replace(CAR, track=track._replace(id=2)), replace(CAR, id=2), ROAD))
    found = fill.detections(vision_types(), late, CAMVID, HEADER, follows=True)
    assert [d.id for d in found.detections] == ["2", ""]


@pytest.mark.parametrize("coefficients", [(), (-0.02, 0.004, -0.003, 0.0005)])
@pytest.mark.parametrize("name", ["equidistant", "fisheye", "Kannala-Brandt"])
def test_a_fisheyes_calibration_is_one_that_image_geometry_takes(name: str, coefficients: tuple[float, ...]) -> None:
    """It knows fisheyes by one name, and OpenCV asserts four coefficients: an ideal lens had five zeros."""
    camera = CameraModel(64, 48, ((30, 0, 31.5), (0, 30, 23.5), (0, 0, 1)), name, coefficients)
    got = over_the_wire(fill.camera_info(camera, (48, 64), HEADER))
    assert (got.distortion_model, list(got.d)) == ("equidistant", list(coefficients or (0.0,) * 4))
    cv2.fisheye.undistortPoints(np.zeros((1, 1, 2)), np.array(got.k).reshape(3, 3), np.array(got.d))


def test_the_masks_calibration_puts_their_pixels_on_the_rays_of_the_image() -> None:
    """Half as wide and a third as high: the middle of a mask's pixel is that of the block of image pixels under it."""
    camera = CameraModel(640, 480, ((500, 0, 319.5), (0, 510, 230), (0, 0, 1)), distortion=(-0.2, 0.05, 0.001, 0.0))
    got = over_the_wire(fill.camera_info(camera, (160, 320), HEADER))
    assert (got.width, got.height, got.distortion_model) == (320, 160, "plumb_bob")
    assert list(got.d)[:4] == [-0.2, 0.05, 0.001, 0.0] and list(got.r) == np.eye(3).ravel().tolist()
    k = np.array(got.k).reshape(3, 3)
    for u, v in ((0, 0), (10, 100), (319, 159)):
        block = (2 * u + 0.5, 3 * v + 1.0)
        ray = (block[0] - 319.5) / 500, (block[1] - 230) / 510
        assert ((u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1]) == pytest.approx(ray)
    assert np.array_equal(np.array(got.p).reshape(3, 4), np.column_stack((k, np.zeros(3))))
    assert got.header == HEADER
