"""GANomaly and Skip-GANomaly: generator losses and scores, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.methods import ganomaly as ganomaly_method
from jax_scadn.methods import skip_ganomaly
from jax_scadn.networks import ganomaly
from jax_scadn.runtime import errors
from jax_scadn.training import adversarial, protocol

IMAGES = np.float32([[[[0.5], [1.0]]], [[[0.0], [0.5]]]])  # (2, 1, 2, 1)
REAL = np.float32([[[[1, 2]]], [[[3, 4]]]])  # features
FAKE = np.float32([[[[1, 0]]], [[[3, 0]]]])


def loss_of(name, monkeypatch):
    """The generator's loss that a step gives `adversarial.update`."""
    config = methods.resolve(methods.default(name))
    (stage,) = methods.create(config).stages
    given = []
    monkeypatch.setattr(
        adversarial, "update", lambda *values, **_: given.extend(values)
    )
    hyper = stage.hyperparameters(config, 1)
    stage.step(None, hyper, protocol.EMPTY, None, {"image": IMAGES})
    np.testing.assert_array_equal(given[4], IMAGES * 2 - 1)
    return given[-1]


def test_generator_loss_of_ganomaly(monkeypatch):
    loss = loss_of("ganomaly", monkeypatch)
    codes = np.float32([[0, 0], [1, 1]]), np.float32([[0, 2], [1, 1]])
    output = ganomaly.Generated(jnp.zeros_like(IMAGES), *codes)
    total, terms = loss(output, None, FAKE, REAL)
    # Images in [-1, 1] are 0, 1, -1, 0.
    np.testing.assert_allclose(terms["context"], 0.5)
    np.testing.assert_allclose(terms["code"], 1)
    np.testing.assert_allclose(terms["adversarial"], (4 + 16) / 4)
    np.testing.assert_allclose(total, 50 * 0.5 + 1 + 5)


def test_generator_loss_of_skip_ganomaly(monkeypatch):
    loss = loss_of("skip_ganomaly", monkeypatch)
    output = jnp.zeros_like(IMAGES)
    total, terms = loss(output, np.zeros(2, np.float32), FAKE, REAL)
    np.testing.assert_allclose(terms["adversarial"], np.log(2), rtol=1e-6)
    np.testing.assert_allclose(terms["features"], 5)
    np.testing.assert_allclose(total, np.log(2) + 40 * 0.5 + 5, rtol=1e-6)


def test_score_of_ganomaly(monkeypatch):
    codes = np.float32([[0, 0], [1, 1]]), np.float32([[0, 2], [1, 0]])
    output = ganomaly.Generated(IMAGES * 2 - 1, *codes)
    stage = ganomaly_method.GanomalyStage
    monkeypatch.setattr(stage, "generate", lambda *_: output)
    method = methods.create(methods.resolve(methods.default("ganomaly")))
    scored = method.select({}, method.maps({"ganomaly": {}}, IMAGES))
    np.testing.assert_allclose(scored.scores, [2, 0.5])
    assert scored.maps is None
    np.testing.assert_allclose(scored.pictures["reconstruction"], IMAGES)


def test_map_and_score_of_skip_ganomaly(monkeypatch):
    stage = skip_ganomaly.SkipStage
    monkeypatch.setattr(stage, "generate", lambda *_: jnp.zeros_like(IMAGES))
    features = iter([REAL, FAKE])
    monkeypatch.setattr(stage, "compared", lambda *_: next(features))
    method = methods.create(methods.resolve(methods.default("skip_ganomaly")))
    scored = method.select({}, method.maps({"skip_ganomaly": {}}, IMAGES))
    np.testing.assert_allclose(scored.maps, [[[0, 1]], [[1, 0]]])
    expected = [0.9 * 0.5 + 0.1 * 2, 0.9 * 0.5 + 0.1 * 8]
    np.testing.assert_allclose(scored.scores, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["ganomaly", "skip_ganomaly"])
def test_other_sizes_are_refused(name):
    config = methods.default(name)
    config.data.size = 48
    with pytest.raises(errors.UserError, match="size=48: must be one of: 32, 64"):
        methods.resolve(config)


def test_titles():
    assert methods.get("ganomaly").Method.title == "GANomaly"
    assert methods.get("skip_ganomaly").Method.title == "SkipGA"
