"""UTAD's settings and compiled functions that its tests share."""

import functools

import jax
import numpy as np

from jax_scadn.settings import configuration

_TINY = {
    "data.source": "lace",
    "data.size": 32,
    "data.channels": 1,
    "data.threads": 1,
    "training.batch_size": 4,
    "training.steps": 4,
    "scoring.images_per_call": 8,
    "scoring.distance": "squared",
    "impression.features": (4,),
    "impression.pools": (4,),
    "impression.decoder_features": (4,),
    "impression.upsamplings": (4,),
    "impression.head_features": 4,
    "impression.latent": 16,
    "impression.image_discriminator_width": 4,
    "impression.image_discriminator_scales": 1,
    "expert.width": 4,
    "expert.blocks": 1,
    "expert.detail": 3,
    "expert.mlp_width": 8,
    "expert.training.steps": 4,
}


def settings(**changes):
    """Resolved settings of nets that train in a second; `a__b=c` sets a.b."""
    config = configuration.default("utad")
    changes = {field.replace("__", "."): value for field, value in changes.items()}
    for field, value in (_TINY | changes).items():
        configuration.put(config, field, value)
    return configuration.resolve(config)


@functools.cache
def fresh(stage):
    """The state before the first update."""
    return jax.jit(stage.init)(0)


@functools.partial(jax.jit, static_argnums=0)
def step(stage, state, hyper, batch):
    return stage.step(state, hyper, batch)


def train(stage, state, hyper, batch, steps):
    """The state after some steps on one batch, and the losses of each."""
    history = []
    for _ in range(steps):
        state, metrics = step(stage, state, hyper, batch)
        history.append(jax.device_get(metrics))
    return state, history


def assert_fell(history, name, share):
    """The last losses are below that share of the first."""
    values = [metrics[name] for metrics in history]
    assert np.mean(values[-5:]) < share * np.mean(values[:5]), name


def assert_trees_close(first, second, rtol=1e-4, atol=1e-6):
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(close, first, second)


def moved(first, second):
    """Whether any array differs."""
    differ = jax.tree.map(lambda a, b: bool(np.any(a != b)), first, second)
    return any(jax.tree.leaves(differ))
