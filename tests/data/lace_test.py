"""The lace generator: deterministic, accurate masks, hard for simple baselines."""

import pickle

import numpy as np
import pytest
from scipy import ndimage
from sklearn import metrics

from jax_scadn.data import lace, records

DAMAGED = lace.DEFECTS[1:]


@pytest.fixture(autouse=True)
def render_anew(monkeypatch):
    monkeypatch.setattr(lace, "_image", lace._image.__wrapped__)


def _stack(items):
    return np.stack([item.read_image() for item in items])


def test_lists_the_given_numbers_of_items():
    train, test = lace.items(32, 1, train=3, test_good=2, test_per_defect=1)
    assert [item.path for item in train] == [f"lace/train/good/00{i}" for i in range(3)]
    assert [item.defect for item in test] == ["good", "good", *DAMAGED]
    assert [item.label for item in test] == [0, 0, 1, 1, 1]
    paths = [item.path for item in train + test]
    assert len(set(paths)) == len(paths)
    assert "lace/test/hole/000" in paths
    train, test = lace.items(32, 1)
    assert len(train) == 256
    assert len(test) == 30 + 3 * 20


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [48, 65])
def test_shapes_and_types(size, channels):
    train, test = lace.items(size, channels, train=1, test_good=1, test_per_defect=1)
    for item in train + test:
        record = item.read()
        assert record.image.shape == (size, size, channels)
        assert record.image.dtype == np.uint8
        assert (record.mask is None) == (record.label == records.NORMAL)
        if record.mask is not None:
            assert record.mask.shape == (size, size)
            assert record.mask.dtype == bool


def test_other_channels_are_refused():
    with pytest.raises(ValueError, match="not 4"):
        lace.items(32, 4)


def test_images_of_a_seed_do_not_depend_on_other_items():
    _, many = lace.items(32, 3, seed=5, train=4, test_good=4, test_per_defect=3)
    _, few = lace.items(32, 3, seed=5, train=1, test_good=1, test_per_defect=1)
    by_path = {item.path: item for item in reversed(many)}
    for item in few:
        again, record = by_path[item.path].read(), item.read()
        np.testing.assert_array_equal(record.image, again.image)
        np.testing.assert_array_equal(record.mask, again.mask)


def test_items_survive_pickling():
    for item in lace.items(32, 1, train=0, test_good=1, test_per_defect=1)[1]:
        record, copy = item.read(), pickle.loads(pickle.dumps(item)).read()
        np.testing.assert_array_equal(record.image, copy.image)
        np.testing.assert_array_equal(record.mask, copy.mask)


@pytest.mark.parametrize("seed", [0, 1])
def test_images_differ_in_phase(seed):
    train, test = lace.items(64, 1, seed, train=20, test_good=20, test_per_defect=0)
    pixels = _stack(train + test).reshape(40, -1).astype(float)
    others = np.corrcoef(pixels) - 2 * np.eye(40)
    assert others.max() < 0.6
    # The average of many images has no structure, corners included.
    average = _stack(lace.items(64, 1, seed, train=100)[0]).mean(0)[..., 0]
    blocks = average.reshape(4, 16, 4, 16)
    assert blocks.std((1, 3)).max() < 12
    other_seed = _stack(lace.items(64, 1, seed + 7, train=20)[0]).reshape(20, -1)
    assert np.corrcoef(pixels[:20], other_seed)[:20, 20:].max() < 0.6


def test_the_same_lace_at_every_size():
    for defect in lace.DEFECTS:
        small, _, small_mask = lace.render(64, 1, 0, "test", defect, 0)
        large, _, large_mask = lace.render(256, 1, 0, "test", defect, 0)
        pooled = large.reshape(64, 4, 64, 4).mean((1, 3))
        assert np.corrcoef(small.ravel(), pooled.ravel())[0, 1] > 0.95
        assert abs(small_mask.mean() - large_mask.mean()) < 0.03


@pytest.mark.parametrize("defect", DAMAGED)
@pytest.mark.parametrize("channels", [1, 3])
def test_mask_is_where_the_image_changed(defect, channels):
    for index in range(12):
        key = 64, channels, 0, "test", defect, index
        image, intact, mask = lace.render(*key)
        change = np.abs(image.astype(int) - intact).max(-1)
        # Outside the mask no visible change (of 255 grey values) ...
        assert change[~mask].max() <= 9
        # ... and inside it mostly clearly visible change, without a wide margin.
        assert 0.01 < mask.mean() < 0.16
        assert (change[mask] >= 7).mean() > 0.6
        assert change[mask].mean() > 18
        np.testing.assert_array_equal(mask, ndimage.binary_fill_holes(mask))


def test_closing_joins_near_pixels_and_does_not_grow_others():
    mask = np.zeros((12, 30), bool)
    mask[:, [0, 3, 20, 29]] = True
    closed = lace._close(mask, 2)
    assert closed[4:8, :4].all()  # a gap of two pixels
    np.testing.assert_array_equal(closed[:, 4:], mask[:, 4:])
    assert (closed >= mask).all()
    ring = np.ones((12, 12), bool)
    ring[2:10, 2:10] = False
    assert lace._close(ring, 1).all()


def test_good_images_are_intact():
    image, intact, mask = lace.render(64, 3, 0, "test", records.GOOD, 0)
    np.testing.assert_array_equal(image, intact)
    assert not mask.any()


def test_baselines_fail():
    train, test = lace.items(64, 1)
    train_images = _stack(train) / 255
    test_images = _stack(test) / 255
    masks = [i.read_mask() if i.read_mask else np.zeros((64, 64), bool) for i in test]
    labels = [item.label for item in test]
    distances = np.square(test_images[:, None] - train_images[None, ::4]).mean(
        (2, 3, 4)
    )
    from_mean = np.square(test_images - train_images.mean(0))[..., 0]
    assert 0.3 < metrics.roc_auc_score(labels, distances.min(1)) < 0.75
    assert 0.3 < metrics.roc_auc_score(labels, from_mean.mean((1, 2))) < 0.75
    assert metrics.roc_auc_score(np.ravel(masks), from_mean.ravel()) < 0.7
    # The mean brightness does not detect defects either.
    assert 0.25 < metrics.roc_auc_score(labels, test_images.mean((1, 2, 3))) < 0.75
