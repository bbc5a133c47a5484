"""What every backend can do. The rest of the program knows no more of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seg_perception.results import NetworkOutput


class Backend(Protocol):
    """Runs the network of one model file."""

    def infer(self, images: NDArray[np.uint8]) -> NetworkOutput:
        """Run the network on images, uint8 [N, h, w, 3] RGB at the model's size.

        The output may be views of buffers that the next call overwrites.
        """

    def warm_up(self) -> None:
        """Run once on an empty image, so that the first real frame is as fast as the rest."""

    def describe(self) -> Mapping[str, str]:
        """Short facts for the log and diagnostics: at least `backend`, `device`, `model`, `precision`."""

    def close(self) -> None:
        """Give back what the backend holds; it cannot be used afterwards. May be called twice."""
