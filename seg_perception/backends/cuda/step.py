"""What the steps on the GPU have in common: tensors of the network that they share, and work that runs as graphs."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from seg_perception.backends.cuda.driver import DeviceMemory, Stream, Work, do_all
from seg_perception.backends.cuda.kernels import CudaKernels
from seg_perception.model_file import ModelInfo


@dataclass(eq=False)
class Surroundings:
    """What a backend's steps work on. tensors: the network's, by name."""

    model: ModelInfo
    kernels: CudaKernels
    stream: Stream
    tensors: Mapping[str, DeviceMemory]
    log: Callable[[str], None]
    closed: bool = field(default=False, init=False)

    def check_open(self) -> None:
        """Raise RuntimeError after the backend was closed."""
        if self.closed:
            raise RuntimeError("the backend is closed")


class CudaStep:
    """A step of one pipeline around the network."""

    name: ClassVar[str]

    def __init__(self, steps: Surroundings) -> None:
        self._steps = steps
        self._works: dict[Hashable, Work] = {}

    def works(self) -> list[Work]:
        """What it queues, of the present sizes."""
        return list(self._works.values())

    def close(self) -> None:
        """Give back what it holds on the GPU."""
        raise NotImplementedError

    def _forget_works(self) -> None:
        works, self._works = self.works(), {}
        if works:
            do_all([self._steps.stream.synchronize, *(work.destroy for work in works)])
