"""How well scores and maps find anomalies, on images and on pixels; exact, with ties.

Everything follows from one `Sweep` over the distinct scores: equal scores are found
together, in one step. An image or pixel is found at a threshold if its score is equal
or higher. A metric that needs both classes is NaN where one is missing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import ndimage


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What is found at each threshold, from the highest score down to the lowest.

    Attributes:
      thresholds: (t,) the distinct scores, falling.
      hits: (t,) int64, anomalous ones found.
      alarms: (t,) int64, normal ones found.
      weight: (t,) float64, sum of the weights found; None where none were given.
    """

    thresholds: np.ndarray
    hits: np.ndarray
    alarms: np.ndarray
    weight: np.ndarray | None

    @classmethod
    def of(
        cls, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
    ) -> Sweep:
        """Sorts once.

        Args:
          labels: (n,) true where anomalous.
          scores: (n,) higher is more anomalous.
          weights: (n,) or None.

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
        hits = np.cumsum(labels[order])[ends]
        weight = None if weights is None else np.cumsum(weights[order])[ends]
        return cls(scores[ends], hits, ends + 1 - hits, weight)

    @property
    def has_both(self) -> bool:
        """Whether there are anomalous and normal ones."""
        return bool(self.hits.size and self.hits[-1] and self.alarms[-1])

    def roc(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positive rates, (t + 1,) each, from (0, 0) to (1, 1)."""
        return _from_zero(self.alarms), _from_zero(self.hits)

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
        precision = self.hits / (self.hits + self.alarms)
        return float(np.diff(self.hits, prepend=0) @ precision / self.hits[-1])

    def best_f1(self) -> tuple[float, float]:
        """Largest F1 and the (highest) threshold that gives it."""
        return self._best(lambda hits, alarms: 2 * hits / (hits[-1] + hits + alarms))

    def best_iou(self) -> tuple[float, float]:
        """Largest intersection over union and the (highest) threshold of it."""
        return self._best(lambda hits, alarms: hits / (hits[-1] + alarms))

    def iou_above(self, threshold: float) -> float:
        """Intersection over union of what scores higher than a threshold."""
        if not self.has_both:
            return float("nan")
        found = np.count_nonzero(self.thresholds > threshold)
        if not found:
            return 0.0
        hits, alarms = self.hits[found - 1], self.alarms[found - 1]
        return float(hits / (self.hits[-1] + alarms))

    def _best(self, measure) -> tuple[float, float]:
        if not self.has_both:
            return float("nan"), float("nan")
        values = measure(self.hits, self.alarms)
        best = np.argmax(values)
        return float(values[best]), float(self.thresholds[best])

    def partial_area(self, max_fpr: float) -> float:
        """Area under (false positive rate, share of the weight) up to `max_fpr`.

        Divided by `max_fpr`, so that the best is 1.

        Raises:
          ValueError: `max_fpr` is not in (0, 1].
        """
        if not 0 < max_fpr <= 1:
            raise ValueError(f"max_fpr {max_fpr} is not in (0, 1]")
        if not self.has_both:
            return float("nan")
        x, y = _from_zero(self.alarms), _from_zero(self.weight)
        # The first point at or beyond the limit: a rise exactly at the limit has no
        # area to its left.
        end = np.searchsorted(x, max_fpr)
        share = (max_fpr - x[end - 1]) / (x[end] - x[end - 1])
        y_limit = y[end - 1] + share * (y[end] - y[end - 1])
        area = np.trapezoid(np.append(y[:end], y_limit), np.append(x[:end], max_fpr))
        return float(area / max_fpr)


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUROC, average precision and best F1 of image scores.

    Args:
      labels: (n,) 1 or True where anomalous.
      scores: (n,) higher is more anomalous.

    Returns:
      auroc, ap, f1_max and f1_threshold; NaN where a class is missing.
    """
    sweep = Sweep.of(labels, scores)
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

    Both IoU are of the pixels of all images, normal ones included: intersections and
    unions are summed before they are divided. `iou` is that of the best threshold for
    these very images, `iou_at_threshold` that of a threshold from elsewhere.

    Args:
      masks: one (H, W) bool per image, True where anomalous; all False where normal.
      maps: one (H, W) float per image; sizes may differ between images.
      max_fpr: limit of AUPRO, in (0, 1].
      threshold: pixels above it are called anomalous, UTAD Eq. 9; None if there is
        none.

    Returns:
      auroc_per_image, auroc_pooled, aupro, iou and iou_threshold, and with a threshold
      iou_at_threshold; NaN where a class is missing.

    Raises:
      ValueError: the numbers or sizes of masks and maps differ, or a map has NaN.
    """
    sweep = _pixel_sweep(masks, maps)
    iou, iou_threshold = sweep.best_iou()
    result = {
        "auroc_per_image": pixel_auroc_per_image(masks, maps),
        "auroc_pooled": sweep.auroc(),
        "aupro": sweep.partial_area(max_fpr),
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
    _check(masks, maps)
    aurocs = [
        Sweep.of(np.ravel(mask), np.ravel(heat)).auroc()
        for mask, heat in zip(masks, maps, strict=True)
        if np.any(mask) and not np.all(mask)
    ]
    return float(np.mean(aurocs)) if aurocs else float("nan")


def pixel_auroc_pooled(
    masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]
) -> float:
    """AUROC of all pixels of all images together. Arguments: `pixel_metrics`."""
    return _pixel_sweep(masks, maps).auroc()


def aupro(
    masks: Sequence[np.ndarray], maps: Sequence[np.ndarray], max_fpr: float = 0.3
) -> float:
    """Area under the per-region overlap curve, Bergmann et al., MVTec AD (IJCV 2021).

    The found share of each 8-connected region, averaged over the regions of all
    images, against the false positive rate over the normal pixels of all images;
    area up to `max_fpr`, divided by it. Every distinct value of the maps is a
    threshold. Arguments: `pixel_metrics`.
    """
    return _pixel_sweep(masks, maps).partial_area(max_fpr)


def best_iou(
    masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]
) -> tuple[float, float]:
    """Best pooled intersection over union, and the (highest) threshold that gives it.

    Arguments: `pixel_metrics`.
    """
    return _pixel_sweep(masks, maps).best_iou()


def _pixel_sweep(masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> Sweep:
    _check(masks, maps)
    empty = [np.zeros(0)]  # np.concatenate refuses an empty list
    return Sweep.of(
        np.concatenate([np.ravel(mask).astype(bool) for mask in masks] or empty),
        np.concatenate([np.ravel(heat) for heat in maps] or empty),
        np.concatenate([_region_shares(mask) for mask in masks] or empty),
    )


def _region_shares(mask: np.ndarray) -> np.ndarray:
    """Each pixel's share of its region, 1 / size; 0 for normal pixels; (H * W,)."""
    regions, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    sizes = np.bincount(regions.ravel())
    return np.append(0.0, 1 / sizes[1:])[regions.ravel()]


def _check(masks: Sequence[np.ndarray], maps: Sequence[np.ndarray]) -> None:
    if len(masks) != len(maps):
        raise ValueError(f"{len(masks)} masks != {len(maps)} maps")
    for index, (mask, heat) in enumerate(zip(masks, maps, strict=True)):
        if np.ndim(mask) != 2 or np.shape(mask) != np.shape(heat):
            raise ValueError(
                f"image {index}: mask {np.shape(mask)} != map {np.shape(heat)}"
            )


def _from_zero(counts: np.ndarray) -> np.ndarray:
    """Cumulative counts as shares of their total, with a 0 before them."""
    return np.append(0.0, counts / counts[-1])
