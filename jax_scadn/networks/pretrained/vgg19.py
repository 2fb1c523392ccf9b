"""VGG-19 feature extractor, up to conv3_4."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers as layers_lib
from jax_scadn.networks.layers import pooling

# Name and channels of each convolution, in order.
CONVOLUTIONS = {
    "conv1_1": 64,
    "conv1_2": 64,
    "conv2_1": 128,
    "conv2_2": 128,
    "conv3_1": 256,
    "conv3_2": 256,
    "conv3_3": 256,
    "conv3_4": 256,
}
LAYERS = ("conv1_2", "conv2_2", "conv3_4")  # the last one of each resolution


class Features(nn.Module):
    """VGG-19 feature maps after ReLU.

    The normalisation that the weights were trained with is part of the parameters:
    `mean` and `std` of the red, green and blue channel. It precedes the zero padding,
    so that it cannot be folded into the first kernel and bias.

    Source: Simonyan and Zisserman 2014, configuration E.

    Attributes:
      layers: names from `CONVOLUTIONS`; nothing after the last of them is computed.
      dtype: of the computation and of the features.
    """

    layers: tuple[str, ...] = LAYERS
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> tuple[jax.Array, ...]:
        """(B, H, W, 1 or 3) in [0, 1], RGB -> one array (B, H', W', C') for each layer.

        H' is H for conv1_*, half of it for conv2_* and a quarter for conv3_*, rounded
        down. Grey is repeated for all three colours.
        """
        mean = self.param("mean", nn.initializers.zeros, (3,))
        std = self.param("std", nn.initializers.ones, (3,))
        if images_bhwc.shape[-1] not in (1, 3):
            raise ValueError(f"images have 1 or 3 channels, not {images_bhwc.shape}")
        colours_bhwc = jnp.broadcast_to(images_bhwc, (*images_bhwc.shape[:3], 3))
        x = layers_lib.at_least_float32(colours_bhwc) - mean[None, None, None]
        x = x / std[None, None, None]
        features = {}
        for name, channels in CONVOLUTIONS.items():
            if name in ("conv2_1", "conv3_1"):
                x = pooling.max_pool(x, 2, 2)
            conv = layers_lib.Conv(
                channels,
                3,
                pad=1,
                kernel_init=layers_lib.HE_INIT,
                dtype=self.dtype,
                name=name,
            )
            x = nn.relu(conv(x))
            features[name] = x
            if set(self.layers) <= set(features):
                break
        return tuple(features[name] for name in self.layers)
