import math
from dataclasses import replace

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground import drivable
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.pitch import (
    LARGEST_RAD,
    RELAX_FRAMES,
    STEP_RAD,
    TIME_CONSTANT_FRAMES,
    PitchCorrection,
    find_borders,
    meeting_point,
    near_a_line,
)
from seg_perception.labels import CAMVID, VOID
from seg_perception.results import Panoptic, Wants

SKY, BUILDING, ROAD, PAVEMENT, CAR = (CAMVID.by_name(n).id for n in ("sky", "building", "road", "pavement", "car"))
HW = (270, 480)
K = ((340.0, 0.0, 239.5), (0.0, 340.0, 134.5), (0.0, 0.0, 1.0))
CAMERA = CameraModel(480, 270, K)
BENT = CameraModel(480, 270, K, "plumb_bob", (-0.28, 0.07, 0.0005, -0.0003, 0.0))
POSE = CameraPose(0.5, 0.1, 1.5, 0.0, 0.06, 0.0)
DEGREE = math.radians(1)


def street(camera: CameraModel, pose: CameraPose, left: float = 4.0, right: float = -3.0, curvature: float = 0.0):
    """The mask of a road between two kerbs and of pavement beside it, under the sky."""
    projection = GroundProjection(camera, pose, HW)
    v, u = np.mgrid[: HW[0], : HW[1]]
    ground = projection.pixels_to_ground(np.column_stack((u.ravel(), v.ravel())))
    x, y = ground[:, 0], ground[:, 1] - curvature * ground[:, 0] ** 2 / 2
    mask = np.full(HW[0] * HW[1], SKY, np.uint8)
    seen = np.isfinite(x)
    mask[seen] = np.where((y[seen] < left) & (y[seen] > right), ROAD, PAVEMENT)
    return mask.reshape(HW)


def nodding(by_rad: float, pose: CameraPose = POSE) -> CameraPose:
    return replace(pose, pitch=pose.pitch + by_rad)


def settled(mask, camera: CameraModel = CAMERA, pose: CameraPose = POSE, frames: int = 8) -> float:
    """How far the pitch is corrected after some frames that show the same."""
    correction, nominal = PitchCorrection(CAMVID), GroundProjection(camera, pose, HW)
    for _ in range(frames):
        found = correction.corrected(nominal, mask)
    return found.pose.pitch - pose.pitch


@pytest.mark.parametrize("by_deg", [-2.0, -1.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    ("camera", "pose"),
    [(CAMERA, POSE), (BENT, POSE), (CAMERA, CameraPose(-1.0, 0.4, 1.2, 0.04, 0.1, 0.08))],
    ids=["pinhole", "lens", "roll and yaw"],
)
def test_a_wrong_pitch_is_found(camera, pose, by_deg):
    mask = street(camera, nodding(by_deg * DEGREE, pose))
    assert math.degrees(settled(mask, camera, pose)) == pytest.approx(by_deg, abs=0.1)


@pytest.mark.parametrize(("focal", "coefficients"), [(95.0, (0.0, 0.0, 0.0, 0.0)), (95.0, (-0.05, 0.01, 0.0, 0.0))])
def test_the_rim_of_a_field_that_is_a_circle_in_the_picture_is_no_border_of_the_road(focal, coefficients):
    """Beyond it there are no rays; one such row was enough for nothing to be found."""
    camera = CameraModel(480, 270, ((focal, 0, 239.5), (0, focal, 134.5), (0, 0, 1)), "equidistant", coefficients)
    assert np.isnan(GroundProjection(camera, POSE, HW).pixels_to_rays(np.array(((0, 0), (479, 134))))).all()
    assert settled(street(camera, nodding(DEGREE)), camera) == pytest.approx(DEGREE, abs=math.radians(0.2))


def test_the_right_pitch_is_left_alone_and_so_are_the_maps():
    correction, nominal = PitchCorrection(CAMVID), GroundProjection(CAMERA, POSE, HW)
    mask = street(CAMERA, POSE)
    assert all(correction.corrected(nominal, mask) is nominal for _ in range(5))
    assert abs(correction.pitch_rad) < STEP_RAD


def test_the_filter_is_of_first_order_and_its_result_stays_the_same_object():
    correction, nominal = PitchCorrection(CAMVID), GroundProjection(CAMERA, POSE, HW)
    mask = street(CAMERA, nodding(DEGREE))
    pitches = []
    for _ in range(12):
        found = correction.corrected(nominal, mask)
        pitches.append(correction.pitch_rad)
    shares = 1 - np.array(pitches[:4]) / pitches[-1]
    np.testing.assert_allclose(shares, np.exp(-np.arange(1, 5) / TIME_CONSTANT_FRAMES), atol=1e-3)
    assert correction.corrected(nominal, mask) is found


def test_without_a_road_the_calibrated_pitch_comes_back():
    correction, nominal = PitchCorrection(CAMVID), GroundProjection(CAMERA, POSE, HW)
    for _ in range(8):
        correction.corrected(nominal, street(CAMERA, nodding(DEGREE)))
    nothing = np.full(HW, BUILDING, np.uint8)
    before = correction.pitch_rad
    correction.corrected(nominal, nothing)
    assert correction.pitch_rad == pytest.approx(before * math.exp(-1 / RELAX_FRAMES))
    for _ in range(int(5 * RELAX_FRAMES)):
        found = correction.corrected(nominal, nothing)
    assert abs(found.pose.pitch - POSE.pitch) < 2 * STEP_RAD


def parked_cars(mask):
    """Cars along the whole left kerb."""
    for row in mask:
        road = np.flatnonzero(row == ROAD)
        row[road[: len(road) // 4]] = CAR
    return mask


REFUSED = {
    "bends": lambda: street(CAMERA, POSE, curvature=1 / 60),
    "beyond what a vehicle nods": lambda: street(CAMERA, nodding(LARGEST_RAD + 1.5 * DEGREE)),
    "a kerb is hidden": lambda: parked_cars(street(CAMERA, nodding(DEGREE))),
    "lines nearly parallel": lambda: street(CAMERA, nodding(DEGREE), 0.05, -0.03),
    "no road": lambda: np.full(HW, VOID, np.uint8),
    "nothing but road": lambda: np.full(HW, ROAD, np.uint8),
    "a zigzag": lambda: np.where(
        np.arange(HW[0])[:, None] // 8 % 2, street(CAMERA, POSE), np.roll(street(CAMERA, POSE), 40, 1)
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_frame_that_does_not_tell_is_refused(why):
    assert settled(REFUSED[why]()) == 0.0


def test_a_camera_that_sees_no_road_ahead_is_left_alone():
    down = CameraPose(0.0, 0.0, 1.5, 0.0, math.pi / 2, 0.0)
    assert settled(street(CAMERA, down), pose=down) == 0.0
    up = CameraPose(0.0, 0.0, 1.5, 0.0, -0.33, 0.0)
    assert settled(street(CAMERA, up), pose=up) == 0.0


def test_borders_end_at_what_is_beside_the_road_only():
    mask = np.array(
        (
            (PAVEMENT, ROAD, ROAD, CAR, ROAD, BUILDING),  # the outermost road counts
            (CAR, ROAD, ROAD, ROAD, VOID, PAVEMENT),  # a car hides the left border, the right one is not known
            (ROAD, ROAD, PAVEMENT, ROAD, ROAD, ROAD),  # runs out of the picture
            (SKY, SKY, SKY, CAR, VOID, SKY),
        ),
        np.uint8,
    )
    is_road, is_beside = np.zeros((2, 256), np.bool_)
    is_road[ROAD] = is_beside[[PAVEMENT, BUILDING]] = True
    out = np.empty((3, 2))
    find_borders(mask, is_road, is_beside, np.array((0, 1, 2), np.int32), out)
    np.testing.assert_array_equal(out, ((0.5, 4.5), (np.nan, np.nan), (np.nan, np.nan)))
    find_borders(mask, is_road, is_beside, np.array((3, 3, 0), np.int32), out)
    np.testing.assert_array_equal(out, ((np.nan, np.nan), (np.nan, np.nan), (0.5, 4.5)))


def test_a_line_is_found_under_many_strays():
    t = np.linspace(-0.4, -0.06, 50)
    s = 0.3 - 2 * t
    s[::5] += 0.2  # two fifths stray, all to one side
    s[1::5] += 0.5
    expected = np.ones(50, np.bool_)
    expected[::5] = expected[1::5] = False
    np.testing.assert_array_equal(near_a_line(t, s, 0.01), expected)
    assert near_a_line(t[:1], s[:1], 0.01).tolist() == [False]


def test_borders_that_meet_above_the_horizon_tell_by_how_much():
    left, right = np.linspace(-0.4, -0.06, 20), np.linspace(-0.3, -0.06, 15)
    # Through (0.02, 0.1) with slopes of -2 and 1.5: a road of 3.5 camera heights.
    pitch, deviation, curvature = meeting_point(
        (left, 0.1 - 2 * (left - 0.02)), (right, 0.1 + 1.5 * (right - 0.02)), 1.5, 1e-6
    )
    assert pitch == pytest.approx(math.atan(0.02)) and deviation < 1e-5 and curvature == pytest.approx(0, abs=1e-9)


def test_a_bend_shows_in_both_borders():
    # y = y0 + x^2 / 2 R, seen from 1.5 m: x = 1.5 / -fall.
    left, right = np.linspace(-0.4, -0.06, 20), np.linspace(-0.3, -0.06, 15)
    borders = [(t, (y0 + (1.5 / -t) ** 2 / 2 / 300) / (1.5 / -t)) for t, y0 in ((left, 3.0), (right, -2.0))]
    pitch, _, curvature = meeting_point(borders[0], borders[1], 1.5, 1e-6)
    assert pitch == pytest.approx(0, abs=1e-9) and curvature == pytest.approx(1 / 300)


def test_lines_that_do_not_meet_ahead_say_nothing():
    t = np.linspace(-0.4, -0.06, 20)
    assert meeting_point((t, 0.1 + t), (t, -0.1 + t), 1.5, 1e-3)[1] > 1
    assert meeting_point((t, 0.1 + 2 * t), (t, -0.1 - 2 * t), 1.5, 1e-3)[1] > 1


def test_off_costs_nothing(monkeypatch):
    def refuse(labels):
        raise AssertionError("asked for")

    monkeypatch.setattr(drivable, "PitchCorrection", refuse)
    DrivableExtractor(CAMVID, DrivableSettings())
    with pytest.raises(AssertionError, match="asked for"):
        DrivableExtractor(CAMVID, DrivableSettings(pitch_correction="vanishing_point"))


def test_an_unknown_way_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"no pitch_correction 'vanishing-point'.*did you mean 'vanishing_point'"):
        DrivableSettings(pitch_correction="vanishing-point")


def test_things_stand_where_the_corrected_pitch_has_them_whatever_else_is_watched():
    """Their feet are placed by the projection: it was the calibrated one while nobody watched grid, scan, areas or points."""
    extractor = DrivableExtractor(CAMVID, DrivableSettings(pitch_correction="vanishing_point"))
    extractor.set_camera(CAMERA, POSE, HW)
    semantic = street(CAMERA, nodding(DEGREE))
    things_alone = Wants(areas=False, grid=False, free_space=False)
    for _ in range(8):
        told = extractor.extract(Panoptic(semantic, np.zeros(HW, np.uint16), semantic, ()), things_alone)
    assert told.areas == () and told.grid is None and told.free_space is None and told.points is None
    assert extractor.projection is not None
    assert extractor.projection.pose.pitch - POSE.pitch == pytest.approx(DEGREE, abs=math.radians(0.1))


def test_most_of_a_nod_is_taken_away():
    # 1.3 Hz at 30 frames a second: a filter of one frame lags by 2 pi 1.3 / 30 = 0.27 rad, so a quarter is left.
    extractor = DrivableExtractor(CAMVID, DrivableSettings(pitch_correction="vanishing_point"))
    extractor.set_camera(CAMERA, POSE, HW)
    left, before = [], []
    for i in range(30):
        nod = DEGREE * math.sin(2 * math.pi * 1.3 * i / 30)
        semantic = street(CAMERA, nodding(nod))
        extractor.extract(Panoptic(semantic, np.zeros(HW, np.uint16), semantic, ()), Wants(areas=False, grid=False))
        assert extractor.projection is not None
        left.append(extractor.projection.pose.pitch - POSE.pitch - nod)
        before.append(nod)
    assert np.linalg.norm(left) < 0.4 * np.linalg.norm(before)
