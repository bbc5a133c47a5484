"""The weak labels that tools/thin_labels.py makes out of full ones, on a small case."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import thin_labels

from seg_perception.files import read_mask, write_image
from seg_perception.labels import VOID

ROAD, CAR, NOTHING = 3, 8, 11


def street() -> np.ndarray:
    """Road, two cars of which one is no box, a corner without a label, and a car too small to mark."""
    label = np.full((40, 60), ROAD, np.uint8)
    label[5:15, 5:25] = label[20:35, 30:36] = label[29:35, 30:50] = CAR
    label[:4, :9] = NOTHING
    label[38, 58] = CAR
    return label


@pytest.fixture
def thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What the tool writes of the street for a kind: labels and instances."""
    write_image(tmp_path / "images" / "a.png", np.zeros((40, 60, 3), np.uint8))
    write_image(tmp_path / "labels" / "a.png", street())

    def run(kind: str, *more: str) -> tuple[np.ndarray, np.ndarray | None]:
        folders = [f"--{name}={tmp_path / name}" for name in ("images", "labels")]
        out = tmp_path / kind
        words = [*folders, f"--out={out}", "--kind", kind, "--void", str(NOTHING), *more]
        monkeypatch.setattr(sys, "argv", ["thin_labels.py", *words])
        assert thin_labels.main() == 0
        numbers = out / "instances" / "a.png"
        return read_mask(out / "labels" / "a.png", np.uint8), read_mask(
            numbers, np.uint8
        ) if numbers.is_file() else None

    return run


@pytest.mark.parametrize("kind", ["scribbles", "points"])
def test_each_piece_has_one_mark_that_lies_in_it(kind: str, thinned) -> None:
    label, _ = thinned(kind)
    marked = label != VOID
    assert (label == street())[marked].all() and marked.mean() < 0.2
    for own_id, pieces in ((ROAD, 1), (CAR, 2)):
        count, numbers = cv2.connectedComponents((street() == own_id).astype(np.uint8), connectivity=8)
        sizes = np.bincount(numbers[marked & (street() == own_id)], minlength=count)[1:]
        assert np.count_nonzero(sizes) == pieces and (kind != "points" or sizes.sum() == pieces)


def test_things_become_boxes_and_the_rest_stays(thinned) -> None:
    label, numbers = thinned("boxes", "--things", str(CAR))
    box = np.zeros(label.shape, np.bool_)
    box[5:15, 5:25] = box[20:35, 30:50] = True
    assert (label[box] == CAR).all() and ((numbers > 0) == box).all() and len(np.unique(numbers)) == 3
    assert (label[~box] == np.where(np.isin(street(), (NOTHING, CAR)), VOID, street())[~box]).all()


def test_full_labels_lose_what_is_void_alone(thinned) -> None:
    label, _ = thinned("full")
    assert (label == np.where(street() == NOTHING, VOID, street())).all()
