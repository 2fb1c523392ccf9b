"""AdaIN autoencoders of UTAD's Expert-Net, for images and for impressions.

An image is encoded as content, a spatial map, and detail, a short style vector; a
decoder combines the content of one image with the detail of another. Source: MUNIT,
Huang et al. 2018.

Inputs and outputs are in [0, 1]; the networks work in [-1, 1], and only
`AdaINAutoencoder` converts. An L1 loss of images in [-1, 1], as in the public code, is
twice that of the outputs of `decode`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers


def _conv(
    x_bhwc: jax.Array,
    features: int,
    kernel: int,
    stride: int = 1,
    *,
    upsample: int = 1,
    dtype: jnp.dtype,
    name: str,
) -> jax.Array:
    """Convolution of the calling module, with reflection padding."""
    return layers.Conv(
        features,
        kernel,
        stride,
        pad=(kernel - 1) // 2,
        upsample=upsample,
        padding="reflect",
        kernel_init=layers.HE_INIT,
        dtype=dtype,
        name=name,
    )(x_bhwc)


class ContentEncoder(nn.Module):
    """Image -> map of a quarter of the size with 4 * width channels.

    All convolutions are followed by instance norms, which remove the style.
    """

    width: int
    blocks: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> jax.Array:
        def normed(x, features, kernel, stride=1, *, name):
            x = _conv(x, features, kernel, stride, dtype=self.dtype, name=name)
            return layers.instance_norm(x)

        x = nn.relu(normed(images_bhwc, self.width, 7, name="conv_0"))
        for i in (1, 2):
            x = nn.relu(normed(x, self.width << i, 4, stride=2, name=f"conv_{i}"))
        for i in range(self.blocks):
            y = nn.relu(normed(x, x.shape[-1], 3, name=f"block_{i}_conv_0"))
            x = x + normed(y, x.shape[-1], 3, name=f"block_{i}_conv_1")
        return x


class DetailEncoder(nn.Module):
    """Image -> detail vector, by convolutions without norm and a global average."""

    width: int
    detail: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> jax.Array:
        def conv(x, features, kernel, stride=1, *, name):
            x = _conv(x, features, kernel, stride, dtype=self.dtype, name=name)
            return nn.relu(x)

        x = conv(images_bhwc, self.width, 7, name="conv_0")
        for i in (1, 2, 3, 4):
            x = conv(x, self.width << min(i, 2), 4, stride=2, name=f"conv_{i}")
        x = jnp.mean(layers.at_least_float32(x), axis=(1, 2), keepdims=True)
        x = _conv(x, self.detail, 1, dtype=self.dtype, name="output")
        return x[:, 0, 0].astype(jnp.float32)


class Decoder(nn.Module):
    """Content map and detail vector -> image in [-1, 1].

    An MLP maps the detail to the mean and standard deviation of each AdaIN.
    """

    channels: int
    width: int
    blocks: int
    mlp_width: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, content_bhwc: jax.Array, detail_bd: jax.Array) -> jax.Array:
        features = content_bhwc.shape[-1]
        adain = self._adain_params(detail_bd, features)

        def normed(x, i, *, name):
            x = _conv(x, features, 3, dtype=self.dtype, name=name)
            mean, std = adain[:, i, 0], adain[:, i, 1]
            return layers.adaptive_instance_norm(x, mean, std)

        x = content_bhwc
        for i in range(self.blocks):
            y = nn.relu(normed(x, 2 * i, name=f"block_{i}_conv_0"))
            x = x + normed(y, 2 * i + 1, name=f"block_{i}_conv_1")
        for i in (0, 1):
            x = _conv(
                x,
                self.width << (1 - i),
                5,
                upsample=2,
                dtype=self.dtype,
                name=f"upsampled_{i}",
            )
            x = nn.relu(layers.LayerNorm(name=f"norm_{i}")(x))
        x = _conv(x, self.channels, 7, dtype=self.dtype, name="output")
        return jnp.tanh(layers.at_least_float32(x))

    def _adain_params(self, detail_bd: jax.Array, features: int) -> jax.Array:
        """(B, layers, 2, features): mean and standard deviation of each layer."""

        def linear(x, features, *, name):
            return nn.Dense(
                features, kernel_init=layers.HE_INIT, dtype=self.dtype, name=name
            )(x)

        x = nn.relu(linear(detail_bd, self.mlp_width, name="mlp_0"))
        x = nn.relu(linear(x, self.mlp_width, name="mlp_1"))
        x = linear(x, 2 * self.blocks * 2 * features, name="mlp_2")
        return layers.at_least_float32(x).reshape(len(x), 2 * self.blocks, 2, features)


class AdaINAutoencoder(nn.Module):
    """Content encoder, detail encoder and decoder of one domain.

    The defaults have 9.78 million parameters; for 32 x 32 pixels the paper uses one
    residual block.

    Attributes:
      channels: of the images.
      width: channels of the first layers; the content map has 4 times as many.
      blocks: residual blocks in the content encoder, and in the decoder.
      detail: length of the detail vector.
      mlp_width: of the MLP between detail and AdaIN.
      dtype: of the computation; details and outputs are float32.
    """

    channels: int
    width: int = 64
    blocks: int = 2
    detail: int = 8
    mlp_width: int = 256
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.content_encoder = ContentEncoder(self.width, self.blocks, self.dtype)
        self.detail_encoder = DetailEncoder(self.width, self.detail, self.dtype)
        self.decoder = Decoder(
            self.channels, self.width, self.blocks, self.mlp_width, self.dtype
        )

    def __call__(self, images_bhwc: jax.Array) -> jax.Array:
        """The image reconstructed from its own content and detail."""
        content = self.encode_content(images_bhwc)
        return self.decode(content, self.encode_detail(images_bhwc))

    def encode_content(self, images_bhwc: jax.Array) -> jax.Array:
        """(B, H, W, C) in [0, 1], multiples of 4 -> (B, H / 4, W / 4, 4 * width)."""
        return self.content_encoder(2 * images_bhwc - 1)

    def encode_detail(self, images_bhwc: jax.Array) -> jax.Array:
        """(B, H, W, C) in [0, 1] -> (B, detail)."""
        return self.detail_encoder(2 * images_bhwc - 1)

    def decode(self, content_bhwc: jax.Array, detail_bd: jax.Array) -> jax.Array:
        """Content of one image and detail of another -> image in [0, 1]."""
        return (self.decoder(content_bhwc, detail_bd) + 1) / 2
