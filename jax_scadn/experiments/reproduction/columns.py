"""Our methods by the title of their column, with their settings at each budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import ml_collections

from jax_scadn import methods
from jax_scadn.data import labelled
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve

BUDGETS = ("small", "paper")
REAL, ONE_CLASS = "real", "one_class"
# Of all methods, where a column does not say otherwise.
_COMMON: Mapping[str, Mapping[str, Any]] = {
    "paper/one_class": {"scoring.images_per_call": 64},
    "small": {
        "data.size": 64,
        "training.picture_every": 0,
        "scoring.images_per_call": 16,
    },
    "small/one_class": {
        "data.size": 32,
        "data.test_normal_limit": 100,
        "data.test_anomalous_limit": 100,
        "scoring.images_per_call": 64,
    },
}
# Of the command, with what stands for them there.
_FLAGS = {
    "data.category": "--categories",
    "data.categories": "--categories",
    "seed": "--seeds",
    "method": "--methods",
    "preset": "--methods and --budget",
}


class Column(NamedTuple):
    """A column of the tables that a method of ours can fill.

    Attributes:
      title: as papers write it.
      method: the name of the module.
      parts: changed settings, see `methods.columns`.
    """

    title: str
    method: str
    parts: Mapping[str, Mapping[str, Any]]


def every() -> list[Column]:
    """The columns of all our methods."""
    return [column for name in methods.names() for column in _of(name)]


def _of(name: str) -> list[Column]:
    return [Column(t, name, parts) for t, parts in methods.columns(name).items()]


def choose(words: Sequence[str]) -> list[Column]:
    """The columns that `--methods` names, in its order, each once.

    Args:
      words: titles in any case, modules of ours, or dotted paths of the user's own.

    Raises:
      errors.UserError: no method of ours has that title or name.
    """
    known, chosen = every(), []
    for word in words:
        found = [c for c in known if word.casefold() == c.title.casefold()]
        found = found or [c for c in known if word == c.method]
        if not found and "." in word:
            found = _of(word)
        if not found:
            titles = ", ".join(column.title for column in known)
            raise errors.UserError(
                f"--methods={word}: no method of ours has this title; there are: "
                f"{titles}; or the dotted path of a module, such as my.method"
            )
        chosen += [column for column in found if column not in chosen]
    return chosen


def kind(dataset: str) -> str:
    """Of a data set's protocol."""
    return ONE_CLASS if dataset in labelled.CLASSES else REAL


def config(
    column: Column,
    budget: str,
    dataset: str,
    data: Mapping[str, Any],
    overrides: Mapping[str, Any],
) -> ml_collections.ConfigDict:
    """The settings of a column, before `methods.resolve`.

    Args:
      column: of which method.
      budget: one of `BUDGETS`.
      dataset: a key of `papers.DATASETS`, or another name.
      data: settings that read it, and what its protocol asks of all methods.
      overrides: the user's own; a method takes those that it has.
    """
    config = methods.default(column.method)
    config.name = f"{budget} budget"
    fields = methods.fields(column.method)
    parts = ("always", budget, f"{budget}/{kind(dataset)}", f"{budget}/{dataset}")
    layers = [
        *(_COMMON.get(part, {}) for part in parts),
        data,
        *(column.parts.get(part, {}) for part in parts),
        overrides,
    ]
    for number, layer in enumerate(layers, 1):
        for field, value in layer.items():
            if field in fields or number != len(layers):
                resolve.put(config, field, value)
    return config


def template() -> ml_collections.ConfigDict:
    """All settings of all methods, unset: what `--config.FIELD=VALUE` can set."""
    merged = {
        name: field
        for method in methods.names()
        for name, field in methods.fields(method).items()
    }
    return resolve.unset(merged)


def check_overrides(
    overrides: Mapping[str, Any], chosen: Sequence[Column]
) -> Mapping[str, Any]:
    """The overrides, if they are settings of the chosen methods.

    Raises:
      errors.UserError: one has a flag of its own, or none of the methods has it.
    """
    for field, value in overrides.items():
        if field in _FLAGS:
            raise errors.UserError(f"--config.{field}={value}: give {_FLAGS[field]}")
        if not any(field in methods.fields(column.method) for column in chosen):
            titles = ", ".join(column.title for column in chosen)
            raise errors.UserError(
                f"--config.{field}={value}: none of the chosen methods has this "
                f"setting: {titles}"
            )
    return overrides
