"""The own vehicle in the picture: nothing of the ground is told of its pixels, and all else stays as it was."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.ego_mask import EgoMask
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID
from seg_perception.results import Drivable, Panoptic, Wants

ROAD, CAR, POLE, SKY = (CAMVID.by_name(name).id for name in ("road", "car", "pole", "sky"))
HW = (720, 1280)
CAMERA = CameraModel(1280, 720, ((900, 0, 639.5), (0, 900, 359.5), (0, 0, 1)))
FISHEYE = CameraModel(
    1280, 720, ((500, 0, 639.5), (0, 500, 359.5), (0, 0, 1)), "fisheye", (-0.02, 0.004, -0.003, 0.0005)
)
POSE = CameraPose(0, 0, 1.5, pitch=0.06)
BONNET_PX = 40


def painted(hw: tuple[int, int] = HW, rows: int = BONNET_PX, value: int = 255) -> NDArray[np.uint8]:
    """A picture whose last rows are the own vehicle."""
    image = np.zeros(hw, np.uint8)
    image[hw[0] - rows :] = value
    return image


def read(folder: Path, image: NDArray[np.uint8], name: str = "ego.png") -> EgoMask:
    assert cv2.imwrite(str(folder / name), image)
    return EgoMask.read(folder / name)


def road(camera: CameraModel = CAMERA) -> NDArray[np.uint8]:
    v, u = np.mgrid[: HW[0], : HW[1]]
    ground = GroundProjection(camera, POSE, HW).pixels_to_ground(np.column_stack((u.ravel(), v.ravel())))
    return np.where(np.isfinite(ground[:, 0]), ROAD, SKY).astype(np.uint8).reshape(HW)


def found(
    mask: NDArray[np.uint8],
    ego: EgoMask | None,
    camera: CameraModel | None = CAMERA,
    settings: DrivableSettings | None = None,
) -> Drivable:
    extractor = DrivableExtractor(CAMVID, settings or DrivableSettings())
    extractor.set_camera(camera, POSE, (mask.shape[0], mask.shape[1]), HW, ego)
    assert camera is None or extractor.ground_problem is None
    panoptic = Panoptic(mask, np.zeros(mask.shape, np.uint16), np.full(mask.shape, 200, np.uint8), ())
    return extractor.extract(panoptic, Wants())


@pytest.mark.parametrize("camera", [CAMERA, FISHEYE], ids=["pinhole", "fisheye"])
def test_behind_the_own_bonnet_the_road_is_free_and_under_it_unknown(camera: CameraModel, tmp_path: Path) -> None:
    mask = road(camera)
    mask[-BONNET_PX:] = CAR
    without = found(mask, None, camera)
    assert {area.free_distance_m for area in without.areas} == {0.0}
    assert without.grid is not None and without.free_space is not None
    assert np.isnan(without.free_space.ranges_m[30:60]).all()
    answer = found(mask, read(tmp_path, painted()), camera)
    assert answer.grid is not None and answer.free_space is not None
    begins = GroundProjection(camera, POSE, HW).pixels_to_ground(np.array(((639.5, HW[0] - BONNET_PX - 0.5),)))[0, 0]
    (area,) = answer.areas
    assert area.free_distance_m == area.free_distance_width_m == math.inf
    assert area.view_begins_m == pytest.approx(begins, abs=0.1)
    assert np.isinf(answer.free_space.ranges_m[30:60]).all()
    assert (answer.grid.cells == 100).sum() == 0
    # As if the picture ended above the bonnet, whatever the network makes of it.
    bare = found(road(camera), None, camera).grid
    assert bare is not None
    x, y = np.meshgrid(np.arange(200) * 0.1 + 0.05, np.arange(200) * 0.1 - 9.95)
    before, beyond = (np.abs(y) < 0.3 * x) & (x < begins - 0.1), (np.abs(y) < 0.3 * x) & (x > begins + 0.3)
    assert (answer.grid.cells[beyond] == bare.cells[beyond]).all() and (bare.cells[before] == 0).any()
    assert (answer.grid.cells[before] == -1).all()
    for other in (ROAD, POLE, 255):
        mask[-BONNET_PX:] = other
        again = found(mask, read(tmp_path, painted()), camera)
        assert again.grid is not None and (again.grid.cells == answer.grid.cells).all()
        assert again.areas[0].area_m2 == area.area_m2 and again.areas[0].coverage == area.coverage


def test_what_stands_before_the_bonnet_is_an_obstacle_and_nothing_is_free(tmp_path: Path) -> None:
    mask = road()
    mask[500:] = CAR
    answer = found(mask, read(tmp_path, painted()))
    assert {area.free_distance_m for area in answer.areas} == {0.0}
    assert answer.free_space is not None and np.isnan(answer.free_space.ranges_m[20:70]).all()
    assert answer.grid is not None and (answer.grid.cells == 100).any() and not (answer.grid.cells == 0).any()


def test_behind_a_bar_across_the_view_nothing_is_said_to_stand_before_it() -> None:
    """An antenna or a frame across the picture: free up to it, and what stands behind it is no wall at the bumper."""
    mask = road()
    mask[:420, 600:680] = CAR
    bar = EgoMask.of_polygon("bar", (-1, 420, 1280, 420, 1280, 440, -1, 440))
    (area,) = found(mask, bar).areas
    before_m = 1.5 / math.tan(0.06 + math.atan(81 / 900))
    assert area.free_distance_m == pytest.approx(before_m, rel=0.02)
    assert area.view_begins_m == pytest.approx(3.175, abs=0.06)


def test_the_own_vehicle_hides_no_edge_and_is_none(tmp_path: Path) -> None:
    mask = road()
    image = painted()
    image[300:, :200] = 255
    mask[image > 0] = CAR
    (area,) = found(mask, read(tmp_path, image)).areas
    assert all(math.isinf(edge.left_m) for edge in area.edges), "its edge is not seen"


@pytest.mark.parametrize("mask_hw", [(720, 1280), (360, 640), (90, 160), (1080, 1920), (480, 640)])
def test_masks_of_any_size_lose_the_same_part(mask_hw: tuple[int, int], tmp_path: Path) -> None:
    share = BONNET_PX / HW[0]
    for ego in (read(tmp_path, painted()), read(tmp_path, painted((360, 640), BONNET_PX // 2)), polygon()):
        pixels = ego.pixels((1280, 720), mask_hw)
        assert pixels.shape == mask_hw and set(np.unique(pixels)) == {0, 255}
        rows = (pixels > 0).any(axis=1).sum()
        assert share * mask_hw[0] - 1 <= rows <= share * mask_hw[0] + 1.01


def polygon() -> EgoMask:
    return EgoMask.of_polygon("bonnet", (-1.0, 679.6, 1280.0, 679.6, 1280.0, 720.0, -1.0, 720.0))


def test_a_small_mask_loses_each_pixel_that_shows_any_of_it(tmp_path: Path) -> None:
    image = np.zeros(HW, np.uint8)
    image[717:, 640] = 255
    pixels = read(tmp_path, image).pixels((1280, 720), (90, 160))
    assert np.argwhere(pixels).tolist() == [[89, 80]]


@pytest.mark.parametrize("mask_hw", [(7, 9), (11, 13), (40, 37), (5, 40), (40, 5), (22, 26)])
def test_every_pixel_that_shows_any_of_it_is_lost_at_any_size(mask_hw: tuple[int, int], tmp_path: Path) -> None:
    """Pixel by pixel: larger masks lost only those whose first corner showed it."""
    image = np.where(np.random.default_rng(1).random((11, 13)) < 0.08, 255, 0).astype(np.uint8)
    expected = np.zeros(mask_hw, np.bool_)
    for row, column in np.argwhere(image):
        rows = slice(row * mask_hw[0] // 11, -(-(row + 1) * mask_hw[0] // 11))
        expected[rows, column * mask_hw[1] // 13 : -(-(column + 1) * mask_hw[1] // 13)] = True
    assert expected.any() and not expected.all()
    np.testing.assert_array_equal(read(tmp_path, image).pixels((13, 11), mask_hw) > 0, expected)


@pytest.mark.parametrize("number", [math.nan, math.inf, -1e9])
def test_corners_that_are_no_place_in_a_picture_are_refused(number: float) -> None:
    """They came out as another polygon: one down to 1e9 px masked 20 pixels rather than 25,600."""
    with pytest.raises(SegPerceptionError, match=r"ego_polygon holds .*between -100000 and 100000"):
        EgoMask.of_polygon("ego_polygon", (0, 700, number, 700, 1279, 719, 0, 719))
    far = EgoMask.of_polygon("ego_polygon", (-100_000, 700, 100_000, 700, 100_000, 100_000, -100_000, 100_000))
    covered = far.pixels((1280, 720), HW) > 0
    assert covered[700:].all() and not covered[:699].any()


def test_a_polygon_is_the_same_as_the_mask(tmp_path: Path) -> None:
    mask = road()
    mask[-BONNET_PX:] = CAR
    one, other = found(mask, read(tmp_path, painted())), found(mask, polygon())
    assert one.grid is not None and other.grid is not None
    assert (one.grid.cells == other.grid.cells).mean() > 0.999
    assert other.areas[0].free_distance_m == math.inf


def test_areas_in_pixels_leave_it_out_without_a_calibration(tmp_path: Path) -> None:
    mask = np.full(HW, ROAD, np.uint8)
    (area,) = found(mask, read(tmp_path, painted()), camera=None).areas
    assert area.coverage == pytest.approx(1 - BONNET_PX / HW[0])
    assert area.outlines_px[0].points[:, 1].max() <= HW[0] - BONNET_PX


def test_a_pose_that_moves_keeps_it_and_leaving_it_out_ends_it(tmp_path: Path) -> None:
    mask = road()
    mask[-BONNET_PX:] = CAR
    panoptic = Panoptic(mask, np.zeros(HW, np.uint16), np.full(HW, 200, np.uint8), ())
    extractor, ego = DrivableExtractor(CAMVID, DrivableSettings()), read(tmp_path, painted())
    for pitch, given, free_m in (
        (0.06, ego, math.inf),
        (0.061, ego, math.inf),
        (0.061, None, 0.0),
        (0.061, ego, math.inf),
    ):
        extractor.set_camera(CAMERA, CameraPose(0, 0, 1.5, pitch=pitch), HW, HW, given)
        assert extractor.extract(panoptic, Wants()).areas[0].free_distance_m == free_m, (pitch, given)


def test_any_paint_on_black_will_do(tmp_path: Path) -> None:
    whole = painted() > 0
    colours = np.zeros((*HW, 3), np.uint8)
    colours[whole] = (0, 0, 1)
    clear = np.zeros((*HW, 4), np.uint8)
    clear[..., :3] = 255
    clear[whole, 3] = 255
    for image in (painted(value=1), painted(value=255), colours, clear, painted().astype(np.uint16)):
        ego = read(tmp_path, image)
        assert ego.painted is not None and (ego.painted == whole).all()


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros(HW, np.uint8), "black all over and so masks nothing: paint the own vehicle white, or leave it out"),
        (np.full(HW, 255, np.uint8), "painted all over, so nothing would be seen: paint the own vehicle only"),
    ],
    ids=["black", "white"],
)
def test_a_picture_that_masks_nothing_or_all_is_refused(image: NDArray[np.uint8], words: str, tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match=words) as refusal:
        read(tmp_path, image)
    assert str(tmp_path / "ego.png") in str(refusal.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SegPerceptionError, match=r"missing\.png cannot be read \(No such file or directory\)"):
        EgoMask.read(tmp_path / "missing.png")
    (tmp_path / "half.png").write_bytes(cv2.imencode(".png", painted())[1].tobytes()[:100])
    with pytest.raises(SegPerceptionError, match="is truncated"):
        EgoMask.read(tmp_path / "half.png")
    with pytest.raises(SegPerceptionError, match=r"ego\.jpg is no PNG"):
        read(tmp_path, painted(), "ego.jpg")


@pytest.mark.parametrize("numbers", [(1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), (1.0,)])
def test_numbers_that_are_no_polygon_are_refused(numbers: Sequence[float]) -> None:
    with pytest.raises(SegPerceptionError, match=f"bonnet holds {len(numbers)} numbers: .* x, y of at least 3 corners"):
        EgoMask.of_polygon("bonnet", numbers)


def problem(ego: EgoMask) -> str | None:
    extractor = DrivableExtractor(CAMVID, DrivableSettings())
    extractor.set_camera(CAMERA, POSE, HW, HW, ego)
    return extractor.ground_problem


def test_a_mask_of_another_shape_stops_the_ground_and_names_both_sizes(tmp_path: Path) -> None:
    ego = read(tmp_path, painted((480, 640)))
    said = problem(ego)
    assert said is not None and "640x480 px" in said and "1280x720 px, another shape" in said
    assert problem(read(tmp_path, painted((360, 640)))) is None, "of the same shape it is scaled"


@pytest.mark.parametrize(
    ("corners", "words"),
    [
        ((1300, 0, 1400, 0, 1400, 100), "covers no pixel"),
        ((-10, -10, 2000, -10, 2000, 2000, -10, 2000), "covers all"),
    ],
)
def test_a_polygon_beside_the_picture_or_over_all_of_it_stops_the_ground(corners: Sequence[float], words: str) -> None:
    said = problem(EgoMask.of_polygon("bonnet", corners))
    assert said is not None and words in said and "1280x720" in said


def test_a_thin_post_beside_the_own_vehicle_is_an_obstacle() -> None:
    """One pixel of it, seen beside a bar whose far edge leans as its own side would: it was taken for a side of the bar."""
    mask = road()
    mask[430:500, 300] = POLE
    bar = EgoMask.of_polygon("bar", (301, 380, 310, 380, 310, 719, 301, 719))
    answer = found(mask, bar)
    u, v = 300, 499.5
    place = GroundProjection(CAMERA, POSE, HW).pixels_to_ground(np.array(((u, v),)))[0]
    assert answer.grid is not None
    row, column = int((place[1] - answer.grid.origin_m[1]) / 0.1), int((place[0] - answer.grid.origin_m[0]) / 0.1)
    assert answer.grid.cells[row, column] == 100
