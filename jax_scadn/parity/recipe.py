"""Generation and reading of the arrays of golden files, for all methods."""

from __future__ import annotations

import zlib

import jax
import jax.numpy as jnp
import numpy as np


def standard_normal(seed: int, full_name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float64 draws that depend on the seed and the CRC-32 of an array's full name."""
    rng = np.random.default_rng([seed, zlib.crc32(full_name.encode())])
    return rng.standard_normal(shape)


def images_bhwc(images_u8_nchw: np.ndarray) -> jax.Array:
    """The images of a file, in [0, 1]."""
    return jnp.asarray(images_u8_nchw.transpose(0, 2, 3, 1), jnp.float32) / 255
