"""Metrics of one detector: for each kind of defect, and for all images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_scadn.data import records
from jax_scadn.reports import metrics, uncertainty

ALL = "all"


class Truth(NamedTuple):
    """What is known of the test images.

    Attributes:
      labels: (n,) `records.NORMAL` or `records.ANOMALOUS`.
      defects: (n,) names.
      masks: (H, W) bool of each, True where anomalous; None where it is not known.
    """

    labels: np.ndarray
    defects: np.ndarray
    masks: list[np.ndarray | None]

    @classmethod
    def of(cls, test: records.Split) -> Truth:
        """Reads the masks; those of normal images are empty."""
        masks = []
        for record in test:
            if record.mask is None and record.label == records.NORMAL:
                masks.append(np.zeros(record.image.shape[:2], bool))
            else:
                masks.append(record.mask)
        return cls(test.labels, np.array(test.defects), masks)


def table(
    truth: Truth,
    maps: Sequence[np.ndarray] | None,
    scores: np.ndarray,
    map_threshold: float | None,
) -> dict[str, Any]:
    """Metrics of each kind of defect against all normal images, and of all.

    Args:
      truth: of the images.
      maps: (H, W) anomaly map of each, float32 or shorter; None where a method has
        image scores only.
      scores: (n,).
      map_threshold: a pixel above it is called anomalous; None if it is not known.

    Returns:
      By the name of the defect, the last one `ALL`: 'images', their number; 'image',
      see `metrics.image_metrics`; 'pixel', see `metrics.pixel_metrics`, or None. With
      `ALL`, 'image' has the 'auroc_interval', None where a class has too few images.
    """
    anomalous = truth.labels == records.ANOMALOUS
    kinds = sorted(set(truth.defects[anomalous]))
    chosen = {
        f"{kind} (defect)" if kind == ALL else kind: (truth.defects == kind)
        | (truth.labels == records.NORMAL)
        for kind in kinds
    }
    if len(kinds) == 1:
        chosen = {}  # it would be the same as all
    chosen[ALL] = np.ones(len(anomalous), bool)
    by_defect = {}
    for kind, which in chosen.items():
        known = [i for i in np.flatnonzero(which) if truth.masks[i] is not None]
        with_truth = any(truth.masks[i].any() for i in known)
        pixel = None
        if with_truth and maps is not None:
            pixel = metrics.pixel_metrics(
                [truth.masks[i] for i in known],
                [np.asarray(maps[i], np.float32) for i in known],
                threshold=map_threshold,
            )
        by_defect[kind] = {
            "images": int(np.sum(which if kind == ALL else which & anomalous)),
            "image": metrics.image_metrics(truth.labels[which], scores[which]),
            "pixel": pixel,
        }
    by_defect[ALL]["image"]["auroc_interval"] = _interval(truth.labels, scores)
    return by_defect


def _interval(labels: np.ndarray, scores: np.ndarray) -> list[float] | None:
    if np.bincount(labels, minlength=2).min() < uncertainty.LEAST:
        return None
    return list(uncertainty.auroc_interval(labels, scores))
