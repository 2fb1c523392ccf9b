"""What every data source yields: items that are read once into records."""

from __future__ import annotations

import concurrent.futures
import dataclasses
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
      mask: (size, size) bool, True where anomalous; None where there is none.
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
    """A record that is not read yet; the two functions do the reading.

    `mask_path` is the file behind `read_mask`, where there is one: `check` compares
    its size with the image's.
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
    """Items with random access, each read at its first use and kept if asked to.

    Labels, paths and defects are known without reading a single image.
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

    def subset(self, indices: Sequence[int]) -> Split:
        """The chosen items, in the given order, sharing what was already read."""
        chosen = Split([self.items[i] for i in indices], self.cached)
        if self._cache is not None:
            chosen._cache = [self._cache[i] for i in indices]
        return chosen

    def first(self, count: int) -> Split:
        """The first items, at most `count` of them; all where that is 0."""
        return self.subset(range(len(self))[: count or None])

    def images(self) -> np.ndarray:
        """All images stacked, (n, size, size, channels); read by several threads."""
        with concurrent.futures.ThreadPoolExecutor() as pool:
            records = pool.map(self.__getitem__, range(len(self)))
            return images.stack([record.image for record in records])


@dataclasses.dataclass(frozen=True)
class Dataset:
    """One category: what a model is trained, calibrated and tested on.

    Attributes:
      category: its name; empty where the source knows no categories.
      train: normal images that the model is trained on.
      held_out: normal images kept from training, for the threshold; may be empty.
      test: normal and anomalous images; may be empty.
      unpaired_masks: files of ground truth to which no test image belongs.
      name: of the data set, such as 'mnist'; of the source, such as 'folder', where
        the data set has none.
    """

    category: str
    train: Split
    held_out: Split
    test: Split
    unpaired_masks: tuple[str, ...] = ()
    name: str = ""
