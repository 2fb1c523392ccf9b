"""Paired timing samples, and their summaries."""

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
    """Samples of both, pair by pair, so that a noisy minute meets both.

    Which of them is called first alternates.

    Args:
      first: takes a sample.
      second: the same.
      rounds: pairs, if there is time.
      limit: seconds after which no further pair is begun.
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
    """How many times as long the second one of each pair takes."""
    return Spread.of([second / first for first, second in samples])
