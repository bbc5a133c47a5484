"""A GPU that holds what a network said, with the steps around it."""

from __future__ import annotations

import numpy as np
import pytest
from fake_cuda import FakeCudaRuntime, FakeDriver, FakeNvrtc
from fakes import model_info

from seg_perception.backends.base import OnDevice
from seg_perception.backends.cuda.driver import Cuda, DeviceMemory, Stream
from seg_perception.backends.cuda.kernels import CudaKernels
from seg_perception.backends.cuda.steps import CudaSteps
from seg_perception.labels import LabelClass, LabelSet
from seg_perception.model_file import OUTPUTS
from seg_perception.panoptic.decoder import PanopticSettings
from seg_perception.results import Wants

EXTRA = Wants(instances=True, confidence=True)
ALL = PanopticSettings(min_stuff_area=0.0)


class Device:
    """A GPU that holds a given output of a network: the fake one, or with library None the machine's own. backwards:
    the order in which a kernel's threads run."""

    def __init__(self, library, labels, output, backwards=False, stride=8):
        if library is None:
            cuda, compiled = Cuda(), ()
        else:
            self.runtime = FakeCudaRuntime()
            self.driver = FakeDriver(self.runtime)
            self.driver.backwards = backwards
            cuda, compiled = Cuda(self.runtime), (FakeNvrtc(library), self.driver)
        self.count, _, h, w = output.semantic_logits.shape
        self.labels, self.stride = labels, stride
        model = model_info(labels, (stride * h, stride * w), stride)
        stream = Stream(cuda)
        tensors = {"image": DeviceMemory(stream, (self.count, *model.size_hw, 3), np.uint8)}
        for name in OUTPUTS:
            values = getattr(output, name)
            tensors[name] = DeviceMemory(stream, values.shape, values.dtype)
            tensors[name].fill(values)
        self.steps = CudaSteps(model, CudaKernels(cuda.gpu(), *compiled), stream, tensors, pytest.fail)

    def decode(self, size_hw, settings=ALL, wants=EXTRA, index=0):
        decoder = self.steps.decoder(self.labels, settings)
        return decoder.decode(OnDevice(self.count), index, size_hw, self.stride, wants)


def some_labels(classes):
    return LabelSet(tuple(LabelClass(i, f"c{i}", (i, i, i), thing=i % 2 == 1) for i in range(classes)))
