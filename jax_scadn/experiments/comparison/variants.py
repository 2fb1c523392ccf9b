"""Comparison of ablations with tables of variants."""

from __future__ import annotations

from collections.abc import Mapping

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import measured as measured_lib
from jax_scadn.experiments.comparison import protocol, rows, runs, scores
from jax_scadn.runtime import errors

_FULL = "full"  # name of the full model without a table
# The settings that were varied when the authors' code was measured.
_MEASURED = frozenset({"scoring.merge"})


def blocks(
    collection: runs.RunCollection,
    asked: papers.Table | None,
    measured: measured_lib.Measured | None,
) -> list[rows.Block]:
    """A block for each ablation and each category that it was run on.

    A table matches if it is of the method, has the data set and at least two of the
    variants; variants that it lacks follow its rows. Without a table, variants are in
    the order of their declaration.

    Args:
      collection: results.
      asked: compare with this table, even if it does not match.
      measured: of the authors' code, or None.

    Raises:
      errors.UserError: the requested table is an ablation, the results are not.
    """
    if asked and not rows.is_ablation(asked):
        return []
    if asked and not collection.ablations:
        raise errors.UserError(
            f"{asked.id} is an ablation; give a directory that jax_scadn.ablate wrote"
        )
    return [
        _block(ablation, category, asked or _fitting(ablation), measured)
        for ablation in collection.ablations
        for category in _categories(ablation)
    ]


def _categories(ablation: runs.Ablation) -> list[str]:
    """Categories that were run; first their mean, if all of the data set were run."""
    systems = ablation.systems.values()
    finished = sorted({category for system in systems for category in system.runs})
    every = rows.expected_categories(ablation.first.dataset)
    if every and set(every) <= set(finished):
        return [papers.MEAN, *finished]
    return finished


def _fitting(ablation: runs.Ablation) -> papers.Table | None:
    dataset, method = ablation.first.dataset, ablation.first.method
    for table in papers.tables().values():
        if (
            rows.is_ablation(table)
            and table.method == method
            and dataset in table.keys("dataset")
            and len(table.rows.keys() & ablation.variants.keys()) > 1
        ):
            return table
    return None


def _block(
    ablation: runs.Ablation,
    category: str,
    table: papers.Table | None,
    measured: measured_lib.Measured | None,
) -> rows.Block:
    dataset = ablation.first.dataset
    metric = table.fixed["metric"] if table else scores.IMAGE_AUROC
    names = list(dict.fromkeys([*(table.rows if table else ()), *ablation.variants]))
    full = _full(ablation, table)
    members, systems = [category], ablation.systems
    if category == papers.MEAN:
        members = rows.expected_categories(dataset)
    else:
        systems = {name: s for name, s in systems.items() if category in s.runs}
    full_system = systems.get(full)
    # Without the full model, the protocol is another variant's, except what varies.
    example = full_system or next(iter(systems.values()))
    varied: set[str] = set()
    if not full_system:
        varied.update(*ablation.variants.values())

    def published(name: str) -> tuple[float | None, float | None]:
        if not table:
            return None, None
        keys = table.keys("category")
        return table.published(
            variant=name,
            category=category if category in keys else papers.MEAN,
            dataset=table.fixed.get("dataset", dataset),
        )

    def row(name: str) -> rows.Row:
        system = systems.get(name)
        comparable = ablation.variants.get(name, {}).keys() <= _MEASURED
        return rows.row(
            system,
            name,
            table.labels.get(name, name) if table else name,
            members,
            metric,
            published(name),
            measured if comparable else None,
            change=scores.change(system, full_system, members, metric)
            if system and full_system and name != full
            else None,
            published_change=None
            if name == full
            else rows.difference(published(name)[0], published(full)[0]),
        )

    return rows.Block(
        name=ablation.first.results["name"],
        method=example.method,
        dataset=dataset,
        category=category,
        full=full,
        metric=metric,
        table=table,
        baselines=example.baselines,
        rows=[row(name) for name in names],
        ours=protocol.ours(example),
        coverage=_coverage(ablation, systems, category, table),
        differences=protocol.differences_to(example, table, varied),
        **rows.measured_fields(example, measured, varied),
    )


def _full(ablation: runs.Ablation, table: papers.Table | None) -> str:
    """The variant that the others are compared with."""
    unchanged = [name for name, changes in ablation.variants.items() if not changes]
    if table:
        return table.full
    return _FULL if _FULL in ablation.variants else [*unchanged, *ablation.variants][0]


def _coverage(
    ablation: runs.Ablation,
    systems: Mapping[str, runs.System],
    category: str,
    table: papers.Table | None,
) -> list[str]:
    """Descriptions of the available variants and seeds, and of the paper's numbers."""
    example = next(iter(systems.values()))
    lines = protocol.about_data(example, table)
    if table and category not in table.keys("category"):
        lines.append(
            f"ours is of {category or ablation.first.dataset} only, the paper's "
            f"numbers are means over categories: compare the differences between "
            f"variants, not the numbers themselves"
        )
    asked = ", ".join(map(str, ablation.seeds))
    lines.append(f"seeds: {asked}{protocol.published_seeds(example, table)}")
    for name, system in systems.items():
        run = system.runs.get(category, ())
        missing = [seed for seed in ablation.seeds if seed not in run]
        if missing and category != papers.MEAN:
            lines.append(f"{name}: not run with seed {', '.join(map(str, missing))}")
    return lines
