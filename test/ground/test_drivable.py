import math

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.kernels import UNSEEN
from seg_perception.ground.maps import walk_free
from seg_perception.labels import CAMVID, UNSEEN_LABEL, VOID
from seg_perception.results import Panoptic, Wants

SKY, BUILDING, ROAD, PAVEMENT, CAR = (CAMVID.by_name(n).id for n in ("sky", "building", "road", "pavement", "car"))
HW = (480, 640)
CAMERA = CameraModel(640, 480, ((450.0, 0, 319.5), (0, 450.0, 239.5), (0, 0, 1)))
POSE = CameraPose(0.0, 0.0, 1.5, pitch=0.1)


def panoptic(semantic: np.ndarray) -> Panoptic:
    return Panoptic(semantic, np.zeros(semantic.shape, np.uint16), np.full(semantic.shape, 204, np.uint8), ())


def extractor(**settings) -> DrivableExtractor:
    made = DrivableExtractor(CAMVID, DrivableSettings(**settings))
    made.set_camera(CAMERA, POSE, HW)
    assert made.ground_problem is None
    return made


def painted(paint) -> np.ndarray:
    """A mask whose ground is paint(x, y) -> class id, in m, and whose sky is sky."""
    projection = GroundProjection(CAMERA, POSE, HW)
    v, u = np.mgrid[: HW[0], : HW[1]]
    ground = projection.pixels_to_ground(np.column_stack((u.ravel(), v.ravel())))
    mask = np.full(HW[0] * HW[1], SKY, np.uint8)
    hits = np.isfinite(ground[:, 0])
    mask[hits] = paint(ground[hits, 0], ground[hits, 1])
    return mask.reshape(HW)


def street(x, y):
    """A road from 4 m right to 4 m left, pavement 2 m wide, then houses; a car's foot begins 12 m ahead."""
    mask = np.where(np.abs(y) < 4, ROAD, np.where(np.abs(y) < 6, PAVEMENT, BUILDING))
    return np.where((np.abs(y) < 1) & (x > 12), CAR, mask)


# One row of samples is one ray; sample k is pixel k of a mask of four.
@pytest.mark.parametrize(
    ("pixels", "labels", "distance"),
    [
        ([0, 1, 2, 3], [ROAD, ROAD, CAR, ROAD], 2.5),
        ([0, 1, 2, 3], [ROAD, ROAD, ROAD, ROAD], math.inf),
        ([0, 1, 2, 3], [ROAD, VOID, ROAD, ROAD], math.nan),
        ([0, 1, 2, 3], [VOID, ROAD, ROAD, ROAD], math.nan),
        ([-1, -1, -1, -1], [ROAD] * 4, math.nan),
        ([-1, -1, 2, 3], [CAR, CAR, ROAD, ROAD], math.inf),
        ([-1, -1, 2, 3], [CAR, CAR, CAR, ROAD], 0.0),  # where the view begins it is not free
        ([0, 1, 2, 3], [UNSEEN_LABEL, ROAD, ROAD, CAR], 3.5),
        ([0, 1, 2, 3], [ROAD, ROAD, UNSEEN_LABEL, ROAD], 2.5),
        ([0, 1, -1, -1], [ROAD] * 4, 2.5),  # leaves the view: free as far as is known
    ],
)
def test_free_distance_along_a_ray(pixels, labels, distance):
    free = np.zeros(256, np.bool_)
    free[ROAD] = True
    out = np.empty(1, np.float32)
    walk_free(np.array(labels, np.uint8), free, np.array([pixels], np.int32), 1.0, out)
    np.testing.assert_array_equal(out, np.float32(distance))


def test_grid_of_a_painted_street():
    grid = extractor().extract(panoptic(painted(street)), Wants()).grid
    assert grid is not None and grid.cells.shape == (200, 200)
    assert grid.origin_m == (0.0, -10.0)

    def at(x: float, y: float) -> int:
        return int(grid.cells[int((y + 10) / 0.1), int(x / 0.1)])

    assert (at(8, 0), at(8, 3.5), at(9, 5), at(9, -5)) == (0, 0, 60, 60)
    assert 100 in [at(x, 0) for x in (11.9, 12.0, 12.1, 12.2)]
    assert {at(x, 0) for x in (12.5, 15, 19)} == {-1}
    assert at(9, 6.05) == 100 and at(9, 7) == -1  # the front of a house, and what it hides
    assert at(1, 0) == -1 and at(5, 9) == -1  # below the picture, beside it


def test_areas_of_a_painted_street():
    areas = {area.class_id: area for area in extractor().extract(panoptic(painted(street)), Wants()).areas}
    assert sorted(areas) == [ROAD, PAVEMENT]
    road, pavement = areas[ROAD], areas[PAVEMENT]
    assert road.confidence == pytest.approx(0.8) and road.free_distance_m == pytest.approx(12.0, abs=0.1)
    assert road.coverage == pytest.approx((painted(street) == ROAD).mean())
    assert road.free_distance_width_m == pytest.approx(12.0, abs=0.1)
    assert pavement.free_distance_m == 0.0  # it does not lie ahead
    assert len(pavement.outlines_ground) == 2 and not any(o.hole for o in pavement.outlines_ground)
    # Between the kerb at 4 m and the houses at 6 m, as far as 40 m; its near end is cut by the edge of the picture,
    # whose ray has a slope of 320 / 450: it leaves at x (1 + 0.1 * ...) between 4 and 7.5 m.
    assert 2 * 2 * (40 - 8) < pavement.area_m2 < 2 * 2 * (40 - 4)


def test_edges_and_width_follow_the_settings():
    made = extractor(look_ahead_m=(10.0, 18.0), vehicle_width_m=3.0)
    mask = painted(lambda x, y: np.where((y > 1.2) & (x > 9), CAR, street(x, y)))
    road, pavement = made.extract(panoptic(mask), Wants()).areas
    assert road.free_distance_m == pytest.approx(12.0, abs=0.1)
    assert road.free_distance_width_m == pytest.approx(9.0, abs=0.1)
    (near, far) = road.edges
    assert (near.ahead_m, near.left_m, near.right_m) == (10.0, pytest.approx(1.2, abs=0.05), pytest.approx(4, abs=0.05))
    assert far.ahead_m == 18.0 and math.isnan(far.left_m) and math.isnan(far.right_m)  # beyond the car in the middle
    assert [edge.ahead_m for edge in pavement.edges] == [10.0, 18.0]
    assert extractor(look_ahead_m=()).extract(panoptic(mask), Wants()).areas[0].edges == ()


def test_outlines_where_the_lens_has_no_ray():
    """Barrel distortion this strong reaches 0.65 focal lengths from the middle; the image's corners lie beyond it."""
    made = DrivableExtractor(CAMVID, DrivableSettings())
    made.set_camera(CameraModel(640, 480, CAMERA.K, distortion=(-0.35, 0.0, 0.0, 0.0)), POSE, HW)
    assert made.ground_problem is None
    (road,) = made.extract(panoptic(np.full(HW, ROAD, np.uint8)), Wants()).areas
    assert road.coverage == 1 and road.outlines_px[0].points.max() > 639
    assert road.outlines_ground and all(np.isfinite(outline.points).all() for outline in road.outlines_ground)
    assert 0 < road.area_m2 < 80 * 40


def test_free_space_of_a_painted_street():
    found = extractor(scan_angle_step_rad=0.05).extract(panoptic(painted(street)), Wants()).free_space
    assert found is not None
    bearings = found.angle_min_rad + found.angle_step_rad * np.arange(len(found.ranges_m))
    ahead = np.abs(bearings) < 0.06
    np.testing.assert_allclose(found.ranges_m[ahead], 12 / np.cos(bearings[ahead]), rtol=0.01)
    aside = (bearings > 0.3) & (bearings < 0.55)
    # The least in a sector is where it comes nearest to the houses.
    expected = 6 / np.sin(bearings[aside] + 0.05 / 2)
    half_a_pixel_row = expected**2 / (450 * 1.5) / 2
    assert (np.abs(found.ranges_m[aside] - expected) < half_a_pixel_row + 0.05).all()
    assert np.isnan(found.ranges_m[[0, -1]]).all()  # 45 degrees is outside the picture


def test_free_space_may_end_at_the_kerb():
    made = extractor(scan_angle_step_rad=0.05, free_max_cost=50)
    found = made.extract(panoptic(painted(street)), Wants()).free_space
    assert found is not None
    bearing = found.angle_min_rad + found.angle_step_rad * 23
    assert found.ranges_m[23] == pytest.approx(4 / math.sin(bearing + 0.05 / 2), rel=0.01)


def test_without_a_camera_pixels_go_on_and_the_cause_is_named():
    made = DrivableExtractor(CAMVID, DrivableSettings())
    mask = panoptic(painted(street))
    for camera, pose, words in (
        (None, POSE, "not calibrated"),
        (CAMERA, None, "pose is not known"),
        (CAMERA, CameraPose(0, 0, 0.0), "above the ground"),
        (CAMERA, CameraPose(0, 0, 1.5, pitch=-1.2), "above the horizon"),
    ):
        made.set_camera(camera, pose, HW)
        found = made.extract(mask, Wants())
        assert made.ground_problem is not None and words in made.ground_problem
        assert found.grid is None and found.free_space is None
        assert len(found.areas) == 2 and found.areas[0].outlines_px and not found.areas[0].outlines_ground
        assert math.isnan(found.areas[0].area_m2) and math.isnan(found.areas[0].free_distance_m)
        assert math.isnan(found.areas[0].free_distance_width_m) and found.areas[0].edges == ()
    made.set_camera(CAMERA, POSE, HW)
    assert made.ground_problem is None and made.extract(mask, Wants()).grid is not None


def test_maps_are_filled_again_only_when_something_changed_and_in_place():
    made = extractor()
    mask = panoptic(painted(street))
    made.extract(mask, Wants())
    looked_from, scan = made.projection, made._ground.scan.pixels
    scan[0, 0] = 7
    made.set_camera(CameraModel(640, 480, np.array(CAMERA.K)), CameraPose(*vars(POSE).values()), HW)
    made.extract(mask, Wants())
    assert made.projection is looked_from and scan[0, 0] == 7
    made.set_camera(CAMERA, CameraPose(0, 0, 1.5, pitch=0.11), HW)
    made.extract(mask, Wants())
    assert made.projection is not looked_from
    assert made._ground.scan.pixels is scan and scan[0, 0] == UNSEEN


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"expected \(480, 640\)"):
        extractor().extract(panoptic(np.zeros((10, 10), np.uint8)), Wants())


def test_only_what_is_wanted_is_made():
    found = extractor().extract(panoptic(painted(street)), Wants(areas=False, grid=False, free_space=False))
    assert (found.areas, found.grid, found.free_space) == ((), None, None)


def test_a_mask_without_ground():
    made = extractor()
    found = made.extract(panoptic(np.full(HW, VOID, np.uint8)), Wants())
    assert found.areas == () and found.grid is not None and (found.grid.cells == -1).all()
    assert found.free_space is not None and np.isnan(found.free_space.ranges_m).all()


def test_a_camera_that_looks_backwards():
    made = DrivableExtractor(CAMVID, DrivableSettings(grid_near_m=-20.0))
    made.set_camera(CAMERA, CameraPose(0, 0, 1.5, pitch=0.1, yaw=math.pi), HW)
    grid = made.extract(panoptic(painted(street)), Wants()).grid
    assert grid is not None
    assert grid.cells[100, int((20 - 8) / 0.1)] == 0 and (grid.cells[100, int((20 - 12.3) / 0.1) :][:5] == 100).any()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("resolution_m", 0.0),
        ("range_max_m", math.nan),
        ("free_max_cost", 101),
        ("scan_angle_min_rad", 1.0),
        ("grid_length_m", 0.0),
        ("grid_width_m", 1001.0),
        ("grid_near_m", -1001.0),
        ("grid_center_y_m", math.inf),
        ("outline_tolerance_px", -0.1),
        ("min_outline_area", 1.1),
        ("scan_angle_max_rad", 4.0),
        ("scan_angle_step_rad", 0.0),
        ("vehicle_width_m", 0.0),
        ("look_ahead_m", (5.0, math.nan)),
        ("pitch_correction", "vanishing"),
    ],
)
def test_settings_name_what_is_out_of_range(field, value):
    with pytest.raises(ValueError, match=field):
        DrivableSettings(**{field: value})


def test_the_grid_is_bounded():
    with pytest.raises(ValueError, match="cells"):
        DrivableSettings(resolution_m=0.01, grid_length_m=500.0, grid_width_m=500.0)


@pytest.mark.parametrize(("range_m", "step_m"), [(10.0, 0.05), (100.0, 0.05), (101.0, 0.0505), (1000.0, 0.5)])
def test_a_ray_has_two_thousand_samples_at_most(range_m, step_m):
    made = DrivableExtractor(CAMVID, DrivableSettings(range_max_m=range_m))
    assert made._ground.scan.step_m == pytest.approx(step_m)
    assert made._ground.scan.pixels.shape[1] == round(range_m / step_m) <= 2000


def test_what_stands_in_the_grid_is_marked_beyond_the_range_too():
    made = extractor(range_max_m=5.0)
    wall = painted(lambda x, y: np.where(x > 18, BUILDING, ROAD))
    grid = made.extract(panoptic(wall), Wants(areas=False)).grid
    assert (grid.cells[:, 176:184] == 100).any(axis=1)[40:160].all() and not (grid.cells[:, :176] == 100).any()


def test_masks_of_another_shape_are_of_images_that_fit_the_calibration():
    made = DrivableExtractor(CAMVID, DrivableSettings())
    made.set_camera(CAMERA, POSE, (120, 320), (240, 320))
    assert made.ground_problem is None and made.projection.image_hw == (120, 320)
    made.set_camera(CAMERA, POSE, (120, 320))
    assert "320x120" in made.ground_problem and made.projection is None
