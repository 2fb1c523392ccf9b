"""Calibration: thresholds and colours from normal images only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from jax_scadn.detection import false_alarms

OK, LOOK, ANOMALOUS = "ok", "look", "anomalous"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Thresholds of a detector and the colours of its maps.

    Those of the maps are None where a method has image scores only.

    Attributes:
      threshold: an image that scores higher is called anomalous.
      false_alarm_rate: share of normal images that the threshold aims at.
      look_threshold: an image that scores higher, but not above the threshold, is one
        to look at; None where there is no such band.
      look_rate: share of normal images above it that it aims at.
      confidence: of the promises on false alarms.
      map_threshold: tau of UTAD Eq. 9; a pixel of a map above it is called anomalous.
      pixel_false_alarm_rate: share of the pixels of normal images that tau aims at.
      scores: of the normal images that the thresholds were taken from, ascending.
      held_out: whether those were kept from training; if not, the thresholds are too
        low for new images.
      vmin: map value where the colours of anomaly maps start.
      vmax: map value where they end.
    """

    threshold: float
    false_alarm_rate: float
    look_threshold: float | None
    look_rate: float
    confidence: float
    map_threshold: float | None
    pixel_false_alarm_rate: float
    scores: tuple[float, ...]
    held_out: bool
    vmin: float | None
    vmax: float | None

    @property
    def promise(self) -> false_alarms.Promise | None:
        """Of the threshold; None where it comes from images of the training."""
        if not self.held_out:
            return None
        return false_alarms.promise(self.scores, self.threshold, self.confidence)

    def p_values(self, scores: np.ndarray) -> np.ndarray | None:
        """Of (B,) scores, (B,), see `false_alarms`; None as for `promise`."""
        if not self.held_out:
            return None
        return false_alarms.p_values(np.array(self.scores), scores)

    def decision(self, score: float) -> str:
        """'ok', 'look' or 'anomalous'."""
        if score > self.threshold:
            return ANOMALOUS
        if self.look_threshold is not None and score > self.look_threshold:
            return LOOK
        return OK


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
        **of_scores(rates, scores),
        false_alarm_rate=rates.false_alarm_rate,
        look_rate=rates.look_rate,
        confidence=rates.confidence,
        map_threshold=map_threshold,
        pixel_false_alarm_rate=rates.pixel_false_alarm_rate,
        held_out=held_out,
        vmin=vmin,
        vmax=vmax,
    )


def of_scores(rates: Mapping[str, float], scores: np.ndarray) -> dict[str, Any]:
    """The fields of a calibration that come from scores; see `calibrate`."""
    look = None
    if rates["look_rate"]:
        look = threshold(scores, rates["look_rate"])
    return {
        "threshold": threshold(scores, rates["false_alarm_rate"]),
        "look_threshold": look,
        "scores": tuple(sorted(map(float, scores))),
    }


def threshold(scores: np.ndarray, false_alarm_rate: float) -> float:
    """The score that a new normal image exceeds with at most that probability.

    It is the score of `false_alarms.rank` (split conformal prediction). Where n images
    are too few for the rate, it is the largest score, whose rate is 1 / (n + 1).

    Of the pixels of normal maps at most that share exceeds the value of this rank; of
    those of new maps about that share, since pixels of one image are not independent.

    Args:
      scores: of normal images, or their maps; of any shape.
      false_alarm_rate: in [0, 1).
    """
    index = false_alarms.rank(scores.size, false_alarm_rate) - 1
    return float(np.partition(scores, index, axis=None)[index])
