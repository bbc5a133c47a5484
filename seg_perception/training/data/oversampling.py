"""Images with rare classes, shown more often. NumPy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def repeat_factors(present: NDArray[np.bool_], below: float) -> NDArray[np.float64]:
    """float64 [I]: how much oftener than once an image is shown for the rarest class that it has.

    present: bool [I, K], which classes each image has. The factor of a class that the share f of the images has is
    max(1, sqrt(below / f)): repeat factor sampling (Gupta, Dollár and Girshick, LVIS, CVPR 2019, arXiv 1908.03195).
    """
    shares = present.mean(axis=0)
    factors = np.maximum(1.0, np.sqrt(below / np.maximum(shares, 1e-12)))
    return np.where(present, factors, 1.0).max(axis=1, initial=1.0)
