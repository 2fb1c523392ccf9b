import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks.layers.cpu import tiles, winograd

SMALL = tiles._SINGLE_CHUNK_BYTES


@pytest.fixture
def smallest_chunks(monkeypatch):
    """Chunks of the smallest size."""
    monkeypatch.setattr(tiles, "_SINGLE_CHUNK_BYTES", 0)
    monkeypatch.setattr(tiles, "_CHUNK_BYTES", 1)


@pytest.mark.parametrize(
    ("images", "rows", "row_bytes", "weight_bytes", "expected"),
    [
        (2, 8, SMALL // 16, 0, (2, 8, 1, 1)),  # a single chunk
        (2, 8, SMALL // 16 + 1, 0, (1, 2, 4, 8)),  # 2 rows of 6 MiB are below 16
        (1, 9, SMALL, 0, (1, 1, 9, 9)),  # at least one row
        (1, 7, SMALL // 7 + 1, 0, (1, 1, 7, 7)),  # a prime number of rows
        (8, 8, 2 << 20, 0, (1, 8, 1, 8)),
        (64, 1, 2 << 20, 0, (8, 1, 1, 8)),  # several images each
        (1, 8, SMALL // 4, SMALL // 4, (1, 2, 4, 4)),  # not smaller than its weights
    ],
)
def test_chunks_are_equal_and_as_large_as_allowed(
    images, rows, row_bytes, weight_bytes, expected
):
    chunks = tiles.Chunks.of(images, rows, row_bytes, weight_bytes)
    assert (chunks.images, chunks.rows, chunks.per_image, chunks.count) == expected
    assert chunks.images * chunks.rows * chunks.count == images * rows


@pytest.mark.parametrize("chunks", [(1, 2, 3, 6), (2, 6, 1, 1), (1, 6, 1, 2)])
def test_chunks_cover_all_pixels_once_and_overlap_if_asked(chunks):
    chunks = tiles.Chunks(*chunks)
    x = jax.random.normal(jax.random.key(0), (2, 6 * 2 + 1, 3, 1))
    # Each chunk puts back what it takes; the overlap is left out.
    copied = chunks.fold(
        lambda chunk, y: chunks.put(y, chunk, 2, chunks.take(x, chunk, 2)),
        jnp.zeros_like(x),
    )
    np.testing.assert_array_equal(copied[:, :-1], x[:, :-1])
    assert not np.any(copied[:, -1])

    def add(chunk, count):
        ones = jnp.ones_like(chunks.take(x, chunk, 2, overlap=1))
        return chunks.add(count, chunk, 2, ones)

    count = chunks.fold(add, jnp.zeros_like(x))
    inner = np.arange(13)[None, :, None, None]
    shared = (inner % (2 * chunks.rows) == 0) & (inner > 0) & (inner < 12)
    np.testing.assert_array_equal(count, np.broadcast_to(1 + shared, x.shape))


ALGORITHMS = {
    "three taps": (winograd.THREE_TAPS, (2, 10, 8, 3)),
    "two taps": (winograd.TWO_TAPS, (2, 9, 7, 3)),
    "upsampled": (winograd.THREE_TAPS_UPSAMPLED, (2, 6, 5, 3)),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_chunks_do_not_change_the_result_of_a_filter(name, request):
    algorithm, shape = ALGORITHMS[name]
    taps = len(algorithm.kernel[0])
    x = jax.random.normal(jax.random.key(0), shape)
    kernel = jax.random.normal(jax.random.key(1), (taps, taps, 3, 5))

    def value_and_gradients():
        run = functools.partial(winograd._filter, algorithm=algorithm)
        y, pull_back = jax.vjp(run, x, kernel)
        return y, *pull_back(jnp.sin(jnp.arange(y.size)).reshape(y.shape))

    unchunked = jax.jit(value_and_gradients)()
    request.getfixturevalue("smallest_chunks")
    jax.clear_caches()
    chunks = winograd._chunks(shape, 5, algorithm)
    assert chunks.count == math.prod(winograd._tile_counts(shape, algorithm)[:2])
    for ours, expected in zip(jax.jit(value_and_gradients)(), unchunked, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_memory_is_bounded_by_a_chunk():
    """The tiles and products of a large image would take 2 GiB."""
    x = jax.ShapeDtypeStruct((1, 1026, 1026, 64), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 64, 64), jnp.float32)
    compiled = jax.jit(winograd.convolve_3x3).lower(x, kernel).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 2 * tiles._CHUNK_BYTES
