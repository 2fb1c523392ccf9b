"""Ablations beside tables of variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import measured as measured_lib
from jax_scadn.experiments.comparison import protocol, rows, runs, scores
from jax_scadn.runtime import errors

_FULL = "full"  # what the whole model is called where no table says
# The authors' code was measured with these settings varied and no others.
_MEASURED = frozenset({"scoring.merge"})


def blocks(
    found: runs.Found,
    asked: papers.Table | None,
    measured: measured_lib.Measured | None,
) -> list[rows.Block]:
    """A block for each ablation and each category that it was run on.

    A table fits if it has the method, the data set and two of the variants or more;
    variants that it lacks follow after its rows. Without one, variants stand in the
    order of their declaration.

    Args:
      found: results.
      asked: to compare with this table, fitting or not.
      measured: of the authors' code, or None.

    Raises:
      errors.UserError: the table that was asked for is an ablation, and the results
        are not.
    """
    if asked and not rows.is_ablation(asked):
        return []
    if asked and not found.ablations:
        raise errors.UserError(
            f"{asked.id} is an ablation; give a directory that jax_scadn.ablate wrote"
        )
    return [
        _block(ablation, category, asked or _fitting(ablation), measured)
        for ablation in found.ablations
        for category in _categories(ablation)
    ]


def _categories(ablation: runs.Ablation) -> list[str]:
    """Those that were run, after their mean where they are all of the data set."""
    systems = ablation.systems.values()
    found = sorted({category for system in systems for category in system.runs})
    every = rows.expected_categories(ablation.first.dataset)
    return [papers.MEAN, *found] if every and set(every) <= set(found) else found


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
    whole = systems.get(full)
    # Without the whole model another one tells the protocol, but for what varies.
    example = whole or next(iter(systems.values()))
    varied: set[str] = set()
    if not whole:
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
            change=scores.change(system, whole, members, metric)
            if system and whole and name != full
            else None,
            published_change=None
            if name == full
            else rows.difference(published(name)[0], published(full)[0]),
        )

    differences: Sequence[str] = ()
    if table:
        differences = protocol.differences(example, table.protocol, varied)
    return rows.Block(
        name=ablation.first.results["name"],
        method=example.method,
        dataset=dataset,
        category=category,
        full=full,
        metric=metric,
        table=table,
        trivial=example.trivial,
        rows=[row(name) for name in names],
        ours=protocol.ours(example),
        coverage=_coverage(ablation, systems, category, table),
        differences=differences,
        **rows.beside(example, measured, varied),
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
    """Which variants and seeds there are, and of what the paper's numbers are."""
    lines = protocol.about_data(next(iter(systems.values())), table)
    if table and category not in table.keys("category"):
        lines.append(
            f"ours is of {category or ablation.first.dataset} alone, the paper's "
            f"numbers are means over categories: compare how variants differ, not the "
            f"numbers themselves"
        )
    asked = ", ".join(map(str, ablation.seeds))
    lines.append(f"seeds: {asked}{protocol.seeds_there(table)}")
    for name, system in systems.items():
        run = system.runs.get(category, ())
        missing = [seed for seed in ablation.seeds if seed not in run]
        if missing and category != papers.MEAN:
            lines.append(f"{name}: not run with seed {', '.join(map(str, missing))}")
    return lines
