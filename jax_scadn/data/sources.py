"""Data sets of all sources, from the settings `config.data`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import ml_collections
import numpy as np
from absl import logging

from jax_scadn.data import (
    folder,
    hold_out,
    images,
    labelled,
    lace,
    one_class,
    records,
)
from jax_scadn.runtime import errors


def categories(config: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The categories of a run, each with its own model.

    Args:
      config: `config.data`.

    Returns:
      `category` if it is set; else those of `categories` that exist, in that order;
      all that exist where it is (). ('',) if the source has no categories.

    Raises:
      errors.UserError: no data at `path`, an unknown category, or none of `categories`
        exists.
    """
    if config.source in ("plain", "lace"):
        return ("",)
    if config.source == "folder":
        if config.category:
            folder.locate(config.path, config.category)
            return (config.category,)
        existing = folder.categories(config.path)
        if existing == ("",):
            return existing
        if without := folder.incomplete(config.path):
            logging.warning(
                "not taken, without %s: %s", folder.TRAIN_GOOD, ", ".join(without)
            )
    else:
        name = labelled.name(config.source, config.path, config.dataset)
        existing = labelled.CLASSES[name]
        if config.category:
            return (one_class.resolve(config.category, existing),)
    named = wanted(config)
    if not named:
        return existing
    chosen = tuple(name for name in named if name in existing)
    if not chosen:
        raise errors.UserError(
            f"--config.data.categories={','.join(named)}: none of them is in "
            f"{config.path or config.source}; give some of {','.join(existing)}, or () "
            "for all"
        )
    return chosen


def wanted(config: ml_collections.ConfigDict) -> list[str]:
    """The names in `categories`, each of which may be several between commas."""
    names = [name.strip() for text in config.categories for name in text.split(",")]
    return [name for name in names if name]


def load(config: ml_collections.ConfigDict, seed: int) -> records.Dataset:
    """Lists the images of one category; image files are read later.

    Args:
      config: `config.data`, with `category` set if the source has several.
      seed: selects the training images that are held out.

    Raises:
      errors.UserError: missing data or an invalid setting.
    """
    images.allow(config.max_megapixels)
    category, unpaired, notes, name = config.category, (), (), config.source
    directory = None
    reading = {"white": config.white, "fit": config.fit}
    if config.source == "folder":
        directory = folder.locate(config.path, category)
        category = directory.absolute().name
        name = config.dataset or name
        train, test, unpaired, notes = folder.items(
            directory, config.size, config.channels, **reading
        )
    elif config.source == "plain":
        directory = config.path
        train, test, _, notes = folder.plain_items(
            config.path, config.test_path, config.size, config.channels, **reading
        )
    elif config.source == "lace":
        # With its default seed: runs with several seeds share one data set.
        train, test = lace.items(config.size, config.channels)
    else:
        data = labelled.load(config.source, config.path, config.dataset)
        category, name = one_class.resolve(category, data.classes), data.name
        train, test = one_class.items(data, category, config.size, config.channels)
    test = _limit(test, config.test_normal_limit, config.test_anomalous_limit)
    held_out = _held_out(train, directory, config.held_out, seed)
    kept = np.setdiff1d(np.arange(len(train)), held_out)
    cached = _fits([*train, *test], config)
    return records.Dataset(
        category=category,
        train=records.Split([train[i] for i in kept], cached),
        held_out=records.Split([train[i] for i in held_out], cached),
        test=records.Split(test, cached),
        unpaired_masks=unpaired,
        notes=notes,
        name=name,
        **reading,
    )


def memory(items: Sequence[records.Item], config: ml_collections.ConfigDict) -> float:
    """MiB of all images and masks, assuming that all are like the first image."""
    try:
        image_bytes = items[0].read_image().nbytes
    except images.UnreadableImage:  # reported by `check`
        image_bytes = config.size**2 * config.channels
    masks = sum(item.read_mask is not None for item in items)
    return (len(items) * image_bytes + masks * config.size**2) / 2**20


def _limit(items: list[records.Item], normal: int, anomalous: int):
    """The first items of each defect, in their order; 0 = all."""
    counts: dict[str, int] = {}
    limited = []
    for item in items:
        counts[item.defect] = counts.get(item.defect, 0) + 1
        limit = normal if item.label == records.NORMAL else anomalous
        if not limit or counts[item.defect] <= limit:
            limited.append(item)
    return limited


def _held_out(items, directory, share: float, seed: int) -> np.ndarray:
    """Sorted indices of those held out: by name where others may be added."""
    if directory is None:
        return hold_out.by_position(len(items), share, seed)
    names = [os.path.relpath(item.path, directory) for item in items]
    return hold_out.by_name(names, share, seed)


def _fits(items: list[records.Item], config: ml_collections.ConfigDict) -> bool:
    needed = memory(items, config)
    fits = needed <= config.cache_mb
    logging.log(
        logging.INFO if fits else logging.WARNING,
        "%d images take %.1f MiB; --config.data.cache_mb=%d: %s",
        len(items),
        needed,
        config.cache_mb,
        "cached in memory" if fits else "read again in each epoch",
    )
    return fits
