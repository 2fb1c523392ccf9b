"""Baselines of a trained detector: reference images, once for each data set."""

from __future__ import annotations

import functools
import json
import os
from typing import NamedTuple

import ml_collections
import numpy as np

from jax_scadn import methods
from jax_scadn.data import records
from jax_scadn.detection import calibration
from jax_scadn.detection.detector import Detector
from jax_scadn.methods import base, reference_images
from jax_scadn.settings import resolve
from jax_scadn.training import closed_form, protocol


class Baseline(NamedTuple):
    """Maps and scores of the test images.

    Attributes:
      maps: (m, H, W) float32.
      scores: (m,) float32.
      normal_maps: (n, H, W) of held-out images, for thresholds; None without.
    """

    maps: np.ndarray
    scores: np.ndarray
    normal_maps: np.ndarray | None

    def map_threshold(self, rate: float) -> float | None:
        """See `calibration.threshold`; training images could not give it.

        Each of them is its own nearest image.
        """
        if self.normal_maps is None:
            return None
        return calibration.threshold(self.normal_maps, rate)


def of_dataset(
    dataset: records.Dataset, config: ml_collections.ConfigDict
) -> dict[str, Baseline]:
    """Scores of 'mean image' and 'nearest image' on the test images of a data set.

    What was computed for the same images in this process is not computed again: the
    variants of an ablation share it.

    Args:
      dataset: with training images.
      config: resolved settings whose `data` the data set came from.
    """
    splits = (dataset.train, dataset.held_out, dataset.test)
    paths = json.dumps([[_stamp(p) for p in split.paths] for split in splits])
    seen = (config.data.size, config.data.channels, config.scoring.images_per_call)
    return dict(_computed(_Key(dataset, (config.data.path, paths, *seen))))


def _stamp(path: str) -> tuple[str, ...]:
    """A file's name, size and time of change; the name of what is not a file."""
    try:
        status = os.stat(path)
    except OSError:
        return (path,)
    return path, str(status.st_size), str(status.st_mtime_ns)


class _Key:
    """A data set that is equal to others of the same images."""

    def __init__(self, dataset: records.Dataset, seen: tuple):
        self.dataset = dataset
        self.seen = seen

    def __eq__(self, other):
        return self.seen == other.seen

    def __hash__(self):
        return hash(self.seen)


@functools.lru_cache(maxsize=1)
def _computed(key: _Key) -> dict[str, Baseline]:
    _, _, size, channels, images_per_call = key.seen
    return {
        f"{kind} image": _score(key.dataset, kind, size, channels, images_per_call)
        for kind in reference_images.KINDS
    }


def _score(dataset, kind, size, channels, images_per_call) -> Baseline:
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

    def scored(split):
        batches = [scored for _, scored in detector.score_split(split)]
        maps = np.concatenate([batch.maps for batch in batches])
        return maps, np.concatenate([batch.scores for batch in batches])

    maps, scores = scored(dataset.test)
    normal = scored(dataset.held_out)[0] if len(dataset.held_out) else None
    return Baseline(maps, scores, normal)
