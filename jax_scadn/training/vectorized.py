"""Many trainings in one jitted step: their states stacked on a leading axis."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from jax_scadn.data import images as images_lib
from jax_scadn.runtime import sharding
from jax_scadn.training import loop


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def train_steps(stage, mesh, states, hypers, batches, active):
    """One update of every active variant; each device has its own variants."""

    def one(state, hyper, batch, active):
        updated, losses = stage.step(state, hyper, batch)
        kept = jax.tree.map(lambda new, old: jax.lax.select(active, new, old),
                            updated, state)  # fmt: skip
        return kept, losses

    return sharding.map_shards(mesh, jax.vmap(one))(states, hypers, batches, active)


@jax.jit
def _take(states, number):
    return jax.tree.map(lambda x: x[number], states)


def fitting(stage: loop.Stage, config: ml_collections.ConfigDict) -> int:
    """How many variants fit into the memory of all devices; 0 where it is not known.

    A tenth is left free. What one variant needs is read off its compiled step.
    """
    memory = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in memory:
        return 0
    size, channels = config.data.size, config.data.channels
    count = stage.schedule(config).batch_size
    image = jax.ShapeDtypeStruct((count, size, size, channels), np.uint8)
    state = jax.eval_shape(stage.init, config.seed)
    hyper = stage.hyperparameters(config)
    step = loop.train_step.lower(stage, state, hyper, {"image": image}).compile()
    needed = step.memory_analysis()
    one = needed.argument_size_in_bytes + needed.temp_size_in_bytes
    each = max(1, int(0.9 * memory["bytes_limit"] / one))
    return each * len(jax.local_devices())


class VectorizedRuns:
    """The states of runs whose stage and batch size are the same.

    What a variant computes does not depend on the others: nothing is shared but the
    program. A run that has all its steps rests while the others go on.

    Args:
      runs: at least one.
    """

    def __init__(self, runs: Sequence[loop.Run]):
        self._runs = runs
        self._stage = runs[0].stage
        self._mesh, count = sharding.variant_mesh(len(runs))
        self._split = sharding.batch_sharding(self._mesh)
        # Where the devices are not filled evenly, copies that never step fill them.
        self._padding = [len(runs) - 1] * (count - len(runs))
        alone = sharding.mesh(1)
        self._states = self._put([run.start(alone) for run in runs])
        self._hypers = self._put([run.hyper for run in runs])
        self._batches: list[dict[str, np.ndarray]] = [{}] * len(runs)

    def state(self, number: int) -> Any:
        """The state of one run, of now."""
        return _take(self._states, number)

    def step(self) -> dict[str, jax.Array]:
        """One update of every active run; losses with the runs' axis first."""
        for number, run in enumerate(self._runs):
            if run.active or not self._batches[number]:
                self._batches[number] = run.next_batch()
        batches = self._put(self._batches)
        active = [run.active for run in self._runs] + [False] * len(self._padding)
        active = jax.device_put(np.array(active), self._split)
        with jax.transfer_guard("disallow"):
            self._states, losses = train_steps(
                self._stage, self._mesh, self._states, self._hypers, batches, active
            )
        return losses

    def _put(self, trees: Sequence[Any]) -> Any:
        """Stacked on the host, so that no device holds all of them."""
        padded = [*trees, *(trees[n] for n in self._padding)]
        return jax.device_put(stack(padded), self._split)


def stack(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one tree of NumPy arrays, a new axis first."""
    return jax.tree.map(_stack, *jax.device_get(list(trees)))


def _stack(*arrays: np.ndarray) -> np.ndarray:
    """Stacks arrays whose first axes may differ; the shorter ones end in zeros.

    A variant with fewer masks thus has masks that are drawn with probability zero.
    """
    length = max(len(a) for a in arrays) if np.ndim(arrays[0]) else 0
    return images_lib.stack(
        [
            np.pad(a, [(0, length - len(a))] + [(0, 0)] * (a.ndim - 1))
            if np.ndim(a)
            else a
            for a in arrays
        ]
    )
