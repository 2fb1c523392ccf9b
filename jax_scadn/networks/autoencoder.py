"""Convolutional autoencoder with a code of one pixel (AE-L2 and AE-SSIM).

Bergmann et al., Improving Unsupervised Defect Segmentation by Applying Structural
Similarity to Autoencoders, VISAPP 2019.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers

SMALLEST = 8  # pixels, both sides, of the features before the code


class Autoencoder(nn.Module):
    """Encoder to 8 x 8 features and a code, and the reverse; output in [0, 1].

    At 128 pixels and a code of 100 it has 1,050,599 parameters in RGB; each doubling of
    the size puts one more convolution at each end.

    Attributes:
      size: of the images, pixels, 8 * 2^n with n of 2 or more.
      channels: of the images.
      width: channels of the first layers.
      latent: length of the code.
      dtype: of the computation; the output is float32 or wider.
    """

    size: int
    channels: int
    width: int = 32
    latent: int = 100
    dtype: jnp.dtype = jnp.float32

    def layout(self) -> list[tuple[int, int, int]]:
        """(kernel, stride, channels) of each convolution before the code."""
        f = self.width
        halvings = (self.size // SMALLEST).bit_length() - 1
        return [
            *[(4, 2, f)] * (halvings - 2),
            (3, 1, f),
            (4, 2, 2 * f),
            (3, 1, 2 * f),
            (4, 2, 4 * f),
            (3, 1, 2 * f),
            (3, 1, f),
        ]

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> jax.Array:
        """(B, size, size, C) in [0, 1] -> the same."""
        layout = self.layout()
        x = images_bhwc
        for i, (kernel, stride, features) in enumerate(layout):
            conv = nn.Conv(
                features,
                (kernel, kernel),
                (stride, stride),
                padding=1,
                dtype=self.dtype,
                name=f"encoder_{i}",
            )
            x = nn.leaky_relu(conv(x), 0.2)
        full = (SMALLEST, SMALLEST)
        x = nn.Conv(self.latent, full, padding="VALID", dtype=self.dtype, name="code")(
            x
        )
        outputs = [self.channels, *(features for _, _, features in layout)]
        x = nn.ConvTranspose(
            outputs.pop(), full, padding="VALID", dtype=self.dtype, name="decoder_code"
        )(x)
        for i, (kernel, stride, _) in reversed(list(enumerate(layout))):
            conv = nn.ConvTranspose(
                outputs.pop(),
                (kernel, kernel),
                (stride, stride),
                padding="SAME",
                dtype=self.dtype,
                name=f"decoder_{i}",
            )
            x = conv(nn.leaky_relu(x, 0.2))
        return nn.sigmoid(layers.at_least_float32(x))
