"""UTAD's multi-scale image discriminator."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import layers


class PatchDiscriminator(nn.Module):
    """Four 4x4 convolutions of stride 2; the last one's channels are the scores.

    ReLU between them, after an instance norm between hidden layers.
    """

    width: int = 32
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> jax.Array:
        x = images_bhwc
        for i in range(4):
            x = layers.Conv(
                self.width,
                4,
                stride=2,
                pad=1,
                kernel_init=layers.HE_INIT,
                dtype=self.dtype,
                name=f"conv_{i}",
            )(x)
            if i in (1, 2):
                x = layers.instance_norm(x)
            if i < 3:
                x = nn.relu(x)
        return layers.at_least_float32(x)


class MultiScaleDiscriminator(nn.Module):
    """A patch discriminator for the image, its half, its quarter and so on.

    Attributes:
      width: channels of every layer.
      scales: number of scales; images have at least 16 * 2^(scales - 1) pixels a side.
      dtype: of the computation; the scores are float32.
    """

    width: int = 32
    scales: int = 3
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array) -> tuple[jax.Array, ...]:
        """Each scale's raw scores (B, H', W', width), without a sigmoid (LSGAN).

        Raises:
          ValueError: the images are too small for so many scales.
        """
        least = 16 << (self.scales - 1)
        if min(images_bhwc.shape[1:3]) < least:
            raise ValueError(
                f"images {images_bhwc.shape}: {self.scales} scales need {least} pixels"
            )
        scores, x = [], images_bhwc
        for scale in range(self.scales):
            if scale:
                x = _halve(x)
            net = PatchDiscriminator(self.width, self.dtype, name=f"scale_{scale}")
            scores.append(net(x))
        return tuple(scores)


def _halve(x_bhwc: jax.Array) -> jax.Array:
    """Means of 3x3 pixels; at the border, of those inside the image."""
    return nn.avg_pool(
        x_bhwc,
        (3, 3),
        strides=(2, 2),
        padding=((1, 1), (1, 1)),
        count_include_pad=False,
    )
