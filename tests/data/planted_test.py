import numpy as np
import pytest

from jax_scadn.data import planted

KINDS = list(planted.KINDS)


def picture(size=64):
    y, x = np.mgrid[:size, :size] / size
    waves = 0.5 + 0.2 * np.sin(40 * x) * np.cos(30 * y)
    return np.repeat(waves[..., None], 3, axis=2).astype(np.float32)


def plant(kind, size=16.0, contrast=0.3, seed=0):
    return planted.plant(picture(), kind, size, contrast, np.random.default_rng(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_repeats_a_defect(kind):
    first, mask = plant(kind)
    again, same = plant(kind)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(mask, same)
    assert np.any(plant(kind, seed=1)[0] != first)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_a_defect_has_its_size_and_changes_nothing_else(kind, seed):
    image, mask = plant(kind, size=20.0, contrast=1.0, seed=seed)
    assert (image.dtype, image.min() >= 0, image.max() <= 1) == (np.float32, 1, 1)
    rows, columns = np.nonzero(mask)
    extent = np.hypot(np.ptp(rows) + 1, np.ptp(columns) + 1)
    assert 12 <= extent <= 31  # at most the diagonal of its square, and an edge
    changed = np.any(image != picture(), axis=2)
    around = np.zeros_like(changed)
    around[max(rows.min() - 3, 0) : rows.max() + 4] = True
    assert np.any(changed)
    assert not np.any(changed & ~around)
    assert 0 < rows.min() <= rows.max() < 63
    assert 0 < columns.min() <= columns.max() < 63


def test_contrast_of_a_stain_is_the_difference_in_its_middle():
    image, mask = plant("stain", size=16, contrast=0.25)
    difference = np.abs(image - picture())
    assert difference.max() == pytest.approx(0.25, abs=1e-6)
    assert np.count_nonzero(mask) == pytest.approx(np.pi * 64 * 0.8, rel=0.3)


def test_a_scratch_is_slender():
    lengths, areas = [], []
    for seed in range(10):
        mask = plant("scratch", size=30, contrast=1, seed=seed)[1]
        rows, columns = np.nonzero(mask)
        lengths.append(np.hypot(np.ptp(rows), np.ptp(columns)))
        areas.append(np.count_nonzero(mask))
    assert 24 < np.mean(lengths) < 34
    assert np.mean(areas) < 6 * 30


def test_a_missing_piece_has_no_texture():
    image, mask = plant("missing piece", size=24, contrast=1)
    assert image[mask].std() < 0.5 * picture()[mask].std()


def test_a_swapped_texture_keeps_the_images_values():
    image, mask = plant("swapped texture", size=24, contrast=1)
    assert image[mask].std() == pytest.approx(picture()[mask].std(), rel=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_grey_wide_and_tiny_images_and_defects(kind):
    rng = np.random.default_rng(0)
    for shape in ((8, 40, 1), (3, 3, 3), (64, 20, 3)):
        image, mask = planted.plant(np.full(shape, 0.5), kind, 6.0, 0.5, rng)
        assert image.shape == shape
        assert mask.any()
        assert np.isfinite(image).all()
    image, mask = planted.plant(picture(), kind, 0.5, 1.0, rng)
    assert mask.any()
