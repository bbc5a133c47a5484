"""The endless, reproducible series of training images: image i is the same whoever makes it and whenever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from seg_perception.datasets import Dataset
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import VOID, LabelSet
from seg_perception.spread import spread
from seg_perception.training.config import DataSource, TrainConfig
from seg_perception.training.data.absent import refuse_absent, why_single
from seg_perception.training.data.augment import CutOut, Scene, cut_outs_of, paste, warp
from seg_perception.training.data.augment_light import change_light, wither
from seg_perception.training.data.marks import Weakness
from seg_perception.training.data.oversampling import repeat_factors
from seg_perception.training.data.scene_store import SCENE_WINDOW, SceneStore
from seg_perception.training.data.targets import PartialLabels, boundaries, center_targets
from seg_perception.training.data.unusable import MOST_READ_AHEAD, PassedOver, usable
from seg_perception.training.distributed import rank

GRID_STRIDE = 4
"""Input pixels per cell of the panoptic heads."""

SMALLEST_CUT_OUT_PX = 32
"""Height from which an object of a data set with instances is worth pasting."""

MOST_CUT_OUT_IMAGES = 200
"""Images of one data set that objects are cut out of."""


class TrainingStream(TorchDataset[dict[str, Tensor]]):
    """Item i holds image uint8 [h, w, 3], codes uint8 [h, w], edge uint8 [h, w] and the centre targets on the grid; where
    any source is weak also marks int16 [h, w] and mark_codes uint8 [h, w], see Scene."""

    def __init__(self, config: TrainConfig, labels: LabelSet, length: int, stride: int = GRID_STRIDE) -> None:
        cv2.setNumThreads(1)  # a forked worker would wait for ever for its parent's threads
        self._config = config
        self._length = length
        self._labels = labels
        self._stride = stride
        self.datasets: list[Dataset] = [config.open_source(source, labels) for source in config.data]
        self.partial = PartialLabels(labels)
        weak = [self._weakness(source, data) for source, data in zip(config.data, self.datasets, strict=True)]
        self._has_marks = any(weak)
        classes = len(labels)  # what lies around boxes may be so much that it says of no class that it is there
        self._loose = [VOID if one is None or one.elsewhere < classes else one.elsewhere for one in weak]
        self._store = SceneStore(self.datasets, self.partial, config.cache_gb, weak)
        pairs = config.augment.swapped_by_mirror
        self._mirrored_codes = self.partial.mirrored(pairs) if pairs else None
        shares = np.array([source.share for source in config.data], np.float64)
        self._shares = shares / shares.sum()
        self._bounds = np.cumsum(self._shares)
        self._passed_over = [PassedOver("training", len(dataset)) for dataset in self.datasets]
        self._cut_outs: list[CutOut] | None = None
        self._repeats: dict[int, np.ndarray] = {}

    def _weakness(self, source: DataSource, dataset: Dataset) -> Weakness | None:
        """How the labels of a source are meant; the classes of its boxes are the things that its ids may be."""
        if not source.weak:
            return None
        boxed = {name for names in dataset.meaning.values() for name in names if self._labels.by_name(name).thing}
        others = tuple(name for name in self._labels.names if name not in boxed)
        if source.weak == "boxes" and not boxed:
            raise SegPerceptionError(
                f"{source.name} has weak: boxes, but none of its ids is a thing: correct `classes`"
            )
        codes = self.partial.codes_of({**dataset.meaning, VOID: others})
        return Weakness(source.weak, source.mark_px, self.partial.may_be_thing, int(codes[VOID]))

    def __setstate__(self, state: dict[str, Any]) -> None:
        cv2.setNumThreads(1)  # in a spawned worker __init__ has not run
        self.__dict__.update(state)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        config = self._config
        rng = np.random.default_rng([config.seed, i])
        which = int(np.searchsorted(self._bounds, rng.random(), side="right").clip(max=len(self.datasets) - 1))
        index = self._index(which, i, rng)
        scene = self._passed_over[which].read(index, lambda number: self._store.read(which, number))
        scene = warp(scene, rng, config.augment, config.crop_hw, config.size_hw[1], self._mirrored_codes)
        cut_outs = self._all_cut_outs()
        if cut_outs and config.augment.paste and rng.random() < 0.5:
            count = int(rng.integers(1, config.augment.paste + 1))
            mirror, codes = config.augment.mirror, self._mirrored_codes
            scene = paste(scene, rng, cut_outs, count, mirror=mirror, mirrored_codes=codes)
        rgb, augment = scene.rgb, config.augment
        if augment.dry_season and rng.random() < augment.dry_season:
            rgb = wither(rgb, rng)
        rgb = change_light(rgb, rng, augment.light, augment.motion_blur_px)
        return self._tensors(scene, rgb, self._loose[which])

    def _index(self, which: int, i: int, rng: np.random.Generator) -> int:
        """Which scene of a data set item i shows: any of its files, but of rendered ones one of a window that moves on
        with i, since rendering takes ten times as long as all else."""
        count = len(self.datasets[which])
        if not self._store.is_rendered(which):
            if not self._config.oversample_below:
                return int(rng.integers(count))
            sums = self._repeat_sums(which)
            return int(np.searchsorted(sums, rng.random() * sums[-1], side="right").clip(max=count - 1))
        first = int(i * self._shares[which] / self._config.scene_uses)
        return int((first + rng.integers(SCENE_WINDOW)) % count)

    def _repeat_sums(self, which: int) -> np.ndarray:
        """float64 [I]: running sums of how often each image of a data set is shown; those that were not counted once."""
        if which not in self._repeats:
            count = len(self.datasets[which])
            indices = spread(count, MOST_READ_AHEAD)
            present = np.zeros((len(indices), len(self._labels)), np.bool_)
            for row, scene in zip(present, self._store.evenly(which, MOST_READ_AHEAD), strict=True):
                codes = np.bincount(_all_codes(scene), minlength=256)[: len(self._labels)]
                row[:] = codes > 0
            factors = np.ones(count)
            factors[indices] = repeat_factors(present, self._config.oversample_below)
            self._repeats[which] = factors.cumsum()
        return self._repeats[which]

    def _tensors(self, scene: Scene, rgb: np.ndarray, loose: int) -> dict[str, Tensor]:
        unknown = (self.partial.may_be_thing[scene.codes] | (scene.codes == VOID)) & (scene.instance == 0)
        centers = center_targets(scene.instance, unknown, self._stride, self._config.loss.center_sigma_px)
        arrays = {
            "image": rgb,
            "codes": scene.codes,
            "edge": boundaries(np.where(scene.codes == loose, np.uint8(VOID), scene.codes)),
            "heatmap": centers.heatmap,
            "heatmap_known": centers.heatmap_known,
            "offset": centers.offset,
            "offset_known": centers.offset_known,
        }
        if self._has_marks:
            arrays["marks"] = np.zeros(scene.codes.shape, np.int16) if scene.marks is None else scene.marks
            arrays["mark_codes"] = scene.codes_at_marks
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _all_cut_outs(self) -> Sequence[CutOut]:
        """Objects of the data sets that know instances, cut out once; rendered ones stay where they are."""
        if self._cut_outs is None:
            self._cut_outs = []
            for which in range(len(self.datasets)):
                if not self._store.is_rendered(which) and self._store.weak[which] is None:
                    for scene in self._store.evenly(which, MOST_CUT_OUT_IMAGES):
                        self._cut_outs += cut_outs_of(scene, self.partial.may_be_thing, SMALLEST_CUT_OUT_PX)
        return self._cut_outs

    def class_weights(self) -> np.ndarray:
        """float32 [256]: loss weight of each code from the class shares of the real data; void weighs 0.

        weight = (median share / share) ** class_balance, at most largest_class_weight; a set of classes weighs as its
        lightest member. Pixels that are labelled coarsely only do not count. What is read on the way is kept, for
        workers that are forked off later too. Raises SegPerceptionError where no label has a class, or all have one.
        """
        settings, classes = self._config.loss, len(self._labels)
        all_counts = self._code_counts()
        taught = self._taught(all_counts)
        refuse_absent(self._labels, taught, self._config.allow_absent)
        if self._config.distill is None and (fault := why_single(taught)):  # a teacher may know others
            raise SegPerceptionError(fault)
        counts = all_counts[:classes]
        shares = counts / max(1, counts.sum())
        seen = shares > 0
        weights = np.ones(classes)
        if seen.any():
            rarity = np.median(shares[seen]) / shares[seen]
            weights[seen] = np.minimum(rarity**settings.class_balance, settings.largest_class_weight)
        table = np.zeros(256, np.float32)
        for code, members in enumerate(self.partial.sets):
            table[code] = weights[list(members)].min()
        return table

    def _code_counts(self) -> np.ndarray:
        """int64 [256]: pixels of each code in the real data."""
        real = [which for which in range(len(self.datasets)) if not self._store.is_rendered(which)]
        total = sum(min(len(self.datasets[which]), MOST_READ_AHEAD) for which in real)
        counts = np.zeros(256, np.int64)
        with tqdm(total=total, unit="image", desc="reading", mininterval=1, leave=False, disable=rank() > 0) as bar:
            for which in real:
                for scene in self._store.evenly(which, MOST_READ_AHEAD):
                    here = np.bincount(_all_codes(scene), minlength=256)
                    here[self._loose[which]] = 0
                    counts += here
                    bar.update()
                if self._config.oversample_below:
                    self._repeat_sums(which)
        self._all_cut_outs()
        return counts

    def _taught(self, counts: np.ndarray) -> set[str]:
        """Names of the classes that a label may be; counts: of each code in the images that were counted.

        The others are looked for in the images that were not. What a rendered set has a name for, it shows.
        """
        names = self._labels.names
        taught = {names[member] for code, members in enumerate(self.partial.sets) if counts[code] for member in members}
        for which, dataset in enumerate(self.datasets):
            if self._store.is_rendered(which):
                taught.update(name for meant in dataset.meaning.values() for name in meant)
        for which, dataset in enumerate(self.datasets):
            if len(dataset) > MOST_READ_AHEAD and not self._store.is_rendered(which):
                taught |= self._found(dataset, set(names) - taught - set(self._config.allow_absent))
        return taught

    @staticmethod
    def _found(dataset: Dataset, wanted: set[str]) -> set[str]:
        """Those of the wanted classes that a label of the data set may be."""
        found: set[str] = set()
        if not wanted:
            return found
        bar = tqdm(range(len(dataset)), unit="image", desc="looking for rare classes", leave=False, disable=rank() > 0)
        for _, sample in usable(dataset, bar, dataset.__getitem__):
            ids = np.unique(sample.label).tolist()
            found.update(name for own_id in ids for name in dataset.meaning.get(own_id, ()))
            if wanted <= found:
                break
        return found


def _all_codes(scene: Scene) -> np.ndarray:
    """uint8 [P]: the codes of all pixels, those of marks too."""
    return np.where(scene.codes == VOID, scene.codes_at_marks, scene.codes).ravel()
