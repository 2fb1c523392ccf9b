"""From repainted images to one anomaly map and one score each (SCADN Eq. 6-10)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_scadn import masks as masks_lib


class Scored(NamedTuple):
    """What a batch of images scores.

    Attributes:
      maps: (B, H, W) anomaly maps.
      scores: (B,) image scores, the mean of the map.
      scales: (B,) index of the scale that the map was taken from; -1 if merged.
      scale_means: (B, K) mean of each scale's map.
      repainted: (B, H, W, C) the image repainted from its surroundings.
    """

    maps: jax.Array
    scores: jax.Array
    scales: jax.Array
    scale_means: jax.Array
    repainted: jax.Array


def scale_maps(error_mbhw: jax.Array) -> jax.Array:
    """Largest error over the masks of each scale, Eq. 7: (M, B, H, W) -> (B, K, H, W).

    Args:
      error_mbhw: errors under each mask, 0 at the known pixels.
    """
    masks, *rest = error_mbhw.shape
    scales = masks // masks_lib.MASKS_PER_SCALE
    grouped = error_mbhw.reshape(scales, masks_lib.MASKS_PER_SCALE, *rest)
    return jnp.swapaxes(jnp.max(grouped, axis=1), 0, 1)


def scale_repainted(repainted_mbhwc: jax.Array, masks_mhw: jax.Array) -> jax.Array:
    """Each scale's picture made of removed pixels only: (B, K, H, W, C).

    A scale removes each pixel under half of its masks; the values that the
    generator put there are averaged.
    """
    masks, *rest = repainted_mbhwc.shape
    scales = masks // masks_lib.MASKS_PER_SCALE
    removed = repainted_mbhwc * masks_mhw[:, None, :, :, None]
    grouped = removed.reshape(scales, masks_lib.MASKS_PER_SCALE, *rest)
    return jnp.swapaxes(jnp.sum(grouped, axis=1), 0, 1) * 2 / masks_lib.MASKS_PER_SCALE


def merge(
    how: str, mu_k: jax.Array, maps_bkhw: jax.Array, repainted_bkhwc: jax.Array
) -> Scored:
    """One map for each image out of those of its scales.

    Args:
      how: 'max_mu' takes the scale with the largest mean(E_i) - mu_i, Eq. 8 and 9;
        'max' the one with the largest mean(E_i); 'mean' averages the scales.
      mu_k: mean error of each scale on normal training images.
      maps_bkhw: each scale's map E_i.
      repainted_bkhwc: each scale's repainted image.
    """
    means = jnp.mean(maps_bkhw, axis=(2, 3))
    if how == "mean":
        return Scored(
            maps=jnp.mean(maps_bkhw, axis=1),
            scores=jnp.mean(means, axis=1),
            scales=jnp.full(means.shape[:1], -1),
            scale_means=means,
            repainted=jnp.mean(repainted_bkhwc, axis=1),
        )
    chosen = jnp.argmax(means - mu_k[None] if how == "max_mu" else means, axis=1)
    rows = jnp.arange(len(chosen))
    return Scored(
        maps=maps_bkhw[rows, chosen],
        scores=means[rows, chosen],
        scales=chosen,
        scale_means=means,
        repainted=repainted_bkhwc[rows, chosen],
    )
