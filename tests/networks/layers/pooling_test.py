import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks.layers import pooling

# window, stride, pad, and the height and width of the images
OPTIONS = {
    "3x3": (3, 1, 1, (6, 5)),
    "3x3 unpadded": (3, 1, 0, (6, 5)),
    "2x2": (2, 2, 0, (6, 4)),
    "4x4, pixels left": (4, 4, 0, (9, 11)),
    "2x2 padded": (2, 2, 1, (6, 5)),
    "single pixels": (1, 1, 0, (3, 4)),
}


def xla(x, window, stride, pad):
    sides = ((pad, pad), (pad, pad))
    return nn.max_pool(x, (window, window), (stride, stride), sides)


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("values", [1000, 3])
def test_value_and_gradient_are_those_of_xla(name, values):
    """With few values, windows have several maxima: the same one is chosen."""
    *options, size = OPTIONS[name]
    x = jax.random.randint(jax.random.key(0), (2, *size, 3), 0, values)
    x = x.astype(jnp.float32) - values / 2

    def value_and_gradient(function, x):
        y, pull_back = jax.vjp(lambda x: function(x, *options), x)
        return y, *pull_back(jnp.arange(1.0, y.size + 1).reshape(y.shape))

    for ours, expected in zip(
        value_and_gradient(pooling.max_pool, x), value_and_gradient(xla, x), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)


def test_nan_is_propagated():
    for place in ((0, 0), (0, 1), (1, 1)):
        x = jnp.ones((1, 2, 2, 1)).at[0, *place, 0].set(jnp.nan)
        assert jnp.isnan(pooling.max_pool(x, 2, 2)).all()


def test_gpus_use_xlas_pooling_and_cpus_do_not_scatter():
    x = jnp.zeros((1, 4, 4, 2))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(pooling.max_pool(x, 3, pad=1))))
    program = {
        platform: gradient.trace(x).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    }
    assert "select_and_scatter" not in program["cpu"]
    assert "select_and_scatter" in program["cuda"]


def test_other_strides_are_refused():
    with pytest.raises(ValueError, match="stride 2 must be 1 or the window, 3"):
        pooling.max_pool(jnp.zeros((1, 4, 4, 1)), 3, stride=2)
