"""Metrics against values computed by hand and slow, independent implementations."""

import itertools
import math

import numpy as np
import pytest

from jax_scadn.reports import metrics


def slow_auroc(labels, scores):
    """Share of (anomalous, normal) pairs in the right order; ties count half."""
    pairs = [
        1.0 if anomalous > normal else 0.5 if anomalous == normal else 0.0
        for anomalous in scores[labels]
        for normal in scores[~labels]
    ]
    return sum(pairs) / len(pairs)


def slow_f1(labels, scores, threshold):
    detected = scores >= threshold
    precision = np.mean(labels[detected])
    recall = np.mean(detected[labels])
    return 0.0 if not recall else 2 * precision * recall / (precision + recall)


def slow_ap(labels, scores):
    total, last_recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        detected = scores >= threshold
        recall = np.mean(detected[labels])
        total += (recall - last_recall) * np.mean(labels[detected])
        last_recall = recall
    return total


def slow_regions(mask):
    """8-connected regions as sets of pixels, by flood fill."""
    left = {tuple(pixel) for pixel in np.argwhere(mask)}
    regions = []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        regions.append(region)
    return regions


def slow_aupro(masks, maps, max_fpr):
    """One threshold after the other, then the exact area of the polyline."""
    normal = np.concatenate(
        [map_hw[~mask] for mask, map_hw in zip(masks, maps, strict=True)]
    )
    points = [(0.0, 0.0)]
    for threshold in sorted({float(v) for map_hw in maps for v in map_hw.flat})[::-1]:
        overlaps = [
            np.mean([map_hw[pixel] >= threshold for pixel in region])
            for mask, map_hw in zip(masks, maps, strict=True)
            for region in slow_regions(mask)
        ]
        points.append((np.mean(normal >= threshold), np.mean(overlaps)))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        end = min(x1, max_fpr)
        if x0 < end:
            y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
            area += (end - x0) * (y0 + y_end) / 2
    return area / max_fpr


def slow_iou(masks, maps, threshold):
    pairs = list(zip(masks, maps, strict=True))
    both = sum(np.sum(mask & (map_hw >= threshold)) for mask, map_hw in pairs)
    either = sum(np.sum(mask | (map_hw >= threshold)) for mask, map_hw in pairs)
    return both / either


def random_images(seed, levels):
    """Four small images of different sizes, few distinct values; one is normal."""
    random = np.random.default_rng(seed)
    sizes = [(6, 7), (5, 5), (8, 4), (6, 6)]
    masks = [random.random(size) < 0.3 for size in sizes]
    masks[2][:] = False
    noise = [random.integers(0, levels, size) for size in sizes]
    maps = [((n + m) / levels) for m, n in zip(masks, noise, strict=True)]
    return masks, [map_hw.astype(np.float32) for map_hw in maps]


def pixel_metric(name, masks, maps, **options):
    return metrics.pixel_metrics(masks, maps, **options)[name]


def test_image_metrics_by_hand():
    # Descending: 0.9 anomalous, 0.8 normal, 0.7 one of each, 0.1 normal.
    labels = np.array([0, 1, 0, 1, 0])
    scores = np.array([0.8, 0.9, 0.7, 0.7, 0.1])
    result = metrics.image_metrics(labels, scores)
    # 0.9 beats three normals; 0.7 beats one, ties with one, loses to one.
    assert result["auroc"] == pytest.approx(4.5 / 6)
    assert result["ap"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 4)
    assert result["f1_max"] == pytest.approx(2 / 3)  # also at 0.7
    assert result["f1_threshold"] == pytest.approx(0.9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_image_metrics_equal_slow_ones(seed, levels):
    random = np.random.default_rng(seed)
    labels = np.arange(20) < 8
    scores = random.integers(0, levels, 20) / levels + 0.3 * labels
    result = metrics.image_metrics(labels.astype(np.int32), scores)
    assert result["auroc"] == pytest.approx(slow_auroc(labels, scores))
    assert result["ap"] == pytest.approx(slow_ap(labels, scores))
    best = max(slow_f1(labels, scores, threshold) for threshold in scores)
    assert result["f1_max"] == pytest.approx(best)
    assert slow_f1(labels, scores, result["f1_threshold"]) == pytest.approx(best)


def test_equal_scores():
    result = metrics.image_metrics(np.array([1, 0, 0, 0]), np.full(4, 0.25))
    assert result == {
        "auroc": 0.5,
        "ap": 0.25,
        "f1_max": pytest.approx(0.4),
        "f1_threshold": 0.25,
    }
    masks = [np.eye(3, dtype=bool)]
    result = metrics.pixel_metrics(masks, [np.full((3, 3), 0.5, np.float32)])
    assert result["auroc_per_image"] == result["auroc_pooled"] == 0.5
    assert result["aupro"] == pytest.approx(0.15)  # the diagonal, half of max_fpr
    assert result["iou"] == pytest.approx(1 / 3)
    assert result["iou_threshold"] == 0.5


def test_a_perfect_detector_has_one_in_every_metric():
    masks = [np.eye(4, dtype=bool), np.zeros((4, 4), bool)]
    maps = [mask * np.float32(0.5) for mask in masks]
    assert metrics.pixel_metrics(masks, maps, threshold=0.4) == {
        "auroc_per_image": 1,
        "auroc_pooled": 1,
        "aupro": 1,
        "iou": 1,
        "iou_threshold": 0.5,
        "iou_at_threshold": 1,
    }


@pytest.mark.parametrize(
    ("threshold", "iou"),
    [
        (0.0, 3 / 7),  # all but one, which is equal
        (0.2, 2 / 5),  # two of three, and a false positive in each image
        (0.7, 1 / 3),
        (0.9, 0),
        (math.inf, 0),
    ],
)
def test_iou_at_a_threshold_by_hand(threshold, iou):
    masks = [np.array([[1, 1, 1, 0]], bool), np.zeros((1, 4), bool)]
    maps = [
        np.array([[0.9, 0.7, 0.1, 0.7]], np.float32),
        np.array([[0.1, 0.0, 0.7, 0.2]], np.float32),
    ]
    result = metrics.pixel_metrics(masks, maps, threshold=threshold)
    assert result["iou_at_threshold"] == pytest.approx(iou)
    assert result["iou_at_threshold"] <= result["iou"]


def test_a_float_threshold_is_not_above_itself_in_float32():
    scores = np.array([[0.1, 0.2]], np.float32)
    result = metrics.pixel_metrics(
        [scores > 0.15], [scores], threshold=float(scores[0, 0])
    )
    assert result["iou_at_threshold"] == 1


@pytest.mark.parametrize("labels", [[0, 0], [1, 1], []])
def test_a_missing_class_is_nan(labels):
    scores = np.arange(len(labels), dtype=np.float32)
    result = metrics.image_metrics(np.array(labels), scores)
    assert len(result) == 4
    assert all(math.isnan(value) for value in result.values())
    masks = [np.full((2, 2), label, bool) for label in labels]
    maps = [np.ones((2, 2), np.float32) for _ in labels]
    result = metrics.pixel_metrics(masks, maps, threshold=0.5)
    assert len(result) == 6
    assert all(math.isnan(value) for value in result.values())


def test_aupro_counts_regions_and_not_pixels():
    # Regions: one of 4 pixels on a diagonal (8-connected), one of 1 pixel.
    mask = np.zeros((5, 5), bool)
    mask[[0, 1, 2, 3], [0, 1, 2, 3]] = True
    mask[0, 4] = True
    map_hw = np.zeros((5, 5), np.float32)
    map_hw[0, 4] = 3  # the small region, first
    map_hw[4, :2] = 2  # two of the 20 normal pixels: FPR 0.1
    map_hw[mask] = np.maximum(map_hw[mask], 1)  # then the diagonal
    # Overlap is 1/2 up to FPR 0.1; there it rises to 1 and stays. With four single
    # regions (4-connected) it would start at 1/5.
    aupro = pixel_metric("aupro", [mask], [map_hw])
    assert aupro == pytest.approx((0.1 * 0.5 + 0.2) / 0.3)
    # With the limit at the rise, the rise does not count.
    aupro = pixel_metric("aupro", [mask], [map_hw], max_fpr=0.1)
    assert aupro == pytest.approx(0.5)


def test_aupro_interpolates_within_a_tie():
    mask = np.array([[True, False, False, False]])
    map_hw = np.array([[1, 1, 1, 0]], np.float32)  # one step to FPR 2/3, overlap 1
    # A triangle up to 0.3, where the overlap is 0.45.
    assert pixel_metric("aupro", [mask], [map_hw]) == pytest.approx(0.45 / 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("levels", [2, 5, 1000])
def test_pixel_metrics_equal_slow_ones(seed, levels):
    masks, maps = random_images(seed, levels)
    labels = np.concatenate([mask.ravel() for mask in masks])
    scores = np.concatenate([map_hw.ravel() for map_hw in maps])
    result = metrics.pixel_metrics(masks, maps)
    per_image = [slow_auroc(masks[i], maps[i]) for i in (0, 1, 3)]
    assert result["auroc_per_image"] == pytest.approx(np.mean(per_image))
    assert result["auroc_pooled"] == pytest.approx(slow_auroc(labels, scores))
    best = max(slow_iou(masks, maps, threshold) for threshold in set(scores))
    assert result["iou"] == pytest.approx(best)
    at_threshold = slow_iou(masks, maps, result["iou_threshold"])
    assert at_threshold == pytest.approx(best)
    assert result["aupro"] == pytest.approx(slow_aupro(masks, maps, 0.3))
    for limit in (0.05, 1.0):
        area = pixel_metric("aupro", masks, maps, max_fpr=limit)
        assert area == pytest.approx(slow_aupro(masks, maps, limit))
    assert result["auroc_per_image"] == metrics.pixel_auroc_per_image(masks, maps)


def test_wrong_arguments_are_refused():
    mask, map_hw = np.ones((2, 3), bool), np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"labels \(2,\) != scores \(3,\)"):
        metrics.image_metrics(np.zeros(2), np.zeros(3))
    with pytest.raises(ValueError, match=r"image 1: mask \(2, 3\) != map \(3, 2\)"):
        metrics.pixel_metrics([mask, mask], [map_hw, map_hw.T])
    with pytest.raises(ValueError, match="1 masks != 2 maps"):
        metrics.pixel_auroc_per_image([mask], [map_hw, map_hw])
    with pytest.raises(ValueError, match="image 1: map is float64, not float32"):
        metrics.pixel_metrics([mask, mask], [map_hw, map_hw.astype(np.float64)])
    with_nan = map_hw.copy()
    with_nan[0, 0] = np.nan
    with pytest.raises(ValueError, match="1 of 6 scores are NaN"):
        metrics.pixel_metrics([mask], [with_nan])
    with pytest.raises(ValueError, match="max_fpr 30"):
        metrics.pixel_metrics([mask], [map_hw], max_fpr=30)
