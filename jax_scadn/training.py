"""The training loop, the same for every method: restore, step, log, select, save."""

from __future__ import annotations

import contextlib
import functools
import math
import pathlib
import signal
import threading
from typing import Any

import jax
import ml_collections
import numpy as np

from jax_scadn import checkpoints as checkpoints_lib
from jax_scadn import errors, sharding, writers
from jax_scadn.data import images as images_lib
from jax_scadn.data import pipeline, records
from jax_scadn.selection import Selection

_PICTURES = 4  # images in TensorBoard


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def train_step(method, state, hyper, batch):
    """One update. Runs with the same settings share the compiled program."""
    return method.step(state, hyper, batch)


@functools.partial(jax.jit, static_argnums=0)
def init(method, seed):
    """The state before the first update."""
    return method.init(seed)


@functools.partial(jax.jit, static_argnums=0)
def _repainted(method, params, images):
    return method.repainted(params, images_lib.as_float(images))


def total_steps(config: ml_collections.ConfigDict, images: int) -> int:
    """Updates that the settings ask for, for that many training images."""
    training = config.training
    epoch = pipeline.batches_per_epoch(images, training.batch_size)
    return training.steps or training.epochs * epoch


def fit(
    config: ml_collections.ConfigDict,
    method,
    train: records.Split,
    workdir: pathlib.Path,
) -> Any:
    """Trains, or goes on where a checkpoint in the work directory ends.

    Args:
      config: resolved settings.
      method: what to train, see `methods.create`.
      train: normal images.
      workdir: gets `checkpoints/`, `log.jsonl` and `tensorboard/`.

    Returns:
      The weights to detect with: the last ones, or those with the lowest error on
      normal images.

    Raises:
      errors.UserError: a loss is not finite; the last checkpoint is from before.
      SystemExit: SIGTERM (status 0) or Ctrl-C (130), after a save.
    """
    batch_size = config.training.batch_size
    steps = total_steps(config, len(train))
    mesh = sharding.mesh(batch_size)
    replicated = sharding.replicated(mesh)
    hyper = jax.device_put(method.hyperparameters(config), replicated)
    iterator = pipeline.training_iterator(
        train, batch_size, config.seed, config.data.flip, config.data.threads
    )
    shapes = jax.eval_shape(functools.partial(init, method), config.seed)
    like = checkpoints_lib.abstract(shapes, replicated)
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(Stop())
        checkpoints = checkpoints_lib.Checkpoints(workdir / "checkpoints")
        stack.callback(checkpoints.close)
        if checkpoints.last_step is None:
            state = jax.device_put(init(method, config.seed), replicated)
        else:
            state = checkpoints.restore(like, iterator)
        first = step = int(state.step)
        every = config.training.log_every
        writer = writers.Writer(workdir, first, steps, batch_size, every)
        stack.callback(writer.close)
        losses = _Losses(writer, checkpoints)
        selection = Selection(config, method, train)
        while True:
            # Before the save: a run that is killed in between selects once more.
            if step > first and selection.due(step):
                error = selection.error(method.inference_params(state))
                writer.scalar(step, "selection_error", error)
                if error < checkpoints.best_error:
                    params = method.inference_params(state)
                    checkpoints.save_best(step, params, error)
            leaving = step >= steps or stop.signal is not None
            due = leaving or step % config.training.checkpoint_every == 0
            if step > first and due:
                losses.flush()
                checkpoints.save(step, state, iterator)
            if leaving:
                break
            batch = jax.device_put(next(iterator), sharding.split(mesh))
            with jax.transfer_guard("disallow"):
                state, metrics = train_step(method, state, hyper, batch)
            step += 1
            losses.push(step, metrics)
            if _due(step, config.training.picture_every):
                _draw(writer, step, method, method.inference_params(state), train)
        if step < steps:
            print(f"saved at step {step} of {steps}; the same command goes on")
            raise SystemExit(130 if stop.signal == signal.SIGINT else 0)
        best = None
        if selection.wanted:
            best = checkpoints.restore_best(method.inference_params(like))
    return method.inference_params(state) if best is None else best


class Stop:
    """Notes the first SIGTERM or Ctrl-C, so that the loop can save and leave.

    In a thread that is not the main one, such as a notebook's, signals stay as they
    are: Python lets no other thread handle them.
    """

    def __init__(self):
        self.signal: int | None = None
        self._handlers = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _note(self, number, _) -> None:
        if self.signal is not None:  # the second one does not wait
            raise KeyboardInterrupt
        self.signal = number


class _Losses:
    """Losses of the step that the device may still be at, fetched one step late."""

    def __init__(
        self, writer: writers.Writer, checkpoints: checkpoints_lib.Checkpoints
    ):
        self._writer = writer
        self._checkpoints = checkpoints
        self._running: tuple[int, Any] | None = None

    def push(self, step: int, metrics: Any) -> None:
        self.flush()
        self._running = (step, metrics)

    def flush(self) -> None:
        """Waits for the step, writes its losses, stops if one is not finite."""
        if self._running is None:
            return
        step, metrics = self._running
        self._running = None
        metrics = jax.device_get(metrics)
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise errors.UserError(
                    f"{name} is {value} at step {step}; the last checkpoint is of step "
                    f"{self._checkpoints.last_step or 0}. Lower "
                    "--config.optimizer.learning_rate, or use --config.dtype=float32"
                )
        self._writer.write(step, metrics)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _draw(writer, step: int, method, params, train: records.Split) -> None:
    """Normal images and what the generator makes of them, for TensorBoard."""
    images = train.first(_PICTURES).images()
    repainted = np.asarray(_repainted(method, params, images))
    pairs = np.concatenate([images_lib.as_float(images), repainted], axis=2)
    writer.picture(step, "input and repainted", np.concatenate(pairs))
