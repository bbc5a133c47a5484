"""Views of a frame are merged exactly, whoever the network is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from eval_fixtures import picture, write_images, write_labels
from fakes import FakeBackend, empty_output, model_info, tiny_model

from seg_perception import cli
from seg_perception.errors import SegPerceptionError
from seg_perception.evaluation.tta import AugmentedBackend, Views, parse_scales
from seg_perception.network_size import SizeLimits
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.pipeline import Pipeline
from seg_perception.results import Frame, NetworkOutput

MODEL = model_info(size_hw=(64, 96), stride=8)
CLASSES, ROAD = len(MODEL.labels), MODEL.labels.by_name("road").id
Answer = Callable[[np.ndarray], NetworkOutput]


def cell_means(images: np.ndarray) -> np.ndarray:
    """float32 [N, 3, h, w]: mean colour of every cell, 0 to 255."""
    n, height, width, _ = images.shape
    cells = images.reshape(n, height // 8, 8, width // 8, 8, 3).astype(np.float32)
    return cells.mean((2, 4)).transpose(0, 3, 1, 2)


def by_colour(images: np.ndarray) -> NetworkOutput:
    """Every cell for itself: logits, heatmap and dy follow the colour; dx is 0, so that the mirror image agrees."""
    means = cell_means(images)
    logits = np.concatenate([means, 255 - means, means[:, ::-1], means[:, :2]], axis=1)[:, :CLASSES] / 20
    offset = np.concatenate([means[:, 1:2], np.zeros_like(means[:, :1])], axis=1)
    return NetworkOutput(np.ascontiguousarray(logits), means[:, :1] / 255, offset)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def augmented(answer: Answer, *scales: float, flip: bool = False) -> tuple[AugmentedBackend, FakeBackend]:
    inner = FakeBackend(answer)
    return AugmentedBackend(MODEL, inner, Views(scales or (1.0,), flip)), inner


def image_for(backend: AugmentedBackend) -> np.ndarray:
    return picture(1, backend.model.size_hw)[None]


def test_a_network_that_does_not_mind_mirrors_answers_as_before() -> None:
    backend, inner = augmented(by_colour, flip=True)
    image = image_for(backend)
    plain, merged = by_colour(image), backend.infer(image)
    assert inner.runs == 2 and backend.model == MODEL
    np.testing.assert_allclose(np.exp(merged.semantic_logits), softmax(plain.semantic_logits), atol=1e-6)
    np.testing.assert_allclose(merged.center_heatmap, plain.center_heatmap, atol=1e-6)
    np.testing.assert_allclose(merged.center_offset, plain.center_offset, atol=1e-4)
    views, once = Pipeline(MODEL, backend), Pipeline(MODEL, FakeBackend(by_colour))
    seen, expected = (pipeline.run(Frame(picture(2, (100, 150)))).panoptic for pipeline in (views, once))
    assert (seen.semantic == expected.semantic).mean() > 0.999  # rounding decides where two classes are equal
    assert np.abs(seen.confidence.astype(int) - expected.confidence).max() <= 1


def test_mirrored_answers_are_turned_back_and_averaged() -> None:
    """By its place: the mirror image's first column belongs to the image's last, and its dx points the other way."""
    h, w = MODEL.grid_hw
    column = np.broadcast_to(np.arange(w, dtype=np.float32), (1, 1, h, w))

    def by_place(images: np.ndarray) -> NetworkOutput:
        logits = np.zeros((1, CLASSES, h, w), np.float32)
        logits[:, :1] = column
        return NetworkOutput(logits, column / w, np.concatenate([column, column], axis=1))

    backend, _ = augmented(by_place, flip=True)
    merged = backend.infer(image_for(backend))
    odds = np.exp(np.arange(w))
    first = odds / (odds + CLASSES - 1)
    np.testing.assert_allclose(np.exp(merged.semantic_logits[0, 0, 0]), (first + first[::-1]) / 2, rtol=1e-5)
    np.testing.assert_allclose(merged.center_heatmap, (w - 1) / 2 / w, rtol=1e-5)
    np.testing.assert_allclose(merged.center_offset[0, 0], (w - 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(merged.center_offset[0, 1, 0], (2 * np.arange(w) - (w - 1)) / 2, rtol=1e-5)


@pytest.mark.parametrize(("scale", "windows"), [(1.0, 1), (1.25, 4), (1.5, 4), (2.0, 9)])
def test_windows_of_an_enlarged_image_are_joined_without_a_seam(scale: float, windows: int) -> None:
    backend, inner = augmented(by_colour, scale)
    image = image_for(backend)
    assert backend.model.size_hw == (round(8 * scale) * 8, round(12 * scale) * 8) and backend.model.stride == 8
    plain, merged = by_colour(image), backend.infer(image)
    assert inner.runs == windows and inner.images is not None and inner.images.shape == (1, 64, 96, 3)
    np.testing.assert_allclose(np.exp(merged.semantic_logits), softmax(plain.semantic_logits), atol=1e-6)
    np.testing.assert_allclose(merged.center_heatmap, plain.center_heatmap, atol=1e-6)
    np.testing.assert_allclose(merged.center_offset, plain.center_offset, atol=1e-4)


def test_a_window_counts_less_towards_its_rim() -> None:
    """The left windows say 1, the right ones 0. Of 12 columns each they share six: there the left ones are 6, 5, … 1
    columns from their rim, and the right ones 1, 2, … 6."""
    h, w = MODEL.grid_hw
    count = 0

    def left_then_right(images: np.ndarray) -> NetworkOutput:
        nonlocal count
        heatmap = np.full((1, 1, h, w), 1.0 - count % 2, np.float32)
        count += 1
        return NetworkOutput(np.zeros((1, CLASSES, h, w), np.float32), heatmap, np.zeros((1, 2, h, w), np.float32))

    backend, _ = augmented(left_then_right, 1.5)
    merged = backend.infer(image_for(backend))
    expected = [1.0] * 6 + [6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7] + [0.0] * 6
    np.testing.assert_allclose(merged.center_heatmap[0, 0], np.tile(expected, (12, 1)), atol=1e-6)


def test_offsets_of_all_scales_meet_in_the_largest_images_pixels() -> None:
    """An object 16 px away in the image as the model takes it is 32 px away in one of twice the size."""
    h, w = MODEL.grid_hw
    seen: list[float] = []

    def sixteen(images: np.ndarray) -> NetworkOutput:
        seen.append(float(images.mean()))
        away = 16.0 if len(seen) == 1 else 32.0  # the first view is the small one
        offset = np.full((1, 2, h, w), away, np.float32)
        return NetworkOutput(np.zeros((1, CLASSES, h, w), np.float32), np.zeros((1, 1, h, w), np.float32), offset)

    backend, _ = augmented(sixteen, 1.0, 2.0)
    merged = backend.infer(np.full((1, *backend.model.size_hw, 3), 7, np.uint8))
    assert seen == [7.0] * 10  # one window, then nine
    np.testing.assert_allclose(merged.center_offset, 32.0, rtol=1e-5)
    np.testing.assert_allclose(np.exp(merged.semantic_logits), 1 / CLASSES, rtol=1e-5)


def test_probabilities_are_averaged_over_scales() -> None:
    """Sure of class 0 in one view, of class 1 in the other: even odds, however sure each was."""
    h, w = MODEL.grid_hw
    count = 0

    def in_turn(images: np.ndarray) -> NetworkOutput:
        nonlocal count
        logits = np.zeros((1, CLASSES, h, w), np.float32)
        logits[:, min(count, 1)] = 500.0 + 400 * min(count, 1)
        count += 1
        return NetworkOutput(logits, np.zeros((1, 1, h, w), np.float32), np.zeros((1, 2, h, w), np.float32))

    backend, _ = augmented(in_turn, 1.0, 1.5)
    merged = backend.infer(image_for(backend))
    np.testing.assert_allclose(np.exp(merged.semantic_logits[0, :2]), 0.5, rtol=1e-5)
    assert np.isfinite(merged.semantic_logits).all()


def test_a_mirrored_frame_gives_the_mirrored_masks() -> None:
    """Of any network, here one that leans to a side: both views of either frame are the same two images."""

    def leaning(images: np.ndarray) -> NetworkOutput:
        output = by_colour(images)
        slope = np.linspace(0, 5, output.semantic_logits.shape[3], dtype=np.float32)
        return NetworkOutput(
            output.semantic_logits + slope * np.eye(CLASSES)[0][:, None, None].astype(np.float32),
            output.center_heatmap,
            output.center_offset,
        )

    backend, _ = augmented(leaning, 1.0, 1.5, flip=True)
    image = image_for(backend)
    one, other = backend.infer(image), backend.infer(np.ascontiguousarray(image[:, :, ::-1]))
    np.testing.assert_allclose(one.semantic_logits, other.semantic_logits[..., ::-1], atol=1e-4)
    np.testing.assert_allclose(one.center_offset[:, 1], -other.center_offset[:, 1, :, ::-1], atol=1e-4)


def test_classes_that_change_places_in_a_mirror_do_so_back() -> None:
    """A network that is right of both views: what is left of the middle is sky, what is right of it is road."""
    h, w = MODEL.grid_hw
    sky = MODEL.labels.by_name("sky").id

    def by_side(images: np.ndarray) -> NetworkOutput:
        logits = np.zeros((1, CLASSES, h, w), np.float32)
        logits[:, sky, :, : w // 2] = logits[:, ROAD, :, w // 2 :] = 9
        return NetworkOutput(logits, np.zeros((1, 1, h, w), np.float32), np.zeros((1, 2, h, w), np.float32))

    model = replace(MODEL, mirror={"seen": True, "swapped": [["sky", "road"]]})
    backend = AugmentedBackend(model, FakeBackend(by_side), Views(flip=True))
    image = image_for(backend)
    np.testing.assert_allclose(
        np.exp(backend.infer(image).semantic_logits), softmax(by_side(image).semantic_logits), 1e-5
    )


def test_a_mirror_that_training_never_saw_is_refused() -> None:
    model = replace(MODEL, mirror={"seen": False, "swapped": []})
    with pytest.raises(SegPerceptionError, match=r"--tta flip .*augment\.mirror: false"):
        AugmentedBackend(model, FakeBackend(by_colour), Views(flip=True))
    AugmentedBackend(model, FakeBackend(by_colour), Views((1.5,)))


def test_what_is_not_finite_stays_so() -> None:
    """The decoder names it; a mean that hid it would be a wrong answer."""

    def broken(images: np.ndarray) -> NetworkOutput:
        output = by_colour(images)
        output.semantic_logits[:, :, 2, 3] = np.nan
        return output

    backend, _ = augmented(broken, flip=True)
    with pytest.raises(SegPerceptionError, match="semantic_logits"):
        Pipeline(backend.model, backend).run(Frame(picture(0)))


def test_the_backend_behind_is_told_and_closed() -> None:
    backend, inner = augmented(by_colour, 1.0, 1.5, flip=True)
    assert backend.describe() == {**inner.describe(), "views": "scales 1, 1.5, each also mirrored"}
    backend.close()
    assert inner.closed


@pytest.mark.parametrize("scales", [(), (0.5,), (1.0, 5.0), (float("nan"),)])
def test_scales_that_cannot_be_are_refused(scales: tuple[float, ...]) -> None:
    with pytest.raises(SegPerceptionError, match="numbers of 1 to 4"):
        Views(scales)


def test_scales_are_numbers() -> None:
    assert parse_scales("1.0,1.5") == (1.0, 1.5)
    with pytest.raises(SegPerceptionError, match="--scales is '1;2'"):
        parse_scales("1;2")


def test_evaluate_looks_at_every_view(tmp_path: Path) -> None:
    tiny_model(tmp_path / "tiny.onnx")
    write_images(tmp_path / "data" / "val" / "images", 2)
    write_labels(tmp_path / "data" / "val" / "labels", 2, void=11)
    words = ["evaluate", "--model", tmp_path / "tiny.onnx", "--dataset", "camvid", "--root", tmp_path / "data"]
    words += ["--backend", "onnxruntime", "--out", tmp_path / "out", "--tta", "flip", "--scales", "1.0,1.5"]
    assert cli.main(list(map(str, words))) == 0
    numbers = json.loads((tmp_path / "out" / "report.json").read_text())
    assert numbers["frames"] == 2 and numbers["backend"]["views"] == "scales 1, 1.5, each also mirrored"


def test_centres_are_as_far_apart_in_the_image_at_every_scale() -> None:
    """Two peaks 24 px apart in an image of twice the size are 12 px apart in the model's, and one object there."""

    def cars(images: np.ndarray) -> NetworkOutput:
        output = by_colour(images)
        output.semantic_logits[:, MODEL.labels.by_name("car").id] = 50
        return NetworkOutput(output.semantic_logits, output.center_heatmap, np.zeros_like(output.center_offset))

    rgb = np.zeros((128, 192, 3), np.uint8)
    rgb[64:72, 64:72], rgb[64:72, 88:96] = 200, 190
    pipeline = Views((2.0,)).pipeline(MODEL, FakeBackend(cars))
    assert [segment.is_thing for segment in pipeline.run(Frame(rgb)).panoptic.segments] == [True]
    rgb[64:72, 88:96], rgb[64:72, 128:136] = 0, 190
    assert len(pipeline.run(Frame(rgb)).panoptic.segments) == 2


@pytest.mark.parametrize("views", [Views(), Views((1.0,), flip=True)])
def test_masks_are_made_as_asked_in_all_views(views: Views) -> None:
    def road(images: np.ndarray) -> NetworkOutput:
        output = empty_output(MODEL, len(images))
        output.semantic_logits[:] = 0
        output.semantic_logits[:, ROAD] = 1
        return output

    frame = Frame(np.zeros((*MODEL.size_hw, 3), np.uint8))
    asked = PanopticSettings(min_ground_confidence=1.0)
    assert (views.pipeline(MODEL, FakeBackend(road)).run(frame).panoptic.semantic == ROAD).all()
    assert not (views.pipeline(MODEL, FakeBackend(road), panoptic=asked).run(frame).panoptic.semantic == ROAD).any()


@pytest.mark.parametrize("views", [Views((1.0,), flip=True), Views((1.0, 1.5))])
def test_windows_of_a_model_that_leaves_its_size_open_are_of_its_default_size(views: Views) -> None:
    model = replace(MODEL, limits=SizeLimits((32, 32), (256, 256)))
    upright = (200, 100)
    assert model.size_for(upright) != MODEL.size_hw
    frame = Frame(picture(4, upright))
    seen, expected = (views.pipeline(m, FakeBackend(by_colour)).run(frame).panoptic for m in (model, MODEL))
    np.testing.assert_array_equal(seen.semantic, expected.semantic)
