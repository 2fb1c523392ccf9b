"""Deep SVDD's normalisation, centre, score and learning rate, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.methods import deep_svdd
from jax_scadn.runtime import errors
from jax_scadn.training import protocol

SIZE = 8
STRIPES = np.float32([[[[0], [1]], [[0], [1]]]])  # (1, 2, 2, 1)


@pytest.fixture
def method():
    config = methods.default("deep_svdd")
    config.data.size = SIZE
    config.data.channels = 1
    return methods.create(methods.resolve(config))


def test_contrast_is_of_mean_0_and_mean_absolute_value_1():
    np.testing.assert_allclose(
        deep_svdd.contrast(STRIPES * 0.3 + 0.2), STRIPES * 2 - 1, rtol=1e-5
    )
    assert not np.any(deep_svdd.contrast(np.full((1, 2, 2, 1), 0.7, np.float32)))


def test_normalised_training_images_are_from_0_to_1(method):
    contrast, *_ = method.stages
    images = np.random.default_rng(0).random((6, 4, 4, 1), np.float32)
    parts = [images[:4], images[4:]]
    features = [contrast.features(protocol.EMPTY, {"image": x}) for x in parts]
    limits = contrast.solve(jax.random.key(0), iter(jax.device_get(features)))
    normalised = deep_svdd.normalise(limits, images)
    np.testing.assert_allclose([normalised.min(), normalised.max()], [0, 1], atol=1e-6)


def test_the_centre_is_the_mean_and_not_near_0(method):
    _, _, centre, _ = method.stages
    codes = [np.float32([[0, -0.3, 0.02, 4]]), np.float32([[0, 0.2, 0.1, 0]] * 2)]
    solved = centre.solve(jax.random.key(0), iter(codes))["centre"]
    # Means 0, 0.1 / 3, 0.22 / 3 and 4 / 3.
    np.testing.assert_allclose(solved, [0.1, 0.1, 0.1, 4 / 3], rtol=1e-6)
    snapped = deep_svdd.snapped(np.array([-0.05, 0.05, -0.1, 0.3, -2]))
    np.testing.assert_array_equal(snapped, [-0.1, 0.1, -0.1, 0.3, -2])


def test_the_score_is_the_squared_distance(method, monkeypatch):
    codes = np.float32([[1, 2], [0, -1]])
    monkeypatch.setattr(deep_svdd.Method, "embeddings", lambda *_: codes)
    maps = method.maps({"centre": {"centre": np.float32([1, 0])}}, STRIPES)
    scored = method.select({}, maps)
    np.testing.assert_array_equal(scored.scores, [4, 2])
    assert scored.maps is None


@pytest.fixture
def context(method):
    """Results of the stages before the last."""
    _, pretraining, *_ = method.stages
    state = pretraining.init(jax.random.key(0), protocol.EMPTY, {})
    earlier = {
        "contrast": {"low": jnp.float32(-2), "high": jnp.float32(2)},
        "autoencoder": pretraining.result(state),
        "centre": {"centre": jnp.full(32, 0.5)},
    }
    return protocol.Context({}, earlier)


def test_the_encoder_starts_from_the_autoencoder(method, context):
    svdd = method.stages[-1]
    result = svdd.result(svdd.init(jax.random.key(1), context, {}))
    pretrained = context.earlier["autoencoder"]
    for collection in ("params", "batch_stats"):
        expected = pretrained[collection]["encoder"]
        jax.tree.map(np.testing.assert_array_equal, result[collection], expected)


def test_the_rate_is_a_tenth_from_the_milestone_on(method, context):
    svdd = method.stages[-1]
    state = svdd.init(jax.random.key(1), context, {})
    images = np.random.default_rng(0).random((4, SIZE, SIZE, 1), np.float32)

    @jax.jit
    def moved(milestone):
        hyper = {"learning_rate": jnp.float32(1e-2), "milestone": milestone}
        after, _ = svdd.step(state, hyper, context, None, {"image": images})
        before = svdd.result(state)["params"]["code"]["kernel"]
        return svdd.result(after)["params"]["code"]["kernel"] - before

    first, tenth = moved(jnp.float32(1)), moved(jnp.float32(0))
    assert np.abs(first).max() > 5e-3
    np.testing.assert_allclose(tenth, first / 10, atol=1e-6)


@pytest.mark.parametrize(("network", "multiple"), [("mnist", 4), ("cifar10", 8)])
def test_other_sizes_are_refused(network, multiple):
    config = methods.default("deep_svdd")
    config.model.network = network
    config.data.size = 30
    with pytest.raises(errors.UserError, match=f"must be a multiple of {multiple}"):
        methods.resolve(config)


def test_presets():
    epochs = {}
    for preset in ("mnist", "cifar10"):
        config = methods.default("deep_svdd")
        config.preset = preset
        config.data.size = 32
        config = methods.resolve(config)
        epochs[preset] = (config.pretraining.epochs, config.training.epochs)
        assert methods.create(config).title == "DSVDD"
    assert epochs == {"mnist": (150, 150), "cifar10": (350, 150)}
