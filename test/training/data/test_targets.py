"""Training targets on hand-drawn maps."""

from __future__ import annotations

from itertools import combinations, islice

import numpy as np
import pytest

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, VOID
from seg_perception.training.data.targets import PartialLabels, boundaries, center_targets


def test_codes_of_equal_sets_are_shared_and_things_are_known() -> None:
    partial = PartialLabels(CAMVID)
    first = partial.codes_of({0: ("car", "bicyclist"), 1: ("road",), 2: ()})
    second = partial.codes_of({7: ("bicyclist", "car")})
    assert first[0] == second[7] == len(CAMVID)
    assert first[1] == CAMVID.by_name("road").id and first[2] == first[9] == VOID
    assert partial.may_be_thing[first[0]] and not partial.may_be_thing[first[1]]


def test_a_misspelt_class_is_answered_with_the_nearest() -> None:
    with pytest.raises(SegPerceptionError, match="did you mean 'pavement'"):
        PartialLabels(CAMVID).codes_of({0: ("pavment",)})


def test_more_sets_of_classes_than_codes_are_refused() -> None:
    """11 classes, 220 pairs and triples and 24 of the quadruples make 255 codes, 0 to 254; 255 is void."""
    partial = PartialLabels(CAMVID)
    few = [names for size in (2, 3) for names in combinations(CAMVID.names, size)]
    many = list(islice(combinations(CAMVID.names, 4), 25))
    partial.codes_of(dict(enumerate(few)))
    assert partial.codes_of(dict(enumerate(many[:24]))).tolist()[:24] == list(range(231, 255))
    with pytest.raises(SegPerceptionError, match="more than 255 different sets"):
        partial.codes_of({0: many[24]})


def test_center_and_offsets_of_one_square() -> None:
    """A 16x16 object over columns and rows 8-23 has its centroid at 15.5, the corner of four cells of stride 8."""
    instance = np.zeros((32, 32), np.uint16)
    instance[8:24, 8:24] = 5
    targets = center_targets(instance, np.zeros((32, 32), bool), 8, sigma_px=8.0)
    assert targets.offset_known.sum() == 4 and targets.offset_known[1:3, 1:3].all()
    assert targets.offset[:, 1, 1].tolist() == [4.0, 4.0]  # the cell's middle is 11.5
    assert targets.offset[:, 2, 1].tolist() == [-4.0, 4.0]
    assert targets.heatmap[1, 1] == pytest.approx(np.exp(-(4**2 + 4**2) / (2 * 8**2)))
    assert targets.heatmap_known.all()


def test_things_without_known_instances_teach_no_center() -> None:
    unknown = np.zeros((32, 32), bool)
    unknown[:8, :8] = True
    targets = center_targets(np.zeros((32, 32), np.uint16), unknown, 8, sigma_px=8.0)
    assert not targets.heatmap_known[0, 0] and targets.heatmap_known.sum() == 15


@pytest.mark.parametrize("stride", [4, 8])
def test_one_pixel_of_a_thing_without_a_number_is_enough(stride: int) -> None:
    """Rounded shares of a cell said so of more than half of it: small people far away were taught to be none."""
    unknown = np.zeros((32, 64), bool)
    unknown[13, 22] = True
    targets = center_targets(np.zeros((32, 64), np.uint16), unknown, stride, sigma_px=8.0)
    assert np.argwhere(~targets.heatmap_known).tolist() == [[13 // stride, 22 // stride]]


def test_boundaries_run_between_labels_and_not_to_void() -> None:
    codes = np.zeros((5, 9), np.uint8)
    codes[:, 3:] = 1
    codes[:, 8:] = VOID
    assert boundaries(codes)[2].tolist() == [0, 0, 1, 1, 0, 0, 0, VOID, VOID]


def test_sets_of_classes_change_places_in_a_mirror_too() -> None:
    """A label that may be sky or building is in the mirror of (sky, road) one that may be road or building."""
    partial = PartialLabels(CAMVID)
    codes = partial.codes_of({0: ("sky", "building"), 1: ("tree",), 2: ("sky", "road")})
    table = partial.mirrored([("sky", "road")])
    named = lambda code: {CAMVID.names[i] for i in partial.sets[code]}  # noqa: E731
    assert named(table[codes[0]]) == {"road", "building"} and table[codes[1]] == codes[1]
    assert table[codes[2]] == codes[2] and table[VOID] == VOID
    assert table[table].tolist() == list(range(256)), "twice mirrored is as before"
    with pytest.raises(SegPerceptionError, match="did you mean 'road'"):
        partial.mirrored([("sky", "raod")])
