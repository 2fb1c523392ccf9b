"""Reference images against values by hand and a plain loop."""

import jax
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.data import records
from jax_scadn.settings import resolve
from jax_scadn.training import closed_form, protocol


def method_of(kind):
    config = methods.default("reference_images")
    resolve.put(config, "reference.kind", kind)
    return methods.create(methods.resolve(config))


def split(images):
    items = [
        records.Item(f"{n}", records.NORMAL, records.GOOD, lambda image=image: image)
        for n, image in enumerate(images)
    ]
    return records.Split(items)


def scored(kind, train, test):
    """Maps and scores of test images in [0, 1]."""
    method = method_of(kind)
    (stage,) = method.stages
    fitted = closed_form.fit(stage, split(train), protocol.EMPTY, 0, 4)
    maps = jax.jit(method.maps)({"frozen": {}, stage.name: fitted}, test)
    result = method.select({}, maps)
    return np.asarray(result.maps), np.asarray(result.scores)


def test_two_training_images_by_hand():
    train = np.stack([np.full((2, 2, 1), 0), np.full((2, 2, 1), 255)]).astype(np.uint8)
    test = np.full((1, 2, 2, 1), 0.75, np.float32)
    test[0, 0, 0] = 0.5
    maps, scores = scored("mean", train, test)  # the mean image is 0.5 everywhere
    np.testing.assert_allclose(maps, [[[0, 0.0625], [0.0625, 0.0625]]], atol=1e-7)
    np.testing.assert_allclose(scores, [0.046875], rtol=1e-6)
    maps, scores = scored("nearest", train, test)  # the white one is nearest
    np.testing.assert_allclose(maps, [[[0.25, 0.0625], [0.0625, 0.0625]]], rtol=1e-4)
    np.testing.assert_allclose(scores, [0.109375], rtol=1e-4)  # 16 bit


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_nearest_image_equals_a_brute_force_search(kind):
    """Nine images: the last batch is not full, and none is left out."""
    random = np.random.default_rng(0)
    most = np.iinfo(kind).max
    train = random.integers(0, most, (9, 4, 5, 3)).astype(kind)
    test = random.random((6, 4, 5, 3), np.float32)
    test[5] = train[8] / most
    maps, scores = scored("nearest", train, test)
    assert maps.shape == (6, 4, 5)
    for image, anomaly, score in zip(test, maps, scores, strict=True):
        distances = [np.square(image - other / most) for other in train]
        best = min(distances, key=np.sum)
        np.testing.assert_allclose(anomaly, best.mean(-1), rtol=1e-3, atol=1e-9)
        np.testing.assert_allclose(score, best.mean(), rtol=1e-3, atol=1e-9)


def test_equal_levels_differ_by_exactly_0_and_equal_differences_are_equal():
    train = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    test = train.astype(np.float32) / 255
    maps, scores = scored("nearest", train, test)
    assert not maps.any()
    assert scores == [0]
    brighter = np.minimum(train.astype(np.int32) + 3, 255).astype(np.float32) / 255
    maps, _ = scored("nearest", train, brighter)
    assert len(np.unique(maps[0].ravel()[:253])) == 1


def test_titles_name_the_reference():
    assert [method_of(kind).title for kind in ("mean", "nearest")] == [
        "mean image",
        "nearest image",
    ]
