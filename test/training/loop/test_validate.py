"""Validation while training gives what `evaluate` gives for the same masks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

import torch.nn.functional as F  # noqa: E402
from training_fixtures import known_test_networks, write_camvid  # noqa: E402, F401

from seg_perception.datasets import open_dataset  # noqa: E402
from seg_perception.labels import CAMVID, VOID, LabelSet  # noqa: E402
from seg_perception.metrics.scores import Scores  # noqa: E402
from seg_perception.results import Truth  # noqa: E402
from seg_perception.training.loop.validate import ROWS_AT_ONCE, validate, winners  # noqa: E402

SIZE_HW = (64, 96)


class Says(torch.nn.Module):
    """Answers a class for the left and one for the right half of any image, at stride 4."""

    def __init__(self, left: int, right: int, classes: int) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self._classes, self._left, self._right = classes, left, right

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        h, w = images.shape[1] // 4, images.shape[2] // 4
        logits = torch.zeros(1, self._classes, h, w)
        logits[:, self._left, :, : w // 2] = 9
        logits[:, self._right, :, w // 2 :] = 9
        return logits, torch.zeros(1, 1, h, w), torch.zeros(1, 2, h, w)


def test_classes_that_are_predicted_but_absent_count_as_in_evaluate(tmp_path: Path) -> None:
    write_camvid(tmp_path)
    labels = LabelSet(CAMVID.classes)
    data = open_dataset("camvid", tmp_path / "camvid", "val", labels)
    scores = Scores(labels)
    for left, right in ((3, 8), (0, 0)):
        scores = Scores(labels)
        for index in range(len(data)):
            label = data[index].label
            found = np.full(label.shape, left, np.uint8)
            found[:, label.shape[1] // 2 :] = right
            scores.add(found, np.zeros(label.shape, np.uint16), Truth(label))
        expected = scores.summary()
        metrics = validate(Says(left, right, len(labels)), data, SIZE_HW, labels)
        assert metrics["miou"] == pytest.approx(expected["miou"])
        assert metrics["iou"] == {name: value for name, value in expected["iou"].items() if value is not None}


def test_a_class_that_no_label_names_costs_when_it_is_predicted(tmp_path: Path) -> None:
    """Half of the sky is right, and the other half is said to be a car, of which there is none: 1/2 and 0."""
    import cv2

    write_camvid(tmp_path)
    for path in (tmp_path / "camvid/val/labels").iterdir():
        label = np.full((60, 80), 11, np.uint8)
        label[:30] = CAMVID.by_name("sky").id
        cv2.imwrite(str(path), label)
    data = open_dataset("camvid", tmp_path / "camvid", "val", CAMVID)
    metrics = validate(Says(0, 8, len(CAMVID)), data, SIZE_HW, CAMVID)
    assert metrics["iou"] == {"sky": pytest.approx(0.5), "car": 0.0}
    assert metrics["miou"] == pytest.approx(0.25)
    assert VOID not in metrics["iou"]


def test_of_a_rendered_set_without_end_some_scenes_are_judged() -> None:
    """20,000 were, for hours."""
    rendered = ("synthetic", "val"), ("synthetic_drive", "val")
    ends = {name: open_dataset(name, None, split, CAMVID).bounded for name, split in rendered}
    assert len(ends["synthetic"]) == 100 and ends["synthetic"][-1] > 19_000
    assert list(ends["synthetic_drive"]) == list(range(60)), "which are few, and all of them, as figures stand on them"


@pytest.mark.parametrize("size_hw", [(1, 1), (5, 7), (37, 200), (130, 61), (300, 20)])
def test_winners_are_those_of_all_logits_upsampled_at_once(size_hw: tuple[int, int]) -> None:
    """An image of 12 megapixels would need gigabytes for them: the most that is asked of torch is ROWS_AT_ONCE rows."""
    logits = torch.randn(1, 5, 24, 32, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(logits, size=size_hw, mode="bilinear", align_corners=False)[0]
    asked = []

    def interpolate(*arguments: Any, size: tuple[int, int], **more: Any) -> torch.Tensor:
        asked.append(size[0])
        return F.interpolate(*arguments, size=size, **more)

    with patch("seg_perception.training.loop.validate.F", SimpleNamespace(interpolate=interpolate)):
        found = winners(logits, size_hw)
    assert found.dtype == np.uint8 and found.shape == size_hw
    best, chosen = whole.max(dim=0).values, whole.gather(0, torch.from_numpy(found).long()[None])[0]
    torch.testing.assert_close(chosen, best, rtol=0, atol=1e-5)  # where two are as likely either may win
    assert sum(asked) == size_hw[0] and max(asked) <= ROWS_AT_ONCE
