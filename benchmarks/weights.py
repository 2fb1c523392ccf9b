"""Weights drawn by their PyTorch names, equal in both frameworks.

Neither process needs the other framework or a file.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def drawn(full_name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Float32 values that depend only on name and shape.

    He's initialisation, small biases, scales of norms about 1, unit vectors for the
    spectral norm, and the initial running statistics of batch norm.

    Args:
      full_name: the name of the network, and PyTorch's name of the parameter.
      shape: PyTorch's shape.
    """
    if full_name.endswith("running_mean"):
        return np.zeros(shape, np.float32)
    if full_name.endswith("running_var"):
        return np.ones(shape, np.float32)
    rng = np.random.default_rng(zlib.crc32(full_name.encode()))
    value = rng.standard_normal(shape, np.float32)
    if full_name.endswith(("_u", "_v")):
        return value / np.linalg.norm(value)
    if len(shape) > 1:
        return value * np.float32(math.sqrt(2 / math.prod(shape[1:])))
    if full_name.endswith(("bias", "beta")):
        return value * np.float32(0.05)
    return 1 + value * np.float32(0.1)


def images(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Uint8 images (B, H, W, C) of random brightness, with a little noise.

    With pure noise nearly everything cancels out in the discriminator's gradients, and
    a single ReLU that rounds to the other side shows in their norm.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    batch, *_, channels = shape
    brightness = rng.integers(64, 192, (batch, 1, 1, channels))
    return (brightness + rng.integers(-64, 64, shape)).astype(np.uint8)
