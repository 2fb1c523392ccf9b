import numpy as np
import pytest
from scipy import ndimage

from jax_scadn.scoring import smoothing


@pytest.mark.parametrize("shape", [(2, 1, 20, 33), (1, 2, 5, 7)])
@pytest.mark.parametrize("sigma", [1.0, 2.5])
def test_equals_scipys_filter(shape, sigma):
    maps = np.random.default_rng(0).random(shape, np.float32)
    expected = ndimage.gaussian_filter(
        maps.astype(np.float64), (0, 0, sigma, sigma), mode="reflect"
    )
    np.testing.assert_allclose(
        smoothing.gaussian(maps, sigma), expected, rtol=2e-5, atol=1e-7
    )


def test_sigma_0_does_not_change_the_map():
    maps = np.ones((1, 1, 4, 4), np.float32)
    assert smoothing.gaussian(maps, 0.0) is maps


@pytest.mark.parametrize("side", [3, 21])
def test_mean_equals_scipys_filter(side):
    maps = np.random.default_rng(0).random((1, 2, 20, 9), np.float32)
    expected = ndimage.uniform_filter(
        maps.astype(np.float64), (0, 0, side, side), mode="reflect"
    )
    np.testing.assert_allclose(smoothing.mean(maps, side), expected, rtol=2e-5)


def test_side_1_does_not_change_the_map():
    maps = np.ones((1, 1, 4, 4), np.float32)
    assert smoothing.mean(maps, 1) is maps
