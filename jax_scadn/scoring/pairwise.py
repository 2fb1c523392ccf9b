"""Distances of each row of one matrix to each row of another."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def squared_distances(a_nd: jax.Array, b_md: jax.Array) -> jax.Array:
    """Squared L2 distances, (n, m), not below 0.

    By |a|^2 + |b|^2 - 2 ab, which rounds to about 1e-7 of the squared norms: centre
    rows whose mean is far from 0.
    """
    products = jnp.matmul(a_nd, b_md.T, precision=jax.lax.Precision.HIGHEST)
    norms = jnp.sum(jnp.square(a_nd), axis=1)[:, None]
    others = jnp.sum(jnp.square(b_md), axis=1)[None]
    return jnp.maximum(norms + others - 2 * products, 0)
