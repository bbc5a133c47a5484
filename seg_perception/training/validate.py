"""How good a network is while it trains: mIoU at the labels' size, by plain full upsampling."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from seg_perception.labels import VOID, LabelSet
from seg_perception.training.config import TrainConfig
from seg_perception.training.datasets import open_dataset
from seg_perception.training.networks.heads import PanopticNetwork


@torch.no_grad()
def validate(network: PanopticNetwork, config: TrainConfig, labels: LabelSet) -> dict[str, Any]:
    """{"miou": …, "iou": {class: …}} on the configuration's validation data, void labels ignored."""
    source = config.validation
    dataset = open_dataset(source.name, config.root_of(source), source.split)
    to_fine = np.full(256, VOID, np.uint8)
    for own_id, names in dataset.meaning.items():
        if len(names) == 1:
            to_fine[own_id] = labels.by_name(names[0]).id
    classes = len(labels)
    device = next(network.parameters()).device
    counts = np.zeros((classes, classes), np.int64)
    for index in range(len(dataset)):
        sample = dataset[index]
        image = cv2.resize(sample.rgb, config.size_hw[::-1], interpolation=cv2.INTER_LINEAR)
        logits = network(torch.from_numpy(image)[None].to(device))[0]
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
