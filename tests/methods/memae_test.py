"""MemAE's settings, and what its step reports."""

import contract
import jax
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve
from jax_scadn.training import loop, protocol


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("data.size", 100, "data.size=100: must be a multiple of 8"),
        ("memory.shrinkage", 2000.0, "must be below memory.size=2000"),
        ("memory.similarity", "euclid", "must be one of: cosine, product"),
    ],
)
def test_settings_that_do_not_go_together(field, value, message):
    config = methods.default("memae")
    resolve.put(config, field, value)
    with pytest.raises(errors.UserError, match=message):
        methods.resolve(config)


def test_presets_have_the_thresholds_of_paper_and_code():
    """l = 0.0025 with N = 2000 in the code."""
    shrinkage = {}
    for preset in ("paper", "code"):
        config = methods.default("memae")
        config.preset = preset
        addressed = methods.resolve(config).memory
        shrinkage[addressed.similarity] = addressed.shrinkage
    assert shrinkage == {"cosine": 1.0, "product": 0.0025 * 2000}


@pytest.mark.slow
def test_the_entropys_weight_changes_the_update():
    config = contract.resolved("memae")
    (stage,) = methods.create(config).stages
    images = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 1), np.uint8)
    states = []
    for weight in (0.0, 1e3):
        hyper = stage.hyperparameters(config, 1) | {
            "entropy_weight": np.float32(weight)
        }
        state = loop.init(stage, 0, protocol.EMPTY, {})
        state, metrics = loop.train_step(
            stage, state, hyper, protocol.EMPTY, np.uint32(0), {"image": images}
        )
        states.append(jax.device_get(state.params["memory"]["items"]))
    assert 1 <= metrics["items_used"] <= 6
    assert 0 < metrics["entropy_loss"] <= np.log(6)
    assert np.any(states[0] != states[1])
