"""Uncertainty over test images, from the saved scores of each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jax_scadn.detection import image_scores
from jax_scadn.experiments.comparison import means, runs
from jax_scadn.reports import uncertainty

IMAGE_AUROC = "image.auroc"


@dataclasses.dataclass(frozen=True)
class Change:
    """The difference of a metric between a variant and the full model.

    Attributes:
      value: mean of the difference over seeds.
      low, high: 95 % interval over test images; None if unknown.
      p_values: by seed, of the null hypothesis of no difference; {} if unknown.
    """

    value: float
    low: float | None
    high: float | None
    p_values: Mapping[int, float]


def interval(system: runs.System, category: str) -> tuple[float, float] | None:
    """95 % interval of the image AUROC's mean over seeds; None if unknown."""
    shared = _shared([(system.method, system.runs.get(category, {}))])
    if shared is None:
        return None
    _, labels, (scores_sn,) = shared
    return tuple(uncertainty.auroc_interval(labels, scores_sn))


def mean_interval(
    system: runs.System, categories: Sequence[str]
) -> tuple[float, float] | None:
    """95 % interval of the mean over categories and seeds; None if unknown.

    Over the test images; see `uncertainty.mean_auroc_interval`.
    """
    if len(categories) == 1:
        return interval(system, categories[0])
    groups = []
    for category in categories:
        shared = _shared([(system.method, system.runs.get(category, {}))])
        if shared is None:
            return None
        images, labels, (scores_sn,) = shared
        groups.append(uncertainty.Group(images, labels, scores_sn))
    return tuple(uncertainty.mean_auroc_interval(groups)) if groups else None


def change(
    variant: runs.System, full: runs.System, categories: Sequence[str], metric: str
) -> Change | None:
    """The change of a metric in a variant, over the seeds of both.

    Args:
      variant, full: on one data set.
      categories: the change is the mean over them; the uncertainty over test images is
        computed for a single one.
      metric: key into results; the uncertainty is computed for image AUROC.

    Returns:
      None if they have no seed in common.
    """

    def differences(category: str) -> dict[int, float]:
        ours, base = (s.values(category, s.method, metric) for s in (variant, full))
        return {seed: ours[seed] - base[seed] for seed in ours if seed in base}

    by_category = {category: differences(category) for category in categories}
    mean = means.over_categories(by_category, categories)
    if mean is None:
        return None
    shared = None
    if len(categories) == 1 and metric == IMAGE_AUROC:
        paired = []
        for system in (variant, full):
            by_seed = system.runs[categories[0]]
            paired.append((system.method, {seed: by_seed[seed] for seed in mean.seeds}))
        shared = _shared(paired)
    if shared is None:
        return Change(mean.value, None, None, {})
    _, labels, (ours_sn, full_sn) = shared
    both = uncertainty.paired_bootstrap(labels, ours_sn, full_sn)
    p_values = {
        seed: uncertainty.paired_difference(labels, *pair).p_value
        for seed, *pair in zip(mean.seeds, ours_sn, full_sn, strict=True)
    }
    return Change(mean.value, both.low, both.high, p_values)


def _shared(
    members: Sequence[tuple[str, Mapping[int, runs.Run]]],
) -> tuple[list[str], np.ndarray, list[np.ndarray]] | None:
    """Images and labels (n,), and scores (seeds, n) of each member on these images.

    Args:
      members: a detector and the runs to read it from, by seed.

    Returns:
      None if a run has no scores, the images differ, or a class has too few.
    """
    tables = [
        [_read(run, detector) for run in by_seed.values()]
        for detector, by_seed in members
    ]
    every = [table for group in tables for table in group]
    images = every[0].keys() if every else ()
    if not images or any(table.keys() != images for table in every):
        return None
    labels = np.array([anomalous for _, anomalous in images])
    if min(np.sum(labels), np.sum(~labels)) < uncertainty.LEAST:
        return None
    scores = [np.array([[t[i] for i in images] for t in g]) for g in tables]
    return [path for path, _ in images], labels, scores


def _read(run: runs.Run, detector: str) -> dict[tuple[str, bool], float]:
    """(path, anomalous) -> score of each test image; {} without saved scores."""
    folder = run.path / runs.EVALUATION
    if not (folder / image_scores.FILE).is_file():
        return {}
    paths, labels, scores = image_scores.read(folder)
    images = zip(paths, labels.tolist(), strict=True)
    return dict(zip(images, scores[detector].tolist(), strict=True))
