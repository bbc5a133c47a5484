"""Filters of motion: held to simulations, whose errors must be as large as the filters say."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from moving_things import PERIOD_NS

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.ground.odometry import Odometry, PlanarPose
from seg_perception.labels import CAMVID, CITYSCAPES
from seg_perception.panoptic.relabel import told
from seg_perception.results import Panoptic, Segment
from seg_perception.tracking import motion, sides
from seg_perception.tracking.feet import fastest_speeds, feet_on_ground, hiding_classes, in_odometry
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.tracker import Tracker

HW = (720, 1280)
CAMERA = CameraModel(1280, 720, ((896.0, 0, 639.5), (0, 896.0, 359.5), (0, 0, 1)))
PROJECTION = GroundProjection(CAMERA, CameraPose(0.0, 0.0, 1.5, 0.0, 0.06, 0.0), HW)
DT_S = 1 / 30


def nees(error, covariance):
    """Normalised estimation error squared of each run, whose mean is the number of states where a filter is consistent
    (Bar-Shalom, Li & Kirubarajan 2001, section 5.4)."""
    return np.einsum("ni,nij,nj->n", error, np.linalg.inv(covariance), error)


def chi_square_bounds(mean, runs):
    """99.9 % of means over so many runs."""
    return mean - 3.3 * math.sqrt(2 * mean / runs), mean + 3.3 * math.sqrt(2 * mean / runs)


def test_errors_on_the_ground_are_as_large_as_the_covariance_says():
    """Feet seen in pixels with noise, on things whose speed wanders as the filter expects."""
    rng, runs, q = np.random.default_rng(1), 400, 4.0
    sigma = np.full((runs, 2), 1.5)
    truth = np.column_stack(
        (rng.uniform(11, 13, runs), rng.uniform(-3, 3, runs), rng.normal(0, 1, runs), rng.normal(0, 1, runs))
    )
    noise_root = np.linalg.cholesky(np.array(((DT_S**3 / 3, DT_S**2 / 2), (DT_S**2 / 2, DT_S))) * q)
    state = cov = None
    for step in range(30):
        pixels = PROJECTION.ground_to_pixels(truth[:, :2]) + rng.normal(0, 1, (runs, 2)) * sigma
        measured, noise = feet_on_ground(PROJECTION, pixels, sigma)
        if state is None:
            state = np.column_stack((measured, np.zeros((runs, 2))))
            cov = np.tile(np.diag((0.0, 0.0, 1.0, 1.0)), (runs, 1, 1))
            cov[:, :2, :2] = noise
        else:
            state, cov = motion.predict_ground(state, cov, DT_S, q)
            state, cov, _ = motion.update_ground(state, cov, measured, noise)
        if step in (0, 5, 15, 29):
            low, high = chi_square_bounds(4, runs)
            found = nees(state - truth, cov)
            # The farther ones are measured on a bent scale, which the filter takes for straight.
            assert low < found.mean() < high * 1.1, step
        wander = np.einsum("ij,njk->nik", noise_root, rng.normal(0, 1, (runs, 2, 2)))
        truth[:, :2] += truth[:, 2:] * DT_S + wander[:, 0]
        truth[:, 2:] += wander[:, 1]


def test_a_filter_that_believes_too_much_is_noticed_by_that_test():
    cov = np.tile(np.eye(4), (400, 1, 1))
    error = np.random.default_rng(0).normal(0, 1.2, (400, 4))
    assert nees(error, cov).mean() > chi_square_bounds(4, 400)[1]


def test_errors_of_a_coordinate_are_as_large_as_its_covariance_says():
    rng, runs, q, sigma = np.random.default_rng(2), 500, 900.0, 1.5
    truth, speed = rng.uniform(0, 500, runs), rng.normal(0, 60, runs)
    states = [(x, 0.0) for x in truth + rng.normal(0, sigma, runs)]
    cov = np.zeros((runs, 3))
    cov[:, sides.PP], cov[:, sides.VV] = sigma**2, 60.0**2
    grown = (q * DT_S**3 / 3, q * DT_S**2 / 2, q * DT_S)
    root = np.linalg.cholesky(np.array(((DT_S**3 / 3, DT_S**2 / 2), (DT_S**2 / 2, DT_S))) * q)
    for _ in range(30):
        wander = root @ rng.normal(0, 1, (2, runs))
        truth, speed = truth + speed * DT_S + wander[0], speed + wander[1]
        measured = truth + rng.normal(0, sigma, runs)
        states = [sides.predict_coordinate(state, c, DT_S, grown) for state, c in zip(states, cov)]
        states = [sides.update_coordinate(state, c, x, sigma**2) for state, c, x in zip(states, cov, measured)]
    full = np.stack((cov[:, [sides.PP, sides.PV]], cov[:, [sides.PV, sides.VV]]), axis=1)
    low, high = chi_square_bounds(2, runs)
    assert low < nees(np.array(states) - np.column_stack((truth, speed)), full).mean() < high


def test_what_is_not_measured_changes_nothing():
    cov = np.array([1.0, 0.5, 2.0])
    assert sides.update_coordinate((3.0, 4.0), cov, 99.0, np.inf) == (3.0, 4.0)
    assert cov.tolist() == [1.0, 0.5, 2.0]


def test_two_short_steps_are_one_long_one():
    states, covs = np.array([[1.0, 2.0, 3.0, 4.0]]), np.eye(4)[None] * 2
    once = motion.predict_ground(states, covs, 0.2, 3.0)
    twice = motion.predict_ground(*motion.predict_ground(states, covs, 0.1, 3.0), 0.1, 3.0)
    for one, two in zip(once, twice):
        np.testing.assert_allclose(one, two, rtol=1e-12)


def test_noise_of_feet_is_that_of_many_drawn_ones():
    rng = np.random.default_rng(3)
    foot = np.array(((700.0, 480.0),))
    place, noise = feet_on_ground(PROJECTION, foot, np.array(((3.0, 1.0),)))
    drawn = PROJECTION.pixels_to_ground(foot + rng.normal(0, 1, (4000, 2)) * (3.0, 1.0))
    np.testing.assert_allclose(np.cov(drawn.T), noise[0], rtol=0.1, atol=0.02 * noise[0].max())
    np.testing.assert_allclose(place, PROJECTION.pixels_to_ground(foot))


def test_there_is_no_foot_in_the_sky_nor_far_away():
    places, noise = feet_on_ground(PROJECTION, np.array(((640.0, 100.0), (640.0, 312.0))), np.ones((2, 2)))
    assert np.isnan(places).all() and np.isnan(noise).all()


@pytest.mark.parametrize("short_px", [-3, 0, 5, 12])
def test_where_the_picture_of_a_lens_ends_no_foot_is_seen(short_px):
    """A fisheye's circle within the image cuts things off as the image's border does; masks end there to some px."""
    lens = CameraModel(1280, 720, ((200.0, 0, 639.5), (0, 200.0, 359.5), (0, 0, 1)), "equidistant", (0.0,) * 4)
    projection = GroundProjection(lens, CameraPose(0.0, 0.0, 1.0, 0.0, 0.6, 0.0), HW)
    column = np.column_stack((np.full(720, 640.0), np.arange(720.0)))
    rim = int(np.flatnonzero(np.isfinite(projection.pixels_to_ground(column)).all(axis=1)).max())
    places, noise = feet_on_ground(projection, column[[rim - short_px]], np.ones((1, 2)))
    assert np.isfinite(places).all() == np.isfinite(noise).all() == (short_px > 6)


def test_the_odometry_frame_turns_points_and_their_noise():
    places, noise = in_odometry(
        PlanarPose(10.0, 20.0, math.pi / 2), np.array(((3.0, 1.0),)), np.array((((4.0, 0.0), (0.0, 1.0)),))
    )
    np.testing.assert_allclose(places, ((9.0, 23.0),))
    np.testing.assert_allclose(noise, (((1.0, 0.0), (0.0, 4.0)),), atol=1e-12)


def test_odometry_that_jumps_is_noticed_and_a_hard_brake_is_not():
    watch = Odometry()
    x, speed = 0.0, 20.0
    for i in range(60):
        speed = max(0.0, speed - (9.0 * DT_S if i > 20 else 0.0))
        x += speed * DT_S
        assert not watch.jumped(PlanarPose(x, 0.0, 0.002 * i), DT_S)
    assert watch.jumped(PlanarPose(x + 2.0, 0.0, 0.12), DT_S)
    assert not watch.jumped(PlanarPose(x + 2.0, 0.0, 0.12), DT_S), "it stands where it jumped to"
    assert not watch.jumped(None, DT_S) and not watch.jumped(PlanarPose(500.0, 0.0, 0.0), DT_S)


# Through the tracker


def box_thing(foot_m, size_m=(1.6, 1.5)):
    """The masks of an upright plate of (width, height) that stands at foot_m and faces the camera."""
    x, y = foot_m
    corners = PROJECTION.ground_to_pixels(np.array(((x, y + size_m[0] / 2), (x, y - size_m[0] / 2))))
    left, right, bottom = round(corners[0, 0]), round(corners[1, 0]), round(corners[0, 1])
    top = max(0, round(bottom - size_m[1] * (right - left) / size_m[0]))
    instance = np.zeros(HW, np.uint16)
    instance[top:bottom, left:right] = 1
    semantic = np.where(instance > 0, 8, 3).astype(np.uint8)
    area, box = (bottom - top) * (right - left), (left, top, right - left, bottom - top)
    segments = (Segment(1, 8, True, 0.9, area, box), Segment(2, 3, False, 0.9, semantic.size - area, (0, 0, 1280, 720)))
    return Panoptic(semantic, instance, semantic, segments)


def drive(tracker, thing_at, vehicle_at, frames=45, poses=True):
    """The last frame of a thing and a vehicle that are where these say in second t, in the odometry frame."""
    for i in range(frames):
        t = i * PERIOD_NS / 1e9
        (x, y), (vx, vy) = thing_at(t), vehicle_at(t)
        pose = PlanarPose(vx, vy, 0.0)
        tracked = tracker.update(
            box_thing((x - vx, y - vy)), 10**9 + i * PERIOD_NS, PROJECTION, pose if poses else None
        )
    return tracked


def thing(t):
    return 14.0 + 3.0 * t, 1.0 - 0.8 * t


def vehicle(t):
    return 2.0 * t, 0.0


def test_speeds_are_over_the_ground_where_the_odometry_is_known():
    tracked = drive(Tracker(11, TrackingSettings()), thing, vehicle)
    (track,) = tracked.tracks
    assert tracked.frame == "odometry"
    assert track.ground.velocity_m_s == pytest.approx((3.0, -0.8), abs=0.4)
    assert track.ground.foot_m == pytest.approx(thing(44 / 30), abs=0.3)
    assert all(0 < track.ground.covariance[k][k] < 1 for k in (2, 3))


@pytest.mark.parametrize("poses, settings", [(False, {}), (True, {"use_odometry": False})])
def test_speeds_are_seen_from_the_vehicle_where_it_is_not(poses, settings):
    tracked = drive(Tracker(11, TrackingSettings(**settings)), thing, vehicle, poses=poses)
    (track,) = tracked.tracks
    assert tracked.frame == "base"
    assert track.ground.velocity_m_s == pytest.approx((1.0, -0.8), abs=0.4)


def test_without_geometry_there_is_no_speed_on_the_ground():
    tracker = Tracker(11, TrackingSettings())
    tracked = tracker.update(box_thing((12.0, 0.0)), 10**9)
    assert tracked.frame == "" and tracked.tracks[0].ground is None


def test_odometry_that_jumps_begins_speeds_anew_and_keeps_numbers():
    tracker = Tracker(11, TrackingSettings())
    drive(tracker, thing, vehicle)
    shifted = PlanarPose(2.0 * 45 / 30 + 50.0, 0.0, 0.0)
    x, y = thing(45 / 30)
    tracked = tracker.update(box_thing((x - 3.0, y)), 10**9 + 45 * PERIOD_NS, PROJECTION, shifted)
    (track,) = tracked.tracks
    assert track.id == 1 and track.seen == 46
    assert track.ground.covariance[2][2] == pytest.approx(15.0**2)
    assert tracker.restarts == {"odometry": 1} and "odometry jumped" in tracker.reason


def test_in_a_frame_that_comes_late_a_thing_is_where_it_was_then():
    """Feet and boxes are of the image's time: at 3 m/s half a second is 1.5 m."""
    tracker = Tracker(11, TrackingSettings())
    now = drive(tracker, thing, vehicle).tracks[0]
    t = 29 * PERIOD_NS / 1e9
    shown = box_thing((thing(t)[0] - vehicle(t)[0], thing(t)[1]))
    stamp_ns = 10**9 + 29 * PERIOD_NS
    (late,) = tracker.update(shown, stamp_ns, PROJECTION, PlanarPose(*vehicle(t), 0.0)).tracks
    assert (late.id, late.seen, late.age_s) == (now.id, now.seen, now.age_s)
    assert late.ground.foot_m == pytest.approx(thing(t), abs=0.4)
    left, top, width, height = shown.segments[0].box
    assert late.box == pytest.approx((left, top, width, height), abs=10)
    assert now.ground.foot_m[0] - late.ground.foot_m[0] > 1.0, "it has moved since"


def test_odometry_that_is_late_for_a_moment_changes_nothing():
    tracker = Tracker(11, TrackingSettings())
    before = drive(tracker, thing, vehicle).tracks[0]
    late = tracker.update(box_thing((14.0 + 1.5, -0.2)), 10**9 + 45 * PERIOD_NS, PROJECTION, None)
    assert late.frame == "odometry"
    assert late.tracks[0].ground.velocity_m_s == before.ground.velocity_m_s
    assert late.tracks[0].ground.covariance[2][2] > before.ground.covariance[2][2]


@pytest.mark.parametrize("lacking", [(PROJECTION, None), (None, PlanarPose(0.0, 0.0, 0.0))])
def test_odometry_or_geometry_that_comes_back_after_some_frames_is_no_jump(lacking):
    """At 12 m/s, and for a quarter of a second without."""
    tracker = Tracker(11, TrackingSettings())
    for i in range(60):
        x = 12.0 * i * DT_S
        known = (PROJECTION, PlanarPose(x, 0.0, 0.0)) if not 40 <= i < 48 else lacking
        tracked = tracker.update(box_thing((40.0 - 0.2 * x, 1.0)), 10**9 + i * PERIOD_NS, *known)
        assert tracked.frame == "odometry"
        assert i < 40 or tracked.tracks[0].ground.covariance[2][2] < 15.0
    assert tracker.restarts == {}


def test_a_foot_that_is_cut_off_by_the_image_is_not_measured():
    tracker = Tracker(11, TrackingSettings())
    instance = np.zeros(HW, np.uint16)
    instance[500:, 500:700] = 1
    semantic = np.where(instance > 0, 8, 3).astype(np.uint8)
    panoptic = Panoptic(semantic, instance, semantic, (Segment(1, 8, True, 0.9, 44000, (500, 500, 200, 220)),))
    assert tracker.update(panoptic, 10**9, PROJECTION).tracks[0].ground is None


FENCE, TREE, ROAD, VOID = 7, 5, 3, 255


def behind_something(height_m, label, i):
    """Someone 1.75 m tall who walks 10 m ahead, of whom is seen what is above height_m: below that the mask is label."""
    x, y = 10.0, -1.0 + 0.03 * i
    foot = PROJECTION.ground_to_pixels(np.array(((x, y + 0.25), (x, y - 0.25))))
    left, right, bottom = round(foot[0, 0]), round(foot[1, 0]), foot[0, 1]
    px_per_m = (foot[1, 0] - foot[0, 0]) / 0.5
    top, low = round(bottom - 1.75 * px_per_m), round(bottom - height_m * px_per_m)
    instance, semantic = np.zeros(HW, np.uint16), np.full(HW, ROAD, np.uint8)
    semantic[low:] = label
    instance[top:low, left:right], semantic[top:low, left:right] = 1, 9
    area, box = (low - top) * (right - left), (left, top, right - left, low - top)
    return Panoptic(semantic, instance, np.zeros(HW, np.uint8), (Segment(1, 9, True, 0.9, area, box),))


@pytest.mark.parametrize(
    "what, known", [("fence", False), ("own vehicle", False), ("road", True), ("void", True), ("tree", True)]
)
def test_a_foot_behind_what_is_no_ground_is_not_measured(what, known):
    """The lowest row that is seen of who stands behind a fence of 0.8 m would be a foot at twice the distance. Masks are
    unsure where things stand, so void hides nothing; and CamVid's trees are grass, too."""
    label = {"fence": FENCE, "void": VOID, "tree": TREE}.get(what, ROAD)
    height_m, own = (0.0 if known else 0.8), None
    tracker = Tracker(11, TrackingSettings(), hiding_classes(CAMVID))
    for i in range(5):
        panoptic = behind_something(height_m, label, i)
        if what == "own vehicle":
            own = np.zeros(HW, np.uint8)
            own[panoptic.segments[0].box[1] + panoptic.segments[0].box[3] :] = 255
        tracked = tracker.update(panoptic, 10**9 + i * PERIOD_NS, PROJECTION, None, own)
    ground = tracked.tracks[0].ground
    assert (ground is not None) is known
    assert not known or ground.foot_m == pytest.approx((10.0, -0.88), abs=0.15)


def test_who_comes_from_behind_a_fence_begins_anew():
    """What was taken for the foot meanwhile counts for nothing, and is told to nobody."""
    tracker, known = Tracker(11, TrackingSettings(), hiding_classes(CAMVID)), []
    for i in range(90):
        shown = behind_something(0.8, FENCE, i) if 20 <= i < 80 else behind_something(0.0, ROAD, i)
        (track,) = tracker.update(shown, 10**9 + i * PERIOD_NS, PROJECTION).tracks
        assert track.id == 1
        known.append(track.ground is not None)
        assert not known[-1] or track.ground.foot_m[0] == pytest.approx(10.0, abs=0.4)
    assert known == [True] * 24 + [False] * 60 + [True] * 6, "a foot far off is not believed for five frames"


def test_a_foot_that_was_not_seen_for_as_long_as_tracks_are_remembered_is_not_told():
    """It goes on until then, ever less sure, while the rest of the thing is seen."""
    tracker, known, stds = Tracker(11, TrackingSettings(memory_s=1.0)), [], []
    for i in range(90):
        shown, own = behind_something(0.8 if 20 <= i < 80 else 0.0, ROAD, i), None
        if 20 <= i < 80:
            own = np.zeros(HW, np.uint8)
            own[shown.segments[0].box[1] + shown.segments[0].box[3] :] = 255
        (track,) = tracker.update(shown, 10**9 + i * PERIOD_NS, PROJECTION, None, own).tracks
        assert track.id == 1
        known.append(track.ground is not None)
        stds.append(math.sqrt(track.ground.covariance[2][2]) if known[-1] else math.inf)
    assert known == [True] * 50 + [False] * 30 + [True] * 10
    assert all(later > sooner for sooner, later in itertools.pairwise(stds[20:51]))
    assert stds[80] > stds[19]


def plates(feet_m, size_m=(0.5, 1.7)):
    """Masks of upright plates that stand at these places and face the camera; ids in their order, the farther first."""
    instance, segments = np.zeros(HW, np.uint16), []
    for number, (x, y) in enumerate(feet_m, start=1):
        corners = PROJECTION.ground_to_pixels(np.array(((x, y + size_m[0] / 2), (x, y - size_m[0] / 2))))
        left, right, bottom = round(corners[0, 0]), round(corners[1, 0]), round(corners[0, 1])
        instance[max(0, round(bottom - size_m[1] * (right - left) / size_m[0])) : bottom, left:right] = number
    for number in range(1, len(feet_m) + 1):
        rows, columns = np.nonzero(instance == number)
        box = (int(columns.min()), int(rows.min()), int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1)
        segments.append(Segment(number, 9, True, 0.9, len(rows), box))
    return Panoptic(np.where(instance > 0, 9, 3).astype(np.uint8), instance, np.zeros(HW, np.uint8), tuple(segments))


NOTHING = Panoptic(np.full(HW, 3, np.uint8), np.zeros(HW, np.uint16), np.zeros(HW, np.uint8), ())


@pytest.mark.parametrize("seed", range(4))
def test_a_mask_that_goes_from_one_far_walker_to_another_shows_no_speed_that_none_has(seed):
    """Two who stand up to 25 m apart one behind the other; of both one mask is seen, now of this one, now of that, or none."""
    rng = np.random.default_rng(seed)
    tracker = Tracker(11, TrackingSettings(), fastest_m_s=fastest_speeds(CAMVID))
    feet, shown, told = ((rng.uniform(20, 26), 0.0), (rng.uniform(34, 45), 0.2)), 0, 0
    for i in range(150):
        if rng.random() < 0.15:
            shown = rng.integers(3)
        panoptic = plates([feet[shown]]) if shown < 2 else NOTHING
        tracked = tracker.update(panoptic, 10**9 + i * PERIOD_NS, PROJECTION, PlanarPose(0.0, 0.0, 0.0))
        for track in tracked.tracks:
            if track.ground is not None:
                told += 1
                speed, deviation = math.hypot(*track.ground.velocity_m_s), math.sqrt(track.ground.covariance[2][2])
                assert speed < 13 and speed - 3 * deviation < 3, (i, speed, deviation)
    assert told > 30


def test_a_walker_faster_than_any_has_no_foot_and_a_car_has():
    """The same plate, once a car, once a walker as a network might call it, at 20 m/s; over the ground, and as seen from a
    vehicle that moves."""

    def known(class_id, pose):
        tracker = Tracker(11, TrackingSettings(), fastest_m_s=fastest_speeds(CAMVID))
        for i in range(30):
            panoptic = plates([(15.0 + 20.0 * i * DT_S, 0.0)], (1.6, 1.5))
            segments = tuple(replace(segment, class_id=class_id) for segment in panoptic.segments)
            tracked = tracker.update(replace(panoptic, segments=segments), 10**9 + i * PERIOD_NS, PROJECTION, pose)
        return tracked.tracks[0].ground is not None

    still = PlanarPose(0.0, 0.0, 0.0)
    assert known(8, still) and not known(9, still) and known(9, None)


def test_how_fast_classes_are_is_told_by_their_names_and_what_they_cover():
    fastest = fastest_speeds(CAMVID)
    assert fastest[[8, 9, 10]].tolist() == [70.0, 13.0, 70.0], "CamVid's bicyclist may ride a motorcycle"
    cityscapes = fastest_speeds(CITYSCAPES)
    assert cityscapes[[11, 12, 13, 18]].tolist() == [13.0, 70.0, 70.0, 25.0]
    merged = fastest_speeds(CAMVID, told(CAMVID, {}, ("people: pedestrian, bicyclist",)))
    assert merged[9] == 70.0


@pytest.mark.parametrize("poses", [True, False])
def test_who_stands_is_known_from_the_second_frame_on_where_the_odometry_is_known(poses):
    """The camera passes two who stand side by side, so fast that one is where the other was a frame before."""
    feet, step = np.array(((10.0, 3.1), (9.6, 3.5))), 1.5
    tracker, numbers = Tracker(11, TrackingSettings()), []
    for i in range(3):
        pose = PlanarPose(i * step, 0.0, 0.0)
        panoptic = plates([(x - pose.x, y) for x, y in feet])
        tracked = tracker.update(panoptic, 10**9 + i * PERIOD_NS, PROJECTION, pose if poses else None)
        numbers.append([s.track.id for s in tracked.segments])
    assert (numbers == [[1, 2]] * 3) is poses


def test_a_box_that_is_not_seen_moves_as_its_foot_while_the_vehicle_moves():
    """It stands; the vehicle brakes as soon as it is out of sight."""
    tracker, x = Tracker(11, TrackingSettings()), 0.0
    for i in range(60):
        x += 8.0 * DT_S if i < 30 else 0.0
        thing_m, pose = (25.0 - x, 2.0), PlanarPose(x, 0.0, 0.0)
        nothing = Panoptic(np.full(HW, 3, np.uint8), np.zeros(HW, np.uint16), np.zeros(HW, np.uint8), ())
        shown = box_thing(thing_m)
        tracked = tracker.update(shown if i < 31 else nothing, 10**9 + i * PERIOD_NS, PROJECTION, pose)
    left, top, width, height = shown.segments[0].box
    assert tracked.tracks[0].state == "lost"
    assert tracked.tracks[0].box == pytest.approx((left, top, width, height), abs=8)
