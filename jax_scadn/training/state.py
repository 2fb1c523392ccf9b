"""The state of a stage with one network and one loss, and its update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

from jax_scadn.training import optimizers


@flax.struct.dataclass
class State:
    """Everything that a training step reads and writes.

    Attributes:
      step: number of finished updates.
      params: of the network.
      optimizer: its moments.
    """

    step: jax.Array
    params: Any
    optimizer: optax.OptState


def create(optimizer: optax.GradientTransformation, params: Any) -> State:
    """The state before the first update."""
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def update(
    state: State,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    loss: Callable[[Any], jax.Array],
) -> tuple[State, dict[str, jax.Array]]:
    """One update by a scalar loss of the parameters, and its metrics."""
    value, grads = jax.value_and_grad(loss)(state.params)
    params, moments = optimizers.descend(
        optimizer, learning_rate, grads, state.optimizer, state.params
    )
    metrics = {"reconstruction_loss": value, "gradient_norm": optax.tree.norm(grads)}
    return State(state.step + 1, params, moments), metrics
