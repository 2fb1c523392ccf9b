"""What a training and an evaluation print."""

from __future__ import annotations

import math
import pathlib
import shlex
from typing import Any

import ml_collections

from jax_scadn.data import records, sources
from jax_scadn.detection import calibration_file, evaluation
from jax_scadn.detection.calibration import Calibration
from jax_scadn.reports import tables
from jax_scadn.runtime import distributed


def print_size(config: ml_collections.ConfigDict, dataset: records.Dataset) -> None:
    """How many images there are of each split, and how much memory they take."""
    splits = {
        "training": dataset.train,
        "held-out": dataset.held_out,
        "test": dataset.test,
    }
    counts = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    items = [item for split in splits.values() for item in split.items]
    kept = "kept in memory" if dataset.train.cached else "read again in each epoch"
    mib = sources.memory(items, config.data)
    print(f"{counts} images; decoded they take {mib:.1f} MiB and are {kept}")


def print_next(workdir: pathlib.Path) -> None:
    """The commands that use a detector."""
    quoted = shlex.quote(str(workdir))
    print(f"next: python -m jax_scadn.evaluate --workdir={quoted}")
    print(
        f"      python -m jax_scadn.predict --workdir={quoted} "
        "--input=IMAGE_OR_FOLDER --output=predictions"
    )


def print_results(
    results: dict[str, Any] | None, workdir: pathlib.Path, folder: pathlib.Path
) -> None:
    """The table, the thresholds, and where pictures are.

    Args:
      results: of the evaluation; None without one.
      workdir: with the detector.
      folder: of the evaluation.
    """
    if not distributed.is_primary():
        return
    if results is not None:
        print(tables.markdown(evaluation.rows(results)))
    print_thresholds(workdir, results)
    if results is not None:
        if results["map_threshold"] is not None:
            print(f"anomaly maps: {folder / 'sheet.png'}")
        print(f"tables and ROC plot: {folder}")


def print_thresholds(
    workdir: pathlib.Path, results: dict[str, Any] | None = None
) -> None:
    """Prints the threshold and what it promises.

    Args:
      workdir: with a detector.
      results: of its evaluation, if there was one.
    """
    calibration, _ = calibration_file.read(workdir)
    print(threshold_line(calibration, results))
    print(_promise_line(calibration))


def threshold_line(
    calibration: Calibration, results: dict[str, Any] | None = None
) -> str:
    """The threshold, and what is above it of the kinds of test images there are."""
    line = (
        f"threshold {calibration.threshold:.4g} from {len(calibration.scores)} "
        f"{'held-out' if calibration.held_out else 'training'} normal images"
    )
    if results is None:
        return line
    at = results["threshold"]
    kinds = {"normal": at["normal_above"], "anomalous": at["anomalous_above"]}
    shares = " and ".join(
        f"{100 * share:.0f} % of the {kind}"
        for kind, share in kinds.items()
        if not math.isnan(share)
    )
    return f"{line}: {shares} test images are above it"


def _promise_line(calibration: Calibration) -> str:
    if calibration.promise is None:
        return (
            "it promises nothing of new images, which score higher than those of the "
            "training: hold some out (--config.data.held_out)"
        )
    return calibration.promise.sentence(calibration.false_alarm_rate)
