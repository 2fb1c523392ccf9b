"""UTAD's settings and compiled functions that its tests share."""

import functools

import jax
import numpy as np

from jax_scadn import methods
from jax_scadn.settings import resolve
from jax_scadn.training import loop, protocol

SIZE = 32

_TINY = {
    "data.source": "lace",
    "data.size": SIZE,
    "data.channels": 1,
    "data.threads": 1,
    "impression.training.batch_size": 4,
    "impression.training.steps": 4,
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
    config = methods.default("utad")
    changes = {field.replace("__", "."): value for field, value in changes.items()}
    for field, value in (_TINY | changes).items():
        resolve.put(config, field, value)
    return methods.resolve(config)


def images():
    """Eight deterministic grey images with structure, (8, 32, 32, 1) in [0, 1]."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    waves = [np.sin(2 * np.pi * (k * x + (8 - k) * y)) for k in range(8)]
    return (np.stack(waves)[..., None].astype(np.float32) + 1) / 2


@functools.cache
def fresh(stage, seed=0):
    """The state before the first update."""
    return loop.init(stage, seed, protocol.EMPTY, {})


@functools.partial(jax.jit, static_argnums=0)
def step(stage, state, hyper, images, seed=0, context=protocol.EMPTY):
    """One update as in the training loop, on images in [0, 1]."""
    return loop.update(stage, state, hyper, context, seed, {"image": images})


def train(update, state, steps):
    """The state after some steps, and the losses of each.

    Args:
      update: returns the state after a step, and its losses.
      state: before the first step.
      steps: how many.
    """
    history = []
    for _ in range(steps):
        state, metrics = update(state)
        history.append(jax.device_get(metrics))
    return state, history


def assert_fell(history, name, share):
    """Asserts that the last losses are below that share of the first."""
    values = [metrics[name] for metrics in history]
    assert np.mean(values[-5:]) < share * np.mean(values[:5]), name


def assert_trees_close(first, second, rtol=1e-4, atol=1e-6):
    close = functools.partial(np.testing.assert_allclose, rtol=rtol, atol=atol)
    jax.tree.map(close, first, second)


def moved(first, second):
    """Whether any array differs."""
    differ = jax.tree.map(lambda a, b: bool(np.any(a != b)), first, second)
    return any(jax.tree.leaves(differ))
