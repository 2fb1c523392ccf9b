"""Uncertainty over test images, from the scores that runs left of each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jax_scadn.detection import evaluation
from jax_scadn.experiments.comparison import means, runs
from jax_scadn.reports import uncertainty

IMAGE_AUROC = "image.auroc"


@dataclasses.dataclass(frozen=True)
class Change:
    """Image AUROC, or another metric, of a variant less that of the full model.

    Attributes:
      value: mean of the difference over seeds.
      low, high: 95 % interval over test images; None where it is not known.
      p_values: by seed, of there being no difference; {} where they are not known.
    """

    value: float
    low: float | None
    high: float | None
    p_values: Mapping[int, float]


def interval(system: runs.System, category: str) -> tuple[float, float] | None:
    """95 % interval of the image AUROC's mean over seeds; None if it is not known."""
    found = _shared([system.runs.get(category, {})], system.method)
    if found is None:
        return None
    labels, (scores_sn,) = found
    return tuple(uncertainty.auroc_interval(labels, scores_sn))


def change(
    variant: runs.System, full: runs.System, categories: Sequence[str], metric: str
) -> Change | None:
    """What a variant changes, over the seeds that both were run with.

    Args:
      variant, full: one method on one data set.
      categories: the change is the mean over them; that of a single one comes with
        its uncertainty over test images.
      metric: key into results; only image AUROC comes with its uncertainty.

    Returns:
      None where no seed has both.
    """

    def differences(category: str) -> dict[int, float]:
        ours, whole = (s.values(category, s.method, metric) for s in (variant, full))
        return {seed: ours[seed] - whole[seed] for seed in ours if seed in whole}

    by_category = {category: differences(category) for category in categories}
    mean = means.over_categories(by_category, categories)
    if mean is None:
        return None
    found = None
    if len(categories) == 1 and metric == IMAGE_AUROC:
        members = [system.runs[categories[0]] for system in (variant, full)]
        paired = [{seed: runs_[seed] for seed in mean.seeds} for runs_ in members]
        found = _shared(paired, full.method)
    if found is None:
        return Change(mean.value, None, None, {})
    labels, (ours_sn, whole_sn) = found
    both = uncertainty.paired_bootstrap(labels, ours_sn, whole_sn)
    p_values = {
        seed: uncertainty.paired_difference(labels, *pair).p_value
        for seed, *pair in zip(mean.seeds, ours_sn, whole_sn, strict=True)
    }
    return Change(mean.value, both.low, both.high, p_values)


def _shared(
    members: Sequence[Mapping[int, runs.Run]], detector: str
) -> tuple[np.ndarray, list[np.ndarray]] | None:
    """Labels (n,), and scores (seeds, n) of each member on the same images.

    None where a run left no scores, the images differ, or a class has too few.
    """
    tables = [[_read(run, detector) for run in seeds.values()] for seeds in members]
    every = [table for group in tables for table in group]
    images = every[0].keys() if every else ()
    if not images or any(table.keys() != images for table in every):
        return None
    labels = np.array([anomalous for _, anomalous in images])
    if min(np.sum(labels), np.sum(~labels)) < uncertainty.LEAST:
        return None
    return labels, [np.array([[t[i] for i in images] for t in g]) for g in tables]


def _read(run: runs.Run, detector: str) -> dict[tuple[str, bool], float]:
    """(path, anomalous) -> score of each test image; {} where there are none."""
    folder = run.path / runs.EVALUATION
    if not (folder / evaluation.SCORES).is_file():
        return {}
    paths, labels, scores = evaluation.read_scores(folder)
    images = zip(paths, labels.tolist(), strict=True)
    return dict(zip(images, scores[detector].tolist(), strict=True))
