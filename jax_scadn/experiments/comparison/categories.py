"""Comparison of systems with tables of categories and of means over them."""

from __future__ import annotations

from collections.abc import Sequence

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import measured as measured_lib
from jax_scadn.experiments.comparison import protocol, rows, runs, scores
from jax_scadn.runtime import errors


def blocks(
    collection: runs.RunCollection,
    asked: papers.Table | None,
    measured: measured_lib.Measured | None,
) -> list[rows.Block]:
    """A block for each system, each matching table and each metric of that table.

    A table matches if it has numbers of the method, the data set and a category that
    was run. A system without a matching table is compared with the baselines only.

    Args:
      collection: results.
      asked: compare with this table, even if it lacks the method or the data set.
      measured: of the authors' code, or None.

    Raises:
      errors.UserError: the requested table has no entry for the results.
    """
    if asked and rows.is_ablation(asked):
        return []
    systems = list(collection.systems)
    if asked:  # a single variant is a system too
        systems += [s for a in collection.ablations for s in a.systems.values()]
    return [
        _block(system, table, metric, measured)
        for system in systems
        for table, metric in _pairs(system, asked)
    ]


def _pairs(
    system: runs.System, asked: papers.Table | None
) -> list[tuple[papers.Table | None, str]]:
    """Tables and metrics for a system; at least one pair."""
    if asked:
        _check(system, asked)
    tables = [asked] if asked else papers.tables().values()
    pairs = [
        (table, metric)
        for table in tables
        for metric in table.keys("metric")
        if (asked or _fits(system, table)) and _has(system, metric)
    ]
    if asked and not pairs:
        raise errors.UserError(
            f"{system.name} has no {' or '.join(asked.keys('metric'))}, which is what "
            f"{asked.id} shows"
        )
    return pairs or [(None, scores.IMAGE_AUROC)]


def _fits(system: runs.System, table: papers.Table) -> bool:
    return (
        not rows.is_ablation(table)
        and system.method in table.keys("method")
        and system.dataset in table.keys("dataset")
        and any(category in system.runs for category in _categories(system, table))
    )


def _check(system: runs.System, table: papers.Table) -> None:
    """Raises if a table has no entry for the results of a system."""
    if table.column_axis == "dataset" and system.dataset not in table.columns:
        raise errors.UserError(
            f"{table.id} has no column for {system.dataset}, only for "
            f"{', '.join(table.columns)}"
        )
    categories = _categories(system, table)
    if not any(category in system.runs for category in categories):
        raise errors.UserError(
            f"{table.id} has none of the categories of {system.name} "
            f"({', '.join(system.runs)}), only {', '.join(categories)}"
        )


def _has(system: runs.System, metric: str) -> bool:
    """Whether the results have a metric; some published ones are not computed."""
    return "." in metric and any(
        system.values(category, system.method, metric) for category in system.runs
    )


def _categories(system: runs.System, table: papers.Table | None) -> tuple[str, ...]:
    of_table = table.categories if table else ()
    return of_table or rows.expected_categories(system.dataset) or tuple(system.runs)


def _block(
    system: runs.System,
    table: papers.Table | None,
    metric: str,
    measured: measured_lib.Measured | None,
) -> rows.Block:
    categories = _categories(system, table)

    def row(key: str, label: str, members: Sequence[str]) -> rows.Row:
        published = (None, None)
        if table:
            published = table.published(
                category=key,
                method=protocol.published_method(system, table),
                dataset=table.fixed.get("dataset", system.dataset),
                metric=metric,
            )
        return rows.row(system, key, label, members, metric, published, measured)

    table_rows = [row(c, c or system.dataset, [c]) for c in categories]
    # There is a mean only if all categories of the data set are known.
    of_data = () if table else rows.expected_categories(system.dataset)
    if of_data or (table and papers.MEAN in table.keys("category")):
        table_rows.append(row(papers.MEAN, f"mean of {len(categories)}", categories))
    return rows.Block(
        name=system.name,
        method=system.method,
        dataset=system.dataset,
        category=None,
        full=None,
        metric=metric,
        table=table,
        baselines=system.baselines,
        rows=table_rows,
        ours=protocol.ours(system),
        coverage=protocol.coverage(system, categories, table),
        differences=protocol.differences_to(system, table),
        **rows.measured_fields(system, measured),
    )
