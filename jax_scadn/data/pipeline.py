"""Batches of a split: shuffled without end for training, once in order for scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grain
import jax
import numpy as np

from jax_scadn.data import images, records
from jax_scadn.runtime import errors


class Images(Sequence):
    """A split's images alone, as elements of `training_iterator`."""

    def __init__(self, split: records.Split):
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        return {"image": self._split[index].image}


def training_iterator(
    source: Sequence[dict[str, np.ndarray]],
    batch_size: int,
    seed: int,
    flip: bool,
    threads: int,
) -> grain.DatasetIterator:
    """Yields batches of shuffled elements without end.

    Each epoch has an order of its own and drops its last incomplete batch. Batches
    depend on nothing but the arguments and the position, which `get_state` gives and
    `set_state` takes: the batches that follow are the same with any `threads`.

    Each process reads its own rows of every batch, and nothing else. Since all are at
    the same position, that of one is good for any number of processes.

    Args:
      source: elements of images (size, size, channels) by name, uint8 or uint16;
        read in Grain's threads.
      batch_size: elements in a batch of all processes together, who share it evenly.
      seed: of the order and the flips, non-negative.
      flip: whether each element's images are mirrored left to right, all of them
        together, with probability 0.5.
      threads: that read ahead; 0 reads in the caller's thread.

    Returns:
      A Grain iterator over dicts of (rows, size, size, channels), uint8, or uint16
      where a batch holds images of 16 bit; `rows` are those of this process.

    Raises:
      errors.UserError: there are fewer elements than a batch takes.
    """
    if len(source) < batch_size:
        raise errors.UserError(
            f"{len(source)} training images do not fill a batch: set "
            f"--config.training.batch_size to {len(source)} or less"
        )
    dataset = grain.MapDataset.source(source).seed(seed).shuffle()
    if flip:
        dataset = dataset.random_map(_flip)
    processes, process = jax.process_count(), jax.process_index()
    rows = batch_size // processes
    dataset = dataset.batch(rows, drop_remainder=True, batch_fn=_batch)
    # Of the shares of an epoch's whole batches every process takes its own.
    shares = batches_per_epoch(len(source), batch_size) * processes
    dataset = dataset[process:shares:processes].repeat()
    return iter(dataset.to_iter_dataset(_read_options(threads)))


def first(source: Sequence[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """One batch of the first elements, at most that many."""
    return _batch([source[i] for i in range(min(count, len(source)))])


def batches_per_epoch(images: int, batch_size: int) -> int:
    """Batches in which every training image is seen once; the rest is dropped."""
    return images // batch_size


def padded_batches(
    split: records.Split, batch_size: int, threads: int = 4
) -> Iterator[dict[str, np.ndarray]]:
    """Yields all images once, in order, in batches of one size.

    The last batch is filled up with the last image and its index, so that even a
    caller who forgets the mask writes the right result to the right place. Each
    process reads its own rows of the images.

    Args:
      split: the images; read ahead in threads.
      batch_size: images in a batch.
      threads: that read ahead; 0 reads in the caller's thread.

    Yields:
      'image': (rows, size, size, channels) uint8 or uint16, `rows` are those of this
      process; '_mask': (batch_size,) bool, False where filled up; 'index':
      (batch_size,) int32 in split.
    """
    rows = batch_size // jax.process_count()
    mine = slice(rows * jax.process_index(), rows * (jax.process_index() + 1))

    def batch(start: int) -> dict[str, np.ndarray]:
        numbers = np.arange(start, start + batch_size, dtype=np.int32)
        index = np.minimum(numbers, len(split) - 1)
        image = _stack([split[int(i)].image for i in index[mine]])
        return {"image": image, "_mask": numbers < len(split), "index": index}

    starts = grain.MapDataset.range(0, len(split), batch_size)
    yield from starts.map(batch).to_iter_dataset(_read_options(threads))


def _read_options(threads: int) -> grain.ReadOptions:
    # Elements are whole batches: a few of them are far enough ahead.
    return grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)


def _flip(
    element: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    if rng.random() < 0.5:
        return {name: image[:, ::-1] for name, image in element.items()}
    return element


def _batch(elements: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {
        name: _stack([element[name] for element in elements]) for name in elements[0]
    }


def _stack(chosen: Sequence[np.ndarray]) -> np.ndarray:
    stacked = images.stack(chosen)
    if jax.process_count() == 1:
        return stacked
    # Rows of one batch have to be of one type, and another process may hold 16 bit.
    return images.as_sixteen_bit(stacked)
