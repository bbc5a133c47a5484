"""Frames without labels: read once, and shown twice each time, as they are and through strong changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from tqdm import tqdm

from seg_perception.errors import SegPerceptionError
from seg_perception.files import image_files, read_rgb
from seg_perception.labels import VOID
from seg_perception.recordings.open_source import is_bag, open_source
from seg_perception.training.config import TrainConfig
from seg_perception.training.data.augment import Scene, warp
from seg_perception.training.data.augment_light import change_light
from seg_perception.training.data.unusable import PassedOver
from seg_perception.training.distributed import rank
from seg_perception.training.unlabelled_settings import UnlabelledSettings
from seg_perception.writing import user_path

KEPT_QUALITY = 95
"""Of the JPEGs that frames of recordings are kept as: a recording cannot be read from its middle at once."""


class UnlabelledFrames:
    """Images by number. Raises SegPerceptionError where a source cannot be read or holds no image."""

    def __init__(self, settings: UnlabelledSettings, root: Path) -> None:
        self._frames: list[Path | NDArray[np.uint8]] = []
        paths = [root / user_path(words) for words in settings.sources]
        if settings.topic and not any(map(is_bag, paths)):
            raise SegPerceptionError("unlabelled.topic is for bags, and no source is one: leave it out")
        for path in paths:
            before = len(self._frames)
            self._frames += _images_of(path) if path.is_dir() and not is_bag(path) else _taken(path, settings)
            if len(self._frames) == before:
                raise SegPerceptionError(f"unlabelled: {path} holds no image that can be read: correct `sources`")
        self._passed_over = PassedOver("unlabelled", len(self._frames))

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] RGB. Raises SegPerceptionError as PassedOver."""
        return self._passed_over.read(index, self._read)

    def _read(self, index: int) -> NDArray[np.uint8]:
        frame = self._frames[index]
        if isinstance(frame, Path):
            return read_rgb(frame)
        return cv2.cvtColor(cv2.imdecode(frame, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _images_of(folder: Path) -> list[Path]:
    """Those of a folder or, as sources of images have them, of its folder `images`."""
    inside = folder / "images"
    return image_files(inside if inside.is_dir() else folder)


def _taken(path: Path, settings: UnlabelledSettings) -> Iterator[NDArray[np.uint8]]:
    """JPEGs of a recording's frames, as far apart as the settings say."""
    source = open_source(str(path), topic=settings.topic or None if is_bag(path) else None)
    step_ns, due, count = int(settings.every_s * 1e9), None, 0
    for item in tqdm(source, desc=f"reading {path.name}", unit="frame", mininterval=1, leave=False, disable=rank() > 0):
        if due is not None and due - step_ns <= item.frame.stamp_ns < due:  # a clock that went back is another time
            continue
        due, count = item.frame.stamp_ns + step_ns, count + 1
        bgr = cv2.cvtColor(item.frame.rgb, cv2.COLOR_RGB2BGR)
        yield cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, KEPT_QUALITY))[1]
        if count == settings.frames:
            return


class UnlabelledStream(TorchDataset[dict[str, Tensor]]):
    """Item i holds weak uint8 [h, w, 3], the crop; strong uint8 [h, w, 3], the same one in other light; inside bool
    [h, w], where it shows the image; mixed bool [h, w], where strong gets another image's pixels. It is a function of
    (seed, i)."""

    def __init__(self, config: TrainConfig, settings: UnlabelledSettings, length: int) -> None:
        cv2.setNumThreads(1)  # as of TrainingStream
        self._config, self._settings, self._length = config, settings, length
        self.frames = UnlabelledFrames(settings, config.data_folder)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, i: int) -> dict[str, Tensor]:
        config, settings = self._config, self._settings
        rng = np.random.default_rng([config.seed, i, 1])  # not that of the labelled image i
        rgb = self.frames[int(rng.integers(len(self.frames)))]
        size_hw = rgb.shape[:2]
        scene = Scene(rgb, np.zeros(size_hw, np.uint8), np.zeros(size_hw, np.uint16))
        scene = warp(scene, rng, config.augment, config.crop_hw, config.size_hw[1])
        strong = change_light(scene.rgb, rng, settings.light, config.augment.motion_blur_px)
        arrays = {
            "weak": scene.rgb,
            "strong": strong,
            "inside": scene.codes != VOID,
            "mixed": rectangle(rng, config.crop_hw, settings.mix),
        }
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def rectangle(rng: np.random.Generator, size_hw: tuple[int, int], probability: float) -> NDArray[np.bool_]:
    """bool [h, w]: with this probability a rectangle of a fiftieth to two fifths of the area, else nothing (CutMix: Yun et
    al., ICCV 2019, arXiv 1905.04899, with the sizes of UniMatch, Yang et al., CVPR 2023, arXiv 2208.09910)."""
    mask = np.zeros(size_hw, np.bool_)
    if rng.random() >= probability:
        return mask
    area = rng.uniform(0.02, 0.4) * size_hw[0] * size_hw[1]
    ratio = np.exp(rng.uniform(*np.log((0.3, 1 / 0.3))))
    height = int(np.clip(np.sqrt(area * ratio), 1, size_hw[0]))
    width = int(np.clip(area / height, 1, size_hw[1]))
    y, x = int(rng.integers(size_hw[0] - height + 1)), int(rng.integers(size_hw[1] - width + 1))
    mask[y : y + height, x : x + width] = True
    return mask
