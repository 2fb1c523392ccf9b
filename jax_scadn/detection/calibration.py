"""Calibration: thresholds and colours from normal images only."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds of a detector and the colours of its maps.

    Those of the maps are None where a method has image scores only.

    Attributes:
      threshold: an image that scores higher is called anomalous.
      false_alarm_rate: share of normal images that the threshold aims at.
      map_threshold: tau of UTAD Eq. 9; a pixel of a map above it is called anomalous.
      pixel_false_alarm_rate: share of the pixels of normal images that tau aims at.
      threshold_images: normal images that both thresholds were taken from.
      held_out: whether those were kept from training; if not, the thresholds are too
        low for new images.
      vmin: map value where the colours of anomaly maps start.
      vmax: map value where they end.
    """

    threshold: float
    false_alarm_rate: float
    map_threshold: float | None
    pixel_false_alarm_rate: float
    threshold_images: int
    held_out: bool
    vmin: float | None
    vmax: float | None


_OF_MAPS = ("map_threshold", "vmin", "vmax")


def parse(values: Mapping[str, Any]) -> Calibration:
    """The calibration whose `dataclasses.asdict` was written to a file.

    Raises:
      ValueError: a value is missing, unknown, of another type, or not finite.
    """
    fields = {field.name for field in dataclasses.fields(Calibration)}
    if unpaired := sorted(fields ^ set(values)):
        raise ValueError(f"{unpaired[0]} is missing or unknown")
    without_maps = all(values[name] is None for name in _OF_MAPS)
    for name, value in values.items():
        if name == "held_out":
            right = isinstance(value, bool)
        elif name == "threshold_images":
            right = type(value) is int and value > 0
        elif name in _OF_MAPS and without_maps:
            continue
        else:
            right = type(value) in (int, float) and math.isfinite(value)
        if not right:
            raise ValueError(f"{name} must not be {value!r}")
    return Calibration(**values)


def calibrate(
    rates: ml_collections.ConfigDict,
    scores: np.ndarray,
    maps: np.ndarray | None,
    held_out: bool,
) -> Calibration:
    """The calibration that scores and maps of normal images give.

    Args:
      rates: `config.calibration`.
      scores: (n,).
      maps: (n, H, W), or None.
      held_out: whether the images were kept from training.
    """
    vmin = vmax = map_threshold = None
    if maps is not None:
        vmin, high = map(float, np.quantile(maps, (0.5, 0.999)))
        vmax = max(high, vmin + 1e-6) * 2
        map_threshold = threshold(maps, rates.pixel_false_alarm_rate)
    return Calibration(
        threshold=threshold(scores, rates.false_alarm_rate),
        false_alarm_rate=rates.false_alarm_rate,
        map_threshold=map_threshold,
        pixel_false_alarm_rate=rates.pixel_false_alarm_rate,
        threshold_images=len(scores),
        held_out=held_out,
        vmin=vmin,
        vmax=vmax,
    )


def threshold(scores: np.ndarray, false_alarm_rate: float) -> float:
    """The score that a new normal image exceeds with at most that probability.

    Of n scores of normal images the ceil((n + 1) (1 - rate))-th smallest one has
    that property (split conformal prediction). Where n is too small for the rate,
    the largest score is taken, whose rate is 1 / (n + 1).

    Of the pixels of normal maps at most that share exceeds the value of this rank; of
    those of new maps about that share, since pixels of one image are not independent.

    Args:
      scores: of normal images, or their maps; of any shape.
      false_alarm_rate: in [0, 1).
    """
    rank = math.ceil((scores.size + 1) * (1 - false_alarm_rate))
    index = min(rank, scores.size) - 1
    return float(np.partition(scores, index, axis=None)[index])
