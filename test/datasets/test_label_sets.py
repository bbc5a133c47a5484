"""Label sets from files, and concepts in between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from places import CHECKOUT
from test_datasets import cityscapes_tree, pair

from seg_perception.datasets import ade20k, cityscapes, coco_panoptic, coco_polygons, idd_lite, mapillary
from seg_perception.datasets.label_sets import CONCEPTS, classes_in, concepts_of, open_labels
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import BUILT_IN, CAMVID, CITYSCAPES, LabelSet
from seg_perception.training.config import load_config

OWN = """
- {name: lawn, color: [0, 255, 0], drivable_cost: 0, covers: [terrain]}
- {name: car, color: [0, 0, 142], thing: true, covers: [truck, bus]}
- {name: person, color: [220, 20, 60], thing: true}
"""


def test_a_file_of_classes(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    labels = open_labels(str(path))
    assert labels.names == ("lawn", "car", "person")
    assert labels.is_thing[:3].tolist() == [False, True, True] and labels.drivable_costs[:3].tolist() == [0, -1, -1]
    assert labels.colors[1].tolist() == [0, 0, 142]
    again = LabelSet.from_json(labels.to_json())
    assert again == labels and again.classes[1].covers == ("truck", "bus"), "it travels in checkpoint and model file"


def test_what_a_class_covers_twice_it_covers(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    rows = (
        "{name: way, color: [0, 0, 0], covers: [road, road, parking]}",
        "{name: b, color: [0, 0, 0], covers: [parking]}",
    )
    path.write_text(f"[{', '.join(rows)}]")
    assert set(concepts_of(open_labels(str(path)))[0]) == {"way", "road"}, "parking is of two classes"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("- {name: a, colour: [0, 0, 0]}", "'classes.colour': did you mean 'color'"),
        ("- {name: a}", "'classes.color' is missing"),
        ("- {name: a, color: [0, 0]}", "list of 3"),
        ("- {name: a, color: [0, 0, 256]}", "colour"),
        ("- {name: a, color: [0, 0, 0]}\n- {name: a, color: [0, 0, 0]}", "names that differ"),
        ("- {name: a, color: [0, 0, 0]}\n- {name: ' ', color: [0, 0, 1]}", "class 1 has no name"),
        ("- {name: a, color: [0, 0, 0], covers: [trukc]}", "did you mean 'truck'"),
        ("a: b", "expected a list"),
        ("[]", "at least one class"),
        ("[", "no valid YAML"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(SegPerceptionError, match=named) as caught:
        open_labels(str(path))
    assert str(caught.value).count(str(path)) == 1


def test_an_unknown_set_is_answered_with_the_nearest() -> None:
    with pytest.raises(SegPerceptionError, match=r"'cityscape'.*did you mean 'cityscapes'"):
        open_labels("cityscape")


def test_a_configuration_names_a_set_or_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    (tmp_path / "c.yaml").write_text(
        "labels: own.yaml\nvalidation: {name: camvid, root: x}\n"
        "data: [{name: folder, root: x, classes: {4: lawn, 7: [car, person], 9: []}}]\n"
    )
    config = load_config(tmp_path / "c.yaml")
    assert config.open_labels().names == ("lawn", "car", "person")
    assert config.data[0].classes == {4: ("lawn",), 7: ("car", "person"), 9: ()}
    assert load_config(tmp_path / "c.yaml", labels="cityscapes").open_labels() is CITYSCAPES
    (tmp_path / "d.yaml").write_text(
        "validation: {name: camvid, root: x}\ndata: [{name: folder, root: x, classes: {1.5: [lawn]}}]"
    )
    with pytest.raises(SegPerceptionError, match=r"'data\.classes' has 1\.5, expected int or str"):
        load_config(tmp_path / "d.yaml")


def test_an_old_model_file_gets_what_its_classes_cover() -> None:
    rows = [{key: value for key, value in row.items() if key != "covers"} for row in CAMVID.to_json()]
    assert LabelSet.from_json(rows) is CAMVID


@pytest.mark.parametrize("labels", BUILT_IN.values(), ids=BUILT_IN)
def test_data_in_a_label_set_of_its_own_means_exactly_its_classes(labels: LabelSet) -> None:
    assert classes_in(labels, concepts_of(labels)) == {c.id: (c.name,) for c in labels.classes}


def test_every_concept_is_one() -> None:
    tables = (ade20k.MEANING, cityscapes.MEANING, coco_polygons.MEANING, idd_lite.MEANING)
    tables += (coco_panoptic.CONCEPTS_BY_CATEGORY, mapillary.CONCEPTS_BY_PREFIX)
    used = {name for table in tables for names in table.values() for name in names}
    used |= {name for labels in BUILT_IN.values() for c in labels.classes for name in c.covers}
    assert used <= set(CONCEPTS)


def test_the_example_of_own_classes_lists_every_concept() -> None:
    text = (CHECKOUT / "config/labels/own_classes.yaml").read_text()
    words = text[text.index("words are") + len("words are") : text.index("- {name")].replace("#", "")
    assert {" ".join(word.split()) for word in words.split(",")} == set(CONCEPTS)


def test_own_classes_learn_from_public_data(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(OWN)
    labels = open_labels(str(tmp_path / "own.yaml"))
    found = classes_in(labels, cityscapes.MEANING)
    assert {i: names for i, names in found.items() if names} == {
        **{22: ("lawn",), 24: ("person",), 26: ("car",), 27: ("car",), 28: ("car",)},
    }
    assert classes_in(labels, {1: ("car", "terrain", "sky")}) == {1: ("lawn", "car")}


def test_sets_of_different_labels_teach_one_network(tmp_path: Path) -> None:
    """Every pixel of every source gets a code that leaves a class of the trained set possible."""
    pytest.importorskip("torch", reason="the stream gives tensors")
    from seg_perception.training.data.stream import TrainingStream

    (tmp_path / "own.yaml").write_text(OWN)
    cityscapes_tree(tmp_path / "city")
    pair(tmp_path / "mine", "train", "a", np.kron([[0, 1], [2, 255]], np.ones((16, 16))))
    pair(tmp_path / "idd", "train", "a", np.kron([[0, 1], [3, 6]], np.ones((16, 16))))
    (tmp_path / "c.yaml").write_text(
        "labels: own.yaml\nsize_hw: [32, 32]\ncrop_hw: [32, 32]\nvalidation: {name: folder, root: mine, split: train}\n"
        "data: [{name: folder, root: mine, split: train}, {name: cityscapes, root: city, split: train},\n"
        "       {name: idd_lite, root: idd, split: train}]\n"
    )
    config = load_config(tmp_path / "c.yaml", data_root=str(tmp_path))
    labels = config.open_labels()
    stream = TrainingStream(config, labels, 40)
    seen = {code for i in range(40) for code in np.unique(stream[i]["codes"].numpy()).tolist()} - {255}
    assert {0, 1, 2} <= seen and seen <= set(range(len(stream.partial.sets)))
    assert [dataset.meaning.get(3) for dataset in stream.datasets] == [None, (), ("car",)]
    assert (stream.partial.bias[sorted(seen)].max(axis=1) == 0).all()
