"""Synthetic defects planted into good images, of a given size and contrast.

Of an image in [0, 1] and a soft mask a in [0, 1], the defect d is blended in:
(1 - a) x + a d. All come from the generator that is given, so that a seed repeats them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

_EDGE = 1.0  # pixels over which a defect fades
_SLENDER = 10  # length of a scratch in units of its width
_BEND = 0.15  # of a scratch, in units of its length

Generator = np.random.Generator


def plant(
    image_hwc: np.ndarray, kind: str, size: float, contrast: float, rng: Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An image with one defect, entirely inside of it, and the defect's mask.

    Args:
      image_hwc: float in [0, 1].
      kind: a key of `KINDS`.
      size: of the defect's longer side, pixels.
      contrast: in (0, 1]. Of a stain or scratch the difference of its values to those
        below it; of a missing piece or swapped texture the opacity.
      rng: draws place, shape, direction and sign.

    Returns:
      (H, W, C) float32, and (H, W) bool, True where the defect is half visible or more.
    """
    height, width = image_hwc.shape[:2]
    margin = size / 2 + _EDGE
    y, x = (
        rng.uniform(min(margin, n / 2), max(n - margin, n / 2)) for n in (height, width)
    )
    angle = rng.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[:height, :width] + 0.5
    rows, columns = rows - y, columns - x
    # Pixels along and across the defect.
    along = columns * np.cos(angle) + rows * np.sin(angle)
    across = rows * np.cos(angle) - columns * np.sin(angle)
    alpha, defect = KINDS[kind](image_hwc, along, across, size, contrast, rng)
    blended = image_hwc + alpha[..., None] * (defect - image_hwc)
    return blended.astype(np.float32), alpha >= 0.5 * np.max(alpha)


def _ellipse(along, across, size: float, rng: Generator) -> np.ndarray:
    """1 inside of an ellipse, 0 outside, with a soft edge."""
    long, short = size / 2, size / 2 * rng.uniform(0.6, 1)
    radius = np.hypot(along / long, across / short)
    return np.clip((1 - radius) * short / _EDGE + 0.5, 0, 1)


def _shifted(image, alpha, contrast: float, rng: Generator) -> np.ndarray:
    """Brighter or darker by the contrast, where there is room for it."""
    mean = float(np.average(image.mean(axis=-1), weights=alpha))
    room = (1 - mean, mean)
    bright = rng.uniform() < 0.5 if min(room) >= contrast else room[0] > room[1]
    return np.clip(image + (contrast if bright else -contrast), 0, 1)


def _stain(image, along, across, size, contrast, rng):
    alpha = _ellipse(along, across, size, rng)
    return alpha, _shifted(image, alpha, contrast, rng)


def _scratch(image, along, across, size, contrast, rng):
    half, width = size / 2, max(1.0, size / _SLENDER)
    bend = rng.uniform(-_BEND, _BEND) * size
    across = across - bend * ((along / half) ** 2 - 0.5)
    inside = np.minimum(width / 2 - np.abs(across), half - np.abs(along))
    alpha = np.clip(inside / _EDGE + 0.5, 0, 1)
    return alpha, _shifted(image, alpha, contrast, rng)


def _missing_piece(image, along, across, size, contrast, rng):
    """The values around the piece are continued into it, without its texture."""
    alpha = _ellipse(along, across, size, rng)
    ring = (ndimage.maximum_filter(alpha, 5) > 0) & (alpha == 0)
    values = image[ring] if np.any(ring) else image.reshape(-1, image.shape[-1])
    return contrast * alpha, np.median(values, axis=0)


def _swapped_texture(image, along, across, size, contrast, rng):
    """The same image turned by a quarter or more and moved."""
    alpha = _ellipse(along, across, size, rng)
    square = image.shape[0] == image.shape[1]
    turned = np.rot90(image, rng.integers(1, 4) if square else 2)
    moved = [int(rng.integers(n // 4, 3 * n // 4 + 1)) for n in image.shape[:2]]
    return contrast * alpha, np.roll(turned, moved, axis=(0, 1))


KINDS: dict[str, Callable] = {
    "stain": _stain,
    "scratch": _scratch,
    "missing piece": _missing_piece,
    "swapped texture": _swapped_texture,
}
