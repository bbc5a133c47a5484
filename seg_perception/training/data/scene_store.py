"""Scenes of several data sets by number: decoded once and kept while there is room. NumPy only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seg_perception.datasets import Dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.spread import spread
from seg_perception.training.data.augment import Scene
from seg_perception.training.data.marks import Weakness, weakened, why_no_boxes
from seg_perception.training.data.targets import PartialLabels
from seg_perception.training.data.unusable import usable

SCENE_WINDOW = 32
"""How many rendered scenes are in use at a time, and kept."""


class SceneStore:
    """Reads scenes and keeps the first that fit into cache_gb (of 10^9 bytes).

    What is kept stays: images are asked for at random, so that throwing the oldest away would not find more of them,
    and worker processes that are forked off share what their parent has read instead of filling memory each. Rendered
    scenes do not count: they are the same for ever, so that only those of the present window are kept. weak: of each
    data set, None where its labels are what they seem.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        partial: PartialLabels,
        cache_gb: float,
        weak: Sequence[Weakness | None] | None = None,
    ) -> None:
        self.datasets = datasets
        self.weak = weak or [None] * len(datasets)
        self._codes = [partial.codes_of(dataset.meaning) for dataset in datasets]
        self._room = cache_gb * 1e9
        self._kept: dict[tuple[int, int], Scene] = {}
        self._rendered: dict[tuple[int, int], tuple[int, Scene]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Workers that are spawned, not forked, read for themselves."""
        room = self._room + sum(_size(scene) for scene in self._kept.values())
        return self.__dict__ | {"_kept": {}, "_rendered": {}, "_room": room}

    def is_rendered(self, which: int) -> bool:
        """Whether the data set's scenes are made when they are asked for."""
        return self.datasets[which].path(0) is None

    def read(self, which: int, index: int) -> Scene:
        """Scene index of data set which. Raises SegPerceptionError when its files are missing or broken."""
        if self.is_rendered(which):
            slot = which, index % SCENE_WINDOW
            if slot not in self._rendered or self._rendered[slot][0] != index:
                self._rendered[slot] = index, self._make(which, index)
            return self._rendered[slot][1]
        if (which, index) in self._kept:
            return self._kept[which, index]
        scene = self._make(which, index)
        if _size(scene) <= self._room:
            self._room -= _size(scene)
            self._kept[which, index] = scene
        return scene

    def evenly(self, which: int, most: int) -> Iterator[Scene]:
        """At most this many scenes of a data set, from all over it. Raises SegPerceptionError as `usable`."""
        dataset = self.datasets[which]
        for _, scene in usable(dataset, spread(len(dataset), most), lambda index: self.read(which, index)):
            yield scene

    def _make(self, which: int, index: int) -> Scene:
        sample = self.datasets[which][index]
        instance = np.zeros(sample.label.shape, np.uint16) if sample.instance is None else sample.instance
        scene = Scene(sample.rgb, self._codes[which][sample.label], instance)
        weakness = self.weak[which]
        if weakness is None:
            return scene
        if weakness.kind == "boxes" and sample.instance is None and weakness.may_be_thing[scene.codes].any():
            raise SegPerceptionError(why_no_boxes(self.datasets[which].path(index) or sample.name))
        return weakened(scene, weakness)


def _size(scene: Scene) -> int:
    parts = (scene.rgb, scene.codes, scene.instance, scene.marks)
    return sum(part.nbytes for part in parts if part is not None)
