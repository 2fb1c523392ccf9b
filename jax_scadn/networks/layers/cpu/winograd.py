"""Winograd convolutions for CPUs: fewer multiplications.

A one-dimensional filter with m outputs from n inputs needs P < m * taps products:

    y_t = output (kernel g * data x_t)        * is elementwise, x_t the t-th tile

with small constant matrices. Nested over height and width there are P * P products of
matrices (tiles, C) x (C, K), which a CPU multiplies near its peak, and their gradients
are such products, too. The result equals the plain convolution up to rounding.

Source: Winograd 1980; Lavin and Gray 2016 (F(2x2, 3x3)).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jax_scadn.networks.layers.cpu import tiles

Matrix = tuple[tuple[float, ...], ...]
Grid = Sequence[Sequence[jax.Array]]  # arrays by position in height and width


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """One Winograd filter; hashable.

    Attributes:
      data: (P, n), transforms the n inputs of a tile.
      kernel: (P, taps), transforms the kernel.
      output: (m, P), transforms the products to the m outputs of a tile.
      step: inputs from one tile to the next.
    """

    data: Matrix
    kernel: Matrix
    output: Matrix
    step: int

    @property
    def inputs(self) -> int:
        return len(self.data[0])

    @property
    def outputs(self) -> int:
        return len(self.output)


# Three taps, two outputs: 4 products instead of 6.
THREE_TAPS = Algorithm(
    data=((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    kernel=((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    output=((1, 1, 1, 0), (0, 1, -1, -1)),
    step=2,
)
# Two taps, two outputs: 3 instead of 4. y_0 = g_0 (x_0 - x_1) + (g_0 + g_1) x_1.
TWO_TAPS = Algorithm(
    data=((1, -1, 0), (0, 1, 0), (0, -1, 1)),
    kernel=((1, 0), (1, 1), (0, 1)),
    output=((1, 1, 0), (0, 1, 1)),
    step=2,
)
# Three taps on inputs upsampled by 2, two outputs: 3 instead of 6.
# y_0 = g_0 x_0 + (g_1 + g_2) x_1 = g_0 (x_0 - x_1) + (g_0 + g_1 + g_2) x_1.
THREE_TAPS_UPSAMPLED = Algorithm(
    data=TWO_TAPS.data,
    kernel=((1, 0, 0), (1, 1, 1), (0, 0, 1)),
    output=TWO_TAPS.output,
    step=1,
)
# Five taps on the same, two outputs: 5 instead of 10. The taps of both outputs have
# the same sum. y_0 = (g_0 + g_1) (x_0 - x_1) + (sum of g) x_1 + g_4 (x_2 - x_1).
FIVE_TAPS_UPSAMPLED = Algorithm(
    data=((1, -1, 0), (1, -1, 0), (0, 1, 0), (0, -1, 1), (0, -1, 1)),
    kernel=(
        (1, 1, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (1, 1, 1, 1, 1),
        (0, 0, 0, 0, 1),
        (0, 0, 0, 1, 1),
    ),
    output=((1, 0, 1, 1, 0), (0, 1, 1, 0, 1)),
    step=1,
)
_UPSAMPLED = {3: THREE_TAPS_UPSAMPLED, 5: FIVE_TAPS_UPSAMPLED}


def convolve_3x3(x_bhwc: jax.Array, kernel: jax.Array, dilation: int = 1) -> jax.Array:
    """3 x 3 convolution without padding, optionally dilated.

    Args:
      x_bhwc: images whose output has multiples of 2 * dilation as height and width.
      kernel: (3, 3, C, K).
      dilation: each of the d * d phases of the image is filtered separately.
    """
    if dilation == 1:
        return _filter(x_bhwc, kernel, THREE_TAPS)
    b, h, w, c = x_bhwc.shape
    d = dilation
    # Images stay the outermost axis: devices that share a batch do not communicate.
    x = x_bhwc.reshape(b, h // d, d, w // d, d, c).transpose(0, 2, 4, 1, 3, 5)
    y = _filter(x.reshape(b * d * d, h // d, w // d, c), kernel, THREE_TAPS)
    _, h, w, k = y.shape
    y = y.reshape(b, d, d, h, w, k).transpose(0, 3, 1, 4, 2, 5)
    return y.reshape(b, h * d, w * d, k)


def convolve_4x4_by_2(x_bhwc: jax.Array, kernel: jax.Array) -> jax.Array:
    """4 x 4 convolution with stride 2, without padding.

    The four pixels of a 2 x 2 square become channels: two taps with stride 1 remain.

    Args:
      x_bhwc: images whose output has an even height and width.
      kernel: (4, 4, C, K).
    """
    b, h, w, c = x_bhwc.shape
    x = x_bhwc.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
    k = kernel.shape[-1]
    taps = kernel.reshape(2, 2, 2, 2, c, k).transpose(0, 2, 1, 3, 4, 5)
    return _filter(
        x.reshape(b, h // 2, w // 2, 4 * c), taps.reshape(2, 2, 4 * c, k), TWO_TAPS
    )


def convolve_upsampled(x_bhwc: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution of an image upsampled by 2 (nearest).

    Args:
      x_bhwc: the small image, padded by one pixel; (B, H + 2, W + 2, C) gives
        (B, 2 H, 2 W, K). Zeros padded here act like zeros padded after upsampling.
      kernel: (3, 3, C, K) or (5, 5, C, K).
    """
    return _filter(x_bhwc, kernel, _UPSAMPLED[len(kernel)])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _filter(x_bhwc: jax.Array, kernel: jax.Array, algorithm: Algorithm) -> jax.Array:
    """Y = output ((kernel g) (data x)) over height and width."""
    x_bhwc, kernel, zero = _barrier(x_bhwc, kernel, 0.0)
    weights = _nested(algorithm.kernel, kernel)
    chunks = _chunks(x_bhwc.shape, kernel.shape[-1], algorithm)
    m = algorithm.outputs

    def put(chunk, y_bhwk):
        data = _data(chunks, chunk, x_bhwc, algorithm)
        grid = _nested(algorithm.output, _pairs(_times, data, weights))
        values = jnp.stack([jnp.stack(row, axis=3) for row in grid], axis=2)
        b, high, _, wide, _, k = values.shape
        values = values.reshape(b, high * m, wide * m, k)
        return chunks.put(y_bhwk, chunk, m, values)

    b, high, wide = _tile_counts(x_bhwc.shape, algorithm)
    return chunks.fold(put, jnp.full((b, high * m, wide * m, kernel.shape[-1]), zero))


def _forward(x_bhwc, kernel, algorithm):
    return _filter(x_bhwc, kernel, algorithm), (x_bhwc, kernel)


def _backward(algorithm, saved, y_bar):
    """The transposes of the three matrices, in reverse order."""
    x_bhwc, kernel, y_bar, zero = _barrier(*saved, y_bar, 0.0)
    m = algorithm.outputs
    weights = _nested(algorithm.kernel, kernel)
    chunks = _chunks(x_bhwc.shape, kernel.shape[-1], algorithm)

    def add(chunk, sums):
        of_x, of_weights = sums
        y = chunks.take(y_bar, chunk, step=m)
        of_outputs = [[y[:, u::m, v::m] for v in range(m)] for u in range(m)]
        of_products = _nested(_transposed(algorithm.output), of_outputs)
        data = _data(chunks, chunk, x_bhwc, algorithm)
        more = _pairs(lambda v, p: _rows(v).T @ _rows(p), data, of_products)
        of_data = _pairs(lambda p, u: _times(p, u.T), of_products, weights)
        of_tiles = _nested(_transposed(algorithm.data), of_data)
        values = _sum_of_tiles(of_tiles, algorithm)
        return (
            chunks.add(of_x, chunk, algorithm.step, values),
            _pairs(jnp.add, of_weights, more),
        )

    zeros = jax.tree.map(lambda array: jnp.full_like(array, zero), (x_bhwc, weights))
    of_x, of_weights = chunks.fold(add, zeros)
    of_kernel = _nested(_transposed(algorithm.kernel), of_weights)
    return of_x, jnp.stack([jnp.stack(row) for row in of_kernel])


_filter.defvjp(_forward, _backward)


def _barrier(*arrays: jax.Array | float) -> tuple[jax.Array, ...]:
    """The arrays behind an optimization barrier: users of one of them wait for all.

    XLA would compute the weights of all layers and allocate their outputs as early as
    possible and hold them until they are used: 270 MiB in the generator.
    """
    return jax.lax.optimization_barrier(arrays)


def _tile_counts(shape: tuple[int, ...], algorithm: Algorithm) -> tuple[int, int, int]:
    """Number of images, and of tiles in their height and their width."""
    b, h, w, _ = shape
    return b, *(1 + (n - algorithm.inputs) // algorithm.step for n in (h, w))


def _chunks(
    shape: tuple[int, ...], features: int, algorithm: Algorithm
) -> tiles.Chunks:
    """Chunks of rows of tiles of such images, for `features` output channels."""
    b, high, wide = _tile_counts(shape, algorithm)
    inputs = shape[-1]
    one = 4 * len(algorithm.data) ** 2  # bytes per number, over all products
    return tiles.Chunks.of(
        b, high, one * wide * (inputs + features), one * inputs * features
    )


def _data(
    chunks: tiles.Chunks, chunk: jax.Array, x_bhwc: jax.Array, algorithm: Algorithm
) -> Grid:
    """data x of a chunk's tiles."""
    step = algorithm.step
    x = chunks.take(x_bhwc, chunk, step, overlap=algorithm.inputs - step)
    return _nested(algorithm.data, _tiles(x, algorithm))


def _tiles(x_bhwc: jax.Array, algorithm: Algorithm) -> Grid:
    """[i][j]: input (i, j) of every tile, (B, rows of tiles, columns of tiles, C)."""
    n, step = algorithm.inputs, algorithm.step
    last_row, last_column = x_bhwc.shape[1] - n, x_bhwc.shape[2] - n
    return [
        [
            x_bhwc[:, i : i + last_row + 1 : step, j : j + last_column + 1 : step]
            for j in range(n)
        ]
        for i in range(n)
    ]


def _sum_of_tiles(tiles: Grid, algorithm: Algorithm) -> jax.Array:
    """The transpose of `_tiles`: adds up overlapping tiles."""
    n, step = algorithm.inputs, algorithm.step
    further = (n - 1) // step  # tiles that overlap the one after the last

    def overlapped(parts, axis):
        def moved(part, by):
            pad = [(0, 0)] * part.ndim
            pad[axis] = (by, further - by)
            return jnp.pad(part, pad)

        sums = [
            sum(moved(parts[i], i // step) for i in range(residue, n, step))
            for residue in range(step)
        ]
        return jnp.stack(sums, axis + 1)

    x = overlapped([overlapped(row, 2) for row in tiles], 1)
    b, high, _, wide, _, c = x.shape
    beyond = (further + 1) * step - n  # pixels outside every tile
    x = x.reshape(b, high * step, wide * step, c)
    return x[:, : high * step - beyond, : wide * step - beyond]


def _nested(matrix: Matrix, grid: Grid | jax.Array) -> Grid:
    """matrix grid matrix^T."""
    rows = [
        [_combined(coefficients, column) for column in zip(*grid, strict=True)]
        for coefficients in matrix
    ]
    return [[_combined(coefficients, row) for coefficients in matrix] for row in rows]


def _combined(coefficients: Sequence[float], arrays: Sequence[jax.Array]) -> jax.Array:
    """A linear combination without multiplications by 0, 1 and -1."""
    total = None
    for coefficient, array in zip(coefficients, arrays, strict=True):
        if coefficient == 0:
            continue
        if abs(coefficient) != 1:
            array = array * abs(coefficient)
        if total is None:
            total = array if coefficient > 0 else -array
        else:
            total = total + array if coefficient > 0 else total - array
    return total


def _times(x_bhwc: jax.Array, matrix: jax.Array) -> jax.Array:
    return (_rows(x_bhwc) @ matrix).reshape(*x_bhwc.shape[:3], -1)


def _rows(x_bhwc: jax.Array) -> jax.Array:
    """One row per pixel: XLA is slow for products with more than two axes."""
    return x_bhwc.reshape(-1, x_bhwc.shape[-1])


def _pairs(function: Callable, first: Grid, second: Grid) -> Grid:
    return [
        [function(a, b) for a, b in zip(*rows, strict=True)]
        for rows in zip(first, second, strict=True)
    ]


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))
