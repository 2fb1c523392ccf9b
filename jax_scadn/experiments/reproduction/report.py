"""A reproduced table as Markdown, CSV and JSON."""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jax_scadn.detection import evaluation
from jax_scadn.experiments import costs, papers
from jax_scadn.experiments.comparison import means, protocol
from jax_scadn.experiments.reproduction import cells, datasets, work
from jax_scadn.reports import tables

STEM = "table"
_UNKNOWN = "-"
_SHOWN = 60  # letters of a reason in a cell; all of it is below the table


@dataclasses.dataclass(frozen=True)
class Costs:
    """Means over the runs of one method on one data set.

    Attributes:
      training: of one run; None where it is not known.
      scoring: of one image; the same.
    """

    training: costs.Cost | None
    scoring: costs.Cost | None


def write(
    reproduction: cells.Reproduction,
    spent: Mapping[tuple[str, str], Costs],
    budget: str,
    folder: pathlib.Path,
) -> str:
    """Writes table.md, .csv and .json; returns the Markdown.

    Args:
      reproduction: the table.
      spent: by title and data set.
      budget: of our runs.
      folder: gets the files.
    """
    text = markdown(reproduction, spent, budget)
    every = [
        reproduction.cell(title, place)
        for place in _with_categories(reproduction)
        for title in reproduction.titles()
    ]
    results = {
        "table": reproduction.table.id,
        "title": reproduction.table.title,
        "source": reproduction.table.source,
        "budget": budget,
        "cells": [_plain(cell) for cell in every],
        "failures": [
            {**key._asdict(), "reason": reason}
            for key, reason in reproduction.failures.items()
        ],
        "costs": [
            {"method": title, "dataset": dataset, **dataclasses.asdict(cost)}
            for (title, dataset), cost in spent.items()
        ],
    }
    tables.write(results, [_numbers(cell) for cell in every], folder, STEM, text)
    return text


def markdown(
    reproduction: cells.Reproduction,
    spent: Mapping[tuple[str, str], Costs],
    budget: str,
) -> str:
    """A section for each data set and metric, then protocols, costs and failures."""
    table = reproduction.table
    parts = [
        f"## {table.id}: {table.title}\n\n"
        f"Ours at the budget '{budget}', the published numbers of {table.source}.\n"
    ]
    for place in sections(reproduction):
        parts.append(_section(reproduction, place))
        if matrix := _matrix(reproduction, place):
            parts.append(matrix)
    parts += [_protocols(reproduction), costs_text(spent), failures(reproduction)]
    notes = f"{table.protocol.description} {table.notes}".rstrip()
    parts.append(f"Published: {notes}\n")
    return "\n".join(part for part in parts if part)


def sections(reproduction: cells.Reproduction) -> list[cells.Place]:
    """The places that get a table of methods: means where the table has them."""
    places = reproduction.places()
    means_ = [place for place in places if place.category == papers.MEAN]
    return means_ or places


def heading(reproduction: cells.Reproduction, place: cells.Place) -> str:
    """Such as 'MNIST, image AUROC, mean of 3 of 10 categories: 0, 1, 8'."""
    name = papers.DATASETS.get(place.dataset, place.dataset)
    what = metric_name(place.metric)
    if place.category != papers.MEAN:
        return f"{name}, {place.category}, {what}"
    members = reproduction.members.get(place.dataset, ())
    every = datasets.expected(place.dataset)
    if not members or len(members) == len(every):
        return f"{name}, {what}, mean of {len(every)} categories"
    listed = ", ".join(members)
    return f"{name}, {what}, mean of {len(members)} of {len(every)}: {listed}"


def metric_name(metric: str) -> str:
    """'image AUROC' for 'image.auroc'."""
    return evaluation.COLUMNS.get(tuple(metric.split(".")), metric.replace("_", " "))


def _section(reproduction: cells.Reproduction, place: cells.Place) -> str:
    every = [reproduction.cell(title, place) for title in reproduction.titles()]
    lines = [
        {
            "method": cell.title,
            "ours": mean(cell.ours) if cell.ours else short(cell.status),
            "seeds": str(len(cell.ours.seeds)) if cell.ours else _UNKNOWN,
            "95 % interval": interval(cell.interval),
            "published": _published(cell),
            "ours - published": _signed(cell.difference),
        }
        for cell in every
    ]
    text = f"### {heading(reproduction, place)}\n\n{tables.markdown(lines)}"
    if any(cell.ours and cell.is_partial for cell in every):
        text += (
            "\nPublished numbers are means over all categories, ours over some: there "
            "is no difference to tell.\n"
        )
    return text


def _matrix(reproduction: cells.Reproduction, mean_place: cells.Place) -> str:
    """A row for each category, a column for each method: 'ours (published)'."""
    if mean_place.category != papers.MEAN:
        return ""
    members = reproduction.members.get(mean_place.dataset, ())
    members = [*dict.fromkeys([*reproduction.table.categories, *members])]
    shown = [
        title
        for title in reproduction.titles()
        if reproduction.cell(title, mean_place).status != cells.NOT_BUILT
    ]
    lines = []
    for category in members:
        place = mean_place._replace(category=category)
        line = {"category": category}
        for title in shown:
            cell = reproduction.cell(title, place)
            ours = f"{cell.ours.value:.4f}" if cell.ours else _word(cell.status)
            published = "" if cell.published is None else f" ({cell.published})"
            line[title] = ours + published
        lines.append(line)
    if not lines or not shown:
        return ""
    known = " (published)" if reproduction.table.categories else ""
    return f"By category, ours{known}:\n\n{tables.markdown(lines)}"


def _with_categories(reproduction: cells.Reproduction) -> list[cells.Place]:
    """All places of the table, and those of single categories that it has not."""
    places = reproduction.places()
    for place in list(places):
        if place.category == papers.MEAN:
            members = reproduction.members.get(place.dataset, ())
            places += [place._replace(category=c) for c in members]
    return list(dict.fromkeys(places))


def _protocols(reproduction: cells.Reproduction) -> str:
    lines = []
    for (title, dataset), system in reproduction.systems.items():
        name = papers.DATASETS.get(dataset, dataset)
        lines.append(f"- {title}, {name}: {protocol.ours(system)}")
        differing = protocol.differences_to(system, reproduction.table)
        lines += [f"  - differs: {line}" for line in differing]
    return "Ours:\n\n" + "".join(f"{line}\n" for line in lines) if lines else ""


def costs_text(spent: Mapping[tuple[str, str], Costs]) -> str:
    """The table of time and memory, '' without any."""
    several = len({dataset for _, dataset in spent}) > 1
    lines = [
        {"method": title}
        | ({"data": papers.DATASETS.get(dataset, dataset)} if several else {})
        | cost_cells(cost)
        for (title, dataset), cost in spent.items()
    ]
    if not lines:
        return ""
    words = {
        cost.hardware
        for one in spent.values()
        for cost in (one.training, one.scoring)
        if cost
    }
    return (
        f"Time, mean over runs, and memory, the most ({'; '.join(sorted(words))}). A "
        "training's time includes compilation; memory is that of the device where it "
        "is known, else of the whole process:\n\n" + tables.markdown(lines)
    )


def cost_cells(cost: Costs) -> dict[str, str]:
    """Columns of what a method has taken."""
    training, scoring = cost.training, cost.scoring
    least = "" if training is None or training.complete else "at least "
    return {
        "training, s": f"{least}{training.seconds:.3g}" if training else _UNKNOWN,
        "training, MiB": _mib(training),
        "scoring, ms an image": f"{1000 * scoring.seconds:.3g}" if scoring else "-",
        "scoring, MiB": _mib(scoring),
    }


def spent_by(outcome: work.Outcome) -> dict[tuple[str, str], Costs]:
    """What each method has taken on each data set, means over its runs."""
    grouped: dict[tuple[str, str], list[work.Key]] = {}
    for key in outcome.folders:
        grouped.setdefault((key.title, key.dataset), []).append(key)
    return {
        pair: Costs(
            _mean_cost(costs.read_training(outcome.trained_in[key]) for key in keys),
            _mean_cost(costs.read_scoring(outcome.folders[key]) for key in keys),
        )
        for pair, keys in grouped.items()
    }


def failures(reproduction: cells.Reproduction) -> str:
    """A line for each reason, '' without any."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for key, reason in reproduction.failures.items():
        where = f"{key.dataset} {key.category} seed {key.seed}".replace("  ", " ")
        by_reason.setdefault((key.title, reason), []).append(where)
    return failed_text(
        [f"{title} ({', '.join(w)}): {why}" for (title, why), w in by_reason.items()]
    )


def failed_text(lines: Sequence[str]) -> str:
    """The list of failures, '' without any."""
    return "Failed:\n\n" + "".join(f"- {line}\n" for line in lines) if lines else ""


def mean(value: means.Mean) -> str:
    """With the deviation between seeds where there are several."""
    deviation = "" if value.deviation is None else f" ± {value.deviation:.4f}"
    return f"{value.value:.4f}{deviation}"


def interval(ends: tuple[float, float] | None) -> str:
    """'0.912 to 0.934'."""
    return "{:.3f} to {:.3f}".format(*ends) if ends else _UNKNOWN


def _mean_cost(every: Iterable[costs.Cost | None]) -> costs.Cost | None:
    known: Sequence[costs.Cost] = [cost for cost in every if cost]
    if not known:
        return None
    return costs.Cost(
        # Those that were trained together share the time.
        statistics.fmean(cost.seconds / cost.runs for cost in known),
        max((cost.mib for cost in known if cost.mib is not None), default=None),
        1,
        all(cost.complete for cost in known),
        "; ".join(sorted({cost.hardware for cost in known})),
    )


def _mib(cost: costs.Cost | None) -> str:
    return _UNKNOWN if cost is None or cost.mib is None else f"{cost.mib:.0f}"


def _published(cell: cells.Cell) -> str:
    if cell.published is None:
        return _UNKNOWN
    deviation = cell.published_deviation
    return f"{cell.published}" + ("" if deviation is None else f" ± {deviation}")


def _signed(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:+.4f}"


def short(status: str) -> str:
    """As much of a reason as a cell holds."""
    return status if len(status) <= _SHOWN else f"{status[: _SHOWN - 3]}..."


def _word(status: str) -> str:
    return status.split(":")[0].split(" (")[0]


def _plain(cell: cells.Cell) -> dict[str, Any]:
    return {**_numbers(cell), "categories": cell.members}


def _numbers(cell: cells.Cell) -> dict[str, Any]:
    """The cell for further computation."""
    low, high = cell.interval or (None, None)
    return {
        "method": cell.title,
        **cell.place._asdict(),
        "status": cell.status,
        "ours": cell.ours and cell.ours.value,
        "std": cell.ours and cell.ours.deviation,
        "seeds": cell.ours and len(cell.ours.seeds),
        "categories": len(cell.members),
        "low": low,
        "high": high,
        "published": cell.published,
        "published_std": cell.published_deviation,
        "difference": cell.difference,
    }
