"""Plots of comparisons: bars for categories, dots for variants."""

from __future__ import annotations

import dataclasses
import pathlib
import textwrap
from collections.abc import Sequence

from matplotlib import axes as axes_lib
from matplotlib import figure

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import means, report, rows
from jax_scadn.reports import figures
from jax_scadn.runtime import files

_OURS, _PAPER, _MEASURED = figures.VERMILION, "#0072b2", "#56b4e9"
_BASELINES = ("#c8c8c8", "#8a8a8a")  # grey
_LINES = ("--", "-.")  # of baselines in a plot of dots
_SHIFTS = {_OURS: 0.0, _PAPER: 0.22, _MEASURED: -0.22}  # of dots, in rows
_MARKERS = {_OURS: "o", _PAPER: "D", _MEASURED: "^"}

# Inches: a figure, a panel of bars, a panel of dots without its rows, a row of dots.
_WIDTH, _BARS_HEIGHT, _DOTS_HEIGHT, _ROW = 11.0, 4.2, 1.9, 0.42
_TITLE_LETTERS = 140
_BARS_WIDTH = 0.84  # of all bars of a category
_TILTED = 60  # letters of all labels, from which on they are rotated


@dataclasses.dataclass(frozen=True)
class _Series:
    """Numbers of one source, one for each row."""

    label: str
    color: str
    numbers: Sequence[means.Mean | None]


def draw(blocks: Sequence[rows.Block], path: pathlib.Path) -> None:
    """Writes a figure with a panel for each block.

    Args:
      blocks: at least one.
      path: with a suffix that matplotlib supports, such as .png.
    """
    heights = [
        _DOTS_HEIGHT + _ROW * len(block.rows) if block.is_ablation else _BARS_HEIGHT
        for block in blocks
    ]
    plot = figure.Figure((_WIDTH, sum(heights)), dpi=120, layout="constrained")
    plot.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
    parts = plot.subfigures(len(blocks), height_ratios=heights, squeeze=False)[:, 0]
    for block, part in zip(blocks, parts, strict=True):
        axes = part.subplots()
        (_dots if block.is_ablation else _bars)(block, axes)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
        part.suptitle(_title(block), x=0.01, ha="left", fontsize=9, parse_math=False)
        part.legend(loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    with files.replacing(path) as file:
        plot.savefig(file)


def _title(block: rows.Block) -> str:
    """The heading, and a warning if protocols differ."""
    lines = [report.title(block)]
    if block.differences:
        names = [line.partition(":")[0] for line in block.differences]
        lines.append(f"Not a reproduction of {block.table.id}: {', '.join(names)}")
        lines[-1] += " differ" if len(names) > 1 else " differs"
    elif block.table and not block.is_proposed:
        lines.append(f"Not a reproduction of {block.table.id}")
    return "\n".join(textwrap.shorten(line, _TITLE_LETTERS) for line in lines)


def _series(block: rows.Block) -> list[_Series]:
    """The sources with any numbers; ours is always the first."""
    paper, spread = "paper", "± std over seeds"
    if block.is_ablation:
        spread = "95 % interval"
        if block.table and block.category not in block.table.keys("category"):
            paper = "paper, mean over categories"
    ours = _Series(f"{block.method}, {spread}", _OURS, [row.ours for row in block.rows])
    others = [
        _Series(paper, _PAPER, [_published(row) for row in block.rows]),
        _Series("PyTorch, measured", _MEASURED, [row.measured for row in block.rows]),
    ]
    others += [
        _Series(name, color, [row.baselines.get(name) for row in block.rows])
        for color, name in zip(_BASELINES, block.baselines, strict=False)
    ]
    return [ours, *(series for series in others if any(series.numbers))]


def _published(row: rows.Row) -> means.Mean | None:
    if row.published is None:
        return None
    return means.Mean(row.published, row.published_deviation, ())


def _bars(block: rows.Block, axes: axes_lib.Axes) -> None:
    series = _series(block)
    width = _BARS_WIDTH / len(series)
    # The mean is set off a little.
    places = [
        index + 0.3 * (row.key == papers.MEAN) for index, row in enumerate(block.rows)
    ]
    for index, place in enumerate(places):
        shown = [s for s in series if s.numbers[index] or s is series[0]]
        left = place - width * (len(shown) - 1) / 2
        for number, one in enumerate(shown):
            x, mean = left + number * width, one.numbers[index]
            if mean is None:
                axes.text(x, 0.02, "not run", rotation=90, size=7, color=_OURS,
                          ha="center", va="bottom")  # fmt: skip
                continue
            axes.bar(x, mean.value, width, color=one.color)
            if mean.deviation:
                axes.errorbar(x, mean.value, mean.deviation, color="black",
                              linewidth=1, capsize=1.5)  # fmt: skip
    for one in series:
        axes.bar(0, 0, color=one.color, label=one.label)
    labels = [row.label for row in block.rows]
    tilted = sum(map(len, labels)) > _TILTED
    axes.set_xticks(places, labels, rotation=35 if tilted else 0, size=8,
                    ha="right" if tilted else "center")  # fmt: skip
    axes.tick_params(axis="x", length=0, pad=1)
    axes.set(ylim=(0, 1.02), xlim=(-0.6, places[-1] + 0.6))
    axes.set_ylabel(report.heading(block))
    axes.grid(axis="y", color="#eeeeee")
    if "auroc" in block.metric:  # chance
        axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":", zorder=0.5)


def _dots(block: rows.Block, axes: axes_lib.Axes) -> None:
    for one in _series(block):
        known = {y: mean.value for y, mean in enumerate(one.numbers) if mean}
        if one.color in _BASELINES:  # the same for all variants
            style = _LINES[_BASELINES.index(one.color)]
            value = next(iter(known.values()))
            axes.axvline(
                value, color=one.color, linestyle=style, label=one.label, zorder=0
            )
        else:
            heights = [y + _SHIFTS[one.color] for y in known]
            axes.plot(known.values(), heights, _MARKERS[one.color], color=one.color,
                      markersize=6, label=one.label)  # fmt: skip
    for y, row in enumerate(block.rows):
        if row.interval:
            axes.plot(row.interval, (y, y), color=_OURS, linewidth=1.6)
        if row.ours is None:
            axes.text(0.01, y, "not run", transform=axes.get_yaxis_transform(), size=8,
                      va="center", color=_OURS)  # fmt: skip
    axes.set_yticks(range(len(block.rows)), [row.label for row in block.rows], size=9)
    axes.set_ylim(len(block.rows) - 0.5, -0.5)
    axes.set_xlabel(report.heading(block))
    axes.grid(color="#eeeeee")
