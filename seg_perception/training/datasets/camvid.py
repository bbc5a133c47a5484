"""CamVid in the SegNet split: 11 classes and void at 480x360, `<split>/images`, `<split>/labels`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_perception.labels import CAMVID, VOID
from seg_perception.training.datasets.base import PairedFiles, Sample, own_labels

_UNLABELLED = 11


class CamVid(PairedFiles):
    """Fine labels, no instances; the file's 11 (unlabelled) becomes void."""

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(
            "camvid", root / split / "images", root / split / "labels", own_labels(CAMVID) | {_UNLABELLED: ()}
        )

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        label = np.where(sample.label == _UNLABELLED, np.uint8(VOID), sample.label)
        return Sample(sample.name, sample.rgb, label)
