"""RIAD's U-Net: inpaints the masked cells of an image."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks import pyramid
from jax_scadn.networks.layers import layers

_WIDEST = 8  # layers, in units of the first


class UNet(nn.Module):
    """Halvings and their reverse, with skip connections; output in [0, 1].

    At each depth two 3 x 3 convolutions, each with a batch norm and a ReLU; the first
    of a lower depth is 4 x 4 of stride 2, and a transposed one of 4 x 4 and stride 2
    leads back. Inside it images are in [-1, 1]. With four halvings and a width of 64 it
    has 28,805,699 parameters in RGB.

    Attributes:
      channels: of the images.
      width: channels of the first layers; each halving doubles them, up to 8 times.
      halvings: how many.
      dtype: of the computation; the output is float32 or wider.
    """

    channels: int
    width: int = 64
    halvings: int = 4
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> jax.Array:
        """(B, H, W, C) in [0, 1] -> the same; H and W are multiples of 2^halvings.

        Args:
          images_bhwc: with masked pixels.
          train: normalise by the batch and update the collection `batch_stats`,
            which must be mutable.
        """
        widths = [self.width * min(_WIDEST, 1 << i) for i in range(self.halvings + 1)]
        x = pyramid.signed(images_bhwc).astype(self.dtype)
        skipped = []
        for depth, features in enumerate(widths):
            options = {"stride": 2} if depth else {}
            kernel = 4 if depth else 3
            x = self._normed(x, features, kernel, f"down_{depth}_0", train, **options)
            x = self._normed(x, features, 3, f"down_{depth}_1", train)
            skipped.append(x)
        skipped.pop()
        for depth, features in reversed(list(enumerate(widths[:-1]))):
            x = pyramid.double(
                features,
                self.dtype,
                f"up_{depth}",
                use_bias=True,
                kernel_init=layers.PYTORCH_INIT,
            )(x)
            x = jnp.concatenate([x, skipped[depth]], axis=-1)
            x = self._normed(x, features, 3, f"up_{depth}_0", train)
            x = self._normed(x, features, 3, f"up_{depth}_1", train)
        x = self._conv(self.channels, 3, "output")(x)
        return pyramid.unsigned(jnp.tanh(layers.at_least_float32(x)))

    def _normed(self, x_bhwc, features, kernel, name, train, **options) -> jax.Array:
        x = self._conv(features, kernel, name, **options)(x_bhwc)
        return nn.relu(pyramid.norm(f"{name}_norm")(x, train))

    def _conv(self, features: int, kernel: int, name: str, **options) -> layers.Conv:
        return layers.Conv(
            features,
            kernel,
            pad=1,
            kernel_init=layers.PYTORCH_INIT,
            dtype=self.dtype,
            name=name,
            **options,
        )
