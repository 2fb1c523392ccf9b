"""Random keys of other generators, derived from a run's key."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def rbg(key: jax.Array) -> jax.Array:
    """The key of XLA's own generator with the same seed.

    With JAX's default one a CPU core takes a second to compile each parameter's draw.

    Args:
      key: of `jax.random.key(seed)`; gives `jax.random.key(seed, impl="rbg")`.
    """
    half = jax.random.key_data(key)
    return jax.random.wrap_key_data(jnp.concatenate([half, half]), impl="rbg")
