"""Reconstruction losses: elementwise ones, and means of them by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from jax_scadn.losses import distances


def masked(
    form: str,
    inpainted_bhwc: jax.Array,
    images_bhwc: jax.Array,
    masks_bhw1: jax.Array,
    masked_weight: jax.Array | float,
) -> jax.Array:
    """Elementwise squared error with a larger weight on masked pixels.

    Args:
      form: 'paper' is Eq. 2 of SCADN, (1 + lambda_rm m) (r - x)^2; 'reference' is
        the authors' code, which divides it by the masked share of the batch.
      inpainted_bhwc: the generator's output.
      images_bhwc: the targets.
      masks_bhw1: 1 where pixels were masked.
      masked_weight: lambda_rm.
    """
    if inpainted_bhwc.shape != images_bhwc.shape:
        raise ValueError(f"inpainted {inpainted_bhwc.shape} != {images_bhwc.shape}")
    weight = 1 + masked_weight * masks_bhw1
    if form == "reference":
        weight = weight / jnp.mean(masks_bhw1)
    return weight * jnp.square(inpainted_bhwc - images_bhwc)


def squared_error(output_bhwc: jax.Array, target_bhwc: jax.Array) -> jax.Array:
    """Elementwise (output - target)^2, of impressions in UTAD's Eq. 5."""
    _check_shapes(output_bhwc, target_bhwc)
    return jnp.square(output_bhwc - target_bhwc)


def absolute_error(output: jax.Array, target: jax.Array) -> jax.Array:
    """Elementwise |output - target|, of images, contents or details."""
    _check_shapes(output, target)
    return jnp.abs(output - target)


def mean_squared_error(output_bhwc: jax.Array, target_bhwc: jax.Array) -> jax.Array:
    """Mean of (output - target)^2 over everything (AE-L2)."""
    return jnp.mean(squared_error(output_bhwc, target_bhwc))


def mean_ssim_loss(output_bhwc: jax.Array, target_bhwc: jax.Array) -> jax.Array:
    """Mean of 1 - SSIM where its window lies within the images (AE-SSIM)."""
    border = distances.SSIM_RADIUS
    halved = distances.structural_dissimilarity(output_bhwc, target_bhwc)
    return jnp.mean(2 * halved[:, border:-border, border:-border])


# Losses of images and their reconstructions, scalars.
LOSSES = {"l2": mean_squared_error, "ssim": mean_ssim_loss}


def _check_shapes(output: jax.Array, target: jax.Array) -> None:
    if output.shape != target.shape:
        raise ValueError(f"output {output.shape} != target {target.shape}")
