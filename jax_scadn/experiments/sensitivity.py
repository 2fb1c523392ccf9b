"""Sensitivity of the detector in a work directory."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from jax_scadn.detection import sensitivity
from jax_scadn.experiments import experiment
from jax_scadn.reports import tables
from jax_scadn.runtime import errors, lock


def run(
    workdir: pathlib.Path,
    data_path: str,
    sizes: Sequence[str],
    contrasts: Sequence[str],
    trials: int,
    seed: int,
) -> None:
    """Measures it, prints the table and writes `sensitivity/`.

    Args:
      workdir: of a finished training.
      data_path: in place of `data.path`; '' = where it was.
      sizes, contrasts: numbers in (0, 1], as given on a command line.
      trials, seed: see `sensitivity.measure`.

    Raises:
      errors.UserError: a number is none; no detector there, or no held-out images.
    """
    sizes, contrasts = _shares("sizes", sizes), _shares("contrasts", contrasts)
    detector, dataset = experiment.load(workdir, data_path)
    held_out, folder = dataset.held_out, workdir / sensitivity.STEM
    with lock.held(workdir):
        cells = sensitivity.measure(detector, held_out, sizes, contrasts, trials, seed)
        side = detector.config.data.size
        print(tables.markdown(sensitivity.write(cells, side, folder)))
        sensitivity.sheet(detector, held_out, cells, seed, folder / "sheet.png")
    wanted, confidence = 100 * sensitivity.FOUND, 100 * sensitivity.CONFIDENCE
    print(
        f"{trials} defects each, in {len(held_out)} held-out good images of {side} x "
        f"{side} pixels; from the last column's size on {wanted:.0f} % are found, with "
        f"{confidence:.0f} % confidence"
    )
    print(f"plot and pictures: {folder}")


def _shares(flag: str, texts: Sequence[str]) -> list[float]:
    """Ascending numbers in (0, 1]."""
    try:
        numbers = sorted({float(text) for text in texts})
    except ValueError:
        numbers = []
    if not numbers or not all(0 < number <= 1 for number in numbers):
        raise errors.UserError(
            f"--{flag}={','.join(texts)}: give numbers in (0, 1], such as 0.05,0.1"
        )
    return numbers
