"""Losses of the weights with which a memory is read."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_EPS = 1e-12


def entropy(weights_bhwn: jax.Array) -> jax.Array:
    """Mean over positions of -sum_i w_i log w_i, nats (MemAE, Eq. 9).

    Args:
      weights_bhwn: not negative, of sum 1.
    """
    terms = weights_bhwn * jnp.log(weights_bhwn + _EPS)
    return -jnp.mean(jnp.sum(terms, axis=-1))
