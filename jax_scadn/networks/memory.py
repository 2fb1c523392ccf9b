"""Memory of normal codes, addressed by each position of a feature map (MemAE).

Gong et al., Memorizing Normality to Detect Anomaly: Memory-Augmented Deep Autoencoder
for Unsupervised Anomaly Detection, ICCV 2019.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers

SIMILARITIES = ("cosine", "product")

_EPS = 1e-12


def shrink(weights_bhwn: jax.Array, threshold: jax.Array | float) -> jax.Array:
    """Hard shrinkage w -> max(w - l, 0) w / (|w - l| + eps), then weights of sum 1.

    Weights above the threshold keep their value before the sum is made 1; where none is
    above it, all are 0.

    Args:
      weights_bhwn: not negative.
      threshold: l.
    """
    above = weights_bhwn - threshold
    kept = nn.relu(above) * weights_bhwn / (jnp.abs(above) + _EPS)
    return kept / jnp.maximum(jnp.sum(kept, axis=-1, keepdims=True), _EPS)


class Memory(nn.Module):
    """Replaces each code by a weighted mean of few items.

    With z a code and m_i an item, w = softmax over i of d(z, m_i), and the output is
    sum_i shrink(w)_i m_i. All of it is float32.

    Attributes:
      items: N, how many.
      similarity: d: 'cosine', as in the paper, or 'product', the inner product, as in
        the authors' code.
      shrinkage: N l, the threshold as a multiple of the mean weight, 1 / N.
    """

    items: int
    similarity: str = "cosine"
    shrinkage: float = 1.0

    @nn.compact
    def __call__(self, codes_bhwc: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Codes from the memory, and the weights (B, H, W, N)."""
        channels = codes_bhwc.shape[-1]
        items = self.param("items", _uniform, (self.items, channels))
        codes, addresses = layers.at_least_float32(codes_bhwc), items
        if self.similarity == "cosine":
            codes, addresses = _unit(codes), _unit(items)
        weights = nn.softmax(codes @ addresses.T)
        weights = shrink(weights, self.shrinkage / self.items)
        return (weights @ items).astype(codes_bhwc.dtype), weights


def _uniform(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """From U(-1 / sqrt C, 1 / sqrt C)."""
    most = shape[1] ** -0.5
    return jax.random.uniform(key, shape, minval=-most, maxval=most)


def _unit(x: jax.Array) -> jax.Array:
    """Each vector divided by its length; the gradient is finite at 0."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(squared + _EPS)
