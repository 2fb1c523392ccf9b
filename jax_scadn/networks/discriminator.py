"""SCADN's discriminator: a spectral-normalised PatchGAN."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers


class Discriminator(nn.Module):
    """Five 4x4 convolutions; one logit for each patch.

    Attributes:
      width: channels of the first layer; 2, 4 and 8 times as many follow.
      power_iterations: of spectral norm, in each forward pass of training.
      dtype: of the computation; the logits are float32.
    """

    width: int = 64
    power_iterations: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Logits (B, H', W', 1) and the features of the layers before them."""
        x = images_bhwc
        features = []
        for i, stride in enumerate((2, 2, 2, 1)):
            x = self._conv(self.width << i, stride, f"conv_{i}")(x)
            x = nn.leaky_relu(x, 0.2)
            features.append(x)
        logits = self._conv(1, 1, "conv_4")(x)
        return layers.at_least_float32(logits), features

    def _conv(self, features: int, stride: int, name: str) -> layers.SpectralConv:
        return layers.SpectralConv(
            features,
            stride=stride,
            power_iterations=self.power_iterations,
            dtype=self.dtype,
            name=name,
        )
