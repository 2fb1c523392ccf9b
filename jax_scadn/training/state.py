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


@flax.struct.dataclass
class NormedState(State):
    """The state of a network with batch norms.

    Attributes:
      batch_stats: their running means and variances.
    """

    batch_stats: Any


def create(optimizer: optax.GradientTransformation, params: Any) -> State:
    """The state before the first update."""
    return State(jnp.zeros((), jnp.int32), params, optimizer.init(params))


def create_normed(
    optimizer: optax.GradientTransformation, variables: Any
) -> NormedState:
    """The same, of a network's 'params' and 'batch_stats'."""
    before = create(optimizer, variables["params"])
    return NormedState(
        before.step, before.params, before.optimizer, variables["batch_stats"]
    )


def update(
    state: State,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    loss: Callable[[Any], jax.Array],
) -> tuple[State, dict[str, jax.Array]]:
    """One update by a scalar loss of the parameters, and its metrics."""

    def with_metrics(params):
        value = loss(params)
        return value, ({"reconstruction_loss": value}, {})

    return update_with(state, optimizer, learning_rate, with_metrics)


def update_with(
    state: State,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    loss: Callable[[Any], tuple[jax.Array, tuple[dict[str, jax.Array], dict]]],
) -> tuple[State, dict[str, jax.Array]]:
    """One update by a loss of several terms.

    Args:
      state: before it.
      optimizer: gives the direction.
      learning_rate: of this update.
      loss: of the parameters: the scalar, and its metrics and other fields of the state
        after the update, such as `batch_stats`.
    """
    grads, (metrics, changed) = jax.grad(loss, has_aux=True)(state.params)
    params, moments = optimizers.descend(
        optimizer, learning_rate, grads, state.optimizer, state.params
    )
    changed |= {"step": state.step + 1, "params": params, "optimizer": moments}
    metrics = metrics | {"gradient_norm": optax.tree.norm(grads)}
    return state.replace(**changed), metrics
