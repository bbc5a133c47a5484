"""Learning from a larger network besides the labels: its softened classes, its centres and its offsets."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.training.config import DistillSettings, TrainConfig
from seg_perception.training.loop import checkpoint
from seg_perception.training.loop.losses import center_loss, offset_loss
from seg_perception.training.networks.heads import TrainingOutput


class Teacher:
    """The averaged network of a checkpoint, frozen.

    Raises SegPerceptionError when the checkpoint is none or was trained for other classes.
    """

    def __init__(self, config: TrainConfig, settings: DistillSettings, labels: LabelSet, device: torch.device) -> None:
        path = Path(settings.checkpoint).expanduser()
        content = checkpoint.load(path)
        if LabelSet.from_json(content["labels"]) != labels:
            raise SegPerceptionError(
                f"the teacher {path} knows other classes than this configuration: distil from one of the same label set"
            )
        self._settings, self._loss = settings, config.loss
        network = checkpoint.averaged_network(content).requires_grad_(False)
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._is_thing = torch.from_numpy(labels.is_thing[: len(labels)]).to(device)

    @torch.no_grad()
    def answer(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """semantic_logits, center_heatmap in [0, 1] and center_offset in px of images uint8 [N, h, w, 3], float32."""
        logits, heatmap, offset = self._network(image)
        return logits.float(), heatmap.float(), offset.float()

    def losses(self, output: TrainingOutput, answer: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
        """How far a student is from the answer to the same images, weighted; every cell of the grid counts.

        Classes: Kullback-Leibler divergence at the temperature, times its square, which keeps the size of the gradient
        (Hinton, Vinyals and Dean, 2015, arXiv 1503.02531). Offsets count where the teacher sees things.
        """
        logits, heatmap, offset = answer
        weight, loss = self._settings.weight, self._loss
        things = self._is_thing[logits.argmax(dim=1)]
        return {
            "distill_semantic": weight * softened_divergence(output.logits, logits, self._settings.temperature),
            "distill_center": weight
            * loss.center
            * center_loss(output.heatmap_logits, heatmap[:, 0], torch.ones_like(heatmap[:, 0])),
            "distill_offset": weight * loss.offset * offset_loss(output.offset, offset, things),
        }


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """temperature² · KL(softmax(teacher / temperature) ‖ softmax(student / temperature)), the mean over [N, h, w].

    Both are logits [N, C, h, w].
    """
    wanted = F.log_softmax(teacher / temperature, dim=1)
    found = F.log_softmax(student / temperature, dim=1)
    return temperature**2 * F.kl_div(found, wanted, reduction="none", log_target=True).sum(dim=1).mean()
