"""Networks that predict a set of masks: Mask2Former (Cheng et al., CVPR 2022, arXiv 2112.01527), EoMT (Kerssies et al., CVPR
2025, arXiv 2503.19108) and others that transformers knows by the same two outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from seg_perception.errors import SegPerceptionError
from seg_perception.training.networks.heads import IMAGENET_MEAN, IMAGENET_STD
from seg_perception.training.networks.others import imported
from seg_perception.training.teachers.base import Region

SIDE_OF = 32
"""The networks' inputs are multiples of this."""

LEAST_OF_MASK = 0.8
"""Of what a query sees, so much must be its own where queries compete; else it is dropped, as in the paper's code."""


class MaskTransformer:
    """model: of transformers, gives class_queries_logits [1, Q, K + 1] and masks_queries_logits [1, Q, h, w]; long_side: of
    its input in px, 0 = as the image is; threshold: least probability of a query's class."""

    def __init__(self, model: Any, long_side: int, threshold: float) -> None:
        self._model, self._long_side, self._threshold = model.eval(), long_side, threshold
        self.categories = {int(number): str(name) for number, name in model.config.id2label.items()}
        size = getattr(model.config, "image_size", None)
        self._fixed_hw = (size, size) if isinstance(size, int) and model.config.model_type.startswith("eomt") else None

    @classmethod
    def load(cls, folder: Path, long_side: int, threshold: float) -> MaskTransformer:
        """A model as transformers saved it, config.json and weights. Raises SegPerceptionError where it is none."""
        transformers = imported("transformers")
        try:
            model = transformers.AutoModelForUniversalSegmentation.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise SegPerceptionError(
                f"{folder} holds no model that transformers can open ({' '.join(str(error).split())[:200]}): give the folder "
                "of a Mask2Former or EoMT, with config.json and its weights"
            ) from error
        return cls(model, long_side, threshold)

    @torch.no_grad()
    def __call__(self, rgb: NDArray[np.uint8]) -> list[Region]:
        """See LabelTeacher; the regions do not overlap: each pixel is of the query for which class and mask are likeliest."""
        size_hw = rgb.shape[0], rgb.shape[1]
        output = self._model(pixel_values=self._input(rgb))
        scores, categories = output.class_queries_logits[0].softmax(dim=-1)[:, :-1].max(dim=-1)
        kept = torch.nonzero(scores >= self._threshold)[:, 0]
        if not len(kept):
            return []
        masks = F.interpolate(output.masks_queries_logits[:, kept], size=size_hw, mode="bilinear", align_corners=False)
        masks = masks[0].sigmoid()
        winner = (masks * scores[kept, None, None]).argmax(dim=0)
        regions = []
        for place, query in enumerate(kept.tolist()):
            seen = masks[place] >= 0.5
            own = seen & (winner == place)
            if own.sum() > LEAST_OF_MASK * seen.sum():
                regions.append(Region(own.numpy(), int(categories[query]), float(scores[query])))
        return regions

    def _input(self, rgb: NDArray[np.uint8]) -> torch.Tensor:
        height, width = rgb.shape[:2]
        zoom = self._long_side / max(height, width) if self._long_side else 1.0
        size_hw = self._fixed_hw or tuple(
            max(SIDE_OF, round(length * zoom / SIDE_OF) * SIDE_OF) for length in (height, width)
        )
        image = cv2.resize(rgb, size_hw[::-1], interpolation=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR)
        normal = (image.astype(np.float32) - IMAGENET_MEAN) / IMAGENET_STD
        return torch.from_numpy(normal.astype(np.float32)).permute(2, 0, 1)[None]
