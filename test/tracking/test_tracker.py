"""Numbers that stay: on films of ellipses whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from moving_things import PERIOD_NS, Thing, draw

from seg_perception.results import Panoptic, Segment
from seg_perception.tracking import kernels, sides
from seg_perception.tracking.settings import TrackingSettings
from seg_perception.tracking.tracker import MOST_IDS, MOST_TRACKS, Tracker

CLASSES = 11
START_NS = 10**9


def follow(things, frames, tracker=None, skip=(), **drawn):
    """The track of each thing in every frame, by the thing's number; skip: frames that never come."""
    tracker = tracker or Tracker(CLASSES, TrackingSettings())
    found = []
    for i in range(frames):
        if i in skip:
            continue
        panoptic, numbers = draw(things, i * PERIOD_NS / 1e9, **drawn)
        tracked = tracker.update(panoptic, START_NS + i * PERIOD_NS)
        found.append({numbers[s.id]: s.track for s in tracked.segments if s.is_thing})
    return found


def ids(found, number):
    """Every number that a thing had, in order, each once."""
    return list(dict.fromkeys(frame[number].id for frame in found if number in frame))


def going(x, y, vx, vy=0.0):
    return lambda t: (x + vx * t, y + vy * t)


def test_a_thing_keeps_its_number_and_things_have_different_ones():
    things = [Thing(k, going(40 + 60 * k, 90, 20 * (-1) ** k, 5), (30, 20)) for k in range(4)]
    found = follow(things, 30)
    numbers = [ids(found, k) for k in range(4)]
    assert all(len(one) == 1 for one in numbers)
    assert len({one[0] for one in numbers}) == 4


def test_two_cars_that_cross_keep_their_numbers():
    """The farther one is hidden wholly for a moment, and both are of one class."""
    things = [
        Thing(1, going(40, 92, 110), (64, 44), depth=1),
        Thing(2, going(280, 90, -110), (46, 32), depth=2),
    ]
    found = follow(things, 66)
    assert any(2 not in frame for frame in found), "they never hide each other"
    assert len(ids(found, 1)) == len(ids(found, 2)) == 1
    assert ids(found, 1) != ids(found, 2)


@pytest.mark.parametrize("speed", [60, 120, 250])
def test_half_a_second_behind_something_is_bridged(speed):
    wide = Thing(1, lambda t: (320, 90), (speed * 0.5 + 24, 150), class_id=8, depth=1)
    walker = Thing(2, going(320 - speed * 0.9, 90, speed), (20, 50), class_id=9, depth=2)
    found = follow([wide, walker], 54, size_hw=(180, 640))
    hidden = [2 not in frame for frame in found]
    assert sum(hidden) >= 12, "it was hidden for less than 0.4 s"
    assert len(ids(found, 2)) == 1 and len(ids(found, 1)) == 1
    assert found[-1][2].state == "confirmed"


def test_what_comes_out_beyond_a_pole_while_it_still_goes_in_is_the_same():
    """The pole sweeps over a walker of little more than its width: the sliver jumps from one side to the other."""
    pole = Thing(1, going(320, 90, -420), (30, 170), class_id=8, depth=1)
    walker = Thing(2, going(160, 90, 60), (32, 60), class_id=9, depth=2)
    found = follow([pole, walker], 24)
    areas = [frame[2].box for frame in found if 2 in frame]
    assert len(areas) >= 20 and len(ids(found, 2)) == 1


def test_a_side_that_was_thought_to_be_hidden_comes_back_to_where_it_is_seen():
    """A thing that shrinks at once, with nothing before it, has its new size soon, and its sides do not run away."""
    small = Thing(1, lambda t: (150 + 30 * t, 90), (40, 60))
    large = Thing(1, lambda t: (90 + 30 * t, 90), (160, 60))
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(40):
        panoptic, _ = draw([large if i < 15 else small], i * PERIOD_NS / 1e9)
        (track,) = tracker.update(panoptic, START_NS + i * PERIOD_NS).tracks
        if i >= 20:
            assert track.box[2] == pytest.approx(40, abs=6), i
            assert abs(track.velocity_px_s[0]) < 150, i


def _labelled(panoptic, parts):
    """The same frame whose things are `parts`, masks [H, W], all cars."""
    instance = np.zeros_like(panoptic.instance)
    segments = []
    for number, mask in enumerate(parts, start=1):
        instance[mask] = number
        ys, xs = np.nonzero(mask)
        box = (int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1)
        segments.append(Segment(number, 8, True, 0.9, len(xs), box))
    stuff = [s for s in panoptic.segments if not s.is_thing]
    return Panoptic(panoptic.semantic, instance, panoptic.semantic, (*segments, *stuff))


def _neighbours(i):
    """A car at the left border that moves in, and a smaller one beside it, in frame i: the frame, and the mask of each."""
    things = [Thing(1, going(60, 100, 30), (90, 60)), Thing(2, going(190, 96, -15), (70, 30), depth=2)]
    panoptic, numbers = draw(things, i * PERIOD_NS / 1e9)
    by_number = {number: panoptic.instance == segment for segment, number in numbers.items()}
    return panoptic, by_number[1], by_number[2]


@pytest.mark.parametrize("frames", [(20,), (20, 21, 22), (20, 24, 28), range(20, 30)], ids=str)
def test_neighbours_whose_masks_merge_for_some_frames_keep_their_numbers_and_speeds(frames):
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(36):
        panoptic, near, far = _neighbours(i)
        parts = [near | far] if i in frames else [near, far]
        tracked = tracker.update(_labelled(panoptic, parts), START_NS + i * PERIOD_NS)
        assert [s.track.id for s in tracked.segments if s.is_thing] == [1, 2][: len(parts)], i
        if i >= 15:
            for track, speed, width in zip(tracked.tracks, (30, -15), (90, 70), strict=True):
                assert track.velocity_px_s[0] == pytest.approx(speed, abs=40), i
                assert track.box[2] == pytest.approx(width, abs=20), i


@pytest.mark.parametrize("frames", [(20,), (20, 21, 22), (20, 24, 28)], ids=str)
def test_a_thing_that_is_cut_in_two_for_some_frames_keeps_its_number_and_speed(frames):
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(36):
        panoptic, whole, _ = _neighbours(i)
        cut = np.arange(whole.shape[1]) < 75 + i
        parts = [whole & cut, whole & ~cut] if i in frames else [whole]
        tracked = tracker.update(_labelled(panoptic, parts), START_NS + i * PERIOD_NS)
        assert tracked.segments[0].track.id == 1, i
        if i >= 15:
            assert tracked.segments[0].track.velocity_px_s[0] == pytest.approx(30, abs=40), i


@pytest.mark.parametrize("stray_px", [-30, 60])
@pytest.mark.parametrize("x", [72, 200], ids=["leaving", "inside"])
def test_stray_pixels_at_one_side_teach_no_side_a_speed(x, stray_px):
    """The network takes some off a car's right side, or gives it some of another's, for two frames. Where the image cuts off
    its left side, that one is taken to move as the right one does: but not to jump with it."""
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(30):
        stray = stray_px * (i in (20, 21))
        car = Thing(1, going(x + stray / 2, 90, -60), (100 + stray, 60))
        (track,) = tracker.update(draw([car], i * PERIOD_NS / 1e9)[0], START_NS + i * PERIOD_NS).tracks
        if i >= 15:
            assert track.velocity_px_s[0] == pytest.approx(-60, abs=25), i


def test_a_thing_that_jerks_is_followed_at_once():
    """Both its sides go as far: that is no mask that merges."""
    found = follow([Thing(1, lambda t: (100 + 60 * min(t, 0.66) - 300 * max(t - 0.66, 0), 90), (60, 40))], 28)
    for i, frame in enumerate(found):
        t = i * PERIOD_NS / 1e9
        middle = frame[1].box[0] + frame[1].box[2] / 2
        assert middle == pytest.approx(100 + 60 * min(t, 0.66) - 300 * max(t - 0.66, 0), abs=8), i


def test_the_box_of_what_enters_the_image_at_once_grows_with_it():
    """Its first pixels are a sliver at the border, whose far side then jumps: that is its speed, and no stray pixel."""
    found = follow([Thing(1, going(-69, 90, 800), (140, 100))], 8)
    assert ids(found, 1) == [1] and found[0][1].box[2] < 4
    for i, frame in enumerate(found[1:], start=1):
        right = frame[1].box[0] + frame[1].box[2]
        assert right == pytest.approx(1 + 800 * i * PERIOD_NS / 1e9, abs=25), i


@pytest.mark.parametrize("depth", [1, 3], ids=["at the border", "from behind another"])
def test_what_enters_moves_as_the_side_that_is_seen(depth):
    """Its other side is where the image begins, or where a parked van ends, and stands still: half of the speed was told."""
    parked = Thing(2, going(0, 100, 0), (160, 130), depth=2)
    found = follow(
        [Thing(1, going(20 if depth == 3 else -60, 90, 150), (120, 60), depth=depth)] + [parked] * (depth == 3), 30
    )
    shown = [frame[1] for frame in found if 1 in frame]
    assert len(shown) > 15
    for i, track in enumerate(shown):
        speed, std = track.velocity_px_s[0], track.velocity_std_px_s[0]
        assert abs(speed - 150) < 2.5 * std and (i < 6 or speed == pytest.approx(150, abs=30)), i


def test_a_bus_that_fills_the_image_and_stops_stands_still():
    """Its left side was cut off while it came nearer: nobody knows how that one moves, and the right one stands."""
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(60):
        t = i * PERIOD_NS / 1e9
        reach = 50 + 150 * min(t, 0.7)
        box = max(0, round(120 - reach)), 30, round(120 + reach), 150
        inside = np.zeros((180, 320), bool)
        inside[box[1] : box[3], box[0] : box[2]] = True
        panoptic, _ = draw([], t)
        (track,) = tracker.update(_labelled(panoptic, [inside]), START_NS + i * PERIOD_NS).tracks
        if i >= 35:
            assert abs(track.velocity_px_s[0]) < 30, i
            assert track.box[0] + track.box[2] == pytest.approx(box[2], abs=8), i


def test_no_box_is_turned_inside_out():
    """A mask that narrows from both sides in turn: a side's filter runs past the other's."""
    tracker = Tracker(CLASSES, TrackingSettings())
    for i, (x, width) in enumerate(((155.0, 30.0), (152.0, 12.0), (159.0, 12.0))):
        panoptic, _ = draw([Thing(1, going(x, 90, 0), (width + 0.5, 20))], 0)
        (track,) = tracker.update(panoptic, START_NS + i * PERIOD_NS).tracks
        assert min(track.box[2:]) >= 1 - 1e-9


def test_a_box_that_is_not_seen_neither_bursts_nor_collapses():
    """Its width wobbles when it vanishes, as masks of networks do."""
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(45):
        things = [Thing(1, lambda t: (150, 90), (60 + 12 * (i >= 8) * (i - 8), 60))] if i < 12 else []
        (track,) = tracker.update(draw(things, 0)[0], START_NS + i * PERIOD_NS).tracks
    assert track.state == "lost" and 60 < track.box[2] < 180


def test_a_number_goes_from_a_walker_to_no_car():
    """He is gone where the car that he walked before is seen again."""
    walker = Thing(1, going(150, 95, 10), (20, 50), class_id=9, depth=1)
    car = Thing(2, going(150, 90, 12), (90, 50), class_id=8, depth=2)
    tracker = Tracker(CLASSES, TrackingSettings())
    number = {}
    for i in range(24):
        panoptic, names = draw([walker] if i < 12 else [car], i * PERIOD_NS / 1e9)
        for segment in tracker.update(panoptic, START_NS + i * PERIOD_NS).segments[:1]:
            number.setdefault(names[segment.id], set()).add(segment.track.id)
    assert len(number[1]) == len(number[2]) == 1 and number[1] != number[2]


def test_walkers_who_leave_the_image_together_do_not_exchange_their_numbers():
    things = [
        Thing(1, going(70, 90, -200), (36, 80), class_id=9, depth=1),
        Thing(2, going(86, 86, -190), (36, 70), class_id=9, depth=2),
    ]
    found = follow(things, 18)
    assert len(ids(found, 1)) == len(ids(found, 2)) == 1 and any(1 not in frame and 2 in frame for frame in found)


def test_a_thing_that_is_hidden_for_more_than_a_second_is_bridged():
    wide = Thing(1, lambda t: (200, 90), (120, 170), class_id=8, depth=1)
    walker = Thing(2, going(90, 95, 60), (20, 50), class_id=9, depth=2)
    found = follow([wide, walker], 100)
    assert sum(2 not in frame for frame in found) > 36 and len(ids(found, 2)) == 1


def test_a_thing_that_comes_back_says_so():
    thing = Thing(1, going(60, 90, 30), (30, 20))
    tracker = Tracker(CLASSES, TrackingSettings())
    states = []
    for i in range(12):
        panoptic, _ = draw([thing] if i not in (6, 7) else [], i / 30)
        tracked = tracker.update(panoptic, START_NS + i * PERIOD_NS)
        states.append(tracked.tracks[0].state)
    assert states == ["new"] * 2 + ["confirmed"] * 4 + ["lost"] * 2 + ["returned"] + ["confirmed"] * 3


def test_birth_and_death_follow_the_rules():
    tracker = Tracker(CLASSES, TrackingSettings(memory_s=0.2, birth_frames=5))
    thing, nothing = draw([Thing(1, lambda t: (60, 90), (30, 20))], 0)[0], draw([], 0)[0]
    stamp = START_NS
    for i in range(5):
        (track,) = tracker.update(thing, stamp := stamp + PERIOD_NS).tracks
        assert track.seen == i + 1 and track.state == ("new" if i < 4 else "confirmed")
        assert track.age_s == pytest.approx(i / 30, abs=1e-6)
    unseen = 0
    while tracker.update(nothing, stamp := stamp + PERIOD_NS).tracks:
        unseen += 1
        assert unseen < 10
    assert unseen == 7, "it is told that it is lost until 0.2 s have passed, and in the frame in which it is forgotten"
    again = tracker.update(thing, stamp + PERIOD_NS).tracks
    assert [track.id for track in again] == [2]


def test_what_is_seen_once_is_soon_forgotten():
    tracker = Tracker(CLASSES, TrackingSettings(memory_s=1.0))
    thing, nothing = draw([Thing(1, lambda t: (60, 90), (30, 20))], 0)[0], draw([], 0)[0]
    tracker.update(thing, START_NS)
    for i in range(1, 12):
        tracker.update(nothing, START_NS + i * PERIOD_NS)
    assert tracker.update(nothing, START_NS + 12 * PERIOD_NS).tracks == ()


def test_the_class_is_that_of_most_votes():
    tracker = Tracker(CLASSES, TrackingSettings())
    for i, class_id in enumerate([9, 9, 9, 10, 9, 10, 9]):
        panoptic, _ = draw([Thing(1, going(60, 90, 10), (30, 40), class_id=class_id)], i / 30)
        (track,) = tracker.update(panoptic, START_NS + i * PERIOD_NS).tracks
        assert track.id == 1 and track.class_id == 9


def test_what_a_class_was_called_counts_for_the_one_that_it_is_told_as_from_now_on():
    tracker, table = Tracker(CLASSES, TrackingSettings()), np.arange(256, dtype=np.uint8)
    follow([Thing(1, going(80, 90, 20), (40, 30), class_id=10)], 5, tracker)
    table[10] = 8
    tracker.tell_as(table)
    panoptic, _ = draw([Thing(1, going(80, 90, 20), (40, 30), class_id=8)], 5 * PERIOD_NS / 1e9)
    (track,) = tracker.update(panoptic, START_NS + 5 * PERIOD_NS).tracks
    assert (track.id, track.class_id, track.seen) == (1, 8, 6)


def test_the_speed_in_the_image_is_measured_with_its_deviation():
    found = follow([Thing(1, going(60, 60, 45, 30), (40, 30))], 40)
    track = found[-1][1]
    assert track.velocity_px_s == pytest.approx((45, 30), abs=6)
    assert all(0 < std < found[0][1].velocity_std_px_s[0] for std in track.velocity_std_px_s)


def test_the_same_frames_give_the_same_tracks():
    things = [Thing(k, going(20 + 30 * k, 60 + 8 * k, 25 * (-1) ** k, 3), (34, 26), depth=k) for k in range(8)]
    assert follow(things, 40) == follow(things, 40)


def test_a_missing_frame_changes_nothing():
    things = [Thing(k, going(90 + 40 * k, 30 + 40 * k, 60 * (-1) ** k), (30, 20)) for k in range(4)]
    found = follow(things, 40, skip=(7, 8, 19, 20, 21))
    assert all(len(ids(found, k)) == 1 for k in range(4))


# Bad input


def _tracked(tracker, stamp_ns, things=None, **drawn):
    things = things or [Thing(1, lambda t: (60, 90), (30, 20))]
    return tracker.update(draw(things, 0, **drawn)[0], stamp_ns).tracks


def test_a_clock_that_jumps_back_starts_anew_with_the_numbers_too():
    tracker = Tracker(CLASSES, TrackingSettings())
    two = [Thing(1, lambda t: (60, 90), (30, 20)), Thing(2, lambda t: (160, 90), (30, 20))]
    assert [t.id for t in _tracked(tracker, 10 * START_NS, two)] == [1, 2]
    assert [t.id for t in _tracked(tracker, START_NS)] == [1]
    assert tracker.restarts == {"clock_back": 1} and "went back" in tracker.reason


@pytest.mark.parametrize("ahead_s", [2.5, 3600.0])
def test_an_image_whose_stamp_was_ahead_gives_no_number_twice(ahead_s):
    """The next image's stamp goes back to where the others are: that is no other recording."""
    tracker, stamp_ns = Tracker(CLASSES, TrackingSettings()), 10**12
    numbers = [_tracked(tracker, stamp_ns)[0].id]
    numbers.append(_tracked(tracker, stamp_ns + round(ahead_s * 1e9))[0].id)
    numbers.append(_tracked(tracker, stamp_ns + PERIOD_NS)[0].id)
    assert numbers == [1, 2, 3] and tracker.restarts == {"gap": 1, "clock_back": 1}
    assert _tracked(tracker, START_NS)[0].id == 1, "that is one"


def test_a_frame_that_comes_late_gets_numbers_and_teaches_nothing():
    things = [Thing(1, going(60, 90, 60), (30, 20))]
    tracker = Tracker(CLASSES, TrackingSettings())
    follow(things, 10, tracker)
    for late in (7, 9):
        panoptic, _ = draw(things, late * PERIOD_NS / 1e9)
        (track,) = tracker.update(panoptic, START_NS + late * PERIOD_NS).tracks
        assert (track.id, track.seen) == (1, 10)
    panoptic, _ = draw(things, 10 * PERIOD_NS / 1e9)
    (track,) = tracker.update(panoptic, START_NS + 10 * PERIOD_NS).tracks
    assert (track.id, track.seen, track.state) == (1, 11, "confirmed")
    assert not tracker.restarts


def test_in_a_frame_that_comes_late_no_box_is_turned_inside_out():
    """What grew fast for a second was a pixel before, not less."""
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(12):
        grown = Thing(1, lambda t: (160.0, 90.0), (8.0 + 6 * i, 8.0 + 6 * i))
        tracker.update(draw([grown], 0.0)[0], START_NS + i * PERIOD_NS)
    for late_s in (0.2, 0.5, 1.2):
        tracks = tracker.update(draw([], 0.0)[0], START_NS + 11 * PERIOD_NS - round(late_s * 1e9)).tracks
        assert tracks and all(track.box[2] >= 1 and track.box[3] >= 1 for track in tracks)


def test_a_gap_of_ten_seconds_starts_anew_and_no_number_comes_twice():
    tracker = Tracker(CLASSES, TrackingSettings())
    assert [t.id for t in _tracked(tracker, START_NS)] == [1]
    assert [t.id for t in _tracked(tracker, 11 * START_NS)] == [2]
    assert tracker.restarts == {"gap": 1} and "10.00 s" in tracker.reason


def test_masks_of_another_size_start_anew():
    tracker = Tracker(CLASSES, TrackingSettings())
    assert [t.id for t in _tracked(tracker, START_NS)] == [1]
    assert [t.id for t in _tracked(tracker, START_NS + PERIOD_NS, size_hw=(90, 160), least_px=1)] == [2]
    assert tracker.restarts == {"size": 1} and "160x90" in tracker.reason


@pytest.mark.parametrize("stamp_ns", [0, -START_NS])
def test_images_without_a_stamp_are_not_followed(stamp_ns):
    tracker = Tracker(CLASSES, TrackingSettings())
    panoptic, _ = draw([Thing(1, lambda t: (60, 90), (30, 20))], 0)
    tracked = tracker.update(panoptic, stamp_ns)
    assert tracked.tracks == () and tracked.segments == panoptic.segments
    assert "no stamp" in tracker.reason


def _noise(rng, count, size_hw=(180, 320)):
    """Masks of `count` things of random shapes and places."""
    instance = np.zeros(size_hw, np.uint16)
    for k in range(1, count + 1):
        y, x, h, w = rng.integers(0, 150), rng.integers(0, 290), rng.integers(2, 30), rng.integers(2, 30)
        instance[y : y + h, x : x + w] = k
    segments = []
    for k in range(1, count + 1):
        ys, xs = np.nonzero(instance == k)
        if len(ys):
            box = (int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1)
            segments.append(Segment(k, int(rng.integers(8, 11)), True, float(rng.random()), len(ys), box))
    semantic = np.where(instance > 0, 8, 3).astype(np.uint8)
    return Panoptic(semantic, instance, semantic, tuple(segments))


def test_noise_of_hundreds_of_things_stays_within_bounds():
    tracker, rng = Tracker(CLASSES, TrackingSettings(memory_s=10.0, birth_frames=1)), np.random.default_rng(0)
    for i in range(8):
        panoptic = _noise(rng, 200)
        tracked = tracker.update(panoptic, START_NS + i * PERIOD_NS)
        now = [s.track.id for s in tracked.segments if s.is_thing]
        assert len(set(now)) == len(now)
        assert len(tracker.update(panoptic, START_NS + i * PERIOD_NS).tracks) <= MOST_TRACKS
        assert all(math.isfinite(v) for track in tracked.tracks for v in (*track.box, *track.velocity_px_s))


def test_no_frame_and_no_thing_is_no_fault():
    tracker = Tracker(CLASSES, TrackingSettings())
    for i in range(3):
        assert tracker.update(draw([], 0)[0], START_NS + i * PERIOD_NS).tracks == ()


def test_numbers_begin_again_past_those_in_use():
    tracker = Tracker(CLASSES, TrackingSettings())
    assert [t.id for t in _tracked(tracker, START_NS)] == [1]
    tracker._next_id = MOST_IDS
    three = [Thing(k, (lambda x: lambda t: (x, 90))(60 * k), (30, 20)) for k in (1, 2, 3)]
    now = sorted(t.id for t in _tracked(tracker, START_NS + PERIOD_NS, three))
    assert now == [1, 2, MOST_IDS], "one goes on, one gets the last number, one the first that is free"


@pytest.mark.parametrize("name, value", [("memory_s", 0.0), ("birth_frames", 0), ("foot_noise_px", 0.0)])
def test_settings_out_of_range_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        TrackingSettings(**{name: value})


def test_no_frame_waits_for_a_compiler():
    """Whatever the number of tracks and things, loops are called with arrays of the kinds that the warm-up has: another layout
    would be compiled in the midst of a drive."""
    tracker = Tracker(CLASSES, TrackingSettings())
    for round_, count in enumerate((3, 1, 0, 2, 4, 1)):
        things = [Thing(k, going(40 + 60 * k, 90, 20), (30, 20), depth=-k) for k in range(count)]
        for i in range(3):
            panoptic, _ = draw(things, i / 30)
            panoptic = replace(panoptic, segments=panoptic.segments[::-1])
            tracker.update(panoptic, START_NS + (3 * round_ + i) * PERIOD_NS)
    loops = {name: loop for module in (kernels, sides) for name, loop in vars(module).items() if callable(loop)}
    assert {
        name: len(loop.signatures) for name, loop in loops.items() if len(getattr(loop, "signatures", ())) > 1
    } == {}
