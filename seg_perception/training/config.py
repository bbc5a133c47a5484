"""The training configuration: one YAML file, every default here and nowhere else."""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from seg_perception.errors import SegPerceptionError, nearest_name
from seg_perception.training.augment import AugmentSettings
from seg_perception.training.loss_settings import LossSettings

DATA_ROOT_VARIABLE = "SEG_PERCEPTION_DATA"
OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("cosine", "poly")
PRECISIONS = ("fp32", "bf16", "fp16")


@dataclass(frozen=True)
class DataSource:
    """One data set. root: its folder below data_root; share: its part of every batch, against the others' shares."""

    name: str
    root: str
    split: str = ""
    share: float = 1.0


@dataclass(frozen=True)
class DistillSettings:
    """A trained network to learn from. checkpoint: its best.pt; weight: of what the student is asked to imitate, against
    the labels' 1; temperature: by which both networks' logits are divided before they are compared, 1 = as they are."""

    checkpoint: str
    weight: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        _check_least(self, "distill.", 0.0, "weight")
        _check_least(self, "distill.", 1.0, "temperature")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides what a training run gives.

    size_hw: the network's input in use, and for validation; crop_hw: training images, multiples of 32; batch_size: of
    all processes together; learning_rate: at its height, after warm_up_steps, then falling to 0 at `steps` as `schedule`
    says; poly_power: of poly alone; momentum and nesterov: of sgd alone; clip_norm: longest gradient, 0 = any;
    precision: in which the network is computed, the weights and the losses stay float32; sync_batch_norm: several
    processes share the statistics of batch normalisation; ema_decay: of the average of the weights that is validated.
    """

    data: tuple[DataSource, ...]
    validation: DataSource
    network: str = "pidnet_s"
    data_root: str = ""
    size_hw: tuple[int, int] = (352, 480)
    crop_hw: tuple[int, int] = (288, 384)
    batch_size: int = 8
    steps: int = 4000
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
    threads: int = 0
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    loss: LossSettings = field(default_factory=LossSettings)
    distill: DistillSettings | None = None

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
        _check_least(self, "", 1, "batch_size", "steps", "validate_every", "checkpoint_every")
        _check_least(
            self, "", 0, "warm_up_steps", "seed", "workers", "threads", "weight_decay", "clip_norm", "poly_power"
        )
        if not 0 < self.learning_rate < math.inf:
            raise SegPerceptionError(f"learning_rate is {self.learning_rate}: it must be finite and greater than 0")
        for name in ("momentum", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise SegPerceptionError(f"{name} is {getattr(self, name)}: it must be at least 0 and less than 1")
        if self.nesterov and not (self.optimiser == "sgd" and self.momentum > 0):
            raise SegPerceptionError("nesterov is a kind of momentum: set optimiser to sgd and momentum above 0")

    def root_of(self, source: DataSource) -> Path:
        """Where a source's files are: below data_root, or the environment's SEG_PERCEPTION_DATA, or here."""
        return Path(self.data_root or os.environ.get(DATA_ROOT_VARIABLE, ""), source.root).expanduser()


def _check_least(settings: Any, prefix: str, least: float, *names: str) -> None:
    for name in names:
        if not least <= getattr(settings, name) < math.inf:
            raise SegPerceptionError(f"{prefix}{name} is {getattr(settings, name)}: it must be at least {least}")


def load_config(path: Path, **changes: Any) -> TrainConfig:
    """Read a YAML file; changes (by field, None = as it stands) override it.

    Raises SegPerceptionError naming the file, the key and the nearest known one when something does not fit.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SegPerceptionError(
            f"the configuration {path} cannot be read ({error.strerror}): check --config"
        ) from error
    except yaml.YAMLError as error:
        raise SegPerceptionError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise SegPerceptionError(f"{path} must hold keys and values, see config/train for examples")
    content.update({key: value for key, value in changes.items() if value is not None})
    try:
        return _build(TrainConfig, content, "")
    except SegPerceptionError as error:
        raise SegPerceptionError(f"{path}: {error}") from error


def _build(kind: Any, content: Any, where: str) -> Any:
    """Make a dataclass, tuple or number of the annotated kind out of what YAML gave."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # X | None
        return None if content is None else _build(arguments[0], content, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if not isinstance(content, dict):
            raise SegPerceptionError(f"'{where}' must hold keys and values, not {content!r}")
        hints = typing.get_type_hints(kind)
        for key in content:
            if key not in hints:
                raise SegPerceptionError(f"there is no key '{where}{key}': {nearest_name(str(key), hints)}")
        for item in dataclasses.fields(kind):
            needed = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if needed and item.name not in content:
                raise SegPerceptionError(f"the key '{where}{item.name}' is missing")
        return kind(**{key: _build(hints[key], value, f"{where}{key}.") for key, value in content.items()})
    name = where.rstrip(".")
    if origin is tuple:
        if not isinstance(content, list) or (arguments[-1] is not ... and len(content) != len(arguments)):
            raise SegPerceptionError(
                f"'{name}' is {content!r}, expected a list" + ("" if arguments[-1] is ... else f" of {len(arguments)}")
            )
        return tuple(_build(arguments[0], value, f"{name}.") for value in content)
    if origin is dict:
        if not isinstance(content, dict):
            raise SegPerceptionError(f"'{name}' is {content!r}, expected names with values")
        return {str(key): _build(arguments[1], value, f"{where}{key}") for key, value in content.items()}
    if kind is float and isinstance(content, (int, float)) and not isinstance(content, bool):
        return float(content)
    if kind is float and isinstance(content, str):  # YAML 1.1 reads 1e-3 as text
        try:
            return float(content)
        except ValueError:
            pass
    if (
        isinstance(kind, (type, types.GenericAlias))
        and isinstance(content, kind)
        and not (kind is int and isinstance(content, bool))
    ):
        return content
    raise SegPerceptionError(f"'{name}' is {content!r}, expected {getattr(kind, '__name__', kind)}")
