import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks.layers.cpu import tiles, winograd

SMALL = tiles._AT_ONCE


@pytest.fixture
def narrow(monkeypatch):
    """Strips of the smallest size."""
    monkeypatch.setattr(tiles, "_AT_ONCE", 0)
    monkeypatch.setattr(tiles, "_MOST", 1)


@pytest.mark.parametrize(
    ("images", "rows", "row_bytes", "weight_bytes", "expected"),
    [
        (2, 8, SMALL // 16, 0, (2, 8, 1, 1)),  # all at once
        (2, 8, SMALL // 16 + 1, 0, (1, 2, 4, 8)),  # 2 rows of 6 MiB are below 16
        (1, 9, SMALL, 0, (1, 1, 9, 9)),  # a row is the least
        (1, 7, SMALL // 7 + 1, 0, (1, 1, 7, 7)),  # a prime number of rows
        (8, 8, 2 << 20, 0, (1, 8, 1, 8)),
        (64, 1, 2 << 20, 0, (8, 1, 1, 8)),  # some images each
        (1, 8, SMALL // 4, SMALL // 4, (1, 2, 4, 4)),  # not smaller than its weights
    ],
)
def test_strips_are_equal_and_as_large_as_may_be(
    images, rows, row_bytes, weight_bytes, expected
):
    parts = tiles.Strips.of(images, rows, row_bytes, weight_bytes)
    assert (parts.images, parts.rows, parts.down, parts.count) == expected
    assert parts.images * parts.rows * parts.count == images * rows


@pytest.mark.parametrize("parts", [(1, 2, 3, 6), (2, 6, 1, 1), (1, 6, 1, 2)])
def test_strips_cover_all_pixels_once_and_overlap_where_asked(parts):
    parts = tiles.Strips(*parts)
    x = jax.random.normal(jax.random.key(0), (2, 6 * 2 + 1, 3, 1))
    # Each strip puts what it takes, of all rows but the overlap.
    copied = parts.fold(
        lambda strip, y: parts.put(y, strip, 2, parts.take(x, strip, 2)),
        jnp.zeros_like(x),
    )
    np.testing.assert_array_equal(copied[:, :-1], x[:, :-1])
    assert not np.any(copied[:, -1])

    def add(strip, count):
        ones = jnp.ones_like(parts.take(x, strip, 2, overlap=1))
        return parts.add(count, strip, 2, ones)

    count = parts.fold(add, jnp.zeros_like(x))
    inner = np.arange(13)[None, :, None, None]
    shared = (inner % (2 * parts.rows) == 0) & (inner > 0) & (inner < 12)
    np.testing.assert_array_equal(count, np.broadcast_to(1 + shared, x.shape))


ALGORITHMS = {
    "three taps": (winograd.THREE_TAPS, (2, 10, 8, 3)),
    "two taps": (winograd.TWO_TAPS, (2, 9, 7, 3)),
    "on twice": (winograd.THREE_TAPS_ON_TWICE, (2, 6, 5, 3)),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_filter_by_strips_is_the_filter(name, request):
    algorithm, shape = ALGORITHMS[name]
    taps = len(algorithm.kernel[0])
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (taps, taps, 3, 5))

    def value_and_slopes():
        run = functools.partial(winograd._filter, algorithm=algorithm)
        y, pull_back = jax.vjp(run, x, kernel)
        return y, *pull_back(jnp.sin(jnp.arange(y.size)).reshape(y.shape))

    whole = jax.jit(value_and_slopes)()
    request.getfixturevalue("narrow")
    jax.clear_caches()
    parts = winograd._strips(shape, 5, algorithm)
    assert parts.count == math.prod(winograd._tile_counts(shape, algorithm)[:2])
    for ours, expected in zip(jax.jit(value_and_slopes)(), whole, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_memory_does_not_grow_with_what_strips_compute():
    """The tiles and products of a large image would take 2 GiB."""
    x = jax.ShapeDtypeStruct((1, 1026, 1026, 64), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 64, 64), jnp.float32)
    compiled = jax.jit(winograd.convolve_3x3).lower(x, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * tiles._MOST
