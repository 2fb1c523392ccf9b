"""Means over seeds and over categories."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean over seeds.

    Attributes:
      value: the mean.
      deviation: standard deviation between seeds (n - 1); None for a single seed.
      seeds: which.
    """

    value: float
    deviation: float | None
    seeds: tuple[int, ...]


def over_seeds(values: Mapping[int, float]) -> Mean | None:
    """The mean of values by seed; None without any."""
    if not values:
        return None
    seeds = tuple(sorted(values))
    numbers = [values[seed] for seed in seeds]
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return Mean(statistics.fmean(numbers), deviation, seeds)


def over_categories(
    values: Mapping[str, Mapping[int, float]], categories: Sequence[str]
) -> Mean | None:
    """The mean over seeds of each seed's mean over all categories.

    Args:
      values: by category and seed.
      categories: all that the mean is over.

    Returns:
      None if no seed has all categories: a mean over some of them would be mistaken
      for the mean over all.
    """
    seeds = [set(values.get(category, {})) for category in categories]
    shared = functools.reduce(set.intersection, seeds) if seeds else set()
    return over_seeds(
        {
            seed: statistics.fmean(values[category][seed] for category in categories)
            for seed in shared
        }
    )
