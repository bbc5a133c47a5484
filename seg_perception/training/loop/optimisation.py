"""How the weights move: the optimiser, its learning rate at every step, and the average of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seg_perception.training.config import TrainConfig

try:
    from torch.amp import GradScaler
except ImportError:  # before torch 2.3
    from torch.cuda.amp import GradScaler  # type: ignore[assignment]

LEAST_SCALE = 1.0
"""Where fp16 gradients overflow although the loss is scaled by no more than this, training has diverged."""
REMEMBERED: dict[type, tuple[str, ...]] = {
    torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq"),
    torch.optim.SGD: ("momentum_buffer",),
}
"""What each optimiser keeps for the weights that it moves."""


def make_optimiser(network: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019, arXiv 1711.05101) or SGD; only weights of convolutions decay."""
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1]},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimiser == "sgd":
        return torch.optim.SGD(
            groups,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            nesterov=config.nesterov,
        )
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def take_state(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Go on with what another run's optimiser remembers of its gradients, by this one's settings, whose state would bring its
    own decay and momentum. Raises what torch raises for the state of an optimiser of another kind or of other weights, and
    ValueError for what torch takes, and stumbles over later."""
    settings = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(dict(state))
    for group, own in zip(optimiser.param_groups, settings, strict=True):
        group.update(own)
        for weights in group["params"]:
            _check_remembered(optimiser, weights)


def _check_remembered(optimiser: torch.optim.Optimizer, weights: Tensor) -> None:
    """Raises ValueError where an optimiser remembers of some weights anything but numbers of their shape, and the step."""
    if weights not in optimiser.state:  # they had no gradient
        return
    known = optimiser.state[weights]
    for name in REMEMBERED[type(optimiser)]:
        value, shape = known[name], () if name == "step" else weights.shape
        if value is None and name == "momentum_buffer":  # without momentum there is none
            continue
        if not isinstance(value, Tensor) or value.shape != shape or not torch.isfinite(value).all():
            raise ValueError(f"{name} of weights of the shape {list(weights.shape)} does not fit them")


def share_done(config: TrainConfig, step: int, trained_s: float) -> float:
    """How far training is, 0 to 1: of the minutes where these are set, else of the steps."""
    return min(1.0, trained_s / (60 * config.minutes) if config.minutes else step / config.steps)


def learning_rate(config: TrainConfig, step: int, done: float) -> float:
    """Of this step, counted from 0, where so much of training is done: a linear warm-up times the schedule, which ends
    at 0.

    cosine: Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983, without restarts; poly: Chen et al., DeepLab, TPAMI
    2018, arXiv 1606.00915.
    """
    share = (1 - done) ** config.poly_power if config.schedule == "poly" else 0.5 * (1 + math.cos(math.pi * done))
    return config.learning_rate * min(1.0, (step + 1) / max(1, config.warm_up_steps)) * share


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move every tensor of average towards network's, after this many steps; the first steps are forgotten sooner."""
    decay = min(decay, (1 + step) / (10 + step))
    for mean, now in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(now, 1 - decay)
        else:
            mean.copy_(now)


def can_scale_down(scaler: GradScaler) -> bool:
    """Whether gradients that are not finite may be those of a loss that was scaled up too much, as happens with fp16."""
    return scaler.is_enabled() and scaler.get_scale() > LEAST_SCALE


def divergence(step: int, losses: Mapping[str, float], last: Path) -> str:
    """What to say where the loss or its gradient is not finite. losses: by name, their sum as `loss`; last: the checkpoint."""
    parts = {name: value for name, value in losses.items() if name != "loss"}
    worst = max(parts, key=lambda name: math.inf if math.isnan(parts[name]) else abs(parts[name]))
    what = "gradient" if math.isfinite(losses["loss"]) else "loss"
    return f"step {step}: the {what} is not finite, its worst part is {worst} ({parts[worst]:.3g}): lower " + (
        f"learning_rate and --resume from {last}" if last.exists() else "learning_rate and train again"
    )
