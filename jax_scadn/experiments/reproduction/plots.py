"""Plots of reproduced tables and of rankings: a panel each, a row for each method."""

from __future__ import annotations

import pathlib
import textwrap
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import axes as axes_lib
from matplotlib import figure

from jax_scadn.reports import figures
from jax_scadn.runtime import files

_OURS, _PAPER = figures.VERMILION, "#0072b2"
_WIDTH, _ROW, _FRAME = 9.0, 0.32, 1.3  # inches: a figure, a row, a panel without rows
_LEGEND = "ours, 95 % interval over test images"
_LETTERS = 44  # of a status
_MARGIN = 0.03  # of the axis, around the values


class Dot(NamedTuple):
    """A row of a panel.

    Attributes:
      label: of the method.
      ours: None where it is missing.
      interval: of ours.
      published: None where it is missing.
      status: in words, where ours is missing.
    """

    label: str
    ours: float | None
    interval: tuple[float, float] | None
    published: float | None
    status: str


def draw(
    panels: Sequence[tuple[str, str, Sequence[Dot]]],
    path: pathlib.Path,
    published: str = "published",
) -> None:
    """Writes the figure.

    Args:
      panels: title, name of the axis, and rows of each; at least one.
      path: with a suffix that matplotlib supports, such as .png.
      published: what those numbers are, for the legend.
    """
    heights = [_FRAME + _ROW * len(dots) for _, _, dots in panels]
    plot = figure.Figure((_WIDTH, sum(heights)), dpi=120, layout="constrained")
    plot.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    every = plot.subplots(
        len(panels), squeeze=False, gridspec_kw={"height_ratios": heights}
    )[:, 0]
    for (title, name, dots), axes in zip(panels, every, strict=True):
        _panel(axes, title, name, dots)
    every[0].plot([], [], "o", color=_OURS, label=_LEGEND)
    if any(dot.published is not None for _, _, dots in panels for dot in dots):
        every[0].plot([], [], "D", color=_PAPER, markersize=5, label=published)
    handles, labels = every[0].get_legend_handles_labels()
    plot.legend(
        handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8
    )
    with files.replacing(path) as part:
        plot.savefig(part)


def _panel(axes: axes_lib.Axes, title: str, name: str, dots: Sequence[Dot]) -> None:
    known = [
        value
        for dot in dots
        for value in (dot.ours, dot.published, *(dot.interval or ()))
        if value is not None
    ]
    for y, dot in enumerate(dots):
        if dot.published is not None:
            axes.plot(dot.published, y, "D", color=_PAPER, markersize=5)
        if dot.ours is None:
            # To the side of the published number on which there is room.
            middle = (min(known) + max(known)) / 2 if known else 0.5
            left = dot.published is not None and dot.published > middle
            axes.annotate(
                textwrap.shorten(dot.status, _LETTERS, placeholder="..."),
                (middle if dot.published is None else dot.published, y),
                xytext=(-8 if left else 8, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                size=7.5,
                color=figures.GREY,
                parse_math=False,
            )
            continue
        axes.plot(dot.ours, y, "o", color=_OURS, markersize=6, zorder=3)
        if dot.interval:
            axes.plot(dot.interval, (y, y), color=_OURS, linewidth=1.6)
    axes.set_yticks(range(len(dots)), [dot.label for dot in dots], size=9)
    axes.set_ylim(len(dots) - 0.5, -0.5)
    if known:
        room = _MARGIN + 0.05 * (max(known) - min(known))
        axes.set_xlim(min(known) - room, max(known) + room)
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel(name, size=9)
    axes.set_title(title, loc="left", size=9, parse_math=False)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
