"""The tables of the SCADN and UTAD papers as data, with source and protocol.

`scadn.json` and `utad.json` contain all tables of both papers in one format. A number
belongs to a data set, a category (or the 'mean' of all), one of our metrics, and a
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
# Data sets with tables, and their display names.
DATASETS = {
    "mvtec_ad": "MVTec AD",
    "lacead": "LaceAD",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Evaluation protocol of published numbers.

    Attributes:
      description: in prose.
      seeds: number of training runs; None if the paper does not say.
      paper: our settings -> values of the paper, such as 'data.size': 512.
      code: our settings -> values of the authors' public code, where they differ from
        the paper or the paper does not give them.
    """

    description: str
    seeds: int | None
    paper: Mapping[str, Any]
    code: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """One published table, or the part of it with one metric.

    Attributes:
      id: such as 'scadn/table2'.
      title: of the table.
      source: the paper.
      method: proposed by the paper, as named on the axis of methods.
      fixed: values common to all numbers, of 'dataset', 'category' and 'metric'.
      row_axis, column_axis: 'category', 'method', 'variant', 'dataset' or 'metric'.
      columns: keys of the second axis.
      rows: key of the first axis -> a number for each column, None where missing.
      deviations: standard deviations, of those rows that have them.
      labels: display names of rows, where they differ from the key.
      full: the variant that is the full method; '' without variants.
      protocol: of the proposed method's numbers.
      notes: missing parts of the text, and remarks.
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
        """All keys of an axis, or the fixed one; () if the table has none."""
        if axis == self.row_axis:
            return tuple(self.rows)
        if axis == self.column_axis:
            return self.columns
        return (self.fixed[axis],) if axis in self.fixed else ()

    @property
    def categories(self) -> tuple[str, ...]:
        """Categories with their own numbers."""
        return tuple(key for key in self.keys("category") if key != MEAN)

    def published(self, **keys: str) -> tuple[float | None, float | None]:
        """The number and its standard deviation; None where missing.

        Args:
          **keys: by axis; must include both axes of the table.
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
    entries = []
    for name in ("scadn.json", "utad.json"):
        entries += _read(json.loads((folder / name).read_text(encoding="utf-8")))
    return {table.id: table for table in entries}


def table(name: str) -> Table:
    """The table with this id.

    Raises:
      errors.UserError: unknown id.
    """
    if name not in tables():
        known = ", ".join(tables())
        raise errors.UserError(f"unknown table {name!r}; must be one of: {known}")
    return tables()[name]


def categories(dataset: str) -> tuple[str, ...]:
    """All categories of a data set, where a table has a row for each; else ()."""
    every = (
        t.categories for t in tables().values() if t.fixed.get("dataset") == dataset
    )
    return max(every, key=len, default=())


def code(method: str) -> Mapping[str, Any]:
    """Settings of the authors' code common to all protocols; {} for other methods."""
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
            description=entry["description"],
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
