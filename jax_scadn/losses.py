"""Losses, elementwise where they can be; callers weight and reduce."""

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
    """Elementwise loss of the discriminator on repainted images."""
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
      logits: the discriminator's output on repainted images, before the sigmoid.
    """
    if gan == "hinge":
        return -logits
    if gan == "lsgan":
        return jnp.square(jax.nn.sigmoid(logits) - 1)
    if gan == "minimax":
        return -jax.nn.softplus(logits)
    return jax.nn.softplus(-logits)


def reconstruction(
    form: str,
    repainted_bhwc: jax.Array,
    images_bhwc: jax.Array,
    masks_bhw1: jax.Array,
    removed_weight: jax.Array | float,
) -> jax.Array:
    """Elementwise squared error with a larger weight on removed pixels.

    Args:
      form: 'paper' is Eq. 2 of SCADN, (1 + lambda_rm m) (r - x)^2; 'reference' is
        the authors' code, which divides it by the removed share of the batch.
      repainted_bhwc: the generator's output.
      images_bhwc: what it should be.
      masks_bhw1: 1 where pixels were removed.
      removed_weight: lambda_rm.
    """
    if repainted_bhwc.shape != images_bhwc.shape:
        raise ValueError(f"repainted {repainted_bhwc.shape} != {images_bhwc.shape}")
    weight = 1 + removed_weight * masks_bhw1
    if form == "reference":
        weight = weight / jnp.mean(masks_bhw1)
    return weight * jnp.square(repainted_bhwc - images_bhwc)


def feature_matching(real: Sequence[jax.Array], fake: Sequence[jax.Array]) -> jax.Array:
    """Sum over layers of the mean absolute difference of discriminator features."""
    return sum(jnp.mean(jnp.abs(r - f)) for r, f in zip(real, fake, strict=True))


def multiscale_lsgan_discriminator(
    real: Sequence[jax.Array], fake: Sequence[jax.Array]
) -> jax.Array:
    """Least-squares loss of a multi-scale discriminator, summed over its scales.

    Each scale gives mean((D(real) - 1)^2) + mean(D(fake)^2). D is the raw output, as
    in MUNIT and UTAD's public code, and not its sigmoid, as in 'lsgan' above.

    Args:
      real: each scale's outputs on real images.
      fake: on generated ones.
    """
    return sum(
        jnp.mean(jnp.square(r - 1)) + jnp.mean(jnp.square(f))
        for r, f in zip(real, fake, strict=True)
    )


def multiscale_lsgan_generator(fake: Sequence[jax.Array]) -> jax.Array:
    """mean((D(fake) - 1)^2) of the raw outputs, summed over the scales."""
    return sum(jnp.mean(jnp.square(f - 1)) for f in fake)


def squared_error(output_bhwc: jax.Array, target_bhwc: jax.Array) -> jax.Array:
    """Elementwise (output - target)^2, of impressions in UTAD's Eq. 5."""
    _check_shapes(output_bhwc, target_bhwc)
    return jnp.square(output_bhwc - target_bhwc)


def absolute_error(output: jax.Array, target: jax.Array) -> jax.Array:
    """Elementwise |output - target|, of images, contents and details alike."""
    _check_shapes(output, target)
    return jnp.abs(output - target)


def _check_shapes(output: jax.Array, target: jax.Array) -> None:
    if output.shape != target.shape:
        raise ValueError(f"output {output.shape} != target {target.shape}")
