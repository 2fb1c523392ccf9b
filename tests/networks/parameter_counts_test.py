"""Networks have as many parameters as those that their authors published."""

import jax
import jax.numpy as jnp
import pytest

from jax_scadn.networks import alocc, ganomaly, skip_unet, svdd


def parameters(network, size, channels):
    images = jnp.zeros((1, size, size, channels))

    def init(key):
        return network.init(key, images, train=False)["params"]

    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, _key())))


def _key():
    return jax.random.key(0)


@pytest.mark.parametrize(
    ("network", "size", "channels", "count"),
    [
        (svdd.Encoder("mnist"), 28, 1, 7_272),
        (svdd.Encoder("cifar10"), 32, 3, 520_544),
        (alocc.Reconstructor(1), 28, 1, 373_217),
        (alocc.Discriminator(), 28, 1, 270_401),
        (ganomaly.Generator(32, 3), 32, 3, 3_206_528),
        (ganomaly.Discriminator(), 32, 3, 663_296),
        (skip_unet.SkipUNet(3), 32, 3, 16_659_075),
    ],
)
def test_as_many_parameters_as_the_originals(network, size, channels, count):
    assert parameters(network, size, channels) == count


@pytest.mark.parametrize("size", [16, 27, 28, 32, 45])
def test_alocc_returns_images_of_any_size(size):
    images = jax.ShapeDtypeStruct((2, size, size, 1), jnp.float32)
    network = alocc.Reconstructor(1, 2)

    def run(images):
        return network.init_with_output(_key(), images, train=False)[0]

    assert jax.eval_shape(run, images).shape == images.shape


@pytest.mark.parametrize(("size", "layout"), [(28, "mnist"), (32, "cifar10")])
def test_the_decoder_returns_the_encoders_size(size, layout):
    network = svdd.Autoencoder(layout, size, 1)
    images = jax.ShapeDtypeStruct((2, size, size, 1), jnp.float32)

    def run(images):
        return network.init_with_output(_key(), images, train=False)[0]

    assert jax.eval_shape(run, images).shape == images.shape


@pytest.mark.parametrize(
    "network",
    [
        svdd.Autoencoder("mnist", 32, 1, jnp.bfloat16),
        alocc.Reconstructor(1, 2, jnp.bfloat16),
        ganomaly.Generator(32, 1, 2, 3, jnp.bfloat16),
        skip_unet.SkipUNet(1, 2, jnp.bfloat16),
    ],
)
def test_parameters_and_outputs_are_float32_under_bfloat16(network):
    images = jnp.zeros((2, 32, 32, 1))

    def run(key):
        return network.init_with_output(key, images, train=False)

    leaves = jax.tree.leaves(jax.eval_shape(run, _key()))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}


def test_svdd_has_neither_biases_nor_affine_norms():
    shapes = jax.eval_shape(
        lambda key: svdd.Encoder("mnist").init(
            key, jnp.zeros((1, 28, 28, 1)), train=False
        ),
        _key(),
    )
    paths = jax.tree_util.tree_leaves_with_path(shapes["params"])
    assert {path[-1].key for path, _ in paths} == {"kernel"}
