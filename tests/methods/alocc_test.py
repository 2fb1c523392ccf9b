"""ALOCC: losses of a step, the order of its updates, and both scores."""

import jax
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.training import learners, protocol

SIZE = 16


def create(preset):
    config = methods.default("alocc")
    config.preset = preset
    config.data.size = SIZE
    config.data.channels = 1
    config.model.width = config.model.discriminator_width = 2
    config = methods.resolve(config)
    method = methods.create(config)
    return method, method.alocc.hyperparameters(config, 1)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((4, SIZE, SIZE, 1), np.float32)


def softplus(x):
    return np.logaddexp(0, x)


def test_a_step(images, monkeypatch):
    """D's update first, then two of R; their losses are those of the equations."""
    method, hyper = create("dr")
    stage = method.alocc
    state = jax.jit(lambda key: stage.init(key, protocol.EMPTY, {}))(jax.random.key(0))
    key = jax.random.key(1)
    updated, descend = [], learners.descend

    def recorded(learner, *arguments):
        updated.append("kernel" in learner.params.get("logit", {}))
        return descend(learner, *arguments)

    monkeypatch.setattr(learners, "descend", recorded)

    @jax.jit
    def step(state):
        after, metrics = stage.step(
            state, hyper, protocol.EMPTY, key, {"image": images}
        )
        r, d = state.learners["r"], state.learners["d"]
        noisy = images + 0.155 * jax.random.normal(key, images.shape)
        output, _ = learners.forward(
            stage.reconstructor, r.params, r.batch_stats, noisy
        )
        logits = [
            learners.forward(stage.discriminator, d.params, d.batch_stats, x)[0]
            for x in (images, output)
        ]
        return after, metrics, logits

    after, metrics, (real, fake) = step(state)
    assert updated == [True, False, False]
    expected = softplus(-np.asarray(real)).mean() + softplus(np.asarray(fake)).mean()
    np.testing.assert_allclose(metrics["discriminator_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        metrics["reconstructor_loss"],
        metrics["adversarial_loss"] + 0.2 * metrics["reconstruction_loss"],
        rtol=1e-5,
    )
    assert after.step == 1


@pytest.mark.parametrize(("preset", "title"), [("d", "ALOCC D"), ("dr", "ALOCC DR")])
def test_the_score_is_minus_the_logit(images, preset, title):
    method, _ = create(preset)
    assert method.title == title
    stage = method.alocc

    @jax.jit
    def scores(key):
        trained = stage.result(stage.init(key, protocol.EMPTY, {}))
        seen = images if preset == "d" else stage.reconstruct(trained, images)
        logits = stage.discriminator.apply(trained["d"], seen, train=False)
        scored = method.select({}, method.maps({"alocc": trained}, images))
        assert scored.maps is None
        return scored.scores, logits

    ours, logits = scores(jax.random.key(0))
    np.testing.assert_allclose(ours, -logits, rtol=1e-6)
    assert np.std(ours) > 0


def test_both_scores_are_of_one_training():
    (first, _), (second, _) = create("d"), create("dr")
    assert first.stages == second.stages
    assert methods.fields("alocc")["preset"].seen_by == "scoring"
