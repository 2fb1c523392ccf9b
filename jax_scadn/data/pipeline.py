"""Batches of a split: shuffled and repeated for training, in order for scoring."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import grain
import jax
import numpy as np

from jax_scadn.data import images, records
from jax_scadn.runtime import errors


class Images(Sequence):
    """The images of a split, as elements of `training_iterator`."""

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
    setting: str = "training.batch_size",
) -> grain.DatasetIterator:
    """Yields batches of shuffled elements indefinitely.

    Each epoch has its own order and drops its last incomplete batch. Batches depend
    only on the arguments and the position, which `get_state` returns and `set_state`
    restores; the number of `threads` does not matter.

    Each process reads only its own rows of every batch. Since all processes are at the
    same position, that of one can be restored with any number of processes.

    Args:
      source: elements of images (size, size, channels) by name, uint8 or uint16;
        read in Grain's threads.
      batch_size: elements in a global batch, which the processes share evenly.
      seed: of the order and the flips, non-negative.
      flip: flip each element's images horizontally with probability 0.5, all images
        of an element together.
      threads: number of prefetching threads; 0 reads in the caller's thread.
      setting: that says the batch size, for messages.

    Returns:
      A Grain iterator over dicts of (rows, size, size, channels), uint8, or uint16 if
      a batch contains 16-bit images; `rows` are those of this process.

    Raises:
      errors.UserError: fewer elements than a batch.
    """
    if len(source) < batch_size:
        raise errors.UserError(
            f"{len(source)} training images do not fill a batch: set "
            f"--config.{setting} to {len(source)} or less"
        )
    dataset = grain.MapDataset.source(source).seed(seed).shuffle()
    if flip:
        dataset = dataset.random_map(_flip)
    processes, process = jax.process_count(), jax.process_index()
    rows = batch_size // processes
    dataset = dataset.batch(rows, drop_remainder=True, batch_fn=_batch)
    # Each process takes its shards of the full batches of an epoch.
    shards = batches_per_epoch(len(source), batch_size) * processes
    dataset = dataset[process:shards:processes].repeat()
    return iter(dataset.to_iter_dataset(_read_options(threads)))


def first(source: Sequence[dict[str, np.ndarray]], count: int) -> dict[str, np.ndarray]:
    """One batch of the first elements, at most `count`."""
    return _batch([source[i] for i in range(min(count, len(source)))])


def batches_per_epoch(images: int, batch_size: int) -> int:
    """Full batches per epoch; the last incomplete one is dropped."""
    return images // batch_size


def padded_batches(
    split: records.Split, batch_size: int, threads: int = 4
) -> Iterator[dict[str, np.ndarray]]:
    """Yields all images once, in order, in batches of equal size.

    The last batch is padded with the last image and its index: even without the mask,
    results are written to the right rows. Each process reads its own rows.

    Args:
      split: the images.
      batch_size: images in a global batch.
      threads: number of prefetching threads; 0 reads in the caller's thread.

    Yields:
      'image': (rows, size, size, channels) uint8 or uint16, `rows` are those of this
      process; '_mask': (batch_size,) bool, False for padding; 'index': (batch_size,)
      int32, indices into the split.
    """
    rows = batch_size // jax.process_count()
    own = slice(rows * jax.process_index(), rows * (jax.process_index() + 1))

    def batch(start: int) -> dict[str, np.ndarray]:
        numbers = np.arange(start, start + batch_size, dtype=np.int32)
        index = np.minimum(numbers, len(split) - 1)
        image = _stack([split[int(i)].image for i in index[own]])
        return {"image": image, "_mask": numbers < len(split), "index": index}

    starts = grain.MapDataset.range(0, len(split), batch_size)
    yield from starts.map(batch).to_iter_dataset(_read_options(threads))


def _read_options(threads: int) -> grain.ReadOptions:
    # Elements are batches: a small buffer is enough.
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


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    stacked = images.stack(arrays)
    if jax.process_count() == 1:
        return stacked
    # All rows of a batch need one type, and another process may have 16-bit images.
    return images.as_sixteen_bit(stacked)
