"""False ground: hand-drawn masks, and patches of known area on the ground."""

from __future__ import annotations

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID
from seg_perception.metrics.false_ground import FalseGround

ROAD, CAR = (CAMVID.by_name(name).id for name in ("road", "car"))
HW = (360, 640)
CAMERA = CameraModel(640, 360, ((450, 0, 319.5), (0, 450, 179.5), (0, 0, 1)))
PROJECTION = GroundProjection(CAMERA, CameraPose(0, 0, 1.5, pitch=0.2), HW)


def box(near_m: float, far_m: float, right_m: float, left_m: float) -> np.ndarray:
    """Pixels of the ground in a rectangle, bool [H, W]."""
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    ground = PROJECTION.pixels_to_ground(np.column_stack((columns.ravel(), rows.ravel()))).reshape(*HW, 2)
    x, y = ground[..., 0], ground[..., 1]
    with np.errstate(invalid="ignore"):
        return (x >= near_m) & (x < far_m) & (y >= right_m) & (y < left_m)


def told(*frames: tuple[np.ndarray, np.ndarray]) -> dict[str, float | None]:
    false_ground = FalseGround(CAMVID)
    for semantic, truth in frames:
        false_ground.add(semantic, truth, PROJECTION)
    return false_ground.summary()


@pytest.mark.parametrize(
    ("car", "found"),
    [
        ((6, 7, -0.3, 0.3), True),  # 0.6 m²
        ((6, 7, -0.2, 0.2), False),  # 0.4 m²
        ((6, 8, 1.0, 3.0), False),  # beside the way
        ((6, 8, 0.4, 3.0), True),  # half in it: 2 m by 0.5 m
        ((16, 20, -2, 2), False),  # too far away
        ((14.2, 20, -2, 2), True),  # begins before
        # 0.9 m to each side are the way: 4 m of 0.15 m in it are 0.6 m², of 0.1 m 0.4 m².
        ((6, 10, 0.75, 3.0), True),
        ((6, 10, 0.8, 3.0), False),
        ((6, 10, -3.0, -0.75), True),
        ((6, 10, -3.0, -0.8), False),
        # 15 m ahead it ends: 1.8 m by 0.35 m and by 0.2 m.
        ((14.65, 20, -2, 2), True),
        ((14.8, 20, -2, 2), False),
    ],
)
def test_a_patch_counts_by_its_area_in_the_vehicles_way(car: tuple[float, ...], found: bool) -> None:
    truth = np.where(box(*car), CAR, ROAD).astype(np.uint8)
    share = told((np.full(HW, ROAD, np.uint8), truth))
    assert (share["false_patch_frames"], share["false_patch_of"]) == (float(found), 1)
    assert told((truth, truth))["false_patch_frames"] == 0.0


def test_two_small_patches_are_no_large_one_and_frames_are_counted() -> None:
    small = np.where(box(6, 7, -0.7, -0.3) | box(6, 7, 0.3, 0.7), CAR, ROAD).astype(np.uint8)
    large = np.where(box(6, 8, -0.7, 0.7), CAR, ROAD).astype(np.uint8)
    road = np.full(HW, ROAD, np.uint8)
    assert told((road, small))["false_patch_frames"] == 0.0
    both = told((road, small), (road, large), (road[::2, ::2], large))
    assert (both["false_patch_frames"], both["false_patch_of"]) == (pytest.approx(2 / 3), 3)


def test_the_way_is_as_wide_as_the_vehicle() -> None:
    beside = np.where(box(6, 8, 1.0, 3.0), CAR, ROAD).astype(np.uint8)
    for width_m, found in ((1.8, 0.0), (2.4, 0.0), (2.6, 1.0)):  # 2 m of 0.2 m in it, and of 0.3 m
        false_ground = FalseGround(CAMVID, width_m)
        false_ground.add(np.full(HW, ROAD, np.uint8), beside, PROJECTION)
        assert false_ground.summary()["false_patch_frames"] == found


def test_another_camera_looks_at_its_own_way() -> None:
    """Turned to the left by 0.3 rad, the same pixels show what is beside the way."""
    turned = GroundProjection(CAMERA, CameraPose(0, 0, 1.5, pitch=0.2, yaw=0.3), HW)
    ahead = np.where(box(6, 8, -0.5, 0.5), CAR, ROAD).astype(np.uint8)
    false_ground = FalseGround(CAMVID)
    for projection in (PROJECTION, turned, PROJECTION):
        false_ground.add(np.full(HW, ROAD, np.uint8), ahead, projection)
    assert false_ground.summary()["false_patch_frames"] == pytest.approx(2 / 3)


def test_summaries_add_up_and_a_frame_without_calibration_counts_nowhere() -> None:
    large = np.where(box(6, 8, -0.7, 0.7), CAR, ROAD).astype(np.uint8)
    road, whole = np.full(HW, ROAD, np.uint8), FalseGround(CAMVID)
    for summary in (told((road, large), (large, large), (large, large)), told((road, large)), {}):
        whole.add_summary(summary)
    assert whole.summary() == {"false_patch_frames": 0.5, "false_patch_of": 4}
    none = FalseGround(CAMVID)
    none.add(road, large)
    whole.add_summary(none.summary())
    assert none.summary() == {"false_patch_frames": None, "false_patch_of": 0}
    assert whole.summary()["false_patch_of"] == 4
