"""Plot of the probability of detection by a defect's size."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import figure

from jax_scadn.reports import figures
from jax_scadn.runtime import files

_LINES = ("-", "--", ":", "-.")


def plot(
    curves: Mapping[tuple[str, float], Sequence[Any]],
    wanted: float,
    path: pathlib.Path,
) -> None:
    """One panel a kind of defect, one line a contrast, shaded down to its bound.

    Args:
      curves: (kind, contrast) -> cells with `size`, `share` and `at_least`.
      wanted: probability, drawn as a horizontal line.
      path: of the PNG.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in curves))
    drawing = figure.Figure(figsize=(3.2 * len(kinds), 3.4), layout="constrained")
    panels = drawing.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for panel, kind in zip(panels, kinds, strict=True):
        of_kind = [(c, cells) for (k, c), cells in curves.items() if k == kind]
        for number, (contrast, cells) in enumerate(of_kind):
            sizes = [cell.size for cell in cells]
            colour = figures.OTHERS[number % len(figures.OTHERS)]
            line = _LINES[number % len(_LINES)]
            shares = [cell.share for cell in cells]
            panel.plot(
                sizes, shares, line, color=colour, marker="o", label=f"{contrast:.3g}"
            )
            bounds = [cell.at_least for cell in cells]
            panel.fill_between(sizes, bounds, shares, color=colour, alpha=0.15)
        panel.axhline(wanted, color=figures.GREY, linewidth=0.8)
        panel.set_xscale("log")
        panel.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
        panel.minorticks_off()
        panel.set(title=kind, xlabel="size, pixels", ylim=(-0.02, 1.02))
    panels[0].set_ylabel("probability of detection")
    panels[-1].legend(title="contrast", frameon=False)
    with files.replacing(path) as part:
        drawing.savefig(part, dpi=figures.DPI)
