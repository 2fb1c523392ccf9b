"""Merges per-scale anomaly maps into one map and score per image (SCADN Eq. 6-10)."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_scadn.scoring import masks as masks_lib


class Scored(NamedTuple):
    """Maps and scores of a batch of images.

    Attributes:
      maps: (B, H, W) anomaly maps; None where a method has image scores only.
      scores: (B,) image scores.
      scales: (B,) index of the scale that the map was taken from, -1 if merged; None
        where a method has one map.
      scale_means: (B, K) mean of each scale's map; None where a method has one map.
      pictures: (B, H, W, C) in [0, 1] by name, such as reconstructions.
    """

    maps: jax.Array | None
    scores: jax.Array
    scales: jax.Array | None
    scale_means: jax.Array | None
    pictures: dict[str, jax.Array]


def scale_maps(error_mbhw: jax.Array, scales: int) -> jax.Array:
    """Largest error over the masks of each scale, Eq. 7: (M, B, H, W) -> (B, K, H, W).

    Args:
      error_mbhw: errors under each mask, 0 at visible pixels; masks of one scale are
        adjacent.
      scales: number K of scales, with equally many masks each.
    """
    grouped = error_mbhw.reshape(scales, -1, *error_mbhw.shape[1:])
    return jnp.swapaxes(jnp.max(grouped, axis=1), 0, 1)


def scale_inpainted(
    inpainted_mbhwc: jax.Array, masks_mhw: jax.Array, scales: int
) -> jax.Array:
    """Each scale's inpainted image, of masked pixels only: (B, K, H, W, C).

    Each pixel is masked under half of the masks of a scale; the generator's values
    there are averaged. With a subset of each scale's masks, the result is their share
    of the average.
    """
    masked = inpainted_mbhwc * masks_mhw[:, None, :, :, None]
    grouped = masked.reshape(scales, -1, *inpainted_mbhwc.shape[1:])
    return jnp.swapaxes(jnp.sum(grouped, axis=1), 0, 1) * 2 / masks_lib.MASKS_PER_SCALE


def merge(
    how: str,
    image_score: str,
    mu_k: jax.Array,
    maps_bkhw: jax.Array,
    pictures_bkhwc: dict[str, jax.Array],
) -> Scored:
    """Merges the maps of the scales into one map per image.

    Args:
      how: 'max_mu' selects the scale with the largest mean(E_i) - mu_i, Eq. 8 and 9;
        'max' that with the largest mean(E_i); 'mean' averages the scales.
      image_score: 'mean' or 'max' of the merged map.
      mu_k: mean error of each scale on normal training images.
      maps_bkhw: each scale's map E_i.
      pictures_bkhwc: each scale's pictures.
    """
    means = jnp.mean(maps_bkhw, axis=(2, 3))
    if how == "mean":
        scales = jnp.full(means.shape[:1], -1)
        reduce = functools.partial(jnp.mean, axis=1)
    else:
        scales = jnp.argmax(means - mu_k[None] if how == "max_mu" else means, axis=1)

        def reduce(candidates):
            return candidates[jnp.arange(len(scales)), scales]

    maps = reduce(maps_bkhw)
    return Scored(
        maps=maps,
        scores=reduce(means) if image_score == "mean" else jnp.max(maps, axis=(1, 2)),
        scales=scales,
        scale_means=means,
        pictures=jax.tree.map(reduce, pictures_bkhwc),
    )
