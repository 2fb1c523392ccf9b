"""The autoencoder of VAE and gamma-VAE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks import vae


def initial(network):
    images = jnp.zeros((1, network.size, network.size, network.channels))
    return lambda key: network.init(key, images, train=False)


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (vae.Autoencoder(256, 3), 4_750_928),
        # The log-variance of 16 numbers, each of 2,048 inputs and a bias.
        (vae.Autoencoder(256, 3, variational=True), 4_750_928 + 16 * 2049),
    ],
)
def test_as_many_parameters_as_the_public_network(network, count):
    params = jax.eval_shape(initial(network), jax.random.key(0))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("variational", [False, True])
def test_shapes_and_dtypes(variational, dtype):
    network = vae.Autoencoder(16, 3, 2, 8, 5, variational, dtype)
    variables = jax.jit(initial(network))(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (2, 16, 16, 3))
    output = jax.jit(lambda v, x: network.apply(v, x, train=False))(variables, images)
    assert output.image_bhwc.shape == images.shape
    assert output.mean_bl.shape == (2, 5)
    assert (output.log_var_bl is not None) == variational
    for leaf in jax.tree.leaves((output, variables)):
        assert leaf.dtype == jnp.float32
    assert 0 <= output.image_bhwc.min() <= output.image_bhwc.max() <= 1


def test_a_key_draws_the_code_and_none_takes_the_mean(monkeypatch):
    """Codes decoded: mean + exp(log_var / 2) * N(0, 1)."""
    network = vae.Autoencoder(8, 1, 2, 8, 4, variational=True)
    variables = jax.jit(initial(network))(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (3, 8, 8, 1))
    monkeypatch.setattr(vae.Autoencoder, "_decode", lambda _, code, train: code)
    apply = jax.jit(lambda key: network.apply(variables, images, train=False, key=key))
    code, mean, log_var = apply(None)
    np.testing.assert_array_equal(code, mean)
    draw = jax.random.key(2)
    noise = jax.random.normal(draw, (3, 4))
    np.testing.assert_allclose(
        apply(draw)[0], mean + np.exp(np.asarray(log_var) / 2) * noise, rtol=1e-5
    )
