"""Partitions of an image into masked sets of cells (RIAD).

Zavrtanik et al., Reconstruction by inpainting for visual anomaly detection, Pattern
Recognition 112, 2021.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import convolution
from jax_scadn.scoring import masks


def draw(key: jax.Array, size: int, cell: int, sets: int) -> jax.Array:
    """Random disjoint sets of cells, which together cover the image.

    The image is a grid of cells; each set has as many of them as the others, or one
    more.

    Args:
      key: of the draw.
      size: of the image, pixels, both sides.
      cell: side of a cell, pixels; divides the size.
      sets: n, how many.

    Returns:
      (n, size, size) masks: 1 at the set's cells, 0 elsewhere.

    Raises:
      ValueError: the cell does not divide the size.
    """
    if size % cell:
        raise ValueError(f"cells of {cell} pixels do not divide {size}")
    side = size // cell
    order = jnp.argsort(jax.random.bits(key, (side**2,)))
    set_of_cell = (order % sets).reshape(1, side, side, 1)
    set_of_pixel = convolution.upsample_nearest(set_of_cell, cell)[0, :, :, 0]
    return jax.nn.one_hot(set_of_pixel, sets, axis=0)


def draw_any(key: jax.Array, size: int, cells: tuple[int, ...], sets: int) -> jax.Array:
    """`draw` with a cell size drawn from some, each as likely as the others."""
    which, *keys = jax.random.split(key, len(cells) + 1)
    masks_knhw = jnp.stack(
        [draw(key, size, cell, sets) for key, cell in zip(keys, cells, strict=True)]
    )
    return masks_knhw[jax.random.randint(which, (), 0, len(cells))]


def inpaint(
    network: Callable[[jax.Array], jax.Array],
    images_bhwc: jax.Array,
    masks_mhw: jax.Array,
    mask_value: float,
) -> jax.Array:
    """The network's output under each mask, at the masked pixels; 0 elsewhere.

    The sum over the masks of a partition is the image inpainted entirely: every pixel
    while it was masked.

    Args:
      network: of masked images.
      images_bhwc: in [0, 1].
      masks_mhw: 1 where pixels are masked.
      mask_value: of masked pixels.

    Returns:
      (M, B, H, W, C).
    """

    def under_mask(mask_hw):
        mask = mask_hw[None, :, :, None].astype(images_bhwc.dtype)
        return mask * network(masks.apply_mask(images_bhwc, mask, mask_value))

    return jax.lax.map(under_mask, masks_mhw)
