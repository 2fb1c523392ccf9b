import jax
import jax.numpy as jnp
import pytest

from jax_scadn import methods
from jax_scadn.networks import autoencoder, generator
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve


def parameters(network, size, channels):
    images = jnp.zeros((1, size, size, channels))
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("network", "size", "channels", "count"),
    [
        (autoencoder.Autoencoder(128, 3), 128, 3, 1_050_599),
        (autoencoder.Autoencoder(256, 3, 32, 500), 256, 3, 2_722_231),
        (generator.Generator(3, 64, ()), 128, 3, 4_321_027),
        (generator.Generator(1, 64, ()), 128, 1, 4_308_481),
    ],
)
def test_as_many_parameters_as_the_originals(network, size, channels, count):
    assert parameters(network, size, channels) == count


def test_keeps_shape_and_range():
    network = autoencoder.Autoencoder(64, 1, 2, 3)
    images = jax.random.uniform(jax.random.key(0), (2, 64, 64, 1))
    output, _ = jax.jit(network.init_with_output)(jax.random.key(1), images)
    assert output.shape == images.shape
    assert 0 < output.min() <= output.max() < 1


@pytest.mark.parametrize("size", [24, 48, 96, 100])
def test_other_sizes_are_refused(size):
    config = methods.default("autoencoder")
    resolve.put(config, "data.size", size)
    with pytest.raises(
        errors.UserError, match=f"data.size={size}: must be one of: 32, 64"
    ):
        methods.resolve(config)


def test_presets_are_the_papers_methods():
    titles = []
    for preset in ("ae_l2", "ae_ssim", "dae"):
        config = methods.default("autoencoder")
        config.preset = preset
        titles.append(methods.create(methods.resolve(config)).title)
    assert titles == ["AE-L2", "AE-SSIM", "DAE"]
