"""RIAD's partitions: every pixel is masked exactly once."""

import jax
import numpy as np
import pytest

from jax_scadn.scoring import partitions


@pytest.mark.parametrize(
    ("size", "cell", "sets"), [(16, 2, 3), (16, 4, 3), (24, 8, 2), (8, 4, 4)]
)
def test_sets_tile_the_image_exactly_once(size, cell, sets):
    masks = np.asarray(partitions.draw(jax.random.key(0), size, cell, sets))
    assert masks.shape == (sets, size, size)
    assert set(np.unique(masks)) == {0, 1}
    np.testing.assert_array_equal(masks.sum(axis=0), 1)
    cells = masks.reshape(sets, size // cell, cell, size // cell, cell)
    assert (np.ptp(cells, axis=(2, 4)) == 0).all()  # cells are masked entirely
    counts = cells[:, :, 0, :, 0].sum(axis=(1, 2))
    assert counts.max() - counts.min() <= 1


def test_a_cell_must_divide_the_size():
    with pytest.raises(ValueError, match="cells of 3 pixels do not divide 16"):
        partitions.draw(jax.random.key(0), 16, 3, 2)


def side_of(masks):
    """Of the cells: the greatest divisor of all runs of equal values."""
    changes = [np.flatnonzero(np.diff(line)) + 1 for m in masks for line in (*m, *m.T)]
    return np.gcd.reduce(np.concatenate([*changes, [masks.shape[-1]]]))


def test_other_keys_draw_other_partitions_of_all_sizes():
    draw = jax.jit(lambda key: partitions.draw_any(key, 16, (2, 4, 8), 3))
    masks = [np.asarray(draw(jax.random.key(seed))) for seed in range(12)]
    assert {side_of(m) for m in masks} == {2, 4, 8}
    assert len({m.tobytes() for m in masks}) == 12
    np.testing.assert_array_equal(draw(jax.random.key(3)), masks[3])


def test_each_pixel_is_that_of_the_copy_in_which_it_was_masked():
    """A network that adds 1: masked pixels are the mask's value and 1."""
    images = jax.random.uniform(jax.random.key(0), (2, 8, 8, 3))
    masks = partitions.draw(jax.random.key(1), 8, 2, 3)
    copies = partitions.masked_copies(images, masks, 0.5)
    assert copies.shape == (6, 8, 8, 3)
    whole = partitions.assemble(copies + 1, masks)
    np.testing.assert_array_equal(whole, np.full((2, 8, 8, 3), 1.5))
    visible = 1 - np.asarray(masks)[None, :, :, :, None]
    np.testing.assert_allclose(
        copies.reshape(2, 3, 8, 8, 3),
        np.asarray(images)[:, None] * visible + 0.5 * (1 - visible),
        rtol=1e-6,
    )
