"""Networks in training, each with its variables and its optimizer's moments.

The state of stages with batch norms, or with several networks such as a generator and
a discriminator. SCADN and UTAD came before and keep states of their own, in which their
checkpoints are written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jax_scadn.training import optimizers

BATCH_STATS = "batch_stats"


@flax.struct.dataclass
class Learner:
    """A network in training.

    Attributes:
      params: its weights.
      batch_stats: running statistics of its batch norms; {} without.
      moments: of its optimizer.
    """

    params: Any
    batch_stats: Any
    moments: optax.OptState

    @property
    def variables(self) -> dict[str, Any]:
        """For `Module.apply`."""
        return {"params": self.params, BATCH_STATS: self.batch_stats}


@flax.struct.dataclass
class State:
    """Everything that a training step reads and writes.

    Attributes:
      step: number of finished updates.
      learners: by name.
    """

    step: jax.Array
    learners: dict[str, Learner]


def create(
    optimizer: optax.GradientTransformation, variables: Mapping[str, Mapping[str, Any]]
) -> State:
    """The state before the first update, from the variables of each network."""
    learners = {
        name: Learner(v["params"], v.get(BATCH_STATS, {}), optimizer.init(v["params"]))
        for name, v in variables.items()
    }
    return State(jnp.zeros((), jnp.int32), learners)


def advance(state: State, **learners: Learner) -> State:
    """The state after an update, in which some learners are others."""
    return State(state.step + 1, {**state.learners, **learners})


def forward(network: nn.Module, params: Any, batch_stats: Any, *inputs) -> Any:
    """A network's output in training, and its running statistics after it.

    Batch norms take the statistics of the inputs: of the whole batch, on however many
    devices.
    """
    variables = {"params": params, BATCH_STATS: batch_stats}
    output, updated = network.apply(
        variables, *inputs, train=True, mutable=[BATCH_STATS]
    )
    return output, updated.get(BATCH_STATS, {})


def descend(
    learner: Learner,
    optimizer: optax.GradientTransformation,
    learning_rate: jax.Array | float,
    grads: Any,
    batch_stats: Any,
) -> Learner:
    """The learner after one update of its weights."""
    params, moments = optimizers.descend(
        optimizer, learning_rate, grads, learner.moments, learner.params
    )
    return Learner(params, batch_stats, moments)
