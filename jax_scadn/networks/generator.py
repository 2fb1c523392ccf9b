"""SCADN's generator: inpaints masked stripes; and the autoencoder of its MemAE."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks import memory
from jax_scadn.networks.layers import convolution, layers


class ResidualBlock(nn.Module):
    """x + IN(conv(ReLU(IN(dilated conv(x))))), with reflection padding."""

    dilation: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bhwc: jax.Array) -> jax.Array:
        features = x_bhwc.shape[-1]
        y = convolution.reflect_pad(x_bhwc, self.dilation)
        y = layers.Conv(
            features, 3, dilation=self.dilation, dtype=self.dtype, name="conv_0"
        )(y)
        y = nn.relu(layers.instance_norm(y))
        y = convolution.reflect_pad(y, 1)
        y = layers.Conv(features, 3, dtype=self.dtype, name="conv_1")(y)
        return x_bhwc + layers.instance_norm(y)


class Generator(nn.Module):
    """Encoder to an eighth of the size, residual blocks, decoder; output in [0, 1].

    Attributes:
      channels: of the output image.
      width: channels of the first layer; the residual blocks have 8 times as many.
      dilations: of each residual block's first convolution.
      dtype: of the computation; the output is float32.
    """

    channels: int
    width: int = 64
    dilations: tuple[int, ...] = (2,) * 8
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H, W, C), in [0, 1]; H and W are multiples of 8."""
        x = self._encode(images_bhwc)
        for i, dilation in enumerate(self.dilations):
            x = ResidualBlock(dilation, self.dtype, name=f"block_{i}")(x)
        return self._decode(x)

    def _encode(self, images_bhwc: jax.Array) -> jax.Array:
        """(B, H, W, C) -> (B, H / 8, W / 8, 8 * width)."""
        x = convolution.reflect_pad(images_bhwc, 3)
        x = self._normed(x, self.width, 7, name="encoder_0")
        for i in (1, 2, 3):
            features = self.width << i
            x = self._normed(x, features, 4, stride=2, pad=1, name=f"encoder_{i}")
        return x

    def _decode(self, x_bhwc: jax.Array) -> jax.Array:
        """The reverse; in [0, 1]."""
        x = x_bhwc
        for i in (0, 1, 2):
            features = self.width << (2 - i)
            x = self._normed(x, features, 3, pad=1, upsample=2, name=f"decoder_{i}")
        x = convolution.reflect_pad(x, 3)
        x = layers.Conv(self.channels, 7, dtype=self.dtype, name="decoder_3")(x)
        return (jnp.tanh(layers.at_least_float32(x)) + 1) / 2

    def _normed(self, x_bhwc: jax.Array, features: int, kernel: int, **options):
        conv = layers.Conv(features, kernel, dtype=self.dtype, **options)
        return nn.relu(layers.instance_norm(conv(x_bhwc)))


class MemoryGenerator(Generator):
    """The generator with a memory in place of residual blocks (MemAE).

    Attributes:
      dilations: not used.
      items: N of `memory.Memory`.
      similarity: see there.
      shrinkage: see there.
    """

    items: int = 2000
    similarity: str = "cosine"
    shrinkage: float = 1.0

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Images -> reconstructions, and the weights (B, H / 8, W / 8, N) of items."""
        unit = memory.Memory(self.items, self.similarity, self.shrinkage, name="memory")
        codes, weights = unit(self._encode(images_bhwc))
        return self._decode(codes), weights
