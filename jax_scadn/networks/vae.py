"""Convolutional encoder to a short code, and the decoder: plain or variational.

The network of the public code of gradient projection (Dehaene et al., Iterative
energy-based projection on a normal data manifold for anomaly localization, ICLR 2020).
"""

from __future__ import annotations

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks import pyramid
from jax_scadn.networks.layers import layers

SMALLEST = 4  # pixels, both sides, of the features before the code
_WIDEST = 4  # layers, in units of the first


class Output(NamedTuple):
    """Of a batch, float32.

    Attributes:
      image_bhwc: the reconstruction, in [0, 1].
      mean_bl: the code, or the mean of its distribution.
      log_var_bl: natural logarithm of its variance; None of a plain autoencoder.
    """

    image_bhwc: jax.Array
    mean_bl: jax.Array
    log_var_bl: jax.Array | None


class Autoencoder(nn.Module):
    """Convolutions of 4 x 4 and stride 2 to 4 x 4 features, and the reverse.

    Each has a batch norm and a ReLU and no bias; a dense layer with a batch norm and a
    ReLU lies between features and code. Inside it images are in [-1, 1]. At 256 pixels
    in RGB the plain one has 4,750,928 parameters.

    Attributes:
      size: of the images, pixels, 4 * 2^n with n of 1 or more.
      channels: of the images.
      width: channels of the first layer; the second has twice, the rest four times as
        many.
      hidden: units of the dense layers.
      latent: length of the code.
      variational: whether the code is a normal distribution.
      dtype: of the computation; the outputs are float32 or wider.
    """

    size: int
    channels: int
    width: int = 16
    hidden: int = 2048
    latent: int = 16
    variational: bool = False
    dtype: jnp.dtype = jnp.float32

    def widths(self) -> list[int]:
        """Channels of each convolution of the encoder."""
        halvings = (self.size // SMALLEST).bit_length() - 1
        return [self.width * min(_WIDEST, 1 << i) for i in range(halvings)]

    @nn.compact
    def __call__(
        self, images_bhwc: jax.Array, train: bool, key: jax.Array | None = None
    ) -> Output:
        """(B, size, size, C) in [0, 1] -> reconstructions and codes.

        Args:
          images_bhwc: see above.
          train: normalise by the batch and update the collection `batch_stats`,
            which must be mutable.
          key: of the draw from the code's distribution; None: its mean is decoded.
        """
        mean, log_var = self._encode(images_bhwc, train)
        code = mean
        if key is not None and log_var is not None:
            code += jnp.exp(log_var / 2) * jax.random.normal(key, mean.shape)
        return Output(self._decode(code, train), mean, log_var)

    def _encode(self, images_bhwc, train) -> tuple[jax.Array, jax.Array | None]:
        x = pyramid.signed(images_bhwc).astype(self.dtype)
        for i, features in enumerate(self.widths()):
            conv = layers.Conv(
                features,
                4,
                stride=2,
                pad=1,
                use_bias=False,
                kernel_init=layers.PYTORCH_INIT,
                dtype=self.dtype,
                name=f"encoder_{i}",
            )
            x = self._activate(conv(x), f"encoder_norm_{i}", train)
        x = x.reshape(len(x), -1)
        x = self._hidden(x, "encoder", train)
        outputs = (1 + self.variational) * self.latent
        x = layers.at_least_float32(self._dense(outputs, "code")(x))
        if not self.variational:
            return x, None
        mean, log_var = jnp.split(x, 2, axis=-1)
        return mean, log_var

    def _decode(self, code_bl: jax.Array, train: bool) -> jax.Array:
        widths = self.widths()
        x = self._hidden(code_bl.astype(self.dtype), "decoder", train)
        x = self._dense(SMALLEST**2 * widths[-1], "features")(x)
        x = nn.relu(x).reshape(-1, SMALLEST, SMALLEST, widths[-1])
        outputs = [self.channels, *widths[:-1]]
        for i, features in reversed(list(enumerate(outputs))):
            x = pyramid.double(
                features,
                self.dtype,
                f"decoder_{i}",
                kernel_init=layers.PYTORCH_INIT,
            )(x)
            if i:
                x = self._activate(x, f"decoder_norm_{i}", train)
        return pyramid.unsigned(jnp.tanh(layers.at_least_float32(x)))

    def _hidden(self, x_bl: jax.Array, name: str, train: bool) -> jax.Array:
        x = self._dense(self.hidden, f"{name}_hidden")(x_bl)
        return self._activate(x[:, None, None], f"{name}_norm", train)[:, 0, 0]

    def _activate(self, x_bhwc: jax.Array, name: str, train: bool) -> jax.Array:
        return nn.relu(pyramid.norm(name)(x_bhwc, train))

    def _dense(self, units: int, name: str) -> nn.Dense:
        return nn.Dense(
            units, kernel_init=layers.PYTORCH_INIT, dtype=self.dtype, name=name
        )
