"""Mask R-CNN (He et al., ICCV 2017, arXiv 1703.06870), torchvision's: things alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError, cause_of
from seg_perception.training.networks.others import imported
from seg_perception.training.teachers.base import Region

MASK_THRESHOLD = 0.5


class MaskRCNN:
    """With a ResNet-50 and a feature pyramid. weights: a file that torch saved of it, None = random; categories: of the
    weights, else COCO's 90; threshold: least score of a thing; long_side: of its input in px, 0 = torchvision's 1333."""

    def __init__(
        self, weights: Path | None, threshold: float, categories: Sequence[str] = (), long_side: int = 0
    ) -> None:
        detection = imported("torchvision.models.detection")
        names = list(categories) or detection.MaskRCNN_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
        self.categories = {i: name for i, name in enumerate(names) if i and name != "N/A"}
        self._threshold = threshold
        sizes = {"max_size": long_side, "min_size": max(1, 3 * long_side // 5)} if long_side else {}
        self._network = detection.maskrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, num_classes=len(names), **sizes
        ).eval()
        if weights is not None:
            try:
                self._network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
            except Exception as error:  # torch raises many kinds for one cause: these are no weights of it
                told = cause_of(error)
                raise SegPerceptionError(
                    f"{weights} holds no weights of Mask R-CNN with {len(names)} categories ({told}): give torchvision's "
                    "maskrcnn_resnet50_fpn, and --categories where they are others than COCO's"
                ) from error

    @torch.no_grad()
    def __call__(self, rgb: NDArray[np.uint8]) -> list[Region]:
        """See LabelTeacher."""
        (found,) = self._network([torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255])
        return [
            Region((mask[0] > MASK_THRESHOLD).numpy(), int(category), float(score))
            for mask, category, score in zip(found["masks"], found["labels"], found["scores"], strict=True)
            if score >= self._threshold
        ]
