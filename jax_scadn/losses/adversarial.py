"""Adversarial losses of generators and discriminators."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

GAN_LOSSES = ("nsgan", "lsgan", "hinge", "minimax")


def discriminator_real(gan: str, logits: jax.Array) -> jax.Array:
    """Elementwise loss of the discriminator on real images."""
    if gan == "hinge":
        return jax.nn.relu(1 - logits)
    if gan == "lsgan":
        return jnp.square(jax.nn.sigmoid(logits) - 1)
    return jax.nn.softplus(-logits)  # -log D(real)


def discriminator_fake(gan: str, logits: jax.Array) -> jax.Array:
    """Elementwise loss of the discriminator on generated images."""
    if gan == "hinge":
        return jax.nn.relu(1 + logits)
    if gan == "lsgan":
        return jnp.square(jax.nn.sigmoid(logits))
    return jax.nn.softplus(logits)  # -log(1 - D(fake))


def generator_fake(gan: str, logits: jax.Array) -> jax.Array:
    """Elementwise adversarial loss of the generator.

    Args:
      gan: 'nsgan' -log D(fake); 'minimax' log(1 - D(fake)), SCADN Eq. 3; 'lsgan'
        (D(fake) - 1)^2; 'hinge' -logits. D is the sigmoid of the logits.
      logits: the discriminator's output on generated images, before the sigmoid.
    """
    if gan == "hinge":
        return -logits
    if gan == "lsgan":
        return jnp.square(jax.nn.sigmoid(logits) - 1)
    if gan == "minimax":
        return -jax.nn.softplus(logits)
    return jax.nn.softplus(-logits)


def mean_cross_entropy(real: jax.Array, fake: jax.Array) -> jax.Array:
    """Mean of the discriminator's -log D(real) and that of -log(1 - D(fake)), halved.

    Args:
      real: logits of real images.
      fake: of generated ones.
    """
    real = jnp.mean(discriminator_real("nsgan", real))
    return (real + jnp.mean(discriminator_fake("nsgan", fake))) / 2


def feature_matching(real: Sequence[jax.Array], fake: Sequence[jax.Array]) -> jax.Array:
    """Sum over layers of the mean absolute difference of discriminator features."""
    return sum(jnp.mean(jnp.abs(r - f)) for r, f in zip(real, fake, strict=True))


def multiscale_lsgan_discriminator(
    real: Sequence[jax.Array], fake: Sequence[jax.Array]
) -> jax.Array:
    """Least-squares loss of a multi-scale discriminator, summed over its scales.

    Each scale adds mean((D(real) - 1)^2) + mean(D(fake)^2). D is the raw output, as
    in MUNIT and UTAD's public code, not its sigmoid, as in 'lsgan' above.

    Args:
      real: each scale's outputs on real images.
      fake: on generated images.
    """
    return sum(
        jnp.mean(jnp.square(r - 1)) + jnp.mean(jnp.square(f))
        for r, f in zip(real, fake, strict=True)
    )


def multiscale_lsgan_generator(fake: Sequence[jax.Array]) -> jax.Array:
    """mean((D(fake) - 1)^2) of the raw outputs, summed over the scales."""
    return sum(jnp.mean(jnp.square(f - 1)) for f in fake)
