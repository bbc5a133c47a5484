"""How fast images are made, how fast a network learns from them, and how much memory that takes.

Loading and training take turns, so that neither disturbs the other and a machine that slows down slows both.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from seg_perception.training.config import load_config
from seg_perception.training.loop.trainer import Trainer

ROUNDS = 5
BATCHES_PER_WORKER = 4
WARM_UP_IMAGES = 256
"""Loaded first: from then on most rendered scenes that are shown are there already, as in a long run."""
SHORTEST_TRAINING_S = 1.0
FEWEST_STEPS = 2


def measure(config_path: Path, data_root: str | None) -> dict[str, Any]:
    """Time loader and training step of a configuration, with its workers and threads; medians over ROUNDS.

    peak_memory_gb (10^9 bytes): the most that this process held, with what its workers had for themselves in the end;
    peak_gpu_memory_gb: the most that tensors took on the GPU, where there is one.
    Frames without labels are left out. Raises SegPerceptionError as training itself does.
    """
    config = dataclasses.replace(load_config(config_path, data_root=data_root), unlabelled=None)
    with tempfile.TemporaryDirectory() as unused:
        trainer = Trainer(config, config.open_labels(), Path(unused))
        source = LoaderRounds(trainer)
        loading, training, private_bytes = [], [], 0
        for turn in tqdm(range(-1, ROUNDS), unit="round", desc="benchmark"):
            images_per_s, batch = source.round()
            private_bytes = max(private_bytes, sum(map(_private_bytes, multiprocessing.active_children())))
            learned_per_s = _train(trainer, batch)
            if turn >= 0:
                loading.append(images_per_s)
                training.append(learned_per_s)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + private_bytes
    numbers: dict[str, Any] = {
        "network": config.network,
        "crop_hw": list(config.crop_hw),
        "batch_size": config.batch_size,
        "workers": config.workers,
        "threads": torch.get_num_threads(),
        "loader_images_per_s": round(median(loading), 2),
        "training_images_per_s": round(median(training), 2),
        "loader_speedup": round(median(loading) / median(training), 2),
        "peak_memory_gb": round(peak / 1e9, 2),
    }
    if trainer.device.type == "cuda":
        numbers["peak_gpu_memory_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return numbers


class LoaderRounds:
    """Loads some batches at a time with the configuration's workers, which stay and rest in between."""

    def __init__(self, trainer: Trainer) -> None:
        config = trainer.config
        self._batch_size, self._workers = config.batch_size, max(1, config.workers)
        self._numbers = _Onwards(config.batch_size * self._workers * (1 + BATCHES_PER_WORKER))
        self._loader = DataLoader(
            trainer.stream,
            batch_size=config.batch_size,
            sampler=self._numbers,  # type: ignore[arg-type]
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
        )
        for _ in range(0, WARM_UP_IMAGES, len(self._numbers)):
            self.round()

    def round(self) -> tuple[float, dict[str, Tensor]]:
        """Images per second, and the last batch. The clock starts when each worker has given its first batch: from then
        on all are at work."""
        batches = iter(self._loader)
        for _ in range(self._workers):
            next(batches)
        began = perf_counter()
        last = deque(batches, maxlen=1).pop()
        images = self._batch_size * self._workers * BATCHES_PER_WORKER
        return images / (perf_counter() - began), last


class _Onwards:
    """A sampler that goes on where it stopped."""

    def __init__(self, count: int) -> None:
        self._count, self._next = count, 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        first, self._next = self._next, self._next + self._count
        return iter(range(first, self._next))


def _train(trainer: Trainer, batch: dict[str, Tensor]) -> float:
    """Images per second of training steps on a batch that is there."""
    began, steps = perf_counter(), 0
    while steps < FEWEST_STEPS or perf_counter() - began < SHORTEST_TRAINING_S:
        trainer.one_step(batch)
        steps += 1
    return steps * trainer.config.batch_size / (perf_counter() - began)


def _private_bytes(process: Any) -> int:
    """Memory that a process shares with no other; what it still has in common with its parent does not count twice."""
    rows = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return 1024 * sum(int(row.split()[1]) for row in rows if row.startswith("Private_"))
