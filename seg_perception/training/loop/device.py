"""What this process computes on, alone or with others."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from seg_perception.errors import SegPerceptionError
from seg_perception.training.config import TrainConfig
from seg_perception.training.distributed import world_size


def device_for(config: TrainConfig) -> torch.device:
    """The GPU that this process owns, or the CPU. Raises SegPerceptionError when it cannot do what config asks for."""
    if config.batch_size % world_size():
        raise SegPerceptionError(
            f"batch_size {config.batch_size} cannot be divided among {world_size()} processes: choose a multiple of it"
        )
    if config.unlabelled is not None and config.unlabelled.batch_size % world_size():
        raise SegPerceptionError(
            f"unlabelled.batch_size {config.unlabelled.batch_size} cannot be divided among {world_size()} processes: choose a "
            "multiple of it"
        )
    if config.batch_size == world_size() > 1 and not config.sync_batch_norm:
        raise SegPerceptionError(
            f"batch_size {config.batch_size} leaves each of {world_size()} processes one image, of which batch normalisation "
            "learns nothing: set sync_batch_norm to true, or choose a larger batch_size"
        )
    if torch.cuda.is_available():
        if config.precision == "bf16" and not torch.cuda.is_bf16_supported():
            raise SegPerceptionError("precision bf16 is not for this GPU, which is older than Ampere: use fp16 or fp32")
        torch.backends.cudnn.benchmark = True  # every batch has the same shape
        return torch.device("cuda", torch.cuda.current_device())
    if config.precision == "fp16":
        raise SegPerceptionError("precision fp16 needs a GPU, and none was found: use bf16 or fp32")
    return torch.device("cpu")


def wrapped_for_processes(outputs: nn.Module, device: torch.device) -> nn.Module:
    """With gradients that are the mean of all processes'."""
    if world_size() == 1:
        return outputs
    return DistributedDataParallel(
        outputs,
        device_ids=[device] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )
