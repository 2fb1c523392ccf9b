"""Many trainings in one jitted step: their states stacked on a leading axis."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jax_scadn.data import images as images_lib
from jax_scadn.runtime import sharding
from jax_scadn.training import loop, protocol


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def train_steps(stage, mesh, states, hypers, frozen, earlier, seeds, batches, active):
    """One update of every active variant; each device has its own variants.

    All have an axis of variants, but for `frozen`, which they share.
    """

    def one(frozen, state, hyper, earlier, seed, batch, active):
        context = protocol.Context(frozen, earlier)
        updated, metrics = loop.update(stage, state, hyper, context, seed, batch)
        kept = jax.tree.map(
            lambda new, old: jax.lax.select(active, new, old), updated, state
        )
        return kept, metrics

    every = jax.vmap(one, in_axes=(None, 0, 0, 0, 0, 0, 0))
    step = sharding.map_shards(mesh, every, replicated=1)
    return step(frozen, states, hypers, earlier, seeds, batches, active)


@jax.jit
def _take(states, number):
    return jax.tree.map(lambda x: x[number], states)


def fitting(run: loop.Run) -> int:
    """How many variants like this one fit into the memory of all devices.

    A tenth is left free. What one variant needs is read off its compiled step.

    Args:
      run: of one of them.

    Returns:
      The number; 0 where it is not known.
    """
    memory = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" not in memory:
        return 0
    step = loop.train_step.lower(*run.abstract_step()).compile()
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
        # Where the devices are not filled evenly, copies that never step are added.
        self._padding = [len(runs) - 1] * (count - len(runs))
        single = sharding.mesh(1)
        self._states = self._put([run.start(single) for run in runs])
        self._hypers = self._put([run.hyper for run in runs])
        self._earlier = self._put([run.context.earlier for run in runs])
        self._seeds = self._put([run.seed for run in runs])
        # Variants with other frozen networks are other trainings, see `ablation`.
        self._frozen = sharding.replicate(self._mesh, runs[0].context.frozen)
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
                self._stage,
                self._mesh,
                self._states,
                self._hypers,
                self._frozen,
                self._earlier,
                self._seeds,
                batches,
                active,
            )
        return losses

    def _put(self, trees: Sequence[Any]) -> Any:
        """Stacked on the host, so that no device has to store all of them."""
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
