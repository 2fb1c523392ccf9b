import numpy as np
import pytest

from jax_scadn.scoring import masks


@pytest.mark.parametrize("size", [32, 64, 100, 512])
def test_pairs_are_complements_and_mask_half(size):
    striped = masks.striped(size, (2, 4, 8))
    assert striped.shape == (12, size, size)
    assert set(np.unique(striped)) == {0.0, 1.0}
    np.testing.assert_array_equal(striped[0::2] + striped[1::2], 1)
    if size % 16 == 0:
        np.testing.assert_array_equal(striped.mean(axis=(1, 2)), 0.5)


def test_order_and_width_of_stripes():
    striped = masks.striped(32, (2, 4, 8))
    # Scale 1: stripes of 32 / 4 = 8 columns, the first one masked.
    np.testing.assert_array_equal(striped[0, 0], np.repeat([1, 0, 1, 0], 8))
    np.testing.assert_array_equal(striped[1, 0], np.repeat([0, 1, 0, 1], 8))
    np.testing.assert_array_equal(striped[2, :, 0], np.repeat([1, 0, 1, 0], 8))
    # Scale 3: stripes of two columns.
    np.testing.assert_array_equal(striped[8, 5], np.tile([1, 1, 0, 0], 8))


def test_other_sizes_are_the_512_mask_at_the_nearest_pixel():
    large = masks.striped(512, (2, 4, 8))
    for size in (28, 100, 200):
        nearest = np.arange(size) * 512 // size
        small = large[:, nearest][:, :, nearest]
        np.testing.assert_array_equal(masks.striped(size, (2, 4, 8)), small)


def test_masks_equal_the_public_ones(shared):
    golden = np.load(shared / "golden" / "scadn_seed0_64.npz")
    np.testing.assert_array_equal(masks.striped(64, (2, 4, 8)), golden["mask_set"])


def test_visible_pixels_are_kept_and_masked_ones_set_to_the_mask_value():
    image = np.array([0.2, 0.4]).reshape(1, 1, 2, 1)
    mask = np.array([1.0, 0.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(masks.apply_mask(image, mask, 1.0).ravel(), [1, 0.4])
    np.testing.assert_allclose(masks.apply_mask(image, mask, 0.0).ravel(), [0, 0.4])
