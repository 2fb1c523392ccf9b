"""Deep SVDD's networks: an encoder without biases, and a decoder to pretrain it.

Ruff et al., Deep One-Class Classification, ICML 2018. A bias, or a shift after a norm,
could make any code the centre: there are none.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers, pooling

# Channels of each convolution, and length of the code.
LAYOUTS = {"mnist": ((8, 4), 32), "cifar10": ((32, 64, 128), 128)}
BATCH_NORM_EPS = 1e-4
CODE_SIDE = 4  # pixels, both sides, as which the decoder sees the code


def _conv(features: int, dtype: jnp.dtype, name: str) -> layers.Conv:
    return layers.Conv(
        features,
        5,
        pad=2,
        use_bias=False,
        kernel_init=layers.PYTORCH_INIT,
        dtype=dtype,
        name=name,
    )


def _norm(name: str) -> layers.BatchNorm:
    return layers.BatchNorm(affine=False, eps=BATCH_NORM_EPS, name=name)


class Encoder(nn.Module):
    """5x5 convolutions, each with a norm, a leaky ReLU and 2x2 pooling; then linear.

    7,272 parameters for 'mnist' at 28 pixels in grey, 520,544 for 'cifar10' at 32 in
    RGB.

    Attributes:
      layout: a key of `LAYOUTS`.
      dtype: of the computation; the code is float32.
    """

    layout: str
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> jax.Array:
        """Images, whose sides are multiples of `multiple(layout)`, -> codes (B, L)."""
        channels, latent = LAYOUTS[self.layout]
        x = images_bhwc
        for i, features in enumerate(channels):
            x = _norm(f"norm_{i}")(_conv(features, self.dtype, f"conv_{i}")(x), train)
            x = pooling.max_pool(nn.leaky_relu(x), 2, 2)
        code = nn.Dense(
            latent,
            use_bias=False,
            kernel_init=layers.PYTORCH_INIT,
            dtype=self.dtype,
            name="code",
        )(x.reshape(len(x), -1))
        return layers.at_least_float32(code)


class Decoder(nn.Module):
    """The code as 4 x 4 pixels, upsampled to the size of each of the encoder's layers.

    The authors' CIFAR-10 decoder; their MNIST decoder goes from 4 to 8 pixels and not
    to 7, and crops afterwards.
    """

    layout: str
    size: int
    channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, codes_bl: jax.Array, train: bool) -> jax.Array:
        """Codes -> images in [0, 1]."""
        channels, latent = LAYOUTS[self.layout]
        x = codes_bl.reshape(-1, CODE_SIDE, CODE_SIDE, latent // CODE_SIDE**2)
        for i in reversed(range(len(channels) + 1)):
            side = self.size >> i
            shape = (len(x), side, side, x.shape[-1])
            x = jax.image.resize(nn.leaky_relu(x), shape, "nearest")
            features = channels[i - 1] if i else self.channels
            x = _conv(features, self.dtype, f"conv_{i}")(x)
            if i:
                x = _norm(f"norm_{i}")(x, train)
        return nn.sigmoid(layers.at_least_float32(x))


class Autoencoder(nn.Module):
    """The encoder and the decoder that it is pretrained with.

    The decoder sees the code after a norm, which the encoder alone does not have.
    """

    layout: str
    size: int
    channels: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> jax.Array:
        """(B, size, size, C) in [0, 1] -> the same."""
        codes = Encoder(self.layout, self.dtype, name="encoder")(images_bhwc, train)
        net = Decoder(self.layout, self.size, self.channels, self.dtype, name="decoder")
        codes = _norm("norm")(codes[:, None, None], train)[:, 0, 0]
        return net(codes, train)


def multiple(layout: str) -> int:
    """The sides of images are multiples of this."""
    return 2 ** len(LAYOUTS[layout][0])
