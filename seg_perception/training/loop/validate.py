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
from seg_perception.labels import VOID, LabelSet
from seg_perception.panoptic.decoder import PanopticDecoder, PanopticSettings
from seg_perception.pictures.overlay import Overlay
from seg_perception.results import Frame, NetworkOutput, Wants
from seg_perception.training.config import TrainConfig
from seg_perception.training.networks.heads import PanopticNetwork


@torch.no_grad()
def validate(network: PanopticNetwork, config: TrainConfig, labels: LabelSet) -> dict[str, Any]:
    """{"miou": …, "iou": {class: …}} on the configuration's validation data, void labels ignored."""
    dataset = config.open_source(config.validation, labels)
    to_fine = np.full(256, VOID, np.uint8)
    for own_id, names in dataset.meaning.items():
        if len(names) == 1:
            to_fine[own_id] = labels.by_name(names[0]).id
    classes, preprocess = len(labels), Preprocessor(config.size_hw)
    counts = np.zeros((classes, classes), np.int64)
    for index in tqdm(range(len(dataset)), desc="validating", unit="image", leave=False, mininterval=2):
        sample = dataset[index]
        logits = _run(network, preprocess, sample.rgb)[0]
        full = F.interpolate(logits, size=sample.label.shape, mode="bilinear", align_corners=False)
        found = full[0].argmax(0).to(torch.uint8).cpu().numpy()
        truth = to_fine[sample.label]
        known = truth != VOID
        counts += np.bincount(truth[known].astype(np.int64) * classes + found[known], minlength=classes**2).reshape(
            classes, classes
        )
    hits, union = np.diag(counts), counts.sum(0) + counts.sum(1) - np.diag(counts)
    seen = counts.sum(1) > 0
    iou = {labels.names[i]: float(hits[i] / union[i]) for i in range(classes) if seen[i]}
    return {"miou": float(np.mean(list(iou.values()))) if iou else 0.0, "iou": iou}


@torch.no_grad()
def draw_first(network: PanopticNetwork, config: TrainConfig, labels: LabelSet) -> NDArray[np.uint8]:
    """uint8 [H, W, 3]: the first validation image under the classes and things that the network finds in it."""
    rgb = config.open_source(config.validation, labels)[0].rgb
    output = NetworkOutput(*(part.cpu().numpy() for part in _run(network, Preprocessor(config.size_hw), rgb)))
    size_hw: tuple[int, int] = (rgb.shape[0], rgb.shape[1])
    stride = config.size_hw[0] // output.semantic_logits.shape[2]
    panoptic = PanopticDecoder(labels, PanopticSettings()).decode(output, 0, size_hw, stride, Wants())
    return Overlay(labels).draw(rgb, panoptic)


def _run(network: PanopticNetwork, preprocess: Preprocessor, rgb: NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
    """The network's three outputs for one image of any size, squeezed as the node does it."""
    image = torch.from_numpy(preprocess(Frame(rgb)))
    answer: tuple[Tensor, Tensor, Tensor] = network(image.to(next(network.parameters()).device))
    return answer
