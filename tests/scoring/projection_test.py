"""Gradient projection against steps by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.scoring import projection


def linear(matrix):
    """Images of two pixels, decoded from a code of one number: f(x) = a b^T x."""

    def reconstruct(images_bhwc):
        x = images_bhwc.reshape(-1, 2)
        return jnp.matmul(x, matrix.T).reshape(images_bhwc.shape)

    return reconstruct


A = np.float32([[0.5, 0.25], [0.5, 0.25]])


def by_hand(x, steps, rate, weight, through):
    """In NumPy, with the derivative of |x - A x|^2 written out."""
    x, first, a = (np.float64(v) for v in (x, x, A))
    for _ in range(steps):
        error = x - a @ x
        slope = 2 * (error - a.T @ error if through else error)
        slope = slope + weight * np.sign(x - first)
        x = x - rate * slope * error**2
    return x


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("steps", [1, 7])
def test_linear_decoder_by_hand(steps, through):
    images = np.float32([[0.9, -0.4], [-0.2, 0.6]]).reshape(2, 1, 2, 1)
    projected = projection.project(linear(A), images, steps, 0.3, 0.05, through)
    expected = [by_hand(x, steps, 0.3, 0.05, through) for x in images.reshape(2, 2)]
    np.testing.assert_allclose(projected.reshape(2, 2), expected, rtol=1e-5)
    assert np.abs(projected - images).max() > 1e-3


def test_one_step_of_one_pixel():
    """x = 1, f = 0: dE = 2, and x - 0.1 * 2 * 1 = 0.8."""
    images = jnp.ones((1, 1, 1, 1))
    projected = projection.project(jnp.zeros_like, images, 1, 0.1, 0.05)
    np.testing.assert_allclose(projected, 0.8, rtol=1e-6)


def test_what_is_reconstructed_does_not_move():
    images = jax.random.uniform(jax.random.key(0), (2, 4, 4, 1))
    projected = projection.project(lambda x: x, images, 5, 0.1, 0.05)
    np.testing.assert_array_equal(projected, images)


def test_an_image_is_projected_by_itself():
    images = jax.random.uniform(jax.random.key(0), (3, 1, 2, 1))
    project = jax.jit(lambda x: projection.project(linear(A), x, 4, 0.1, 0.05, True))
    alone = [project(images[i : i + 1]) for i in range(3)]
    np.testing.assert_allclose(
        project(images), jnp.concatenate(alone), rtol=1e-6, atol=1e-7
    )
