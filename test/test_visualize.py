import numpy as np
import pytest

from seg_perception.labels import CAMVID, VOID
from seg_perception.results import Drivable, DrivableArea, Grid, Outline, Panoptic, Segment
from seg_perception.visualize import UNKNOWN_COLOR, Overlay, birds_eye, legend, legend_strip

SIZES = [(360, 640), (720, 1280)]


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


def test_the_drivable_outline_is_drawn_where_it_lies():
    points = np.array([[10, 200], [600, 200], [600, 300], [10, 300]], np.float32)
    drivable = Drivable((DrivableArea(3, 0.2, 0.9, (Outline(points),)),))
    rgb = np.full((360, 640, 3), 100, np.uint8)
    panoptic = _panoptic(360, 640)
    changed = (Overlay(CAMVID).draw(rgb, panoptic, drivable) != Overlay(CAMVID).draw(rgb, panoptic)).any(2)
    assert changed[200, 100:500].all() and changed[250, 600] and not changed[250, 100:500].any()


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


def test_from_above_ahead_is_up_and_left_is_left():
    """A grid of 3 cells across and 4 ahead: free in the cell nearest and rightmost (row 0, column 0), dear farthest and
    leftmost (row 2, column 3)."""
    cells = np.full((3, 4), -1, np.int8)
    cells[0, 0], cells[2, 3] = 0, 100
    image = birds_eye(Grid(cells, 1.0, (0.5, -1.5)))
    assert image.shape == (480, 360, 3)
    free, dear, unknown = image[-20, -20].astype(int), image[20, 20].astype(int), image[20, -20]
    assert free[1] > free[0] + 100 and dear[0] > dear[1] + 100
    assert tuple(unknown) == UNKNOWN_COLOR


def test_lines_of_equal_distance_are_where_their_number_says():
    image = birds_eye(Grid(np.full((40, 48), -1, np.int8), 0.25, (-1.0, -5.0)))
    per_m = 10 / 0.25
    for ahead_m in (0, 5, 10):
        assert tuple(image[round(len(image) - 1 - (ahead_m + 1) * per_m), 300]) == (120, 120, 128)
