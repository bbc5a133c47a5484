"""Masks that the metrics are held against their references on: random ones, and those that tools get wrong."""

from __future__ import annotations

import numpy as np

from seg_perception.labels import VOID, LabelClass, LabelSet

LABELS = LabelSet(
    (
        LabelClass(0, "road", (128, 64, 128), drivable_cost=0),
        LabelClass(1, "grass", (0, 128, 0), drivable_cost=80),
        LabelClass(2, "wall", (90, 90, 90)),
        LabelClass(3, "car", (0, 0, 142), thing=True),
        LabelClass(4, "person", (220, 20, 60), thing=True),
    )
)
VALUES = np.array([0, 1, 2, 3, 4, VOID], np.uint8)
Maps = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def random_maps(seed: int) -> Maps:
    """Prediction and truth with classes, instances, crowds and void; from pixel noise to large blocks."""
    rng = np.random.default_rng(seed)
    block = int(rng.choice([1, 3, 8, 16]))
    shape = (-(-48 // block), -(-64 // block))

    def blocks(values: np.ndarray) -> np.ndarray:
        return np.kron(values, np.ones((block, block), values.dtype))[:48, :64]

    truth = blocks(rng.choice(VALUES, shape))
    true_instance = blocks(rng.integers(0, 4, shape).astype(np.uint16))
    noise = rng.random((48, 64)) < rng.choice([0.02, 0.3, 0.9])
    prediction = np.where(noise, rng.choice(VALUES, (48, 64)), truth).astype(np.uint8)
    instance = np.where(noise, rng.integers(0, 4, (48, 64)), true_instance + 7).astype(np.uint16)
    return prediction, instance, truth, true_instance


def adversarial_maps() -> list[Maps]:
    void, road = np.full((48, 64), VOID, np.uint8), np.zeros((48, 64), np.uint8)
    car, none = np.full((48, 64), 3, np.uint8), np.zeros((48, 64), np.uint16)
    one, halves = none + 1, none + 1
    halves[:, 32:] = 2
    pixel, most, small = road.copy(), none + 1, none.copy()
    pixel[20, 20] = 3
    most[:, 48:] = 0
    small[:9, :11] = 1  # 99 px
    return [
        (road, none, road, none),
        (road, none, void, none),
        (void, none, road, none),
        (car, one, car, halves),  # IoU of exactly one half is no match
        (car, halves, car, none),  # all crowd: nothing matched, nothing missed
        (car, none, car, one),  # a prediction without an instance is void
        (np.where(most == 1, 3, 0).astype(np.uint8), most, car, one),  # IoU of exactly three quarters
        (np.where(small == 1, 3, 0).astype(np.uint8), one, np.where(small == 1, 3, 0).astype(np.uint8), one),
        (np.where(small == 1, 4, 0).astype(np.uint8), one, np.where(small == 1, 4, 0).astype(np.uint8), none),
        (pixel, one, road, none),
        (road, none, pixel, one),
        (pixel, one, pixel, one),
        (np.where(halves == 1, 3, 0).astype(np.uint8), one, np.where(halves == 1, VOID, 0).astype(np.uint8), none),
    ]


ALL_MAPS = adversarial_maps() + [random_maps(seed) for seed in range(20)]
