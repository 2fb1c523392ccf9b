import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import utad_tiny
from utad_tiny import step

from jax_scadn import methods
from jax_scadn.data import sources
from jax_scadn.methods.utad.expert import ExpertStage
from jax_scadn.runtime import errors
from jax_scadn.training import cache


def stage_of(**changes):
    config = utad_tiny.settings(**changes)
    stage = ExpertStage.from_config(config)
    return stage, stage.hyperparameters(config)


@pytest.fixture(scope="module")
def started():
    stage, hyper = stage_of()
    return stage, utad_tiny.fresh(stage), hyper


@pytest.fixture
def pairs(images):
    """A batch of images, with impressions that are their blurred selves."""
    blurred = (images + np.roll(images, 2, axis=2)) / 2
    return {
        "image": np.round(255 * images).astype(np.uint8),
        "impression": np.round(65535 * blurred).astype(np.uint16),
    }


def as_floats(pairs):
    return pairs["image"] / np.float32(255), pairs["impression"] / np.float32(65535)


@functools.partial(jax.jit, static_argnums=0)
def translate(stage, experts, pairs, key=None):
    return stage.translate(experts, *as_floats(pairs), key)


@functools.partial(jax.jit, static_argnums=0)
def written_out(net, experts, pairs):
    """The four L1 losses from the networks alone, before their weights."""

    def apply(domain, method, *inputs):
        return net.apply({"params": experts[domain]}, *inputs, method=method)

    image, impression = as_floats(pairs)
    image_content = apply("image", "encode_content", image)
    impression_content = apply("impression", "encode_content", impression)
    image_detail = apply("image", "encode_detail", image)
    impression_detail = apply("impression", "encode_detail", impression)
    made = apply("image", "decode", impression_content, image_detail)
    naive = apply("impression", "decode", image_content, impression_detail)

    def l1(a, b):
        return jnp.mean(jnp.abs(a - b))

    content = l1(apply("image", "encode_content", made), impression_content)
    losses = {
        "reconstruction_loss": l1(2 * made - 1, 2 * image - 1),
        "naive_impression_loss": l1(2 * naive - 1, 2 * impression - 1),
        "detail_loss": l1(apply("image", "encode_detail", made), image_detail),
        "content_loss": content
        + l1(apply("impression", "encode_content", naive), image_content),
    }
    return made, naive, losses


@pytest.mark.slow
def test_directions_swap_contents_and_losses_are_those_written_out(started, pairs):
    stage, state, hyper = started
    made, naive, losses = written_out(stage.autoencoder, state.experts, pairs)
    translated = translate(stage, state.experts, pairs)
    np.testing.assert_allclose(translated.reconstruction, made, atol=1e-5)
    np.testing.assert_allclose(translated.naive_impression, naive, atol=1e-5)
    _, metrics = step(stage, state, hyper, pairs)
    for name, value in losses.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)
    expected = (
        10 * losses["reconstruction_loss"]
        + 10 * losses["naive_impression_loss"]
        + losses["detail_loss"]
        + losses["content_loss"]
    )
    np.testing.assert_allclose(metrics["expert_loss"], expected, rtol=1e-4)


def test_the_learning_rate_is_halved_by_the_state_s_step(started, pairs):
    stage, state, hyper = started
    before = state.experts["image"]["decoder"]["output"]["conv"]["kernel"]
    for done, rate in ((0, 1e-4), (49_999, 1e-4), (50_000, 5e-5), (149_999, 2.5e-5)):
        after, _ = step(stage, state.replace(step=jnp.int32(done)), hyper, pairs)
        output = after.experts["image"]["decoder"]["output"]["conv"]["kernel"]
        # The first direction of Adam is the gradient's sign.
        np.testing.assert_allclose(np.max(np.abs(output - before)), rate, rtol=1e-2)
        assert int(after.step) == done + 1


def test_training_lowers_the_losses_of_both_directions(started, pairs):
    stage, state, hyper = started
    hyper = hyper.replace(learning_rate=jnp.float32(3e-3))
    _, history = utad_tiny.train(stage, state, hyper, pairs, 30)
    for name in ("reconstruction_loss", "naive_impression_loss"):
        utad_tiny.assert_fell(history, name, 0.8)


def test_without_guidance_details_are_noise_and_have_no_loss(started, pairs):
    _, state, _ = started
    stage, hyper = stage_of(expert__guidance="noise", preset="paper")
    after, first = step(stage, state, hyper, pairs)
    _, again = step(stage, state, hyper, pairs)
    _, later = step(stage, state.replace(step=state.step + 1), hyper, pairs)
    assert first == again
    assert first["reconstruction_loss"] != later["reconstruction_loss"]
    assert "detail_loss" not in first
    # Nobody asks the detail encoders: weight decay alone, seen by Adam as a
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
    assert len(np.unique(draws[0][:, 0])) == len(pairs["image"])


def test_without_guidance_a_score_depends_on_its_image_alone(started, pairs):
    _, state, _ = started
    stage, _ = stage_of(expert__guidance="noise")
    made = translate(stage, state.experts, pairs)
    assert len(np.unique(made.image_detail, axis=0)) == 1
    turned = {name: np.roll(value, 3, axis=0) for name, value in pairs.items()}
    again = translate(stage, state.experts, turned)
    for picture in ("reconstruction", "naive_impression"):
        expected = np.roll(getattr(made, picture), 3, axis=0)
        np.testing.assert_allclose(getattr(again, picture), expected, atol=1e-5)


def test_bfloat16_keeps_state_and_losses_float32(started, pairs):
    _, state, _ = started
    stage, hyper = stage_of(dtype="bfloat16")
    after, metrics = jax.eval_shape(stage.step, state, hyper, pairs)
    types = [jax.tree.map(lambda x: x.dtype, s) for s in (state, after)]
    assert types[0] == types[1]
    for name, value in metrics.items():
        assert name.endswith(("_loss", "_norm"))
        assert value.dtype == jnp.float32


def test_every_hyperparameter_may_differ_under_vmap(started, pairs):
    stage, state, hyper = started
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), hyper)
    step_of_three = jax.vmap(stage.step, in_axes=(None, 0, None))
    _, metrics = jax.eval_shape(step_of_three, state, stacked, pairs)
    assert {value.shape for value in metrics.values()} == {(3,)}


def test_picture_has_all_four_side_by_side(started, pairs):
    stage, state, hyper = started
    picture = jax.jit(stage.picture)(state.experts, hyper, pairs)
    made = translate(stage, state.experts, pairs)
    expected = [
        *as_floats(pairs),
        made.naive_impression,
        made.reconstruction,
    ]
    np.testing.assert_allclose(picture, np.concatenate(expected, axis=2), atol=1e-5)


# What it is trained on.


def test_it_sees_what_stage_1_makes_of_the_training_images(tmp_path):
    config = utad_tiny.settings(scoring__images_per_call=3)
    train = sources.load(config.data, 0).train.first(7)
    first, second = methods.create(config).stages
    weights = {first.folder: first.params(utad_tiny.fresh(first))}
    source = second.source(config, train, weights, tmp_path)
    assert len(source) == 7
    pixels = train.images().astype(np.float32) / 255
    expected = jax.jit(first.extract)(weights[first.folder], pixels).image_bhwc
    for index in (0, 6):
        stored = source[index]["impression"] / 65535
        np.testing.assert_allclose(stored, expected[index], atol=1e-4)
        np.testing.assert_array_equal(source[index]["image"], train[index].image)


def test_it_refuses_impressions_by_another_stage_1(tmp_path):
    config = utad_tiny.settings()
    train = sources.load(config.data, 0).train.first(4)
    first, second = methods.create(config).stages
    state = utad_tiny.fresh(first)
    second.source(config, train, {first.folder: first.params(state)}, tmp_path)
    stats = jax.tree.map(lambda x: x + 1e-3, state.batch_stats)
    other = {first.folder: first.params(state.replace(batch_stats=stats))}
    with pytest.raises(errors.UserError) as refused:
        second.source(config, train, other, tmp_path)
    message = str(refused.value)
    assert "made with other stage-1 weights" in message
    assert str(tmp_path / cache.FOLDER) in message
    assert str(tmp_path / second.folder) in message
