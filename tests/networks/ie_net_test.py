import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import variables as variables_lib

from jax_scadn.networks import ie_net, image_discriminator, latent_discriminator
from jax_scadn.networks.layers import layers

SMALL = functools.partial(ie_net.IENet, head_features=4, latent=5)
FOUR_BLOCKS = functools.partial(
    SMALL, features=(1, 1, 2, 2), decoder_features=(2, 2, 1, 1)
)
THREE_BLOCKS = functools.partial(
    SMALL,
    features=(1, 2, 2),
    pools=(2, 2, 2),
    decoder_features=(2, 2, 1),
    upsamplings=(2, 2, 2),
)


def noise(*shape, seed=0):
    return jax.random.uniform(jax.random.key(seed), shape)


def variables_of(net, images):
    return variables_lib.drawn(functools.partial(net.init, train=False), images)


def trained_pass(net, variables, images):
    apply = functools.partial(net.apply, train=True, mutable=["batch_stats"])
    return jax.jit(apply)(variables, images)


def evaluated(net, variables, images):
    return jax.jit(functools.partial(net.apply, train=False))(variables, images)


def test_batch_norm_by_hand():
    x = np.random.default_rng(0).normal(3, 2, (2, 3, 4, 2)).astype(np.float32)
    params = {"scale": jnp.array([2.0, 0.5]), "bias": jnp.array([1.0, -1.0])}
    stats = {"mean": jnp.array([1.0, 2.0]), "var": jnp.array([4.0, 9.0])}
    variables = {"params": params, "batch_stats": stats}
    norm = layers.BatchNorm()
    y, updated = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    expected = (x - mean) / np.sqrt(variance + 1e-3) * [2, 0.5] + [1, -1]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    after = updated["batch_stats"]
    unbiased = x.var((0, 1, 2), ddof=1)
    close = {"rtol": 1e-5}
    np.testing.assert_allclose(after["mean"], [0.9, 1.8] + 0.1 * mean, **close)
    np.testing.assert_allclose(after["var"], [3.6, 8.1] + 0.1 * unbiased, **close)
    y = norm.apply(variables, x, train=False)
    expected = (x - [1, 2]) / np.sqrt([4 + 1e-3, 9 + 1e-3]) * [2, 0.5] + [1, -1]
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_batch_norm_is_float32_inside():
    x = jnp.asarray(1000 + 8 * np.arange(16).reshape(1, 4, 4, 1), jnp.bfloat16)
    norm = layers.BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=False)
    apply = functools.partial(norm.apply, train=True, mutable=["batch_stats"])
    y, exact = apply(variables, x)[0], apply(variables, x.astype(jnp.float32))[0]
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=1e-2)


def test_full_net_has_the_papers_parameters():
    shapes = jax.eval_shape(
        functools.partial(ie_net.IENet(3).init, train=False),
        jax.random.key(0),
        jnp.zeros((1, 256, 256, 3)),
    )
    count = sum(x.size for x in jax.tree.leaves(shapes["params"]))
    assert count == 6_775_616


def test_order_of_the_inception_branches():
    block = ie_net.InceptionBlock(2)
    x = noise(1, 6, 6, 3)
    variables = variables_of(block, x)
    for i, branch in enumerate(("1x1", "3x3", "5x5", "pool")):
        params = dict(variables["params"])
        params[f"norm_{branch}"] = {"scale": jnp.zeros(2), "bias": jnp.full(2, 7.0)}
        y = block.apply({**variables, "params": params}, x, train=False)
        is_seven = np.all(np.asarray(y) == 7, axis=(0, 1, 2))
        np.testing.assert_array_equal(is_seven, np.arange(8) // 2 == i)


def test_receptive_field_of_each_branch():
    block = ie_net.InceptionBlock(1)
    x = noise(1, 9, 9, 2)
    variables = variables_of(block, x)

    @jax.jit
    def at_centre(x):
        return block.apply(variables, x, train=False)[0, 4, 4]

    for i, reach in enumerate((1, 3, 5)):
        slope = jax.grad(lambda x, i=i: at_centre(x)[i])(x)
        seen = np.argwhere(np.abs(slope[0]).sum(-1) > 0)
        np.testing.assert_array_equal(np.ptp(seen, axis=0) + 1, reach)
    # The pooling branch depends only on the maximum of the 3 x 3 pixels.
    rest = x.at[0, 3:6, 3:6].set(jnp.max(x[0, 3:6, 3:6], axis=(0, 1)))
    assert at_centre(rest)[3] == at_centre(x)[3]
    assert at_centre(rest)[1] != at_centre(x)[1]


@pytest.mark.parametrize(
    ("net", "size", "factor"),
    [
        (FOUR_BLOCKS, (64, 64), 64),
        (FOUR_BLOCKS, (128, 64), 64),
        (FOUR_BLOCKS, (256, 256), 64),
        (THREE_BLOCKS, (32, 32), 16),
        (THREE_BLOCKS, (64, 64), 16),
    ],
)
def test_impressions_have_the_size_of_their_images(net, size, factor):
    net = net(3)
    variables, out = jax.eval_shape(
        lambda images: (
            net.init(jax.random.key(0), images, train=False),
            net.init_with_output(jax.random.key(0), images, train=True)[0],
        ),
        jnp.zeros((2, *size, 3)),
    )
    assert out.image_bhwc.shape == (2, *size, 3)
    assert out.features_bhwc.shape == (2, size[0] // factor, size[1] // factor, 8)
    assert out.mean_bl.shape == out.log_var_bl.shape == (2, 5)
    assert set(variables) == {"params", "batch_stats"}
    assert net.multiple == factor


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_outputs_are_float32_and_images_in_range(dtype):
    net = THREE_BLOCKS(1, dtype=dtype)
    images = noise(2, 32, 32, 1)
    variables = variables_of(net, images)
    out, updated = trained_pass(net, variables, images)
    for tree in (variables, updated, out):
        assert {x.dtype for x in jax.tree.leaves(tree)} == {jnp.dtype("float32")}
    assert 0 <= float(out.image_bhwc.min()) < float(out.image_bhwc.max()) <= 1
    exact, _ = trained_pass(THREE_BLOCKS(1), variables, images)
    np.testing.assert_allclose(out.image_bhwc, exact.image_bhwc, atol=0.1)


def test_statistics_move_in_training_and_images_are_independent_in_evaluation():
    net = THREE_BLOCKS(1)
    images = noise(3, 32, 32, 1)
    variables = variables_of(net, images)
    _, updated = trained_pass(net, variables, images)
    before, after = (jax.tree.leaves(v["batch_stats"]) for v in (variables, updated))
    for a, b in zip(before, after, strict=True):
        assert np.all(a != b)
    variables = {**variables, **updated}
    both, single = (evaluated(net, variables, i) for i in (images, images[:1]))
    for a, b in zip(both, single, strict=True):
        np.testing.assert_allclose(a[:1], b, atol=1e-5)
    both, single = (trained_pass(net, variables, i)[0] for i in (images, images[:1]))
    assert np.abs(both.image_bhwc[:1] - single.image_bhwc).max() > 1e-3


def test_every_parameter_has_a_gradient():
    net = THREE_BLOCKS(1)
    images = noise(4, 32, 32, 1)
    variables = variables_of(net, images)

    @jax.jit
    @jax.grad
    def slopes(params):
        out, _ = net.apply(
            {**variables, "params": params}, images, train=True, mutable=["batch_stats"]
        )
        z = jnp.sum(jnp.square(out.mean_bl - 1)) + jnp.sum(jnp.exp(out.log_var_bl))
        return z + jnp.sum(jnp.square(out.image_bhwc - images))

    for slope in jax.tree.leaves(slopes(variables["params"])):
        assert np.isfinite(slope).all()
        assert np.abs(slope).max() > 0


def test_wrong_sizes_and_factors_are_refused():
    with pytest.raises(ValueError, match=r"\(1, 64, 96, 1\).* multiples of 64"):
        FOUR_BLOCKS(1).init(jax.random.key(0), jnp.zeros((1, 64, 96, 1)), train=False)
    net = SMALL(1, upsamplings=(2, 2, 2, 2))
    with pytest.raises(ValueError, match="must have equal products"):
        net.init(jax.random.key(0), jnp.zeros((1, 64, 64, 1)), train=False)


def test_latent_discriminator_by_hand():
    net = latent_discriminator.LatentDiscriminator(width=3)
    pairs = noise(2, 4, 6) - 0.5
    variables = variables_lib.drawn(net.init, pairs)
    x = np.asarray(pairs)
    for i in range(4):
        layer = variables["params"][f"linear_{i}"]
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        x = x if i == 3 else np.maximum(x, 0)
    logits = net.apply(variables, pairs)
    assert logits.shape == (2, 4)
    np.testing.assert_allclose(logits, x[..., 0], rtol=1e-5, atol=1e-6)
    assert net.apply(variables, pairs[:, 0]).shape == (2,)


def test_latent_discriminator_returns_float32():
    net = latent_discriminator.LatentDiscriminator(width=3, dtype=jnp.bfloat16)
    pairs = noise(2, 6)
    logits = net.apply(variables_lib.drawn(net.init, pairs), pairs)
    assert logits.dtype == jnp.float32


def test_image_discriminator_scores_every_scale():
    net = image_discriminator.MultiScaleDiscriminator(width=4)
    images = noise(2, 64, 96, 3)
    variables = variables_lib.drawn(net.init, images)
    scores = jax.jit(net.apply)(variables, images)
    shapes = [s.shape for s in scores]
    assert shapes == [(2, 4, 6, 4), (2, 2, 3, 4), (2, 1, 1, 4)]
    # The first scale is the net on the image itself, the second on its half.
    half = image_discriminator._halve(images)
    patch = image_discriminator.PatchDiscriminator(width=4)
    for name, x, expected in zip(
        ("scale_0", "scale_1"), (images, half), scores[:2], strict=True
    ):
        y = patch.apply({"params": variables["params"][name]}, x)
        np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_halving_ignores_pixels_outside_the_image():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    # 3 x 3 around (0, 0), (0, 2), (2, 0), (2, 2).
    expected = [[np.mean([0, 1, 4, 5]), np.mean([1, 2, 3, 5, 6, 7])]]
    expected.append([np.mean([4, 5, 8, 9, 12, 13]), 10.0])
    halved = image_discriminator._halve(x)[0, ..., 0]
    np.testing.assert_allclose(halved, expected, rtol=1e-6)


def test_images_too_small_for_the_scales_are_refused():
    net = image_discriminator.MultiScaleDiscriminator(width=4)
    with pytest.raises(ValueError, match=r"\(1, 32, 32, 3\): 3 scales need 64"):
        net.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
    two = image_discriminator.MultiScaleDiscriminator(width=4, scales=2)
    scores, _ = jax.eval_shape(
        two.init_with_output, jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    assert [s.shape for s in scores] == [(1, 2, 2, 4), (1, 1, 1, 4)]
