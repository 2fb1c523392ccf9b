"""Smoothing of anomaly maps: Gaussian means, and means over squares."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

_RADIUS = 4  # standard deviations after which the window ends


def gaussian(maps_bkhw: jax.Array, sigma: float) -> jax.Array:
    """Gaussian mean over the last two axes; the same map where sigma is 0.

    Beyond the border maps are continued by reflection, their edge repeated.

    Args:
      maps_bkhw: (..., H, W).
      sigma: standard deviation, pixels.
    """
    if not sigma:
        return maps_bkhw
    radius = math.ceil(_RADIUS * sigma)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return _weighted_mean(maps_bkhw, weights / weights.sum())


def mean(maps_bkhw: jax.Array, side: int) -> jax.Array:
    """Mean over a square around each pixel; the same map where its side is 1.

    Beyond the border maps are continued as by `gaussian`.

    Args:
      maps_bkhw: (..., H, W).
      side: of the square, pixels; odd.
    """
    if side == 1:
        return maps_bkhw
    return _weighted_mean(maps_bkhw, np.full(side, 1 / side))


def _weighted_mean(maps_bkhw: jax.Array, weights: np.ndarray) -> jax.Array:
    """Weighted mean along both of the last axes, by an odd number of weights.

    As matrix products of full precision, since GPUs round convolutions to 10 bits.
    """
    radius = len(weights) // 2
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
