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
from seg_perception.training.config import TrainConfig
from seg_perception.training.data.absent import refuse_absent
from seg_perception.training.data.augment import CutOut, Scene, cut_outs_of, paste, warp
from seg_perception.training.data.augment_light import change_light
from seg_perception.training.data.scene_store import SCENE_WINDOW, SceneStore
from seg_perception.training.data.targets import PartialLabels, boundaries, center_targets
from seg_perception.training.distributed import rank

GRID_STRIDE = 4
"""Input pixels per cell of the panoptic heads."""

SMALLEST_CUT_OUT_PX = 32
"""Height from which an object of a data set with instances is worth pasting."""

MOST_CUT_OUT_IMAGES = 200
"""Images of one data set that objects are cut out of."""

MOST_COUNTED_IMAGES = 2000
"""Images of one data set whose pixels are counted for the class weights: more would not move them."""


class TrainingStream(TorchDataset[dict[str, Tensor]]):
    """Item i holds image uint8 [h, w, 3], codes uint8 [h, w], edge uint8 [h, w] and the centre targets on the grid."""

    def __init__(self, config: TrainConfig, labels: LabelSet, length: int, stride: int = GRID_STRIDE) -> None:
        cv2.setNumThreads(1)  # a forked worker would wait for ever for its parent's threads
        self._config = config
        self._length = length
        self._labels = labels
        self._stride = stride
        self.datasets: list[Dataset] = [config.open_source(source, labels) for source in config.data]
        self.partial = PartialLabels(labels)
        self._store = SceneStore(self.datasets, self.partial, config.cache_gb)
        pairs = config.augment.swapped_by_mirror
        self._mirrored_codes = self.partial.mirrored(pairs) if pairs else None
        shares = np.array([source.share for source in config.data], np.float64)
        if (shares < 0).any() or shares.sum() <= 0:
            raise SegPerceptionError(
                f"the shares of the data are {shares.tolist()}: none may be negative, one must be positive"
            )
        self._shares = shares / shares.sum()
        self._bounds = np.cumsum(self._shares)
        self._cut_outs: list[CutOut] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        cv2.setNumThreads(1)  # in a spawned worker __init__ has not run
        self.__dict__.update(state)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        config = self._config
        rng = np.random.default_rng([config.seed, i])
        which = int(np.searchsorted(self._bounds, rng.random(), side="right").clip(max=len(self.datasets) - 1))
        scene = self._store.read(which, self._index(which, i, rng))
        scene = warp(scene, rng, config.augment, config.crop_hw, config.size_hw[1], self._mirrored_codes)
        cut_outs = self._all_cut_outs()
        if cut_outs and config.augment.paste and rng.random() < 0.5:
            count = int(rng.integers(1, config.augment.paste + 1))
            mirror, codes = config.augment.mirror, self._mirrored_codes
            scene = paste(scene, rng, cut_outs, count, mirror=mirror, mirrored_codes=codes)
        rgb = change_light(scene.rgb, rng, config.augment.light, config.augment.motion_blur_px)
        return self._tensors(scene, rgb)

    def _index(self, which: int, i: int, rng: np.random.Generator) -> int:
        """Which scene of a data set item i shows: any of its files, but of rendered ones one of a window that moves on
        with i, since rendering takes ten times as long as all else."""
        count = len(self.datasets[which])
        if not self._store.is_rendered(which):
            return int(rng.integers(count))
        first = int(i * self._shares[which] / self._config.scene_uses)
        return int((first + rng.integers(SCENE_WINDOW)) % count)

    def _tensors(self, scene: Scene, rgb: np.ndarray) -> dict[str, Tensor]:
        unknown = (self.partial.may_be_thing[scene.codes] | (scene.codes == VOID)) & (scene.instance == 0)
        centers = center_targets(scene.instance, unknown, self._stride, self._config.loss.center_sigma_px)
        arrays = {
            "image": rgb,
            "codes": scene.codes,
            "edge": boundaries(scene.codes),
            "heatmap": centers.heatmap,
            "heatmap_known": centers.heatmap_known,
            "offset": centers.offset,
            "offset_known": centers.offset_known,
        }
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def _all_cut_outs(self) -> Sequence[CutOut]:
        """Objects of the data sets that know instances, cut out once; rendered ones stay where they are."""
        if self._cut_outs is None:
            self._cut_outs = []
            for which in range(len(self.datasets)):
                if not self._store.is_rendered(which):
                    for scene in self._store.evenly(which, MOST_CUT_OUT_IMAGES):
                        self._cut_outs += cut_outs_of(scene, self.partial.may_be_thing, SMALLEST_CUT_OUT_PX)
        return self._cut_outs

    def class_weights(self) -> np.ndarray:
        """float32 [256]: loss weight of each code from the class shares of the real data; void weighs 0.

        weight = (median share / share) ** class_balance, at most largest_class_weight; a set of classes weighs as its
        lightest member. Pixels that are labelled coarsely only do not count. What is read on the way is kept, for
        workers that are forked off later too. Raises SegPerceptionError where no label has a class.
        """
        settings, classes = self._config.loss, len(self._labels)
        all_counts = self._code_counts()
        refuse_absent(self._labels, self._taught(all_counts), self._config.allow_absent)
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
        total = sum(min(len(self.datasets[which]), MOST_COUNTED_IMAGES) for which in real)
        counts = np.zeros(256, np.int64)
        with tqdm(total=total, unit="image", desc="reading", mininterval=1, leave=False, disable=rank() > 0) as bar:
            for which in real:
                for scene in self._store.evenly(which, MOST_COUNTED_IMAGES):
                    counts += np.bincount(scene.codes.ravel(), minlength=256)
                    bar.update()
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
            if len(dataset) > MOST_COUNTED_IMAGES and not self._store.is_rendered(which):
                taught |= self._found(dataset, set(names) - taught - set(self._config.allow_absent))
        return taught

    @staticmethod
    def _found(dataset: Dataset, wanted: set[str]) -> set[str]:
        """Those of the wanted classes that a label of the data set may be."""
        found: set[str] = set()
        bar = tqdm(range(len(dataset)), unit="image", desc="looking for rare classes", leave=False, disable=rank() > 0)
        for index in bar:
            if wanted <= found:
                break
            ids = np.unique(dataset[index].label).tolist()
            found.update(name for own_id in ids for name in dataset.meaning.get(own_id, ()))
        return found
