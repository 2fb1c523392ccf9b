"""All methods on a paper's table, or on a folder of the user's, by one call.

What is missing is trained; the end is the table.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import rows
from jax_scadn.experiments.reproduction import (
    cells,
    columns,
    datasets,
    plots,
    ranking,
    report,
    sheet,
    work,
)
from jax_scadn.runtime import distributed, errors, lock


class Request(NamedTuple):
    """What is asked for, as on the command line.

    Attributes:
      budget: one of `columns.BUDGETS`.
      methods: titles or modules; () = all of the table, or all that there are.
      categories: names or indices; () = all that are there.
      seeds: () = those of the paper's protocol, or 0.
      settings: `--config.FIELD` by full name.
      batching: see `ablation.run`.
      variants_per_batch: the same.
    """

    budget: str = columns.BUDGETS[0]
    methods: Sequence[str] = ()
    categories: Sequence[str] = ()
    seeds: Sequence[int] = ()
    settings: Mapping[str, Any] = {}
    batching: str | None = None
    variants_per_batch: int = 0


class Result(NamedTuple):
    """The end of a call.

    Attributes:
      text: Markdown, '' in another process than 0.
      failures: a line each.
    """

    text: str
    failures: list[str]


def run(
    table: str | None, folder: str | None, request: Request, workdir: pathlib.Path | str
) -> Result:
    """Fills a table of a paper, or ranks the methods on a folder.

    Args:
      table: such as 'scadn/table5', or None.
      folder: in the MVTec AD layout, or None.
      request: the rest.
      workdir: '' = below `runs/reproduction`.

    Raises:
      errors.UserError: neither or both are given, or something that the request names
        does not exist.
    """
    if bool(table) == bool(folder):
        tables = ", ".join(t.id for t in papers.tables().values() if _is_of_methods(t))
        raise errors.UserError(
            f"give --table or --folder, one of them; the tables are: {tables}"
        )
    name = table or datasets.folder_name(folder)
    place = pathlib.Path(workdir or pathlib.Path("runs", "reproduction", name))
    call, what = (_table, papers.table(table)) if table else (_folder, folder)
    if table and not _is_of_methods(what):
        raise errors.UserError(
            f"{table} compares variants of {what.method}: use jax_scadn.ablate with "
            "configs/ablation_mvtec.py, configs/ablation_utad_mvtec.py or "
            "configs/ablation_utad_mnist.py"
        )
    return call(what, request, place)


def _is_of_methods(table: papers.Table) -> bool:
    return not rows.is_ablation(table)


def _table(table: papers.Table, request: Request, workdir: pathlib.Path) -> Result:
    titles = table.keys("method")
    chosen = [column for column in columns.every() if column.title in titles]
    if request.methods:
        chosen = columns.choose(request.methods)
    settings = columns.check_overrides(request.settings, chosen)
    everything = datasets.of_table(table, settings, request.budget, request.categories)
    seeds = request.seeds or (0,)
    if request.budget == "paper" and not request.seeds:
        seeds = range(table.protocol.seeds or 1)
    for data in everything:
        lacking = [c for c in datasets.expected(data.name) if c not in data.categories]
        if lacking:
            print(f"{data.name}: not run: {', '.join(lacking)}")
    with lock.held(workdir):
        outcome = _work(chosen, everything, seeds, request, workdir)
        text = ""
        if distributed.is_primary():
            found = cells.of_table(table, everything, workdir, outcome.failures)
            spent = report.spent_by(outcome)
            _draw(found, workdir / f"{report.STEM}.png")
            text = report.write(found, spent, request.budget, workdir)
            print(f"written: {workdir / report.STEM}.md, .csv, .json, .png")
    return Result(text, _lines(outcome))


def _folder(folder: str, request: Request, workdir: pathlib.Path) -> Result:
    chosen = columns.choose(request.methods) if request.methods else columns.every()
    settings = columns.check_overrides(request.settings, chosen)
    data = datasets.of_folder(folder, request.categories, settings)
    with lock.held(workdir):
        outcome = _work(chosen, [data], request.seeds or (0,), request, workdir)
        text = ""
        if distributed.is_primary():
            name = datasets.folder_name(folder)
            titles = [column.title for column in chosen]
            categories = [category or name for category in data.categories]
            ranked = ranking.rank(workdir, categories, titles, outcome.failures)
            spent = report.spent_by(outcome)
            for one in ranked:
                runs = {
                    title: next(iter(system.runs[one.category].values())).path
                    for title, system in one.systems.items()
                }
                if runs:
                    sheet.draw(runs, workdir / f"sheet_{one.category}.png")
            text = ranking.write(ranked, spent, request.budget, name, workdir)
            print(f"written: {workdir / ranking.STEM}.md, .csv, .json, .png, sheets")
    return Result(text, _lines(outcome))


def _work(chosen, everything, seeds, request: Request, workdir) -> work.Outcome:
    # The data say themselves where they are.
    settings = {
        field: value
        for field, value in request.settings.items()
        if field not in datasets.PLACE
    }
    return work.run(
        chosen,
        everything,
        request.budget,
        settings,
        tuple(seeds),
        workdir,
        request.batching,
        request.variants_per_batch,
        after=sheet.measure,
    )


def _draw(found: cells.Reproduction, path: pathlib.Path) -> None:
    """The plot of a table; panels without any number of ours only if there is none."""
    panels, partial = [], False
    for place in report.sections(found):
        every = [found.cell(title, place) for title in found.titles()]
        dots = [
            plots.Dot(
                cell.title,
                cell.ours and cell.ours.value,
                cell.interval,
                cell.published,
                cell.status,
            )
            for cell in every
        ]
        name = report.metric_name(place.metric)
        panels.append((report.heading(found, place), name, dots))
        partial |= any(cell.ours and cell.is_partial for cell in every)
    ran = [p for p in panels if any(dot.ours is not None for dot in p[2])]
    published = "published, mean of all" if partial else "published"
    plots.draw(ran or panels, path, published=published)


def _lines(outcome: work.Outcome) -> list[str]:
    return [
        f"{'/'.join(filter(None, key[:3]))} seed {key.seed}: {reason}"
        for key, reason in outcome.failures.items()
    ]
