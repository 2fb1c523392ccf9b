"""Results set beside published and measured numbers: runs -> blocks -> report, plot."""

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
    """Compares all runs that stand in the folders.

    Args:
      folders: of trainings, of many categories or seeds, or of ablations.
      table: to compare with; None takes all that fit.
      torch: measured results of the PyTorch code.
      output: gets comparison.md, .csv, .json, .tex and .png.

    Returns:
      Markdown.

    Raises:
      errors.UserError: there are no results, or they do not fit the table.
    """
    found = runs.find(folders)
    blocks = categories.blocks(found, table, torch)
    blocks += variants.blocks(found, table, torch)
    if output is not None:
        plots.draw(blocks, output / f"{report.STEM}.png")
        report.write(blocks, found.unfinished, output)
    return report.markdown(blocks, found.unfinished)
