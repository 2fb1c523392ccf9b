"""Pixel metrics: the digits of whole arrays, in 16 bytes a pixel."""

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from jax_scadn.reports import metrics


def reference(masks, maps, max_fpr, threshold):
    """All pixels in whole arrays, and sums over all of them."""
    labels, shares, found = [], [], 0
    for mask in masks:
        regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
        labels.append(np.where(mask, regions + found, 0).ravel())
        shares.extend(1 / np.sum(regions == i) for i in range(1, count + 1))
        found += count
    labels = np.concatenate(labels)
    scores = np.concatenate([map_hw.ravel() for map_hw in maps])
    fp, tp, weight, thresholds = sweep(labels, scores, np.array([0, *shares]))
    x, y = (np.append(0, w / w[-1]) for w in (fp, weight))
    end = np.searchsorted(x, max_fpr)
    share = (max_fpr - x[end - 1]) / (x[end] - x[end - 1])
    y_end = y[end - 1] + share * (y[end] - y[end - 1])
    area = np.trapezoid(np.append(y[:end], y_end), np.append(x[:end], max_fpr))
    ious = tp / (tp[-1] + fp)
    above = np.count_nonzero(thresholds > threshold)
    return {
        "auroc_per_image": np.mean(
            [
                auroc(mask.ravel(), map_hw.ravel())
                for mask, map_hw in zip(masks, maps, strict=True)
                if mask.any() and not mask.all()
            ]
        ),
        "auroc_pooled": auroc(labels > 0, scores),
        "aupro": area / max_fpr,
        "iou": ious.max(),
        "iou_threshold": thresholds[ious.argmax()],
        "iou_at_threshold": ious[above - 1] if above else 0,
    }


def sweep(labels, scores, weights):
    """False and true positives, weight and threshold, at each distinct score."""
    order = np.lexsort((labels, -scores))
    labels, scores = labels[order], scores[order]
    ends = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    positives = np.cumsum(labels > 0)[ends]
    weight = np.cumsum(weights[labels])[ends]
    return ends + 1 - positives, positives, weight, scores[ends]


def auroc(labels, scores):
    fp, tp, _, _ = sweep(labels.astype(int), scores, np.zeros(2))
    return np.trapezoid(*(np.append(0, c / c[-1]) for c in (tp, fp)))


def images(seed, count, size, levels):
    """Smooth maps with as many levels, 0 = all distinct, below 0 and above."""
    random = np.random.default_rng(seed)
    masks = (
        ndimage.gaussian_filter(random.random((count, size, size)), (0, 3, 3)) > 0.54
    )
    masks[0] = False
    maps = random.standard_normal(masks.shape, np.float32) + masks
    if levels:
        maps = np.round(maps * levels) / np.float32(levels)
    return list(masks), list(maps)


@pytest.mark.parametrize("levels", [0, 1, 20, 5000])
@pytest.mark.parametrize("count", [2, 5])
def test_the_digits_of_whole_arrays(count, levels):
    masks, maps = images(count, count, 181, levels)
    assert count == 2 or sum(map_hw.size for map_hw in maps) > 2**17  # parts
    assert np.any(masks[1])
    for max_fpr, threshold in ((0.3, 0.5), (0.01, -1.0), (1.0, 99.0)):
        found = metrics.pixel_metrics(masks, maps, max_fpr, threshold)
        assert found == reference(masks, maps, max_fpr, threshold)


def test_scores_of_all_kinds():
    # Zeros of both signs are equal; infinities and denormals are in order.
    scores = [-np.inf, -1, -1e-40, -0.0, 0.0, 1e-40, 1, np.inf]
    maps = [np.array([scores, scores[::-1]], np.float32)]
    masks = [np.array([[0, 1, 0, 1, 0, 1, 0, 1], [1, 0, 0, 1, 1, 0, 1, 1]], bool)]
    found = metrics.pixel_metrics(masks, maps, threshold=-0.0)
    assert found == reference(masks, maps, 0.3, -0.0)
    assert metrics.pixel_metrics(masks, [-maps[0]])["iou_threshold"] == -np.inf


def test_sixteen_bytes_a_pixel():
    masks, maps = images(0, 24, 320, 0)
    pixels = sum(map_hw.size for map_hw in maps)
    tracemalloc.start()
    try:
        metrics.pixel_metrics(masks, maps, threshold=0.5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    own = sum(array.nbytes for array in (*masks, *maps))
    assert own == 5 * pixels
    assert own + peak <= 16 * pixels
