"""Coresets: few points that are near to all others."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

_PROJECTED = 128  # dimensions in which distances are compared


def greedy_k_center(key: jax.Array, points_nd: np.ndarray, count: int) -> np.ndarray:
    """Indices of points, each as far from the ones before as any is.

    Distances are those of a random projection to 128 dimensions, which keeps them
    within a few per cent (Johnson and Lindenstrauss).

    Source: Roth et al., Towards Total Recall in Industrial Anomaly Detection
    (PatchCore), CVPR 2022, Algorithm 1.

    Args:
      key: of the first point and the projection.
      points_nd: (n, D).
      count: how many; at most n are returned.
    """
    first, projection = jax.random.split(key)
    points = jnp.asarray(points_nd, jnp.float32)
    if points.shape[1] > _PROJECTED:
        shape = (points.shape[1], _PROJECTED)
        directions = jax.random.normal(projection, shape) / np.sqrt(_PROJECTED)
        points = points @ directions
    start = jax.random.randint(first, (), 0, len(points))
    return np.asarray(_farthest(points, start, min(count, len(points))))


@functools.partial(jax.jit, static_argnums=2)
def _farthest(points: jax.Array, start: jax.Array, count: int) -> jax.Array:
    squared = jnp.sum(jnp.square(points), axis=1)

    def add(carry, _):
        nearest, chosen = carry
        distances = squared + squared[chosen] - 2 * points @ points[chosen]
        nearest = jnp.minimum(nearest, distances)
        return (nearest, jnp.argmax(nearest)), chosen

    most = jnp.full(len(points), jnp.inf)
    _, chosen = jax.lax.scan(add, (most, start), None, length=count)
    return chosen
