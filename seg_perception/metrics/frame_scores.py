"""The metrics of any choice of a report's frames, many choices at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from seg_perception.metrics.confusion import ratio
from seg_perception.metrics.run_report import RunReport


class FrameScores:
    """Metrics of any choice of a report's frames, from sums over the frames.

    Labels of classes that are not among `classes` count as unlabelled, and predictions of them as void: so reports of
    different label sets are measured alike in what they share.
    """

    def __init__(
        self,
        report: RunReport,
        places: NDArray[np.intp],
        classes: Sequence[str],
        *,
        things: Sequence[str] | None = None,
        drivable: Sequence[str] | None = None,
        panoptic: NDArray[np.bool_] | bool = False,
    ) -> None:
        """places: [F] the labelled frames to take, in this order; things, drivable: of the classes, None where unknown;
        panoptic: whether the frames hold what PQ is made of, or [F] which."""
        self._classes = tuple(classes)
        counts = _confusions(report, self._classes)[places]
        # [F, 3, C] pixels of each class: answered rightly, labelled so, answered so
        self._pixels = np.stack(
            (counts.diagonal(axis1=1, axis2=2), counts.sum(axis=2), counts[:, :, :-1].sum(axis=1)), axis=1
        )
        self._ground = np.array([name in (drivable or ()) for name in self._classes], np.bool_)
        as_ground = counts[:, :, :-1][:, :, self._ground].sum(axis=2)
        self._ground_hits = as_ground[:, self._ground].sum(axis=1)
        self._false_ground = as_ground[:, ~self._ground].sum(axis=1)
        self._things = None if things is None else np.array([name in things for name in self._classes], np.bool_)
        own = [report.classes.index(name) for name in self._classes]
        quality = report.quality[places][:, :, own]
        self._quality = quality * np.broadcast_to(panoptic, len(places))[:, None, None] if np.any(panoptic) else None

    @property
    def truth(self) -> NDArray[np.float64]:
        """[F, C] labelled pixels of each class."""
        return self._pixels[:, 1]

    def __call__(self, weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """The metrics by their names in report.json, [R] each, of frames that count so many times: [R, F]. IoU and PQ as
        seg_perception.metrics.confusion defines them."""
        hits, truth, predicted = _weighted(weights, self._pixels)
        iou, dice = ratio(hits, truth + predicted - hits), ratio(2 * hits, truth + predicted)
        found = {
            "miou": _mean_known(iou),
            "pixel_accuracy": ratio(hits.sum(axis=1), truth.sum(axis=1)),
            "dice": _mean_known(dice),
            **self._by_class("iou", iou),
            **self._by_class("dice_class", dice),
        }
        if self._ground.any():
            both = weights @ self._ground_hits
            either = truth[:, self._ground].sum(axis=1) + predicted[:, self._ground].sum(axis=1) - both
            found["drivable_iou"] = ratio(both, either)
            found["drivable_false_positives"] = ratio(weights @ self._false_ground, truth[:, ~self._ground].sum(axis=1))
        if self._quality is not None:
            found.update(self._panoptic(_weighted(weights, self._quality)))
        return found

    def _panoptic(self, quality: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        iou, tp, fp, fn = quality
        segments = tp + (fp + fn) / 2
        pq, rq = ratio(iou, segments), ratio(tp, segments)
        sq = ratio(iou, np.where((tp == 0) & (segments > 0), 1, tp))
        found = self._by_class("pq_class", pq)
        for name, values in (("pq", pq), ("sq", sq), ("rq", rq)):
            found[name] = _mean_known(values)
            if self._things is not None:
                found[f"{name}_things"] = _mean_known(values[:, self._things])
                found[f"{name}_stuff"] = _mean_known(values[:, ~self._things])
        return found

    def _by_class(self, name: str, values: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {f"{name}.{label}": values[:, place] for place, label in enumerate(self._classes)}


def _confusions(report: RunReport, classes: Sequence[str]) -> NDArray[np.float64]:
    """[F, C, C + 1] pixels of every labelled frame by true and predicted class, the last column void."""
    frame, true, predicted, pixels = report.triples
    count = len(classes)
    column = np.array([classes.index(name) if name in classes else count for name in (*report.classes, None)])
    chosen = column[true] < count
    cells = (frame[chosen] * count + column[true[chosen]]) * (count + 1) + column[predicted[chosen]]
    shape = len(report.labelled), count, count + 1
    table = np.bincount(cells, weights=pixels[chosen], minlength=int(np.prod(shape)))
    return table.reshape(shape).astype(np.float64, copy=False)


def _weighted(weights: NDArray[np.float64], sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """[K, R, C] from weights [R, F] and sums [F, K, C]."""
    frames, kinds, classes = sums.shape
    return (weights @ sums.reshape(frames, -1)).reshape(-1, kinds, classes).transpose(1, 0, 2)


def _mean_known(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """[R] mean of what is not NaN in each row of [R, C], NaN when nothing is."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1))
