"""Rendered streets with exact labels and instances, to teach an instance head what real sets don't label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seg_perception.camera_model import CameraPose
from seg_perception.datasets.base import Sample
from seg_perception.datasets.label_sets import Meaning, concepts_of
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID
from seg_perception.synthetic.classes import FINER, RAIL
from seg_perception.synthetic.drive import SyntheticDrive, random_scene
from seg_perception.synthetic.tracked_drive import TrackedDrive
from seg_perception.synthetic.weather import random_weather

_MEANING: Meaning = {
    **concepts_of(CAMVID),
    CAMVID.by_name("tree").id: ("tree", "vegetation"),
    **{own_id: (name,) for own_id, name in FINER.items()},
    RAIL: ("guard rail", "fence"),  # a fence where guard rails are no class
}


class _Rendered:
    """What adapters have that read no files."""

    meaning = _MEANING
    categories: Mapping[int, str] = {}
    missing: tuple[Path, ...] = ()
    spare: tuple[Path, ...] = ()

    def path(self, index: int) -> None:
        """None: images are rendered."""
        del index


class SyntheticScenes(_Rendered):
    """Single streets, endless and as varied as can be. Scene i is the same for everybody; `split` names another series."""

    name = "synthetic"

    def __init__(
        self, root: Path, split: str = "train", count: int = 20_000, size_hw: tuple[int, int] = (360, 480)
    ) -> None:
        del root  # nothing is read
        self._series = sum(split.encode())
        self._count = count
        self._size_hw = size_hw

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        rgb, label, instance = random_scene(np.random.default_rng([self._series, index]), *self._size_hw)
        return Sample(f"scene_{index:06d}", rgb, label, instance)


class SyntheticDrives(_Rendered):
    """Frames of SyntheticDrive. Split train: small ones, each of another drive, mostly with another camera pose and half
    of them in bad weather, and at every third place a road of random_scene instead of a drive's street, for what no
    vehicle must drive on; val: frames of ten drives that train never shows, as `make run` renders them; hard: of
    the ten TrackedDrives, with barriers, trucks, people who cross, night, rain and fog."""

    name = "synthetic_drive"
    first_training_seed = 1000
    drives_of_val = 10

    def __init__(self, root: Path, split: str = "train", count: int = 0) -> None:
        del root  # nothing is read
        if split not in ("train", "val", "hard"):
            raise SegPerceptionError(f"synthetic_drive has no split '{split}': use train, val or hard")
        self._trains, self._is_hard = split == "train", split == "hard"
        self._count = count or (20_000 if self._trains else 60)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Sample:
        if self._trains and index % 3 == 2:
            rng = np.random.default_rng([self.first_training_seed, index])
            return Sample(f"road_{index:06d}", *random_scene(rng, 360, 640, is_open=True))
        drive: SyntheticDrive
        if self._trains:
            drive, number = self._training_drive(index)
        elif self._is_hard:
            drive = TrackedDrive(index % self.drives_of_val)
            number = (17 + 47 * (index // self.drives_of_val)) % len(drive)
        else:
            drive, number = SyntheticDrive(seed=index % self.drives_of_val), 31 * (index // self.drives_of_val)
        frame = drive.frame(number)
        view = drive.camera, drive.pose_at(number)
        return Sample(f"drive_{index:06d}", frame.rgb, frame.semantic, frame.instance, view=view)

    def _training_drive(self, index: int) -> tuple[SyntheticDrive, int]:
        rng = np.random.default_rng([self.first_training_seed, index])
        x, y = rng.normal((0, 0), (0, 0.3)).tolist()
        roll, pitch, yaw = rng.normal((0, 0.05, 0), (0.01, 0.03, 0.04)).tolist()
        pose = CameraPose(x, y, rng.uniform(1.2, 2.0), roll, pitch, yaw) if rng.random() < 0.6 else None
        number, weather = int(rng.integers(3000)), random_weather(rng)
        return SyntheticDrive(640, 360, seed=self.first_training_seed + index, pose=pose, weather=weather), number
