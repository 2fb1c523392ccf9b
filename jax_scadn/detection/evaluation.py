"""Evaluation of a detector on a test split: metrics, tables and figures."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np
from absl import logging
from sklearn import neighbors

from jax_scadn.data import images as images_lib
from jax_scadn.data import records, sources
from jax_scadn.detection import baselines, by_defect, image_scores
from jax_scadn.detection.calibration import Calibration
from jax_scadn.detection.detector import Detector
from jax_scadn.reports import figures, metrics, tables
from jax_scadn.runtime import distributed, memory

STEM = "results"
ALL = by_defect.ALL
NEIGHBOURS = 4  # training images next to an anomalous one
PIXEL_BYTES = 16  # of a test image, for map, mask and metrics of one detector
# Metric -> heading of its column.
COLUMNS = {
    ("image", "auroc"): "image AUROC",
    ("image", "ap"): "AP",
    ("image", "f1_max"): "F1-max",
    ("pixel", "auroc_per_image"): "pixel AUROC (per image)",
    ("pixel", "auroc_pooled"): "pixel AUROC (pooled)",
    ("pixel", "aupro"): "AUPRO",
    ("pixel", "iou"): "best IoU",
    ("pixel", "iou_at_threshold"): "IoU at threshold",
}


def evaluate(
    detector: Detector, dataset: records.Dataset, folder: pathlib.Path
) -> dict[str, Any] | None:
    """Scores the test split, and writes tables, a ROC plot and contact sheets.

    All processes score; only process 0 writes. The maps of one detector at a time are
    in memory; a warning says if they may not fit.

    Args:
      detector: calibrated.
      dataset: its training images are those of the baselines.
      folder: gets `results.json`, `.csv`, `.md`, `images.csv` (`image_scores`),
        `roc.png` and `sheet.png`; where the method has a code for each image, also
        `neighbours.png`: the anomalous images of the sheet next to the training images
        whose codes are the nearest.

    Returns:
      The contents of `results.json`: for each detector the metrics over all test images
      and for each kind of defect, how the thresholds did, the merges of scales, and
      the number of weights of each part.
      Over all images the image AUROC has its 95 % interval (`uncertainty`), or None
      where a class has too few images. None in another process than 0.
    """
    test, config, calibration = dataset.test, detector.config, detector.calibration
    title = detector.method.title
    shown = for_the_sheet(test.defects, config.evaluation.sheet_rows)
    if distributed.is_primary():
        _warn_if_too_large(test, config.data)
    scored = _score(detector, test, shown)
    anomalous = [i for i in shown if test.labels[i] == records.ANOMALOUS]
    neighbours = None
    if anomalous and detector.has_embeddings:
        neighbours = _neighbours(detector, dataset.train, test.subset(anomalous))
    references = baselines.of_dataset(
        dataset,
        scored and scored.truth,
        config,
        calibration.pixel_false_alarm_rate,
    )
    if scored is None:
        return None
    scores, detectors = {title: scored.scores}, {title: scored.metrics}
    for name, reference in references.items():
        scores.setdefault(name, reference.scores)
        detectors.setdefault(name, reference.metrics)
    results = {
        "name": config.name,
        "dataset": dataset.name,
        "category": dataset.category,
        "method": config.method,
        "title": title,
        "preset": config.preset,
        "size": config.data.size,
        "seed": config.seed,
        "images": {
            "train": len(dataset.train),
            "held_out": len(dataset.held_out),
            "test_normal": int(np.sum(test.labels == records.NORMAL)),
            "test_anomalous": int(np.sum(test.labels == records.ANOMALOUS)),
        },
        "detectors": detectors,
        "merges": _merges(test.labels, scored.means, detector.statistics),
        "threshold": {
            "value": calibration.threshold,
            "images": len(calibration.scores),
            "held_out": calibration.held_out,
            "false_alarm_rate_wanted": calibration.false_alarm_rate,
            **_promised(calibration),
            **_of_each_label(scored.scores > calibration.threshold, test.labels),
        },
        "map_threshold": scored.at_map_threshold,
        "parameters": detector.parameter_counts(),
    }
    figures.roc_plot(
        {name: (test.labels, values) for name, values in scores.items()},
        folder / "roc.png",
    )
    sheet = [
        figures.Row(
            image=images_lib.as_float(test[i].image),
            reconstructions=scored.pictures[i],
            anomaly_map=map_hw,
            segmentation=map_hw > calibration.map_threshold,
            mask=test[i].mask,
            label=label(test.items[i]),
            score=float(scored.scores[i]),
            anomalous=bool(scored.scores[i] > calibration.threshold),
        )
        for i, map_hw in scored.shown_maps.items()
    ]
    if sheet:
        figures.contact_sheet(
            sheet, calibration.vmin, calibration.vmax, folder / "sheet.png"
        )
    if neighbours is not None and sheet:
        figures.neighbours_sheet(
            [row for i, row in zip(shown, sheet, strict=True) if i in anomalous],
            neighbours,
            folder / "neighbours.png",
        )
    image_scores.write(test, scores, folder)
    # Last: where the tables are, the rest is, too.
    tables.write(results, rows(results), folder, STEM)
    return results


def trained(results: dict[str, Any]) -> dict[str, Any]:
    """The metrics of the trained detector, by kind of defect."""
    return results["detectors"][results["title"]]


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of one category: each kind of defect, then all, with the baselines."""
    table = []
    for index, (name, of_kinds) in enumerate(results["detectors"].items()):
        for defect, values in of_kinds.items():
            if defect != ALL and index > 0:
                continue  # kinds of defects are shown for the trained detector only
            table.append({"detector": name, "defect": defect, **_cells(values)})
    return table


def summary_rows(every: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The table of many categories, each detector's mean at its end."""
    table = []
    mean = f"mean of {len(every)}"  # of how many, as a folder may lack some
    for name in every[0]["detectors"]:
        cells = [_cells(results["detectors"][name][ALL]) for results in every]
        for results, row in zip(every, cells, strict=True):
            table.append({"detector": name, "category": results["category"], **row})
        headings = dict.fromkeys(heading for row in cells for heading in row)
        means = {
            heading: float(np.mean([row.get(heading, np.nan) for row in cells]))
            for heading in headings
            if heading != "images"
        }
        images = sum(row["images"] for row in cells)
        table.append({"detector": name, "category": mean, "images": images} | means)
    return table


def _cells(values: dict[str, Any]) -> dict[str, Any]:
    """A row of the table; without the pixel metrics where no truth is known."""
    cells = {"images": values["images"]}
    for (kind, metric), heading in COLUMNS.items():
        if values[kind] is not None:
            value = values[kind].get(metric)
            cells[heading] = np.nan if value is None else value
    return cells


class _Scored(NamedTuple):
    """What the trained detector found.

    Attributes:
      truth: of the test images.
      scores: (n,).
      means: (b, K) of each batch, see `merging.Scored`.
      metrics: see `by_defect.table`.
      at_map_threshold: see `_at_map_threshold`.
      shown_maps: (H, W) of the images on the sheet; empty without maps.
      pictures: (H, W, C) of the same images, by name.
    """

    truth: by_defect.Truth
    scores: np.ndarray
    means: list[np.ndarray | None]
    metrics: dict[str, Any]
    at_map_threshold: dict[str, Any] | None
    shown_maps: dict[int, np.ndarray]
    pictures: dict[int, dict[str, np.ndarray]]


def _score(
    detector: Detector, test: records.Split, shown: Sequence[int]
) -> _Scored | None:
    """Scores the test images and keeps the maps of `shown`; None except in process 0.

    What is kept of a batch is copied, so that the rest of it is not.
    """
    maps, scores, means, pictures = [], [], [], {}
    for indices, scored in detector.score_split(test):
        if not distributed.is_primary():
            continue
        maps.extend([] if scored.maps is None else scored.maps)
        scores.append(scored.scores)
        means.append(scored.scale_means)
        pictures |= {
            index: {name: batch[n].copy() for name, batch in scored.pictures.items()}
            for n, index in enumerate(indices.tolist())
            if index in shown
        }
    if not distributed.is_primary():
        return None
    truth, calibration = by_defect.Truth.of(test), detector.calibration
    scores = np.concatenate(scores)
    return _Scored(
        truth,
        scores,
        means,
        by_defect.table(truth, maps or None, scores, calibration.map_threshold),
        _at_map_threshold(maps, test.labels, calibration),
        {i: maps[i].copy() for i in shown if maps},
        pictures,
    )


def _warn_if_too_large(test: records.Split, data: ml_collections.ConfigDict) -> None:
    """Says so if the memory that is free is less than an evaluation needs."""
    needed = len(test) * data.size**2 * PIXEL_BYTES / 2**20
    if len(test) and test.cached:
        needed += sources.memory(test.items, data)
    free = memory.available()
    if free is not None and free < needed:
        logging.warning(
            "evaluating %d images of %dx%d takes about %.0f MiB and %.0f MiB are free: "
            "lower --config.data.size or --config.data.test_normal_limit",
            len(test),
            data.size,
            data.size,
            needed,
            free,
        )


def _merges(labels, means, statistics) -> dict[str, Any] | None:
    """Image AUROC of each way to merge the scales, and of each single scale.

    Args:
      labels: of the images.
      means: (b, K) of each batch, see `merging.Scored`; [None, ...] without scales.
      statistics: 'mu' of the scales.
    """
    if means[0] is None or means[0].shape[1] == 1:
        return None
    means = np.concatenate(means)

    def auroc(scores):
        return metrics.image_metrics(labels, scores)["auroc"]

    chosen = np.argmax(means - np.asarray(statistics["mu"]), axis=1)
    return {
        "max_mu": auroc(means[np.arange(len(means)), chosen]),
        "max": auroc(means.max(axis=1)),
        "mean": auroc(means.mean(axis=1)),
        "scales": [auroc(scale) for scale in means.T],
    }


def _at_map_threshold(maps, labels, calibration) -> dict[str, Any] | None:
    """Shares of pixels above the map's threshold; None without maps."""
    if not maps:
        return None
    above = [np.mean(anomaly > calibration.map_threshold) for anomaly in maps]
    return {
        "value": calibration.map_threshold,
        "false_alarm_rate_wanted": calibration.pixel_false_alarm_rate,
        **_of_each_label(above, labels),
    }


def _of_each_label(above, labels) -> dict[str, float]:
    """Means over normal and anomalous images of what is above a threshold."""
    above = np.asarray(above)

    def share(label: int) -> float:
        chosen = above[labels == label]
        return float(np.mean(chosen)) if len(chosen) else float("nan")

    return {
        "normal_above": share(records.NORMAL),
        "anomalous_above": share(records.ANOMALOUS),
    }


def _neighbours(
    detector: Detector, train: records.Split, test: records.Split
) -> list[list[np.ndarray]]:
    """Training images whose codes are nearest to those of test images, L2."""
    search = neighbors.NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(train)))
    search.fit(detector.embeddings(train))
    nearest = search.kneighbors(detector.embeddings(test), return_distance=False)
    return [[images_lib.as_float(train[i].image) for i in row] for row in nearest]


def _promised(calibration: Calibration) -> dict[str, float | None]:
    """What the threshold promises of new normal images; None without held-out ones."""
    promise = calibration.promise
    return {
        "false_alarm_rate_expected": promise and promise.expected,
        "false_alarm_rate_at_most": promise and promise.upper,
        "confidence": calibration.confidence,
    }


def for_the_sheet(defects: Sequence[str], count: int) -> list[int]:
    """Indices of images to draw, as many of each kind of defect as fit."""
    kinds = sorted(set(defects), key=lambda kind: (kind != records.GOOD, kind))
    queues = [[i for i, d in enumerate(defects) if d == kind] for kind in kinds]
    taken = [0] * len(queues)
    while sum(taken) < min(count, len(defects)):
        for k, queue in enumerate(queues):
            if taken[k] < len(queue) and sum(taken) < count:
                taken[k] += 1
    return [i for queue, n in zip(queues, taken, strict=True) for i in queue[:n]]


def label(item: records.Item) -> str:
    """What a sheet calls an image: its defect and the stem of its file."""
    return f"{item.defect} {pathlib.PurePath(item.path).stem}"
