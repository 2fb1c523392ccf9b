"""VAE and gamma-VAE: presets, loss and projection."""

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.methods import vae
from jax_scadn.networks import vae as network
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve
from jax_scadn.training import protocol
from jax_scadn.training import state as state_lib


def method_of(**changes):
    config = methods.default("vae")
    for field, value in changes.items():
        resolve.put(config, field.replace("__", "."), value)
    return methods.create(methods.resolve(config))


def test_presets_are_two_methods():
    titles = {}
    for preset in ("vae", "gamma_vae"):
        method = method_of(preset=preset)
        titles[preset] = method.title
        assert method.steps == (0 if preset == "vae" else 100)
        assert method.autoencoder.network.variational == (preset == "vae")
    assert titles == {"vae": "VAE", "gamma_vae": "gamma-VAE"}


def test_other_sizes_are_refused():
    with pytest.raises(errors.UserError, match=r"size=48: must be one of: 16, 32"):
        method_of(data__size=48)


def test_loss_by_hand(monkeypatch):
    """An error of 0.1, mean 1, variance 1: 4 * 0.01 + beta * 0.5 * 5 / 256."""

    def apply(self, variables, images, train, key, mutable):
        assert key is not None
        offset = variables["params"] + images + 0.1
        codes = jnp.ones((len(images), 5)), jnp.zeros((len(images), 5))
        return network.Output(offset, *codes), {"batch_stats": {"moved": 1}}

    monkeypatch.setattr(network.Autoencoder, "apply", apply)
    losses = []
    monkeypatch.setattr(
        vae.state_lib,
        "update_with",
        lambda state, adam, rate, loss: losses.append(loss(state.params)),
    )
    (stage,) = method_of(data__size=16, data__channels=1).stages
    state = state_lib.NormedState(0, 0.0, None, {})
    hyper = {"learning_rate": 1.0, "kl_weight": 3.0}
    batch = {"image": jnp.full((2, 16, 16, 1), 0.5)}
    stage.step(state, hyper, protocol.EMPTY, jax.random.key(0), batch)
    ((value, (metrics, changed)),) = losses
    assert changed == {"batch_stats": {"moved": 1}}
    np.testing.assert_allclose(metrics["kl_loss"], 2.5)
    np.testing.assert_allclose(metrics["reconstruction_loss"], 0.01, rtol=1e-5)
    np.testing.assert_allclose(value, 0.04 + 3 * 2.5 / 256, rtol=1e-5)


def test_projection_is_in_the_range_of_the_network(monkeypatch):
    """0.75 and 0.5 are 0.5 and 0 in [-1, 1]: 0.5 - 0.1 * 1 * 0.25 = 0.475 there."""
    method = methods.create(contract.resolved("vae", projection__steps=1))
    stage = vae.VAEStage
    monkeypatch.setattr(stage, "reconstruct", lambda *_: jnp.full((1, 2, 2, 1), 0.5))
    output = method.maps({"frozen": {}, "vae": {}}, jnp.full((1, 2, 2, 1), 0.75))
    np.testing.assert_allclose(output.pictures["projection"], 0.7375, rtol=1e-6)
    np.testing.assert_allclose(output.maps_bkhw, 0.0125**2, rtol=1e-4)
