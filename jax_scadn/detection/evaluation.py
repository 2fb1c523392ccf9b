"""Evaluation of a detector on a test split: metrics, tables and figures."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn import neighbors

from jax_scadn.data import images as images_lib
from jax_scadn.data import records
from jax_scadn.detection import baselines
from jax_scadn.detection.detector import Detector
from jax_scadn.reports import figures, metrics, tables, uncertainty
from jax_scadn.runtime import distributed, errors, files

STEM = "results"
SCORES = "images.csv"
ALL = "all"
NEIGHBOURS = 4  # training images next to an anomalous one
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


class ImageScores(NamedTuple):
    """Image scores by detector.

    Attributes:
      paths: (n,) by which the images of two runs are paired.
      labels: (n,) bool, True where anomalous.
      scores: by detector, (n,) float64, in which the detector's float32 are exact.
    """

    paths: list[str]
    labels: np.ndarray
    scores: dict[str, np.ndarray]


class Detection(NamedTuple):
    """Maps and scores of one detector.

    Attributes:
      maps: (H, W) anomaly map of each; None where a method has image scores only.
      scores: (n,).
      map_threshold: a pixel above it is called anomalous; None if it is not known.
    """

    maps: Sequence[np.ndarray] | None
    scores: np.ndarray
    map_threshold: float | None


def evaluate(
    detector: Detector, dataset: records.Dataset, folder: pathlib.Path
) -> dict[str, Any] | None:
    """Scores the test split, and writes tables, a ROC plot and contact sheets.

    All processes score; only process 0 writes.

    Args:
      detector: calibrated.
      dataset: its training images are those of the baselines.
      folder: gets `results.json`, `.csv`, `.md`, `images.csv` (`read_scores`),
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
    shown = _for_the_sheet(test.defects, config.evaluation.sheet_rows)
    maps, scores, means, drawn = [], [], [], {}
    for indices, scored in detector.score_split(test):
        if not distributed.is_primary():
            continue
        maps.extend([] if scored.maps is None else scored.maps)
        scores.append(scored.scores)
        means.append(scored.scale_means)
        drawn |= {
            index: {name: picture[n] for name, picture in scored.pictures.items()}
            for n, index in enumerate(indices.tolist())
            if index in shown
        }
    anomalous = [i for i in shown if test.labels[i] == records.ANOMALOUS]
    neighbours = None
    if anomalous and detector.has_embeddings:
        neighbours = _neighbours(detector, dataset.train, test.subset(anomalous))
    references = baselines.of_dataset(dataset, config)
    if not distributed.is_primary():
        return None
    scores = np.concatenate(scores)
    masks = _masks(test)
    title = detector.method.title
    rate = calibration.pixel_false_alarm_rate
    detections = {title: Detection(maps or None, scores, calibration.map_threshold)}
    for name, reference in references.items():
        detections.setdefault(
            name,
            Detection(reference.maps, reference.scores, reference.map_threshold(rate)),
        )
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
        "detectors": {
            name: _by_defect(test, masks, detection)
            for name, detection in detections.items()
        },
        "merges": _merges(test.labels, means, detector.statistics),
        "threshold": {
            "value": calibration.threshold,
            "images": calibration.threshold_images,
            "held_out": calibration.held_out,
            "false_alarm_rate_wanted": calibration.false_alarm_rate,
            **_of_each_label(scores > calibration.threshold, test.labels),
        },
        "map_threshold": _at_map_threshold(maps, test.labels, calibration),
        "parameters": detector.parameter_counts(),
    }
    every = {name: detection.scores for name, detection in detections.items()}
    figures.roc_plot(
        {name: (test.labels, values) for name, values in every.items()},
        folder / "roc.png",
    )
    sheet = [
        figures.Row(
            image=images_lib.as_float(test[i].image),
            reconstructions=drawn[i],
            anomaly_map=maps[i],
            segmentation=maps[i] > calibration.map_threshold,
            mask=test[i].mask,
            label=_label(test.items[i]),
            score=float(scores[i]),
            anomalous=bool(scores[i] > calibration.threshold),
        )
        for i in shown
        if maps
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
    _write_scores(test, every, folder / SCORES)
    # Last: where the tables are, the rest is, too.
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
    return results["detectors"][results["title"]]


def rows(results: dict[str, Any]) -> list[dict[str, Any]]:
    """The table of one category: each kind of defect, then all, with the baselines."""
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


def _by_defect(test: records.Split, masks, detection: Detection) -> dict[str, Any]:
    """Metrics of each kind of defect against all normal images, and of all."""
    defects = np.array(test.defects)
    kinds = sorted(set(defects[test.labels == records.ANOMALOUS]))
    chosen = {
        f"{kind} (defect)" if kind == ALL else kind: (defects == kind)
        | (test.labels == records.NORMAL)
        for kind in kinds
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
        if with_truth and detection.maps is not None:
            pixel = metrics.pixel_metrics(
                [masks[i] for i in known],
                [detection.maps[i] for i in known],
                threshold=detection.map_threshold,
            )
        table[kind] = {
            "images": int(which.sum() if kind == ALL else labelled.sum()),
            "image": metrics.image_metrics(test.labels[which], detection.scores[which]),
            "pixel": pixel,
        }
    table[ALL]["image"]["auroc_interval"] = _interval(test.labels, detection.scores)
    return table


def _interval(labels, scores) -> list[float] | None:
    if np.bincount(labels, minlength=2).min() < uncertainty.LEAST:
        return None
    return list(uncertainty.auroc_interval(labels, scores))


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
    files.write_text(path, text.getvalue())


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
