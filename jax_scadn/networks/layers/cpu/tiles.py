"""Chunks of a batch of images, computed one after another so that each fits the cache.

The memory of a computation is bounded by a chunk, however large the images are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

_SINGLE_CHUNK_BYTES = 96 << 20  # up to here one chunk: two would not be faster
_CHUNK_BYTES = 16 << 20  # of each chunk where there are several


@dataclasses.dataclass(frozen=True)
class Chunks:
    """Equal chunks of a batch: several images each, or several rows of one image.

    A row is a row of the computation, such as a row of tiles; input and output arrays
    may have several pixels of height for each.

    Attributes:
      images: in a chunk.
      rows: of each image in a chunk.
      per_image: chunks from the top of an image to its bottom.
      count: of all chunks.
    """

    images: int
    rows: int
    per_image: int
    count: int

    @classmethod
    def of(cls, images: int, rows: int, row_bytes: int, weight_bytes: int) -> Chunks:
        """A single chunk if the batch is small, else as few as are small enough.

        Args:
          images: in the batch.
          rows: in each image.
          row_bytes: computed for one row.
          weight_bytes: of the weights that each chunk is multiplied with. A chunk
            smaller than its weights would wait for them.
        """
        if images * rows * row_bytes <= _SINGLE_CHUNK_BYTES:
            return cls(images, rows, 1, 1)
        most = max(_CHUNK_BYTES, 2 * weight_bytes) // row_bytes
        images_each = largest_divisor(images, most // rows)
        rows_each = rows if most >= rows else largest_divisor(rows, most)
        per_image = rows // rows_each
        return cls(images_each, rows_each, per_image, images // images_each * per_image)

    def fold(self, function: Callable[[jax.Array, Any], Any], first: Any) -> Any:
        """The tree of arrays after applying `function` to all chunks in order.

        Args:
          function: takes a chunk's number and the tree so far; returns the next tree.
          first: the tree before the first chunk.
        """
        return jax.lax.fori_loop(0, self.count, function, first)

    def take(
        self, x_bhwc: jax.Array, chunk: jax.Array, step: int, overlap: int = 0
    ) -> jax.Array:
        """The pixels of a chunk.

        Args:
          x_bhwc: the batch.
          chunk: its number.
          step: pixels from row to row.
          overlap: pixels shared with the next chunk.
        """
        shape = (self.images, self.rows * step + overlap, *x_bhwc.shape[2:])
        return jax.lax.dynamic_slice(x_bhwc, self._corner(chunk, step), shape)

    def put(
        self, x_bhwc: jax.Array, chunk: jax.Array, step: int, values: jax.Array
    ) -> jax.Array:
        """The batch with `values` at the pixels that `take` returns."""
        at = self._corner(chunk, step)
        return jax.lax.dynamic_update_slice(x_bhwc, values, at)

    def add(
        self, x_bhwc: jax.Array, chunk: jax.Array, step: int, values: jax.Array
    ) -> jax.Array:
        """The batch plus `values` at the pixels that `take` returns."""
        before = jax.lax.dynamic_slice(x_bhwc, self._corner(chunk, step), values.shape)
        return self.put(x_bhwc, chunk, step, before + values)

    def _corner(self, chunk: jax.Array, step: int) -> tuple:
        image, row = chunk // self.per_image, chunk % self.per_image
        return image * self.images, row * self.rows * step, 0, 0


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor up to `most`, or 1."""
    return max(n for n in range(1, number + 1) if number % n == 0 and n <= max(1, most))
