"""The model's classes and a data set's ids made comparable: the best possible answer scores 1, whatever the sets."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import CHECKOUT

from seg_perception.datasets import ade20k, cityscapes, coco_panoptic, coco_polygons, idd_lite, mapillary
from seg_perception.datasets.label_sets import Meaning, classes_in, concepts_of, open_labels
from seg_perception.labels import BUILT_IN, CAMVID, VOID, LabelSet
from seg_perception.metrics.scores import Scores
from seg_perception.recordings.dataset_source import Comparison
from seg_perception.results import Segment, Truth

MEANINGS: Mapping[str, Meaning] = {
    "camvid": concepts_of(CAMVID),
    "ade20k": ade20k.MEANING,
    "cityscapes": cityscapes.MEANING,
    "idd_lite": idd_lite.MEANING,
    "coco_polygons": coco_polygons.MEANING,
    "coco_panoptic": dict(enumerate(coco_panoptic.CONCEPTS_BY_CATEGORY.values())),
    "mapillary": dict(enumerate(mapillary.CONCEPTS_BY_PREFIX.values())),
}
SETS = {**BUILT_IN, "own": open_labels(str(CHECKOUT / "config/labels/own_classes.yaml"))}


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("labels", SETS.values(), ids=SETS)
@pytest.mark.parametrize("meaning", MEANINGS.values(), ids=MEANINGS)
def test_the_best_possible_answer_scores_1(meaning: Meaning, labels: LabelSet, data: st.DataObject) -> None:
    """Squares of one id each, and one object each where the id may be a thing; the answer is one of what the id may be."""
    may_be = classes_in(labels, meaning)
    ids = data.draw(st.lists(st.sampled_from([VOID, *may_be]), min_size=1, max_size=12))
    answers = [data.draw(st.sampled_from(may_be.get(number) or labels.names)) for number in ids]
    truth = np.repeat(np.array(ids, np.uint8), 12)[None].repeat(12, 0)
    semantic = np.repeat([labels.by_name(name).id for name in answers], 12)[None].repeat(12, 0).astype(np.uint8)
    objects = np.repeat(np.arange(1, len(ids) + 1, dtype=np.uint16), 12)[None].repeat(12, 0)
    instance = np.where(labels.is_thing[semantic], objects, np.uint16(0))
    comparison = Comparison(labels, may_be)
    common = comparison.truth(Truth(truth, objects))
    scores = Scores(comparison.labels)
    segments = [Segment(int(k), 0, True, 0.9, 144, (0, 0, 1, 1)) for k in np.unique(instance[instance > 0])]
    scores.add(comparison.prediction(semantic, truth), instance, common, segments)
    told = scores.summary()
    if (common.semantic != VOID).any():
        assert told["miou"] == told["pixel_accuracy"] == told["dice"] == 1.0
        assert told["pq"] in (1.0, None)
        assert told["boundary_f1"] in (1.0, None) and told["drivable_iou"] in (1.0, None)


def test_an_answer_among_what_an_id_may_be_is_right_and_any_other_is_wrong() -> None:
    """Parking may be road or pavement; each of them has an id of its own too."""
    ids = {name: CAMVID.by_name(name).id for name in CAMVID.names}
    comparison = Comparison(CAMVID, {7: ("road",), 8: ("pavement",), 9: ("road", "pavement"), 23: ("sky",)})
    assert comparison.labels.names == ("road", "pavement", "road/pavement", "sky")
    truth = np.array([[7, 8, 9, 9, 9, 23, 7, 0]], np.uint8)
    found = np.array([["road", "pavement", "road", "pavement", "sky", "road", "pavement", "road"]])
    semantic = np.vectorize(ids.get)(found).astype(np.uint8)
    assert comparison.prediction(semantic, truth).tolist() == [[0, 1, 2, 2, 3, 0, 1, 0]]
    assert comparison.prediction(semantic).tolist() == [[0, 1, 0, 1, 3, 0, 1, 0]], (
        "without labels, the first that has it"
    )
    assert "road/pavement" in comparison.notes[0]
    assert Comparison(CAMVID, {7: ("road",), 3: ("road",)}).notes == []


def test_labels_that_are_coarser_than_the_mask_are_compared_by_their_middle() -> None:
    comparison = Comparison(CAMVID, {7: ("road",), 9: ("road", "pavement")})
    truth = np.array([[9, 7]], np.uint8)
    semantic = np.zeros((3, 6), np.uint8)
    semantic[1, 1], semantic[1, 4] = CAMVID.by_name("pavement").id, CAMVID.by_name("road").id
    assert comparison.prediction(semantic, truth).tolist() == [[1, 0]]


def test_parity_judges_by_the_same_rule() -> None:
    """The float network answers one of what each id may be, the file another: both are right."""
    parity = pytest.importorskip("seg_perception.training.export.parity", reason="export needs its libraries")
    tally = parity._Tally(Comparison(CAMVID, {7: ("road",), 8: ("pavement",), 9: ("road", "pavement")}))
    truth = np.array([[7, 8, 9, 9]], np.uint8)
    road, pavement = CAMVID.by_name("road").id, CAMVID.by_name("pavement").id
    one, other = (np.array([[road, pavement, *pair]], np.uint8) for pair in ((road, pavement), (pavement, road)))
    tally.add_masks(one, other, Truth(truth))
    told = tally.summary()
    assert told["miou"] == 1.0 and told["miou_change"] == 0.0 and told["pixels_changed"] == 0.5
