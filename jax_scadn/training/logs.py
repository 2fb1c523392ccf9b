"""Training logs: JSON lines, TensorBoard, progress bar."""

from __future__ import annotations

import contextlib
import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping

import numpy as np
import tensorboardX
import tqdm
from absl import logging

from jax_scadn.runtime import errors, files

LOG = "log.jsonl"
_SHOWN = 2  # losses in the progress bar


class Writer:
    """Writes the losses of single steps.

    Lines that an interrupted run logged after its last checkpoint are dropped, so that
    each step is logged once.

    Args:
      workdir: gets `log.jsonl` and `tensorboard/`.
      first_step: finished updates at the start.
      steps: that the run shall have.
      batch_size: images per step.
      every: steps between two lines of the log.
      bar: whether to show progress.

    Raises:
      errors.UserError: by each method, the log cannot be written.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        first_step: int,
        steps: int,
        batch_size: int,
        every: int,
        bar: bool = True,
    ):
        self._every = every
        self._steps = steps
        self._batch_size = batch_size
        self._log = _opened_after(workdir / LOG, first_step)
        self._board = tensorboardX.SummaryWriter(
            str(workdir / "tensorboard"), purge_step=first_step + 1
        )
        # A log file gets a line a minute, a terminal a bar.
        self._bar = tqdm.tqdm(
            total=steps,
            initial=first_step,
            unit="step",
            dynamic_ncols=True,
            disable=not bar,
            mininterval=0.5 if sys.stderr.isatty() else 60,
        )
        self._since = (time.monotonic(), first_step)

    def write(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Takes the losses of one step; every so often they are written."""
        self._bar.update(step - self._bar.n)
        if step % self._every and step != self._steps:
            return
        values = {name: float(value) for name, value in metrics.items()}
        now, (then, before) = time.monotonic(), self._since
        rate = (step - before) * self._batch_size / max(now - then, 1e-9)
        self._since = (now, step)
        line = {"step": step, **values, "images_per_second": round(rate, 3)}
        self._line(line)
        for name, value in line.items():
            self._board.add_scalar(name, value, step)
        losses = [name for name in values if name.endswith("_loss")]
        losses.sort(key=lambda name: "reconstruction" not in name)
        shown = {
            name.removesuffix("_loss"): f"{values[name]:.4f}"
            for name in losses[:_SHOWN]
        }
        self._bar.set_postfix(shown | {"images/s": f"{rate:.1f}"}, refresh=False)

    def scalar(self, step: int, name: str, value: float) -> None:
        """One number that is not of every step."""
        self._line({"step": step, name: value})
        self._board.add_scalar(name, value, step)

    def picture(self, step: int, name: str, image_hwc: np.ndarray) -> None:
        """A picture in [0, 1] for TensorBoard."""
        self._board.add_image(name, image_hwc, step, dataformats="HWC")

    def close(self) -> None:
        self._bar.close()
        # On a full disk this fails once more, and would hide what the run ends with.
        for file in (self._log, self._board):
            with contextlib.suppress(OSError):
                file.close()

    def _line(self, values: Mapping[str, float]) -> None:
        try:
            self._log.write(json.dumps(values) + "\n")
            self._log.flush()
        except OSError as error:
            raise errors.UserError(
                f"{self._log.name} cannot be written: {error}; run the same command "
                "again to resume from the last checkpoint"
            ) from error


class NullWriter:
    """In place of `Writer` in processes that write nothing."""

    def write(self, step: int, metrics: Mapping[str, np.ndarray]) -> None:
        pass

    def scalar(self, step: int, name: str, value: float) -> None:
        pass

    def picture(self, step: int, name: str, image_hwc: np.ndarray) -> None:
        pass

    def close(self) -> None:
        pass


def _opened_after(path: pathlib.Path, last_step: int):
    """The log, open to append, without the lines beyond a step."""
    if path.exists():
        text = path.read_text(encoding="utf-8", errors="replace")
        lines = text.splitlines(keepends=True)
        kept = [line for line in lines if _step(line) <= last_step]
        if damaged := sum(_step(line) == math.inf for line in lines[:-1]):
            logging.warning("%s: %d lines are damaged, dropped", path, damaged)
        files.write_text(path, "".join(kept))
    return path.open("a")


def _step(line: str) -> float:
    """The step of a line; infinite where it is cut or damaged."""
    try:
        step = json.loads(line)["step"] if line.endswith("\n") else math.inf
    except (ValueError, TypeError, KeyError, RecursionError):
        return math.inf
    return step if isinstance(step, int) else math.inf
