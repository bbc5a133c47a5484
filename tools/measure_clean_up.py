"""What cleaning up a mask afterwards would gain, and cost: the majority of a window, and a dense CRF.

  python tools/measure_clean_up.py --model models/driving_mobileseg.onnx --dataset camvid --root data/camvid --split val --every 14

Nothing of it runs in the node: docs/training.md says what was measured.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception import model_file
from seg_perception.backends import choose
from seg_perception.camera.preprocess import Preprocessor
from seg_perception.metrics.confusion import ConfusionMatrix, mean_known
from seg_perception.recordings.dataset_source import LabelledSource

REACH, STEP = 2, 3
"""The CRF's neighbours: 5x5 but for the pixel itself, three pixels apart."""
ITERATIONS = 5
NEAR_PX, COLORS = 4.0, 15.0


def majority(mask: NDArray[np.uint8], classes: int, window_px: int) -> NDArray[np.uint8]:
    """The most frequent class of the window around each pixel: small islands and notches go. uint8 [H, W]."""
    counts = np.stack([cv2.blur((mask == i).astype(np.float32), (window_px, window_px)) for i in range(classes)])
    return _best(counts)


def dense_crf(logits: NDArray[np.float32], rgb: NDArray[np.uint8], weight: float) -> NDArray[np.uint8]:
    """Mean-field inference of a CRF (Krähenbühl and Koltun, NIPS 2011, arXiv 1210.5644) whose pairs reach over a window, as in
    ConvCRF (Teichmann and Cipolla, BMVC 2019, arXiv 1805.04777). logits [C, H, W] at the image's size; weight: of the pairs,
    whose strength falls with distance and with difference of colour. Returns classes, uint8 [H, W]."""
    offsets = [
        (dy * STEP, dx * STEP)
        for dy in range(-REACH, REACH + 1)
        for dx in range(-REACH, REACH + 1)
        if (dy, dx) != (0, 0)
    ]
    colors = rgb.astype(np.float32)
    strengths = [_strength(colors, dy, dx) for dy, dx in offsets]
    total = np.maximum(np.sum(strengths, axis=0), 1e-12, dtype=np.float32)  # 0 where nothing near is alike
    belief = _softmax(logits)
    for _ in range(ITERATIONS):
        message = np.zeros_like(logits)
        for (dy, dx), strength in zip(offsets, strengths, strict=True):
            message += strength * _moved(belief, dy, dx)
        belief = _softmax(logits + weight * message / total)
    return _best(belief)


def _best(scores: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The class of the highest score, uint8 [H, W]; scores: [C, H, W]."""
    classes: NDArray[np.uint8] = scores.argmax(axis=0).astype(np.uint8)
    return classes


def _strength(colors: NDArray[np.float32], dy: int, dx: int) -> NDArray[np.float32]:
    difference = np.square(colors - _moved(colors.transpose(2, 0, 1), dy, dx).transpose(1, 2, 0)).sum(axis=2)
    near = (dy**2 + dx**2) / (2 * NEAR_PX**2)
    strength: NDArray[np.float32] = np.exp(-difference / (2 * COLORS**2) - near).astype(np.float32)
    return strength


def _moved(layer: NDArray[np.float32], dy: int, dx: int) -> NDArray[np.float32]:
    """[C, H, W]: what lies at (dy, dx) from each pixel, the border's beyond it."""
    height, width = layer.shape[1:]
    rows = np.clip(np.arange(height) + dy, 0, height - 1)
    columns = np.clip(np.arange(width) + dx, 0, width - 1)
    return layer[:, rows][:, :, columns]


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    shares = np.exp(logits - logits.max(axis=0))
    normal: NDArray[np.float32] = shares / shares.sum(axis=0)
    return normal


Way = Callable[[NDArray[np.float32], NDArray[np.uint8]], NDArray[np.uint8]]
"""From logits [C, H, W] and image [H, W, 3] to classes, uint8 [H, W]."""


def _ways(classes: int) -> dict[str, Way]:
    def by_majority(window_px: int) -> Way:
        return lambda logits, rgb: majority(_best(logits), classes, window_px)

    def by_crf(weight: float) -> Way:
        return lambda logits, rgb: dense_crf(logits, rgb, weight)

    ways: dict[str, Way] = {"as it is": lambda logits, rgb: _best(logits)}
    ways |= {f"majority of {px}x{px} px": by_majority(px) for px in (3, 7, 11)}
    return ways | {f"CRF, weight {weight:g}": by_crf(weight) for weight in (1.0, 3.0, 10.0)}


def main() -> int:
    """Print mIoU and processor time of each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split", default="")
    parser.add_argument("--every", type=int, default=1, help="take every such image only")
    arguments = parser.parse_args()
    model = model_file.load(arguments.model)
    backend = choose(model, backend="onnxruntime", threads=1, log=lambda line: None)
    preprocess, classes = Preprocessor(model.size_hw), len(model.labels)
    ways = _ways(classes)
    found = {name: ConfusionMatrix(model.labels) for name in ways}
    seconds = dict.fromkeys(ways, 0.0)
    source = LabelledSource(arguments.dataset, arguments.root, arguments.split, model.labels)
    images = 0
    for item in itertools.islice(source, 0, None, arguments.every):
        assert item.truth is not None
        images += 1
        grid = backend.infer(preprocess(item.frame)).semantic_logits[0]
        size_wh = item.truth.semantic.shape[::-1]
        logits = np.stack([cv2.resize(channel, size_wh, interpolation=cv2.INTER_LINEAR) for channel in grid])
        for name, way in ways.items():
            began = time.process_time()
            mask = way(logits, item.frame.rgb)
            seconds[name] += time.process_time() - began
            found[name].update(mask, item.truth.semantic)
    for name in ways:
        cost = 1e3 * (seconds[name] - seconds["as it is"]) / max(1, images)
        print(f"{name:24} mIoU {mean_known(found[name].iou()):.4f}  {cost:8.1f} ms more of processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
