"""Finds image files in folders; says what it passed over and why."""

from __future__ import annotations

import collections
import functools
import os
import pathlib
import stat
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from PIL import Image

# Formats that Pillow knows by name only, or opens by running another program.
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Of file managers, file servers and archives; so is whatever starts with a dot.
_HIDDEN = {
    "@eadir",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "__macosx",
    "lost+found",
    "system volume information",
}
_NAMED = 3  # in each note

HIDDEN = "hidden"
NO_IMAGE = "with another ending"
NO_FILE = "neither a file nor a folder"
SEEN = "a link to a folder that was already entered"
SUBFOLDER = "in a sub-folder"


class Found(NamedTuple):
    """What a walk met.

    Attributes:
      images: files with an ending of an image, sorted. So are links without a target
        and folders that cannot be listed: reading them reports them.
      passed_over: the other paths by the reason, sorted.
    """

    images: list[pathlib.Path]
    passed_over: dict[str, list[pathlib.Path]]


@functools.cache
def endings() -> frozenset[str]:
    """The endings of all formats that Pillow reads, in lower case with their dot."""
    Image.init()
    return frozenset(
        ending
        for ending, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in _NO_PICTURES
    )


def is_image_name(path: pathlib.Path) -> bool:
    """Whether a file's name has the ending of an image, in any case."""
    return path.suffix.lower() in endings()


def is_hidden(name: str) -> bool:
    """Whether a file or folder is no part of the data by its name."""
    return name.startswith(".") or name.lower() in _HIDDEN


def walk(folder: pathlib.Path, recursive: bool = True) -> Found:
    """Finds the image files of a folder; enters links, each folder once.

    Args:
      folder: where to look; its own name may be hidden.
      recursive: whether sub-folders are entered.
    """
    images: list[pathlib.Path] = []
    passed_over: dict[str, list[pathlib.Path]] = collections.defaultdict(list)
    for path, reason in _entries(folder, recursive, set()):
        if reason:
            passed_over[reason].append(path)
        else:
            images.append(path)
    return Found(sorted(images), {r: sorted(p) for r, p in passed_over.items()})


def _entries(
    folder: pathlib.Path, recursive: bool, entered: set[tuple[int, int]]
) -> Iterator[tuple[pathlib.Path, str]]:
    """Yields files with '', and what is passed over with the reason."""
    try:
        status = folder.stat()
        entered.add((status.st_dev, status.st_ino))
        paths = sorted(folder.iterdir())
    except OSError:
        yield folder, ""
        return
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # a link without a target, or in a loop
            status = None
        is_folder = status is not None and stat.S_ISDIR(status.st_mode)
        if is_hidden(path.name):
            yield path, HIDDEN
        elif is_folder and not recursive:
            if walk(path).images:
                yield path, SUBFOLDER
        elif is_folder and (status.st_dev, status.st_ino) in entered:
            yield path, SEEN
        elif is_folder:
            yield from _entries(path, recursive, entered)
        elif not is_image_name(path):
            yield path, NO_IMAGE
        elif status is None or stat.S_ISREG(status.st_mode):
            yield path, ""
        else:
            yield path, NO_FILE


def note(passed_over: dict[str, Sequence[pathlib.Path]], folder: pathlib.Path) -> str:
    """One line about what a walk passed over; '' if that is nothing."""
    parts = []
    for reason, paths in sorted(passed_over.items()):
        names = ", ".join(os.path.relpath(path, folder) for path in paths[:_NAMED])
        more = ", ..." if len(paths) > _NAMED else ""
        parts.append(f"{len(paths)} {reason} ({names}{more})")
    return f"passed over in {folder}: {'; '.join(parts)}" if parts else ""
