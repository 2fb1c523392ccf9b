"""Partitions of an image into masked sets of cells (RIAD).

Zavrtanik et al., Reconstruction by inpainting for visual anomaly detection, Pattern
Recognition 112, 2021.
"""

from __future__ import annotations

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


def masked_copies(
    images_bhwc: jax.Array, masks_nhw: jax.Array, mask_value: float
) -> jax.Array:
    """Each image with each set masked, (B n, H, W, C); the copies of an image adjacent.

    Devices that share a batch keep the copies of their images.
    """
    masks_1nhw1 = masks_nhw[None, :, :, :, None].astype(images_bhwc.dtype)
    copies = masks.apply_mask(images_bhwc[:, None], masks_1nhw1, mask_value)
    return copies.reshape(-1, *images_bhwc.shape[1:])


def assemble(outputs_bhwc: jax.Array, masks_nhw: jax.Array) -> jax.Array:
    """Images of which each pixel is that of the copy in which it was masked.

    Args:
      outputs_bhwc: of the copies by `masked_copies`, (B n, H, W, C).
      masks_nhw: of a partition.

    Returns:
      (B, H, W, C).
    """
    masks_1nhw1 = masks_nhw[None, :, :, :, None].astype(outputs_bhwc.dtype)
    shape = (-1, len(masks_nhw), *outputs_bhwc.shape[1:])
    return jnp.sum(outputs_bhwc.reshape(shape) * masks_1nhw1, axis=1)
