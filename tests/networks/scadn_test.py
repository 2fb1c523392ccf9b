import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn.networks import discriminator, generator
from jax_scadn.networks.layers import convolution, layers


def test_instance_norm_has_zero_mean_and_unit_biased_variance():
    x = np.random.default_rng(0).normal(3, 2, (2, 5, 7, 3)).astype(np.float32)
    y = np.asarray(layers.instance_norm(x))
    np.testing.assert_allclose(y.mean(axis=(1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(axis=(1, 2)), 1, atol=1e-5)


def test_instance_norm_of_a_constant_is_zero():
    np.testing.assert_array_equal(layers.instance_norm(jnp.full((1, 4, 4, 2), 9.0)), 0)


def test_instance_norm_is_float32_inside():
    x = jnp.asarray(1000 + np.arange(16).reshape(1, 4, 4, 1), jnp.bfloat16)
    y = layers.instance_norm(x)
    assert y.dtype == jnp.bfloat16
    exact = layers.instance_norm(x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=1e-2)


def test_reflect_pad_leaves_out_the_edge():
    x = jnp.arange(3.0).reshape(1, 1, 3, 1) * jnp.ones((1, 3, 1, 1))
    np.testing.assert_array_equal(
        convolution.reflect_pad(x, 2)[0, 0, :, 0], [2, 1, 0, 1, 2, 1, 0]
    )


def _spectral(iterations=1):
    layer = layers.SpectralConv(6, power_iterations=iterations)
    x = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    return layer, layer.init(jax.random.key(0), x), x


def test_spectral_norm_divides_by_the_largest_singular_value():
    layer, variables, x = _spectral(iterations=200)
    y, updated = jax.jit(lambda v, x: layer.apply(v, x, mutable=["spectral"]))(
        variables, x
    )
    kernel = np.asarray(variables["params"]["kernel"])
    sigma = np.linalg.svd(kernel.transpose(3, 2, 0, 1).reshape(6, -1))[1][0]
    plain = jax.lax.conv_general_dilated(
        x, kernel / sigma, (1, 1), ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    np.testing.assert_allclose(y, plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(updated["spectral"]["u"]), 1, rtol=1e-6)


def test_spectral_vectors_move_in_training_only():
    layer, variables, x = _spectral()
    before = variables["spectral"]
    layer.apply(variables, x)
    _, updated = layer.apply(variables, x, mutable=["spectral"])
    assert not np.allclose(updated["spectral"]["u"], before["u"])
    matrix = variables["params"]["kernel"].transpose(3, 2, 0, 1).reshape(6, -1)
    v = matrix.T @ before["u"]
    v /= np.linalg.norm(v)
    np.testing.assert_allclose(updated["spectral"]["v"], v, rtol=1e-5, atol=1e-6)


def test_the_gradient_treats_u_and_v_as_constants():
    layer, variables, x = _spectral()
    spectral, params = variables["spectral"], variables["params"]

    def output(kernel):
        return jnp.sum(
            layer.apply({"params": {"kernel": kernel}, "spectral": spectral}, x)
        )

    def by_hand(kernel):
        sigma = spectral["u"] @ (
            kernel.transpose(3, 2, 0, 1).reshape(6, -1) @ spectral["v"]
        )
        y = jax.lax.conv_general_dilated(
            x, kernel, (1, 1), ((1, 1), (1, 1)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )  # fmt: skip
        return jnp.sum(y) / sigma

    ours, expected = (
        jax.grad(output)(params["kernel"]),
        jax.grad(by_hand)(params["kernel"]),
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-3)


def test_generator_has_the_papers_parameters():
    images = jnp.zeros((1, 64, 64, 3))
    shapes = jax.eval_shape(generator.Generator(3).init, jax.random.key(0), images)
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 42_077_955


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_generator_keeps_the_shape_and_the_range(dtype):
    net = generator.Generator(1, width=4, dilations=(2, 1), dtype=dtype)
    images = jax.random.uniform(jax.random.key(0), (2, 32, 40, 1))
    variables = jax.jit(net.init)(jax.random.key(1), images)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    out = jax.jit(net.apply)(variables, images)
    assert out.shape == images.shape
    assert out.dtype == jnp.float32
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_dilation_widens_the_receptive_field_of_a_residual_block(monkeypatch):
    # Without instance norm, which depends on the entire image, the reach is exact.
    monkeypatch.setattr(layers, "instance_norm", lambda x: x)
    x = jax.random.normal(jax.random.key(0), (1, 17, 17, 2))
    for dilation, reach in ((1, 5), (2, 7)):
        block = generator.ResidualBlock(dilation)
        variables = jax.jit(block.init)(jax.random.key(0), x)
        slope = jax.jit(
            jax.grad(lambda x, b=block, v=variables: b.apply(v, x)[0, 8, 8, 0])
        )(x)
        seen = np.argwhere(np.abs(slope[0]).sum(-1) > 0)
        np.testing.assert_array_equal(np.ptp(seen, axis=0) + 1, reach)


def test_discriminator_gives_a_logit_for_each_patch():
    net = discriminator.Discriminator(width=4)
    images = jnp.zeros((2, 64, 64, 3))
    variables = jax.jit(net.init)(jax.random.key(0), images)
    assert set(variables) == {"params", "spectral"}
    logits, features = jax.jit(net.apply)(variables, images)
    assert logits.shape == (2, 6, 6, 1)
    assert [f.shape[-1] for f in features] == [4, 8, 16, 32]
