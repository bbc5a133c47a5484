"""Learning from a larger network besides the labels: its softened classes, centres, offsets and features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.training.config import DistillSettings, TrainConfig
from seg_perception.training.loop.beginning import trained_network
from seg_perception.training.loop.losses import center_loss, offset_loss
from seg_perception.training.networks.heads import TrainingOutput, in_float32
from seg_perception.writing import user_path

AFFINITY_CELLS = 4
"""Cells of the features, along each side, that make a place whose likeness to the others is learned."""


class Teacher:
    """The averaged network of a checkpoint, or that of a model file, frozen.

    Raises SegPerceptionError when the file is neither or was trained for other classes.
    """

    def __init__(self, config: TrainConfig, settings: DistillSettings, labels: LabelSet, device: torch.device) -> None:
        path = user_path(settings.checkpoint)
        network, known, self.data = trained_network(path)
        if known.names != labels.names:
            raise SegPerceptionError(
                f"the teacher {path} knows other classes than this configuration: distil from one of the same label set"
            )
        self._settings, self._loss = settings, config.loss
        self._network = network.requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._is_thing = torch.from_numpy(labels.is_thing[: len(labels)]).to(device)

    @torch.no_grad()
    def answer(self, image: Tensor) -> TrainingOutput:
        """What it makes of images uint8 [N, h, w, 3], float32."""
        return in_float32(self._network.training_outputs(image))

    def losses(self, output: TrainingOutput, answer: TrainingOutput) -> dict[str, Tensor]:
        """How far a student is from the answer to the same images, weighted; every cell of the grid counts.

        Classes: Kullback-Leibler divergence at the temperature, times its square, which keeps the size of the gradient
        (Hinton, Vinyals and Dean, 2015, arXiv 1503.02531). Offsets count where the teacher sees things. Features: see
        affinity_difference.
        """
        settings, loss = self._settings, self._loss
        things = self._is_thing[answer.logits.argmax(dim=1)]
        heatmap = torch.sigmoid(answer.heatmap_logits[:, 0])
        losses = {
            "distill_semantic": softened_divergence(output.logits, answer.logits, settings.temperature),
            "distill_center": loss.center * center_loss(output.heatmap_logits, heatmap, torch.ones_like(heatmap)),
            "distill_offset": loss.offset * offset_loss(output.offset, answer.offset, things),
        }
        if settings.features:
            losses["distill_features"] = settings.features * affinity_difference(output.fused, answer.fused)
        return {name: settings.weight * value for name, value in losses.items()}


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """temperature² · KL(softmax(teacher / temperature) ‖ softmax(student / temperature)), the mean over [N, h, w].

    Both are logits [N, C, h, w].
    """
    wanted = F.log_softmax(teacher / temperature, dim=1)
    found = F.log_softmax(student / temperature, dim=1)
    return temperature**2 * F.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=1).mean()


def affinity_difference(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean square of how much two networks differ in how alike any two places of an image are.

    The pair-wise distillation of Liu et al., CVPR 2019, arXiv 1903.04197: places are means over AFFINITY_CELLS² cells,
    alike is the cosine of their features, so the two may have any number of channels. Both [N, channels, h, w].
    """
    return (_affinity(student) - _affinity(teacher)).square().mean()


def _affinity(features: Tensor) -> Tensor:
    """[N, channels, h, w] to the cosines between all pairs of places, [N, places, places]."""
    places = F.avg_pool2d(features, AFFINITY_CELLS, ceil_mode=True).flatten(2)
    unit = F.normalize(places, dim=1)
    return unit.transpose(1, 2) @ unit
