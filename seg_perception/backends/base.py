"""What every backend can do. The rest of the program knows no more of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from seg_perception.labels import LabelSet
from seg_perception.model_file import INPUT, OUTPUTS, ModelInfo
from seg_perception.panoptic.decoder import Decoder, PanopticSettings
from seg_perception.panoptic.steadier import SteadyGrid
from seg_perception.results import Frame, NetworkOutput

PRECISION_CHOICES = ("auto", "fp32", "fp16")
AUTO_PRECISION = PRECISION_CHOICES[0]
"""float16 on TensorRT for a float32 file, and what the file states for others."""


class Backend(Protocol):
    """Runs the network of one model file. model: what it runs, of one size where it was built for one."""

    model: ModelInfo

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """Run the network on images, uint8 [N, h, w, 3] RGB at the model's size.

        The output may be views of buffers that the next call overwrites.
        """

    def warm_up(self) -> None:
        """Run once on an empty image, so that the first real frame is as fast as the rest."""

    def describe(self) -> Mapping[str, str]:
        """Short facts for the log and diagnostics: at least `backend`, `device`, `model`, `precision`; `fallback`
        where it runs in another one's place, and why."""

    def close(self) -> None:
        """Give back what the backend holds; it cannot be used afterwards. May be called twice."""


@dataclass(frozen=True)
class OnDevice:
    """The first `count` images, or the network's outputs for them, in a backend's own memory on its device."""

    count: int


class DeviceSteps(Protocol):
    """The steps before and after the network on a backend's device, for pipelines that run one after the other."""

    def preprocessor(self) -> Callable[[Frame, int], OnDevice]:
        """What Preprocessor does, to one image of the network's input, by its index; `infer` then takes the result, and with
        it the images before."""

    def decoder(self, labels: LabelSet, settings: PanopticSettings) -> Decoder:
        """What PanopticDecoder does, with what `infer` then returns."""

    def steady_grid(self, labels: LabelSet) -> SteadyGrid:
        """What HostGrid does, with what `infer` then returns."""


@runtime_checkable
class DeviceBackend(Protocol):
    """A backend that may take all of a frame's way to its masks, so that only images and masks cross the bus."""

    def device_steps(self) -> DeviceSteps | None:
        """The steps beside the network, None where they cannot run there: `describe` says why."""


def tensor_shapes(model: ModelInfo, batch: int) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """Shape and type of every tensor of a model file, by name, for runs of batch images."""
    outputs = zip(OUTPUTS, (len(model.labels), 1, 2))
    return {
        INPUT: ((batch, *model.size_hw, 3), np.uint8),
        **{name: ((batch, channels, *model.grid_hw), np.float32) for name, channels in outputs},
    }
