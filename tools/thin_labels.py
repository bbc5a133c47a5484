"""Weak labels out of full ones, to measure what weak supervision loses: scribbles, points or boxes in the layout of `folder`.

  python tools/thin_labels.py --images data/camvid/train/images --labels data/camvid/train/labels --void 11 \
      --kind scribbles --out data/camvid_scribbles/train

Every connected piece of a class gets one mark: a polyline through a few of its inner pixels, one of its innermost pixels,
or, of the classes of --things, its box; classes that are no things then stay as they are. The same files give the same
marks.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.files import image_files, read_mask, write_image
from seg_perception.labels import VOID

SMALLEST_PIECE_PX = 30
"""Area below which an annotator would not bother."""

SCRIBBLE_POINTS = 4
SCRIBBLE_WIDTH_PX = 3


def pieces(label: NDArray[np.uint8]) -> list[tuple[int, NDArray[np.uint8]]]:
    """Class and mask, uint8 [H, W], of each connected piece that is worth a mark."""
    found = []
    for own_id in np.unique(label[label != VOID]):
        count, numbers, stats, _ = cv2.connectedComponentsWithStats((label == own_id).astype(np.uint8), connectivity=8)
        for number in range(1, count):
            if stats[number, cv2.CC_STAT_AREA] >= SMALLEST_PIECE_PX:
                found.append((int(own_id), (numbers == number).astype(np.uint8)))
    return found


def scribble(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_]:
    """A polyline from left to right, or from top to bottom of an upright piece, cut to the piece."""
    depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.nonzero(depth >= min(0.6 * depth.max(), 12))
    chosen = rng.choice(len(x), min(SCRIBBLE_POINTS, len(x)), replace=False)
    points = np.column_stack([x[chosen], y[chosen]])
    points = points[np.argsort(points[:, int(np.ptp(y) > np.ptp(x))], kind="stable")].astype(np.int32)
    drawn = np.zeros_like(mask)
    cv2.polylines(drawn, [points[:, None]], False, 1, SCRIBBLE_WIDTH_PX)
    return (drawn & mask).astype(np.bool_)


def point(mask: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.bool_]:
    """One pixel of the inner half."""
    depth = cv2.distanceTransform(np.pad(mask, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.nonzero(depth >= 0.5 * depth.max())
    k = int(rng.integers(len(x)))
    drawn = np.zeros(mask.shape, np.bool_)
    drawn[y[k], x[k]] = True
    return drawn


def marks(label: NDArray[np.uint8], kind: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 [H, W]: the class of each scribble or point, VOID elsewhere."""
    thin = np.full_like(label, VOID)
    for own_id, mask in pieces(label):
        thin[{"scribbles": scribble, "points": point}[kind](mask, rng)] = own_id
    return thin


def boxes(label: NDArray[np.uint8], things: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels and numbers of objects, uint8 [H, W]: things as filled boxes, the smaller ones in front."""
    thin = np.where(np.isin(label, things), np.uint8(VOID), label)
    numbers = np.zeros_like(label)
    found = [(cv2.boundingRect(mask), own_id) for own_id, mask in pieces(label) if own_id in things]
    found.sort(key=lambda box: -box[0][2] * box[0][3])
    for number, ((x, y, w, h), own_id) in enumerate(found[:255], start=1):
        thin[y : y + h, x : x + w], numbers[y : y + h, x : x + w] = own_id, number
    return thin, numbers


def main() -> int:
    """Write the thinned copy of a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("images", "labels", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--kind", choices=("scribbles", "points", "boxes", "full"), required=True)
    parser.add_argument("--void", type=int, nargs="*", default=[], help="ids that are unlabelled, besides 255")
    parser.add_argument("--things", type=int, nargs="*", default=[], help="ids that become boxes")
    parser.add_argument("--every", type=int, default=1, help="take every such image only")
    arguments = parser.parse_args()
    for folder in ("images", "labels", "instances"):
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
    shares = []
    for index, path in enumerate(image_files(arguments.images)[:: arguments.every]):
        label = read_mask(arguments.labels / f"{path.stem}.png", np.uint8)
        label[np.isin(label, arguments.void)] = VOID
        if arguments.kind == "boxes":
            label, numbers = boxes(label, arguments.things)
            write_image(arguments.out / "instances" / f"{path.stem}.png", numbers)
        elif arguments.kind != "full":
            label = marks(label, arguments.kind, np.random.default_rng(index))
        write_image(arguments.out / "labels" / f"{path.stem}.png", label)
        shutil.copy(path, arguments.out / "images" / path.name)
        shares.append(np.mean(label != VOID))
    print(f"{len(shares)} images, {100 * np.mean(shares):.2f} % of the pixels marked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
