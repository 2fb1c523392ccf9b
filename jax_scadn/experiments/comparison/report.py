"""Comparisons as Markdown, CSV, JSON and LaTeX."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jax_scadn.detection import evaluation
from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import means, rows
from jax_scadn.reports import tables
from jax_scadn.runtime import files

STEM = "comparison"
_NOT_RUN = "not run"
_UNKNOWN = "-"
_SHOWN = 3  # directories without results that are listed
_INTERVALS = (
    "± is the standard deviation between seeds. 95 % intervals are over test images "
    "(bootstrap) and do not include it; p is DeLong's."
)


def write(
    blocks: Sequence[rows.Block],
    unfinished: Sequence[pathlib.Path],
    folder: pathlib.Path,
) -> None:
    """Writes comparison.md, .csv and .tex, and then .json."""
    files.write_text(folder / f"{STEM}.tex", latex(blocks))
    tables.write(
        {"blocks": [_plain(block) for block in blocks], "unfinished": unfinished},
        [cells for block in blocks for cells in _numbers(block)],
        folder,
        STEM,
        text=markdown(blocks, unfinished),
    )


def markdown(
    blocks: Sequence[rows.Block], unfinished: Sequence[pathlib.Path] = ()
) -> str:
    """A table for each block with its differences, and the sources at the end."""
    parts = [
        f"### {title(block)}\n\n{tables.markdown(_cells(block))}\n{_remarks(block)}"
        for block in blocks
    ]
    sources = _sources(blocks)
    if sources:
        parts.append(f"### Sources\n\n{_bullets(sources)}")
    if unfinished:
        shown = ", ".join(map(str, unfinished[:_SHOWN]))
        more = ", ..." if len(unfinished) > _SHOWN else ""
        parts.append(f"Without results ({len(unfinished)}): {shown}{more}\n")
    return "\n".join(parts)


def latex(blocks: Sequence[rows.Block]) -> str:
    """Rows of tabulars; titles, protocols and sources are comments."""
    parts = [
        _comments(f"{title(block)}\n{_remarks(block)}") + tables.latex(_cells(block))
        for block in blocks
    ]
    return "\n".join([*parts, _comments(_bullets(_sources(blocks)))])


def title(block: rows.Block) -> str:
    """The heading of a block."""
    where = papers.DATASETS.get(block.dataset, block.dataset)
    if block.category:
        where = f"{where} ({block.category})"
    return f"{block.method} on {where}, {heading(block)}: {block.name}"


def heading(block: rows.Block) -> str:
    """The display name of the metric."""
    return evaluation.COLUMNS[tuple(block.metric.split("."))]


def _remarks(block: rows.Block) -> str:
    """Protocols, their differences, and coverage."""
    differences, verdict = list(block.differences), "No published table matches."
    if block.table and not block.is_proposed:
        verdict = f"Not a reproduction of {block.table.id}."
    elif block.table:
        verdict = f"Not a reproduction of {block.table.id}. Differences:"
        if not differences:
            verdict = f"The protocol of {block.table.id}, as far as it is known."
    lines = [f"**{verdict}**", "", _bullets([*differences, *block.coverage])]
    lines.append(f"Ours: {block.ours}.")
    if block.measured:
        differing = "; ".join(block.measured_differences) or "no known differences"
        lines += ["", f"Compared with PyTorch ({block.measured}): {differing}."]
    if any(row.interval or row.change for row in block.rows):
        lines += ["", _INTERVALS]
    return "\n".join(lines) + "\n"


def _sources(blocks: Sequence[rows.Block]) -> list[str]:
    """Each table and each measured protocol, once."""
    lines = []
    for block in blocks:
        if block.table:
            table = block.table
            lines.append(
                f"{table.id}: {table.title}. {table.source}. "
                f"Protocol of {table.method}: {table.protocol.description} "
                f"{table.notes}".rstrip()
            )
        if block.measured:
            description = " ".join(block.measured_protocol)
            lines.append(f"PyTorch, {block.measured}: {description}")
    return list(dict.fromkeys(lines))


def _bullets(lines: Iterable[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def _comments(text: str) -> str:
    return "".join(f"% {line}\n" for line in text.splitlines() if line)


def _cells(block: rows.Block) -> list[dict[str, str]]:
    """The table for display, without empty columns."""
    every = [_row(block, row) for row in block.rows]
    columns = dict.fromkeys(column for cells in every for column in cells)
    shown = [c for c in columns if any(cells[c] != _UNKNOWN for cells in every)]
    return [{column: cells[column] for column in shown} for cells in every]


def _row(block: rows.Block, row: rows.Row) -> dict[str, str]:
    change = row.change
    cells = {
        "variant" if block.is_ablation else "category": row.label,
        "ours": _mean(row.ours) if row.ours else _NOT_RUN,
        "seeds": str(len(row.ours.seeds)) if row.ours else _UNKNOWN,
        "95 % interval": "{:.3f} to {:.3f}".format(*row.interval)
        if row.interval
        else _UNKNOWN,
    }
    if block.is_ablation:
        cells |= {
            f"to {block.full}": _signed(change and change.value),
            f"to {block.full}, 95 %": f"{change.low:+.3f} to {change.high:+.3f}"
            if change and change.low is not None
            else _UNKNOWN,
            "p by seed": ", ".join(f"{p:.2g}" for p in change.p_values.values())
            if change and change.p_values
            else _UNKNOWN,
        }
    cells["paper"] = _published(block, row)
    if block.is_ablation:
        cells[f"paper: to {block.full}"] = _signed(row.published_change)
    else:
        cells["ours - paper"] = _signed(row.difference)
    for name in block.baselines:
        cells[name] = _mean(row.baselines.get(name))
    cells["PyTorch"] = _mean(row.measured)
    cells["ours - PyTorch"] = _signed(row.measured_difference)
    return cells


def _mean(mean: means.Mean | None) -> str:
    """With the deviation between seeds, unless it is 0."""
    if mean is None:
        return _UNKNOWN
    deviation = f" ± {mean.deviation:.4f}" if mean.deviation else ""
    return f"{mean.value:.4f}{deviation}"


def _published(block: rows.Block, row: rows.Row) -> str:
    """With as many digits as in the table."""
    if row.published is None:
        return _UNKNOWN
    digits = max(len(str(r.published)) for r in block.rows if r.published is not None)
    text = str(row.published).ljust(digits, "0")
    deviation = row.published_deviation
    return text if deviation is None else f"{text} ± {deviation}"


def _signed(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:+.4f}"


def _numbers(block: rows.Block) -> Iterator[dict[str, Any]]:
    """The table for further computation, a line for each row."""
    for row in block.rows:
        low, high = row.interval or (None, None)
        change = row.change
        yield {
            "system": block.name,
            "method": block.method,
            "dataset": block.dataset,
            "metric": block.metric,
            "table": block.table.id if block.table else None,
            "category": block.category if block.is_ablation else row.key,
            "variant": row.key if block.is_ablation else None,
            **_statistics("ours", row.ours),
            "low": low,
            "high": high,
            "published": row.published,
            "published_std": row.published_deviation,
            "difference": row.difference,
            **{
                key: value
                for name in block.baselines
                for key, value in _statistics(name, row.baselines.get(name)).items()
            },
            **_statistics("measured", row.measured),
            "measured_difference": row.measured_difference,
            "change": change and change.value,
            "change_low": change and change.low,
            "change_high": change and change.high,
            "published_change": row.published_change,
        }


def _statistics(name: str, mean: means.Mean | None) -> dict[str, Any]:
    return {
        name: mean and mean.value,
        f"{name}_std": mean and mean.deviation,
        f"{name}_seeds": mean and len(mean.seeds),
    }


def _plain(block: rows.Block) -> dict[str, Any]:
    table = block.table
    return dataclasses.asdict(block) | {
        "table": table and table.id,
        "source": table and table.source,
        "protocol": table and table.protocol.description,
        "notes": table and table.notes,
    }
