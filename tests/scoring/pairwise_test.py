"""Squared distances of rows, by hand."""

import numpy as np

from jax_scadn.scoring import pairwise


def test_by_hand():
    a = np.float32([[0, 0], [3, 4]])
    b = np.float32([[0, 0], [0, 4], [6, 8]])
    expected = [[0, 16, 100], [25, 9, 25]]
    np.testing.assert_allclose(pairwise.squared_distances(a, b), expected, atol=1e-5)


def test_not_below_zero():
    rows = np.random.default_rng(0).normal(100, 1, (20, 50)).astype(np.float32)
    assert np.min(pairwise.squared_distances(rows, rows)) >= 0
