"""Images with masks to propose and to correct: a small street that is not the same twice."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from seg_perception.files import write_image
from seg_perception.labels import CAMVID, VOID

SKY, ROAD, TREE, CAR = 0, 3, 5, 8
SIZE_HW = (96, 144)


def street(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    """rgb, classes and things: sky over road, a tree, two cars that touch, and an unlabelled spot."""
    rng = np.random.default_rng(seed)
    semantic = np.full(SIZE_HW, SKY, np.uint8)
    semantic[40 + seed % 5 :] = ROAD
    cv2.circle(semantic, (30 + seed % 7, 40), 18, TREE, -1)
    instance = np.zeros(SIZE_HW, np.uint16)
    for number, left in enumerate((70, 95), start=1):
        box = slice(48, 70), slice(left, left + 25)
        semantic[box], instance[box] = CAR, number
    semantic[80:92, 20:40] = VOID
    noise = rng.integers(0, 40, (*SIZE_HW, 3), np.uint8)
    return CAMVID.colors[semantic] // 2 + noise, semantic, instance


def write_job(folder: Path, names: list[str]) -> Path:
    """Images in `images`, their masks in `masks`, as predict writes them."""
    for seed, name in enumerate(names):
        rgb, semantic, instance = street(seed)
        write_image(folder / "images" / f"{name}.png", rgb)
        write_image(folder / "masks" / f"{name}_labels.png", semantic)
        write_image(folder / "masks" / f"{name}_instances.png", instance)
    return folder


def proposed(job: Path, out: Path, tool: str, *more: str) -> list[str]:
    """The words that propose the job's own masks."""
    where = ["--images", str(job / "images"), "--masks", str(job / "masks"), "--labels", "camvid"]
    return ["label", "propose", *where, "--tool", tool, "--out", str(out), *more]
