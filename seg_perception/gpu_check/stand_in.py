"""A backend without TensorRT: the project's own steps on the GPU, around a network that something else stands in for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seg_perception.backends.base import OnDevice, tensor_shapes
from seg_perception.backends.cuda.driver import DeviceMemory, Stream, Transfer, Work, do_all
from seg_perception.backends.cuda.steps import CudaSteps
from seg_perception.gpu_check.lab import Lab
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo
from seg_perception.results import NetworkOutput

Network = Callable[[], object]
"""Queues on a stream what writes the network's outputs."""


class StandIn:
    """A DeviceBackend. network: None = the output that was given last, copied on the GPU. lines: what was logged."""

    def __init__(self, lab: Lab, model: ModelInfo) -> None:
        """Raises SegPerceptionError when the GPU has no memory, or the kernels do not compile."""
        self.model, self.lines = model, list[str]()
        self.stream = Stream(lab.cuda)
        shapes = tensor_shapes(model, 1)
        self.tensors = {name: Transfer(self.stream, *shapes[name]) for name in shapes}
        self._given = {name: DeviceMemory(self.stream, *shapes[name]) for name in OUTPUTS}
        for name in OUTPUTS:
            self._given[name].fill(np.zeros(*shapes[name]))
        self._steps = CudaSteps(model, lab.kernels, self.stream, self.tensors, self.lines.append)
        self._copies = Work(self.stream, self.copy_given, self.lines.append)
        self.network: Network = self._copies.run
        self._closed = False

    def give(self, output: NetworkOutput) -> None:
        """What the network shall say from now on."""
        for name in OUTPUTS:
            self._given[name].fill(getattr(output, name))

    def copy_given(self) -> None:
        """Queue the copy of the given output to where the network's goes."""
        kind = self.stream.cuda.runtime.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        for name, memory in self._given.items():
            self.stream.copy(self.tensors[name].address, memory.address, memory.bytes, kind)

    def network_input(self) -> NDArray[np.uint8]:
        """uint8 [h, w, 3]: what preprocessing wrote."""
        self.tensors[INPUT].to_host()
        self.stream.synchronize()
        return np.array(self.tensors[INPUT].array[0])

    def infer(self, images: Any) -> Any:
        """See DeviceSteps; images lie on the device."""
        if not isinstance(images, OnDevice):
            raise TypeError(f"images are {type(images).__name__}, expected OnDevice")
        self.network()
        self.stream.synchronize()
        return images

    def warm_up(self) -> None:
        """See Backend."""
        for _ in range(2):
            self.infer(OnDevice(1))

    def describe(self) -> Mapping[str, str]:
        """See Backend; the state of every graph by step."""
        return {"backend": "stand-in", "copies": self._copies.state, **dict(self._steps.graphs())}

    def device_steps(self) -> CudaSteps:
        """See DeviceBackend."""
        return self._steps

    def close(self) -> None:
        """See Backend. The kernels stay, for the next."""
        closed, self._closed = self._closed, True
        if closed:
            return
        memory = [*self.tensors.values(), *self._given.values()]
        self.tensors.clear()
        do_all(
            [
                self.stream.synchronize,
                self._copies.destroy,
                self._steps.release,
                *(piece.free for piece in memory),
                self.stream.destroy,
            ]
        )
