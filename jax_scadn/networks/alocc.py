"""ALOCC's networks: R, which reconstructs noisy images, and D.

Sabokrou et al., Adversarially Learned One-Class Classifier for Novelty Detection, CVPR
2018. Sizes and padding are TensorFlow's 'SAME'. Images are in [0, 1].
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks import pyramid
from jax_scadn.networks.layers import layers

_KERNEL = 5


def _halve(features: int, dtype: jnp.dtype, name: str) -> nn.Conv:
    return nn.Conv(
        features,
        (_KERNEL, _KERNEL),
        (2, 2),
        padding="SAME",
        kernel_init=layers.WEIGHT_INIT,
        dtype=dtype,
        name=name,
    )


def _grow(features: int, small: int, large: int, dtype: jnp.dtype, name: str):
    """The transposed convolution from `small` pixels to the `large` they came from."""
    total = (small - 1) * 2 + _KERNEL - large  # padding of the convolution
    low = total // 2
    padding = (_KERNEL - 1 - low, _KERNEL - 1 - (total - low))
    return nn.ConvTranspose(
        features,
        (_KERNEL, _KERNEL),
        (2, 2),
        padding=(padding, padding),
        kernel_init=layers.WEIGHT_INIT,
        dtype=dtype,
        name=name,
    )


class Reconstructor(nn.Module):
    """R: three 5x5 convolutions of stride 2, and three back; 373,217 parameters.

    Attributes:
      channels: of the images.
      width: channels of the first layer.
      dtype: of the computation; the output is float32.
    """

    channels: int
    width: int = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> jax.Array:
        """Square images of any size -> the same."""
        x, sides = images_bhwc, []
        for i in range(3):
            sides.append(x.shape[1])
            x = _halve(self.width << i, self.dtype, f"encoder_{i}")(x)
            x = nn.leaky_relu(pyramid.norm(f"encoder_norm_{i}")(x, train), 0.2)
        for i, features in enumerate((self.width, self.width // 2, self.channels)):
            grow = _grow(features, x.shape[1], sides.pop(), self.dtype, f"decoder_{i}")
            x = grow(x)
            if i < 2:
                x = nn.relu(pyramid.norm(f"decoder_norm_{i}")(x, train))
        return (jnp.tanh(layers.at_least_float32(x)) + 1) / 2


class Discriminator(nn.Module):
    """D: four 5x5 convolutions of stride 2; 270,401 parameters at 28 pixels in grey."""

    width: int = 16
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> jax.Array:
        """Logits, (B,)."""
        x = images_bhwc
        for i in range(4):
            x = _halve(self.width << i, self.dtype, f"conv_{i}")(x)
            if i:
                x = pyramid.norm(f"norm_{i}")(x, train)
            x = nn.leaky_relu(x, 0.2)
        logits = nn.Dense(
            1, kernel_init=layers.WEIGHT_INIT, dtype=self.dtype, name="logit"
        )(x.reshape(len(x), -1))
        return layers.at_least_float32(logits[:, 0])
