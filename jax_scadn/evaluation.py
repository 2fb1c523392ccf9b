"""How well a detector finds the anomalies of a test split; tables and pictures."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_scadn import (
    atomic,
    baselines,
    errors,
    metrics,
    pictures,
    tables,
    uncertainty,
)
from jax_scadn.data import images as images_lib
from jax_scadn.data import records
from jax_scadn.detector import Detector

STEM = "results"
SCORES = "images.csv"
ALL = "all"
# Metric -> heading of its column.
COLUMNS = {
    ("image", "auroc"): "image AUROC",
    ("image", "ap"): "AP",
    ("image", "f1_max"): "F1-max",
    ("pixel", "auroc_per_image"): "pixel AUROC (per image)",
    ("pixel", "auroc_pooled"): "pixel AUROC (pooled)",
    ("pixel", "aupro"): "AUPRO",
    ("pixel", "iou"): "best IoU",
}


class ImageScores(NamedTuple):
    """What detectors make of each test image.

    Attributes:
      paths: (n,) by which the images of two runs are paired.
      labels: (n,) bool, True where anomalous.
      scores: by detector, (n,) float64, in which the detector's float32 are exact.
    """

    paths: list[str]
    labels: np.ndarray
    scores: dict[str, np.ndarray]


def evaluate(
    detector: Detector, dataset: records.Dataset, folder: pathlib.Path
) -> dict[str, Any]:
    """Scores the test split, and writes tables, a ROC plot and a contact sheet.

    Args:
      detector: calibrated.
      dataset: its training images serve the two trivial detectors.
      folder: gets `results.json`, `.csv`, `.md`, `images.csv` (`read_scores`),
        `roc.png` and `sheet.png`.

    Returns:
      What `results.json` holds: for each detector the metrics over all test images
      and for each kind of defect, how the threshold did, and the merges of scales.
      Over all images the image AUROC has its 95 % interval (`uncertainty`), or None
      where a class has too few images.
    """
    test, config = dataset.test, detector.config
    shown = _for_the_sheet(test.defects, config.evaluation.sheet_rows)
    maps, scores, scales, means, drawn = [], [], [], [], {}
    for indices, scored in detector.score_split(test):
        maps.extend(scored.maps)
        scores.append(scored.scores)
        scales.append(scored.scales)
        means.append(scored.scale_means)
        drawn |= {
            index: {name: made[n] for name, made in scored.pictures.items()}
            for n, index in enumerate(indices.tolist())
            if index in shown
        }
    scores, scales = np.concatenate(scores), np.concatenate(scales)
    masks = _masks(test)
    detections = {config.method.upper(): (maps, scores)}
    detections |= baselines.trivial_detectors(
        images_lib.as_float(dataset.train.images()), images_lib.as_float(test.images())
    )
    threshold = detector.calibration.threshold
    results = {
        "name": config.name,
        "dataset": dataset.name,
        "category": dataset.category,
        "method": config.method,
        "preset": config.preset,
        "size": config.data.size,
        "seed": config.seed,
        "images": {
            "train": len(dataset.train),
            "held_out": len(dataset.held_out),
            "test_normal": int(np.sum(test.labels == records.NORMAL)),
            "test_anomalous": int(np.sum(test.labels == records.ANOMALOUS)),
        },
        "detectors": {
            name: _by_defect(test, masks, *detection)
            for name, detection in detections.items()
        },
        "merges": _merges(test.labels, np.concatenate(means), detector.calibration.mu),
        "threshold": {
            "value": threshold,
            "images": detector.calibration.threshold_images,
            "held_out": detector.calibration.held_out,
            "false_alarm_rate_wanted": detector.calibration.false_alarm_rate,
            "normal_above": _share_above(
                scores, test.labels, records.NORMAL, threshold
            ),
            "anomalous_above": _share_above(
                scores, test.labels, records.ANOMALOUS, threshold
            ),
        },
    }
    pictures.roc_plot(
        {name: (test.labels, s) for name, (_, s) in detections.items()},
        folder / "roc.png",
    )
    sheet = [
        pictures.Row(
            image=images_lib.as_float(test[i].image),
            made=drawn[i],
            heat=maps[i],
            mask=test[i].mask,
            label=_label(test.items[i]),
            score=float(scores[i]),
            anomalous=bool(scores[i] > threshold),
        )
        for i in shown
    ]
    low, high = detector.calibration.low, detector.calibration.high
    if sheet:
        pictures.contact_sheet(sheet, low, high, folder / "sheet.png")
    _write_scores(
        test, {name: s for name, (_, s) in detections.items()}, folder / SCORES
    )
    # Last: who finds the tables finds the rest too.
    tables.write(results, rows(results), folder, STEM)
    return results


def read_scores(folder: pathlib.Path) -> ImageScores:
    """Reads `images.csv` from the folder that `evaluate` wrote into.

    Raises:
      errors.UserError: the file is missing or damaged.
    """
    path = folder / SCORES
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *images = csv.reader(file, strict=True)
        paths, _, labels, *columns = zip(*images, strict=True)
        return ImageScores(
            paths=list(paths),
            labels=np.array(labels, np.int32).astype(bool),
            scores={
                name: np.array(column, np.float64)
                for name, column in zip(header[3:], columns, strict=True)
            },
        )
    except FileNotFoundError:
        raise errors.UserError(
            f"{path} does not exist: run jax_scadn.evaluate on this work directory"
        ) from None
    except (ValueError, csv.Error) as error:
        raise errors.UserError(
            f"{path} is damaged ({error}): run jax_scadn.evaluate again"
        ) from error


def trained(results: dict[str, Any]) -> dict[str, Any]:
    """The metrics of the trained detector, by kind of defect."""
    return results["detectors"][results["method"].upper()]


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of one category: each kind of defect, then all beside the trivial."""
    table = []
    for index, (name, by_defect) in enumerate(results["detectors"].items()):
        for defect, values in by_defect.items():
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


def _masks(test: records.Split) -> list[np.ndarray | None]:
    """The truth of each image's pixels; None where it is not known."""
    masks = []
    for record in test:
        if record.mask is None and record.label == records.NORMAL:
            masks.append(np.zeros(record.image.shape[:2], bool))
        else:
            masks.append(record.mask)
    return masks


def _by_defect(test: records.Split, masks, maps, scores) -> dict[str, Any]:
    """Metrics of each kind of defect against all normal images, and of all."""
    defects = np.array(test.defects)
    kinds = sorted(set(defects[test.labels == records.ANOMALOUS]))
    chosen = {
        kind: (defects == kind) | (test.labels == records.NORMAL) for kind in kinds
    }
    if len(kinds) == 1:
        chosen = {}  # it would be the same as all
    chosen[ALL] = np.ones(len(test), bool)
    table = {}
    for kind, which in chosen.items():
        labelled = which & (test.labels == records.ANOMALOUS)
        known = [i for i in np.flatnonzero(which) if masks[i] is not None]
        with_truth = any(masks[i].any() for i in known)
        pixel = None
        if with_truth:
            pixel = metrics.pixel_metrics(
                [masks[i] for i in known], [maps[i] for i in known]
            )
        table[kind] = {
            "images": int(which.sum() if kind == ALL else labelled.sum()),
            "image": metrics.image_metrics(test.labels[which], scores[which]),
            "pixel": pixel,
        }
    table[ALL]["image"]["auroc_interval"] = _interval(test.labels, scores)
    return table


def _interval(labels, scores) -> list[float] | None:
    if np.bincount(labels, minlength=2).min() < uncertainty.LEAST:
        return None
    return list(uncertainty.auroc_interval(labels, scores))


def _merges(labels, means, mu) -> dict[str, Any] | None:
    """Image AUROC of each way to merge the scales, and of each scale alone."""
    if means.shape[1] == 1:
        return None

    def auroc(scores):
        return metrics.image_metrics(labels, scores)["auroc"]

    chosen = np.argmax(means - np.asarray(mu), axis=1)
    return {
        "max_mu": auroc(means[np.arange(len(means)), chosen]),
        "max": auroc(means.max(axis=1)),
        "mean": auroc(means.mean(axis=1)),
        "scales": [auroc(scale) for scale in means.T],
    }


def _share_above(scores, labels, label: int, threshold: float) -> float:
    chosen = scores[labels == label]
    return float(np.mean(chosen > threshold)) if len(chosen) else float("nan")


def _write_scores(
    test: records.Split, scores: Mapping[str, np.ndarray], path: pathlib.Path
) -> None:
    """A row an image; Python writes a float so that it is read back as it was."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "defect", "anomalous", *scores])
    anomalous = (test.labels == records.ANOMALOUS).astype(int)
    columns = [column.tolist() for column in (anomalous, *scores.values())]
    writer.writerows(zip(test.paths, test.defects, *columns, strict=True))
    atomic.write_text(path, text.getvalue())


def _for_the_sheet(defects: Sequence[str], count: int) -> list[int]:
    """Indices of images to draw, as many of each kind of defect as fit."""
    kinds = sorted(set(defects), key=lambda kind: (kind != records.GOOD, kind))
    queues = [[i for i, d in enumerate(defects) if d == kind] for kind in kinds]
    taken = [0] * len(queues)
    while sum(taken) < min(count, len(defects)):
        for k, queue in enumerate(queues):
            if taken[k] < len(queue) and sum(taken) < count:
                taken[k] += 1
    return [i for queue, n in zip(queues, taken, strict=True) for i in queue[:n]]


def _label(item: records.Item) -> str:
    return f"{item.defect} {pathlib.PurePath(item.path).stem}"
