"""The training configuration: one YAML file, every default here and nowhere else."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from seg_perception.datasets import Dataset, open_dataset
from seg_perception.datasets.label_sets import open_labels
from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.labels import BUILT_IN, LabelSet
from seg_perception.training.augment_settings import AugmentSettings
from seg_perception.training.loss_settings import LossSettings
from seg_perception.training.steady_settings import SteadySettings
from seg_perception.training.unlabelled_settings import UnlabelledSettings
from seg_perception.writing import user_path
from seg_perception.yaml_fields import build, read_yaml

DATA_ROOT_VARIABLE = "SEG_PERCEPTION_DATA"
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "poly")
PRECISIONS = ("fp32", "bf16", "fp16")
WEAK_KINDS = ("points", "scribbles", "boxes")
LARGEST_SEED = 2**64 - 1
"""That torch takes."""
LARGEST_RATE = 1000
"""Beyond any that trains; torch stops in its own words at those that are no float32."""


@dataclass(frozen=True)
class DataSource:
    """One data set. root: its folder below data_root; share: its part of every batch, against the others' shares.

    classes: what these of its own ids mean, in class names of the trained label set, in place of what the data set says;
    of a `folder` no others are then allowed, but for 255 alone, which is else void. Categories that have a name may be
    named instead. Several names: it may be each of them; none: void. colors: of a `folder` whose labels are in colours
    that are not the label set's, by category. resize_labels: labels of another size than the image get its size.
    only, leave_out: patterns of the files' names, so that whole drives can be held out: [0006R0_*].
    weak: what its labels are, in place of masks: `scribbles`; `points`, of which each connected piece is one; or `boxes`,
    where each object fills its own, and what is unlabelled is none of the classes that have boxes. mark_px: points and
    scribbles grow by so many px of the image, thin ones would get lost in smaller crops.
    """

    name: str
    root: str = ""
    split: str = ""
    share: float = 1.0
    classes: dict[int | str, tuple[str, ...]] = field(default_factory=dict)
    colors: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    resize_labels: bool = False
    only: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    weak: str = ""
    mark_px: int = 0

    def __post_init__(self) -> None:
        if self.weak and self.weak not in WEAK_KINDS:
            raise SegPerceptionError(
                f"weak is '{self.weak}', which is not known: {nearest_name(self.weak, WEAK_KINDS)}"
            )
        _check_least(self, "", 0, "mark_px")
        if self.mark_px and self.weak not in ("points", "scribbles"):
            raise SegPerceptionError(f"mark_px of {self.name} grows points and scribbles: set `weak`, or leave it out")
        if not 0 < self.share < math.inf:
            raise SegPerceptionError(f"the share of {self.name} is {self.share}: it must be finite and greater than 0")

    @property
    def reading(self) -> dict[str, Any]:
        """Which of its images, and how they are read, as open_dataset takes it."""
        names = ("only", "leave_out", "colors", "resize_labels")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class DistillSettings:
    """A trained network to learn from. checkpoint: its best.pt, or its model file; weight: of what the student is asked to
    imitate, against the labels' 1; temperature: by which both networks' logits are divided before they are compared, 1 = as
    they are; features: how much the likeness of any two places in the features counts besides, 0 = not."""

    checkpoint: str
    weight: float = 1.0
    temperature: float = 2.0
    features: float = 0.0

    def __post_init__(self) -> None:
        _check_least(self, "distill.", 0.0, "weight", "features")
        _check_least(self, "distill.", 1.0, "temperature")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run gives.

    labels: the classes to learn, a built-in set (camvid, cityscapes) or a YAML file beside the configuration;
    pretrained: where the backbone's first weights come from, an installed package, a file, a checkpoint or `timm`, "" =
    from nothing; minutes: train this long instead of `steps`, 0 = by steps; the schedule then follows the time;
    size_hw: the network's input in use, and for validation; crop_hw: training images, multiples of 32; batch_size: of
    all processes together; learning_rate: at its height, after warm_up_steps, then falling to 0 at `steps` as `schedule`
    says; poly_power: of poly alone; momentum and nesterov: of sgd alone; clip_norm: longest gradient, 0 = any;
    precision: in which the network is computed, the weights and the losses stay float32; sync_batch_norm: several
    processes share the statistics of batch normalisation; ema_decay: of the average of the weights that is validated.
    cache_gb: decoded images that each process keeps in memory for itself and its workers, in 10^9 bytes; scene_uses:
    how often on average a rendered scene is shown, each time changed otherwise, until another takes its place;
    allow_absent: classes that no training label needs to have; oversample_below: images with a class that a smaller share
    of a data set's images has are shown more often, by the root of how much smaller it is, 0 = all as often.
    """

    data: tuple[DataSource, ...]
    validation: DataSource
    labels: str = "camvid"
    allow_absent: tuple[str, ...] = ()
    oversample_below: float = 0.0
    network: str = "pidnet_s"
    pretrained: str = ""
    data_root: str = ""
    size_hw: tuple[int, int] = (352, 480)
    crop_hw: tuple[int, int] = (288, 384)
    batch_size: int = 8
    steps: int = 4000
    minutes: float = 0.0
    optimiser: str = "adamw"
    schedule: str = "cosine"
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    momentum: float = 0.9
    nesterov: bool = False
    poly_power: float = 0.9
    warm_up_steps: int = 100
    clip_norm: float = 5.0
    precision: str = "fp32"
    sync_batch_norm: bool = True
    ema_decay: float = 0.998
    validate_every: int = 500
    checkpoint_every: int = 100
    seed: int = 0
    workers: int = 1
    cache_gb: float = 4.0
    scene_uses: int = 4
    threads: int = 0
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    distill: DistillSettings | None = None
    unlabelled: UnlabelledSettings | None = None
    steady: SteadySettings | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise SegPerceptionError("the configuration names no data: give `data` at least one entry")
        for name in ("size_hw", "crop_hw"):
            if any(length <= 0 or length % 32 for length in getattr(self, name)):
                raise SegPerceptionError(
                    f"{name} is {list(getattr(self, name))}: two positive multiples of 32 are needed"
                )
        for name, known in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            if getattr(self, name) not in known:
                raise SegPerceptionError(
                    f"{name} is '{getattr(self, name)}', which is not known: {nearest_name(getattr(self, name), known)}"
                )
        _check_least(self, "", 2, "batch_size")  # batch normalisation behind a global pool needs two values
        _check_least(self, "", 1, "steps", "validate_every", "checkpoint_every", "scene_uses")
        _check_least(
            self,
            "",
            0,
            "minutes",
            "warm_up_steps",
            "seed",
            "workers",
            "cache_gb",
            "threads",
            "weight_decay",
            "clip_norm",
            "poly_power",
            "oversample_below",
        )
        if self.seed > LARGEST_SEED:
            raise SegPerceptionError(f"seed is {self.seed}: it must be at most {LARGEST_SEED}")
        if not 0 < self.learning_rate <= LARGEST_RATE:
            raise SegPerceptionError(
                f"learning_rate is {self.learning_rate}: it must be greater than 0 and at most {LARGEST_RATE}"
            )
        for name in ("momentum", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise SegPerceptionError(f"{name} is {getattr(self, name)}: it must be at least 0 and less than 1")
        self._check_weak()
        if self.nesterov and not (self.optimiser == "sgd" and self.momentum > 0):
            raise SegPerceptionError("nesterov is a kind of momentum: set optimiser to sgd and momentum above 0")

    def _check_weak(self) -> None:
        """Weak labels teach through their own losses, and these through them alone."""
        if self.validation.weak:
            raise SegPerceptionError("validation is by masks, and its source has weak labels: take another")
        kinds = {source.weak for source in self.data}
        for kind, losses in (("points", ("noisy_or", "summed_bag")), ("boxes", ("box_projection", "box_tightness"))):
            used = [name for name in losses if self.loss.weak.get(name)]
            if kind in kinds and not used:
                raise SegPerceptionError(
                    f"a source has weak: {kind}, and no loss learns from them: set loss.weak to {{{losses[0]}: 1.0}}"
                )
            if used and kind not in kinds:
                raise SegPerceptionError(f"loss.weak names {used[0]}, but no source has weak: {kind}: take it out")

    def root_of(self, source: DataSource) -> Path:
        """Where a source's files are."""
        return self.data_folder / user_path(source.root)

    @property
    def data_folder(self) -> Path:
        """data_root, or the environment's SEG_PERCEPTION_DATA, or here."""
        return user_path(self.data_root or os.environ.get(DATA_ROOT_VARIABLE, ""))

    def open_labels(self) -> LabelSet:
        """The classes to learn."""
        return open_labels(self.labels)

    def open_source(self, source: DataSource, labels: LabelSet) -> Dataset:
        """The labelled images of a source, their meaning in classes of labels."""
        return open_dataset(source.name, self.root_of(source), source.split, labels, source.classes, **source.reading)


def _check_least(settings: Any, prefix: str, least: float, *names: str) -> None:
    for name in names:
        if not least <= getattr(settings, name) < math.inf:
            raise SegPerceptionError(f"{prefix}{name} is {getattr(settings, name)}: it must be at least {least}")


def load_config(path: Path, **changes: Any) -> TrainConfig:
    """Read a YAML file; changes (by field, None = as it stands) override it.

    Raises SegPerceptionError naming the file, the key and the nearest known one when something does not fit.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SegPerceptionError(f"{path} must hold keys and values, see config/train for examples")
    content.update({key: value for key, value in changes.items() if value is not None})
    if isinstance(named := content.get("labels"), str) and named not in BUILT_IN:
        content["labels"] = str(path.parent / user_path(named))
    try:
        return build(TrainConfig, content)
    except SegPerceptionError as error:
        raise SegPerceptionError(f"{path}: {error}") from error
