"""Endless rendered streets with exact labels and instances, to teach an instance head what real sets don't label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_perception.labels import CAMVID
from seg_perception.training.datasets.base import Sample
from seg_perception.training.label_sets import concepts_of


class SyntheticScenes:
    """Scene i is the same for everybody; `split` names another series of scenes."""

    name = "synthetic"
    meaning = concepts_of(CAMVID)
    missing: tuple[Path, ...] = ()
    spare: tuple[Path, ...] = ()

    def __init__(
        self, root: Path, split: str = "train", count: int = 20_000, size_hw: tuple[int, int] = (360, 480)
    ) -> None:
        del root  # nothing is read
        self._series = sum(split.encode())
        self._count = count
        self._size_hw = size_hw

    def __len__(self) -> int:
        return self._count

    def path(self, index: int) -> None:
        """None: images are rendered."""
        del index

    def __getitem__(self, index: int) -> Sample:
        from seg_perception.synthetic import random_scene

        rgb, label, instance = random_scene(np.random.default_rng([self._series, index]), *self._size_hw)
        return Sample(f"scene_{index:06d}", rgb, label, instance)
