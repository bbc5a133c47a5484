"""A network that trains in no time, and a data set for it. Run as a program it is the command line with that network, so
that torchrun can start it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest
from torch import Tensor, nn

from seg_perception.cli import main
from seg_perception.training.networks import NETWORKS
from seg_perception.training.networks.heads import Features
from seg_perception.training.networks.layers import conv_bn

TINY_CONFIG = """
network: tiny
size_hw: [64, 96]
crop_hw: [64, 64]
batch_size: 4
steps: 4
learning_rate: 0.01
warm_up_steps: 2
validate_every: 100
checkpoint_every: 2
threads: 1
workers: 0
data: [{name: camvid, root: camvid, split: train}]
validation: {name: camvid, root: camvid, split: val}
"""


class TinyBackbone(nn.Module):
    """Three convolutions; features for all heads. noise: share of the channels that are dropped in training."""

    fused_channels = 16
    shallow_channels = 8
    auxiliary_channels = (16,)
    boundary_channels = 16
    light_heads = False
    input_mean, input_std = (127.5,) * 3, (127.5,) * 3

    def __init__(self, noise: float = 0.0) -> None:
        super().__init__()
        self.shallow = nn.Sequential(conv_bn(3, 8, 3, 2), conv_bn(8, 8, 3, 2))
        self.deep = conv_bn(8, 16, 3, 2)
        self.drop = nn.Dropout2d(noise)

    def forward(self, x: Tensor) -> Features:
        shallow = self.shallow(x)
        fused = self.drop(self.deep(shallow))
        return Features(fused, shallow, (fused,), fused)


TEST_NETWORKS = {"tiny": TinyBackbone, "noisy": lambda: TinyBackbone(0.5)}


@pytest.fixture(scope="module", autouse=True)
def known_test_networks() -> Iterator[None]:
    """A module that imports this may name them; no other sees them."""
    with patch.dict(NETWORKS, TEST_NETWORKS):
        yield


def write_camvid(root: Path, count: int = 3) -> None:
    """A tree in CamVid's layout with noise for images and stripes for labels, one of them void, and more void the later
    the image is."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for part in ("images", "labels"):
            (root / "camvid" / split / part).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(root / f"camvid/{split}/images/{i}.png"), rng.integers(0, 256, (60, 80, 3), np.uint8))
            label = np.repeat(np.arange(12, dtype=np.uint8), 5)[:, None].repeat(80, 1)
            label[:, : 15 * i] = 11
            cv2.imwrite(str(root / f"camvid/{split}/labels/{i}.png"), label)


if __name__ == "__main__":
    NETWORKS.update(TEST_NETWORKS)
    sys.exit(main())


def train_words(root: Path) -> list[str]:
    """`train` by root's config.yaml and data, into root/out."""
    return ["train", "--config", str(root / "config.yaml"), "--data", str(root), "--out", str(root / "out")]
