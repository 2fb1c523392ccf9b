"""SCADN's generator: inpaints the masked stripes of an image."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

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

        def normed(x, features, kernel, *, name, **options):
            conv = layers.Conv(features, kernel, dtype=self.dtype, name=name, **options)
            return nn.relu(layers.instance_norm(conv(x)))

        x = convolution.reflect_pad(images_bhwc, 3)
        x = normed(x, self.width, 7, name="encoder_0")
        for i in (1, 2, 3):
            x = normed(x, self.width << i, 4, stride=2, pad=1, name=f"encoder_{i}")
        for i, dilation in enumerate(self.dilations):
            x = ResidualBlock(dilation, self.dtype, name=f"block_{i}")(x)
        for i in (0, 1, 2):
            features = self.width << (2 - i)
            x = normed(x, features, 3, pad=1, upsample=2, name=f"decoder_{i}")
        x = convolution.reflect_pad(x, 3)
        x = layers.Conv(self.channels, 7, dtype=self.dtype, name="decoder_3")(x)
        return (jnp.tanh(layers.at_least_float32(x)) + 1) / 2
