"""How good a network is while it trains: mIoU at the labels' size by plain full upsampling, and a picture to look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from seg_perception.camera.preprocess import Preprocessor
from seg_perception.datasets import Dataset
from seg_perception.labels import LabelSet
from seg_perception.metrics.confusion import ConfusionMatrix, mean_known
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.panoptic.pieces import decoder_on_cpu
from seg_perception.pictures.overlay import Overlay
from seg_perception.recordings.dataset_source import Comparison
from seg_perception.results import Frame, NetworkOutput, Truth, Wants
from seg_perception.training.networks.heads import PanopticNetwork

ROWS_AT_ONCE = 128
"""Of an image whose logits are in memory together."""


@torch.no_grad()
def validate(network: PanopticNetwork, dataset: Dataset, size_hw: tuple[int, int], labels: LabelSet) -> dict[str, Any]:
    """{"miou": …, "iou": {class: …}} on a data set, seen by the network at size_hw, as `evaluate` measures them; classes that
    neither the data nor the network name are left out."""
    comparison, preprocess = Comparison(labels, dataset.meaning), Preprocessor(size_hw)
    confusion = ConfusionMatrix(comparison.labels)
    for index in tqdm(dataset.bounded, desc="validating", unit="image", leave=False, mininterval=2):
        sample = dataset[index]
        logits = _run(network, preprocess, sample.rgb)[0]
        found = winners(logits, sample.label.shape)
        confusion.update(
            comparison.prediction(found, sample.label), comparison.truth(Truth(sample.label, None)).semantic
        )
    iou = {name: float(value) for name, value in zip(comparison.labels.names, confusion.iou()) if not np.isnan(value)}
    return {"miou": mean_known(confusion.iou()) if iou else 0.0, "iou": iou}


def winners(logits: Tensor, size_hw: tuple[int, ...]) -> NDArray[np.uint8]:
    """uint8 [H, W]: the class of each pixel, by bilinear upsampling (half-pixel centres) of float32 [1, C, h, w].

    Some rows at a time, since all logits of a camera's image of 12 megapixels are gigabytes.
    """
    rows, height = logits.shape[2], size_hw[0]
    place = (torch.arange(height, device=logits.device) + 0.5) * (rows / height) - 0.5
    place = place.clamp(0, rows - 1)
    above = place.long()
    below, share = (above + 1).clamp(max=rows - 1), (place - above)[:, None]
    found = []
    for first in range(0, height, ROWS_AT_ONCE):
        some = slice(first, first + ROWS_AT_ONCE)
        mixed = torch.lerp(logits[:, :, above[some]], logits[:, :, below[some]], share[some])
        full = F.interpolate(mixed, size=(mixed.shape[2], size_hw[1]), mode="bilinear", align_corners=False)
        found.append(full[0].argmax(0).to(torch.uint8))
    return torch.cat(found).cpu().numpy()


@torch.no_grad()
def draw_first(
    network: PanopticNetwork, dataset: Dataset, size_hw: tuple[int, int], labels: LabelSet
) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: the first image of a data set under the classes and things that the network finds in it at size_hw."""
    rgb = dataset[0].rgb
    output = NetworkOutput(*(part.cpu().numpy() for part in _run(network, Preprocessor(size_hw), rgb)))
    stride = size_hw[0] // output.semantic_logits.shape[2]
    panoptic = decoder_on_cpu(labels, PanopticSettings()).decode(
        output, 0, (rgb.shape[0], rgb.shape[1]), stride, Wants()
    )
    return Overlay(labels).draw(rgb, panoptic)


def _run(network: PanopticNetwork, preprocess: Preprocessor, rgb: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
    """The network's three outputs for one image of any size, squeezed as the node does it."""
    image = torch.from_numpy(preprocess(Frame(rgb)))
    answer: tuple[Tensor, Tensor, Tensor] = network(image.to(next(network.parameters()).device))
    return answer
