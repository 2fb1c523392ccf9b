"""The trivial detectors against values by hand and a plain loop."""

import numpy as np
import pytest

from jax_scadn.detection import baselines


def test_two_training_images_by_hand():
    train = np.stack([np.full((2, 2, 1), 0.0), np.full((2, 2, 1), 1.0)])
    test = np.full((1, 2, 2, 1), 0.75)
    test[0, 0, 0] = 0.5
    detectors = baselines.trivial_detectors(
        train.astype(np.float32), test.astype(np.float32)
    )
    assert list(detectors) == ["mean image", "nearest image"]
    maps, scores = detectors["mean image"]  # the mean image is 0.5 everywhere
    np.testing.assert_allclose(maps, [[[0, 0.0625], [0.0625, 0.0625]]])
    np.testing.assert_allclose(scores, [0.046875])
    maps, scores = detectors["nearest image"]  # the white one is nearest
    np.testing.assert_allclose(maps, [[[0.25, 0.0625], [0.0625, 0.0625]]])
    np.testing.assert_allclose(scores, [0.109375])


def test_nearest_image_equals_a_search_by_loops():
    random = np.random.default_rng(0)
    train = random.random((9, 4, 5, 3), np.float32)
    test = random.random((6, 4, 5, 3), np.float32)
    maps, scores = baselines.nearest_image(train, test)
    assert maps.shape == (6, 4, 5)
    for image, heat, score in zip(test, maps, scores, strict=True):
        errors = [np.square(image - other) for other in train]
        best = min(errors, key=np.sum)
        np.testing.assert_allclose(heat, best.mean(-1), rtol=1e-5)
        np.testing.assert_allclose(score, best.mean(), rtol=1e-5)


def test_a_known_image_scores_zero_with_the_nearest_image_only():
    train = np.random.default_rng(1).random((5, 4, 4, 1), np.float32)
    detectors = baselines.trivial_detectors(train, train[2:3])
    assert detectors["nearest image"][1] == [0]
    assert detectors["mean image"][1] > 0.01


def test_no_test_images_give_empty_maps():
    train = np.zeros((2, 4, 4, 1), np.float32)
    for maps, scores in baselines.trivial_detectors(train, train[:0]).values():
        assert maps.shape == (0, 4, 4)
        assert scores.shape == (0,)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (np.zeros((2, 4, 4, 1)), np.zeros((2, 4, 4, 3)), r"\(2, 4, 4, 1\).*4, 3\)"),
        (np.zeros((0, 4, 4, 1)), np.zeros((2, 4, 4, 1)), r"train \(0, 4, 4, 1\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros((2, 4, 4, 1)), "uint8"),
    ],
)
def test_what_does_not_fit_is_refused(train, test, message):
    for detector in (baselines.mean_image, baselines.nearest_image):
        with pytest.raises(ValueError, match=message):
            detector(train, test)
