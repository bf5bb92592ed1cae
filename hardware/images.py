"""Images at the size that a policy sees: one way to make them smaller, for training and for running alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hardware.errors import ConfigError


def fit_image(image: NDArray[np.uint8], *, height: int, width: int, where: str) -> NDArray[np.uint8]:
    """Give an image another size: its middle in the wanted shape, averaged over the area of each new pixel.

    Nothing is stretched and nothing is made up: what is too wide or too high loses as much on both sides.
    An image of the wanted size is handed on as it is.

    Args:
        image: shape (H, W, 3), uint8.
        height: of the result, pixels, at most H.
        width: of the result, pixels, at most W.
        where: whose image it is, for the error.

    Returns:
        Shape (height, width, 3), uint8; the image itself where it has that size.

    Raises:
        ConfigError: the image is smaller than that, or is none.
    """
    if image.shape == (height, width, 3):
        return image
    if not fits(image.shape, height=height, width=width):
        raise ConfigError(
            f"an image of shape {image.shape}",
            where=where,
            expected=f"at least {height} x {width} pixels in three colours",
            mend=f"set the camera to {height} x {width} pixels or more, or train a policy for smaller images",
        )
    # Where it is used: whoever has no camera needs no imaging library.
    from PIL import Image

    rows, columns = image.shape[:2]
    scale = min(rows / height, columns / width)
    top, left = (rows - scale * height) / 2, (columns - scale * width) / 2
    box = (left, top, left + scale * width, top + scale * height)
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX, box=box)
    return np.asarray(small)


def fits(shape: tuple[int, ...], *, height: int, width: int) -> bool:
    """Whether an image of that shape can be made one of this size.

    Args:
        shape: (H, W, 3).
        height: wanted, pixels.
        width: wanted, pixels.
    """
    return len(shape) == 3 and shape[2] == 3 and shape[0] >= height and shape[1] >= width
