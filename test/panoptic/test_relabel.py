"""Other costs, and classes under one name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CITYSCAPES, VOID
from seg_perception.panoptic.relabel import MergingDecoder, told
from seg_perception.results import Panoptic, Segment, Wants

IDS = {label.name: label.id for label in CITYSCAPES.classes}


def test_a_cost_is_another_and_all_else_stays() -> None:
    found = told(CITYSCAPES, {"terrain": 10, "traffic_light": 100, "road": -1}, [])
    assert found.table is None and not found.gone
    for label, before in zip(found.labels.classes, CITYSCAPES.classes, strict=True):
        expected = {"terrain": 10, "traffic light": 100, "road": -1}.get(label.name, before.drivable_cost)
        assert label.drivable_cost == expected
        assert (label.name, label.color, label.thing) == (before.name, before.color, before.thing)
    assert told(CITYSCAPES, {}, []).labels is CITYSCAPES


def test_merged_classes_have_the_first_ones_id_and_their_own_name() -> None:
    found = told(CITYSCAPES, {"terrain": 60}, ["vehicle: car, truck, bus", "off road: sidewalk, terrain"])
    assert found.table is not None
    for name, first in {"truck": "car", "bus": "car", "terrain": "sidewalk"}.items():
        assert found.table[IDS[name]] == IDS[first] and IDS[name] in found.gone
    for label in CITYSCAPES.classes:
        if label.id not in found.gone:
            assert found.table[label.id] == label.id
    assert found.table[VOID] == VOID
    names = {label.id: label.name for label in found.labels.classes if label.id not in found.gone}
    assert names[IDS["car"]] == "vehicle" and names[IDS["sidewalk"]] == "off road" and names[IDS["road"]] == "road"
    assert found.labels.classes[IDS["sidewalk"]].drivable_cost == 60
    assert told(CITYSCAPES, {}, ["car: car, truck"]).labels.classes[IDS["car"]].name == "car"


REFUSED: list[tuple[Mapping[str, int], Sequence[str], str]] = [
    ({"raod": 5}, [], "parameter 'label_cost.raod' is of a class that the model does not have: did you mean 'road'?"),
    ({}, ["vehicle: car, trcuk"], "there is no class 'trcuk': did you mean 'truck'?"),
    ({}, ["car, truck"], "give a name, a colon and two classes or more"),
    ({}, ["vehicle: car"], "give a name, a colon and two classes or more"),
    ({}, ["vehicle: car, car"], "each once"),
    ({}, [": car, truck"], "give a name"),
    ({}, ["a: car, truck", "b: bus, truck"], "merges a class of 'b: bus, truck' twice"),
    ({}, ["a: car, truck", "b: car, bus"], "merges a class of 'b: car, bus' twice"),
    ({}, ["a: car, truck", "b: truck, bus"], "merges a class of 'b: truck, bus' twice"),
    ({}, ["road: car, truck"], "leaves two classes of the name 'road'"),
    ({}, ["a: car, building"], "'car' and 'building' are not both things"),
    ({}, ["a: road, building"], "only one is ground"),
]


@pytest.mark.parametrize(("costs", "merges", "words"), REFUSED, ids=[words for *_, words in REFUSED])
def test_what_cannot_be_is_refused_by_name(costs: Mapping[str, int], merges: Sequence[str], words: str) -> None:
    with pytest.raises(SegPerceptionError, match="label_") as error:
        told(CITYSCAPES, costs, merges)
    assert words in str(error.value)


def test_what_became_ground_can_be_merged_with_it() -> None:
    assert told(CITYSCAPES, {"wall": 100}, ["a: road, wall"]).gone == {IDS["wall"]}


class Given:
    """A decoder with one answer."""

    def __init__(self, panoptic: Panoptic) -> None:
        self._panoptic = panoptic

    def decode(self, output: object, index: int, mask_hw: tuple[int, int], stride: int, wants: Wants) -> Panoptic:
        return self._panoptic


def segments_of(semantic: np.ndarray, instance: np.ndarray) -> list[Segment]:
    """The slow way, from the masks: things by number, stuff by class."""
    found = []
    things = CITYSCAPES.is_thing
    for number in np.unique(instance[instance > 0]):
        at = instance == number
        found.append(segment(int(number), int(np.bincount(semantic[at]).argmax()), True, at))
    for class_id in np.unique(semantic[(semantic != VOID) & ~things[semantic]]):
        found.append(segment(1000 + int(class_id), int(class_id), False, semantic == class_id))
    return found


def segment(number: int, class_id: int, is_thing: bool, at: np.ndarray) -> Segment:
    rows, columns = np.nonzero(at)
    x, y = int(columns.min()), int(rows.min())
    box = (x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1)
    return Segment(number, class_id, is_thing, 0.5, int(at.sum()), box)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_masks_and_segments_are_those_of_a_mask_that_was_merged(seed: int) -> None:
    rng = np.random.default_rng(seed)
    semantic = rng.choice([*range(len(CITYSCAPES)), VOID], (6, 9)).astype(np.uint8)
    instance = np.where(CITYSCAPES.is_thing[semantic], 1 + semantic, 0).astype(np.uint16)
    found = told(CITYSCAPES, {}, ["green: vegetation, building, sky", "vehicle: car, bus", "ground: road, terrain"])
    assert found.table is not None
    before = Panoptic(semantic, instance, np.zeros((6, 9), np.uint8), tuple(segments_of(semantic, instance)))
    after = MergingDecoder(Given(before), found.table, 0.0).decode(None, 0, (6, 9), 8, Wants())
    merged = found.table[semantic]
    np.testing.assert_array_equal(after.semantic, merged)
    np.testing.assert_array_equal(after.instance, instance)

    def rows(segments: Sequence[Segment]) -> list[tuple[object, ...]]:
        return sorted((one.is_thing, one.class_id, one.area, one.box, one.score) for one in segments)

    assert rows(after.segments) == rows(segments_of(merged, instance))


def test_the_score_of_merged_stuff_is_that_of_all_its_pixels() -> None:
    found = told(CITYSCAPES, {}, ["ground: road, terrain"])
    assert found.table is not None
    semantic = np.full((2, 2), IDS["road"], np.uint8)
    parts = (
        Segment(1, IDS["road"], False, 0.9, 3, (0, 0, 2, 2)),
        Segment(2, IDS["terrain"], False, 0.5, 1, (1, 1, 1, 1)),
    )
    before = Panoptic(semantic, np.zeros((2, 2), np.uint16), semantic, parts)
    (one,) = MergingDecoder(Given(before), found.table, 0.0).decode(None, 0, (2, 2), 8, Wants()).segments
    assert one.score == pytest.approx(0.8) and one.area == 4 and one.id == 1


@pytest.mark.parametrize(("least", "areas"), [(0.0, [6, 2]), (0.3, [6]), (0.75, [6]), (0.76, [])])
def test_merged_stuff_is_small_or_not_by_all_its_pixels(least: float, areas: list[int]) -> None:
    """Road and terrain, an eighth and five of the mask, are one class of three quarters; sky is the rest."""
    found = told(CITYSCAPES, {}, ["ground: road, terrain"])
    assert found.table is not None
    terrain, sky = IDS["terrain"], IDS["sky"]
    semantic, none = np.array([[0, terrain, sky, sky], [terrain] * 4], np.uint8), np.zeros((2, 4), np.uint16)
    before = Panoptic(semantic, none, semantic, tuple(segments_of(semantic, none)))
    segments = MergingDecoder(Given(before), found.table, least).decode(None, 0, (2, 4), 8, Wants()).segments
    assert [one.area for one in segments] == areas
