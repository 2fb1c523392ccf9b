"""Checks of a data set before training.

See `jax_scadn.check_data`.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import ml_collections
import numpy as np
from absl import logging

from jax_scadn.data import fitting, images, records, sources
from jax_scadn.runtime import errors

UNREADABLE = "unreadable file"
EMPTY = "empty split"
MASK_SIZE = "mask of another size than its image"
UNPAIRED_MASK = "mask without an image"
NO_MASK = "anomalous image without a mask"
DUPLICATE = "image in training and test"
LEAK = "held-out image that is also trained on"
EMPTY_MASK = "mask without an anomalous pixel"
FULL_MASK = "mask whose pixels are all anomalous"
INVERTED_MASK = "mask that is mostly anomalous"
CUT_MASK = "mask whose defect the crop cuts away"
MORE_PAGES = "file with more pages or frames than the first, which is read"
DARK = "16-bit images that are all dark"
NOT_SEEN = "image of which the crop hides a part"
NOT_TAKEN = "not taken as it lies there"

_CAMERA_BITS = (8, 10, 12, 14)
_NAMED = 5  # files in a message of one line
_PRINTED = 20  # problems of one kind in a report


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong with the data.

    Attributes:
      kind: one of the constants of this module.
      paths: the files or images concerned; empty if there are none.
      message: one line.
      fatal: whether training must not start.
    """

    kind: str
    paths: tuple[str, ...]
    message: str
    fatal: bool = False


def check(dataset: records.Dataset) -> list[Problem]:
    """Reads every image and mask and returns all problems.

    Duplicates are images that are equal after reading and resizing.
    """
    normal = [*dataset.train.items, *dataset.held_out.items]
    problems, hashes, deep, dark, unseen = [], {}, [], True, {}
    read = functools.partial(_read, fit=dataset.fit)
    for split in _splits(dataset).values():
        with concurrent.futures.ThreadPoolExecutor() as pool:
            results = list(pool.map(read, [split] * len(split), range(len(split))))
        for item, result in zip(split.items, results, strict=True):
            problems += result.problems
            if result.digest:
                hashes[item.path] = result.digest
            if result.deep_share is not None:
                deep.append(item.path)
                dark &= result.deep_share < 1 / 4
            if result.unseen:
                unseen[item.path] = result.unseen
    if deep and dark:
        problems += _dark(deep, dataset.white)
    problems += _cropped(unseen)
    problems += _empty(dataset)
    problems += [Problem(NOT_TAKEN, (), note) for note in dataset.notes]
    problems += [
        Problem(UNPAIRED_MASK, (path,), f"{path} does not belong to an image")
        for path in dataset.unpaired_masks
    ]
    problems += _without_mask(dataset.test.items)
    problems += _duplicates(DUPLICATE, normal, dataset.test.items, hashes)
    problems += _duplicates(LEAK, dataset.train.items, dataset.held_out.items, hashes)
    return problems


def enforce(dataset: records.Dataset, on_bad: str) -> records.Dataset:
    """Checks a data set, logs warnings, and refuses or drops unusable files.

    Args:
      dataset: from `sources.load`.
      on_bad: 'stop', or 'skip' to drop unreadable images, and images whose mask is
        unreadable or has another size.

    Returns:
      The data set without the dropped images.

    Raises:
      errors.UserError: bad files under 'stop', or no training images.
    """
    problems = check(dataset)
    for kind, fatal, group in _by_kind(problems):
        if not fatal:
            logging.warning("%s: %s", kind, _listing(group))
    bad = [problem for problem in problems if problem.kind in (UNREADABLE, MASK_SIZE)]
    if bad and on_bad != "skip":
        raise errors.UserError(
            f"{_listing(bad)}; repair or remove them, or set --config.data.on_bad=skip "
            f"to skip them"
        )
    if bad:
        logging.warning("skipped: %s", _listing(bad))
        dataset = _without(dataset, {path for problem in bad for path in problem.paths})
    for problem in _empty(dataset):
        if problem.fatal:
            raise errors.UserError(problem.message)
    return dataset


def report(config: ml_collections.ConfigDict) -> bool:
    """Prints the contents and problems of each category; True if one is fatal."""
    fatal = False
    for category in sources.categories(config.data):
        chosen = config.copy_and_resolve_references()
        chosen.data.category = category
        print(category or config.data.source)
        try:
            dataset = sources.load(chosen.data, config.seed)
        except errors.UserError as error:
            print(f"  FATAL: {error}")
            fatal = True
            continue
        problems = check(dataset)
        fatal |= any(problem.fatal for problem in problems)
        print("\n".join(f"  {line}" for line in _summary(dataset, chosen.data)))
        for kind, stops, group in _by_kind(problems):
            print(f"  {'FATAL' if stops else 'warning'}: {len(group)} {kind}")
            for problem in group[:_PRINTED]:
                print(f"    {problem.message}")
            if len(group) > _PRINTED:
                print(f"    and {len(group) - _PRINTED} more")
        if not problems:
            print("  no problems")
    return fatal


def _splits(dataset: records.Dataset) -> dict[str, records.Split]:
    return {
        "train": dataset.train,
        "held out": dataset.held_out,
        "test": dataset.test,
    }


class _Result(NamedTuple):
    """What reading an item told.

    Attributes:
      digest: SHA-1 of the image; None if it is not used.
      problems: with the image or its mask.
      deep_share: the brightest value, of white; None for 8 bit and what is no file.
      unseen: the share of an image file that is cropped.
    """

    digest: bytes | None
    problems: list[Problem]
    deep_share: float | None = None
    unseen: float = 0.0


def _read(split: records.Split, index: int, fit: str) -> _Result:
    item = split.items[index]
    is_file = pathlib.Path(item.path).is_file()
    try:
        record = split[index]
        problem = _mask_problem(item, record.mask) if item.mask_path else None
        problems = [problem] if problem else []
        if is_file and (pages := images.pages(item.path)) > 1:
            line = f"{item.path} has {pages} pages or frames; only the first is read"
            problems.append(Problem(MORE_PAGES, (item.path,), line))
        unseen = 0.0
        if is_file and fit == "crop":
            unseen = fitting.unseen(images.dimensions(item.path), fit)
    except images.UnreadableImage as error:
        line = Problem(UNREADABLE, (error.path,), str(error), fatal=True)
        return _Result(None, [line])
    if problem and problem.fatal:
        return _Result(None, problems, unseen=unseen)
    image = record.image
    hashed = hashlib.sha1(
        f"{image.shape} {image.dtype}".encode(), usedforsecurity=False
    )
    hashed.update(image.tobytes())
    share = None
    if is_file and image.dtype == np.uint16:
        share = float(image.max()) / images.WHITE
    return _Result(hashed.digest(), problems, share, unseen)


def _dark(paths: Sequence[str], white: int) -> list[Problem]:
    """A problem if no file has a value near white; reads them once more."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        values = [v for v in pool.map(images.brightest, paths) if v is not None]
    # Resizing may have darkened them.
    if not values or max(values) >= white / 4:
        return []
    bits = next(bits for bits in _CAMERA_BITS if max(values) < 2**bits)
    line = (
        f"the brightest of {len(values)} 16-bit images is {max(values)} of {white}: "
        f"set --config.data.white={2**bits - 1} if the camera has {bits} bit"
    )
    return [Problem(DARK, (), line)]


def _mask_problem(item: records.Item, fitted) -> Problem | None:
    image_size = images.dimensions(item.path)
    mask_size = images.dimensions(item.mask_path)
    if mask_size != image_size:
        return Problem(
            MASK_SIZE,
            (item.mask_path,),
            f"{item.mask_path} is {_pixels(mask_size)}, its image "
            f"{_pixels(image_size)}",
            fatal=True,
        )
    mask = images.anomalous_pixels(item.mask_path)
    share = mask.mean()
    edges = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    kind = None
    if share == 0:
        kind, says = EMPTY_MASK, "shows no defect"
    elif share == 1:
        kind, says = FULL_MASK, "calls all of the image a defect"
    elif share > 0.5 and edges.mean() > 0.9:
        kind, says = INVERTED_MASK, f"has {share:.0%} of defect: is it inverted?"
    elif not fitted.any():
        kind, says = CUT_MASK, "has its defect outside of what is read of the image"
    return (
        Problem(kind, (item.mask_path,), f"{item.mask_path} {says}") if kind else None
    )


def _cropped(unseen: dict[str, float]) -> list[Problem]:
    """One problem for all image files of which a part is not seen, by their shares."""
    if not unseen:
        return []
    worst = max(unseen, key=unseen.get)
    message = (
        f"of {len(unseen)} images up to {unseen[worst]:.0%} are not seen ({worst}): "
        "the centre is cropped, see --config.data.fit"
    )
    return [Problem(NOT_SEEN, (), message)]


def _empty(dataset: records.Dataset) -> list[Problem]:
    problems = []
    if not len(dataset.train):
        problems.append(Problem(EMPTY, (), "no training images", fatal=True))
    if not len(dataset.test):
        return [*problems, Problem(EMPTY, (), "no test images")]
    labels = set(dataset.test.labels.tolist())
    for label, name in ((records.NORMAL, "normal"), (records.ANOMALOUS, "anomalous")):
        if label not in labels:
            problems.append(Problem(EMPTY, (), f"no {name} test images"))
    return problems


def _without_mask(items: Sequence[records.Item]) -> list[Problem]:
    if not any(item.read_mask for item in items):
        return []
    return [
        Problem(NO_MASK, (item.path,), f"{item.path} has no mask, others have one")
        for item in items
        if item.label == records.ANOMALOUS and item.read_mask is None
    ]


def _duplicates(
    kind: str,
    train: Iterable[records.Item],
    test: Iterable[records.Item],
    hashes: dict[str, bytes],
) -> list[Problem]:
    first = {hashes[item.path]: item.path for item in train if item.path in hashes}
    return [
        Problem(
            kind,
            (first[hashes[item.path]], item.path),
            f"{item.path} equals {first[hashes[item.path]]}",
        )
        for item in test
        if hashes.get(item.path) in first
    ]


def _without(dataset: records.Dataset, bad: set[str]) -> records.Dataset:
    def kept(split: records.Split) -> records.Split:
        return split.subset(
            [
                index
                for index, item in enumerate(split.items)
                if item.path not in bad and item.mask_path not in bad
            ]
        )

    return dataclasses.replace(
        dataset,
        train=kept(dataset.train),
        held_out=kept(dataset.held_out),
        test=kept(dataset.test),
    )


def _by_kind(
    problems: Iterable[Problem],
) -> list[tuple[str, bool, list[Problem]]]:
    """(kind, whether fatal, problems), fatal ones first."""
    grouped = collections.defaultdict(list)
    for problem in sorted(problems, key=lambda problem: not problem.fatal):
        grouped[problem.kind, problem.fatal].append(problem)
    return [(*key, group) for key, group in grouped.items()]


def _listing(problems: Sequence[Problem]) -> str:
    text = "; ".join(problem.message for problem in problems[:_NAMED])
    more = len(problems) - _NAMED
    return f"{text}; and {more} more" if more > 0 else text


def _summary(
    dataset: records.Dataset, config: ml_collections.ConfigDict
) -> Iterable[str]:
    """Counts by split and defect, sizes of the image files, and memory."""
    for name, split in _splits(dataset).items():
        counts = collections.Counter(split.defects)
        defects = ", ".join(f"{defect} {n}" for defect, n in sorted(counts.items()))
        yield f"{name}: {len(split)} images{f' ({defects})' if defects else ''}"
    sizes: collections.Counter[str] = collections.Counter()
    for split in _splits(dataset).values():
        for path in split.paths:
            if pathlib.Path(path).is_file():
                try:
                    sizes[_pixels(images.dimensions(path))] += 1
                except images.UnreadableImage:
                    sizes["unreadable"] += 1
    if sizes:
        counts = ", ".join(f"{size} ({n})" for size, n in sizes.most_common(_NAMED))
        yield f"image sizes: {counts}"
    items = [item for split in _splits(dataset).values() for item in split.items]
    if items:
        use = "cached in memory" if dataset.train.cached else "read again in each epoch"
        yield (
            f"read as {config.size}x{config.size}x{config.channels}: "
            f"{sources.memory(items, config):.1f} MiB, {use}"
        )


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
