"""One-class protocol: one class is normal, all others are anomalous.

Training uses the training images of the normal class, testing the entire test split.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from jax_scadn.data import images, labelled, records
from jax_scadn.runtime import errors


def resolve(category: str, classes: Sequence[str]) -> str:
    """The name of a class, given its name or index.

    Raises:
      errors.UserError: unknown class.
    """
    if category in classes:
        return category
    if category.isdecimal() and int(category) < len(classes):
        return classes[int(category)]
    problem = f"unknown class {category!r}" if category else "no class is selected"
    raise errors.UserError(
        f"{problem}: set --config.data.category to one of: {', '.join(classes)}"
    )


def items(
    data: labelled.Labelled, category: str, size: int, channels: int
) -> tuple[list[records.Item], list[records.Item]]:
    """Lists the training and the test items for one normal class.

    Args:
      data: the labelled images.
      category: the normal class, by name or index.
      size, channels: see `images.read`.

    Returns:
      (training items, test items) in the data set's order; the defect of an anomalous
      item is the name of its class.

    Raises:
      errors.UserError: an unknown class, or one without training images.
    """
    normal = resolve(category, data.classes)

    def item(split: str, index: int, image: np.ndarray | bytes, label: int):
        path = f"{data.name}/{split}/{index}"
        name = data.classes[label]
        return records.Item(
            path=path,
            label=records.NORMAL if name == normal else records.ANOMALOUS,
            defect=records.GOOD if name == normal else name,
            read_image=_reader(image, path, size, channels),
        )

    train = [
        item("train", index, data.train.images[index], label)
        for index, label in enumerate(data.train.labels)
        if data.classes[label] == normal
    ]
    if not train:
        raise errors.UserError(
            f"{data.name} has no training image of class {normal!r}: set "
            f"--config.data.path to the complete data set"
        )
    test = [
        item("test", index, data.test.images[index], label)
        for index, label in enumerate(data.test.labels)
    ]
    return train, test


def _reader(
    image: np.ndarray | bytes, path: str, size: int, channels: int
) -> Callable[[], np.ndarray]:
    if isinstance(image, bytes):
        return functools.partial(images.decode, image, path, size, channels)
    # A copy, since a view would keep the images of all classes in memory.
    return functools.partial(images.from_array, image.copy(), size, channels)
