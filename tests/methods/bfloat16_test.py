"""Under dtype=bfloat16 weights, moments, losses and maps are float32."""

import functools

import contract
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_scadn import methods
from jax_scadn.training import loop, protocol

SIDE = contract.SIZE


@pytest.mark.parametrize("name", ["dae", "memae", "riad", "vae"])
def test_what_is_kept_and_reported_is_float32(name):
    config = contract.resolved(name, dtype="bfloat16")
    method = methods.create(config)
    (stage,) = method.stages
    assert stage.network.dtype == jnp.bfloat16
    init = functools.partial(loop.init, stage)
    before = jax.eval_shape(init, np.uint32(0), protocol.EMPTY, {})
    batch = {"image": jax.ShapeDtypeStruct((4, SIDE, SIDE, 1), np.uint8)}
    step = functools.partial(loop.update, stage)
    hyper = stage.hyperparameters(config, 4)
    state, metrics = jax.eval_shape(
        step, before, hyper, protocol.EMPTY, np.uint32(0), batch
    )
    images = jax.ShapeDtypeStruct((4, SIDE, SIDE, 1), np.float32)
    variables = {"frozen": {}, stage.name: stage.result(state)}
    maps = jax.eval_shape(method.maps, variables, images)
    leaves = jax.tree.leaves((state, metrics, maps))
    assert {x.dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.floating)} == {
        jnp.dtype("float32")
    }
