"""New thresholds of a trained detector from new normal images, without training."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.data import records, sources
from jax_scadn.detection import calibration as calibration_lib
from jax_scadn.detection import calibration_file
from jax_scadn.detection import detector as detector_lib
from jax_scadn.detection.calibration import Calibration
from jax_scadn.runtime import errors, lock
from jax_scadn.settings import base as shared

PIXELS = "pixel_false_alarm_rate"
RATES = ("false_alarm_rate", "look_rate", "confidence", PIXELS)
HISTORY = "calibration_history.jsonl"  # in the work directory


def recalibrate(
    workdir: pathlib.Path, paths: Sequence[pathlib.Path], rates: Mapping[str, float]
) -> Calibration:
    """Replaces the thresholds; the calibration of before is a line of `HISTORY`.

    Weights and statistics stay.

    Args:
      workdir: of the training.
      paths: files of normal images, none of which was trained on: thresholds and
        colours come from them alone. Without any, the thresholds of images come from
        the scores of before, and those of maps stay, as maps are not kept.
      rates: of `RATES`, new values; others stay.

    Raises:
      errors.UserError: no detector there; a rate that is none; an image cannot be read,
        is there twice, or was trained on. Nothing is changed then.
    """
    method = methods.read(workdir / detector_lib.CONFIG).method
    digest = calibration_file.digest(workdir)
    with lock.held(workdir):
        if paths:
            after = _from_images(workdir, paths, rates)
            reason = f"{len(paths)} images"
        else:
            after = _from_scores(workdir, method, rates)
            reason = "other rates"
        _replace(workdir, after, digest, reason)
    return after


def _from_images(workdir, paths, rates) -> Calibration:
    detector = detector_lib.load_uncalibrated(workdir)
    config = detector.config
    try:
        before = dataclasses.asdict(calibration_file.read(workdir)[0])
    except errors.UserError:  # of an older version
        before = dict(config.calibration)
    config.calibration.update(_merged(config.method, before, rates))
    data = config.data
    images_lib.allow(data.max_megapixels)
    _refuse_copies(paths, _trained_on(config))
    reading = (data.size, data.channels, data.white, data.fit)
    items = [
        records.Item(
            str(path),
            records.NORMAL,
            records.GOOD,
            functools.partial(images_lib.read, path, *reading),
        )
        for path in paths
    ]
    split = records.Split(items, cached=False)
    return detector.with_thresholds(split, held_out=True).calibration


def _from_scores(workdir, method: str, rates) -> Calibration:
    before, _ = calibration_file.read(workdir)
    if PIXELS in rates:
        raise errors.UserError(f"--{PIXELS}: give --input as well; maps are not kept")
    values = _merged(method, dataclasses.asdict(before), rates)
    scores = np.array(before.scores)
    return dataclasses.replace(
        before, **calibration_lib.of_scores(values, scores), **values
    )


def _merged(
    method: str, before: Mapping[str, float], rates: Mapping[str, float]
) -> dict[str, float]:
    """All `RATES`, checked."""
    fields = methods.fields(method)
    for name, value in rates.items():
        if problem := fields[f"calibration.{name}"].problem(value):
            raise errors.UserError(f"--{name}={value}: {problem}")
    values = {name: rates.get(name, before[name]) for name in RATES}
    if problem := shared.problem_of_rates(values):
        raise errors.UserError(f"--{problem}")
    return values


def _trained_on(config) -> list[pathlib.Path]:
    """Files of the training; none where the data are no longer there."""
    try:
        dataset = sources.load(config.data, config.seed)
    except errors.UserError:
        return []
    return [p for p in map(pathlib.Path, dataset.train.paths) if p.is_file()]


def _refuse_copies(
    paths: Sequence[pathlib.Path], trained: Sequence[pathlib.Path]
) -> None:
    """Raises errors.UserError where two files have the same content."""
    sizes = {path.stat().st_size for path in paths}
    seen = {
        _digest(path): f"{path} of the training"
        for path in trained
        if path.stat().st_size in sizes
    }
    for path in paths:
        digest = _digest(path)
        if digest in seen:
            raise errors.UserError(
                f"{path} is a copy of {seen[digest]}: thresholds need normal images "
                "that are new, each once; nothing was changed"
            )
        seen[digest] = str(path)


def _digest(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _replace(workdir, calibration: Calibration, digest: str, reason: str) -> None:
    """Keeps the file of before as a line of the history; no thresholds are lost."""
    try:
        before = json.loads(calibration_file.path(workdir).read_text(encoding="utf-8"))
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        line = {"replaced": now, "by": reason, "calibration": before}
        with (workdir / HISTORY).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        calibration_file.write(workdir, calibration, digest)
    except OSError as error:
        raise errors.UserError(f"{workdir} cannot be written: {error}") from None
