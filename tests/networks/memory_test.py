"""MemAE's memory against arithmetic by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.losses import attention
from jax_scadn.networks import generator, memory


def test_shrinkage_by_hand():
    """Weights above 1/4 stay; their sum becomes 1."""
    weights = jnp.array([[0.5, 0.3, 0.2], [0.25, 0.5, 0.25], [0.2, 0.2, 0.2]])
    np.testing.assert_allclose(
        memory.shrink(weights, 0.25),
        [[0.625, 0.375, 0], [0, 1, 0], [0, 0, 0]],
        rtol=1e-6,
    )


def test_shrinkage_has_a_finite_gradient_where_all_become_0():
    slope = jax.grad(lambda w: jnp.sum(memory.shrink(w, 0.5)[..., 0]))(jnp.ones(3) / 3)
    np.testing.assert_array_equal(slope, 0)


def test_entropy_by_hand():
    """Of one item, of two equal ones, of four: 0, log 2, log 4."""
    weights = np.zeros((1, 1, 3, 4), np.float32)
    weights[0, 0, 0, 2] = 1
    weights[0, 0, 1, :2] = 0.5
    weights[0, 0, 2] = 0.25
    expected = (np.log(2) + np.log(4)) / 3
    np.testing.assert_allclose(attention.entropy(weights), expected, rtol=1e-6)


def by_hand(codes, items, similarity, threshold):
    """Codes (P, C) read from items (N, C), in NumPy and position by position."""
    read, weights = [], []
    for code in codes:
        products = items @ code
        if similarity == "cosine":
            lengths = np.linalg.norm(items, axis=1) * np.linalg.norm(code)
            products = products / lengths
        weight = np.exp(products) / np.exp(products).sum()
        weight = np.where(weight > threshold, weight, 0)
        weight /= weight.sum()
        read.append(weight @ items)
        weights.append(weight)
    return np.stack(read), np.stack(weights)


@pytest.mark.parametrize("similarity", memory.SIMILARITIES)
def test_reads_as_by_hand(similarity):
    random = np.random.default_rng(0)
    codes = random.standard_normal((2, 3, 4, 5)).astype(np.float32)
    unit = memory.Memory(7, similarity, 1.0)
    variables = unit.init(jax.random.key(0), codes)
    items = np.asarray(variables["params"]["items"], np.float64)
    output, weights = unit.apply(variables, codes)
    expected, shrunk = by_hand(codes.reshape(-1, 5), items, similarity, 1 / 7)
    np.testing.assert_allclose(output.reshape(-1, 5), expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(weights.reshape(-1, 7), shrunk, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(jnp.sum(weights, axis=-1), 1, rtol=1e-6)
    assert np.any(shrunk == 0)


def test_items_are_drawn_from_the_interval_of_the_paper():
    unit = memory.Memory(500, "cosine", 1.0)
    items = unit.init(jax.random.key(0), jnp.ones((1, 1, 1, 16)))["params"]["items"]
    assert -0.25 <= items.min() < -0.24
    assert 0.24 < items.max() <= 0.25


def test_bfloat16_reads_in_float32():
    unit = memory.Memory(7, "cosine", 1.0)
    codes = jax.random.normal(jax.random.key(0), (1, 2, 2, 5), jnp.bfloat16)
    variables = unit.init(jax.random.key(1), codes)
    output, weights = unit.apply(variables, codes)
    dtypes = [x.dtype for x in (output, weights, variables["params"]["items"])]
    assert dtypes == [jnp.bfloat16, jnp.float32, jnp.float32]


@pytest.mark.parametrize(("channels", "count"), [(3, 4_321_027), (1, 4_308_481)])
def test_as_many_parameters_as_the_dae_and_the_items(channels, count):
    network = generator.MemoryGenerator(channels)
    images = jnp.zeros((1, 64, 64, channels))
    shapes = jax.eval_shape(network.init, jax.random.key(0), images)
    leaves = jax.tree.leaves(shapes)
    assert sum(leaf.size for leaf in leaves) == count + 2000 * 512
