"""Checkpointing (the only module that imports Orbax)."""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import logging as python_logging
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from jax_scadn.runtime import errors

_MACHINE = "machine"
# What a training comes from, by name, and what is wrong if that is another one now.
_CHANGED = {
    "earlier": "was trained with other results of the stages before it",
    "data": "was trained on other images: their names or sizes were not these",
}


class _Manager(ocp.CheckpointManager):
    """Does not ask for SIGTERM by the number of the step it saves, as Orbax would.

    `distributed.preempted` counts its own calls, and JAX tells of the call to stop at
    by its number, once: if two counted differently, one would miss it.
    """

    def reached_preemption(self, step: int) -> bool:
        return False


class Checkpoints:
    """The last training state with its data iterator, and the best weights.

    Both are written under a temporary name and renamed, so that a kill during a
    save leaves the previous one.

    Attributes:
      folder: gets `last/<step>` and `best/<step>`.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder.absolute()
        # Saved in the foreground: the step donates its state, and a background
        # save would read memory that the next step already writes.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
        )
        with _quiet():
            self._last = _Manager(self.folder / "last", options=options)
            self._best = _Manager(self.folder / "best", options=options)

    @property
    def last_step(self) -> int | None:
        """The step of the last saved state; None where there is none."""
        return self._last.latest_step()

    def save(
        self,
        step: int,
        state: Any,
        iterator: grain.DatasetIterator,
        origin: Mapping[str, str],
    ) -> None:
        """Keeps the training state and the position in the data.

        The position is the same in all processes, whose number may change.

        Args:
          step: of the state.
          state: to keep.
          iterator: over the data.
          origin: what the training comes from: a hash of the results of the stages
            before it, 'earlier', and of its images, 'data'.

        Raises:
          errors.UserError: it cannot be written, such as to a full disk.
        """
        self._save(
            self._last,
            step,
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(iterator.get_state()),
            origin=ocp.args.JsonSave({**origin, _MACHINE: machine()}),
        )

    def restore(
        self, like: Any, iterator: grain.DatasetIterator, origin: Mapping[str, str]
    ) -> Any:
        """The last saved state; puts the iterator where it was.

        Args:
          like: a tree of `jax.ShapeDtypeStruct` with the wanted shardings.
          iterator: a new one over the same data, moved in place.
          origin: as it was given to `save`.

        Raises:
          errors.UserError: the saved state does not fit, or has another origin.
        """

        def read() -> Any:
            saved = self._restore(
                self._last,
                state=ocp.args.StandardRestore(like),
                data=ocp.args.JsonRestore(),
                origin=ocp.args.JsonRestore(),
            )
            for name, problem in _CHANGED.items():
                if saved["origin"][name] != origin[name]:
                    raise errors.UserError(
                        f"{self.folder} {problem}; delete it to train this stage again"
                    )
            iterator.set_state(saved["data"])
            return saved["state"], saved["origin"].get(_MACHINE, "")

        state, saved_on = self._read(self._last, read)
        _compare_machines(saved_on)
        return state

    @property
    def best_error(self) -> float:
        """The lowest error that `save_best` was given; infinite before that.

        Raises:
          errors.UserError: it cannot be read.
        """
        if self._best.latest_step() is None:
            return float("inf")

        def read() -> float:
            args = ocp.args.JsonRestore()
            return float(
                self._restore(self._best, selection=args)["selection"]["error"]
            )

        return self._read(self._best, read)

    def save_best(self, step: int, params: Any, error: float) -> None:
        """Keeps the weights, in place of those that were best until now.

        Raises:
          errors.UserError: they cannot be written, such as to a full disk.
        """
        self._save(
            self._best,
            step,
            params=ocp.args.StandardSave(params),
            selection=ocp.args.JsonSave({"error": error}),
        )

    def _save(self, manager: ocp.CheckpointManager, step: int, **items) -> None:
        try:
            manager.save(step, args=ocp.args.Composite(**items))
        except (ValueError, OSError) as error:
            raise errors.UserError(
                f"step {step} cannot be saved in {manager.directory}: "
                f"{_first_line(error)}; the checkpoint of step "
                f"{self._last.latest_step() or 0} is complete; run the same command "
                "again to resume from it"
            ) from error

    def restore_best(self, like: Any) -> Any | None:
        """The weights with the lowest error; None where none were selected.

        Raises:
          errors.UserError: they cannot be read.
        """
        if self._best.latest_step() is None:
            return None
        args = ocp.args.StandardRestore(like)
        return self._read(
            self._best, lambda: self._restore(self._best, params=args)["params"]
        )

    def _restore(self, manager: ocp.CheckpointManager, **items) -> Any:
        return manager.restore(manager.latest_step(), args=ocp.args.Composite(**items))

    def _read(self, manager: ocp.CheckpointManager, read: Callable[[], Any]) -> Any:
        folder = pathlib.Path(manager.directory) / str(manager.latest_step())
        return _in_one_line(
            read,
            f"checkpoint {folder} cannot be restored",
            f"delete {self.folder} to train from the start",
        )

    def close(self) -> None:
        self._last.close()
        self._best.close()


def save_params(folder: pathlib.Path, params: Any) -> None:
    """Writes weights to a folder, in place of what was there.

    Raises:
      errors.UserError: they cannot be written, such as to a full disk.
    """
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder.absolute(), params, force=True)
    except (ValueError, OSError) as error:
        raise errors.UserError(
            f"the weights cannot be saved in {folder}: {_first_line(error)}; run the "
            "same command again to resume from the last checkpoint"
        ) from error


def load_params(folder: pathlib.Path, sharding: jax.sharding.Sharding) -> Any:
    """Reads what `save_params` wrote; shapes and types are those of the file.

    Args:
      folder: where it was written.
      sharding: of all arrays.

    Raises:
      errors.UserError: nothing is there, or it cannot be read.
    """

    def read() -> Any:
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(folder.absolute()).item_metadata
            if saved is None:
                raise ValueError("their names are damaged or missing")
            like = abstract(saved.tree, sharding)
            return checkpointer.restore(folder.absolute(), like)

    return _in_one_line(read, f"the weights in {folder} cannot be read", "train again")


def machine() -> str:
    """What the last bits of weights depend on, besides the settings."""
    device = jax.devices()[0]
    text = f"{jax.device_count()} {device.device_kind}, JAX {jax.__version__}"
    if device.platform != "cpu":
        return text
    if hasattr(os, "sched_getaffinity"):
        return f"{text}, {len(os.sched_getaffinity(0))} cores"
    return f"{text}, {os.cpu_count()} cores"


def _compare_machines(before: str) -> None:
    """Says so where the training began on another one."""
    now = machine()
    if before not in ("", now):
        logging.log_first_n(
            logging.WARNING,
            "saved on %s, resumed on %s: the weights may differ in the last bits",
            1,  # runs of an ablation would all say it
            before,
            now,
        )


def digest(tree: Any) -> str:
    """SHA-256 of names, types, shapes and bytes of a tree's arrays."""
    hashed = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree)):
        array = np.asarray(leaf)
        name = jax.tree_util.keystr(path)
        hashed.update(f"{name}{array.dtype.str}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array))
    return hashed.hexdigest()


def abstract(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Shapes and dtypes of a tree, to be placed as the sharding says."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )


def _in_one_line(read: Callable[[], Any], problem: str, remedy: str) -> Any:
    """What `read` returns.

    Args:
      read: reads a checkpoint.
      problem: begins the line of an error.
      remedy: ends it.

    Raises:
      errors.UserError: a file is damaged or missing.
    """
    with _quiet():
        try:
            return read()
        except errors.UserError:
            raise
        except Exception as error:  # Orbax raises all kinds, bare ones, too
            reason = _first_line(error).partition(". See full")[0][:200]
        gc.collect()
    raise errors.UserError(f"{problem} ({reason}); {remedy}")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without Orbax's own words about damaged files."""
    _ignore_late_words()
    verbosity = logging.get_verbosity()
    loops = python_logging.getLogger("asyncio")
    level = loops.level
    try:
        logging.set_verbosity(logging.FATAL)
        loops.setLevel(python_logging.CRITICAL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of what is not awaited
            yield
    finally:
        loops.setLevel(level)
        logging.set_verbosity(verbosity)


@functools.cache
def _ignore_late_words() -> None:
    """A read that failed leaves coroutines behind, and threads whose loop is closed.

    They print tracebacks whenever they end, after the error's line, too.
    """
    of_threads, of_coroutines = sys.excepthook, sys.unraisablehook

    def threads(kind, error, trace):
        if kind is not RuntimeError or str(error) != "Event loop is closed":
            of_threads(kind, error, trace)

    def coroutines(event):
        code = getattr(event.object, "cr_code", None)
        if code is None or "orbax" not in code.co_filename:
            of_coroutines(event)

    sys.excepthook, sys.unraisablehook = threads, coroutines


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
