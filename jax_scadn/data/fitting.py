"""Makes images square."""

from __future__ import annotations

import numpy as np
from PIL import Image


def fit(
    image: Image.Image, size: int, resample: Image.Resampling, how: str
) -> Image.Image:
    """Makes an image square.

    Pillow's bilinear filter widens when reducing: it antialiases.

    Args:
      image: of any size.
      size: sides of the result, pixels.
      resample: Pillow's filter.
      how: 'squash' scales both sides. 'pad' scales the longer side and reflects the
        image at the ends of the shorter one; 'zeros' has zeros there. 'crop' scales
        the shorter side and takes the centre of the longer one, as torchvision's
        Resize(size) and CenterCrop(size).
    """
    width, height = image.size
    if how == "squash" or width == height:
        return image.resize((size, size), resample)
    if how == "crop":
        shorter = min(width, height)
        width, height = size * width // shorter, size * height // shorter
        image = image.resize((width, height), resample)
        left, top = round((width - size) / 2), round((height - size) / 2)
        return image.crop((left, top, left + size, top + size))
    longer = max(width, height)
    width, height = (max(1, round(size * side / longer)) for side in (width, height))
    pixels = np.asarray(image.resize((width, height), resample))
    sides = [((size - n) // 2, size - n - (size - n) // 2) for n in (height, width)]
    sides += [(0, 0)] * (pixels.ndim - 2)
    mode = "constant" if how == "zeros" else "symmetric"
    return Image.fromarray(np.pad(pixels, sides, mode))


def unseen(size: tuple[int, int], how: str) -> float:
    """The share of an image of that width and height that `fit` does not take."""
    return 1 - min(size) / max(size) if how == "crop" else 0.0
