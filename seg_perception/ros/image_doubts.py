"""What is odd about images that are run all the same: too dark for their bits, or of another shape than the engine's."""

from __future__ import annotations

import math

from seg_perception.model_file import ModelInfo
from seg_perception.ros.stamps import Doubt

MUCH = 1.1
"""A stretch of width against height by that is worth a word."""
FULL_DEPTH, DIM, DIM_IMAGES = 16, 4096, 30
"""So many images in a row below that value, of 16 bit, are doubted to use them all."""


class ImageDoubts:
    """Looks at one camera's images in their order. bit_depth: that they are said to use; open_model: the model file where
    it takes other sizes than the backend does."""

    def __init__(self, bit_depth: int, open_model: ModelInfo | None) -> None:
        self._bit_depth, self._open_model = bit_depth, open_model
        self._dim_images, self._told_hw = 0, (0, 0)

    def brightness(self, brightest: int | None) -> Doubt | None:
        """Of 16-bit images that use fewer bits than is said, and so are black. brightest: value of an image, None of 8 bit."""
        is_dim = brightest is not None and brightest < DIM and self._bit_depth == FULL_DEPTH
        self._dim_images = self._dim_images + 1 if is_dim else 0
        if self._dim_images < DIM_IMAGES:
            return None
        return Doubt(
            "dim_images",
            f"{self._dim_images} images of 16 bit in a row hold no value above {DIM - 1}, so are black: set "
            "image_bit_depth to the bits that the camera uses, 12 perhaps",
        )

    def shape(self, image_hw: tuple[int, int], model: ModelInfo) -> str:
        """Once a size, of images that an engine of another shape squeezes, else '': it is built for one size, and to build
        another takes minutes, so who runs the node decides."""
        if image_hw == self._told_hw:
            return ""
        self._told_hw = image_hw
        return shape_hint(image_hw, model, self._open_model)


def shape_hint(image_hw: tuple[int, int], model: ModelInfo, open_model: ModelInfo | None) -> str:
    """What to say of images that the backend's one size stretches where the model file has a better one; '' where it
    does not, or by less than MUCH."""
    if open_model is None:
        return ""
    (height, width), better = image_hw, open_model.size_for(image_hw)
    own, best = (abs(math.log(w / h * height / width)) for h, w in (model.size_hw, better))
    if own - best < math.log(MUCH):
        return ""
    used = f"{model.size_hw[1]}x{model.size_hw[0]}"
    return (
        f"images of {width}x{height} are squeezed to the engine's {used}, which costs accuracy: set network_size to "
        f"[{better[1]}, {better[0]}], for which an engine is built at the next start"
    )
