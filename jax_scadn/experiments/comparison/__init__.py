"""Compares results with published and measured numbers."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import (
    categories,
    measured,
    plots,
    report,
    runs,
    variants,
)


def compare(
    folders: Sequence[pathlib.Path],
    table: papers.Table | None = None,
    torch: measured.Measured | None = None,
    output: pathlib.Path | None = None,
) -> str:
    """Compares all runs in the folders.

    Args:
      folders: of trainings, of many categories or seeds, or of ablations.
      table: to compare with; None: all that fit.
      torch: measured results of the PyTorch code.
      output: folder for comparison.md, .csv, .json, .tex and .png.

    Returns:
      Markdown.

    Raises:
      errors.UserError: no results, or none that fit the table.
    """
    collection = runs.find(folders)
    blocks = categories.blocks(collection, table, torch)
    blocks += variants.blocks(collection, table, torch)
    if output is not None:
        plots.draw(blocks, output / f"{report.STEM}.png")
        report.write(blocks, collection.unfinished, output)
    return report.markdown(blocks, collection.unfinished)
