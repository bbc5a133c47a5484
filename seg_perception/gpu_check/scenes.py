"""Frames to see, and what a network might say of them: rendered, from a folder, at random."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from seg_perception import files
from seg_perception.labels import CAMVID, LabelClass, LabelSet
from seg_perception.model_file import ModelInfo
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.results import NetworkOutput
from seg_perception.synthetic.drive import SyntheticDrive, SyntheticFrame

STRIDE = 4
MOST_IMAGES = 12
FRAMES_APART = 40
_SHARPNESS = 2.0


class Case(NamedTuple):
    """What is decoded, and how."""

    name: str
    output: NetworkOutput
    mask_hw: tuple[int, int]
    stride: int
    settings: PanopticSettings


def model_without_file(size_hw: tuple[int, int], labels: LabelSet = CAMVID, stride: int = STRIDE) -> ModelInfo:
    """What a model file of such an input and stride would say of itself."""
    grid_hw = (size_hw[0] // stride, size_hw[1] // stride)
    return ModelInfo(Path("none.onnx"), "none", "none", labels, "fp32", size_hw, grid_hw, 1, "none", "none", 0, 0)


def some_labels(classes: int) -> LabelSet:
    """So many classes, every other one a thing."""
    return LabelSet(tuple(LabelClass(i, f"c{i}", (i % 256,) * 3, thing=i % 2 == 1) for i in range(classes)))


def drive(image_hw: tuple[int, int], count: int) -> list[SyntheticFrame]:
    """Rendered frames with their labels."""
    street = SyntheticDrive(image_hw[1], image_hw[0])
    return [street.frame(FRAMES_APART * i) for i in range(count)]


def pictures(folder: Path | None) -> list[NDArray[np.uint8]]:
    """RGB of the first images of a folder, uint8 [H, W, 3]; none where there is no folder."""
    return [files.read_rgb(path) for path in files.image_files(folder)[:MOST_IMAGES]] if folder else []


def output_of(frame: SyntheticFrame, size_hw: tuple[int, int], stride: int = STRIDE, seed: int = 0) -> NetworkOutput:
    """What a good network of this input would say of a rendered frame: shares of classes in each cell, not quite sure of
    them, centres and offsets of its things."""
    rng = np.random.default_rng(seed)
    grid_hw = (size_hw[0] // stride, size_hw[1] // stride)
    shares = np.stack(
        [
            cv2.resize((frame.semantic == k).astype(np.float32), grid_hw[::-1], interpolation=cv2.INTER_AREA)
            for k in range(len(CAMVID))
        ]
    )
    logits = _SHARPNESS * np.log(shares + 0.02) + rng.normal(size=shares.shape) * 0.3
    heatmap, offset = _centers(cv2.resize(frame.instance, size_hw[::-1], interpolation=cv2.INTER_NEAREST), stride)
    return network_output(logits, heatmap, offset + rng.normal(size=offset.shape))


def _centers(instance: NDArray[np.uint16], stride: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Heatmap [h, w] and offset [2, h, w] of an instance mask at the network's size."""
    h, w = instance.shape[0] // stride, instance.shape[1] // stride
    y, x = (np.arange(n) * stride + (stride - 1) / 2 for n in (h, w))
    cells = instance[stride // 2 :: stride, stride // 2 :: stride][:h, :w]
    heatmap, offset = np.zeros((h, w)), np.zeros((2, h, w))
    for i in np.unique(instance[instance > 0]):
        rows, columns = np.nonzero(instance == i)
        dy, dx = np.broadcast_arrays(rows.mean() - y[:, None], columns.mean() - x[None, :])
        np.maximum(heatmap, np.exp(-(dy**2 + dx**2) / (2 * 8.0**2)), out=heatmap)
        offset[:, cells == i] = np.stack([dy, dx])[:, cells == i]
    return heatmap, offset


def network_output(logits: ArrayLike, heatmap: ArrayLike, offset: ArrayLike) -> NetworkOutput:
    """Of logits [C, h, w], heatmap [h, w] and offset [2, h, w]."""
    arrays = (np.asarray(array, np.float32)[None] for array in (logits, np.asarray(heatmap)[None], offset))
    return NetworkOutput(*(np.ascontiguousarray(array) for array in arrays))


def hostile(rng: np.random.Generator) -> Iterator[Case]:
    """What no network should say, and some might."""
    h, w, mask = 60, 80, (240, 320)
    plain, heat = rng.normal(size=(11, h, w)) * 4, rng.random((h, w))
    offset, every = rng.normal(size=(2, h, w)) * 30, PanopticSettings(min_stuff_area=0.0)
    many = PanopticSettings(center_window_px=1, max_instances=1000, center_threshold=0.0, min_stuff_area=0.0)
    ties = rng.integers(0, 3, (11, h, w))
    steps = rng.integers(-2, 3, (2, h, w)) * 8
    for name, values, heights, moves, chosen in (
        ("no things", plain, heat * 0.09, offset, every),
        ("1000 things", plain, heat, offset, many),
        ("no centre at any threshold", plain, np.zeros((h, w)), np.zeros((2, h, w)), many),
        ("1 thing of many", plain, heat, offset, PanopticSettings(max_instances=1)),
        ("heatmap a plateau", plain, np.ones((h, w)), offset, every),
        ("heatmap of few values", plain, rng.integers(0, 4, (h, w)) / 3, offset, every),
        ("logits all equal", np.zeros((11, h, w)), heat, offset, every),
        ("logits of few values", ties, heat, steps, every),
        ("logits nearly tied", 1 + ties * 2.0**-23, heat, steps, every),
        ("logits closer than float32 mixes", 1 + plain * 2.0**-22, heat, offset, every),
        ("logits huge", plain * 1e37, heat, offset, every),
        ("logits denormal", plain * 1e-40, heat, offset, every),
        ("offsets beyond reach", plain, heat, offset * 1e9, every),
    ):
        yield Case(name, network_output(values, heights, moves), mask, 8, chosen)
    for classes in (1, 2, 32, 33, 255):
        logits = rng.normal(size=(classes, 9, 13))
        yield Case(f"{classes} classes", network_output(logits, heat[:9, :13], offset[:, :9, :13]), (71, 103), 8, every)
    yield Case(
        "grid of one cell", network_output(rng.normal(size=(5, 1, 1)), [[1.0]], offset[:, :1, :1]), (1, 1), 8, every
    )
    yield Case("mask smaller than the grid", network_output(plain, heat, offset), (17, 23), 8, every)
    for bad in (np.nan, np.inf):
        for which in range(3):
            arrays = [plain.copy(), heat.copy(), offset.copy()]
            arrays[which][..., h // 2, w // 3] = bad
            yield Case(f"{bad} in {('logits', 'heatmap', 'offset')[which]}", network_output(*arrays), mask, 8, every)


def at_random(rng: np.random.Generator) -> Case:
    """Some grid, mask, number of classes, kinds of values, and settings."""
    h, w = (int(n) for n in rng.integers(1, 33, 2))
    shape = (int(rng.choice([1, 2, 5, 11, 19, 33])), h, w)
    kinds = (rng.normal(size=shape) * 5, rng.integers(0, 3, shape), 1 + rng.integers(0, 3, shape) * 2.0**-23)
    moves = (rng.normal(size=(2, h, w)) * 30, rng.integers(-2, 3, (2, h, w)) * 8)
    output = network_output(kinds[rng.integers(3)], rng.integers(0, 9, (h, w)) / 8, moves[rng.integers(2)])
    mask_hw = (int(rng.integers(1, 160)), int(rng.integers(1, 160)))
    chosen = PanopticSettings(
        min_stuff_area=float(rng.choice([0.0, 0.02])),
        min_thing_area=float(rng.choice([0.0, 0.02])),
        max_instances=int(rng.choice([1, 3, 40, 200])),
        center_window_px=float(rng.choice([1, 24, 64])),
        min_ground_confidence=float(rng.choice([0.0, 0.5])),
    )
    return Case(f"grid {h}x{w}, mask {mask_hw}, {chosen}", output, mask_hw, int(rng.choice([4, 8])), chosen)
