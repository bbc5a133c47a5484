import math
from dataclasses import replace
from functools import cache
from itertools import combinations, pairwise

import numpy as np
import pytest
from shapely.affinity import rotate, translate
from shapely.geometry import box

from seg_perception.labels import CAMVID, VOID
from seg_perception.results import Truth
from seg_perception.synthetic.drive import RATE_HZ, small_as_crowd
from seg_perception.synthetic.script import DRIVES, Path, scene_of
from seg_perception.synthetic.tracked_drive import SeenObject, TrackedDrive, TrackedFrame

EVERY = 12
"""Frames are drawn so far apart here."""


@cache
def frames(number: int) -> tuple[TrackedFrame, ...]:
    drive = TrackedDrive(number, 480, 272)
    return tuple(drive.frame(i) for i in range(0, len(drive), EVERY))


def history(number: int) -> dict[int, list[tuple[TrackedFrame, SeenObject]]]:
    """Of each id, where it was seen."""
    found: dict[int, list[tuple[TrackedFrame, SeenObject]]] = {}
    for frame in frames(number):
        for seen in frame.objects:
            found.setdefault(seen.id, []).append((frame, seen))
    return found


def test_a_path_passes_its_points_at_its_speed_and_never_swings_back() -> None:
    path = Path([0, 1.5, 3, 4.5, 10], [(-9, 3), (12, 3), (34, 2), (50, 0), (56, 0)])
    for seconds, point in ((0, (-9, 3)), (1.5, (12, 3)), (3, (34, 2)), (10, (56, 0))):
        assert path.at(seconds)[:2] == pytest.approx(point)
    times = np.linspace(-1, 12, 400)
    places = np.array([path.at(t) for t in times])
    assert (np.diff(places[:, 0]) > 0).all() and (np.diff(places[:, 1]) < 1e-12).all()
    for t in (0.7, 2.2, 4.0, 7.0):
        before, after = np.array(path.at(t - 1e-4)), np.array(path.at(t + 1e-4))
        assert path.at(t)[2:] == pytest.approx((after - before)[:2] / 2e-4, abs=1e-3)
    assert path.at(12)[:2] == pytest.approx((56 + 2 * 6 / 5.5, 0))


def test_a_path_stands_still_where_two_points_are_one() -> None:
    path = Path([0, 2, 4, 6], [(0, 0), (10, 0), (10, 0), (20, 5)])
    assert all(path.at(t) == pytest.approx((10, 0, 0, 0)) for t in (2.0, 2.5, 3.9))
    assert path.at(5)[2] > 0


@pytest.mark.parametrize("number", range(DRIVES))
def test_ids_stay_with_their_class_and_places_follow_from_speeds(number: int) -> None:
    moved = 0
    for id_, seen in history(number).items():
        assert len({item.class_id for _, item in seen}) == 1 and id_ > 0
        for (a, first), (b, second) in pairwise(seen):
            gap_s = (b.stamp_ns - a.stamp_ns) / 1e9
            if gap_s > 1.5 * EVERY / RATE_HZ:
                continue
            for axis in (0, 1):
                travelled = (
                    second.position_m[axis] + b.base_in_world[axis] - first.position_m[axis] - a.base_in_world[axis]
                )
                low, high = sorted((first.velocity_m_s[axis], second.velocity_m_s[axis]))
                assert low - 1.5 <= travelled / gap_s <= high + 1.5
            moved += 1
    assert moved > 40


@pytest.mark.parametrize("number", range(DRIVES))
def test_masks_hold_what_objects_say(number: int) -> None:
    for frame in frames(number)[::3]:
        assert isinstance(frame.truth, Truth)
        by_id = {seen.id: seen for seen in frame.objects}
        assert len(by_id) == len(frame.objects)
        assert frame.semantic.max() < len(CAMVID)
        assert CAMVID.is_thing[frame.semantic[frame.instance > 0]].all()
        for id_ in np.unique(frame.instance[frame.instance > 0]).tolist():
            seen, here = by_id[id_], frame.instance == id_
            assert here.sum() == seen.area_px and set(frame.semantic[here]) == {seen.class_id}
            assert 0 < seen.visibility <= 1
        np.testing.assert_array_equal(small_as_crowd(frame.instance), frame.instance)
        assert all((seen.visibility == 0) == (seen.area_px == 0) for seen in frame.objects)


def test_a_foot_stands_where_the_mask_ends() -> None:
    checked = 0
    for number in (0, 1, 7):
        drive = TrackedDrive(number, 480, 272)
        for i, frame in zip(range(0, len(drive), EVERY), frames(number), strict=True):
            projection = drive._projection_at(i)
            for seen in frame.objects:
                rows, columns = np.nonzero(frame.instance == seen.id)
                if seen.class_id != CAMVID.by_name("pedestrian").id or seen.visibility < 1 or not len(rows):
                    continue
                if rows.max() > 265 or not columns.min() > 3 or not columns.max() < 476:
                    continue
                (x, y), *_ = projection.ground_to_pixels(np.array([seen.position_m]))
                assert rows.max() == pytest.approx(y, abs=2) and columns.min() - 1 <= x <= columns.max() + 1
                checked += 1
    assert checked > 15


def test_visibility_is_the_share_of_pixels_that_nothing_hides() -> None:
    drive = TrackedDrive(2, 480, 272)
    frame = next(frame for frame in frames(2) if any(0.2 < seen.visibility < 0.8 for seen in frame.objects))
    i = round(frame.stamp_ns / 1e9 * RATE_HZ)
    seen = max(frame.objects, key=lambda seen: seen.area_px * (0.2 < seen.visibility < 0.8))
    alone_there = tuple(actor for actor in drive.scene.actors if actor.number == seen.id)
    drive.scene = replace(drive.scene, actors=alone_there)
    alone = next(item for item in drive.frame(i).objects if item.id == seen.id)
    assert alone.visibility > seen.visibility
    assert seen.area_px / seen.visibility == pytest.approx(alone.area_px / alone.visibility, abs=0.5)


@pytest.mark.parametrize("number", range(DRIVES))
def test_nobody_is_where_somebody_else_is(number: int) -> None:
    scene = scene_of(number, -1.9, 5.5)
    for seconds in np.arange(0, 10, 0.2):
        x, y, *_ = scene.ego.at(seconds)
        feet = {0: box(x - 3.5, y - 0.9, x + 0.8, y + 0.9)}
        for actor in scene.actors:
            x, y, vx, vy = actor.path.at(seconds)
            long, wide = actor.size_m
            if "ped" not in actor.kind:  # people make room for each other
                foot = rotate(box(-long / 2, -wide / 2, long / 2, wide / 2), actor.heading(vx, vy), use_radians=True)
                feet[actor.number] = translate(foot, x, y)
        for (a, first), (b, second) in combinations(feet.items(), 2):
            assert not first.intersects(second), (a, b, seconds)


def test_what_tracking_needs_happens() -> None:
    hidden, crossed, turned, stopped, overtaken = 0, 0, 0, 0, 0
    for number in range(DRIVES):
        for seen in history(number).values():
            shares = [item.visibility for _, item in seen]
            aside = [item.velocity_m_s[1] for _, item in seen]
            speeds = [math.hypot(*item.velocity_m_s) for _, item in seen]
            hidden += any(
                share < 0.05 and max(shares[:k], default=0) > 0.5 and max(shares[k:]) > 0.5
                for k, share in enumerate(shares)
            )
            crossed += max(map(abs, aside)) > 4
            turned += min(aside) < -0.5 and max(aside) > 0.5
            stopped += max(speeds) > 3 and min(speeds) < 0.05
            at = [item.position_m[0] for _, item in seen]
            overtaken += at[0] < 5 and max(at) > 15 and max(speeds) > 10
    assert min(hidden, turned) >= 3 and crossed >= 6 and stopped >= 3 and overtaken >= 3
    scenes = [scene_of(number, -2.0, 5.0) for number in range(DRIVES)]
    assert any(scene.weather.night for scene in scenes) and any(scene.weather.rain for scene in scenes)
    assert any(scene.weather.fog for scene in scenes) and any(scene.is_motorway for scene in scenes)


def test_drives_are_the_same_for_the_same_number_and_shake() -> None:
    one, other = TrackedDrive(7, 480, 272), TrackedDrive(7, 480, 272)
    a, b = one.frame(60), other.frame(60)
    assert a.objects == b.objects and (a.rgb == b.rgb).all() and (a.instance == b.instance).all()
    poses = [one.pose_at(i) for i in range(0, 300, 5)]
    assert 0.005 < np.std([pose.pitch for pose in poses]) < 0.02 and np.std([pose.z for pose in poses]) > 0.005
    assert TrackedDrive(0, 480, 272).pose_at(33) == one.pose
    with pytest.raises(ValueError, match="no drive 10"):
        TrackedDrive(10)


def test_the_ground_is_exact_here_too() -> None:
    drive = TrackedDrive(3, 480, 272)
    above = drive.birds_eye(0, (4.0, -12.0), (240, 200), (0.1, 0.1))
    classes = {CAMVID.names[i] for i in np.unique(above) if i != VOID}
    assert {"road", "fence", "tree"} <= classes and "pavement" not in classes
    assert CAMVID.names[above[120, 40]] == "road"
