"""Several processes that train one network together, as `torchrun` starts them; without it, one that needs none of this.

What is a sum over a batch in one process is here a sum over the processes too, so that the result is the same however
many there are.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from seg_perception.errors import SegPerceptionError

PATIENCE = datetime.timedelta(hours=1)
"""How long the other processes wait while the first one validates and saves."""

_OF_TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")

T = TypeVar("T")


@contextmanager
def joined_processes() -> Iterator[None]:
    """Meets the other processes that torchrun started, nccl on GPUs and gloo on CPUs; leaves them at the end.

    Raises SegPerceptionError when a machine has fewer GPUs than processes, or a torch for one process only, and where the
    environment speaks of several processes that torchrun did not start.
    """
    if os.environ.get("WORLD_SIZE", "") in ("", "1"):
        yield
        return
    _check_environment()
    if not dist.is_available():  # as in some builds for Jetson
        raise SegPerceptionError("this torch was built without torch.distributed: train without torchrun")
    if torch.cuda.is_available():
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise SegPerceptionError(
                f"there are {gpus} GPUs for process {local} of this machine: give torchrun --nproc-per-node {gpus}"
            )
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    yield
    dist.destroy_process_group()  # not after an error: it would wait for processes that wait for this one


def _check_environment() -> None:
    """Managers of clusters set WORLD_SIZE for programs of their own."""
    lacking = [name for name in _OF_TORCHRUN if not os.environ.get(name)]
    if lacking or not os.environ["WORLD_SIZE"].isdecimal():
        told = f"without {', '.join(lacking)}" if lacking else "which is no number"
        raise SegPerceptionError(
            f"the environment has WORLD_SIZE={os.environ['WORLD_SIZE']} {told}: start training by torchrun, or unset WORLD_SIZE"
        )


def has_gpu() -> bool:
    """Whether there is one to train on."""
    return bool(torch.cuda.is_available())


def computes_bfloat16() -> bool:
    """Whether the GPU has bfloat16 in its hardware, as from Ampere on; torch imitates it on others, slowly, or refuses."""
    return bool(torch.cuda.get_device_capability()[0] >= 8)


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _together() else 1


def rank() -> int:
    """This process among all, from 0."""
    return dist.get_rank() if _together() else 0


def wait_for_all() -> None:
    """Returns when every process is here."""
    if _together():
        dist.barrier()


def any_of_all(is_so: bool) -> bool:
    """Whether it is so in any process; all must ask."""
    if not _together():
        return is_so
    count = torch.tensor(float(is_so), device=_device())
    dist.all_reduce(count)
    return count.item() > 0


def told_by_first(find: Callable[[], T]) -> T:
    """What find returns in the first process, which alone calls it; plain values and tensors. All raise the
    SegPerceptionError that it raises there."""
    if not _together():
        return find()
    told: list[Any] = [None, ""]
    if rank() == 0:
        try:
            told[0] = find()
        except SegPerceptionError as error:
            told[1] = str(error)
    dist.broadcast_object_list(told, src=0, device=_device())
    if told[1]:
        raise SegPerceptionError(told[1])
    found: T = told[0]
    return found


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, the same in each, with its gradient.

    A loss that divides its own sum by the mean of the counts, sum_r / mean(count_r), averages over the processes to the
    loss of the whole batch; and DistributedDataParallel averages gradients.
    """
    if not _together():
        return value
    summed: Tensor = _SumOverProcesses.apply(value if value.is_floating_point() else value.float())
    return summed / dist.get_world_size()


class _SumOverProcesses(torch.autograd.Function):
    """All-reduce in both directions: every process' result depends on every process' input."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        summed = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed


def _device() -> torch.device | None:
    """Where what processes tell each other must lie; None: anywhere."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else None


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
