"""UTAD's IE-Net: the impression of an image, and the distribution of its code."""

from __future__ import annotations

import math
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_scadn.networks.layers import convolution, layers, pooling


class Impression(NamedTuple):
    """Outputs of IE-Net for a batch of images, float32.

    Attributes:
      image_bhwc: the impression M(x), in [0, 1].
      features_bhwc: F(x), the encoder's last map after its 2x2 pooling.
      mean_bl: of the code's distribution q(z|x).
      log_var_bl: natural logarithm of its variance.
    """

    image_bhwc: jax.Array
    features_bhwc: jax.Array
    mean_bl: jax.Array
    log_var_bl: jax.Array


class InceptionBlock(nn.Module):
    """Four parallel branches of `features` channels each.

    1x1, 3x3 and 5x5 convolutions, and 3x3 max pooling with a 1x1 convolution; each is
    followed by a batch norm and a leaky ReLU.

    Attributes:
      features: of each branch.
      upsample: factor of nearest upsampling of the input; 1 for none.
      dtype: of the computation.
    """

    features: int
    upsample: int = 1
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x_bhwc: jax.Array, train: bool) -> jax.Array:
        def branch(x, kernel, name, upsample=self.upsample):
            conv = layers.Conv(
                self.features,
                kernel,
                pad=kernel // 2,
                upsample=upsample,
                use_bias=False,
                kernel_init=layers.HE_INIT,
                dtype=self.dtype,
                name=f"conv_{name}",
            )
            x = layers.BatchNorm(name=f"norm_{name}")(conv(x), train)
            return nn.leaky_relu(x, 0.1)

        pooled = x_bhwc
        if self.upsample > 1:
            pooled = convolution.upsample_nearest(pooled, self.upsample)
        pooled = pooling.max_pool(pooled, 3, pad=1)
        branches = [
            branch(x_bhwc, 1, "1x1"),
            branch(x_bhwc, 3, "3x3"),
            branch(x_bhwc, 5, "5x5"),
            branch(pooled, 1, "pool", upsample=1),
        ]
        return jnp.concatenate(branches, axis=-1)


class IENet(nn.Module):
    """Encoder and decoder of inception blocks, and a head for the code.

    The defaults are the net for 256 x 256 pixels, 6.78 million parameters. For 32 x 32
    the paper uses three blocks: features (32, 64, 128) with pools (2, 2, 2), and
    decoder_features (128, 64, 32) with upsamplings (2, 2, 2).

    Attributes:
      channels: of the images.
      features: of each branch in each encoder block; a block has 4 branches.
      pools: factor of the max pooling after each encoder block.
      decoder_features: of each branch in each decoder block.
      upsamplings: factor after each decoder block; their product is that of `pools`.
      head_features: of the head's first convolution.
      latent: L, length of the code z.
      dtype: of the computation; the outputs are float32.
    """

    channels: int
    features: tuple[int, ...] = (32, 32, 64, 128)
    pools: tuple[int, ...] = (4, 2, 2, 2)
    decoder_features: tuple[int, ...] = (128, 64, 64, 32)
    upsamplings: tuple[int, ...] = (2, 4, 2, 2)
    head_features: int = 64
    latent: int = 128
    dtype: jnp.dtype = jnp.float32

    @property
    def multiple(self) -> int:
        """The height and width of images must be multiples of this."""
        return 2 * math.prod(self.pools)

    @nn.compact
    def __call__(self, images_bhwc: jax.Array, train: bool) -> Impression:
        """Impression, features and code of images in [0, 1].

        Args:
          images_bhwc: height and width are multiples of `multiple`.
          train: normalise by the batch and update the collection `batch_stats`,
            which must be mutable.

        Raises:
          ValueError: images of another size, or unequal pools and upsamplings.
        """
        self._check(images_bhwc.shape)
        x = images_bhwc.astype(self.dtype)
        for i, (features, pool) in enumerate(
            zip(self.features, self.pools, strict=True)
        ):
            block = InceptionBlock(features, dtype=self.dtype, name=f"encoder_{i}")
            x = block(x, train)
            x = pooling.max_pool(x, pool, pool)
        return Impression(self._decode(x, train), *self._code(x))

    def _check(self, shape: tuple[int, ...]) -> None:
        if math.prod(self.pools) != math.prod(self.upsamplings):
            raise ValueError(
                f"pools {self.pools} and upsamplings {self.upsamplings} must have "
                "equal products"
            )
        if shape[1] % self.multiple or shape[2] % self.multiple:
            raise ValueError(
                f"images {shape}: height and width must be multiples of {self.multiple}"
            )

    def _code(self, x_bhwc: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """F, mean and log-variance."""
        features = pooling.max_pool(x_bhwc, 2, 2)
        x = self._head_conv(self.head_features, "head_0")(features)
        x = self._head_conv(features.shape[-1], "head_1")(nn.relu(x))
        x = jnp.mean(layers.at_least_float32(x), axis=(1, 2))
        mean, log_var = self._linear("mean")(x), self._linear("log_var")(x)
        outputs = features, mean, log_var
        return jax.tree.map(layers.at_least_float32, outputs)

    def _decode(self, x_bhwc: jax.Array, train: bool) -> jax.Array:
        x = x_bhwc
        # The last upsampling comes after the 1x1 convolution and the sigmoid, which act
        # on each pixel alike: there are fewer channels then.
        *inner, last = self.upsamplings
        for i, (features, factor) in enumerate(
            zip(self.decoder_features, (1, *inner), strict=True)
        ):
            upsample = 2 if factor % 2 == 0 else 1  # cheaper inside the block
            x = convolution.upsample_nearest(x, factor // upsample)
            x = InceptionBlock(features, upsample, self.dtype, name=f"decoder_{i}")(
                x, train
            )
        x = layers.Conv(
            self.channels,
            1,
            use_bias=False,
            kernel_init=layers.HE_INIT,
            dtype=self.dtype,
            name=f"decoder_{len(self.decoder_features)}",
        )(x)
        x = nn.sigmoid(layers.at_least_float32(x))
        return convolution.upsample_nearest(x, last)

    def _head_conv(self, features: int, name: str) -> layers.Conv:
        return layers.Conv(
            features,
            3,
            pad=1,
            kernel_init=layers.HE_INIT,
            dtype=self.dtype,
            name=name,
        )

    def _linear(self, name: str) -> nn.Dense:
        # Small weights: q(z|x) starts near N(0, 1), to which the KL term pulls it.
        return nn.Dense(
            self.latent, kernel_init=layers.WEIGHT_INIT, dtype=self.dtype, name=name
        )
