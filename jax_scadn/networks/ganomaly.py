"""GANomaly's networks: encoder, decoder, encoder; and a discriminator.

Akcay et al., GANomaly, ACCV 2018. Images are in [-1, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks import pyramid


class Generated(NamedTuple):
    """Outputs of the generator, float32.

    Attributes:
      image_bhwc: the reconstruction.
      code_bl: of the image.
      code_again_bl: of the reconstruction, by the second encoder.
    """

    image_bhwc: jax.Array
    code_bl: jax.Array
    code_again_bl: jax.Array


class Generator(nn.Module):
    """3,206,528 parameters at 32 pixels in RGB.

    Attributes:
      size: of the images, pixels, 8 * 2^n.
      channels: of the images.
      width: channels of the first layer.
      latent: length of the codes.
      dtype: of the computation.
    """

    size: int
    channels: int
    width: int = 64
    latent: int = 100
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> Generated:
        def encode(name, images):
            net = pyramid.Encoder(self.width, self.latent, self.dtype, name=name)
            return net(images, train)[0]

        code = encode("encoder", images_bhwc)
        decoder = pyramid.Decoder(
            self.size, self.channels, self.width, self.dtype, name="decoder"
        )
        image = decoder(code, train)
        return Generated(image, code, encode("second_encoder", image))


class Discriminator(nn.Module):
    """663,296 parameters at 32 pixels in RGB."""

    width: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images_bhwc: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Logits (B,), and the features that they come from, (B, 4, 4, D)."""
        net = pyramid.Encoder(self.width, 1, self.dtype, name="encoder")
        logits, features = net(images_bhwc, train)
        return logits[:, 0], features
