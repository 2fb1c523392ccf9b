"""MSGMS against arithmetic by hand and SciPy's filters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jax_scadn.losses import gradient_similarity

C = 0.0026
dissimilarities = jax.jit(gradient_similarity.dissimilarities)
msgms_map = jax.jit(gradient_similarity.msgms_map)


def images(seed, channels=3, size=16):
    return np.random.default_rng(seed).random((2, size, size, channels), np.float32)


def test_magnitude_of_a_ramp_by_hand():
    """Three rows of differences over two columns, divided by 3: 2 * slope."""
    ramp = np.broadcast_to(0.1 * np.arange(6, dtype=np.float32), (1, 6, 6))
    magnitude = gradient_similarity.magnitude(ramp)
    np.testing.assert_allclose(magnitude[0, :, 1:-1], 0.2, rtol=1e-5)
    np.testing.assert_allclose(magnitude[0, :, [0, -1]], 0.1, rtol=1e-5)


def magnitude_by_scipy(image):
    across, down = (ndimage.prewitt(image, axis, mode="nearest") for axis in (0, 1))
    return np.hypot(across, down) / 3


def by_scipy(a, b):
    """1 - GMS of grey images (H, W) in float64, at each scale."""
    scales = []
    for _ in range(4):
        g_a, g_b = magnitude_by_scipy(a), magnitude_by_scipy(b)
        scales.append(1 - (2 * g_a * g_b + C) / (g_a**2 + g_b**2 + C))
        h, w = a.shape
        a, b = (x.reshape(h // 2, 2, w // 2, 2).mean((1, 3)) for x in (a, b))
    return scales


def test_scales_and_loss_equal_scipys():
    a, b = images(0), images(1)
    scales = dissimilarities(a, b)
    assert [s.shape for s in scales] == [(2, n, n) for n in (16, 8, 4, 2)]
    means = []
    for i in range(2):
        grey = (x[i].astype(np.float64).mean(-1) for x in (a, b))
        for ours, expected in zip(scales, by_scipy(*grey), strict=True):
            np.testing.assert_allclose(ours[i], expected, rtol=1e-3, atol=1e-5)
            means.append(expected.mean())
    loss = gradient_similarity.msgms_loss(a, b)
    np.testing.assert_allclose(loss, np.mean(means), rtol=1e-4)


def test_a_step_against_a_flat_image_by_hand():
    """g = 1 on both sides of the step and 0 elsewhere: 1 - c / (1 + c) there."""
    a = np.zeros((1, 8, 8, 1), np.float32)
    a[:, :, 4:] = 1
    scales = dissimilarities(a, np.zeros_like(a))
    expected = np.zeros((8, 8))
    expected[:, 3:5] = 1 / (1 + C)
    np.testing.assert_allclose(scales[0][0], expected, rtol=1e-5, atol=1e-6)


def test_map_is_the_mean_of_upsampled_scales():
    a, b = images(2, 1), images(3, 1)
    maps = msgms_map(a, b)
    assert maps.shape == (2, 16, 16)
    coarse = jnp.full((1, 16, 16, 1), 0.25).at[:, :8].set(0.75)
    # One step in the middle of each scale: the columns are alike.
    one = msgms_map(coarse, jnp.zeros_like(coarse))
    assert np.ptp(one, axis=2).max() < 1e-5
    upsampled = [
        jax.image.resize(s, (2, 16, 16), "bilinear") for s in dissimilarities(a, b)
    ]
    np.testing.assert_allclose(maps, np.mean(upsampled, axis=0), rtol=1e-5)


def test_equal_images_are_0_and_flat_ones_have_a_finite_gradient():
    a = images(4)
    assert not msgms_map(a, a).any()
    flat = jnp.full((1, 8, 8, 1), 0.5)
    slope = jax.jit(jax.grad(gradient_similarity.msgms_loss))(flat, images(5, 1, 8)[:1])
    assert np.isfinite(slope).all()


def test_shapes_must_be_equal():
    with pytest.raises(ValueError, match="!="):
        gradient_similarity.msgms_loss(images(0), images(0, 1))
