"""Batch normalisation with the statistics of all processes together (Peng et al., CVPR 2018, arXiv 1711.07240)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seg_perception.training.distributed import mean_over_processes, world_size


def synchronise_batch_norm(network: nn.Module) -> None:
    """Put a synchronised layer in the place of every batch normalisation, with its weights and names.

    On a GPU that is torch's own, which runs nowhere else.
    """
    if next(network.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.BatchNorm2d):
                synced = SyncedBatchNorm(child.num_features, child.eps, child.momentum)
                synced.load_state_dict(child.state_dict())
                setattr(parent, name, synced)


class SyncedBatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d over the batches of all processes, which must be of one shape; for the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, h, w] to the same shape and type; computed in float32."""
        if not self.training:
            return super().forward(x)
        values = x.float()
        mean = mean_over_processes(values.mean(dim=(0, 2, 3)))
        centered = values - mean[:, None, None]
        variance = mean_over_processes(centered.square().mean(dim=(0, 2, 3)))
        self._track(mean.detach(), variance.detach(), x.numel() // x.shape[1] * world_size())
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centered * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics that inference uses; their variance is the unbiased one."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        self.num_batches_tracked.add_(1)
