import hashlib
import math

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.labels import CAMVID
from seg_perception.results import Outline, Panoptic, Wants
from seg_perception.synthetic.canvas import Canvas, View
from seg_perception.synthetic.drive import SMALLEST_THING, SyntheticDrive
from seg_perception.synthetic.scenery import wall
from seg_perception.synthetic.street import LARGEST_CURVATURE, Bend

ROAD, CAR = CAMVID.by_name("road").id, CAMVID.by_name("car").id
COSTS = CAMVID.drivable_costs
LENS = (-0.12, 0.03, 0.0005, -0.0004, 0.0)


def test_a_wall_stands_on_its_foot_in_picture_and_from_above():
    # 10 m ahead, 2 m wide, 1 m high under a level camera at 2 m and 100 px of focal length.
    position = np.array((0.0, 0.0, 2.0))
    optical = np.array(((0.0, 0, 1), (-1, 0, 0), (0, -1, 0)))
    matrix = np.array(((100.0, 0, 50), (0, 100.0, 50), (0, 0, 1)))
    canvas = Canvas(101, 101, View.camera(matrix, optical, position), 0.0, np.zeros(3), label_rows=4)
    canvas.paint(wall(10, -1, 10, 1, 0, 1), (255, 0, 0), CAR, 7)
    rows, columns = np.nonzero(canvas.codes)
    # Foot 2 m below the eye at 10 m: 20 px below the middle; top 1 m below: 10 px; 1 m aside: 10 px.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (60, 70, 40, 60)
    np.testing.assert_array_equal(canvas.rgb[..., 0] == 255, canvas.codes > 0)
    semantic, instance = canvas.labels()
    assert set(semantic[instance > 0]) == {CAR} and instance.max() == 1
    above = Canvas(80, 300, View.birds_eye(position, (0.0, -4.0), (0.1, 0.1)), 0.0, np.zeros(3), has_picture=False)
    above.paint(wall(10, -1, 10, 1, 0, 1), (255, 0, 0), CAR)
    # Half the eye's height tall, it hides the ground to twice its distance, where its shadow is twice as wide.
    hidden = above.codes > 0
    assert hidden[40, 101:199].all()
    assert not hidden[40, :98].any() and not hidden[40, 202:].any()
    assert hidden[:, 101].sum() == pytest.approx(20, abs=2) and hidden[:, 198].sum() == pytest.approx(40, abs=2)


def test_drive_is_the_same_for_the_same_arguments_and_moves():
    first, again, other = (
        SyntheticDrive(320, 192, seed=4),
        SyntheticDrive(320, 192, seed=4),
        SyntheticDrive(320, 192, seed=5),
    )
    a, b = first.frame(20), again.frame(20)
    assert np.array_equal(a.rgb, b.rgb) and np.array_equal(a.instance, b.instance)
    assert a.stamp_ns == round(20e9 / 30) and len(SyntheticDrive(frames=7)) == 7
    assert not np.array_equal(a.semantic, first.frame(24).semantic)
    assert not np.array_equal(a.semantic, other.frame(20).semantic)
    assert CAMVID.is_thing[a.semantic[a.instance > 0]].all()
    crowd = (a.instance == 0) & CAMVID.is_thing[a.semantic]
    assert 0 < crowd.sum() < 0.3 * (a.instance > 0).sum()
    for number in np.unique(a.instance[a.instance > 0]):
        rows = np.flatnonzero((a.instance == number).any(axis=1))
        assert rows[-1] - rows[0] + 1 >= SMALLEST_THING * a.instance.shape[0]
    # Neighbouring frames are nearly alike: things move, they do not jump.
    assert (a.semantic == first.frame(21).semantic).mean() > 0.93


def test_lens_bends_the_picture_and_keeps_its_size():
    straight, bent = SyntheticDrive(320, 192), SyntheticDrive(320, 192, distortion=LENS)
    a, b = straight.frame(3), bent.frame(3)
    assert a.rgb.shape == b.rgb.shape and a.instance.shape == b.instance.shape
    assert 0.01 < (a.semantic != b.semantic).mean() < 0.2
    assert bent.camera.distortion == LENS


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"seed": 4}, ["03370549c9844de1", "4436c3a4f0de8c7d", "bfe7f0493efb6c32"]),
        ({"seed": 2, "distortion": LENS}, ["17d67df3eb9e6242", "6e12242e5c105e1d", "b7b7ded981bf4334"]),
    ],
    ids=["pinhole", "distorted"],
)
def test_a_straight_street_is_painted_as_ever(monkeypatch, arguments, expected):
    """Figures of old reports hold only while frames do. The hashes are of what is painted, since OpenCV's versions fill
    the same polygon differently."""
    fill, digest = Canvas._fill, hashlib.sha256()

    def record(canvas, pixels, shade, code):
        for numbers in (pixels * 16, shade, code):
            digest.update(np.rint(numbers).astype(np.int64).tobytes())
        fill(canvas, pixels, shade, code)

    monkeypatch.setattr(Canvas, "_fill", record)
    drive, found = SyntheticDrive(320, 192, **arguments), []
    for i in (0, 35, 200):
        digest = hashlib.sha256()
        drive.frame(i)
        found.append(digest.hexdigest()[:16])
    assert found == expected


def test_a_bend_is_an_arc():
    quarter = 50 * math.pi / 2
    # A quarter of a circle of 50 m to the left ends at (50, 50), heading left; 10 m to the left of it is 10 m nearer to
    # the centre at (0, 50).
    assert Bend(0.02).place(quarter, 0.0) == pytest.approx((50, 50, math.pi / 2))
    assert Bend(0.02).place(quarter, 10.0) == pytest.approx((40, 50, math.pi / 2))
    assert Bend(-0.02).place(quarter, 10.0) == pytest.approx((60, -50, -math.pi / 2))
    assert Bend(0.0).place(7.0, 2.0) == (7.0, 2.0, 0.0)
    flat = np.array(((0.0, 2, 0), (30, 2, 0), (30, 3, 4), (0, 3, 4)))
    bent = Bend(0.02).polygon(flat)
    np.testing.assert_allclose(np.hypot(bent[:, 0], bent[:, 1] - 50), 50 - np.interp(bent[:, 2], (0, 4), (2, 3)))
    assert np.linalg.norm(np.diff(bent, axis=0), axis=1).max() < 4.2 and len(bent) == 122
    for curvature in (LARGEST_CURVATURE * 1.01, math.nan):
        with pytest.raises(ValueError, match="curvature"):
            SyntheticDrive(curvature=curvature)


@pytest.mark.parametrize("curvature", [0.02, -0.02])
def test_a_bent_road_ends_ahead_where_its_edge_does(curvature):
    drive = SyntheticDrive(320, 192, seed=2, curvature=curvature)
    edge = -drive._right if curvature > 0 else drive._left
    # The edge is a circle of radius 50 + edge around a point 50 m beside the camera.
    expected = math.sqrt((50 + edge) ** 2 - 50**2)
    ends = [drive.exact_free_distance(i) for i in range(0, 100, 10)]  # now and then something stands before it
    assert max(ends) == pytest.approx(expected, abs=0.02)


def test_edges_and_width_are_the_roads():
    drive = SyntheticDrive(320, 192, seed=2)
    free_m = drive.exact_free_distance(0, 60.0)
    # The road is straight and its right side empty; cars may be parked on the left.
    assert drive.exact_edges(0, 8.0)[1] == pytest.approx(-drive._right, abs=0.02)
    assert max(drive.exact_edges(i, 8.0)[0] for i in (0, 20, 40)) == pytest.approx(drive._left, abs=0.02)
    assert drive.exact_edges(0, 3.0)[0] == math.inf  # where the picture is 2.1 m wide to that side
    assert all(map(math.isnan, drive.exact_edges(0, 1.0) + drive.exact_edges(0, free_m + 1)))
    bent = SyntheticDrive(320, 192, seed=2, curvature=0.01)
    radius = 100 - drive._right
    assert bent.exact_edges(0, 15.0)[1] == pytest.approx(math.sqrt(radius**2 - 15**2) - 100, abs=0.03)
    # A corner of 1 m from the axis meets the right edge sooner than the axis does.
    expected = math.sqrt(radius**2 - 101**2)
    ends = [bent.exact_free_distance(i, 40.0, 2.0) for i in (0, 30, 60)]
    assert max(ends) == pytest.approx(expected, abs=0.05)
    assert drive.exact_free_distance(0, 40.0, 30.0) < drive.exact_free_distance(0, 40.0, 0.0)


def test_a_narrow_view_from_above_shows_what_a_wide_one_does():
    # Both were frames in which a view of one row or column showed the shadow of something beside it.
    drive = SyntheticDrive(320, 192, seed=3, curvature=-0.02)
    ahead = drive.birds_eye(280, (0.0, -0.105), (21, 4000), (0.01, 0.01))[10]
    assert (drive.birds_eye(280, (0.0, -0.005), (1, 4000), (0.01, 0.01))[0] != ahead).mean() < 0.005
    drive = SyntheticDrive(seed=1)
    across = drive.birds_eye(111, (14.895, -5.0), (1000, 21), (0.01, 0.01))[:, 10]
    assert (drive.birds_eye(111, (14.995, -5.0), (1000, 1), (0.01, 0.01))[:, 0] != across).mean() < 0.005


def test_exact_polygon_encloses_the_road_of_the_birds_eye_view():
    drive = SyntheticDrive(
        320, 192, seed=3, curvature=0.01, distortion_model="fisheye", distortion=(-0.02, 0.004, 0, 0)
    )
    above = drive.birds_eye(90, (0.0, -10.0), (1000, 500), (0.02, 0.02)) == ROAD
    assert _iou(drive.exact_polygon(90, 10.0), above, (0.0, -10.0), 0.02) > 0.99


def test_a_nodding_camera_is_where_pose_at_says():
    drive = SyntheticDrive(320, 192, nod_rad=0.02)
    pitches = np.array([drive.pose_at(i).pitch for i in range(90)]) - drive.pose.pitch
    assert pitches[0] == 0 and pitches.max() == pytest.approx(0.02, rel=0.01)
    assert pitches.min() == pytest.approx(-0.02, rel=0.01)
    i = int(pitches.argmax())
    alike = SyntheticDrive(320, 192, pose=drive.pose_at(i))
    np.testing.assert_array_equal(drive.frame(i).semantic, alike.frame(i).semantic)
    assert drive.exact_free_distance(i) == alike.exact_free_distance(i)


def test_free_distance_ends_at_the_car_ahead():
    drive = SyntheticDrive()
    # The car ahead is 30 + 19 sin(0) = 30 m off at first; no car's rear is less than 1.9 or more than 4.8 m behind its middle.
    assert math.inf > drive.exact_free_distance(0, 60.0) and 25 < drive.exact_free_distance(0, 60.0) < 46
    assert drive.exact_free_distance(0, 20.0) == math.inf


def _perfect(drive: SyntheticDrive, i: int) -> Panoptic:
    frame = drive.frame(i)
    return Panoptic(frame.semantic, frame.instance, np.full(frame.semantic.shape, 255, np.uint8), ())


def _iou(
    outlines: tuple[Outline, ...], truth: NDArray[np.bool_], origin_m: tuple[float, float], cell_m: float
) -> float:
    drawn = np.zeros(truth.shape, np.uint8)
    for outline in outlines:
        points = (outline.points - np.float32(origin_m)) / np.float32(cell_m) - 0.5
        cv2.fillPoly(drawn, [np.rint(points * 16).astype(np.int32)], 0 if outline.hole else 1, cv2.LINE_8, 4)
    return float((truth & (drawn > 0)).sum() / (truth | (drawn > 0)).sum())


def test_one_degree_of_wrong_pitch_shows():
    # Level ground at 15 m seen from 1.5 m lies 5.7 degrees below the horizon, so a degree is about a sixth of it.
    drive = SyntheticDrive(seed=0)
    wrong = type(drive.pose)(0, 0, 1.5, 0, drive.pose.pitch + math.radians(1), 0)
    extractor = DrivableExtractor(CAMVID, DrivableSettings())
    extractor.set_camera(drive.camera, wrong, (720, 1280))
    i = next(i for i in range(0, 300, 10) if drive.exact_free_distance(i) < 18)
    road = next(area for area in extractor.extract(_perfect(drive, i), Wants()).areas if area.class_id == ROAD)
    share = road.free_distance_m / drive.exact_free_distance(i)
    assert 0.75 < share < 0.93
