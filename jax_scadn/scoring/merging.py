"""From inpainted images to one anomaly map and one score each (SCADN Eq. 6-10)."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_scadn.scoring import masks as masks_lib


class Scored(NamedTuple):
    """What a batch of images scores.

    Attributes:
      maps: (B, H, W) anomaly maps.
      scores: (B,) image scores, the mean or the maximum of the map.
      scales: (B,) index of the scale that the map was taken from; -1 if merged.
      scale_means: (B, K) mean of each scale's map.
      pictures: (B, H, W, C) in [0, 1] by name, what the networks made of the image.
    """

    maps: jax.Array
    scores: jax.Array
    scales: jax.Array
    scale_means: jax.Array
    pictures: dict[str, jax.Array]


def scale_maps(error_mbhw: jax.Array, scales: int) -> jax.Array:
    """Largest error over the masks of each scale, Eq. 7: (M, B, H, W) -> (B, K, H, W).

    Args:
      error_mbhw: errors under each mask, 0 at the known pixels; masks of one scale
        stand together.
      scales: number K of scales, which have equally many masks.
    """
    grouped = error_mbhw.reshape(scales, -1, *error_mbhw.shape[1:])
    return jnp.swapaxes(jnp.max(grouped, axis=1), 0, 1)


def scale_inpainted(
    inpainted_mbhwc: jax.Array, masks_mhw: jax.Array, scales: int
) -> jax.Array:
    """Each scale's picture made of removed pixels only: (B, K, H, W, C).

    A scale removes each pixel under half of its masks; the values that the
    generator put there are averaged. Given some of the masks of each scale, it is
    their share of the average.
    """
    removed = inpainted_mbhwc * masks_mhw[:, None, :, :, None]
    grouped = removed.reshape(scales, -1, *inpainted_mbhwc.shape[1:])
    return jnp.swapaxes(jnp.sum(grouped, axis=1), 0, 1) * 2 / masks_lib.MASKS_PER_SCALE


def merge(
    how: str,
    image_score: str,
    mu_k: jax.Array,
    maps_bkhw: jax.Array,
    pictures_bkhwc: dict[str, jax.Array],
) -> Scored:
    """One map for each image out of those of its scales.

    Args:
      how: 'max_mu' takes the scale with the largest mean(E_i) - mu_i, Eq. 8 and 9;
        'max' the one with the largest mean(E_i); 'mean' averages the scales.
      image_score: 'mean' or 'max' of the merged map.
      mu_k: mean error of each scale on normal training images.
      maps_bkhw: each scale's map E_i.
      pictures_bkhwc: each scale's pictures.
    """
    means = jnp.mean(maps_bkhw, axis=(2, 3))
    if how == "mean":
        scales = jnp.full(means.shape[:1], -1)
        merged = functools.partial(jnp.mean, axis=1)
    else:
        scales = jnp.argmax(means - mu_k[None] if how == "max_mu" else means, axis=1)

        def merged(candidates):
            return candidates[jnp.arange(len(scales)), scales]

    maps = merged(maps_bkhw)
    return Scored(
        maps=maps,
        scores=merged(means) if image_score == "mean" else jnp.max(maps, axis=(1, 2)),
        scales=scales,
        scale_means=means,
        pictures=jax.tree.map(merged, pictures_bkhwc),
    )
