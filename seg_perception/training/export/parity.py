"""How far a model file is from what it was made of, by the backend and the decode that will run it.

ONNX Runtime's CPU provider computes most float16 layers in float32: there the parity of fp16 is that of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from seg_perception import model_file
from seg_perception.backends.base import Backend
from seg_perception.backends.onnx_runtime import OnnxRuntimeBackend
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.metrics.confusion import ConfusionMatrix, mean_known
from seg_perception.pipeline import Pipeline
from seg_perception.recordings.dataset_source import Comparison, DatasetSource
from seg_perception.results import Frame, NetworkOutput, Truth, Wants

MASK_ONLY = Wants(instances=False, confidence=False, areas=False, grid=False, free_space=False)


@dataclass(frozen=True)
class ParityData:
    """Frames to compare on. name: for the metadata; frames: rgb uint8 [H, W, 3], with labels where there are any;
    meaning: of the labels' ids, as a data set gives it, None without labels."""

    name: str
    frames: Iterable[tuple[NDArray[np.uint8], Truth | None]]
    count: int
    meaning: Mapping[int, tuple[str, ...]] | None = None

    @staticmethod
    def unlabelled(name: str, images: Iterable[NDArray[np.uint8]]) -> ParityData:
        """Images uint8 [1, h, w, 3] without labels."""
        frames = [(image[0], None) for image in images]
        return ParityData(name, frames, len(frames))

    @staticmethod
    def labelled(dataset: str, root: Path | None, split: str, labels: LabelSet) -> ParityData:
        """A split of a data set; raises SegPerceptionError as open_dataset does, and when a frame cannot be read."""
        source = DatasetSource(dataset, root, split, labels)

        def frames() -> Iterator[tuple[NDArray[np.uint8], Truth | None]]:
            for item in source:
                yield item.frame.rgb, item.truth
            if source.problems:
                raise SegPerceptionError(source.problems[0])

        return ParityData(source.name, frames(), source.total or 0, source.meaning)


def parity(reference: Backend, path: Path, data: ParityData) -> dict[str, Any]:
    """Compare the model file at path with what it was made of, frame by frame; the metadata's `parity`.

    reference: the backend that ran what it was made of. Largest error of each output, absolute (offset: in input px)
    and over the largest value of the reference (at least 1); infinite where an output is not finite. pixels_changed:
    share of the masks' pixels whose class changes. With labels mIoU of both, and miou_change = the file's minus the
    reference's.
    """
    info = model_file.load(path)
    info = info.at(info.size_hw)  # what the reference runs at
    wanted, found = _Remembering(reference), _Remembering(OnnxRuntimeBackend(info))
    pipelines = Pipeline(info, wanted), Pipeline(info, found)
    tally = _Tally(Comparison(info.labels, data.meaning))
    for rgb, truth in tqdm(data.frames, total=data.count, desc="compare", unit="frame"):
        masks = [pipeline.run(Frame(rgb), MASK_ONLY).panoptic.semantic for pipeline in pipelines]
        tally.add_outputs(wanted.output, found.output)
        tally.add_masks(masks[0], masks[1], truth)
    facts = {
        "reference": "{backend}, {model}, {precision}".format_map(wanted.describe()),
        "data": data.name,
        "frames": data.count,
        "backend": found.describe()["backend"],
        **tally.summary(),
    }
    found.close()
    return facts


class _Remembering:
    """A backend that keeps its latest output."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.warm_up, self.describe, self.close = backend.warm_up, backend.describe, backend.close
        self.output: NetworkOutput

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """See Backend."""
        self.output = self._backend.infer(images)
        return self.output


class _Tally:
    """Differences over all frames."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison
        self._confusion = ConfusionMatrix(comparison.labels), ConfusionMatrix(comparison.labels)
        self._error = dict.fromkeys(model_file.OUTPUTS, 0.0)
        self._value = dict.fromkeys(model_file.OUTPUTS, 1.0)
        self._changed = self._pixels = 0
        self._labelled = False

    def add_outputs(self, wanted: NetworkOutput, found: NetworkOutput) -> None:
        for name in model_file.OUTPUTS:
            right, other = getattr(wanted, name), getattr(found, name)
            error = float(np.abs(right - other).max())
            self._error[name] = max(self._error[name], error if math.isfinite(error) else math.inf)
            self._value[name] = max(self._value[name], float(np.abs(right).max()))

    def add_masks(self, wanted: NDArray[np.uint8], found: NDArray[np.uint8], truth: Truth | None) -> None:
        self._changed += int(np.count_nonzero(wanted != found))
        self._pixels += wanted.size
        if truth is None:
            return
        self._labelled = True
        labels = self._comparison.truth(truth).semantic
        for confusion, mask in zip(self._confusion, (wanted, found)):
            confusion.update(self._comparison.prediction(mask, truth.semantic), labels)

    def summary(self) -> dict[str, float]:
        names = dict(zip(model_file.OUTPUTS, ("logit_error", "center_error", "offset_error_px")))
        facts = {names[output]: error for output, error in self._error.items()}
        facts["logit_error_relative"] = self._error["semantic_logits"] / self._value["semantic_logits"]
        facts["largest_error_relative"] = max(error / self._value[output] for output, error in self._error.items())
        facts["pixels_changed"] = self._changed / max(1, self._pixels)
        if self._labelled:
            before, after = (mean_known(confusion.iou()) for confusion in self._confusion)
            facts |= {"miou_fp32": before, "miou": after, "miou_change": after - before}
        return facts
