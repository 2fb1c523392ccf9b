"""Paired timing samples and their summaries."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Sequence


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of a number of samples."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        return cls(statistics.median(samples), min(samples), max(samples))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.least:.3g} to {self.most:.3g})"


def pairs(
    first: Callable[[], float],
    second: Callable[[], float],
    rounds: int,
    limit: float = math.inf,
) -> list[tuple[float, float]]:
    """Samples of both, pair by pair, so that a noisy minute affects both.

    The order within a pair alternates.

    Args:
      first: takes a sample.
      second: likewise.
      rounds: number of pairs, unless `limit` is reached.
      limit: seconds after which no further pair is started; there is always one.
    """
    samples = []
    end = time.monotonic() + limit
    for number in range(rounds):
        if samples and time.monotonic() > end:
            break
        if number % 2:
            b = second()
            samples.append((first(), b))
        else:
            a = first()
            samples.append((a, second()))
    return samples


def times_as_fast(samples: Sequence[tuple[float, float]]) -> Spread:
    """Ratios of the second to the first sample of each pair."""
    return Spread.of([second / first for first, second in samples])
