"""What is odd about images that are run all the same: too dark for their bits."""

from __future__ import annotations

from seg_perception.ros.stamps import Doubt

FULL_DEPTH, DIM, DIM_IMAGES = 16, 4096, 30
"""So many images in a row below that value, of 16 bit, are doubted to use them all."""


class ImageDoubts:
    """Looks at one camera's images in their order. bit_depth: that they are said to use."""

    def __init__(self, bit_depth: int) -> None:
        self._bit_depth, self._dim_images = bit_depth, 0

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
