"""Training steps on the GPU: the project's network, losses and optimiser, on a batch of rendered frames."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seg_perception.gpu_check import scenes
from seg_perception.gpu_check.lab import Lab
from seg_perception.labels import CAMVID
from seg_perception.training.config import DataSource, TrainConfig
from seg_perception.training.data.targets import PartialLabels, boundaries, center_targets
from seg_perception.training.loop.objective import Objective
from seg_perception.training.loop.optimisation import make_optimiser
from seg_perception.training.networks import make_network
from seg_perception.training.networks.heads import in_float32

DISTINCT = 4
"""Rendered frames in a batch; the rest repeats them."""


def check(lab: Lab) -> None:
    """In bfloat16, then in float32."""
    size_hw, batch_size = ((64, 96), 2) if lab.quick else ((352, 480), 16)
    batch = _batch(size_hw, batch_size, lab.libraries.torch_device)
    for name, kind in (("bf16", torch.bfloat16), ("fp32", None)):
        if lab.left_s < 8 and not lab.quick:
            lab.leave_out(name, "no time left")
            continue
        with lab.part(name):
            _steps(lab, name, kind, batch)


def _steps(lab: Lab, name: str, kind: torch.dtype | None, batch: Mapping[str, Tensor]) -> None:
    device, count = lab.libraries.torch_device, len(batch["image"])
    torch.manual_seed(0)
    config = TrainConfig(data=(DataSource("synthetic"),), validation=DataSource("synthetic"))
    partial = PartialLabels(CAMVID)
    network = make_network(config.network, len(CAMVID)).to(device, memory_format=torch.channels_last).train()
    optimiser = make_optimiser(network, config)
    objective = Objective(config.loss, torch.from_numpy(partial.bias).to(device), torch.ones(256, device=device))

    def step() -> float:
        with torch.autocast(device, dtype=kind, enabled=kind is not None):
            output = network.training_outputs(batch["image"])
        loss = torch.stack(list(objective(in_float32(output), batch).values())).sum()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.item()

    losses = [step() for _ in range(1 if lab.quick else 4)]
    began, seconds = time.perf_counter(), 0.0 if lab.quick else 4.0
    steps = 0
    while not steps or time.perf_counter() - began < seconds:
        losses.append(step())
        steps += 1
    rate = steps * count / (time.perf_counter() - began)
    peak_gb = torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0
    height, width = batch["image"].shape[1:3]
    lab.check(
        f"PIDNet-S, {count} images of {width}x{height}, {name}",
        bool(np.isfinite(losses).all()) and (losses[-1] < losses[0] or lab.quick),
        f"{rate:.1f} images/s, {peak_gb:.1f} GB, loss {losses[0]:.2f} to {losses[-1]:.2f}",
    )
    lab.keep(**{name: {"images_per_s": rate, "peak_gb": peak_gb, "losses": [losses[0], losses[-1]]}})


def _batch(size_hw: tuple[int, int], count: int, device: str) -> dict[str, Tensor]:
    """What TrainingStream gives, stacked, on the device."""
    config = TrainConfig(data=(DataSource("synthetic"),), validation=DataSource("synthetic"))
    frames = scenes.drive(size_hw, min(count, DISTINCT))
    items: list[dict[str, NDArray[Any]]] = []
    for frame in frames:
        unknown = np.isin(frame.semantic, np.flatnonzero(CAMVID.is_thing)) & (frame.instance == 0)
        centers = center_targets(frame.instance, unknown, scenes.STRIDE, config.loss.center_sigma_px)
        items.append(
            {
                "image": frame.rgb,
                "codes": frame.semantic,
                "edge": boundaries(frame.semantic),
                "heatmap": centers.heatmap,
                "heatmap_known": centers.heatmap_known,
                "offset": centers.offset,
                "offset_known": centers.offset_known,
            }
        )
    return {
        name: torch.from_numpy(np.stack([items[i % len(items)][name] for i in range(count)])).to(device)
        for name in items[0]
    }
