"""Multi-scale gradient magnitude similarity, MSGMS (RIAD).

Xue et al., Gradient Magnitude Similarity Deviation, IEEE TIP 2014; at several scales in
Zavrtanik et al., Reconstruction by inpainting for visual anomaly detection, 2021.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp

SCALES = 4  # sizes of the images, each half of the one before
_C = 0.0026
# Squared magnitudes are never 0, where the slope of their root is infinite.
_EPS = 1e-12


def magnitude(images_bhw: jax.Array) -> jax.Array:
    """sqrt(gx^2 + gy^2) of Prewitt's gradients, divided by 3; edges are repeated."""
    x = jnp.pad(images_bhw, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = x[:, :-2] + x[:, 1:-1] + x[:, 2:]
    columns = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    across = (rows[:, :, :-2] - rows[:, :, 2:]) / 3
    down = (columns[:, :-2] - columns[:, 2:]) / 3
    return jnp.sqrt(jnp.square(across) + jnp.square(down) + _EPS)


def dissimilarities(a_bhwc: jax.Array, b_bhwc: jax.Array) -> list[jax.Array]:
    """1 - GMS at each scale, from the full size to an eighth, each (B, H', W').

    With g the gradient magnitude of the mean over channels,

      GMS = (2 g_a g_b + c) / (g_a^2 + g_b^2 + c)

    so that 1 - GMS = (g_a - g_b)^2 / (g_a^2 + g_b^2 + c), exactly 0 for equal images.
    A scale is the 2 x 2 mean of the one before.

    Args:
      a_bhwc: images; H and W are multiples of 8.
      b_bhwc: those to compare with.
    """
    if a_bhwc.shape != b_bhwc.shape:
        raise ValueError(f"images {a_bhwc.shape} != {b_bhwc.shape}")
    a, b = (jnp.mean(x.astype(jnp.float32), axis=-1) for x in (a_bhwc, b_bhwc))
    result = []
    for scale in range(SCALES):
        if scale:
            a, b = _halved(a), _halved(b)
        g_a, g_b = magnitude(a), magnitude(b)
        total = jnp.square(g_a) + jnp.square(g_b) + _C
        result.append(jnp.square(g_a - g_b) / total)
    return result


def msgms_loss(a_bhwc: jax.Array, b_bhwc: jax.Array) -> jax.Array:
    """Mean over scales and pixels of 1 - GMS, a scalar."""
    return sum(map(jnp.mean, dissimilarities(a_bhwc, b_bhwc))) / SCALES


def msgms_map(a_bhwc: jax.Array, b_bhwc: jax.Array) -> jax.Array:
    """1 - MSGMS at each pixel, (B, H, W): the mean of all scales, upsampled."""
    shape = a_bhwc.shape[:3]
    scales = dissimilarities(a_bhwc, b_bhwc)
    return sum(jax.image.resize(x, shape, "bilinear") for x in scales) / SCALES


def _halved(x_bhw: jax.Array) -> jax.Array:
    return nn.avg_pool(x_bhw[..., None], (2, 2), (2, 2))[..., 0]
