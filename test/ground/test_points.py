"""A place for each pixel of the masks, against the geometry asked pixel by pixel."""

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.labels import CAMVID, VOID
from seg_perception.results import POINT, Depth, Panoptic, Wants

SKY, ROAD, CAR = (CAMVID.by_name(name).id for name in ("sky", "road", "car"))
HW = (90, 160)
PINHOLE = CameraModel(160, 90, ((110, 0, 79.5), (0, 110, 44.5), (0, 0, 1)))
FISHEYE = CameraModel(
    160, 90, ((60, 0, 79.5), (0, 60, 44.5), (0, 0, 1)), "equidistant", distortion=(0.01, 0.002, 0.0, 0.0)
)
POSE = CameraPose(0.5, -0.2, 1.5, roll=0.05, pitch=0.2, yaw=0.3)
ONLY_POINTS = Wants(areas=False, grid=False, free_space=False, points=True)


def points_of(mask, camera=PINHOLE, pose=POSE, instance=None, **settings):
    extractor = DrivableExtractor(CAMVID, DrivableSettings(**settings))
    extractor.set_camera(camera, pose, HW)
    instance = np.zeros(HW, np.uint16) if instance is None else instance
    panoptic = Panoptic(mask, instance, np.full(HW, 200, np.uint8), ())
    return extractor.extract(panoptic, ONLY_POINTS).points.copy(), extractor.projection


def all_road(projection_of=PINHOLE, pose=POSE):
    mask = np.full(HW, ROAD, np.uint8)
    _, projection = points_of(mask, projection_of, pose)
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    ground = projection.pixels_to_ground(np.column_stack((columns.ravel(), rows.ravel()))).reshape(*HW, 2)
    mask[~np.isfinite(ground[..., 0])] = SKY
    return mask, ground, projection


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE])
def test_each_pixel_of_ground_is_where_the_geometry_has_it(camera):
    mask, ground, projection = all_road(camera)
    points, _ = points_of(mask, camera, range_max_m=30.0)
    far = np.linalg.norm(ground - projection.position[:2], axis=2)
    near = far < 29.9
    placed = np.isfinite(points["x"])
    assert near.sum() > 2000 and placed[near].all() and not placed[far > 30.1].any() and not placed[mask == SKY].any()
    xy = np.stack((points["x"], points["y"]), axis=-1)
    np.testing.assert_allclose(xy[near], ground[near], rtol=1e-4, atol=1e-3)
    assert (points["z"][placed] == 0).all() and np.isnan(points["z"][~placed]).all()


def test_an_obstacle_has_a_foot_and_hides_what_is_behind_it():
    pose = CameraPose(0.0, 0.0, 1.5, pitch=0.2)
    mask, ground, _ = all_road(PINHOLE, pose)
    mask[50:70, 60:80] = CAR
    mask[45:50, 60:80] = ROAD
    points, projection = points_of(mask, PINHOLE, pose)
    foot = projection.pixels_to_ground(np.column_stack((np.arange(60, 80), np.full(20, 69.5))))
    np.testing.assert_allclose(np.stack((points["x"], points["y"]), axis=-1)[69, 60:80], foot, rtol=1e-4)
    assert np.isnan(points["x"][50:69, 60:80]).all(), "what rises from the foot may be anywhere above it"
    assert np.isnan(points["x"][45:50, 61:79]).all(), "ground behind it is not trusted"
    np.testing.assert_allclose(points["x"][80, 60:80], ground[80, 60:80, 0], rtol=1e-4)


def test_the_masks_stand_beside_the_place():
    mask, _, _ = all_road()
    mask[70:, :40] = VOID
    mask[60:65, 100:120] = CAR
    instance = np.where(mask == CAR, 40_000, 0).astype(np.uint16)
    points, _ = points_of(mask, instance=instance)
    assert points.dtype == POINT and points.shape == HW
    np.testing.assert_array_equal(points["label"], mask)
    np.testing.assert_array_equal(points["instance"], instance)
    assert (points["confidence"] == 200).all()
    assert np.isnan(points["x"][70:, :40]).all()


def test_another_pose_moves_them_and_none_takes_them_away():
    mask, _, _ = all_road()
    extractor = DrivableExtractor(CAMVID, DrivableSettings())
    panoptic = Panoptic(mask, np.zeros(HW, np.uint16), np.zeros(HW, np.uint8), ())
    extractor.set_camera(PINHOLE, POSE, HW)
    first = extractor.extract(panoptic, ONLY_POINTS).points.copy()
    extractor.set_camera(PINHOLE, CameraPose(1.5, -0.2, 1.5, roll=0.05, pitch=0.2, yaw=0.3), HW)
    moved = extractor.extract(panoptic, ONLY_POINTS).points
    placed = np.isfinite(first["x"])
    np.testing.assert_allclose(moved["x"][placed] - first["x"][placed], 1.0, atol=1e-3)
    extractor.set_camera(None, None, HW)
    assert extractor.extract(panoptic, ONLY_POINTS).points is None
    assert DrivableExtractor(CAMVID, DrivableSettings()).extract(panoptic, Wants()).points is None


def test_what_stands_beyond_the_range_has_no_place():
    mask, ground, projection = all_road()
    far = np.linalg.norm(ground - projection.position[:2], axis=2)
    row = int(np.nanargmin(np.abs(far[:, 80] - 15.0)))
    mask[row - 8 : row + 1, 75:85] = CAR
    for range_m, placed in ((20.0, True), (10.0, False)):
        points, _ = points_of(mask, range_max_m=range_m)
        assert np.isfinite(points["x"][row, 75:85]).all() == placed
        assert np.isfinite(points["x"][mask == CAR]).any() == placed


@pytest.mark.parametrize("camera", [PINHOLE, FISHEYE])
def test_by_depth_each_pixel_is_where_its_ray_is_then(camera):
    """Whatever is seen; what has no depth is on flat ground where it is ground, and what is unseen is nowhere."""
    mask, ground, projection = all_road(camera)
    mask[60:70, 30:50] = CAR
    rng = np.random.default_rng(0)
    metres = rng.uniform(0.1, 12.0, HW).astype(np.float32)
    metres[mask == SKY] += 10.0
    unknown = rng.random(HW) < 0.2
    metres[unknown] = rng.choice(np.array([np.nan, np.inf, 0.0, -1.0], np.float32), unknown.sum())
    extractor = DrivableExtractor(CAMVID, DrivableSettings(range_max_m=15.0))
    ego = EgoMask.of_polygon("bar", (0, 80, 159, 80, 159, 83, 0, 83))
    extractor.set_camera(camera, POSE, HW, HW, ego)
    panoptic = Panoptic(mask, np.zeros(HW, np.uint16), np.full(HW, 200, np.uint8), ())
    points = extractor.extract(panoptic, ONLY_POINTS, Depth(metres)).points
    assert extractor.depth_problem is None
    rows, columns = np.mgrid[: HW[0], : HW[1]]
    rays = projection.pixels_to_rays(np.column_stack((columns.ravel(), rows.ravel()))).reshape(*HW, 3)
    at = projection.position + rays * metres[..., None]
    away = np.hypot(*(at - projection.position)[..., :2].transpose(2, 0, 1))
    seen = np.ones(HW, bool)
    seen[80:84] = False
    known = ~unknown & seen
    near, far = known & (away < 14.99), known & (away > 15.01)
    xyz = np.stack([points[axis] for axis in "xyz"], axis=-1)
    assert near.sum() > 5000 and far.sum() > 500
    np.testing.assert_allclose(xyz[near], at[near], rtol=1e-4, atol=1e-4)
    assert np.isnan(xyz[far]).all() and np.isnan(xyz[~seen]).all()
    flat = np.isfinite(xyz[..., 0]) & unknown
    assert flat.sum() > 100 and (mask[flat] == ROAD).all() and (xyz[flat][:, 2] == 0).all()
    np.testing.assert_allclose(xyz[flat][:, :2], ground[flat], rtol=1e-4, atol=1e-3)
