"""Confidence intervals and paired tests for image AUROC.

They cover the choice of test images: another test split of the same kind and size
would give the same trained detectors other AUROCs. They do not cover training: the
spread over seeds is not part of any interval.

AUROC is the share of (anomalous, normal) pairs that the scores put in the right
order, ties counting half.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from jax_scadn.reports import metrics

LEAST = 2  # images of each class; fewer do not have a variance
_RESAMPLE_BATCH = 20  # bounds memory; divides 2000, which saves a compilation


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


class Difference(NamedTuple):
    """AUROC of one detector minus that of another, over test images.

    Attributes:
      value: the difference.
      low, high: its confidence interval.
      p_value: two-sided, for the hypothesis that there is none.
    """

    value: float
    low: float
    high: float
    p_value: float


class Group(NamedTuple):
    """Scores of one category's test images.

    Attributes:
      images: (n,) names; the same one in two groups is the same image.
      labels: (n,) 1 or True where anomalous.
      scores_sn: (seeds, n) higher is more anomalous.
    """

    images: Sequence[str]
    labels: np.ndarray
    scores_sn: np.ndarray


class SeedDifference(NamedTuple):
    """Mean AUROC of one system's seeds minus that of another's.

    Attributes:
      value: the difference.
      low, high: its confidence interval over test images, for these seeds.
    """

    value: float
    low: float
    high: float


def auroc_interval(
    labels: np.ndarray,
    scores: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of the AUROC, or of its mean over seeds.

    Stratified: normal images are drawn from the normal ones and anomalous images
    from the anomalous ones, as many as there are, so that no resample lacks a class.
    Perfectly separated scores give [1, 1], and with ten images of a class or fewer
    the interval is too narrow: resamples contain only these images. With several
    seeds, a resample has the same images for all of them.

    Args:
      labels: (n,) 1 or True where anomalous.
      scores: (n,), or (seeds, n); higher is more anomalous.
      confidence: in (0, 1).
      resamples: 1 or more.
      seed: of the draws, which may change with the release of JAX.

    Raises:
      ValueError: shapes differ, a score is NaN, a class has fewer than `LEAST` images,
        or `confidence` is not in (0, 1).
    """
    _check_confidence(confidence)
    aurocs = _resampled_aurocs(labels, np.atleast_2d(scores), resamples, seed)
    return _percentiles(np.mean(aurocs, axis=1), confidence)


def mean_auroc_interval(groups: Sequence[Group], confidence: float = 0.95) -> Interval:
    """Interval of the mean AUROC over categories, and over the seeds of each.

    Normal, with DeLong's variance, and not beyond [0, 1]. An image that is tested in
    several categories, as in the one-class protocol, is drawn once for all of them.
    Images are drawn within strata, those with the same label in the same categories; a
    stratum of a single image has no variance.

    Args:
      groups: one or more categories.
      confidence: in (0, 1).

    Raises:
      ValueError: as in `auroc_interval`.
    """
    _check_confidence(confidence)
    strata: dict[str, list[tuple[int, bool]]] = {}
    influence: dict[str, float] = {}
    aurocs = []
    for number, group in enumerate(groups):
        labels = np.asarray(group.labels, bool)
        shares = np.zeros(len(labels))
        for place, part in zip(
            (labels, ~labels), _components(labels, group.scores_sn), strict=True
        ):
            mean = np.mean(part, axis=0)
            shares[place] = (mean - np.mean(mean)) / (len(mean) * len(groups))
            auroc = np.mean(mean)  # the same for both parts
        aurocs.append(auroc)
        for image, label, share in zip(
            group.images, labels.tolist(), shares.tolist(), strict=True
        ):
            strata.setdefault(image, []).append((number, label))
            influence[image] = influence.get(image, 0.0) + share
    members: dict[tuple, list[float]] = {}
    for image, where in strata.items():
        members.setdefault(tuple(where), []).append(influence[image])
    variance = sum(
        len(one) * np.var(one, ddof=1) for one in members.values() if len(one) > 1
    )
    value = float(np.mean(aurocs))
    half = float(special.ndtri((1 + confidence) / 2) * np.sqrt(variance))
    return Interval(max(0.0, value - half), min(1.0, value + half))


def paired_difference(
    labels: np.ndarray,
    scores_a: np.ndarray,
    scores_b: np.ndarray,
    confidence: float = 0.95,
) -> Difference:
    """AUROC of `scores_a` minus that of `scores_b` on the same images.

    The variance over test images is that of DeLong et al. (1988), in O(n log n) by
    sorting as in Sun and Xu (2014), who use midranks for ties; here a binary search
    from both sides of a tie.

    Args:
      labels: (n,) 1 or True where anomalous.
      scores_a, scores_b: (n,) higher is more anomalous.
      confidence: in (0, 1).

    Raises:
      ValueError: as in `auroc_interval`.
    """
    _check_confidence(confidence)
    # Components are subtracted, not variances: equal detectors give exactly 0.
    anomalous, normal = (a - b for a, b in _components(labels, (scores_a, scores_b)))
    value = float(np.mean(anomalous))
    variance = np.var(anomalous, ddof=1) / len(anomalous)
    variance += np.var(normal, ddof=1) / len(normal)
    error = float(np.sqrt(variance))
    if error:
        p_value = float(2 * special.ndtr(-abs(value) / error))
    else:  # the same for every image
        p_value = 0.0 if value else 1.0
    half = float(special.ndtri((1 + confidence) / 2)) * error
    return Difference(value, value - half, value + half, p_value)


def paired_bootstrap(
    labels: np.ndarray,
    scores_a_sn: np.ndarray,
    scores_b_sn: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> SeedDifference:
    """Mean AUROC over the seeds of system a minus that of b, on the same images.

    The interval covers the choice of test images, not the randomness of training: a
    resample draws images, the same for all seeds of both systems, stratified as in
    `auroc_interval`, and keeps the seeds. With few seeds, a difference whose interval
    lies above 0 may still be due to these seeds.

    Args:
      labels: (n,) 1 or True where anomalous.
      scores_a_sn, scores_b_sn: (seeds, n) higher is more anomalous; the numbers of
        seeds may differ.
      confidence, resamples, seed: see `auroc_interval`.

    Raises:
      ValueError: as in `auroc_interval`.
    """
    _check_confidence(confidence)
    scores = [*scores_a_sn, *scores_b_sn]
    seeds_a = len(scores_a_sn)

    def difference(aurocs: np.ndarray) -> np.ndarray:
        a, b = aurocs[..., :seeds_a], aurocs[..., seeds_a:]
        return np.mean(a, axis=-1) - np.mean(b, axis=-1)

    resampled = _resampled_aurocs(labels, scores, resamples, seed)
    low, high = _percentiles(difference(resampled), confidence)
    aurocs = np.array(
        [metrics.ThresholdSweep.of(labels, one).auroc() for one in scores]
    )
    return SeedDifference(float(difference(aurocs)), low, high)


def _resampled_aurocs(
    labels: np.ndarray, scores: Sequence[np.ndarray], resamples: int, seed: int
) -> np.ndarray:
    """AUROC of each of c detectors in each resample, (resamples, c) float64."""
    anomalous_cm, normal_cn = _by_class(labels, scores)
    ranks = [_ranks(*one) for one in zip(normal_cn, anomalous_cm, strict=True)]
    order_cn, below_cm, up_to_cm = map(np.stack, zip(*ranks, strict=True))
    key = jax.random.key(seed)
    net_wins = _net_wins(key, order_cn, below_cm, up_to_cm, resamples)
    pairs = anomalous_cm.shape[1] * normal_cn.shape[1]
    # Rounded counts (more than 31 bits) may be slightly too large.
    return (1 + np.clip(np.asarray(net_wins, np.float64) / pairs, -1, 1)) / 2


def _ranks(normal: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arguments of `_net_wins` for one detector: order (n,), below, up_to (m,)."""
    order = np.argsort(normal)
    below, up_to = (
        np.searchsorted(normal[order], anomalous, side) for side in ("left", "right")
    )
    return order, below, up_to


@functools.partial(jax.jit, static_argnames="resamples")
def _net_wins(
    key: jax.Array,
    order_cn: jax.Array,
    below_cm: jax.Array,
    up_to_cm: jax.Array,
    resamples: int,
) -> jax.Array:
    """Pairs in the right order minus pairs in the wrong one, (resamples, c).

    Scores are sorted once, by the caller: a resample only changes how often each image
    counts, and the weighted AUROC is one cumulative sum, O(n).

    Args:
      key: of the draws.
      order_cn: the normal images from the lowest score to the highest.
      below_cm: number of normal images with a lower score than each anomalous one.
      up_to_cm: number with a lower or equal score.
      resamples: number of resamples.
    """
    normal, anomalous = order_cn.shape[1], below_cm.shape[1]
    # Integers as long as 31 bits can count all pairs.
    dtype = jnp.int32 if normal * anomalous < 2**31 else jnp.float32
    # Each position of a resample is drawn from its class, normal ones first.
    sizes = (normal, anomalous)
    first = np.repeat((0, normal), sizes)
    end = np.repeat((normal, normal + anomalous), sizes)

    def resample(key: jax.Array) -> jax.Array:
        drawn = jax.random.randint(key, first.shape, first, end)
        counts = jnp.bincount(drawn, length=len(first))
        counts_n, counts_m = counts[:normal], counts[normal:].astype(dtype)

        def compare(order_n, below_m, up_to_m):
            total = jnp.append(0, jnp.cumsum(counts_n[order_n]))
            won_m, lost_m = total[below_m], total[-1] - total[up_to_m]
            return jnp.sum(counts_m * (won_m - lost_m).astype(dtype))

        return jax.vmap(compare)(order_cn, below_cm, up_to_cm)

    keys = jax.random.split(key, resamples)
    return jax.lax.map(resample, keys, batch_size=_RESAMPLE_BATCH)


def _components(
    labels: np.ndarray, scores: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each image's pairs that are in the right order.

    DeLong's structural components, of the anomalous images (c, m) and of the normal
    ones (c, n); the mean of either is the AUROC.
    """
    anomalous_cm, normal_cn = _by_class(labels, scores)
    pairs = list(zip(anomalous_cm, normal_cn, strict=True))
    return (
        np.stack([_share_below(anomalous, normal) for anomalous, normal in pairs]),
        np.stack([1 - _share_below(normal, anomalous) for anomalous, normal in pairs]),
    )


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Share of `others` below each score, ties counting half; (len(scores),)."""
    others = np.sort(others)
    left, right = (np.searchsorted(others, scores, side) for side in ("left", "right"))
    return (left + right) / (2 * len(others))


def _by_class(
    labels: np.ndarray, scores: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the anomalous images (c, m) and of the normal ones (c, n), checked."""
    labels = np.asarray(labels, bool)
    scores = [np.asarray(one) for one in scores]
    for one in scores:
        if labels.ndim != 1 or labels.shape != one.shape:
            raise ValueError(f"labels {labels.shape} != scores {one.shape}")
        nans = np.count_nonzero(np.isnan(one))
        if nans:
            raise ValueError(f"{nans} of {one.size} scores are NaN")
    anomalous, normal = np.count_nonzero(labels), np.count_nonzero(~labels)
    if min(anomalous, normal) < LEAST:
        raise ValueError(
            f"{anomalous} anomalous and {normal} normal images: each class needs "
            f"{LEAST} or more"
        )
    stacked = np.stack(scores)
    return stacked[:, labels], stacked[:, ~labels]


def _percentiles(values: np.ndarray, confidence: float) -> Interval:
    """The central interval that contains the share `confidence` of the values."""
    tail = (1 - confidence) / 2
    return Interval(*np.quantile(values, (tail, 1 - tail)).tolist())


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not in (0, 1)")
