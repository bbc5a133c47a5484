"""Which label belongs to which image of a recording: the one whose stamp is nearest, once, within a tolerance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

USUAL_PERIOD_NS = 10**9 / 30
"""Between images whose stamps tell none."""

Stamps = NDArray[np.int64]


def half_period_ns(images_ns: Stamps) -> int:
    """Half the usual (median) distance of the images' stamps: more, and a label would be nearer to another image."""
    distances = np.diff(np.unique(images_ns))
    return round((float(np.median(distances)) if len(distances) else USUAL_PERIOD_NS) / 2)


def nearest_labels(images_ns: Stamps, labels_ns: Stamps, tolerance_ns: int) -> NDArray[np.int64]:
    """For each image the place of its label among the labels, -1 where it has none.

    Stamps in ns, in any order. A label goes to the nearest stamp that images have, the earlier of two; of those that come
    to one stamp as many as it has images stay, the nearest first. Images and labels of one stamp keep their order.
    """
    found = np.full(len(images_ns), -1, np.int64)
    if not len(images_ns) or not len(labels_ns):
        return found
    stamps, counts = np.unique(images_ns, return_counts=True)
    images_by_stamp = np.split(np.argsort(images_ns, kind="stable"), np.cumsum(counts)[:-1])
    after = np.searchsorted(stamps, labels_ns).clip(0, len(stamps) - 1)
    before = np.maximum(after - 1, 0)
    place = np.where(labels_ns - stamps[before] <= np.abs(stamps[after] - labels_ns), before, after)
    distance = np.abs(labels_ns - stamps[place])
    order = np.lexsort((distance, place))
    order = order[distance[order] <= tolerance_ns]
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    for labels in np.split(order, starts[1:]) if len(order) else ():
        images = images_by_stamp[place[labels[0]]]
        chosen = np.sort(labels[: len(images)])
        found[images[: len(chosen)]] = chosen
    return found
