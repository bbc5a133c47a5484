"""The training loop around network, optimiser and stream; what it keeps makes a resumed run equal an unbroken one."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from seg_perception.datasets import Dataset as LabelledImages
from seg_perception.errors import SegPerceptionError
from seg_perception.labels import LabelSet
from seg_perception.training.config import TrainConfig
from seg_perception.training.data.held_out import files_of, why_not_held_out
from seg_perception.training.data.stream import TrainingStream
from seg_perception.training.data.unlabelled import UnlabelledStream
from seg_perception.training.data.unusable import look_through
from seg_perception.training.distributed import mean_over_processes, rank, told_by_first, wait_for_all, world_size
from seg_perception.training.loop import checkpoint, optimisation
from seg_perception.training.loop.beginning import read_beginning
from seg_perception.training.loop.class_rows import same_classes, taken_rows, that_fit, which_go_on
from seg_perception.training.loop.common_end import CommonEnd
from seg_perception.training.loop.consistency import consistency_loss, mixed_images, pseudo_labels, ramped_weight, split
from seg_perception.training.loop.device import device_for, wrapped_for_processes
from seg_perception.training.loop.distillation import Teacher
from seg_perception.training.loop.interruption import end_as_by_ctrl_c
from seg_perception.training.loop.objective import Objective, refuse_missing_heads
from seg_perception.training.loop.optimisation import learning_rate, make_optimiser, move_average, share_done
from seg_perception.training.loop.steadiness import moves, next_frames, steady_losses
from seg_perception.training.loop.synced_batch_norm import synchronise_batch_norm
from seg_perception.training.loop.training_log import TrainingLog
from seg_perception.training.loop.validate import draw_first, validate
from seg_perception.training.networks import make_network
from seg_perception.training.networks.heads import PanopticNetwork, TrainingOutput, in_float32
from seg_perception.training.networks.pretrained import put_pretrained
from seg_perception.training.networks.unfolded import spread

LOG_EVERY = 20
"""Steps between two rows of the log."""

SPREAD_BATCHES = 8
"""Of images, from which the folded normalisations of a model file get their statistics."""


class Trainer:
    """A network in training. batch_size counts the images of all processes; the first process validates and saves.

    Raises SegPerceptionError when the machine cannot do what the configuration asks for.
    """

    def __init__(self, config: TrainConfig, labels: LabelSet, out: Path) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.labels, self.out = config, labels, out
        self.device = device_for(config)
        network = make_network(config.network, len(labels))
        refuse_missing_heads(network, config.loss)
        network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(network).eval().requires_grad_(False)
        self.network = network
        if world_size() > 1 and config.sync_batch_norm:
            synchronise_batch_norm(network)
        self.optimiser = make_optimiser(network, config)
        self.scaler = optimisation.GradScaler(enabled=config.precision == "fp16")
        self.stream = TrainingStream(config, labels, config.steps * config.batch_size)
        self.teacher = None if config.distill is None else Teacher(config, config.distill, labels, self.device)
        self.validation = self._validation_data()
        unlabelled = config.unlabelled
        self.frames = unlabelled and UnlabelledStream(config, unlabelled, config.steps * unlabelled.batch_size)
        weights = torch.from_numpy(self.stream.class_weights()).to(self.device)
        self._is_thing = torch.from_numpy(labels.is_thing[: len(labels)]).to(self.device)
        self.objective = Objective(config.loss, torch.from_numpy(self.stream.partial.bias).to(self.device), weights)
        self.step, self.validated, self.saved, self.best = 0, 0, 0, -1.0
        self._is_whole = True
        self.trained_s = 0.0
        self.origin = ""
        self.data_before: list[str] = []
        self.metrics: dict[str, Any] = {}
        self._outputs = wrapped_for_processes(_TrainingOutputs(network), self.device)

    def _validation_data(self) -> LabelledImages:
        """Hours before they are of use an absent or damaged label of them is refused, by the first process for all, and told which
        images are trained on too."""
        validation = self.config.open_source(self.config.validation, self.labels)
        told_by_first(lambda: look_through(validation))
        if rank() == 0:
            trained = set().union(*map(files_of, self.stream.datasets))
            if told := why_not_held_out(trained, files_of(validation)):
                tqdm.write(told)
        return validation

    @property
    def done(self) -> float:
        """How far training is, 0 to 1."""
        return share_done(self.config, self.step, self.trained_s)

    def train(self, until: int) -> None:
        """Train up to this step, or until all is done, validating and saving on the way; metrics holds the last
        validation afterwards. What was trained is saved where it is interrupted or stumbles between two steps, as over an image
        that is broken, or where memory ends."""
        with contextlib.ExitStack() as stack:
            log = None
            if rank() == 0:
                self.out.mkdir(parents=True, exist_ok=True)
                log = stack.enter_context(contextlib.closing(TrainingLog(self.out, self.step)))
            bar = stack.enter_context(self._progress_bar())
            end = CommonEnd(self._save_what_is_new)
            stack.enter_context(end.agreed())
            try:
                self._train(until, log, bar, end)
            except BaseException:
                if self._is_whole:
                    self._save_what_is_new()
                raise

    def _train(self, until: int, log: TrainingLog | None, bar: tqdm[Any], end: CommonEnd) -> None:
        began, before_s = time.monotonic(), self.trained_s
        if self._validation_is_due:  # of a run that was stopped in it, or is to end where it is
            self._validate(log, end)
            if log is not None:
                self._save_last()
        for batch in end.each(self.batches(until)) if self.done < 1 else ():
            with end.step():
                losses = self.one_step(batch)
                seconds = time.monotonic() - began
                self.trained_s = before_s + (_told(seconds) if self.config.minutes else seconds)
            bar.update()
            bar.set_postfix_str(" ".join(f"{name} {value:.3f}" for name, value in losses.items()), refresh=False)
            if log is not None and self.step % LOG_EVERY == 0:
                log.losses(self.step, self.trained_s, self.optimiser.param_groups[0]["lr"], losses)
            end.check()
            if self._validation_is_due:
                self._validate(log, end)
            ends = self.step == until or self.done >= 1
            if log is not None and (self.step % self.config.checkpoint_every == 0 or ends):
                self._save_last()
            if ends:
                break

    @property
    def _validation_is_due(self) -> bool:
        return self.validated < self.step and (self.step % self.config.validate_every == 0 or self.done >= 1)

    def _progress_bar(self) -> tqdm[Any]:
        total = None if self.config.minutes else self.config.steps
        return tqdm(total=total, initial=self.step, unit="step", smoothing=0.05, mininterval=1, disable=rank() > 0)

    def batches(self, until: int) -> Iterator[dict[str, Tensor]]:
        """This process' share of every batch from the present step to `until`, on the CPU; that of frames without labels
        beside it, under the names of UnlabelledStream."""
        labelled = self._loaded(self.stream, self.config.batch_size, until)
        if self.frames is None or self.config.unlabelled is None:
            yield from labelled
        else:
            frames = self._loaded(self.frames, self.config.unlabelled.batch_size, until)
            yield from (batch | more for batch, more in zip(labelled, frames, strict=True))

    def _loaded(self, stream: Dataset[dict[str, Tensor]], size: int, until: int) -> Iterator[dict[str, Tensor]]:
        share = size // world_size()
        mine = (step * size + rank() * share + i for step in range(self.step, until) for i in range(share))
        try:
            yield from DataLoader(
                stream,
                batch_size=share,
                sampler=mine,  # type: ignore[arg-type]
                num_workers=self.config.workers,
                prefetch_factor=4 if self.config.workers else None,
                pin_memory=self.device.type == "cuda",
                worker_init_fn=end_as_by_ctrl_c,
            )
        except SegPerceptionError as error:  # from a worker it comes with that one's traceback before the sentence
            raise SegPerceptionError(str(error).rpartition("SegPerceptionError: ")[2].strip()) from error

    def one_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """Learn from this process' share of a batch; returns the losses of the whole batch by name, their sum first.

        Raises SegPerceptionError, and leaves the weights as they are, when the loss or its gradient is not finite.
        """
        self._is_whole = False
        batch = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
        # Noise within the network, where one has any, belongs to the step as images do: a resumed run repeats it.
        torch.manual_seed(int(np.random.SeedSequence([self.config.seed, self.step, rank()]).generate_state(1)[0]))
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, self.step, self.done)
        losses = self._losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip_norm or math.inf)
        parts = mean_over_processes(
            torch.stack([total.detach(), *(loss.detach() for loss in losses.values())])
        ).tolist()
        values = dict(zip(("loss", *losses), parts, strict=True))
        if not (
            math.isfinite(values["loss"]) and (math.isfinite(norm.item()) or optimisation.can_scale_down(self.scaler))
        ):
            raise SegPerceptionError(optimisation.divergence(self.step, values, self.out / "last.pt"))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        move_average(self.average, self.network, self.config.ema_decay, self.step)
        self._is_whole = True
        return values

    def _losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        self.network.train()
        unlabelled, images = self.config.unlabelled, batch["image"]
        steady = self.config.steady if self.config.steady and self.config.steady.weight else None
        strong, again = images[:0], images[:0]
        if unlabelled is not None:
            strong = mixed_images(batch)
        if steady is not None:
            count = max(1, round(steady.share * len(images)))
            motion = moves(steady, count, (images.shape[1], images.shape[2]), self.device)
            again = next_frames(images[:count], motion, steady)
        with self._autocast():
            if unlabelled is not None:
                pseudo = pseudo_labels(self.average, batch, unlabelled.threshold)
            outputs = in_float32(self._outputs(torch.cat([images, strong, again])))
            answer = None if self.teacher is None else self.teacher.answer(images)
        output, of_strong, of_again = split(outputs, len(images), len(strong), len(again))
        losses = self.objective(output, batch)
        if unlabelled is not None:
            losses["unlabelled"] = ramped_weight(unlabelled, self.step) * consistency_loss(of_strong.logits, *pseudo)
        if steady is not None:
            (of_first,) = split(output, len(again))
            parts = steady_losses(of_first, of_again, motion, self._is_thing, self.config.loss)
            losses.update((name, steady.weight * loss) for name, loss in parts.items())
        if self.teacher is not None and answer is not None:
            losses.update(self.teacher.losses(output, answer))
        return losses

    def _autocast(self) -> contextlib.AbstractContextManager[None]:
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        if self.config.precision not in kinds:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=kinds[self.config.precision])

    def take_pretrained(self) -> None:
        """Give the backbone the weights that the configuration names, if any. Raises as put_pretrained."""
        if self.config.pretrained:
            self.origin = str(put_pretrained(self.network, self.config.network, self.config.pretrained))
            self.average.load_state_dict(self.network.state_dict())

    def start_from(self, path: Path) -> None:
        """Take the averaged weights of another run, or those of a model file (.onnx), as far as they fit, and nothing else.

        Layers that do not, and what names classes that the other has not, keep their fresh weights. Raises SegPerceptionError as
        read_beginning.
        """
        begun = told_by_first(lambda: read_beginning(path, self.network, self.config.network))
        own, of_classes = self.network.state_dict(), self.network.class_layers
        same = same_classes(self.labels, begun.labels)
        taken = that_fit(own, begun.weights, of_classes) | taken_rows(own, begun.weights, of_classes, same)
        self.network.load_state_dict(taken, strict=False)
        if begun.folded:
            spread(self.network, begun.folded, self._few_images())
        self.average.load_state_dict(self.network.state_dict())
        self.origin, self.data_before = begun.origin or self.origin, begun.data
        if rank() > 0:
            return
        if len(taken) < len(own):
            tqdm.write(f"{len(taken)} of {len(own)} tensors come from {path}, the others start anew")
        if begun.labels.names != self.labels.names:
            tqdm.write(which_go_on(self.labels, begun.labels, same))

    def _few_images(self) -> Iterator[Tensor]:
        for batch in self._loaded(self.stream, self.config.batch_size, self.step + SPREAD_BATCHES):
            yield batch["image"].to(self.device)

    def resume(self) -> None:
        """Take everything from OUT/last.pt. Raises SegPerceptionError when it is of another network, optimiser or labels."""
        path = self.out / "last.pt"
        content = told_by_first(lambda: checkpoint.load(path, self.config.network, to_resume=True))
        before = content.get("config", {})
        labels = LabelSet.from_json(content["labels"])
        if labels.names != self.labels.names:
            raise SegPerceptionError(
                f"{path} was trained for other classes: resume with its configuration, or begin a new --out with --start-from"
            )
        if before.get("optimiser", self.config.optimiser) != self.config.optimiser:
            raise SegPerceptionError(
                f"{path} was trained by {before['optimiser']}, the configuration names {self.config.optimiser}: resume "
                "with the one, or begin a new --out with --start-from"
            )
        checkpoint.put_weights(self.network, content["weights"])
        checkpoint.put_weights(self.average, content["average"])
        try:
            optimisation.take_state(self.optimiser, content["optimiser"])
        except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:  # as torch tells it
            raise SegPerceptionError(
                f"{path} holds no state of this optimiser ({error!r}): begin a new --out with --start-from"
            ) from error
        if self.scaler.is_enabled() and content.get("scaler"):
            self.scaler.load_state_dict(content["scaler"])
        self.step, self.best = content["step"], content["best"]
        self.validated, self.saved = content.get("validated", self.step), self.step
        self.trained_s, self.origin = content.get("trained_s", 0.0), content.get("pretrained", "")
        self.data_before, self.metrics = content["data"], content.get("metrics", {})
        changed = [key for key, value in self._plain_config().items() if key in before and before[key] != value]
        changed += ["what is said of the classes"] * (labels != self.labels)
        if changed and rank() == 0:
            tqdm.write(f"resumed at step {self.step} with other settings than before: {', '.join(changed)}")

    def _validate(self, log: TrainingLog | None, end: CommonEnd) -> None:
        """The first process, whose log it is, validates, and keeps the best; the others wait for it."""
        with end.alone():
            if log is not None:
                self._validate_here(log)
        self.validated = self.step
        wait_for_all()

    def _validate_here(self, log: TrainingLog) -> None:
        self.metrics = validate(self.average, self.validation, self.config.size_hw, self.labels)
        tqdm.write(f"step {self.step}: mIoU {self.metrics['miou']:.4f}")
        if self.metrics["miou"] > self.best:
            self._save("best.pt", self.metrics["miou"])
            self.best = self.metrics["miou"]
        log.validation(self.step, self.metrics)
        if log.shows_pictures:
            log.picture(self.step, draw_first(self.average, self.validation, self.config.size_hw, self.labels))

    def _save_what_is_new(self) -> None:
        """In the first process, what was trained since it last saved."""
        if rank() == 0 and self.saved < self.step:
            self._save_last()

    def _save_last(self) -> None:
        self._save("last.pt")
        self.saved = self.step

    def _save(self, name: str, best: float | None = None) -> None:
        """best: that of the file, where it is not yet that of the run."""
        checkpoint.save(
            self.out / name,
            {
                "network": self.config.network,
                "labels": self.labels.to_json(),
                "size_hw": list(self.config.size_hw),
                "data": self._data_names(),
                "config": self._plain_config(),
                "step": self.step,
                "trained_s": self.trained_s,
                "pretrained": self.origin,
                "best": self.best if best is None else best,
                "validated": self.validated,
                "metrics": self.metrics,
                "weights": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
            },
        )

    def _data_names(self) -> list[str]:
        """Of all that the weights learned from, each once: the licence of what came before, of what a teacher learned from and
        of frames without labels may bind them too."""
        names = [*self.data_before, *(source.name for source in self.config.data)]
        if self.teacher is not None:
            names += self.teacher.data
        if self.config.unlabelled is not None:
            names += [f"unlabelled {Path(words).name}" for words in self.config.unlabelled.sources]
        return list(dict.fromkeys(names))

    def _plain_config(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self.config)))
        return plain


class _TrainingOutputs(nn.Module):
    """A network seen from the losses, since DistributedDataParallel watches forward() alone."""

    def __init__(self, network: PanopticNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> TrainingOutput:
        return self.network.training_outputs(image)


def _told(seconds: float) -> float:
    """The first process' own, so that all end with the same step."""
    return told_by_first(lambda: seconds)
