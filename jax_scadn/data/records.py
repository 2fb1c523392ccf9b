"""Records and splits: items of a data source, read lazily into records."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence

import numpy as np

from jax_scadn.data import images

NORMAL = 0
ANOMALOUS = 1
GOOD = "good"


@dataclasses.dataclass(frozen=True)
class Record:
    """One image, read, resized and cropped.

    Attributes:
      image: (size, size, channels), uint8 or uint16; `images.as_float` scales it.
      label: `NORMAL` or `ANOMALOUS`.
      mask: (size, size) bool, True where anomalous; None without ground truth.
      path: the file, or a name such as `mnist/test/17`.
      defect: `GOOD`, or the name of the defect or class.
    """

    image: np.ndarray
    label: int
    mask: np.ndarray | None
    path: str
    defect: str


@dataclasses.dataclass(frozen=True)
class Item:
    """A record that is not read yet; the two functions read it.

    `mask_path` is the file of `read_mask`, if any: `check` compares its size with that
    of the image.
    """

    path: str
    label: int
    defect: str
    read_image: Callable[[], np.ndarray]
    read_mask: Callable[[], np.ndarray] | None = None
    mask_path: str | None = None

    def read(self) -> Record:
        mask = self.read_mask() if self.read_mask else None
        return Record(self.read_image(), self.label, mask, self.path, self.defect)


class Split(Sequence):
    """Items with random access, read at first use and optionally cached.

    Labels, paths and defects are available without reading images.
    """

    def __init__(self, items: Sequence[Item], cached: bool = True):
        self.items = tuple(items)
        self._cache: list[Record | None] | None = None
        if cached:
            self._cache = [None] * len(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Record:
        if self._cache is None:
            return self.items[index].read()
        record = self._cache[index]
        if record is None:
            record = self._cache[index] = self.items[index].read()
        return record

    @property
    def cached(self) -> bool:
        return self._cache is not None

    @property
    def labels(self) -> np.ndarray:
        return np.array([item.label for item in self.items], np.int32)

    @property
    def defects(self) -> list[str]:
        return [item.defect for item in self.items]

    @property
    def paths(self) -> list[str]:
        return [item.path for item in self.items]

    def fingerprint(self) -> str:
        """SHA-256 of the images' names and sizes in bytes; the same in a moved folder.

        Only the names count of images that are no files.
        """
        hashed = hashlib.sha256()
        folders = {os.path.dirname(path) for path in self.paths}
        root = os.path.commonpath(folders) if folders else ""
        for path in self.paths:
            size = os.path.getsize(path) if os.path.isfile(path) else 0
            name = os.path.relpath(path, root) if root else path
            hashed.update(os.fsencode(f"{name}\0{size}\0"))
        return hashed.hexdigest()

    def subset(self, indices: Sequence[int]) -> Split:
        """The items at `indices`, in that order, with the cached records."""
        subset = Split([self.items[i] for i in indices], self.cached)
        if self._cache is not None:
            subset._cache = [self._cache[i] for i in indices]
        return subset

    def first(self, count: int) -> Split:
        """The first `count` items, or all of them if it is 0."""
        return self.subset(range(len(self))[: count or None])

    def images(self) -> np.ndarray:
        """All images stacked, (n, size, size, channels); read in several threads."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            records = pool.map(self.__getitem__, range(len(self)))
            return images.stack([record.image for record in records])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """The training, held-out and test split of one category.

    Attributes:
      category: its name; empty if the source has no categories.
      train: normal images for training.
      held_out: normal images not used in training, for the threshold; may be empty.
      test: normal and anomalous images; may be empty.
      unpaired_masks: ground-truth files without a test image.
      notes: a line for each thing in the folders that was not taken as it lies there.
      name: of the data set, such as 'mnist', or else of the source, such as 'folder'.
      white, fit: of the image files, see `images.read`.
    """

    category: str
    train: Split
    held_out: Split
    test: Split
    unpaired_masks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    name: str = ""
    white: int = images.WHITE
    fit: str = "crop"
