"""Constants of the batch norms of the networks that follow PyTorch's default."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks import alocc, ganomaly, skip_unet, unet, vae
from jax_scadn.networks.layers import layers

NETWORKS = {
    "alocc": alocc.Reconstructor(1, 2),
    "ganomaly": ganomaly.Discriminator(2),
    "skip_unet": skip_unet.SkipUNet(1, 2),
    "unet": unet.UNet(1, 2, 1),
    "vae": vae.Autoencoder(16, 1, 2, 4, 2),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_norms_have_the_constant_of_pytorch_and_not_that_of_utad(name, monkeypatch):
    """Of variances of 1e-5, which its 1e-5 doubles and UTAD's 1e-3 would drown."""
    network, size = NETWORKS[name], 32 if name == "skip_unet" else 16
    images = jax.random.uniform(jax.random.key(0), (1, size, size, 1))
    variables = network.init(jax.random.key(1), images, train=False)

    def small(path, x):
        return jnp.full_like(x, 1e-5) if path[-1].key == "var" else x

    stats = jax.tree_util.tree_map_with_path(small, variables["batch_stats"])

    def output():
        found = network.apply(variables | {"batch_stats": stats}, images, train=False)
        return [np.array(x) for x in jax.tree.leaves(found)]

    expected = output()
    monkeypatch.setattr(layers, "BATCH_NORM_EPS", 1.0)
    for one, other in zip(output(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_fields_of_batch_norms_are_named():
    with pytest.raises(TypeError):
        layers.BatchNorm(1e-5)
