"""The worst frames of several cameras, which may be equally bad at the same time."""

from __future__ import annotations

from eval_fixtures import label_mask, picture

from seg_perception.evaluation.worst_frames import WORST, WorstFrames
from seg_perception.labels import CAMVID
from seg_perception.recordings.sources import SourceFrame
from seg_perception.results import Frame, Truth


def test_equally_bad_frames_of_two_cameras_stand_side_by_side() -> None:
    worst = WorstFrames(CAMVID)
    for index in range(WORST):
        for name in ("front", "left"):
            item = SourceFrame(Frame(picture(index)), f"{name} {index}")
            worst.offer(0.5, index, item, label_mask(1), Truth(label_mask(0)))
    assert len(worst.pictures()) == WORST
