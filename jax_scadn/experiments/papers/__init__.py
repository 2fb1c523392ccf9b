"""The tables of the SCADN and the UTAD paper as data, with source and protocol.

`scadn.json` and `utad.json` hold all tables of both papers in one format. A published
number belongs to a data set, a category (or the 'mean' of all), a metric of ours, and a
method or a variant of it: two of these are the axes of a table, the others are fixed.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Mapping
from typing import Any

from jax_scadn.runtime import errors

MEAN = "mean"  # of all categories
# Data sets that have tables, and how they are written.
DATASETS = {
    "mvtec_ad": "MVTec AD",
    "lacead": "LaceAD",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How published numbers came about.

    Attributes:
      words: the same for people.
      seeds: how often the paper trained; None where it does not say.
      paper: our settings -> what the text gives, such as 'data.size': 512.
      code: the same of the authors' public code, where it differs or the text is
        silent.
    """

    words: str
    seeds: int | None
    paper: Mapping[str, Any]
    code: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """One published table, or a part of it with a metric of its own.

    Attributes:
      id: such as 'scadn/table2'.
      title: what it shows.
      source: the paper.
      method: whose paper it is, as the axis of methods names it.
      fixed: what holds for all numbers, of 'dataset', 'category' and 'metric'.
      row_axis, column_axis: 'category', 'method', 'variant', 'dataset' or 'metric'.
      columns: keys of the second axis.
      rows: key of the first axis -> a number for each column, None where it has none.
      deviations: standard deviations of those rows that have them.
      labels: of rows whose key does not speak for itself.
      full: the variant that is the whole method; '' where there are no variants.
      protocol: how the method's own numbers came about.
      notes: what was lost in the text, and what a reader must know.
    """

    id: str
    title: str
    source: str
    method: str
    fixed: Mapping[str, str]
    row_axis: str
    column_axis: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float | None, ...]]
    deviations: Mapping[str, tuple[float, ...]]
    labels: Mapping[str, str]
    full: str
    protocol: Protocol
    notes: str

    def keys(self, axis: str) -> tuple[str, ...]:
        """All keys of an axis; the one that is fixed; () if the table has none."""
        if axis == self.row_axis:
            return tuple(self.rows)
        if axis == self.column_axis:
            return self.columns
        return (self.fixed[axis],) if axis in self.fixed else ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Those that have numbers of their own."""
        return tuple(key for key in self.keys("category") if key != MEAN)

    def published(self, **keys: str) -> tuple[float | None, float | None]:
        """The number and its standard deviation; None where there is none.

        Args:
          **keys: by axis; both axes of the table must be among them.
        """
        row, column = keys[self.row_axis], keys[self.column_axis]
        elsewhere = any(self.fixed.get(axis, key) != key for axis, key in keys.items())
        if elsewhere or row not in self.rows or column not in self.columns:
            return None, None
        index = self.columns.index(column)
        deviations = self.deviations.get(row)
        return self.rows[row][index], deviations[index] if deviations else None


@functools.cache
def tables() -> Mapping[str, Table]:
    """All tables by id, in the order of the papers."""
    folder = importlib.resources.files(__name__)
    found = []
    for name in ("scadn.json", "utad.json"):
        found += _read(json.loads((folder / name).read_text(encoding="utf-8")))
    return {table.id: table for table in found}


def table(name: str) -> Table:
    """The table of that id.

    Raises:
      errors.UserError: there is none.
    """
    if name not in tables():
        known = ", ".join(tables())
        raise errors.UserError(f"there is no table {name!r}; there are: {known}")
    return tables()[name]


def code(method: str) -> Mapping[str, Any]:
    """Settings of the authors' code that no protocol changes; {} for other methods."""
    protocols = [
        {**table.protocol.paper, **table.protocol.code}
        for table in tables().values()
        if table.method == method
    ]
    return {
        field: value
        for field, value in (protocols[0] if protocols else {}).items()
        if all(other.get(field) == value for other in protocols)
    }


def _read(paper: Mapping[str, Any]) -> list[Table]:
    common = paper["settings"]
    protocols = {
        name: Protocol(
            words=entry["words"],
            seeds=entry["seeds"],
            paper=common["paper"] | entry["settings"].get("paper", {}),
            code=common["code"] | entry["settings"].get("code", {}),
        )
        for name, entry in paper["protocols"].items()
    }
    return [
        Table(
            id=entry["id"],
            title=entry["title"],
            source=paper["source"],
            method=paper["method"],
            fixed=entry["fixed"],
            row_axis=entry["row_axis"],
            column_axis=entry["column_axis"],
            columns=tuple(entry["columns"]),
            rows=_tuples(entry["rows"]),
            deviations=_tuples(entry.get("deviations", {})),
            labels=entry.get("labels", {}),
            full=entry.get("full", ""),
            protocol=protocols[entry["protocol"]],
            notes=entry["notes"],
        )
        for entry in paper["tables"]
    ]


def _tuples(rows: Mapping[str, list]) -> dict[str, tuple]:
    return {name: tuple(values) for name, values in rows.items()}
