import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.errors import SegPerceptionError
from seg_perception.ground.drivable import DrivableExtractor, DrivableSettings
from seg_perception.ground.geometry import GroundProjection, Lens
from seg_perception.labels import CAMVID
from seg_perception.results import Panoptic, Wants

K = ((600.0, 0.0, 319.5), (0.0, 610.0, 239.5), (0.0, 0.0, 1.0))
LENSES = {
    "none": ("plumb_bob", ()),
    "plumb_bob": ("plumb_bob", (-0.28, 0.07, 0.0005, -0.0003, 0.0)),
    "rational_polynomial": ("rational_polynomial", (0.4, 0.1, 0.0002, -0.0001, 0.01, 0.7, 0.2, 0.02)),
    "fisheye": ("fisheye", (-0.02, 0.004, -0.003, 0.0005)),
    "equidistant": ("equidistant", (-0.02, 0.004, -0.003, 0.0005)),
}
_RATIONAL = LENSES["rational_polynomial"][1]
MORE_LENSES = {
    **LENSES,
    "thin prism": ("rational_polynomial", (*_RATIONAL, 0.01, -0.02, 0.015, 0.006)),
    "tilted": ("rational_polynomial", (*_RATIONAL, 0.01, -0.02, 0.015, 0.006, 0.05, -0.08)),
    "slanted": (
        "rational_polynomial",
        (-0.2, 0.05, 0.002, -0.003, -0.01, 0.1, -0.03, 0.02, 0.0, 0.0, 0.0, 0.0, -0.07, 0.0),
    ),
}
"""With those that few cameras have."""


def camera(lens: str = "none") -> CameraModel:
    return CameraModel(640, 480, K, *MORE_LENSES[lens])


def test_straight_down_the_road():
    # Level camera at 1.2 m: a pixel 61 rows below the middle of the picture looks down 61/610 = 1/10, so 12 m away.
    ground = GroundProjection(camera(), CameraPose(0.5, 0.2, 1.2), (480, 640))
    np.testing.assert_allclose(ground.pixels_to_ground(np.array([[319.5, 300.5]])), [[12.5, 0.2]], atol=1e-9)
    # 60 px to the right at 600 px of focal length is a tenth of the distance to the right: 1.2 m less y.
    np.testing.assert_allclose(ground.pixels_to_ground(np.array([[379.5, 300.5]])), [[12.5, -1.0]], atol=1e-9)


def test_nose_down_sees_nearer_and_yaw_left_sees_left():
    level = GroundProjection(camera(), CameraPose(0, 0, 1.2), (480, 640))
    down = GroundProjection(camera(), CameraPose(0, 0, 1.2, pitch=math.atan(0.1)), (480, 640))
    left = GroundProjection(camera(), CameraPose(0, 0, 1.2, yaw=math.pi / 2), (480, 640))
    np.testing.assert_allclose(down.pixels_to_ground(np.array([[319.5, 239.5]])), [[12.0, 0.0]], atol=1e-9)
    np.testing.assert_allclose(left.pixels_to_ground(np.array([[319.5, 300.5]])), [[0.0, 12.0]], atol=1e-9)
    assert np.isnan(level.pixels_to_ground(np.array([[319.5, 239.5], [319.5, 100.0]]))).all()


def test_roll_to_the_right_lowers_the_right_side():
    rolled = GroundProjection(camera(), CameraPose(0, 0, 1.2, roll=0.2), (480, 640))
    right, left = rolled.pixels_to_ground(np.array([[500.0, 400.0], [139.0, 400.0]]))
    # With the body's right side down, its right half of the picture looks down more steeply.
    assert np.hypot(*right) < np.hypot(*left)


@settings(max_examples=60, deadline=None)
@given(
    lens=st.sampled_from(sorted(LENSES)),
    height=st.floats(0.3, 3.0),
    roll=st.floats(-0.2, 0.2),
    pitch=st.floats(-0.1, 0.6),
    yaw=st.floats(-3.1, 3.1),
    pixels=st.lists(st.tuples(st.floats(0, 639), st.floats(0, 479)), min_size=1, max_size=20),
)
def test_pixel_to_ground_and_back(lens, height, roll, pitch, yaw, pixels):
    projection = GroundProjection(camera(lens), CameraPose(0.3, -0.2, height, roll, pitch, yaw), (480, 640))
    there = projection.pixels_to_ground(np.array(pixels))
    hits = np.isfinite(there).all(axis=1)
    back = projection.ground_to_pixels(there[hits])
    np.testing.assert_allclose(back, np.array(pixels)[hits], atol=1e-5)


@pytest.mark.parametrize("lens", sorted(MORE_LENSES))
def test_agrees_with_opencv_forward_model(lens):
    pose = CameraPose(0.0, 0.0, 1.5, pitch=0.2)
    projection = GroundProjection(camera(lens), pose, (480, 640))
    points = np.array([[4.0, 0.5], [6.0, -2.0], [15.0, 3.0]])
    # The optical axes written out by hand: right = -y, down and ahead are x and z turned by the pitch.
    right, x, h = -points[:, 1], points[:, 0], 1.5
    down = h * math.cos(0.2) - x * math.sin(0.2)
    ahead = x * math.cos(0.2) + h * math.sin(0.2)
    objects = np.stack((right, down, ahead), axis=-1).reshape(-1, 1, 3)
    model, d = MORE_LENSES[lens]
    project = cv2.fisheye.projectPoints if model in ("fisheye", "equidistant") else cv2.projectPoints
    expected, _ = project(objects, np.zeros(3), np.zeros(3), np.array(K), np.array(d or (0.0,) * 4))
    np.testing.assert_allclose(projection.ground_to_pixels(points), expected.reshape(-1, 2), atol=1e-6)
    np.testing.assert_allclose(projection.pixels_to_ground(expected.reshape(-1, 2)), points, atol=1e-6)


SMALL = st.floats(-0.01, 0.01)
COEFFICIENTS = {
    "plumb_bob": st.tuples(st.floats(-0.3, 0.3), st.floats(-0.1, 0.1), SMALL, SMALL, SMALL),
    "rational_polynomial": st.one_of(
        st.tuples(*[st.floats(-0.3, 0.3)] * 2, SMALL, SMALL, *[st.floats(-0.1, 0.3)] * 4),
        st.tuples(*[st.floats(-0.3, 0.3)] * 2, SMALL, SMALL, *[st.floats(-0.1, 0.3)] * 4, *[SMALL] * 4),
        st.tuples(*[st.floats(-0.3, 0.3)] * 2, SMALL, SMALL, *[st.floats(-0.1, 0.3)] * 4, *[SMALL] * 4, *[SMALL] * 2),
    ),
    "fisheye": st.tuples(*[st.floats(-0.05, 0.05)] * 4),
}


@settings(max_examples=80, deadline=None)
@given(
    lens=st.sampled_from(sorted(COEFFICIENTS)).flatmap(lambda m: st.tuples(st.just(m), COEFFICIENTS[m])),
    focal=st.tuples(st.floats(200, 2000), st.floats(200, 2000)),
    middle=st.tuples(st.floats(200, 400), st.floats(150, 300)),
    pose=st.tuples(st.floats(0.3, 3), st.floats(-0.3, 0.3), st.floats(-0.1, 0.8), st.floats(-3, 3)),
    ground=st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=1, max_size=20),
)
def test_projects_as_opencv_does_for_any_camera(lens, focal, middle, pose, ground):
    (model, d), (fx, fy), (cx, cy), (z, roll, pitch, yaw) = lens, focal, middle, pose
    k = np.array(((fx, 0.0, cx), (0.0, fy, cy), (0.0, 0.0, 1.0)))
    try:
        projection = GroundProjection(
            CameraModel(640, 480, k, model, d), CameraPose(1, 2, z, roll, pitch, yaw), (480, 640)
        )
    except SegPerceptionError:
        return  # looks at the sky
    ours = projection.ground_to_pixels(np.array(ground))
    seen = np.isfinite(ours).all(axis=1)
    in_base = np.column_stack((np.array(ground), np.zeros(len(ground)))) - (1, 2, z)
    objects = (in_base @ projection.base_from_optical)[seen].reshape(-1, 1, 3)
    assert (objects[..., 2] > 0).all()
    if seen.any():
        project = cv2.fisheye.projectPoints if model == "fisheye" else cv2.projectPoints
        # Divided first: OpenCV divides by the depth in another order, which far outside the image is seen.
        theirs, _ = project(objects / objects[..., 2:], np.zeros(3), np.zeros(3), k, np.array(d))
        theirs = theirs.reshape(-1, 2)
        np.testing.assert_allclose(ours[seen], theirs, rtol=1e-9, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(
    lens=st.sampled_from(sorted(COEFFICIENTS)).flatmap(lambda m: st.tuples(st.just(m), COEFFICIENTS[m])),
    pixels=st.lists(st.tuples(st.floats(-0.5, 639.5), st.floats(-0.5, 479.5)), min_size=1, max_size=20),
)
def test_a_ray_that_is_found_leads_back_to_its_pixel(lens, pixels):
    made = Lens(CameraModel(640, 480, K, *lens), (480, 640))
    slopes = made.to_slopes(np.array(pixels))
    found = np.isfinite(slopes).all(axis=1)
    np.testing.assert_allclose(made.to_pixels(slopes[found]), np.array(pixels)[found], atol=1e-6)
    near = np.hypot(*(np.array(pixels) - (319.5, 239.5)).T) < 100  # no lens of these folds back so near to its axis
    assert found[near].all()


def test_every_lens_reaches_the_lower_corners():
    for lens in LENSES:
        projection = GroundProjection(camera(lens), CameraPose(0, 0, 1.5, pitch=0.1), (480, 640))
        corners = np.array([[0.0, 479.0], [639.0, 479.0], [320.0, 479.0]])
        assert np.isfinite(projection.pixels_to_ground(corners)).all(), lens


def test_lens_polynomial_does_not_fold_far_points_into_the_picture():
    # With k1 = -0.28 and k2 = 0 the radius turns back at a slope of 1.09, so what lies at 80 degrees would come back in.
    lens = CameraModel(640, 480, K, "plumb_bob", (-0.28, 0.0, 0.0, 0.0))
    projection = GroundProjection(lens, CameraPose(0, 0, 1.0), (480, 640))
    assert np.isnan(projection.ground_to_pixels(np.array([[1.0, 6.0], [-3.0, 0.0]]))).all()


def test_a_pixel_that_the_lens_polynomial_never_reaches_has_no_ray():
    # r (1 - 0.28 r^2) is 0.727 at most, that is 436 px; the corners are 500 px off, the left edge 400 px.
    lens = Lens(
        CameraModel(800, 600, ((600, 0, 399.5), (0, 600, 299.5), (0, 0, 1)), "plumb_bob", (-0.28, 0, 0, 0)), (600, 800)
    )
    slopes = lens.to_slopes(np.array([[0.0, 0.0], [799.0, 599.0], [0.0, 299.5]]))
    assert np.isnan(slopes[:2]).all() and np.isfinite(slopes[2]).all()


def test_image_of_another_size_sees_the_same_ground():
    # The middle of the top left quarter of 2x2 px is the corner between them: pixel (0.5, 0.5) of the full picture.
    full = GroundProjection(camera("plumb_bob"), CameraPose(0, 0, 1.5, pitch=0.3), (480, 640))
    half = GroundProjection(camera("plumb_bob"), CameraPose(0, 0, 1.5, pitch=0.3), (240, 320))
    np.testing.assert_allclose(
        half.pixels_to_ground(np.array([[100.0, 200.0]])),
        full.pixels_to_ground(np.array([[200.5, 400.5]])),
        rtol=1e-9,
    )


INFO = {
    "width": 640, "height": 480, "distortion_model": "plumb_bob", "d": [-0.1, 0.0, 0.0, 0.0, 0.0],
    "k": np.ravel(K).tolist(), "r": np.eye(3).ravel().tolist(),
    "p": [500.0, 0, 310, -60, 0, 500, 230, 0, 0, 0, 1, 0],
}  # fmt: skip


def test_a_part_of_the_picture_and_binned_pixels_see_the_same_ground():
    # The pixel at column 5, row 7 of a picture cut at 200, 100 and binned by 2 and 4 covers columns 210, 211 and rows
    # 128 to 131 of the full one, whose middle is 210.5, 129.5.
    part = CameraModel.from_matrices(**INFO, binning=(2, 4), roi=(200, 100, 400, 360))
    assert (part.width, part.height) == (200, 90) and part.distortion == (-0.1, 0.0, 0.0, 0.0, 0.0)
    rays = Lens(part, (90, 200)).to_slopes(np.array([[5.0, 7.0]]))
    full = Lens(CameraModel.from_matrices(**INFO), (480, 640))
    np.testing.assert_allclose(rays, full.to_slopes(np.array([[210.5, 129.5]])), rtol=1e-12)
    # A driver that sends the part at twice its size: the four pixels from 10, 14 on are that pixel.
    twice = Lens(part, (180, 400)).to_slopes(np.array([[10.5, 14.5]]))
    np.testing.assert_allclose(twice, rays, rtol=1e-12)


@pytest.mark.parametrize("roi", [(600, 0, 41, 480), (0, 300, 640, 200), (10, 10, 0, 0)])
def test_a_region_outside_the_picture_is_refused(roi):
    with pytest.raises(SegPerceptionError, match="does not lie in the calibrated image of 640x480"):
        CameraModel.from_matrices(**INFO, roi=roi)


def test_a_rectified_picture_is_that_of_p_without_a_lens():
    rectified = CameraModel.from_matrices(**INFO, rectified=True)
    np.testing.assert_array_equal(rectified.K, ((500, 0, 310), (0, 500, 230), (0, 0, 1)))
    assert rectified.distortion == () and rectified == CameraModel(640, 480, rectified.K)
    cut = CameraModel.from_matrices(**INFO, rectified=True, binning=(2, 2), roi=(100, 80, 400, 300))
    np.testing.assert_allclose(cut.K, ((250, 0, 104.75), (0, 250, 74.75), (0, 0, 1)))
    # With R zero, as monocular drivers may leave it, nothing is turned.
    assert CameraModel.from_matrices(**{**INFO, "r": [0.0] * 9}, rectified=True) == rectified


def test_rectification_turns_the_rays_back_into_the_camera():
    # R takes the camera's axes to those of the picture: here the picture looks 0.2 rad lower than the camera.
    c, s = math.cos(0.2), math.sin(0.2)
    r = [1, 0, 0, 0, c, -s, 0, s, c]
    turned = CameraModel.from_matrices(**{**INFO, "r": r}, rectified=True)
    straight = CameraModel.from_matrices(**INFO, rectified=True)
    pixels = np.array([[100.0, 400.0], [310.0, 230.0], [600.0, 300.0]])
    np.testing.assert_allclose(
        GroundProjection(turned, CameraPose(0, 0, 1.2), (480, 640)).pixels_to_ground(pixels),
        GroundProjection(straight, CameraPose(0, 0, 1.2, pitch=0.2), (480, 640)).pixels_to_ground(pixels),
        rtol=1e-9,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"p": [0.0] * 12}, "has no P.*image_rectified"),
        ({"p": []}, "has no P"),
        ({"p": [math.nan] * 12}, "not finite"),
        ({"r": [2.0, 0, 0, 0, 1, 0, 0, 0, 1]}, "R is no rotation"),
        ({"r": [1.0, 0, 0, 0, 1, 0, 0, 0, -1]}, "R is no rotation"),
        ({"r": [1.0, 0, 0]}, "rectification matrix has 3 numbers"),
    ],
)
def test_a_rectification_that_cannot_be_is_refused(changes, words):
    with pytest.raises(SegPerceptionError, match=words):
        CameraModel.from_matrices(**{**INFO, **changes}, rectified=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [0.0] * 9}, "focal length"),
        ({"k": [math.nan] * 9}, "not finite"),
        ({"d": [math.inf] * 5}, "not finite"),
        ({"d": [0.1, 0.2]}, "2 coefficients"),
        ({"distortion_model": "plum_bob", "d": [0.1] * 5}, "did you mean 'plumb_bob'"),
        ({"width": 0}, "0x480"),
        ({"binning": (1000, 1)}, "0x480"),
        ({"k": [1.0] * 4}, "4 numbers"),
        # Column by column, as MATLAB writes it; the principal point would be the image's corner, and all off to a side.
        ({"k": np.transpose(K).ravel().tolist()}, r"matrix is 600 0 0; 0 610 0; 319.5 239.5 1, where fx 0 cx"),
        ({"k": (2 * np.array(K)).ravel().tolist()}, "where fx 0 cx; 0 fy cy; 0 0 1 is due"),
        ({"k": [500.0, 30, 320, 0, 500, 240, 0, 0, 1]}, "where fx 0 cx"),
        # In mm: a view of 179 degrees, and grounds a hundred times as wide.
        ({"k": [4.2, 0, 320, 0, 4.2, 240, 0, 0, 1]}, "focal length is 4.2, 4.2 px for an image of 640x480.*not in mm"),
        ({"k": [1e13, 0, 320, 0, 1e13, 240, 0, 0, 1]}, "which no lens has"),
        ({"k": [500.0, 0, 0, 0, 500, 0, 0, 0, 1]}, "principal point is 0, 0 px"),
        ({"k": [500.0, 0, 320, 0, 500, -1e15, 0, 0, 1]}, "principal point is 320, -1e[+]15 px"),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(changes, words):
    values = {
        "width": 640, "height": 480, "distortion_model": "plumb_bob", "d": [0.0] * 5,
        "k": np.ravel(K).tolist(), "r": [0.0] * 9, "p": [0.0] * 12,
    }  # fmt: skip
    assert CameraModel.from_matrices(**values).distortion == (0.0,) * 5
    with pytest.raises(SegPerceptionError, match=words):
        CameraModel.from_matrices(**{**values, **changes})


@pytest.mark.parametrize("rectified", [False, True])
@pytest.mark.parametrize("binning", [(0, 0), (2, 2)])
def test_a_principal_point_was_never_set_where_that_of_the_whole_image_is_its_corner(rectified, binning):
    """That of a part of it may be the part's own corner."""
    k, p = np.array([600.0, 0, 320, 0, 600, 240, 0, 0, 1]), np.zeros((3, 4))
    p[:, :3] = k.reshape(3, 3)
    values = {**INFO, "binning": binning, "roi": (320, 240, 320, 240), "rectified": rectified}
    part = CameraModel.from_matrices(**{**values, "k": k.tolist(), "p": p.ravel().tolist()})
    assert (part.K[0][2], part.K[1][2]) == ((0.0, 0.0) if binning == (0, 0) else (-0.25, -0.25))
    k[[2, 5]], p[:2, 2] = 0, 0
    for roi in (values["roi"], (0, 0, 0, 0)):
        with pytest.raises(SegPerceptionError, match="principal point is 0, 0 px in an image of 640x480 px"):
            CameraModel.from_matrices(**{**values, "k": k.tolist(), "p": p.ravel().tolist(), "roi": roi})


@pytest.mark.parametrize("place", [(0, 1), (1, 0), (2, 0), (2, 1), (2, 2)])
def test_a_matrix_that_was_computed_may_be_off_by_rounding(place):
    """Who scales a matrix by another, or inverts it twice, has 1e-12 for 0 and 0.999999999999 for 1."""
    k = np.array(K, np.float64).reshape(3, 3)
    k[place] -= 1e-12
    assert CameraModel(640, 480, k).K[1][1] == 610.0


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        (CameraPose(0, 0, -0.5), "-0.5 m above the ground"),
        (CameraPose(0, 0, 1.5, pitch=-1.5), "above the horizon"),
        (CameraPose(0, 0, math.nan), "not finite"),
    ],
)
def test_a_pose_that_cannot_be_is_refused(pose, words):
    with pytest.raises(SegPerceptionError, match=words):
        GroundProjection(camera(), pose, (480, 640))


@pytest.mark.parametrize(
    ("model", "d"), [("equidistant", ()), ("fisheye", (-0.3, 0.0, 0.0, 0.0)), ("plumb_bob", (-0.3, 0.0, 0.0, 0.0))]
)
def test_an_image_wholly_beyond_the_field_of_its_lens_is_told_apart_from_a_wrong_pose(model, d):
    beyond = CameraModel(640, 480, ((100.0, 0, 5000.0), (0, 100.0, 239.5), (0, 0, 1)), model, d)
    with pytest.raises(SegPerceptionError, match=r"beyond the field of the camera's lens.*calibrate"):
        GroundProjection(beyond, CameraPose(0, 0, 1.5, pitch=0.4), (480, 640))


@pytest.mark.parametrize(
    ("hw", "fits"),
    [((480, 640), True), ((240, 320), True), ((241, 320), True), ((333, 444), True), ((360, 640), False),
     ((480, 600), False), ((478, 640), False), ((482, 640), False)],
)  # fmt: skip
def test_an_image_of_another_shape_is_not_this_camera_s(hw, fits):
    misfit = camera().misfit(hw)
    assert (misfit is None) == fits
    if misfit:
        assert f"{hw[1]}x{hw[0]}" in misfit and "640x480" in misfit


def test_a_fisheye_whose_circle_lies_inside_the_picture_sees_ground():
    """The circle of 90 degrees has a radius of 280 * pi / 2 = 440 px, in a picture of 1280x960: its edges see nothing."""
    inside = CameraModel(1280, 960, ((280, 0, 639.5), (0, 280, 479.5), (0, 0, 1)), "equidistant", (0.0,) * 4)
    projection = GroundProjection(inside, CameraPose(0, 0, 1.5, pitch=0.5), (960, 1280))
    assert np.isfinite(projection.pixels_to_ground(np.array(((639.5, 479.5), (639.5, 700.0))))).all()
    assert np.isnan(projection.pixels_to_ground(np.array(((10.0, 479.5),)))).all()


def test_beyond_the_fold_of_a_fisheye_there_are_no_rays():
    """The polynomial rises to its fold, falls and rises again: radii up to the fold have one ray each, others none."""
    k = (-0.103, 0.05, -0.238, 0.099)
    folds = CameraModel(1280, 960, ((300, 0, 639.5), (0, 300, 479.5), (0, 0, 1)), "fisheye", k)
    angles = np.linspace(0, math.pi / 2, 200001)[1:-1]
    radii = angles * (1 + k[0] * angles**2 + k[1] * angles**4 + k[2] * angles**6 + k[3] * angles**8)
    fold = int(np.flatnonzero(np.diff(radii) <= 0)[0])
    lens = GroundProjection(folds, CameraPose(0, 0, 1.5, pitch=0.5), (960, 1280)).lens
    ours = np.linspace(1.0, radii[fold] * 300 - 1.0, 300)
    slopes = lens.to_slopes(np.column_stack((639.5 + ours, np.full(300, 479.5))))
    np.testing.assert_allclose(
        slopes[:, 0], np.tan(np.interp(ours / 300, radii[: fold + 1], angles[: fold + 1])), rtol=1e-4
    )
    beyond = np.linspace(radii[fold] * 300 + 1.0, 639.0, 100)
    assert np.isnan(lens.to_slopes(np.column_stack((639.5 + beyond, np.full(100, 479.5))))).all()


def test_the_ground_of_a_fisheye_that_folds_is_one_patch_within_its_fold():
    """Its polynomial has rays up to 61.4 degrees off the axis, in a circle of 244 px, and the picture shows more. Rays of the
    polynomial's other branches gave rings of ground beyond it; what is right is the ground within the fold, less the cells
    of 8 px of the lattice that its edge runs through, whose diagonal is 11.3 px."""
    k = (-0.103, 0.05, -0.238, 0.099)
    hw, pose = (960, 1280), CameraPose(0, 0, 1.5, pitch=0.5)
    folds = CameraModel(1280, 960, ((300, 0, 639.5), (0, 300, 479.5), (0, 0, 1)), "fisheye", k)
    projection = GroundProjection(folds, pose, hw)
    extractor = DrivableExtractor(CAMVID, DrivableSettings(range_max_m=10.0))
    extractor.set_camera(folds, pose, hw)
    v, u = np.mgrid[: hw[0], : hw[1]]
    falls = projection.pixels_to_rays(np.column_stack((u.ravel(), v.ravel())))[:, 2] < 0  # False for NaN
    mask = np.where(falls, CAMVID.by_name("road").id, CAMVID.by_name("sky").id).astype(np.uint8).reshape(hw)
    panoptic = Panoptic(mask, np.zeros(hw, np.uint16), mask, ())
    (area,) = extractor.extract(panoptic, Wants(grid=False, free_space=False)).areas
    assert [outline.hole for outline in area.outlines_ground] == [False]
    y, x = np.mgrid[-10:10:0.05, -10:10:0.05] + 0.025
    optical = np.column_stack((x.ravel(), y.ravel(), np.ones(x.size))) @ projection.to_optical.T
    angles = np.arctan2(np.hypot(optical[:, 0], optical[:, 1]), optical[:, 2])
    a2 = angles**2
    radii = 300 * angles * (1 + a2 * (k[0] + a2 * (k[1] + a2 * (k[2] + a2 * k[3]))))
    within = angles < math.radians(61.43)
    most, least = (0.05**2 * (within & (radii < radius)).sum() for radius in (244.2, 244.2 - 12.5))
    assert least < area.area_m2 < most


def test_equal_calibrations_compare_equal():
    assert CameraModel(640, 480, np.array(K)) == CameraModel(640, 480, np.ravel(K).tolist())
    assert camera("fisheye") != camera("equidistant")


FOLDING = (-0.3, 0.0, 0.0, 0.0)
"""A fisheye whose radius grows up to 1.05 rad and then falls: angle (1 - 0.3 angle^2), 0.70 focal lengths at most."""


@pytest.mark.parametrize(
    "coefficients", [(0.0, 0.0, 0.0, 0.0), FOLDING, (0.1, -0.2, 0.0, 0.0), (-0.02, 0.004, -0.003, 0.0005)]
)
def test_a_fisheye_sees_up_to_its_fold_and_to_90_degrees_and_nothing_beyond(coefficients):
    """Against the curve itself: a radius belongs to the first angle that has it, while the curve rises."""
    angles = np.linspace(0, math.pi / 2, 20001)
    a2 = angles**2
    radii = angles * (
        1 + a2 * (coefficients[0] + a2 * (coefficients[1] + a2 * (coefficients[2] + a2 * coefficients[3])))
    )
    fold = int(np.argmax(np.append(np.diff(radii) <= 0, True)))
    reach, focal = radii[fold], 200.0
    k = ((focal, 0.0, 1.0), (0.0, focal, 1.0), (0.0, 0.0, 1.0))
    lens = Lens(CameraModel(640, 480, k, "fisheye", coefficients), (480, 640))
    asked = np.concatenate((np.linspace(0.02, 0.97, 40) * reach, np.linspace(1.03, 3.0, 60) * reach))
    ways = np.array([(math.cos(turn), math.sin(turn)) for turn in (0.0, 0.8, 2.5)])
    for way in ways:
        slopes = lens.to_slopes(1.0 + focal * asked[:, None] * way)
        assert np.isfinite(slopes[:40]).all() and np.isnan(slopes[40:]).all(), coefficients
        expected = np.tan(np.interp(asked[:40], radii[: fold + 1], angles[: fold + 1]))
        np.testing.assert_allclose(slopes[:40] @ way, expected, rtol=1e-4)


@pytest.mark.parametrize("lens", sorted(LENSES))
def test_every_lens_sees_the_ground_before_it_and_finds_back(lens):
    """What the property tests above take for granted: that there is something to compare."""
    projection = GroundProjection(camera(lens), CameraPose(0.0, 0.0, 1.5, 0.0, 0.2, 0.0), (480, 640))
    v, u = np.mgrid[300:470:20, 100:540:20]
    pixels = np.column_stack((u.ravel(), v.ravel())).astype(float)
    there = projection.pixels_to_ground(pixels)
    assert np.isfinite(there).all()
    np.testing.assert_allclose(projection.ground_to_pixels(there), pixels, atol=1e-5)
    ahead = np.array([(5.0, 0.0), (8.0, 1.0), (12.0, -2.0)])
    assert np.isfinite(projection.ground_to_pixels(ahead)).all()


@pytest.mark.parametrize(
    ("size", "focal", "coefficients"),
    [
        ((216, 343), 78.0, (0.05, 0.442, 0.002, -0.002, 0.044, -0.279, -0.141, 0.051)),
        ((234, 482), 99.0, (-0.254, 0.373, 0.003, 0.008, 0.134, -0.065, -0.245, 0.192)),
    ],
)
def test_a_lens_that_spreads_the_corners_has_a_ray_for_every_pixel_that_it_bends_one_to(
    size: tuple[int, int], focal: float, coefficients: tuple[float, ...]
) -> None:
    """Such a pixel's own slopes lie beyond where the polynomial folds back, from where no way leads to its ray."""
    width, height = size
    camera = CameraModel(
        width, height, ((focal, 0, width / 2), (0, focal, height / 2), (0, 0, 1)), "rational_polynomial", coefficients
    )
    lens = Lens(camera, (height, width))
    limit = math.sqrt(lens.numbers.slope_limit_squared) / 1.1
    away, turn = np.meshgrid(np.linspace(0.0, limit, 80), np.linspace(-math.pi, math.pi, 60))
    slopes = np.column_stack(((away * np.cos(turn)).ravel(), (away * np.sin(turn)).ravel()))
    pixels = lens.to_pixels(slopes)
    inside = ((pixels > -0.5) & (pixels < np.array(size) - 0.5)).all(axis=1)
    assert inside.sum() > 1000
    np.testing.assert_allclose(lens.to_slopes(pixels[inside]), slopes[inside], atol=1e-7)
