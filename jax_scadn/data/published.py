"""Published data sets, found in a folder of the user's."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

from jax_scadn.data import folder, labelled, walk


def find(
    dataset: str, path: str, categories: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The settings `data.*` that read a data set.

    Args:
      dataset: a key of `labelled.CLASSES`, or the name of one in the MVTec AD layout.
      path: the data set's folder, or one that contains it.
      categories: of one in the MVTec AD layout, which it is known by: the folder has
        one of them or more.

    Returns:
      'data.source', 'data.path' and 'data.dataset'; None if it is not there.
    """
    root = pathlib.Path(path).expanduser()
    if not path or not root.is_dir():
        return None
    children = sorted(child for child in root.iterdir() if child.is_dir())
    for place in (root, *(c for c in children if not walk.is_hidden(c.name))):
        if dataset in labelled.CLASSES:
            source = labelled.source(dataset, place)
        else:
            known = any((place / c / folder.TRAIN_GOOD).is_dir() for c in categories)
            source = "folder" if known else None
        if source:
            return {
                "data.source": source,
                "data.path": str(place),
                "data.dataset": dataset,
            }
    return None
