"""What Nav2's static layer and laser_geometry ask of our messages, field by field, after their documents and sources.

The checks are written anew from reading nav2_costmap_2d's static layer and the message validation that Nav2 does first
(navigation2, main of August 2026); names of parameters and their defaults are Nav2's.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, HistoryPolicy, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import LaserScan, PointCloud2, PointField
from std_msgs.msg import Header

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.fusion import GridFusion
from seg_perception.ground.odometry import PlanarPose
from seg_perception.labels import BUILT_IN, CAMVID
from seg_perception.results import Drivable, Panoptic, Wants
from seg_perception.ros import fill_messages as fill
from seg_perception.ros.outputs import qos_profile
from seg_perception.ros.topics import output

FREE, INSCRIBED, LETHAL, NO_INFORMATION = 0, 253, 254, 255
"""Costs of a Nav2 costmap."""
ROAD, CAR, PAVEMENT, SKY = (CAMVID.names.index(name) for name in ("road", "car", "pavement", "sky"))
HW = (120, 160)


@pytest.fixture(scope="module")
def drivable() -> Drivable:
    """A road with pavement to its left and a car on it, under the sky."""
    mask = np.full(HW, ROAD, np.uint8)
    mask[:, :50], mask[:60], mask[55:75, 90:110] = PAVEMENT, SKY, CAR
    extractor = DrivableExtractor(CAMVID, DrivableSettings())
    camera = CameraModel(160, 120, ((150.0, 0.0, 80.0), (0.0, 150.0, 60.0), (0.0, 0.0, 1.0)))
    extractor.set_camera(camera, CameraPose(0.0, 0.0, 1.2), HW)
    return extractor.extract(
        Panoptic(mask, np.zeros(HW, np.uint16), np.full(HW, 255, np.uint8), ()), Wants(points=True)
    )


def header(frame_id: str) -> Header:
    return Header(stamp=Time(sec=1_700_000_000, nanosec=999_999_999), frame_id=frame_id)


@pytest.fixture(scope="module", params=["one frame", "fused"])
def grid(request: pytest.FixtureRequest, drivable: Drivable) -> Any:
    """What a subscriber gets."""
    assert drivable.grid is not None
    message = fill.occupancy_grid(drivable.grid, header("base_footprint"))
    if request.param == "fused":
        fused = GridFusion(2.0).fuse(drivable.grid, PlanarPose(1234.56, -7.8, 0.7), 0)
        message = fill.occupancy_grid(fused, header("odom"))
    return deserialize_message(serialize_message(message), OccupancyGrid)


def test_nav2_takes_the_message_for_valid(grid: Any) -> None:
    assert grid.header.frame_id and 0 <= grid.header.stamp.nanosec < 10**9
    assert grid.info.map_load_time == grid.header.stamp
    assert math.isfinite(grid.info.resolution) and grid.info.resolution >= 1e-6
    assert 0 < grid.info.width <= 32767 and 0 < grid.info.height <= 32767
    assert len(grid.data) == grid.info.width * grid.info.height
    position, turn = grid.info.origin.position, grid.info.origin.orientation
    assert all(math.isfinite(value) for value in (position.x, position.y, position.z))
    norm = turn.x**2 + turn.y**2 + turn.z**2 + turn.w**2
    assert abs(norm - 1.0) < 1e-4


def test_what_the_static_layer_does_not_look_at_is_as_it_assumes(grid: Any) -> None:
    """It reads the origin's position alone, takes the grid to be flat on the ground, and every value to be a cost."""
    turn = grid.info.origin.orientation
    assert (turn.x, turn.y, turn.z, turn.w) == (0.0, 0.0, 0.0, 1.0)
    assert grid.info.origin.position.z == 0.0
    assert set(np.unique(np.array(grid.data))) == {-1, 0, 60, 100}


def test_the_origin_lies_on_whole_cells(grid: Any) -> None:
    """Else the layer warns of aliasing between rolling costmaps and others."""
    for value in (grid.info.origin.position.x, grid.info.origin.position.y):
        assert value / 0.1 == pytest.approx(round(value / 0.1), abs=1e-6)
    assert grid.info.resolution == pytest.approx(0.1)


def test_a_latched_reliable_subscriber_of_any_depth_is_served() -> None:
    """map_subscribe_transient_local: true is the layer's default; it also asks for reliable delivery."""
    offered = qos_profile(output("drivable_grid").qos)
    assert offered.durability == DurabilityPolicy.TRANSIENT_LOCAL
    assert offered.reliability == ReliabilityPolicy.RELIABLE
    assert offered.history == HistoryPolicy.KEEP_LAST and offered.depth >= 1


def static_layer_cost(value: int, *, track_unknown_space: bool, trinary_costmap: bool) -> int:
    """What the layer makes of a cell, with its default lethal_cost_threshold of 100, unknown_cost_value of 255 and, in
    newer versions, inscribed_obstacle_cost_value of 99."""
    unsigned = value % 256
    if unsigned == 255:
        return NO_INFORMATION if track_unknown_space else FREE
    if unsigned == 99:
        return INSCRIBED
    if unsigned >= 100:
        return LETHAL
    return FREE if trinary_costmap else int(unsigned / 100 * LETHAL)


@pytest.mark.parametrize(
    ("track_unknown_space", "trinary_costmap", "unknown", "road", "pavement", "obstacle"),
    [
        (False, True, FREE, FREE, FREE, LETHAL),  # Nav2's defaults: only obstacles are left of the grid
        (True, True, NO_INFORMATION, FREE, FREE, LETHAL),
        (True, False, NO_INFORMATION, FREE, 152, LETHAL),  # what the README asks for: 60 % of 254
    ],
)
def test_what_the_static_layer_makes_of_our_costs(
    grid: Any, track_unknown_space: bool, trinary_costmap: bool, unknown: int, road: int, pavement: int, obstacle: int
) -> None:
    made = {
        value: static_layer_cost(value, track_unknown_space=track_unknown_space, trinary_costmap=trinary_costmap)
        for value in np.unique(np.array(grid.data)).tolist()
    }
    assert made == {-1: unknown, 0: road, 60: pavement, 100: obstacle}


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_no_shipped_class_costs_what_nav2_keeps_for_inscribed_or_lethal(name: str) -> None:
    costs = [label.drivable_cost for label in BUILT_IN[name].drivable]
    assert costs and max(costs) < 99


def test_no_setting_makes_a_grid_that_nav2_refuses() -> None:
    with pytest.raises(ValueError, match=r"resolution_m is 0\.01: it makes 40000 cells a side, at most 32767"):
        DrivableSettings(grid_length_m=400.0, grid_width_m=0.4, resolution_m=0.01)


def test_the_scan_is_what_laser_geometry_and_rep_117_ask_for(drivable: Drivable) -> None:
    assert drivable.free_space is not None
    message = fill.laser_scan(drivable.free_space, header("base_footprint"))
    scan = deserialize_message(serialize_message(message), LaserScan)
    ranges = np.array(scan.ranges)
    assert scan.angle_min < scan.angle_max and scan.angle_increment > 0
    assert scan.angle_min + (len(ranges) - 1) * scan.angle_increment == pytest.approx(scan.angle_max, abs=1e-5)
    assert len(ranges) == 91 and (scan.angle_min, scan.angle_max) == pytest.approx((-math.pi / 4, math.pi / 4))
    assert 0 < scan.range_min < scan.range_max < math.inf
    finite = ranges[np.isfinite(ranges)]
    assert ((finite >= scan.range_min) & (finite <= scan.range_max)).all() and len(finite)
    assert not np.isneginf(ranges).any(), "nothing is too near to be measured"
    assert np.isnan(ranges).any(), "beside the view nothing is known"
    assert scan.time_increment == 0.0, "all bearings are of one moment"
    assert math.isfinite(scan.scan_time) and scan.scan_time >= 0.0
    seen = np.array(scan.intensities)
    assert len(seen) == len(ranges) and ((seen >= 0) & (seen <= scan.range_max)).all()
    assert (seen[np.isfinite(ranges)] <= finite).all(), "ground is not said to be seen behind what ends it"


def floats_of(cloud: PointCloud2, name: str) -> np.ndarray:
    """A field as sensor_msgs::PointCloud2ConstIterator<float> walks over it."""
    (field,) = [field for field in cloud.fields if field.name == name]
    assert (field.datatype, field.count) == (PointField.FLOAT32, 1)
    data = np.frombuffer(cloud.data, np.uint8).reshape(-1, cloud.point_step)
    return np.ascontiguousarray(data[:, field.offset : field.offset + 4]).view("<f4")[:, 0]


def test_the_semantic_layer_puts_each_class_on_its_tile(drivable: Drivable) -> None:
    """Re-enacted from segmentation_buffer.cpp of kiwicampus/semantic_segmentation_layer (August 2026): for each pixel of
    the mask, in its order, the cloud's next point; one with a z that is not finite, or too far or near, is left out; of
    several on a tile the surest is kept."""
    assert drivable.points is not None
    message = fill.CloudFiller().fill(drivable.points, header("base_footprint"))
    cloud = deserialize_message(serialize_message(message), PointCloud2)
    mask = drivable.points["label"]
    assert (cloud.height, cloud.width) == mask.shape == HW and cloud.row_step == cloud.width * cloud.point_step
    assert len(cloud.data) == cloud.height * cloud.row_step and not cloud.is_bigendian and not cloud.is_dense
    x, y, z = (floats_of(cloud, name) for name in "xyz")
    tiles: dict[tuple[int, int], tuple[int, int]] = {}
    for pixel in np.flatnonzero(np.isfinite(z)):
        if not 0.3**2 < x[pixel] ** 2 + y[pixel] ** 2 + z[pixel] ** 2 < 15.0**2:
            continue
        tile = math.floor(x[pixel] / 0.2), math.floor(y[pixel] / 0.2)
        sure = int(drivable.points["confidence"].reshape(-1)[pixel])
        if tile not in tiles or sure > tiles[tile][1]:
            tiles[tile] = int(mask.reshape(-1)[pixel]), sure
    classes = {label for label, _ in tiles.values()}
    assert classes == {ROAD, PAVEMENT, CAR}, "the sky has no place"
    assert all(y > 0 for (_, y), (label, _) in tiles.items() if label == PAVEMENT), "the pavement is on the left"
    cars = [tile for tile, (label, _) in tiles.items() if label == CAR]
    assert max(x for x, _ in cars) - min(x for x, _ in cars) <= 2, "a car is known by its foot, which is a line"
