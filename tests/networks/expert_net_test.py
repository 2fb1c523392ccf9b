import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import variables as variables_lib

from jax_scadn.networks import expert_net
from jax_scadn.networks.layers import layers

SMALL = functools.partial(expert_net.AdaINAutoencoder, width=4, blocks=1, mlp_width=8)


def noise(*shape, seed=0):
    return jax.random.uniform(jax.random.key(seed), shape)


def compiled(net):
    methods = (net.encode_content, net.encode_detail, net.decode)
    return [jax.jit(functools.partial(net.apply, method=m)) for m in methods]


def test_adain_gives_each_channel_its_mean_and_deviation():
    x = np.random.default_rng(0).normal(3, 2, (2, 8, 8, 3)).astype(np.float32)
    mean = jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    std = jnp.array([[0.5, 1.0, 2.0], [3.0, 0.1, 0.2]])
    y = np.asarray(layers.adaptive_instance_norm(x, mean, std))
    np.testing.assert_allclose(y.mean(axis=(1, 2)), mean, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(1, 2)), std, rtol=1e-4)


def test_adain_names_wrong_shapes():
    with pytest.raises(ValueError, match=r"\(2, 4\).*\(2, 3\)"):
        layers.adaptive_instance_norm(
            jnp.zeros((2, 4, 4, 3)), jnp.zeros((2, 4)), jnp.zeros((2, 3))
        )


def test_layer_norm_by_hand():
    x = np.random.default_rng(0).normal(3, 2, (2, 2, 3, 2)).astype(np.float32)
    params = {"scale": jnp.array([2.0, 0.5]), "bias": jnp.array([1.0, -1.0])}
    y = layers.LayerNorm().apply({"params": params}, x)
    image = {"axis": (1, 2, 3), "keepdims": True}
    normed = (x - x.mean(**image)) / (x.std(ddof=1, **image) + 1e-5)
    np.testing.assert_allclose(y, normed * [2, 0.5] + [1, -1], rtol=1e-5, atol=1e-5)


def test_layer_norm_of_a_constant_has_a_finite_slope():
    norm = layers.LayerNorm()
    x = jnp.full((1, 4, 4, 2), 3.0)
    variables = norm.init(jax.random.key(0), x)
    y, slope = jax.value_and_grad(lambda x: jnp.sum(norm.apply(variables, x)))(x)
    assert y == 0
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("norm", ["layer", "adain"])
def test_norms_are_float32_inside(norm):
    x = jnp.asarray(1000 + 8 * np.arange(16).reshape(1, 4, 4, 1), jnp.bfloat16)

    def normed(x):
        if norm == "layer":
            return layers.LayerNorm().init_with_output(jax.random.key(0), x)[0]
        return layers.adaptive_instance_norm(x, jnp.zeros((1, 1)), jnp.ones((1, 1)))

    y, exact = normed(x), normed(x.astype(jnp.float32))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=1e-2)


def test_full_autoencoder_has_the_public_codes_parameters():
    net = expert_net.AdaINAutoencoder(3)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 9_779_211


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("size", [(16, 16), (32, 48)])
def test_shapes_range_and_types(dtype, size):
    net = SMALL(2, dtype=dtype)
    images = noise(3, *size, 2)
    variables = variables_lib.drawn(net.init, images)
    encode_content, encode_detail, decode = compiled(net)
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    content, detail = (
        encode_content(variables, images),
        encode_detail(variables, images),
    )
    assert content.shape == (3, size[0] // 4, size[1] // 4, 16)
    assert detail.shape == (3, 8)
    picture = decode(variables, content, detail)
    assert picture.shape == images.shape
    assert detail.dtype == picture.dtype == jnp.float32
    assert 0 <= float(picture.min()) < float(picture.max()) <= 1


def test_content_is_invariant_to_brightness_and_contrast_and_detail_is_not():
    net = SMALL(1)
    images = noise(2, 32, 32, 1)
    variables = variables_lib.drawn(net.init, images)
    encode_content, encode_detail, _ = compiled(net)
    fainter = 0.5 * images + 0.3
    content, fainter_content = (encode_content(variables, i) for i in (images, fainter))
    np.testing.assert_allclose(fainter_content, content, atol=2e-3)
    detail, fainter_detail = (encode_detail(variables, i) for i in (images, fainter))
    assert np.abs(fainter_detail - detail).max() > 0.01


def test_the_internal_range_is_minus_1_to_1():
    net = SMALL(1)
    images = jnp.full((1, 16, 16, 1), 0.5)  # the middle of the range, 0 inside
    variables = jax.tree.map(
        lambda leaf: leaf * (leaf.ndim > 1), variables_lib.drawn(net.init, images)
    )  # without biases
    detail = net.apply(variables, images, method=net.encode_detail)
    np.testing.assert_array_equal(detail, 0)
    content = jnp.zeros((1, 4, 4, 16))
    picture = net.apply(variables, content, detail, method=net.decode)
    np.testing.assert_array_equal(picture, 0.5)


def test_mean_comes_before_deviation_in_the_order_of_the_layers():
    net = SMALL(1)
    images = noise(1, 16, 16, 1)
    params = variables_lib.drawn(net.init, images)["params"]
    mlp = params["decoder"]["mlp_2"]
    values = jnp.array([-1.0, 5.0, 2.0, 3.0])  # mean and std of both convolutions
    mlp = {"kernel": jnp.zeros_like(mlp["kernel"]), "bias": jnp.repeat(values, 16)}
    params = {**params, "decoder": {**params["decoder"], "mlp_2": mlp}}
    seen = []

    def record(x, mean, std):
        seen.append((mean, std))
        return x

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "adaptive_instance_norm", record)
        net.apply({"params": params}, images)
    pairs = [(np.unique(mean), np.unique(std)) for mean, std in seen]
    assert pairs == [(-1, 5), (2, 3)]


def test_the_output_follows_the_given_detail():
    net = SMALL(1)
    images = noise(2, 16, 16, 1)
    variables = variables_lib.drawn(net.init, images)
    encode_content, encode_detail, decode = compiled(net)
    content, detail = (
        encode_content(variables, images),
        encode_detail(variables, images),
    )
    own, swapped = (decode(variables, content, d) for d in (detail, detail[::-1]))
    assert np.abs(own - swapped).max() > 1e-3
    reconstruction = jax.jit(net.apply)(variables, images)
    np.testing.assert_allclose(reconstruction, own, atol=1e-5)


def test_images_of_a_batch_are_independent():
    net = SMALL(1)
    images = noise(3, 16, 16, 1)
    variables = variables_lib.drawn(net.init, images)
    apply = jax.jit(net.apply)
    np.testing.assert_allclose(
        apply(variables, images)[:1], apply(variables, images[:1]), atol=1e-5
    )


def test_every_parameter_has_a_gradient():
    net = SMALL(1)
    images = noise(2, 16, 16, 1)
    variables = variables_lib.drawn(net.init, images)
    slopes = jax.jit(
        jax.grad(lambda v: jnp.mean(jnp.abs(net.apply(v, images) - images)))
    )(variables)
    flat = jax.tree_util.tree_leaves_with_path(slopes)
    for path, slope in flat:
        assert np.isfinite(slope).all(), path
        # The gradient of a bias before an instance norm is only a rounding error.
        normed = "bias" in str(path[-1]) and "content_encoder" in str(path)
        assert normed or np.abs(slope).max() > 0, path
