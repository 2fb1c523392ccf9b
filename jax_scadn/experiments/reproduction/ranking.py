"""Methods on the user's own images: ranked, with paired tests."""

from __future__ import annotations

import dataclasses
import itertools
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jax_scadn.detection import evaluation
from jax_scadn.experiments.comparison import runs, scores
from jax_scadn.experiments.reproduction import cells, plots, report, work
from jax_scadn.reports import tables

STEM = "ranking"
LEVEL = 0.05  # of the tests of all pairs together, by Holm
_METRICS = ("image.ap", "image.f1_max", "pixel.auroc_pooled", "pixel.aupro",
            "pixel.iou_at_threshold")  # fmt: skip
_THRESHOLDS = {
    "normal above threshold": "normal_above",
    "anomalous above threshold": "anomalous_above",
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """The difference of two methods in image AUROC on one category.

    Attributes:
      first, second: titles, the better one first.
      change: first minus second.
      p_value: the largest over the seeds, times what Holm's correction asks for all
        pairs of the category; None where it is not known.
    """

    first: str
    second: str
    change: scores.Change
    p_value: float | None

    @property
    def holds(self) -> bool:
        """Whether it is more than the choice of test images explains."""
        return self.p_value is not None and self.p_value < LEVEL


@dataclasses.dataclass(frozen=True)
class Ranking:
    """One category.

    Attributes:
      category: its name.
      systems: by title, the highest image AUROC first.
      failures: reasons by title.
      pairs: all of them, in the order of the ranks.
    """

    category: str
    systems: Mapping[str, runs.System]
    failures: Mapping[str, str]
    pairs: Sequence[Pair]

    def auroc(self, title: str) -> float:
        """Mean over seeds."""
        return _mean(self.systems[title], self.category, title, scores.IMAGE_AUROC)


def rank(
    workdir: pathlib.Path,
    categories: Sequence[str],
    titles: Sequence[str],
    failures: Mapping[work.Key, str],
) -> list[Ranking]:
    """Ranks the methods on each category.

    Args:
      workdir: with the results.
      categories: names of the folders.
      titles: of the methods that were asked for.
      failures: see `work.Outcome`.
    """
    known = {title: one for (title, _), one in cells.systems(workdir).items()}
    rankings = []
    for category in categories:
        there = {
            title: known[title]
            for title in titles
            if title in known and category in known[title].runs
        }
        ranked = sorted(
            there,
            key=lambda t, c=category: _mean(known[t], c, t, scores.IMAGE_AUROC),
            reverse=True,
        )
        systems = {title: known[title] for title in ranked}
        failed = {
            key.title: reason
            for key, reason in failures.items()
            if key.category in ("", category) and key.title not in systems
        }
        rankings.append(Ranking(category, systems, failed, _pairs(systems, category)))
    return rankings


def _pairs(systems: Mapping[str, runs.System], category: str) -> list[Pair]:
    pairs = []
    for first, second in itertools.combinations(systems, 2):
        change = scores.change(
            systems[first], systems[second], [category], scores.IMAGE_AUROC
        )
        if change is not None:
            p_values = change.p_values.values()
            pairs.append(Pair(first, second, change, max(p_values, default=None)))
    return _holm(pairs)


def _holm(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs with p-values for all of them together (Holm, 1979)."""
    known = [n for n, pair in enumerate(pairs) if pair.p_value is not None]
    adjusted, least = list(pairs), 0.0
    for step, number in enumerate(sorted(known, key=lambda n: pairs[n].p_value)):
        least = max(least, min(1.0, (len(known) - step) * pairs[number].p_value))
        adjusted[number] = dataclasses.replace(pairs[number], p_value=least)
    return adjusted


def write(
    rankings: Sequence[Ranking],
    spent: Mapping[tuple[str, str], report.Costs],
    budget: str,
    name: str,
    folder: pathlib.Path,
) -> str:
    """Writes ranking.md, .csv, .json and .png; returns the Markdown.

    Args:
      rankings: of the categories.
      spent: by title and data set.
      budget: of the runs.
      name: of the user's folder.
      folder: gets the files.
    """
    costs = {title: cost for (title, _), cost in spent.items()}
    text = "\n".join(
        [
            f"## {name}: all methods at the budget '{budget}'\n",
            *(_section(ranking) for ranking in rankings),
            report.costs_text(spent),
        ]
    )
    lines = [line for ranking in rankings for line in _lines(ranking)]
    results = {
        "budget": budget,
        "categories": [
            {
                "category": ranking.category,
                "methods": _lines(ranking),
                "failures": ranking.failures,
                "pairs": [
                    {**dataclasses.asdict(pair), "holds": pair.holds}
                    for pair in ranking.pairs
                ],
            }
            for ranking in rankings
        ],
        "costs": {title: dataclasses.asdict(cost) for title, cost in costs.items()},
    }
    tables.write(results, lines, folder, STEM, text)
    panels = [_panel(ranking) for ranking in rankings if _panel(ranking)[2]]
    if panels:
        plots.draw(panels, folder / f"{STEM}.png")
    return text


def _lines(ranking: Ranking) -> list[dict[str, Any]]:
    """Numbers of each method, for further computation."""
    lines = []
    for place, (title, system) in enumerate(ranking.systems.items(), 1):
        of_seeds = system.values(ranking.category, title, scores.IMAGE_AUROC)
        low, high = scores.interval(system, ranking.category) or (None, None)
        lines.append(
            {
                "category": ranking.category,
                "rank": place,
                "method": title,
                "image AUROC": ranking.auroc(title),
                "seeds": len(of_seeds),
                "low": low,
                "high": high,
            }
            | {
                evaluation.COLUMNS[tuple(metric.split("."))]: _mean(
                    system, ranking.category, title, metric
                )
                for metric in _METRICS
            }
            | {
                heading: _threshold(system, ranking.category, name)
                for heading, name in _THRESHOLDS.items()
            }
        )
    return lines


def _section(ranking: Ranking) -> str:
    table = []
    for line in _lines(ranking):
        low, high = line.pop("low"), line.pop("high")
        line.pop("category")
        ends = report.interval(None if low is None else (low, high))
        cut = list(line).index("image AUROC") + 1
        items = list(line.items())
        table.append(dict([*items[:cut], ("95 % interval", ends), *items[cut:]]))
    table += [
        {"rank": None, "method": title, "95 % interval": report.short(_why(reason))}
        for title, reason in ranking.failures.items()
    ]
    thresholds = (
        "Each threshold is the score that at most `calibration.false_alarm_rate` of "
        "held-out normal images exceed; no test image is used.\n"
    )
    failed = [f"{title}: {reason}" for title, reason in ranking.failures.items()]
    parts = [
        f"### {ranking.category}\n\n{tables.markdown(table)}",
        report.failed_text(failed),
        thresholds,
        _differences(ranking) if ranking.pairs else "",
    ]
    return "\n".join(part for part in parts if part)


def _why(reason: str) -> str:
    return f"{cells.FAILED}: {reason}"


def _differences(ranking: Ranking) -> str:
    """The matrix of differences: row minus column, marked where they hold."""
    by_titles = {(pair.first, pair.second): pair for pair in ranking.pairs}
    titles = list(ranking.systems)
    matrix = []
    for first in titles[:-1]:
        line = {"row minus column": first}
        for second in titles[1:]:
            pair = by_titles.get((first, second))
            star = "*" if pair and pair.holds else ""
            line[second] = f"{pair.change.value:+.3f}{star}" if pair else "-"
        matrix.append(line)
    held = sum(pair.holds for pair in ranking.pairs)
    return (
        f"Differences in image AUROC on the same images; {held} of "
        f"{len(ranking.pairs)} hold (*): DeLong's test, Holm's correction for all "
        f"pairs, p < {LEVEL}, for every seed.\n\n{tables.markdown(matrix)}"
    )


def _panel(ranking: Ranking) -> tuple[str, str, list[plots.Dot]]:
    dots = [
        plots.Dot(
            title,
            ranking.auroc(title),
            scores.interval(system, ranking.category),
            None,
            "",
        )
        for title, system in ranking.systems.items()
    ]
    dots += [
        plots.Dot(title, None, None, None, _why(reason))
        for title, reason in ranking.failures.items()
    ]
    return ranking.category, "image AUROC", dots


def _mean(system: runs.System, category: str, title: str, metric: str) -> float:
    """Over seeds; NaN where it is not known."""
    values = system.values(category, title, metric).values()
    return math.fsum(values) / len(values) if values else math.nan


def _threshold(system: runs.System, category: str, name: str) -> float:
    """A share of test images above the threshold, mean over seeds."""
    every = [run.results["threshold"][name] for run in system.runs[category].values()]
    return math.fsum(every) / len(every)
