"""Parts of a batch of images that are computed one after the other, each in the cache.

What a computation needs for a strip stays small however large the images are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

_AT_ONCE = 96 << 20  # bytes that are computed in one strip: two would not be faster
_MOST = 16 << 20  # bytes of each strip where there are several


@dataclasses.dataclass(frozen=True)
class Strips:
    """Equal parts: some whole images each, or some rows of one image.

    A row is one of the computation's own, such as a row of tiles; arrays that go in or
    come out may have several pixels of height for each.

    Attributes:
      images: in a strip.
      rows: in each image of a strip.
      down: strips from the top of an image to its bottom.
      count: of all strips.
    """

    images: int
    rows: int
    down: int
    count: int

    @classmethod
    def of(cls, images: int, rows: int, row_bytes: int, weight_bytes: int) -> Strips:
        """One where all is small, else as few as are small enough.

        Args:
          images: in the batch.
          rows: in each image.
          row_bytes: of what is computed for one row.
          weight_bytes: of what each strip is multiplied with. A strip that is smaller
            than its weights would wait for them.
        """
        if images * rows * row_bytes <= _AT_ONCE:
            return cls(images, rows, 1, 1)
        most = max(_MOST, 2 * weight_bytes) // row_bytes
        together = largest_divisor(images, most // rows)
        high = rows if most >= rows else largest_divisor(rows, most)
        down = rows // high
        return cls(together, high, down, images // together * down)

    def fold(self, function: Callable[[jax.Array, Any], Any], first: Any) -> Any:
        """A tree of arrays to which all strips have added their part, one by one.

        Args:
          function: takes a strip's number and the tree so far; returns the next one.
          first: the tree before the first strip.
        """
        return jax.lax.fori_loop(0, self.count, function, first)

    def take(
        self, x_bhwc: jax.Array, strip: jax.Array, step: int, overlap: int = 0
    ) -> jax.Array:
        """A strip's pixels.

        Args:
          x_bhwc: the batch.
          strip: its number.
          step: pixels from row to row.
          overlap: pixels of the next strip that this one has, too.
        """
        shape = (self.images, self.rows * step + overlap, *x_bhwc.shape[2:])
        return jax.lax.dynamic_slice(x_bhwc, self._corner(strip, step), shape)

    def put(
        self, x_bhwc: jax.Array, strip: jax.Array, step: int, of_strip: jax.Array
    ) -> jax.Array:
        """The batch with `of_strip` as the pixels that `take` gives."""
        at = self._corner(strip, step)
        return jax.lax.dynamic_update_slice(x_bhwc, of_strip, at)

    def add(
        self, x_bhwc: jax.Array, strip: jax.Array, step: int, of_strip: jax.Array
    ) -> jax.Array:
        """The batch plus `of_strip` at the pixels that `take` gives."""
        there = jax.lax.dynamic_slice(x_bhwc, self._corner(strip, step), of_strip.shape)
        return self.put(x_bhwc, strip, step, there + of_strip)

    def _corner(self, strip: jax.Array, step: int) -> tuple:
        image, row = strip // self.down, strip % self.down
        return image * self.images, row * self.rows * step, 0, 0


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor that is not above `most`, 1 at least."""
    return max(n for n in range(1, number + 1) if number % n == 0 and n <= max(1, most))
