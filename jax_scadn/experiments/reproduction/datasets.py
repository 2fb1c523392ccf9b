"""The data that a table needs, or that the user gives."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jax_scadn import methods
from jax_scadn.data import folder, labelled, published, records, sources
from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import rows
from jax_scadn.experiments.reproduction import columns
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve

OWN = "folder"  # the name of the user's own data
_GREY = ("mnist", "fashion_mnist", "digits")
_PATH = "data.path"
PLACE = (_PATH, "data.source", "data.dataset")  # settings of where data are


class Data(NamedTuple):
    """A data set on this machine.

    Attributes:
      name: a key of `papers.DATASETS`, or `OWN`.
      settings: that read it, by full name, and what its protocol asks of all methods.
      categories: that are to be run; ('',) where the folder is a category itself.
    """

    name: str
    settings: Mapping[str, Any]
    categories: tuple[str, ...]


def of_table(
    table: papers.Table,
    overrides: Mapping[str, Any],
    budget: str,
    wanted: Sequence[str],
) -> list[Data]:
    """The data sets of a table that are there.

    Args:
      table: of a paper.
      overrides: the user's settings; 'data.path' is a data set, or a folder of some.
      budget: at 'paper' the images have the size of the table's protocol.
      wanted: categories, by name or index of a class; () = all that are there.

    Raises:
      errors.UserError: none of them is there, or a wanted category is not.
    """
    path = overrides.get(_PATH) or ""
    everything = []
    for name in table.keys("dataset"):
        members = expected(name)
        found = _given(name, overrides) or published.find(name, path, members)
        if found:
            settings = {**found, "data.channels": 1 if name in _GREY else 3}
            if budget == "paper":
                settings |= _size(table)
            everything.append(_data(name, settings, members, wanted, _PATH))
    if not everything:
        names = " or ".join(papers.DATASETS[name] for name in table.keys("dataset"))
        raise errors.UserError(
            f"{table.id} needs {names}, which is not in --config.data.path={path}: set "
            f"it to the folder of the data set, or to one that contains it"
        )
    return everything


def of_folder(path: str, wanted: Sequence[str], overrides: Mapping[str, Any]) -> Data:
    """The user's own images in the MVTec AD layout.

    Args:
      path: of a category, or of several.
      wanted: categories; () = all.
      overrides: the user's settings.

    Raises:
      errors.UserError: there are no such images, or none to test on.
    """
    if given := set(PLACE) & overrides.keys():
        raise errors.UserError(f"--config.{min(given)}: give the path as --folder only")
    try:
        members = folder.categories(path)
    except errors.UserError as error:
        message = str(error).replace("--config.data.path", "--folder")
        raise errors.UserError(message) from None
    settings = {"data.source": "folder", _PATH: path}
    data = _data(OWN, settings, members, () if members == ("",) else wanted, "")
    for category in data.categories:
        _check_test(path, category)
    return data


def expected(dataset: str) -> tuple[str, ...]:
    """All categories of a published data set."""
    return tuple(rows.expected_categories(dataset))


def _given(name: str, overrides: Mapping[str, Any]) -> dict[str, Any] | None:
    """The data set where the user says how to read it, with `data.source`."""
    source = overrides.get("data.source")
    if source is None:
        return None
    path, dataset = overrides.get(_PATH) or "", overrides.get("data.dataset") or ""
    if source != "folder":
        known = labelled.name(source, path, dataset)
    else:
        known = "" if name in labelled.CLASSES else dataset or name
    settings = {"data.source": source, _PATH: path, "data.dataset": dataset or name}
    return settings if known == name else None


def _size(table: papers.Table) -> dict[str, int]:
    """The image size of a table's protocol, where it is known."""
    sizes = {**table.protocol.code, **table.protocol.paper}
    return {name: sizes[name] for name in ("data.size",) if name in sizes}


def _data(
    name: str,
    settings: Mapping[str, Any],
    members: Sequence[str],
    wanted: Sequence[str],
    flag: str,
) -> Data:
    config = methods.default()
    for field, value in settings.items():
        resolve.put(config, field, value)
    there = sources.categories(config.data)
    if wanted:
        indices = {str(i): m for i, m in enumerate(members)} if flag else {}
        if columns.kind(name) == columns.REAL:
            indices = {}
        wanted = [indices.get(word, word) for word in wanted]
        missing = [word for word in wanted if word not in there]
        if missing:
            raise errors.UserError(
                f"--categories={','.join(missing)}: not in {settings[_PATH]}; there "
                f"are: {', '.join(there)}"
            )
        return Data(name, settings, tuple(dict.fromkeys(wanted)))
    if members != ("",):
        there = tuple(member for member in members if member in there)
    return Data(name, settings, there)


def _check_test(path: str, category: str) -> None:
    """Raises where there is nothing to rank the methods by."""
    place = folder.locate(path, category)
    listed = folder.items(place, 32, 1)
    labels = {item.label for item in listed.test}
    for label, where in ((records.NORMAL, "good"), (records.ANOMALOUS, "KIND")):
        if label not in labels:
            kind = "normal" if label == records.NORMAL else "anomalous"
            raise errors.UserError(
                f"{place} has no {kind} test images, which methods are ranked by: put "
                f"some into {place / 'test' / where}"
            )


def folder_name(path: str) -> str:
    """The name of a folder of images, for that of the results."""
    return pathlib.Path(path).expanduser().absolute().name
