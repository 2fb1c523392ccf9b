import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import utad_tiny
from conftest import assert_trees_equal
from utad_tiny import assert_trees_close, step

from jax_scadn.losses import mutual_information
from jax_scadn.methods.utad.impression import ImpressionStage, total_loss
from jax_scadn.training import protocol


@pytest.fixture
def images():
    return utad_tiny.images()


@pytest.fixture
def smooth_images():
    """Eight different patterns of large squares, (8, 32, 32, 1)."""
    values = np.random.default_rng(0).random((8, 4, 4, 1), np.float32)
    return np.kron(values, np.ones((1, 8, 8, 1), np.float32))


def stage_of(**changes):
    config = utad_tiny.settings(**changes)
    stage = ImpressionStage.from_config(config)
    return stage, stage.hyperparameters(config)


@pytest.fixture(scope="module")
def started():
    stage, hyper = stage_of()
    return stage, utad_tiny.fresh(stage), hyper


@functools.partial(jax.jit, static_argnums=0)
def gradients(stage, state, hyper, images):
    grads = stage.gradients(state, hyper, images, key_of(state))
    return grads.ie_net, grads.discriminators


def key_of(state, seed=0):
    """The random key of the next step of a run with that seed."""
    return jax.random.fold_in(jax.random.key(seed), state.step)


@jax.jit
def written_out(state, hyper, images):
    """Both losses as in the papers, directly from the networks, and their gradients."""
    stage, _ = stage_of()
    key = key_of(state)

    def forward(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        outputs, _ = stage.ie_net.apply(
            variables, images, train=True, mutable=["batch_stats"]
        )
        return outputs

    def bound(t, pairs_of, outputs):
        noise = jax.random.normal(key, outputs.mean_bl.shape)
        z = outputs.mean_bl + jnp.exp(outputs.log_var_bl / 2) * noise
        features = outputs.features_bhwc
        other = jnp.concatenate([features[-1:], features[:-1]])
        logits = functools.partial(stage.latent_discriminator.apply, {"params": t})
        joint = jax.nn.sigmoid(logits(pairs_of(features, z)))
        product = jax.nn.sigmoid(logits(pairs_of(other, z)))
        return -jnp.mean(jnp.log(joint)) - jnp.mean(jnp.log(1 - product))

    def bounds(discriminators, outputs):
        return (
            bound(discriminators["local"], mutual_information.local_pairs, outputs),
            bound(discriminators["global"], mutual_information.global_pairs, outputs),
        )

    def scores(discriminators, pictures):
        variables = {"params": discriminators["image"]}
        return stage.image_discriminator.apply(variables, pictures)

    def ie_net_loss(params):
        outputs = forward(params)
        local, global_ = bounds(state.discriminators, outputs)
        mean, log_var = outputs.mean_bl, outputs.log_var_bl
        kl = -0.5 * (1 + log_var - mean**2 - jnp.exp(log_var))
        fake = scores(state.discriminators, outputs.image_bhwc)
        return (
            hyper.reconstruction_weight * jnp.mean((outputs.image_bhwc - images) ** 2)
            + hyper.local_weight * local
            + hyper.global_weight * global_
            + hyper.kl_weight * jnp.mean(kl)
            + hyper.image_gan_weight * sum(jnp.mean((s - 1) ** 2) for s in fake)
        )

    def discriminators_loss(discriminators):
        outputs = forward(state.ie_net)
        real = scores(discriminators, images)
        fake = scores(discriminators, outputs.image_bhwc)
        return sum(bounds(discriminators, outputs)) + sum(
            jnp.mean((r - 1) ** 2) + jnp.mean(f**2)
            for r, f in zip(real, fake, strict=True)
        )

    loss, grads = jax.value_and_grad(ie_net_loss)(state.ie_net)
    return loss, grads, jax.grad(discriminators_loss)(state.discriminators)


@pytest.mark.slow
def test_gradients_are_those_of_the_losses_written_out(started, images):
    stage, state, hyper = started
    loss, expected, expected_d = written_out(state, hyper, images)
    ours, ours_d = gradients(stage, state, hyper, images)
    assert_trees_close(ours, expected, rtol=1e-3, atol=1e-4)
    assert_trees_close(ours_d, expected_d, rtol=1e-3, atol=1e-5)
    _, metrics = step(stage, state, hyper, images)
    np.testing.assert_allclose(metrics["ie_net_loss"], loss, rtol=1e-5)


def test_total_loss_by_hand(started):
    _, _, hyper = started
    np.testing.assert_allclose(total_loss(hyper, 2.0, 0.5, 3.0), 2 + 50 + 0.3)


def test_the_bounds_start_at_2_log_2(started, images):
    """An untrained T cannot tell pairs apart, whatever the features are."""
    stage, state, hyper = started
    _, metrics = step(stage, state, hyper, images)
    for name in ("local_loss", "global_loss"):
        np.testing.assert_allclose(metrics[name], 2 * math.log(2), rtol=0.02)


def test_each_learning_rate_moves_its_own_networks_only(started, images):
    stage, state, hyper = started
    for frozen, same, other in (
        ("learning_rate", "ie_net", "discriminators"),
        ("discriminator_learning_rate", "discriminators", "ie_net"),
    ):
        still = hyper.replace(**{frozen: jnp.zeros(())})
        after, _ = step(stage, state, still, images)
        assert_trees_equal(getattr(after, same), getattr(state, same))
        assert utad_tiny.moved(getattr(after, other), getattr(state, other))


def test_mutual_information_moves_t_fully_and_the_encoder_by_its_weights(
    started, images
):
    stage, state, hyper = started
    zero = jnp.zeros(())
    without = hyper.replace(local_weight=zero, global_weight=zero)
    encoder, discriminators = gradients(stage, state, hyper, images)
    unmoved, same = gradients(stage, state, without, images)
    assert_trees_equal(discriminators, same)
    assert utad_tiny.moved(encoder["encoder_0"], unmoved["encoder_0"])
    # The decoder does not affect the mutual information.
    assert_trees_close(encoder["decoder_1"], unmoved["decoder_1"])
    # T's own loss has no gradient in the encoder.
    nothing = jax.tree.map(jnp.zeros_like, hyper)
    grads, _ = gradients(stage, state, nothing, images)
    assert_trees_equal(grads, jax.tree.map(jnp.zeros_like, grads))


def test_sgd_has_momentum_and_decay_on_every_weight(started, images):
    stage, state, hyper = started
    # Rates that are large enough to show a decay of 1e-4.
    hyper = hyper.replace(
        learning_rate=jnp.float32(1.0), discriminator_learning_rate=jnp.float32(2.0)
    )
    first = gradients(stage, state, hyper, images)
    after, _ = step(stage, state, hyper, images)
    second = gradients(stage, after, hyper, images)
    twice, _ = step(stage, after, hyper, images)
    for name, rate, g_1, g_2 in (
        ("ie_net", 1.0, first[0], second[0]),
        ("discriminators", 2.0, first[1], second[1]),
    ):

        def by_hand(w, g_1, g_2, rate=rate):
            velocity = g_1 + 1e-4 * w
            w = w - rate * velocity
            velocity = 0.9 * velocity + g_2 + 1e-4 * w
            return w - rate * velocity

        expected = jax.tree.map(by_hand, getattr(state, name), g_1, g_2)
        assert_trees_close(getattr(twice, name), expected, rtol=1e-5, atol=1e-5)


def test_a_step_moves_the_batch_statistics_and_inference_uses_them(started, images):
    stage, state, hyper = started
    after, _ = step(stage, state, hyper, images)
    assert utad_tiny.moved(after.batch_stats, state.batch_stats)
    extract = jax.jit(stage.extract)
    earlier = after.replace(batch_stats=state.batch_stats)
    now, before = (
        extract(stage.result(s), images).image_bhwc for s in (after, earlier)
    )
    assert utad_tiny.moved(now, before)


def test_the_codes_noise_follows_seed_and_step(started, images):
    stage, state, hyper = started
    _, first = step(stage, state, hyper, images)
    _, again = step(stage, state, hyper, images)
    _, later = step(stage, state.replace(step=state.step + 1), hyper, images)
    _, other = step(stage, state, hyper, images, seed=1)
    assert first == again
    assert first["reconstruction_loss"] == later["reconstruction_loss"]
    assert first["local_loss"] != later["local_loss"]
    assert first["local_loss"] != other["local_loss"]


def test_the_autoencoder_learns(started, smooth_images):
    stage, state, hyper = started
    state, history = utad_tiny.train(
        lambda state: step(stage, state, hyper, smooth_images), state, 100
    )
    assert int(state.step) == 100
    utad_tiny.assert_fell(history, "reconstruction_loss", 0.2)


def test_t_learns_to_tell_pairs_apart(started, smooth_images):
    stage, state, hyper = started
    hyper = hyper.replace(
        learning_rate=jnp.zeros(()), discriminator_learning_rate=jnp.float32(0.03)
    )
    history = []
    for _ in range(150):  # always on the same codes
        state, metrics = step(
            stage, state.replace(step=0 * state.step), hyper, smooth_images
        )
        history.append(metrics)
    for name in ("local_loss", "global_loss"):
        utad_tiny.assert_fell(history, name, 0.8)


def test_the_encoder_learns_what_t_can_tell(started, smooth_images):
    stage, state, hyper = started

    def decided(t):
        """Scales the logits of T away from 0."""
        return t | {"linear_3": jax.tree.map(lambda x: 50 * x, t["linear_3"])}

    discriminators = state.discriminators | {
        name: decided(state.discriminators[name]) for name in ("local", "global")
    }
    state = state.replace(discriminators=discriminators)
    hyper = hyper.replace(
        local_weight=jnp.float32(10.0),
        global_weight=jnp.float32(10.0),
        discriminator_learning_rate=jnp.zeros(()),
    )
    _, history = utad_tiny.train(
        lambda state: step(stage, state, hyper, smooth_images), state, 200
    )
    for name in ("local_loss", "global_loss"):
        share = [metrics[name] / (2 * math.log(2)) for metrics in history[-5:]]
        assert np.mean(share) < 0.9, name


def test_losses_without_a_weight_are_left_out(images):
    stage, hyper = stage_of(
        preset="paper", impression__local_weight=0.0, impression__global_weight=0.0
    )
    state = utad_tiny.fresh(stage)
    assert state.discriminators == {}
    _, metrics = step(stage, state, hyper, images)
    assert set(metrics) == {
        "ie_net_loss",
        "reconstruction_loss",
        "kl_loss",
        "ie_net_gradient_norm",
    }
    expected = 100 * metrics["reconstruction_loss"] + 0.1 * metrics["kl_loss"]
    np.testing.assert_allclose(metrics["ie_net_loss"], expected, rtol=1e-5)


def test_bfloat16_keeps_state_and_losses_float32(started, images):
    _, state, _ = started
    stage, hyper = stage_of(dtype="bfloat16")
    after, metrics = jax.eval_shape(
        functools.partial(step, stage), state, hyper, images
    )
    types = [jax.tree.map(lambda x: x.dtype, s) for s in (state, after)]
    assert types[0] == types[1]
    for name, value in metrics.items():
        assert name.endswith(("_loss", "_norm"))
        assert value.dtype == jnp.float32


def test_every_hyperparameter_may_differ_under_vmap(started, images):
    stage, state, hyper = started
    stacked = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), hyper)
    step_of_three = jax.vmap(functools.partial(step, stage), in_axes=(None, 0, None))
    _, metrics = jax.eval_shape(step_of_three, state, stacked, images)
    assert {value.shape for value in metrics.values()} == {(3,)}


def test_preview_shows_images_and_impressions_side_by_side(started, images):
    stage, state, hyper = started
    result = stage.result(state)
    preview = stage.preview(result, hyper, protocol.EMPTY, {"image": images})
    assert preview.shape == (8, 32, 64, 1)
    np.testing.assert_allclose(preview[:, :, :32], images, atol=1e-6)
    impressions = jax.jit(stage.extract)(result, images).image_bhwc
    np.testing.assert_allclose(preview[:, :, 32:], impressions, atol=1e-5)
