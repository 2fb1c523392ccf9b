"""UTAD's latent discriminator T: whether features and code are of the same image."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers


class LatentDiscriminator(nn.Module):
    """MLP of four layers on the last axis; returns logits, T is their sigmoid.

    For the local bound (one pair per position) and the global one (one flattened pair
    per image); `mutual_information` builds the pairs.

    Attributes:
      width: of the hidden layers; the public code uses at most 128, and not more than
        the length of the code z.
      dtype: of the computation; the logits are float32.
    """

    width: int = 128
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, pairs: jax.Array) -> jax.Array:
        """Pairs (..., C + L) -> logits (...)."""
        x = pairs
        for i in range(3):
            x = nn.relu(self._linear(self.width, layers.HE_INIT, f"linear_{i}")(x))
        # Small, so that an untrained T is undecided: its loss starts at 2 log 2.
        logits = self._linear(1, layers.WEIGHT_INIT, "linear_3")(x)
        return layers.at_least_float32(logits[..., 0])

    def _linear(self, features: int, init, name: str) -> nn.Dense:
        return nn.Dense(features, kernel_init=init, dtype=self.dtype, name=name)
