"""Sensitivity: the smallest synthetic defects that a detector finds.

Probability of detection by size, as in non-destructive testing: of defects planted into
held-out good images the share that scores above the threshold, with its Clopper-Pearson
bound, and the size from which on 90 % are found with 95 % confidence.
"""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from jax_scadn.data import images as images_lib
from jax_scadn.data import planted, records
from jax_scadn.detection.detector import Detector
from jax_scadn.reports import figures, pod, tables
from jax_scadn.runtime import errors

STEM = "sensitivity"
FOUND, CONFIDENCE = 0.9, 0.95


@dataclasses.dataclass(frozen=True)
class Cell:
    """Defects of one kind, contrast and size.

    Attributes:
      kind, contrast, size: see `planted.plant`.
      found: how many score above the threshold.
      planted: of how many.
    """

    kind: str
    contrast: float
    size: float
    found: int
    planted: int

    @property
    def share(self) -> float:
        return self.found / self.planted

    @property
    def at_least(self) -> float:
        """The probability of detection is at least this, with the confidence."""
        if not self.found:
            return 0.0
        missed = self.planted - self.found
        return float(special.betaincinv(self.found, missed + 1, 1 - CONFIDENCE))


def measure(
    detector: Detector,
    normal: records.Split,
    sizes: Sequence[float],
    contrasts: Sequence[float],
    trials: int,
    seed: int,
) -> list[Cell]:
    """Plants defects of all kinds, contrasts and sizes, and scores them.

    Args:
      detector: calibrated.
      normal: good images that were held out from training.
      sizes: of defects, as shares of the image's side, ascending.
      contrasts: see `planted.plant`.
      trials: defects in each cell, each at another place, in turn in all images.
      seed: of the defects.

    Raises:
      errors.UserError: there are no such images.
    """
    if not len(normal):
        raise errors.UserError(
            "there are no held-out good images to plant defects into; train with "
            "--config.data.held_out above 0"
        )
    images = images_lib.as_float(normal.images())
    side = images.shape[1]
    cells = []
    grid = itertools.product(planted.KINDS, contrasts, sizes)
    for number, (kind, contrast, share) in enumerate(grid):
        size = share * side
        rng = np.random.default_rng([seed, number])
        with_defects = np.stack(
            [
                planted.plant(images[n % len(images)], kind, size, contrast, rng)[0]
                for n in range(trials)
            ]
        )
        scores = detector.score(with_defects).scores
        found = int(np.sum(scores > detector.calibration.threshold))
        cells.append(Cell(kind, contrast, size, found, trials))
    return cells


def smallest_found(cells: Sequence[Cell]) -> float | None:
    """The size from which on `FOUND` are found with `CONFIDENCE`; None if none is.

    Args:
      cells: of one kind and contrast, by ascending size.
    """
    smallest = None
    for cell in reversed(cells):
        if cell.at_least < FOUND:
            break
        smallest = cell.size
    return smallest


def write(
    cells: Sequence[Cell], side: int, folder: pathlib.Path
) -> list[dict[str, Any]]:
    """Writes `sensitivity.json`, `.csv`, `.md` and a plot; returns the table's rows.

    Args:
      cells: of `measure`.
      side: of the detector's images, pixels.
      folder: gets them.
    """
    rows, curves = [], {}
    by_defect = itertools.groupby(cells, lambda cell: (cell.kind, cell.contrast))
    for (kind, contrast), group in by_defect:
        group = list(group)
        row = {"defect": kind, "contrast": contrast}
        for cell in group:
            row[f"{cell.size:.3g} px"] = f"{100 * cell.share:.0f} %"
        smallest = smallest_found(group)
        row["found from"] = "-" if smallest is None else f"{smallest:.3g} px"
        rows.append(row)
        curves[kind, contrast] = group
    results = {
        "side": side,
        "found": FOUND,
        "confidence": CONFIDENCE,
        "cells": [
            dataclasses.asdict(cell) | {"at_least": cell.at_least} for cell in cells
        ],
    }
    tables.write(results, rows, folder, STEM)
    pod.plot(curves, FOUND, folder / f"{STEM}.png")
    return rows


def sheet(
    detector: Detector,
    normal: records.Split,
    cells: Sequence[Cell],
    seed: int,
    path: pathlib.Path,
) -> None:
    """Draws one defect of each kind, of the largest size and contrast, and its map."""
    images = images_lib.as_float(normal.images())
    size, contrast = max(c.size for c in cells), max(c.contrast for c in cells)
    rows = []
    for number, kind in enumerate(planted.KINDS):
        rng = np.random.default_rng([seed, number])
        image, mask = planted.plant(
            images[number % len(images)], kind, size, contrast, rng
        )
        scored = detector.score(image[None])
        if scored.maps is None:
            return
        calibration = detector.calibration
        rows.append(
            figures.Row(
                image=image,
                reconstructions={n: p[0] for n, p in scored.pictures.items()},
                anomaly_map=scored.maps[0],
                segmentation=scored.maps[0] > calibration.map_threshold,
                mask=mask,
                label=kind,
                score=float(scored.scores[0]),
                anomalous=bool(scored.scores[0] > calibration.threshold),
            )
        )
    figures.contact_sheet(rows, calibration.vmin, calibration.vmax, path)
