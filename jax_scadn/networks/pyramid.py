"""Pyramids of 4x4 convolutions of stride 2, and the layers that they are built of.

Those of GANomaly and its kin are as in DCGAN: no biases, batch norms, and twice the
channels at half the size. Weights start from N(0, 0.02).
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers

SMALLEST = 4  # pixels, both sides, of the features before a code
BATCH_NORM_EPS = 1e-5


def signed(images: jax.Array) -> jax.Array:
    """[0, 1] -> [-1, 1], the range of tanh."""
    return 2 * images - 1


def unsigned(images: jax.Array) -> jax.Array:
    """[-1, 1] -> [0, 1]."""
    return (images + 1) / 2


def norm(name: str) -> layers.BatchNorm:
    """A batch norm as PyTorch's is by default."""
    return layers.BatchNorm(eps=BATCH_NORM_EPS, name=name)


def halve(features: int, dtype: jnp.dtype, name: str) -> layers.Conv:
    """A 4x4 convolution to half the size."""
    return layers.Conv(
        features, 4, stride=2, pad=1, use_bias=False, dtype=dtype, name=name
    )


def double(
    features: int,
    dtype: jnp.dtype,
    name: str,
    use_bias: bool = False,
    kernel_init: nn.initializers.Initializer = layers.WEIGHT_INIT,
) -> nn.ConvTranspose:
    """A transposed 4x4 convolution to twice the size; PyTorch's padding is 1."""
    return nn.ConvTranspose(
        features,
        (4, 4),
        (2, 2),
        padding=((2, 2), (2, 2)),
        use_bias=use_bias,
        kernel_init=kernel_init,
        dtype=dtype,
        name=name,
    )


class Encoder(nn.Module):
    """Halves images to 4 x 4 pixels; then a 4x4 convolution to a vector.

    Attributes:
      width: channels of the first layer.
      latent: length of the vector.
      dtype: of the computation; the outputs are float32.
    """

    width: int = 64
    latent: int = 100
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, images_bhwc: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Square images of 4 * 2^n pixels -> vectors (B, L), and the 4 x 4 features."""
        halvings = (images_bhwc.shape[1] // SMALLEST).bit_length() - 1
        x = images_bhwc
        for i in range(halvings):
            x = halve(self.width << i, self.dtype, f"conv_{i}")(x)
            if i:
                x = norm(f"norm_{i}")(x, train)
            x = nn.leaky_relu(x, 0.2)
        vector = layers.Conv(
            self.latent, SMALLEST, use_bias=False, dtype=self.dtype, name="vector"
        )(x)
        return layers.at_least_float32(vector[:, 0, 0]), layers.at_least_float32(x)


class Decoder(nn.Module):
    """The reverse of the encoder, with ReLU; images in [-1, 1].

    Attributes:
      size: of the images, pixels, 4 * 2^n.
      channels: of the images.
      width: channels before the last layer.
      dtype: of the computation; the images are float32.
    """

    size: int
    channels: int
    width: int = 64
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, vectors_bl: jax.Array, train: bool) -> jax.Array:
        halvings = (self.size // SMALLEST).bit_length() - 1
        x = nn.ConvTranspose(
            self.width << (halvings - 1),
            (SMALLEST, SMALLEST),
            padding="VALID",
            use_bias=False,
            kernel_init=layers.WEIGHT_INIT,
            dtype=self.dtype,
            name="vector",
        )(vectors_bl[:, None, None])
        x = nn.relu(norm("norm")(x, train))
        for i in reversed(range(halvings - 1)):
            x = double(self.width << i, self.dtype, f"conv_{i + 1}")(x)
            x = nn.relu(norm(f"norm_{i + 1}")(x, train))
        x = double(self.channels, self.dtype, "conv_0")(x)
        return jnp.tanh(layers.at_least_float32(x))
