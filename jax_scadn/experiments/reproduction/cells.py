"""The cells of a reproduced table: ours, published, and why ours is missing."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import means, rows, runs, scores
from jax_scadn.experiments.reproduction import columns, datasets, work
from jax_scadn.runtime import errors

NOT_RUN, NOT_BUILT, FAILED = "not run", "not built", "failed"
_NO_MAPS = "no maps"


class Place(NamedTuple):
    """What a cell is about.

    Attributes:
      dataset: a key of `papers.DATASETS`.
      category: or `papers.MEAN`.
      metric: key into results, such as 'image.auroc'.
    """

    dataset: str
    category: str
    metric: str


@dataclasses.dataclass(frozen=True)
class Cell:
    """One method at one place of a table; None where a number is unknown.

    Attributes:
      title: of the method's column.
      place: see `Place`.
      status: '', or why there is no number of ours.
      ours: the mean over seeds, and over `members` where the place is a mean.
      members: categories that ours is a mean of.
      interval: 95 %, over test images, of image AUROC.
      published, published_deviation: of the paper.
    """

    title: str
    place: Place
    status: str
    ours: means.Mean | None
    members: tuple[str, ...]
    interval: tuple[float, float] | None
    published: float | None
    published_deviation: float | None

    @property
    def is_partial(self) -> bool:
        """Whether ours is a mean over some categories, the published one over all."""
        every = datasets.expected(self.place.dataset)
        return self.place.category == papers.MEAN and self.members != every

    @property
    def difference(self) -> float | None:
        """Ours minus the published number; None where they are means of others."""
        if self.is_partial:
            return None
        return rows.difference(self.ours and self.ours.value, self.published)


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What a table is made of.

    Attributes:
      table: of a paper.
      systems: our results by title and data set.
      members: categories by data set that are asked for, or else were run.
      failures: see `work.Outcome`.
      built: titles of our methods.
    """

    table: papers.Table
    systems: Mapping[tuple[str, str], runs.System]
    members: Mapping[str, tuple[str, ...]]
    failures: Mapping[work.Key, str]
    built: frozenset[str]

    def titles(self) -> list[str]:
        """Methods of the table, then those that it lacks."""
        own = [title for title, _ in self.systems]
        failed = [key.title for key in self.failures]
        return list(dict.fromkeys([*self.table.keys("method"), *own, *failed]))

    def places(self) -> list[Place]:
        """Those of the table, in its order."""
        table = self.table
        every = [
            Place(**{axis: keys[axis] for axis in Place._fields})
            for row in table.rows
            for column in table.columns
            for keys in [
                {**table.fixed, table.row_axis: row, table.column_axis: column}
            ]
        ]
        return list(dict.fromkeys(every))

    def cell(self, title: str, place: Place) -> Cell:
        """The cell of a method."""
        system = self.systems.get((title, place.dataset))
        members: tuple[str, ...] = (place.category,)
        if place.category == papers.MEAN:
            members = self.members.get(place.dataset, ())
        ours = interval = None
        if system:
            of_members = {m: system.values(m, title, place.metric) for m in members}
            ours = means.over_categories(of_members, members)
            if ours and place.metric == scores.IMAGE_AUROC:
                interval = scores.mean_interval(system, members)
        published = self.table.published(method=title, **place._asdict())
        status = "" if ours else self._missing(title, place, members, system)
        return Cell(title, place, status, ours, members, interval, *published)

    def _missing(
        self,
        title: str,
        place: Place,
        members: Sequence[str],
        system: runs.System | None,
    ) -> str:
        asked = any(key.title == title for key in self.failures)
        if not system and not asked and title not in self.built:
            return NOT_BUILT
        for key, reason in self.failures.items():
            of_place = (key.title, key.dataset) == (title, place.dataset)
            if of_place and key.category in members:
                where = f" ({key.category})" if len(members) > 1 else ""
                return f"{FAILED}{where}: {reason}"
        ran = [m for m in members if system and m in system.runs]
        if members and len(ran) == len(members):
            return _NO_MAPS if place.metric.startswith("pixel") else "-"
        if ran:
            return f"{len(ran)} of {len(members)} run"
        return NOT_RUN


def systems(workdir: pathlib.Path) -> dict[tuple[str, str], runs.System]:
    """Our results in a work directory by title and data set.

    Raises:
      errors.UserError: a method has results with different settings.
    """
    if not any(workdir.glob(f"*/*/*/*/{runs.RESULTS}")):
        return {}
    by_key: dict[tuple[str, str], runs.System] = {}
    for system in runs.find([workdir]).systems:
        # By the folder, as the data of a folder may have any name.
        key = system.method, system.first.path.parents[2].name
        if key in by_key:
            raise errors.UserError(
                f"{by_key[key].first.path} and {system.first.path} have other settings "
                "than each other; give another --workdir or delete one"
            )
        by_key[key] = system
    return by_key


def of_table(
    table: papers.Table,
    everything: Iterable[datasets.Data],
    workdir: pathlib.Path,
    failures: Mapping[work.Key, str],
) -> Reproduction:
    """What the table is made of, from the results in a work directory."""
    found = systems(workdir)
    members: dict[str, tuple[str, ...]] = {d.name: d.categories for d in everything}
    for (_, dataset), system in found.items():
        if dataset not in members:
            known = datasets.expected(dataset)
            members[dataset] = tuple(c for c in known if c in system.runs)
    built = frozenset(column.title for column in columns.every())
    return Reproduction(table, found, members, failures, built)
