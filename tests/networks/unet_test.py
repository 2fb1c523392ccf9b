"""RIAD's U-Net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks import unet


def initial(network, size=16):
    """Variables drawn for images of that size."""
    images = jnp.zeros((1, size, size, network.channels))
    return lambda key: network.init(key, images, train=False)


def test_as_many_parameters_as_the_public_network():
    params = jax.eval_shape(initial(unet.UNet(3), 256), jax.random.key(0))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 28_805_699


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_keeps_shape_range_and_float32(dtype):
    network = unet.UNet(1, 2, 2, dtype)
    images = jax.random.uniform(jax.random.key(0), (2, 8, 12, 1))
    variables = jax.jit(initial(network))(jax.random.key(1))
    apply = jax.jit(
        lambda v, x: network.apply(v, x, train=True, mutable=["batch_stats"])
    )
    output, updated = apply(variables, images)
    assert output.shape == images.shape
    assert output.dtype == jnp.float32
    assert 0 <= output.min() <= output.max() <= 1
    for leaf in jax.tree.leaves((variables, updated)):
        assert leaf.dtype == jnp.float32
    moved = jax.tree.map(
        lambda a, b: bool(np.any(a != b)),
        updated["batch_stats"],
        variables["batch_stats"],
    )
    assert all(jax.tree.leaves(moved))


def test_skip_connections_bring_the_neighbours_of_a_pixel():
    """Without the way up: five 3 x 3 convolutions see five pixels each way."""
    network = unet.UNet(1, 2, 1)
    images = jax.random.uniform(jax.random.key(0), (1, 16, 16, 1))
    variables = jax.jit(initial(network))(jax.random.key(1))
    up = variables["params"]["up_0"]
    variables["params"]["up_0"] = jax.tree.map(jnp.zeros_like, up)

    @jax.jit
    @jax.grad
    def slope(x):
        return network.apply(variables, x, train=False)[0, 8, 8, 0]

    seen = np.argwhere(np.asarray(slope(images))[0, :, :, 0])
    np.testing.assert_array_equal(seen.min(axis=0), 8 - 5)
    np.testing.assert_array_equal(seen.max(axis=0), 8 + 5)
