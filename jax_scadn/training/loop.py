"""The training loop, the same for every method: restore, step, log, select, save."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import signal
from collections.abc import Callable, Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline, records
from jax_scadn.runtime import distributed, errors, sharding, watchdog
from jax_scadn.settings import resolve
from jax_scadn.training import checkpoints as checkpoints_lib
from jax_scadn.training import logs, preemption, protocol
from jax_scadn.training.selection import Selection

_PICTURES = 4  # images in TensorBoard


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def train_step(stage, state, hyper, context, seed, batch):
    """One update. Runs with the same stage share the compiled program."""
    return update(stage, state, hyper, context, seed, batch)


def update(stage, state, hyper, context, seed, batch):
    """One update of a stage, with the key of its step and images in [0, 1].

    Args:
      stage: see `protocol.GradientStage`.
      state: before the update; `step` counts finished ones.
      hyper: arrays.
      context: see `protocol.Context`.
      seed: of the run; the key of a step is fold_in(key(seed), step).
      batch: images by name, uint8 or uint16.
    """
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    images = jax.tree.map(images_lib.as_float, batch)
    return stage.step(state, hyper, context, key, images)


@functools.partial(jax.jit, static_argnums=0)
def init(stage, seed, context, examples):
    """The state before the first update."""
    images = jax.tree.map(images_lib.as_float, examples)
    return stage.init(jax.random.key(seed), context, images)


@functools.partial(jax.jit, static_argnums=0)
def _preview(stage, result, hyper, context, batch):
    images = jax.tree.map(images_lib.as_float, batch)
    return stage.preview(result, hyper, context, images)


def total_steps(budget: ml_collections.ConfigDict, images: int) -> int:
    """Updates that a stage's budget asks for, for that many training images."""
    epoch = pipeline.batches_per_epoch(images, budget.batch_size)
    return budget.steps or budget.epochs * epoch


class Run:
    """One training in its folder: what is done before and after its steps.

    Args:
      config: resolved settings.
      method: whose stage it is; its `validation_error` selects weights.
      stage: what to train.
      train: normal images.
      context: see `protocol.Context`; the same arrays for all runs of a batch where
        they are frozen.
      folder: gets `checkpoints/`, `log.jsonl` and `tensorboard/`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        method,
        stage: protocol.GradientStage,
        train: records.Split,
        context: protocol.Context,
        folder: pathlib.Path,
    ):
        source = pipeline.Images(train)
        budget = resolve.get(config, stage.budget)
        self.config = config
        self.stage = stage
        self.context = context
        self.seed = np.uint32(config.seed)
        self.batch_size = budget.batch_size
        self.steps = total_steps(budget, len(train))
        self.hyper = stage.hyperparameters(config, self.steps)
        self.failure: errors.UserError | None = None
        self._iterator = pipeline.training_iterator(
            source,
            self.batch_size,
            config.seed,
            config.data.flip,
            config.data.threads,
            setting=f"{stage.budget}.batch_size",
        )
        self._examples = pipeline.first(source, _PICTURES)
        self._selection = Selection(config, method, train, self.batch_size)
        self._folder = folder
        # A stage must not resume on other results of the stages before it, or images.
        self._origin = {
            "earlier": checkpoints_lib.digest(context.earlier),
            "data": train.fingerprint(),
        }

    def open(self, stack: contextlib.ExitStack, bar: bool = True) -> None:
        """Opens the checkpoints and the log until the stack closes."""
        self._checkpoints = checkpoints_lib.Checkpoints(self._folder / "checkpoints")
        stack.callback(self._checkpoints.close)
        self.step = self._kept = self._checkpoints.last_step or 0
        self._writer = logs.NullWriter()
        if distributed.is_primary():
            self._writer = logs.Writer(
                self._folder,
                self.step,
                self.steps,
                self.batch_size,
                self.config.training.log_every,
                bar,
            )
        stack.callback(self._writer.close)

    @property
    def active(self) -> bool:
        """Whether steps are left to be done."""
        return self.step < self.steps and self.failure is None

    def start(self, mesh: jax.sharding.Mesh) -> Any:
        """The state to resume from, restored or fresh; it moves the data along."""
        if self._checkpoints.last_step is None:
            return sharding.replicate(mesh, init(*self._init_arguments))
        return self._checkpoints.restore(self._like(mesh), self._iterator, self._origin)

    def next_batch(self) -> dict[str, np.ndarray]:
        """The rows of this process."""
        return next(self._iterator)

    def saves(self, leaving: bool) -> bool:
        """Whether `keep` will write a checkpoint."""
        due = self.step % self.config.training.checkpoint_every == 0
        return self.step > self._kept and (leaving or not self.active or due)

    def keep(self, state: Callable[[], Any], leaving: bool) -> None:
        """Selects and saves what is due; a run that failed keeps what it has.

        Args:
          state: gives the state of now.
          leaving: whether the process is about to exit.
        """
        if self.failure is not None or self.step == self._kept:
            return
        # Before the save: a run that is killed in between selects once more.
        if self._selection.due(self.step):
            result = self.stage.result(state())
            error = self._selection.error(result, self.context)
            self._writer.scalar(self.step, "selection_error", error)
            if error < self._checkpoints.best_error:
                self._checkpoints.save_best(self.step, result, error)
        if self.saves(leaving):
            self._checkpoints.save(self.step, state(), self._iterator, self._origin)
            self._kept = self.step

    def draw(self, state: Callable[[], Any]) -> None:
        """A picture for TensorBoard, where one is due."""
        every = self.config.training.picture_every
        due = every > 0 and self.step % every == 0
        if due and hasattr(self.stage, "preview"):
            result = self.stage.result(state())
            picture = _preview(
                self.stage, result, self.hyper, self.context, self._examples
            )
            picture = np.concatenate(distributed.gather_to_host(picture))
            self._writer.picture(self.step, "training images", picture)

    def write(self, step: int, losses: dict[str, np.ndarray]) -> None:
        """Logs the losses of a step; those that are not finite fail the run."""
        if self.failure is not None:
            return
        for name, value in losses.items():
            if not math.isfinite(value):
                self.failure = errors.UserError(
                    f"{name} is {value} at step {step}; the last checkpoint is of step "
                    f"{self._checkpoints.last_step or 0}. {self._remedy()}"
                )
                return
        self._writer.write(step, losses)

    def result(self, state: Callable[[], Any]) -> Any:
        """The weights to detect with: the last ones, or those selected."""
        if self._selection.wanted:
            like = self.stage.result(self._like(self.mesh()))
            best = self._checkpoints.restore_best(like)
            if best is not None:
                return best
        return self.stage.result(state())

    def abstract_step(self) -> tuple[Any, ...]:
        """Arguments that `train_step` can be lowered with."""
        batch = {
            name: jax.ShapeDtypeStruct((self.batch_size, *x.shape[1:]), x.dtype)
            for name, x in self._examples.items()
        }
        state = jax.eval_shape(
            functools.partial(init, self.stage), *self._init_arguments[1:]
        )
        return self.stage, state, self.hyper, self.context, self.seed, batch

    @property
    def _init_arguments(self) -> tuple[Any, ...]:
        return self.stage, self.seed, self.context, self._examples

    def mesh(self) -> jax.sharding.Mesh:
        """The devices that share a batch."""
        return sharding.mesh(self.batch_size, f"{self.stage.budget}.batch_size")

    def _like(self, mesh: jax.sharding.Mesh) -> Any:
        _, shapes, *_ = self.abstract_step()
        return checkpoints_lib.abstract(shapes, sharding.replicated(mesh))

    def _remedy(self) -> str:
        """What to do about a loss that is not finite."""
        rates = [
            f"--config.{field}"
            for field in resolve.flat(self.config)
            if field.endswith("learning_rate")
        ]
        remedies = [f"lower {' or '.join(rates)}"] if rates else []
        if self.config.dtype != "float32":
            remedies.append("use --config.dtype=float32")
        return ", or ".join(remedies).capitalize()


class SingleRun:
    """One run's state, its batch split over the devices.

    Args:
      runs: the only run.
    """

    def __init__(self, runs: Sequence[Run]):
        (self._run,) = runs
        self._mesh = self._run.mesh()
        sharding.warm_up_collectives(self._mesh)
        self._constants = sharding.replicate(
            self._mesh, (self._run.hyper, self._run.context, self._run.seed)
        )
        self._state = self._run.start(self._mesh)

    def state(self, _: int) -> Any:
        """The state of now."""
        return self._state

    def step(self) -> dict[str, jax.Array]:
        """One update; losses with the run's axis first."""
        batch = sharding.shard_batch(self._mesh, self._run.next_batch())
        with jax.transfer_guard("disallow"):
            self._state, losses = train_step(
                self._run.stage, self._state, *self._constants, batch
            )
        return {name: [value] for name, value in losses.items()}


def fit(
    runs: Sequence[Run], states: Callable[[Sequence[Run]], Any] = SingleRun
) -> list:
    """Trains, or resumes from the checkpoints.

    Args:
      runs: each with checkpoints, a log and a number of steps of its own.
      states: how their states are kept and stepped: `SingleRun`, or
        `vectorized.VectorizedRuns`.

    Returns:
      For each run the weights to detect with, or the `errors.UserError` that stopped
      it: a loss that is not finite.

    Raises:
      SystemExit: SIGTERM (status 0) or Ctrl-C (130), after a save. Of many processes
        all leave at the same step, whichever was sent SIGTERM.
    """
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(preemption.PreemptionGuard())
        for number, run in enumerate(runs):
            run.open(stack, bar=number == 0)
        held = states(runs)
        losses = _Losses(runs)
        watch = stack.enter_context(
            watchdog.Watchdog(runs[0].config.training.stalled_after)
        )
        while True:
            watch.heartbeat()
            stopping = stop.wanted()
            if any(run.saves(stopping) for run in runs):
                losses.flush()
            for number, run in enumerate(runs):
                run.keep(functools.partial(held.state, number), stopping)
            stepped = [run.active for run in runs]
            if stopping or not any(stepped):
                break
            values = held.step()
            for number, run in enumerate(runs):
                if stepped[number]:
                    run.step += 1
                    run.draw(functools.partial(held.state, number))
            losses.push(values, stepped)
        if any(run.active for run in runs):
            at = ", ".join(f"step {run.step} of {run.steps}" for run in runs)
            print(f"saved at {at}; run the same command again to resume")
            raise SystemExit(130 if stop.signal == signal.SIGINT else 0)
        return [
            run.failure or run.result(functools.partial(held.state, number))
            for number, run in enumerate(runs)
        ]


class _Losses:
    """Losses of the step that the device may still be at, fetched one step late."""

    def __init__(self, runs: Sequence[Run]):
        self._runs = runs
        self._running: tuple[Any, list[tuple[int, int]]] | None = None

    def push(self, values: dict[str, Any], stepped: Sequence[bool]) -> None:
        """Takes losses with the runs' axis first, and which runs made a step."""
        self.flush()
        steps = [(n, run.step) for n, run in enumerate(self._runs) if stepped[n]]
        self._running = (values, steps)

    def flush(self) -> None:
        """Waits for the step and gives each run its losses."""
        if self._running is None:
            return
        values, steps = self._running
        self._running = None
        values = jax.device_get(values)
        for number, step in steps:
            losses = {name: value[number] for name, value in values.items()}
            self._runs[number].write(step, losses)
