"""The GPU's preprocessing against the CPU's: rendered and given frames and noise, in every encoding, call by call and as
a graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from seg_perception.camera.preprocess import Preprocessor
from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.encodings import ENCODED, encoded
from seg_perception.gpu_check.lab import Lab
from seg_perception.gpu_check.stand_in import StandIn
from seg_perception.results import Frame

NETWORK_SIZES = ((480, 640), (192, 320))
IMAGE_SIZES = ((720, 1280), (479, 641), (37, 51), (1, 1))
LEVELS_APART = 2
"""As CudaPreprocessor says."""


def check(lab: Lab) -> None:
    """One row a kind of image and network size: the largest difference, of 255 levels."""
    sizes = IMAGE_SIZES[1:] if lab.quick else IMAGE_SIZES
    rendered = [frame.rgb for frame in scenes.drive(sizes[0], 1)]
    rng = np.random.default_rng(3)
    noise = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    kinds = {"rendered": rendered, "camera images": scenes.pictures(lab.images), "noise": noise}
    for size_hw in NETWORK_SIZES[1:] if lab.quick else NETWORK_SIZES:
        stand_in = StandIn(lab, scenes.model_without_file(size_hw))
        for kind, pictures in kinds.items():
            what = f"{kind} to {size_hw[1]}x{size_hw[0]}"
            with lab.part(what):
                if pictures:
                    _compare(lab, what, stand_in, [Frame(rgb) for rgb in pictures])
        with lab.part("encodings"):
            frames = [encoded(rendered[0], name) for name in ENCODED]
            _compare(lab, f"{len(frames)} encodings to {size_hw[1]}x{size_hw[0]}", stand_in, frames)
        stand_in.close()


def _compare(lab: Lab, what: str, stand_in: StandIn, frames: list[Frame]) -> None:
    on_gpu, on_cpu = stand_in.device_steps().preprocessor(), Preprocessor(stand_in.model.size_hw)
    worst, share, unequal = 0, 0.0, 0
    for frame in frames:
        seen: list[NDArray[np.uint8]] = []
        for _ in ("call by call", "as a graph"):
            on_gpu(frame)
            seen.append(stand_in.network_input())
        apart = np.abs(seen[0].astype(int) - on_cpu(frame)[0])
        worst, share = max(worst, int(apart.max())), max(share, float((apart > 0).mean()))
        unequal += not np.array_equal(seen[0], seen[1])
    lab.check(
        what, worst <= LEVELS_APART, f"{len(frames)} images, off by {worst} of 255 at most, {share:.1%} of bytes off"
    )
    lab.check(f"{what}: graph equal to calls", not unequal and not stand_in.lines, "; ".join(stand_in.lines)[:80])
    on_gpu.close()
