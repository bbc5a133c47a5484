"""Train a panoptic network and keep checkpoints.

Example:
  python -m seg_perception train --config config/train/camvid_pidnet_s.yaml --data ../shared/data --out out/train
  python -m seg_perception train --config config/train/camvid_pidnet_s.yaml --out out/train --resume

OUT gets last.pt (to resume), best.pt (best on the validation data) and log.jsonl.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg_perception.errors import SegPerceptionError
from seg_perception.labels import CAMVID, LabelSet
from seg_perception.training import checkpoint
from seg_perception.training.config import DATA_ROOT_VARIABLE, TrainConfig, load_config
from seg_perception.training.losses import (
    PixelTruth,
    balanced_boundary_loss,
    center_loss,
    offset_loss,
    semantic_loss,
)
from seg_perception.training.networks import make_network
from seg_perception.training.stream import TrainingStream
from seg_perception.training.validate import validate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the verb."""
    parser.add_argument("--config", type=Path, required=True, help="YAML file, see config/train")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and the log")
    parser.add_argument(
        "--data", help=f"folder that holds the data sets (default: data_root, else ${DATA_ROOT_VARIABLE})"
    )
    parser.add_argument("--steps", type=int, help="train this many steps in all instead of the configuration's")
    parser.add_argument("--stop-after", type=int, help="stop after this step, to go on later with --resume")
    parser.add_argument("--start-from", type=Path, help="begin with the averaged weights of this checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/last.pt")
    parser.add_argument("--json", type=Path, help="write the last validation here")


def run(arguments: argparse.Namespace) -> int:
    """Train; returns the exit code."""
    config = load_config(arguments.config, data_root=arguments.data, steps=arguments.steps)
    trainer = Trainer(config, CAMVID, arguments.out)
    if arguments.resume:
        trainer.resume()
    elif (arguments.out / "last.pt").exists():
        raise SegPerceptionError(f"{arguments.out} holds a training run already: add --resume, or choose another --out")
    elif arguments.start_from:
        trainer.start_from(arguments.start_from)
    metrics = trainer.train(min(config.steps, arguments.stop_after or config.steps))
    if arguments.json:
        arguments.json.write_text(json.dumps(metrics, indent=1))
    return 0


class Trainer:
    """A network in training with all that a resumed run needs to go on exactly as an uninterrupted one."""

    def __init__(self, config: TrainConfig, labels: LabelSet, out: Path) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.labels, self.out = config, labels, out
        self.out.mkdir(parents=True, exist_ok=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = make_network(config.network, len(labels))
        self.network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        decay = [p for p in self.network.parameters() if p.ndim > 1]
        rest = [p for p in self.network.parameters() if p.ndim <= 1]
        self.optimiser = torch.optim.AdamW(
            [{"params": decay}, {"params": rest, "weight_decay": 0.0}],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
        )
        self.stream = TrainingStream(config, labels, config.steps * config.batch_size)
        self.weights = torch.from_numpy(self.stream.class_weights()).to(self.device)
        self.bias = torch.from_numpy(self.stream.partial.bias).to(self.device)
        self.step = 0
        self.best = 0.0

    def train(self, until: int) -> dict[str, Any]:
        """Train up to this step, validating and saving on the way; returns the last validation's metrics."""
        metrics: dict[str, Any] = {}
        began = time.monotonic()
        with tqdm(total=self.config.steps, initial=self.step, unit="step", smoothing=0.05, mininterval=2) as bar:
            for batch in self._batches(until):
                losses = self._one_step(batch)
                bar.update()
                bar.set_postfix_str(" ".join(f"{name} {value:.3f}" for name, value in losses.items()))
                if self.step % 20 == 0:
                    self._log({"step": self.step, "seconds": round(time.monotonic() - began, 1), **losses})
                if self.step % self.config.validate_every == 0 or self.step == self.config.steps:
                    metrics = self._validate()
                    bar.write(f"step {self.step}: mIoU {metrics['miou']:.4f}")
                if self.step % self.config.checkpoint_every == 0 or self.step == until:
                    self._save("last.pt")
        return metrics

    def start_from(self, path: Path) -> None:
        """Take the averaged weights of another run as far as they fit, and nothing else of it.

        Layers that do not, and those that name the classes when these differ, keep their fresh weights.
        """
        content = checkpoint.load(path, self.config.network)
        own = self.network.state_dict()
        fresh = () if content["labels"] == self.labels.to_json() else self.network.class_layers
        taken = {
            name: value
            for name, value in content["average"].items()
            if name in own and own[name].shape == value.shape and not name.startswith(fresh)
        }
        for network in (self.network, self.average):
            network.load_state_dict(taken, strict=False)
        if len(taken) < len(own):
            tqdm.write(f"{len(taken)} of {len(own)} tensors come from {path}, the others start anew")

    def resume(self) -> None:
        """Take everything from OUT/last.pt."""
        content = checkpoint.load(self.out / "last.pt", self.config.network)
        self.network.load_state_dict(content["weights"])
        self.average.load_state_dict(content["average"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step, self.best = content["step"], content["best"]

    def _batches(self, until: int) -> Iterator[dict[str, Tensor]]:
        numbers = range(self.step * self.config.batch_size, until * self.config.batch_size)
        yield from DataLoader(
            self.stream,
            batch_size=self.config.batch_size,
            sampler=numbers,  # type: ignore[arg-type]
            num_workers=self.config.workers,
            prefetch_factor=4 if self.config.workers else None,
        )

    def _one_step(self, batch: dict[str, Tensor]) -> dict[str, float]:
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        parts = self._losses(batch)
        total = torch.stack(list(parts.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm)
        if not torch.isfinite(norm):
            worst = ", ".join(f"{name} {value.item():.3g}" for name, value in parts.items())
            raise SegPerceptionError(
                f"step {self.step}: the gradient is not finite ({worst}): lower learning_rate and resume"
            )
        self.optimiser.step()
        self.step += 1
        self._move_average()
        return {"loss": total.item(), **{name: value.item() for name, value in parts.items()}}

    def _losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        self.network.train()
        settings = self.config.loss
        output = self.network.training_outputs(batch["image"])
        codes = batch["codes"][:, :: settings.stride, :: settings.stride].long()
        truth = PixelTruth(codes, self.bias, self.weights, settings.hardest)

        def full(grid: Tensor) -> Tensor:
            return F.interpolate(grid, size=codes.shape[-2:], mode="bilinear", align_corners=False)

        losses = {
            "semantic": semantic_loss(full(output.logits), truth, settings.semantic),
            "center": settings.center * center_loss(output.heatmap_logits, batch["heatmap"], batch["heatmap_known"]),
            "offset": settings.offset * offset_loss(output.offset, batch["offset"], batch["offset_known"]),
        }
        for i, logits in enumerate(output.auxiliary_logits):
            losses[f"auxiliary{i}"] = semantic_loss(full(logits), truth, settings.auxiliary)
        if output.boundary_logits is not None:
            edge = batch["edge"][:, :: settings.stride, :: settings.stride]
            losses["boundary"] = settings.boundary * balanced_boundary_loss(full(output.boundary_logits), edge)
        return losses

    def _learning_rate(self) -> float:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warm_up_steps))
        return self.config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * self.step / self.config.steps))

    @torch.no_grad()
    def _move_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        states = self.average.state_dict().values(), self.network.state_dict().values()
        for mean, now in zip(*states, strict=True):
            if mean.dtype.is_floating_point:
                mean.lerp_(now, 1 - decay)
            else:
                mean.copy_(now)

    def _validate(self) -> dict[str, Any]:
        metrics = validate(self.average, self.config, self.labels)
        self._log({"step": self.step, "validation": metrics})
        if metrics["miou"] > self.best:
            self.best = metrics["miou"]
            self._save("best.pt")
        return metrics

    def _save(self, name: str) -> None:
        checkpoint.save(
            self.out / name,
            {
                "network": self.config.network,
                "labels": self.labels.to_json(),
                "size_hw": list(self.config.size_hw),
                "data": [source.name for source in self.config.data],
                "step": self.step,
                "best": self.best,
                "weights": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
        )

    def _log(self, row: dict[str, Any]) -> None:
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
