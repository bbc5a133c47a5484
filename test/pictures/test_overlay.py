import math

import numpy as np
import pytest

from seg_perception.camera_model import CameraModel, CameraPose
from seg_perception.ground.geometry import GroundProjection
from seg_perception.labels import CAMVID, CITYSCAPES, VOID
from seg_perception.pictures import drawing
from seg_perception.pictures.birds_eye import OBSTACLE_COLOR
from seg_perception.pictures.drawing import (
    FREE_COLOR,
    GROUND_COLORS,
    ground_colors,
    in_metres,
    runs,
    text_width,
    wrapped,
)
from seg_perception.pictures.overlay import Overlay, legend, legend_strip
from seg_perception.pictures.trails import Trails, foot_px, track_color
from seg_perception.results import (
    Drivable,
    DrivableArea,
    FreeSpace,
    GroundMotion,
    LookAhead,
    Outline,
    Panoptic,
    Segment,
    Track,
)

SIZES = [(360, 640), (720, 1280)]
ROAD, PAVEMENT = CAMVID.by_name("road").id, CAMVID.by_name("pavement").id
# Looks level from 2 m above the ground with f = 320 px: what lies d m ahead is in row 179.5 + 640 / d, what lies y m to
# the left of it in column 319.5 - 320 y / d.
LEVEL = GroundProjection(
    CameraModel(640, 360, ((320.0, 0, 319.5), (0, 320.0, 179.5), (0, 0, 1))), CameraPose(0, 0, 2.0), (360, 640)
)


def _panoptic(height, width):
    """Sky above road, a car of a quarter of the width in the middle, split into two."""
    semantic = np.zeros((height, width), np.uint8)
    semantic[height // 2 :] = 3
    instance = np.zeros((height, width), np.uint16)
    box = np.s_[height // 4 : height // 2, width // 4 : width // 2]
    semantic[box] = 8
    instance[box] = 1
    instance[height // 4 : height // 2, 3 * width // 8 : width // 2] = 2
    segments = tuple(
        Segment(i, 8, True, 0.9, height * width // 32, ((1 + i) * width // 8, height // 4, width // 8, height // 4))
        for i in (1, 2)
    )
    return Panoptic(semantic, instance, np.full_like(semantic, 255), segments)


@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_mixed_with_the_colour_of_their_class(size):
    rgb = np.full((*size, 3), 100, np.uint8)
    drawn = Overlay(CAMVID).draw(rgb, _panoptic(*size))
    assert drawn.shape == rgb.shape and drawn.dtype == np.uint8
    expected = 0.55 * 100 + 0.45 * np.array(CAMVID.classes[0].color)
    assert np.abs(drawn[2, 2] - expected).max() <= 1
    assert (rgb == 100).all()


def test_things_have_white_borders_and_the_inside_keeps_its_colour():
    drawn = Overlay(CAMVID).draw(np.full((360, 640, 3), 100, np.uint8), _panoptic(360, 640))
    for x in (159, 160, 239, 240, 319, 320):
        assert (drawn[150, x] == 255).all(), x
    assert drawn[150, 200].max() < 200
    assert (drawn[89, 300] == 255).all() and (drawn[180, 300] == 255).all()


def test_tags_stand_above_their_thing_and_legend_at_the_bottom():
    rgb = np.full((360, 640, 3), 100, np.uint8)
    panoptic = _panoptic(360, 640)
    bare = Panoptic(panoptic.semantic, panoptic.instance, panoptic.confidence, ())
    overlay = Overlay(CAMVID)
    changed = (overlay.draw(rgb, panoptic) != overlay.draw(rgb, bare)).any(2)
    ys, xs = np.nonzero(changed)
    assert ys.min() > 60 and ys.max() < 90 and xs.min() >= 160 and xs.max() < 320
    strip = legend_strip(CAMVID, 640)
    assert np.array_equal(overlay.draw(rgb, bare)[-len(strip) :], strip)


def test_classes_that_are_never_told_have_no_place_in_the_strip() -> None:
    tree = CAMVID.by_name("tree")
    swatch = (legend_strip(CAMVID, 1280) == tree.color).all(2)
    assert swatch.any() and not (legend_strip(CAMVID, 1280, {tree.id}) == tree.color).all(2).any()


def test_the_drivable_outline_is_drawn_where_it_lies():
    points = np.array([[10, 200], [600, 200], [600, 300], [10, 300]], np.float32)
    drivable = Drivable((DrivableArea(3, 0.2, 0.9, (Outline(points),)),))
    rgb = np.full((360, 640, 3), 100, np.uint8)
    panoptic = _panoptic(360, 640)
    changed = (Overlay(CAMVID).draw(rgb, panoptic, drivable) != Overlay(CAMVID).draw(rgb, panoptic)).any(2)
    assert changed[200, 100:500].all() and changed[250, 600] and not changed[250, 100:500].any()


def _ground(free_m=10.0, edges=(), ranges=(), outlines=()):
    """A road with a free distance, edges and outlines, and free space per bearing in steps of 0.1 rad from -0.1 on."""
    area = DrivableArea(ROAD, 0.2, 0.9, outlines, free_distance_m=free_m, edges=edges)
    told = np.array(ranges, np.float32)
    scan = FreeSpace(told, np.fmin(np.nan_to_num(told, posinf=40), 40), -0.1, 0.1, 0.05, 40.0) if ranges else None
    return Drivable((area,), None, scan)


def _changed(drivable, without=None):
    rgb = np.full((360, 640, 3), 100, np.uint8)
    panoptic = Panoptic(np.full((360, 640), ROAD, np.uint8), np.zeros((360, 640), np.uint16),
                        np.zeros((360, 640), np.uint8), ())  # fmt: skip
    drawn = [Overlay(CAMVID).draw(rgb, panoptic, d, projection=LEVEL) for d in (drivable, without or _ground(math.nan))]
    return (drawn[0] != drawn[1]).any(2), drawn[0]


def test_outlines_of_road_and_pavement_have_colours_of_their_own_and_holes_are_drawn():
    def square(left, top, size, hole=False):
        corners = [[left, top], [left + size, top], [left + size, top + size], [left, top + size]]
        return Outline(np.array(corners, np.float32), hole)

    road = DrivableArea(ROAD, 0.2, 0.9, (square(20, 150, 150), square(60, 190, 40, hole=True)))
    pavement = DrivableArea(PAVEMENT, 0.2, 0.9, (square(300, 150, 150),))
    rgb = np.full((360, 640, 3), 100, np.uint8)
    drawn = Overlay(CAMVID).draw(rgb, _panoptic(360, 640), Drivable((road, pavement)))
    assert tuple(drawn[240, 20]) == tuple(drawn[210, 60]) == GROUND_COLORS[0]
    assert tuple(drawn[240, 300]) == GROUND_COLORS[1]


def test_the_edge_of_free_space_is_drawn_where_the_ground_ends():
    """Free for 10 m at three bearings: row 179.5 + 64 in the middle. Where one of them goes on there is no edge."""
    changed, drawn = _changed(_ground(math.nan, ranges=(10.0, 10.0, 10.0)))
    assert all(tuple(drawn[243, x]) == FREE_COLOR for x in range(300, 340))
    ys, xs = np.nonzero(changed)
    assert xs.min() == pytest.approx(319.5 - 32, abs=4) and xs.max() == pytest.approx(319.5 + 32, abs=4)
    assert ys.min() > 235 and ys.max() < 252
    for open_m in (math.inf, math.nan):
        assert not _changed(_ground(math.nan, ranges=(10.0, open_m, 10.0)))[0].any()


def test_where_only_the_view_ends_no_edge_is_drawn():
    """3.6 m ahead the ground leaves the image at its lower border."""
    assert not _changed(_ground(math.nan, ranges=(3.6, 3.56, 3.6)))[0].any()
    assert _changed(_ground(math.nan, ranges=(5.0, 5.0, 5.0)))[0].any()


def test_the_free_distance_is_written_once_below_the_point_it_is_measured_to():
    ys, xs = np.nonzero(_changed(_ground(12.4))[0])
    row = 179.5 + 640 / 12.4
    assert row < ys.min() < row + 12 and ys.max() < row + 40
    assert (xs.min() + xs.max()) / 2 == pytest.approx(319.5, abs=3)
    assert not _changed(_ground(math.nan))[0].any() and not _changed(_ground(math.inf))[0].any()


def test_ground_that_is_free_beyond_the_range_is_said_to_be_where_the_range_ends():
    """Free space is looked for up to 40 m, which is in row 195.5."""
    scan = _ground(math.nan, ranges=(math.inf, math.inf))
    ys, _ = np.nonzero(_changed(_ground(math.inf, ranges=(math.inf, math.inf)), scan)[0])
    assert 195.5 < ys.min() < 210


def test_ticks_stand_where_the_area_ends_to_both_sides():
    """10 m ahead, 3 m to the left and 2 m to the right: columns 319.5 - 96 and 319.5 + 64 of row 243.5."""
    edge = LookAhead(10.0, 3.0, 2.0)
    changed, drawn = _changed(_ground(math.nan, edges=(edge,)))
    columns = np.flatnonzero(changed.any(0))
    assert set(columns) <= {*range(220, 228), *range(380, 388)} and 223 in columns and 383 in columns
    assert np.abs(drawn[243, 223:225].astype(int) - GROUND_COLORS[0]).sum(1).min() < 60
    for side in (math.inf, math.nan):
        assert not _changed(_ground(math.nan, edges=(LookAhead(10.0, side, side),)))[0].any()


def test_tags_never_lie_over_each_other():
    """Five cars in one place: as many tags as there is room for, each whole."""
    segments = tuple(Segment(n, 8, True, 0.9, 5000 - n, (200 + n, 100 + n, 60, 40)) for n in range(1, 6))
    rgb = np.full((360, 640, 3), 100, np.uint8)
    panoptic = _panoptic(360, 640)
    drawn = Overlay(CAMVID).draw(rgb, Panoptic(panoptic.semantic, panoptic.instance, panoptic.confidence, segments))
    boxes = (drawn == 24).all(2)[: 360 - len(legend_strip(CAMVID, 640))]
    steps = np.diff(np.flatnonzero(boxes[:, 200:270].any(1)))
    assert (steps > 1).sum() == 2, "three tags: above, at the upper edge and below"


def test_classes_of_ground_are_told_apart_cheapest_first():
    assert ground_colors(CAMVID) == {ROAD: GROUND_COLORS[0], PAVEMENT: GROUND_COLORS[1]}
    colors = ground_colors(CITYSCAPES)
    assert len(set(colors.values())) == len(colors) == 3


def _as_seen(color, missing):
    """A colour as somebody sees it who lacks one kind of cones (Machado, Oliveira and Fernandes, A Physiologically-based
    Model for Simulation of Color Vision Deficiency, TVCG 2009, table 1, severity 1)."""
    matrix = {
        "protan": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
        "deutan": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
        "tritan": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
    }[missing]
    return np.clip(np.array(matrix) @ (np.array(color) / 255) ** 2.2, 0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("missing", ["protan", "deutan", "tritan"])
def test_colours_differ_for_the_colour_blind(missing):
    seen = [_as_seen(color, missing) for color in (*GROUND_COLORS[:3], OBSTACLE_COLOR, FREE_COLOR)]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert np.abs(one - other).max() > 0.2, (i, one, other)


@pytest.mark.parametrize(
    ("value", "words"), [(12.44, "12.4 m"), (0.0, "0.0 m"), (math.inf, "> 40 m"), (math.nan, "unknown")]
)
def test_distances_in_words(value, words):
    assert in_metres(value, 40.0) == words


def test_lines_are_broken_between_words_and_at_gaps():
    assert wrapped("one two three", text_width("one two", 0.5), 0.5) == ["one two", "three"]
    points = np.arange(14.0).reshape(7, 2)
    kept = np.array([True, True, False, True, False, True, True])
    assert [run[:, 0].tolist() for run in runs(points, kept)] == [[0.0, 2.0], [10.0, 12.0]]


@pytest.mark.parametrize(
    ("name", "read"), [("Fußgängerüberweg", "Fussgangeruberweg"), ("café", "cafe"), ("道 1", "? 1"), ("road", "road")]
)
def test_letters_that_opencv_lacks_are_the_nearest_that_it_has(
    monkeypatch: pytest.MonkeyPatch, name: str, read: str
) -> None:
    """Up to 4, as on robots, it writes a question mark for each byte of them."""
    monkeypatch.setattr(drawing, "_HAS_ALL_LETTERS", False)
    written, expected = np.zeros((2, 40, 400, 3), np.uint8)
    drawing.draw_text(written, 4, 30, name, 0.8)
    drawing.draw_text(expected, 4, 30, read, 0.8)
    assert expected.any() and np.array_equal(written, expected)
    assert drawing.text_width(name, 0.8) == drawing.text_width(read, 0.8)


def test_the_own_vehicle_is_hatched_and_has_a_border():
    ego = np.zeros((360, 640), np.uint8)
    ego[180:300] = 255
    for pixels in (ego, ego[::2, ::2]):
        changed, _ = _changed(Drivable((), ego=np.ascontiguousarray(pixels)), Drivable(()))
        assert 0.1 < changed[190:290].mean() < 0.5, "what is below shines through"
        assert changed[178:182].any(axis=0).mean() > 0.95 and not changed[:176].any() and not changed[304:].any()


def test_masks_of_another_size_are_stretched_to_the_frame():
    rgb = np.full((360, 640, 3), 100, np.uint8)
    small, large = _panoptic(180, 320), _panoptic(360, 640)
    bare = [Panoptic(p.semantic, p.instance, p.confidence, ()) for p in (small, large)]
    assert np.array_equal(*(Overlay(CAMVID).draw(rgb, panoptic) for panoptic in bare))


def test_the_picture_goes_where_it_is_asked_to_and_size_may_change():
    overlay = Overlay(CAMVID)
    out = np.zeros((360, 640, 3), np.uint8)
    assert overlay.draw(np.zeros((360, 640, 3), np.uint8), _panoptic(360, 640), out=out) is out and out.any()
    larger = overlay.draw(np.zeros((720, 1280, 3), np.uint8), _panoptic(720, 1280), out=out)
    assert larger.shape == (720, 1280, 3)
    assert overlay.draw(np.zeros((360, 640, 3), np.uint8), _panoptic(360, 640), out=larger).shape == (360, 640, 3)


@pytest.mark.parametrize("width", [160, 640, 1280, 1920])
def test_the_legend_strip_shows_every_class_and_stays_in_the_picture(width):
    strip = legend_strip(CAMVID, width)
    assert strip.shape[1] == width
    for label in CAMVID.classes:
        assert (strip == label.color).all(2).any(), label.name
    if width >= 640:
        assert len(strip) <= 0.15 * width * 9 / 16


def test_the_legend_has_a_line_for_every_class_and_for_void():
    image = legend(CAMVID)
    rows = (image.shape[0] - 8) // 24
    assert rows == len(CAMVID) + 1
    for i, label in enumerate(CAMVID.classes):
        line = image[4 + 24 * i : 28 + 24 * i]
        assert (line[12, 18] == label.color).all()
        assert line[:, 36:].min() < 100, f"no text for {label.name}"
    assert (image[4 + 24 * len(CAMVID) + 12, 18] == CAMVID.colors[VOID]).all()


def _followed(x, age_s, number=7, state="confirmed", ground=None, size=(360, 640)):
    """A car of 60x40 px at x, followed for age_s."""
    semantic, instance = np.full(size, 3, np.uint8), np.zeros(size, np.uint16)
    semantic[100:140, x : x + 60], instance[100:140, x : x + 60] = 8, 1
    box = (x, 100, 60, 40)
    track = Track(number, 8, state, age_s, 9, 0.0, tuple(map(float, box)), (120.0, -50.0), (1.0, 1.0), ground)
    return Panoptic(semantic, instance, np.full_like(semantic, 255), (Segment(1, 8, True, 0.9, 2400, box, track),))


def _in_track_color(drawn, number=7):
    return np.abs(drawn.astype(int) - track_color(number)).max(axis=2) < 30


def test_things_that_are_followed_leave_a_trail_of_two_seconds_where_their_feet_were():
    overlay, rgb = Overlay(CAMVID), np.full((360, 640, 3), 100, np.uint8)
    for i in range(90):
        drawn = overlay.draw(rgb, _followed(40 + 4 * i, i / 30))
    rows, columns = np.nonzero(_in_track_color(drawn)[:200])
    assert abs(rows.mean() - 139.5) < 2
    foot = 40 + 4 * 89 + 29.5
    assert columns.max() == pytest.approx(foot, abs=3)
    assert columns.min() == pytest.approx(foot - 4 * 30 * 2, abs=4 * 3 + 3), "two seconds, to a step of the trail"


def test_a_number_that_begins_anew_and_a_new_track_have_no_trail():
    overlay, rgb = Overlay(CAMVID), np.full((360, 640, 3), 100, np.uint8)
    overlay.draw(rgb, _followed(40, 3.0))
    assert not _in_track_color(overlay.draw(rgb, _followed(400, 0.0)))[:200].any()
    for i in range(3):
        drawn = overlay.draw(rgb, _followed(100 + 60 * i, i / 2, number=8, state="new"))
    assert not _in_track_color(drawn, 8)[:200].any()


_MOTION = GroundMotion((9.0, 1.0), (3.0, -4.0), ((0.0,) * 4,) * 4)


@pytest.mark.parametrize(
    "state, ground, over_ground, words",
    [
        ("confirmed", None, False, ["car 7  130 px/s"]),
        ("confirmed", _MOTION, True, ["car 7  5.0 m/s"]),
        ("confirmed", _MOTION, False, ["car 7  5.0 m/s", "speeds as seen from the vehicle"]),
        ("new", _MOTION, False, ["car 7"]),
    ],
)
def test_tags_say_the_number_and_the_speed(monkeypatch, state, ground, over_ground, words):
    told = []
    monkeypatch.setattr(
        "seg_perception.pictures.overlay.draw_tag", lambda out, left, top, text, scale: told.append(text)
    )
    shown = _followed(100, 1.0, state=state, ground=ground)
    Overlay(CAMVID).draw(np.zeros((360, 640, 3), np.uint8), shown, over_ground=over_ground)
    assert told == words


def test_trails_are_bounded():
    trails = Trails(foot_px)
    for i in range(400):
        tracks = [s.track for s in _followed(20, i / 30, number=1).segments] + [
            s.track for s in _followed(20, 0.0, number=100 + i).segments
        ]
        trails.add(tracks)
    assert len(trails._trails) <= 70 and max(len(t.points) for t in trails._trails.values()) <= 21
