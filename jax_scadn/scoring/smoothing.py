"""Gaussian smoothing of anomaly maps."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

_RADIUS = 4  # standard deviations after which the window ends


def gaussian(maps_bkhw: jax.Array, sigma: float) -> jax.Array:
    """Gaussian mean over the last two axes; the same map where sigma is 0.

    Beyond the border maps are continued by reflection, their edge repeated. As matrix
    products of full precision, since GPUs round convolutions to 10 bits.

    Args:
      maps_bkhw: (..., H, W).
      sigma: standard deviation, pixels.
    """
    if not sigma:
        return maps_bkhw
    radius = math.ceil(_RADIUS * sigma)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (-2, -1):
        size = maps_bkhw.shape[axis]
        index = _reflected(np.arange(-radius, size + radius), size)
        matrix = np.zeros((size, size), np.float32)
        for row in range(size):
            np.add.at(matrix[row], index[row : row + 2 * radius + 1], weights)
        maps_bkhw = jnp.moveaxis(
            jnp.matmul(
                jnp.moveaxis(maps_bkhw, axis, -1),
                jnp.asarray(matrix.T),
                precision=jax.lax.Precision.HIGHEST,
            ),
            -1,
            axis,
        )
    return maps_bkhw


def _reflected(index: np.ndarray, size: int) -> np.ndarray:
    """Indices of an image continued by reflection, edge included."""
    index = index % (2 * size)
    return np.where(index < size, index, 2 * size - 1 - index)
