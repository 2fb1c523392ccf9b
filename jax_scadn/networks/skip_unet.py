"""Skip-GANomaly's generator: a U-Net of 4x4 convolutions of stride 2.

Akcay et al., Skip-GANomaly, IJCNN 2019. Images are in [-1, 1].
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks import pyramid
from jax_scadn.networks.layers import layers

_FACTORS = (1, 2, 4, 8, 8)  # channels of each layer, as multiples of the width
MULTIPLE = 2 ** len(_FACTORS)  # of the images' sides


class SkipUNet(nn.Module):
    """Five halvings, and five doublings that also see the features of their size.

    16,659,075 parameters in RGB.

    Attributes:
      channels: of the images.
      width: channels of the first layer.
      dtype: of the computation; the output is float32.
    """

    channels: int
    width: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) -> the same; H and W are multiples of 32."""
        widths = [self.width * factor for factor in _FACTORS]
        last = len(widths) - 1
        x, skips = images_bhwc, []
        for i, width in enumerate(widths):
            if i:
                x = nn.leaky_relu(x, 0.2)
            x = pyramid.halve(width, self.dtype, f"down_{i}")(x)
            if 0 < i < last:  # the first and the last layer have no norm
                x = pyramid.norm(f"down_norm_{i}")(x, train)
            skips.append(x)
        x = skips.pop()
        for i in reversed(range(1, last + 1)):
            x = pyramid.double(widths[i - 1], self.dtype, f"up_{i}")(nn.relu(x))
            x = pyramid.norm(f"up_norm_{i}")(x, train)
            x = jnp.concatenate([skips.pop(), x], axis=-1)
        x = pyramid.double(self.channels, self.dtype, "up_0", use_bias=True)(nn.relu(x))
        return jnp.tanh(layers.at_least_float32(x))
