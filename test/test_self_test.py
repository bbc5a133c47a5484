"""The known image and its answer: what passes, and what must be found out."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import FakeBackend, empty_output
from places import CHECKOUT

from seg_perception import model_file, self_test
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import SegPerceptionError
from seg_perception.results import NetworkOutput
from seg_perception.self_test import UNSURE, Masks, SelfTest, known_image

SMALL = CHECKOUT / "models" / "driving_mobileseg.onnx"
LARGE = CHECKOUT / "models" / "camvid_pidnet_s.onnx"


def altered(before=lambda images: images, after=lambda output: output):
    """The real network with something done to its input or output."""

    class Altered(OnnxRuntimeBackend):
        def infer(self, images):
            return after(super().infer(np.ascontiguousarray(before(images))))

    return Altered


def noisy(share):
    rng = np.random.default_rng(0)

    def after(output):
        arrays = (output.semantic_logits, output.center_heatmap, output.center_offset)
        return NetworkOutput(*(v + rng.normal(0, share * np.abs(v).max(), v.shape).astype(np.float32) for v in arrays))

    return after


def without_centers(output):
    return replace(output, center_heatmap=output.center_heatmap * 0)


def not_a_number(output):
    output.center_offset[0, 0, 0, 0] = np.nan
    return output


@pytest.fixture(scope="module")
def model():
    info = model_file.load(SMALL)
    return replace(info, self_test=self_test.answer(OnnxRuntimeBackend(info)))


def test_the_known_image_is_drawn_once_and_nobody_may_write_to_it():
    image = known_image((48, 64))
    assert known_image((48, 64)) is image and not image.flags.writeable


def test_the_known_image_is_the_same_on_every_machine():
    """Whoever changes it changes PATTERN too, or every model file that was exported before fails its test."""
    digest = hashlib.sha256(known_image((48, 64)).tobytes()).hexdigest()
    assert (self_test.PATTERN, digest[:16]) == (1, "8b0c015cfd1dcfab")


def test_the_answer_is_small_and_tells_much(model):
    assert len(json.dumps(model.self_test)) < 4096
    masks = Masks.from_json(model.self_test)
    assert len(np.unique(masks.semantic)) > 6 and len(np.unique(masks.instance)) > 2
    assert (masks.semantic != UNSURE).mean() > 0.7
    again = Masks.from_json(masks.to_json())
    assert np.array_equal(again.semantic, masks.semantic) and np.array_equal(again.instance, masks.instance)


@pytest.mark.parametrize("after", [lambda output: output, noisy(0.005)], ids=["as it is", "rounding"])
def test_the_network_itself_passes_whatever_it_rounds(model, after):
    outcome = SelfTest(model, altered(after=after)(model)).run()
    assert outcome.passed and outcome.sentence.startswith("passed: of the known image's cells 0.")


@pytest.mark.parametrize(
    "change",
    [
        {"before": lambda images: images[..., ::-1]},
        {"before": lambda images: np.roll(images, 1, 2)},
        {"before": lambda images: images // 2},
        {"after": lambda output: replace(output, semantic_logits=np.roll(output.semantic_logits, 1, 1))},
        {"after": lambda output: replace(output, semantic_logits=output.semantic_logits[..., ::-1].copy())},
        {"after": without_centers},
        {"after": noisy(0.3)},
        {"after": not_a_number},
    ],
    ids=["bgr", "shifted", "dark", "classes", "mirrored", "no centres", "noise", "not a number"],
)
def test_what_is_wrong_is_found_out(model, change):
    outcome = SelfTest(model, altered(**change)(model)).run()
    assert outcome.passed is False and outcome.sentence.startswith("the self-test failed: "), outcome


def test_another_models_engine_is_found_out(model):
    other = model_file.load(LARGE)
    outcome = SelfTest(
        replace(other, self_test=model.self_test, size_hw=model.size_hw), OnnxRuntimeBackend(other)
    ).run()
    assert outcome.passed is None, "of another size, so nothing to compare"
    small = other.at(model.size_hw)
    outcome = SelfTest(replace(small, self_test=model.self_test), OnnxRuntimeBackend(small)).run()
    assert outcome.passed is False and "most of them " in outcome.sentence


def test_what_cannot_be_compared_is_neither_passed_nor_failed(model):
    backend = OnnxRuntimeBackend(model)
    for changes, words in (
        ({"self_test": {}}, "holds no answer to it, 'seg_perception export --model' writes one"),
        ({"self_test": {**model.self_test, "pattern": 2}}, "is of another version"),
    ):
        outcome = SelfTest(replace(model, **changes), backend).run()
        assert outcome.passed is None and words in outcome.sentence
    elsewhere = model.at((288, 448))
    outcome = SelfTest(model, OnnxRuntimeBackend(elsewhere)).run()
    assert (
        outcome.passed is None
        and "the answer in the file is for 512x352, the network runs at 448x288" in outcome.sentence
    )


@pytest.mark.parametrize(
    "damage",
    [
        {"rows": 0},
        {"rows": 10**9},
        {"rows": "many"},
        {"rows": math.inf},
        {"masks": "no base 85 \N{SNOWMAN}"},
        {"masks": "abcde"},
        {"masks": None},
    ],
)
def test_an_answer_that_makes_no_sense_is_a_failure(model, damage):
    content = {**model.self_test, **damage}
    with pytest.raises(SegPerceptionError, match="cannot be read"):
        Masks.from_json(content)
    assert SelfTest(replace(model, self_test=content), OnnxRuntimeBackend(model)).run().passed is False


def test_an_answer_with_classes_that_the_model_does_not_have_is_a_failure(model):
    wanted = Masks.from_json(model.self_test)
    foreign = replace(wanted, semantic=np.where(wanted.semantic == UNSURE, UNSURE, 200).astype(np.uint8)).to_json()
    outcome = SelfTest(replace(model, self_test=foreign), OnnxRuntimeBackend(model)).run()
    assert outcome.passed is False and "200 100%" in outcome.sentence


def test_a_network_that_sees_one_class_only_has_no_answer(model):
    backend = FakeBackend(lambda images: empty_output(model))
    backend.model = model
    assert self_test.answer(backend) == {}


def test_objects_are_compared_whatever_their_numbers():
    wanted = np.array([[1, 1, 1, 0], [2, 2, 0, 0], [UNSURE, 0, 0, 0]], np.uint8)
    swapped = np.array([[7, 7, 7, 0], [1, 1, 0, 0], [9, 0, 0, 0]], np.uint16)
    none = np.zeros((3, 4), bool)
    none[2, 0] = True
    assert np.array_equal(self_test._moved(wanted, np.where(none, 0, swapped).astype(np.uint16)), none & False)
    joined = np.array([[7, 7, 7, 0], [7, 7, 0, 5], [0, 0, 0, 0]], np.uint16)
    assert self_test._moved(wanted, joined).tolist() == [
        [False, False, False, False],
        [True, True, False, True],
        [False, False, False, False],
    ], "the second object is part of the first, and a cell of none belongs to one"
    assert self_test._moved(wanted, np.zeros((3, 4), np.uint16)).sum() == 5
