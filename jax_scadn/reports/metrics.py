"""Detection metrics of image scores and pixel maps; exact, with ties.

All of them follow from one sweep over the distinct scores, `ThresholdSweep` of images
and `pixel_sweep.PixelSweep` of pixels: equal scores are detected together, in one step.
An image or pixel is detected at a threshold if its score is equal or higher. A metric
that needs both classes is NaN if one is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from jax_scadn.reports import pixel_sweep


@dataclasses.dataclass(frozen=True)
class ThresholdSweep:
    """Counts of detections at each threshold, from the highest score to the lowest.

    Attributes:
      thresholds: (t,) the distinct scores, descending.
      true_positives: (t,) int64, anomalous and detected.
      false_positives: (t,) int64, normal and detected.
    """

    thresholds: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray) -> ThresholdSweep:
        """Sorts the scores once.

        Args:
          labels: (n,) true where anomalous.
          scores: (n,) higher is more anomalous.

        Raises:
          ValueError: shapes differ, or a score is NaN.
        """
        labels, scores = np.asarray(labels, bool), np.asarray(scores)
        if labels.ndim != 1 or labels.shape != scores.shape:
            raise ValueError(f"labels {labels.shape} != scores {scores.shape}")
        nans = np.count_nonzero(np.isnan(scores))
        if nans:
            raise ValueError(f"{nans} of {scores.size} scores are NaN")
        order = np.argsort(scores)[::-1]
        scores = scores[order]
        last_of_ties = np.ones(scores.size, bool)
        last_of_ties[:-1] = scores[1:] != scores[:-1]
        ends = np.flatnonzero(last_of_ties)
        true_positives = np.cumsum(labels[order])[ends]
        return cls(scores[ends], true_positives, ends + 1 - true_positives)

    @property
    def has_both(self) -> bool:
        """Whether there are anomalous and normal samples."""
        positives, negatives = self.true_positives, self.false_positives
        return bool(positives.size and positives[-1] and negatives[-1])

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positive rates, (t + 1,) each, from (0, 0) to (1, 1)."""
        return _rates(self.false_positives), _rates(self.true_positives)

    def auroc(self) -> float:
        """Area under the ROC curve; ties count half."""
        if not self.has_both:
            return float("nan")
        false_rate, true_rate = self.roc()
        return float(np.trapezoid(true_rate, false_rate))

    def average_precision(self) -> float:
        """Sum over thresholds of (gain in recall) * precision."""
        if not self.has_both:
            return float("nan")
        positives = self.true_positives
        precision = positives / (positives + self.false_positives)
        return float(np.diff(positives, prepend=0) @ precision / positives[-1])

    def best_f1(self) -> tuple[float, float]:
        """Largest F1 and the (highest) threshold that gives it."""
        if not self.has_both:
            return float("nan"), float("nan")
        positives = self.true_positives
        values = 2 * positives / (positives[-1] + positives + self.false_positives)
        best = np.argmax(values)
        return float(values[best]), float(self.thresholds[best])


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUROC, average precision and best F1 of image scores.

    Args:
      labels: (n,) 1 or True where anomalous.
      scores: (n,) higher is more anomalous.

    Returns:
      auroc, ap, f1_max and f1_threshold; NaN where a class is missing.
    """
    sweep = ThresholdSweep.of(labels, scores)
    f1_max, f1_threshold = sweep.best_f1()
    return {
        "auroc": sweep.auroc(),
        "ap": sweep.average_precision(),
        "f1_max": f1_max,
        "f1_threshold": f1_threshold,
    }


def pixel_metrics(
    masks: Sequence[np.ndarray],
    maps: Sequence[np.ndarray],
    max_fpr: float = 0.3,
    threshold: float | None = None,
) -> dict[str, float]:
    """All pixel metrics, from one sort of all pixels.

    Both IoU pool the pixels of all images, normal ones included: intersections and
    unions are summed before they are divided. `iou` is that of the best threshold for
    these images, `iou_at_threshold` that of the given threshold.

    AUPRO is the area under the per-region overlap curve, Bergmann et al., MVTec AD
    (IJCV 2021): the detected share of each 8-connected region, averaged over the
    regions of all images, against the false positive rate over the normal pixels of
    all images; the area up to `max_fpr`, divided by it. Every distinct value of the
    maps is a threshold.

    Args:
      masks: one (H, W) bool per image, True where anomalous; all False where normal.
      maps: one (H, W) float32 per image; sizes may differ between images.
      max_fpr: limit of AUPRO, in (0, 1].
      threshold: pixels above it are classified as anomalous, UTAD Eq. 9; or None.

    Returns:
      auroc_per_image, auroc_pooled (of all pixels together), aupro, iou and
      iou_threshold, and with a threshold iou_at_threshold; NaN if a class is missing.

    Raises:
      ValueError: the numbers or sizes of masks and maps differ, a map is not float32
        or has NaN, or `max_fpr` is not in (0, 1].
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"max_fpr {max_fpr} is not in (0, 1]")
    sweep = pixel_sweep.PixelSweep.of(masks, maps)
    iou, iou_threshold = sweep.best_iou()
    result = {
        "auroc_per_image": pixel_auroc_per_image(masks, maps),
        "auroc_pooled": sweep.auroc(),
        "aupro": sweep.aupro(max_fpr),
        "iou": iou,
        "iou_threshold": iou_threshold,
    }
    if threshold is not None:
        result["iou_at_threshold"] = sweep.iou_above(threshold)
    return result


def pixel_auroc_per_image(
    masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]
) -> float:
    """Mean of the pixel AUROC of each image that has both kinds of pixels.

    This is the number in Table 3 of the SCADN paper. Arguments: `pixel_metrics`.
    """
    pixel_sweep.check(masks, maps)
    aurocs = [
        pixel_sweep.PixelSweep.of([mask], [map_hw], separate=False).auroc()
        for mask, map_hw in zip(masks, maps, strict=True)
        if np.any(mask) and not np.all(mask)
    ]
    return float(np.mean(aurocs)) if aurocs else float("nan")


def _rates(counts: np.ndarray) -> np.ndarray:
    """Cumulative counts as shares of their total, preceded by 0."""
    return np.append(0.0, counts / counts[-1])
