"""Which normal training images are held out for the threshold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

_WORDS = 2**64


def by_position(count: int, share: float, seed: int) -> np.ndarray:
    """Sorted indices of round(share * count) of `count` images, drawn by the seed.

    At least one and never all, where the share is above 0.
    """
    held = 0
    if share > 0 and count > 1:
        held = min(max(1, round(share * count)), count - 1)
    return np.sort(np.random.default_rng(seed).permutation(count)[:held])


def by_name(names: Sequence[str], share: float, seed: int) -> np.ndarray:
    """Sorted indices of about that share of the images, each drawn by its name alone.

    An image is on the same side whichever others are there, so that those held out
    stay so when others are added. At least one and never all, where the share is
    above 0: then the first or the last of the draw changes sides.
    """
    if share <= 0 or len(names) < 2:
        return np.arange(0)
    draws = np.array([_uniform(name, seed) for name in names])
    order = np.argsort(draws, kind="stable")
    held = min(max(1, np.count_nonzero(draws < share)), len(names) - 1)
    return np.sort(order[:held])


def _uniform(name: str, seed: int) -> float:
    """A number in [0, 1) that a name and a seed fix."""
    text = f"{seed}\0{name}".encode(errors="surrogateescape")
    digest = hashlib.blake2b(text, digest_size=8).digest()
    return int.from_bytes(digest, "big") / _WORDS
