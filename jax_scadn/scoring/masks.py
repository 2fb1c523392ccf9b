"""Striped masks of SCADN: 1 where pixels are masked, 0 where they are visible."""

import numpy as np

MASKS_PER_SCALE = 4


def striped(size: int, stripe_pairs: tuple[int, ...]) -> np.ndarray:
    """Masks of every scale: vertical, its complement, horizontal, its complement.

    With k stripe pairs a stripe is size / (2k) pixels wide; the first vertical mask
    of a scale masks the stripe at column 0, the first horizontal mask the stripe at
    row 0. If 2k does not divide the size, the stripes are those of the 512-pixel mask,
    resized by nearest neighbour.

    Args:
      size: height and width in pixels.
      stripe_pairs: k of each scale, from wide stripes to narrow ones.

    Returns:
      (4 * scales, size, size) float32 of zeros and ones.
    """
    masks = []
    for pairs in stripe_pairs:
        stripe = np.arange(size) * 2 * pairs // size
        masked = (stripe % 2 == 0).astype(np.float32)
        vertical = np.broadcast_to(masked, (size, size))
        horizontal = vertical.T
        masks += [vertical, 1 - vertical, horizontal, 1 - horizontal]
    return np.stack(masks)


def apply_mask(images_bhwc, masks_bhw1, mask_value):
    """Sets the masked pixels to one value: x (1 - m) + mask_value m."""
    return images_bhwc * (1 - masks_bhw1) + mask_value * masks_bhw1
