"""The training loop, the same for every method: restore, step, log, select, save."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import ml_collections
import numpy as np

from jax_scadn.data import pipeline, records
from jax_scadn.runtime import distributed, errors, sharding, watchdog
from jax_scadn.training import checkpoints as checkpoints_lib
from jax_scadn.training import logs
from jax_scadn.training.selection import Selection

_PICTURES = 4  # images in TensorBoard


class Stage(Protocol):
    """What a method trains: pure functions over one state.

    Hashable and equal where the compiled step is: everything that may vary without
    another program is in the hyperparameters, whose leaves are arrays.

    Attributes:
      folder: of the stage in the work directory; '' is the work directory itself.
    """

    folder: str

    def schedule(self, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
        """The settings with `batch_size`, `epochs` and `steps` of the stage."""

    def source(
        self,
        config: ml_collections.ConfigDict,
        train: records.Split,
        trained: dict[str, Any],
        workdir: pathlib.Path,
    ) -> Sequence[dict[str, np.ndarray]]:
        """What the stage sees of the training images; `trained` by stage folder."""

    def init(self, seed: int | jax.Array) -> Any:
        """The state before the first update; its `step` counts finished updates."""

    def hyperparameters(self, config: ml_collections.ConfigDict) -> Any:
        """Arrays."""

    def step(self, state: Any, hyper: Any, batch: dict[str, jax.Array]):
        """One update: (state, losses by name)."""

    def params(self, state: Any) -> Any:
        """The weights that inference needs."""

    def picture(self, params: Any, hyper: Any, batch: dict[str, jax.Array]):
        """Images beside what the networks make of them, (B, H, n W, C) in [0, 1]."""


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def train_step(stage, state, hyper, batch):
    """One update. Runs with the same stage share the compiled program."""
    return stage.step(state, hyper, batch)


@functools.partial(jax.jit, static_argnums=0)
def init(stage, seed):
    """The state before the first update."""
    return stage.init(seed)


@functools.partial(jax.jit, static_argnums=0)
def _picture(stage, params, hyper, batch):
    return stage.picture(params, hyper, batch)


def total_steps(schedule: ml_collections.ConfigDict, images: int) -> int:
    """Updates that a schedule asks for, for that many training images."""
    epoch = pipeline.batches_per_epoch(images, schedule.batch_size)
    return schedule.steps or schedule.epochs * epoch


class Run:
    """One training in its folder: what is done before and after its steps.

    Args:
      config: resolved settings.
      method: whose stage it is; it measures the weights to be selected.
      stage: what to train.
      source: elements of batches, see `Stage.source`.
      train: normal images, to select weights with.
      folder: gets `checkpoints/`, `log.jsonl` and `tensorboard/`.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        method,
        stage: Stage,
        source: Sequence[dict[str, np.ndarray]],
        train: records.Split,
        folder: pathlib.Path,
    ):
        schedule = stage.schedule(config)
        self.config = config
        self.stage = stage
        self.batch_size = schedule.batch_size
        self.hyper = stage.hyperparameters(config)
        self.steps = total_steps(schedule, len(source))
        self.failure: errors.UserError | None = None
        self._iterator = pipeline.training_iterator(
            source, self.batch_size, config.seed, config.data.flip, config.data.threads
        )
        self._shown = pipeline.first(source, _PICTURES)
        self._selection = Selection(config, method, train, self.batch_size)
        self._folder = folder

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
        """The state to go on from, restored or fresh; it moves the data along."""
        if self._checkpoints.last_step is None:
            return sharding.replicate(mesh, init(self.stage, self.config.seed))
        return self._checkpoints.restore(self._like(mesh), self._iterator)

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
          leaving: whether the process is about to end.
        """
        if self.failure is not None or self.step == self._kept:
            return
        # Before the save: a run that is killed in between selects once more.
        if self._selection.due(self.step):
            params = self.stage.params(state())
            error = self._selection.error(params)
            self._writer.scalar(self.step, "selection_error", error)
            if error < self._checkpoints.best_error:
                self._checkpoints.save_best(self.step, params, error)
        if self.saves(leaving):
            self._checkpoints.save(self.step, state(), self._iterator)
            self._kept = self.step

    def draw(self, state: Callable[[], Any]) -> None:
        """A picture for TensorBoard, where one is due."""
        every = self.config.training.picture_every
        if every > 0 and self.step % every == 0:
            params = self.stage.params(state())
            picture = _picture(self.stage, params, self.hyper, self._shown)
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
                    f"{self._checkpoints.last_step or 0}. Lower "
                    "--config.optimizer.learning_rate, or use --config.dtype=float32"
                )
                return
        self._writer.write(step, losses)

    def result(self, state: Callable[[], Any]) -> Any:
        """The weights to detect with: the last ones, or those selected."""
        if self._selection.wanted:
            like = self.stage.params(self._like(sharding.mesh(self.batch_size)))
            best = self._checkpoints.restore_best(like)
            if best is not None:
                return best
        return self.stage.params(state())

    def _like(self, mesh: jax.sharding.Mesh) -> Any:
        shapes = jax.eval_shape(functools.partial(init, self.stage), self.config.seed)
        return checkpoints_lib.abstract(shapes, sharding.replicated(mesh))


class SingleRun:
    """One run's state, its batch split over the devices.

    Args:
      runs: the only run.
    """

    def __init__(self, runs: Sequence[Run]):
        (self._run,) = runs
        self._mesh = sharding.mesh(self._run.batch_size)
        sharding.warm_up_collectives(self._mesh)
        self._hyper = sharding.replicate(self._mesh, self._run.hyper)
        self._state = self._run.start(self._mesh)

    def state(self, _: int) -> Any:
        """The state of now."""
        return self._state

    def step(self) -> dict[str, jax.Array]:
        """One update; losses with the run's axis first."""
        batch = sharding.shard_batch(self._mesh, self._run.next_batch())
        with jax.transfer_guard("disallow"):
            self._state, losses = train_step(
                self._run.stage, self._state, self._hyper, batch
            )
        return {name: [value] for name, value in losses.items()}


def fit(
    runs: Sequence[Run], states: Callable[[Sequence[Run]], Any] = SingleRun
) -> list:
    """Trains, or goes on where the checkpoints end.

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
        stop = stack.enter_context(PreemptionGuard())
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
            print(f"saved at {at}; the same command goes on")
            raise SystemExit(130 if stop.signal == signal.SIGINT else 0)
        return [
            run.failure or run.result(functools.partial(held.state, number))
            for number, run in enumerate(runs)
        ]


class PreemptionGuard:
    """Notes the first SIGTERM or Ctrl-C, so that the loop can save and leave.

    In a thread that is not the main one, such as a notebook's, signals stay as they
    are: Python lets no other thread handle them. Where there are many processes, JAX
    takes SIGTERM, and tells all of them.
    """

    def __init__(self):
        self.signal: int | None = None
        self._handlers = {}

    def __enter__(self) -> PreemptionGuard:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def wanted(self) -> bool:
        """Whether to leave now; the loop asks once a step."""
        return self.signal is not None or distributed.preempted()

    def _note(self, number, _) -> None:
        if self.signal is not None:  # the second one does not wait
            raise KeyboardInterrupt
        self.signal = number


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
