"""Baselines of a trained detector: reference images, once for each data set."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from jax_scadn import methods
from jax_scadn.data import records
from jax_scadn.detection import by_defect, calibration
from jax_scadn.detection.detector import Detector
from jax_scadn.methods import base, reference_images
from jax_scadn.settings import resolve
from jax_scadn.training import closed_form, protocol


class Baseline(NamedTuple):
    """Scores and metrics of the test images; their maps are not kept.

    Attributes:
      scores: (m,) float32.
      metrics: see `by_defect.table`; None without truth.
    """

    scores: np.ndarray
    metrics: dict[str, Any] | None


_computed: dict[tuple, dict[str, Baseline]] = {}  # of the last data set only


def of_dataset(
    dataset: records.Dataset,
    truth: by_defect.Truth | None,
    config: ml_collections.ConfigDict,
    rate: float,
) -> dict[str, Baseline]:
    """Scores 'mean image' and 'nearest image' on the test images of a data set.

    What was computed for the same images in this process is not computed again: the
    variants of an ablation share it.

    Args:
      dataset: with training images.
      truth: of its test images; None in a process that needs no metrics.
      config: resolved settings whose `data` the data set came from.
      rate: share of the pixels of held-out images above the threshold of the maps.
    """
    splits = (dataset.train, dataset.held_out, dataset.test)
    settings = (config.data.size, config.data.channels, config.scoring.images_per_call)
    items = tuple(tuple(map(_stamps, split.items)) for split in splits)
    key = (config.data.path, items, *settings, rate)
    if key not in _computed:
        _computed.clear()
        _computed[key] = {
            f"{kind} image": _baseline(dataset, truth, kind, *settings, rate)
            for kind in reference_images.KINDS
        }
    return dict(_computed[key])


def _stamps(item: records.Item) -> tuple:
    """What tells an item from another one, or from what it was before."""
    mask = _stamp(item.mask_path) if item.mask_path else ()
    return item.label, item.defect, _stamp(item.path), mask


def _stamp(path: str) -> tuple[str | int, ...]:
    """A file's name, size and time of change; the name of what is not a file."""
    try:
        status = os.stat(path)
    except OSError:
        return (path,)
    return path, status.st_size, status.st_mtime_ns


def _baseline(
    dataset: records.Dataset,
    truth: by_defect.Truth | None,
    kind: str,
    size: int,
    channels: int,
    images_per_call: int,
    rate: float,
) -> Baseline:
    config = methods.default("reference_images")
    for field, value in (
        ("reference.kind", kind),
        ("data.size", size),
        ("data.channels", channels),
        ("scoring.images_per_call", images_per_call),
    ):
        resolve.put(config, field, value)
    config = methods.resolve(config)
    (stage,) = methods.create(config).stages
    fitted = closed_form.fit(
        stage, dataset.train, protocol.EMPTY, config.seed, images_per_call
    )
    detector = Detector(config, {base.FROZEN: {}, stage.name: fitted})
    # Of held-out images only: each training image is its own nearest image.
    threshold = None
    if len(dataset.held_out):
        normal, _ = detector.maps_and_scores(dataset.held_out)
        threshold = calibration.threshold(np.stack(normal), rate)
        del normal
    maps, scores = detector.maps_and_scores(dataset.test)
    if truth is None:
        return Baseline(scores, None)
    return Baseline(scores, by_defect.table(truth, maps, scores, threshold))
