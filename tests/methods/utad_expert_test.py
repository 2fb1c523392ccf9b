import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import utad_tiny
from conftest import assert_trees_equal
from jax import flatten_util

from jax_scadn import methods
from jax_scadn.methods.utad.expert import ExpertStage
from jax_scadn.runtime import sharding
from jax_scadn.training import loop, protocol, vectorized


def stage_of(**changes):
    config = utad_tiny.settings(**changes)
    stage = ExpertStage.from_config(config)
    return stage, stage.hyperparameters(config)


@pytest.fixture(scope="module")
def started():
    stage, hyper = stage_of()
    return stage, utad_tiny.fresh(stage), hyper


@pytest.fixture
def images():
    return utad_tiny.images()


@pytest.fixture
def pairs(images):
    """Images, and blurred copies of them as impressions."""
    return images, (images + np.roll(images, 2, axis=2)) / 2


@functools.partial(jax.jit, static_argnums=0)
def update(stage, state, hyper, pairs):
    """One update with given impressions, with the key of its step."""
    key = jax.random.fold_in(jax.random.key(0), state.step)
    return stage.update(state, hyper, *pairs, key)


@functools.partial(jax.jit, static_argnums=0)
def translate(stage, experts, pairs, key=None):
    return stage.translate(experts, *pairs, key)


@functools.partial(jax.jit, static_argnums=0)
def written_out(net, experts, pairs):
    """The four unweighted L1 losses, computed directly from the networks."""

    def apply(domain, method, *inputs):
        return net.apply({"params": experts[domain]}, *inputs, method=method)

    image, impression = pairs
    image_content = apply("image", "encode_content", image)
    impression_content = apply("impression", "encode_content", impression)
    image_detail = apply("image", "encode_detail", image)
    impression_detail = apply("impression", "encode_detail", impression)
    reconstruction = apply("image", "decode", impression_content, image_detail)
    naive = apply("impression", "decode", image_content, impression_detail)

    def l1(a, b):
        return jnp.mean(jnp.abs(a - b))

    content = l1(apply("image", "encode_content", reconstruction), impression_content)
    losses = {
        "reconstruction_loss": l1(2 * reconstruction - 1, 2 * image - 1),
        "naive_impression_loss": l1(2 * naive - 1, 2 * impression - 1),
        "detail_loss": l1(
            apply("image", "encode_detail", reconstruction), image_detail
        ),
        "content_loss": content
        + l1(apply("impression", "encode_content", naive), image_content),
    }
    return reconstruction, naive, losses


@pytest.mark.slow
def test_directions_swap_contents_and_losses_are_those_written_out(started, pairs):
    stage, state, hyper = started
    net, experts = stage.autoencoder, state.experts
    reconstruction, naive, losses = written_out(net, experts, pairs)
    translated = translate(stage, experts, pairs)
    np.testing.assert_allclose(translated.reconstruction, reconstruction, atol=1e-5)
    np.testing.assert_allclose(translated.naive_impression, naive, atol=1e-5)
    _, metrics = update(stage, state, hyper, pairs)
    for name, value in losses.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
    expected = (
        10 * losses["reconstruction_loss"]
        + 10 * losses["naive_impression_loss"]
        + losses["detail_loss"]
        + losses["content_loss"]
    )
    np.testing.assert_allclose(metrics["expert_loss"], expected, rtol=1e-4)


def test_the_learning_rate_is_halved_by_the_states_step(started, pairs):
    stage, state, hyper = started
    before = state.experts["image"]["decoder"]["output"]["conv"]["kernel"]
    for done, rate in ((0, 1e-4), (49_999, 1e-4), (50_000, 5e-5), (149_999, 2.5e-5)):
        after, _ = update(stage, state.replace(step=jnp.int32(done)), hyper, pairs)
        output = after.experts["image"]["decoder"]["output"]["conv"]["kernel"]
        # Adam's first update is along the gradient's sign.
        np.testing.assert_allclose(np.max(np.abs(output - before)), rate, rtol=1e-2)
        assert int(after.step) == done + 1


def test_training_lowers_the_losses_of_both_directions(started, pairs):
    stage, state, hyper = started
    hyper = hyper.replace(learning_rate=jnp.float32(3e-3))
    _, history = utad_tiny.train(
        lambda state: update(stage, state, hyper, pairs), state, 30
    )
    for name in ("reconstruction_loss", "naive_impression_loss"):
        utad_tiny.assert_fell(history, name, 0.8)


def test_without_guidance_details_are_noise_and_have_no_loss(started, pairs):
    _, state, _ = started
    stage, hyper = stage_of(expert__guidance="noise", preset="paper")
    after, first = update(stage, state, hyper, pairs)
    _, again = update(stage, state, hyper, pairs)
    _, later = update(stage, state.replace(step=state.step + 1), hyper, pairs)
    assert first == again
    assert first["reconstruction_loss"] != later["reconstruction_loss"]
    assert "detail_loss" not in first
    # The detail encoders are unused: only weight decay, which Adam treats as a
    # gradient, moves them towards zero.
    for domain in ("image", "impression"):
        old, new = (s.experts[domain]["detail_encoder"] for s in (state, after))

        def decayed(w, v):
            large = np.abs(w) > 0.01  # Adam's eps slows smaller ones
            np.testing.assert_allclose((v - w)[large], -1e-4 * np.sign(w[large]), 0.03)

        jax.tree.map(decayed, old, new)


def test_without_guidance_each_training_image_has_its_own_noise(started, pairs):
    _, state, _ = started
    stage, _ = stage_of(expert__guidance="noise")
    keys = [jax.random.key(k) for k in (1, 1, 2)]
    draws = [translate(stage, state.experts, pairs, k).image_detail for k in keys]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert np.all(draws[0] != draws[2])
    assert len(np.unique(draws[0][:, 0])) == len(pairs[0])


def test_without_guidance_a_score_depends_only_on_its_image(started, pairs):
    _, state, _ = started
    stage, _ = stage_of(expert__guidance="noise")
    translated = translate(stage, state.experts, pairs)
    assert len(np.unique(translated.image_detail, axis=0)) == 1
    rolled = tuple(np.roll(value, 3, axis=0) for value in pairs)
    again = translate(stage, state.experts, rolled)
    for picture in ("reconstruction", "naive_impression"):
        expected = np.roll(getattr(translated, picture), 3, axis=0)
        np.testing.assert_allclose(getattr(again, picture), expected, atol=1e-5)


def test_bfloat16_keeps_state_and_losses_float32(started, pairs):
    _, state, _ = started
    stage, hyper = stage_of(dtype="bfloat16")
    after, metrics = jax.eval_shape(
        functools.partial(update, stage), state, hyper, pairs
    )
    types = [jax.tree.map(lambda x: x.dtype, s) for s in (state, after)]
    assert types[0] == types[1]
    for name, value in metrics.items():
        assert name.endswith(("_loss", "_norm"))
        assert value.dtype == jnp.float32


def test_every_hyperparameter_may_differ_under_vmap(started, pairs):
    stage, state, hyper = started
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), hyper)
    three = jax.vmap(functools.partial(update, stage), in_axes=(None, 0, None))
    _, metrics = jax.eval_shape(three, state, stacked, pairs)
    assert {value.shape for value in metrics.values()} == {(3,)}


# Impressions, which each step computes with the frozen weights of stage 1.


@functools.cache
def two_stages():
    """Both stages, the second's hyperparameters, and two results of the first."""
    config = utad_tiny.settings()
    first, second = methods.create(config).stages
    results = [first.result(utad_tiny.fresh(first, seed)) for seed in (0, 1)]
    return first, second, second.hyperparameters(config), results


def context_of(result):
    return protocol.Context({}, {"impression": result})


@pytest.fixture
def pixels(images):
    return np.round(255 * images).astype(np.uint8)


@functools.partial(jax.jit, static_argnums=0)
def extract(first, result, images):
    """Impressions with the running statistics."""
    return first.ie_net.apply(result, images, train=False).image_bhwc


def trained(stage, state, hyper, result, pixels):
    """One update by the training loop, which donates the state."""
    context, seed = context_of(result), np.uint32(0)
    state = jax.tree.map(jnp.copy, state)
    return loop.train_step(stage, state, hyper, context, seed, {"image": pixels})


def test_a_step_sees_the_impressions_of_the_earlier_stage(pixels):
    first, second, hyper, results = two_stages()
    state = utad_tiny.fresh(second)
    images = pixels / np.float32(255)
    impressions = [extract(first, result, images) for result in results]
    assert np.max(np.abs(impressions[0] - impressions[1])) > 1e-3
    # Adam's first step shows only the signs of the gradients: compare its moments.
    moments, expected_moments = [], []
    for result, expected_impressions in zip(results, impressions, strict=True):
        after, metrics = trained(second, state, hyper, result, pixels)
        expected = update(second, state, hyper, (images, expected_impressions))
        utad_tiny.assert_trees_close(metrics, expected[1])
        moments.append(flatten_util.ravel_pytree(after.optimizer)[0])
        expected_moments.append(flatten_util.ravel_pytree(expected[0].optimizer)[0])
    for seed, other in ((0, 1), (1, 0)):
        norm = np.linalg.norm(expected_moments[seed])
        assert np.linalg.norm(moments[seed] - expected_moments[seed]) < 1e-3 * norm
        assert np.linalg.norm(moments[seed] - expected_moments[other]) > 1e-2 * norm


def test_the_step_and_scoring_see_the_same_impressions(images):
    first, second, hyper, results = two_stages()
    experts = utad_tiny.fresh(second).experts
    variables = {"frozen": {}, "impression": results[0], "expert": experts}
    method = methods.create(utad_tiny.settings())
    scored = jax.jit(method.maps)(variables, images).pictures["impression"][:, 0]
    preview = jax.jit(second.preview)(
        experts, hyper, context_of(results[0]), {"image": images}
    )
    seen = preview[:, :, 32:64]
    np.testing.assert_allclose(seen, scored, atol=1e-5)
    np.testing.assert_allclose(seen, extract(first, results[0], images), atol=1e-5)


def test_training_never_changes_the_earlier_stage(pixels):
    _, second, hyper, (result, _) = two_stages()
    before = jax.tree.map(np.array, result)
    state = utad_tiny.fresh(second)
    for _ in range(3):
        state, _ = trained(second, state, hyper, result, pixels)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(result))
    assert_trees_equal(result, before)


@pytest.mark.slow
def test_stacked_variants_use_their_own_earlier_stage(pixels):
    """Two variants that differ only in the weights of stage 1."""
    _, second, hyper, results = two_stages()
    state = utad_tiny.fresh(second)
    mesh, count = sharding.variant_mesh(2)
    assert count == 2
    _, metrics = vectorized.train_steps(
        second,
        mesh,
        vectorized.stack([state, state]),
        vectorized.stack([hyper, hyper]),
        {},
        vectorized.stack([context_of(result).earlier for result in results]),
        np.zeros(2, np.uint32),
        vectorized.stack([{"image": pixels}] * 2),
        np.ones(2, bool),
    )
    assert np.abs(np.diff(metrics["naive_impression_loss"])) > 1e-3
    for number, result in enumerate(results):
        _, expected = trained(second, state, hyper, result, pixels)
        ours = {name: value[number] for name, value in metrics.items()}
        utad_tiny.assert_trees_close(ours, expected)


def test_preview_shows_all_four_side_by_side(images):
    first, second, hyper, (result, _) = two_stages()
    experts = utad_tiny.fresh(second).experts
    batch = {"image": images}
    preview = jax.jit(second.preview)(experts, hyper, context_of(result), batch)
    impressions = extract(first, result, images)
    translated = translate(second, experts, (images, impressions))
    expected = [
        images,
        impressions,
        translated.naive_impression,
        translated.reconstruction,
    ]
    np.testing.assert_allclose(preview, np.concatenate(expected, axis=2), atol=1e-5)
