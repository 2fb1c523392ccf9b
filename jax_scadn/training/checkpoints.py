"""Checkpointing (the only module that imports Orbax)."""

from __future__ import annotations

import hashlib
import pathlib
from typing import Any

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp

from jax_scadn.runtime import errors


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
        self._last = _Manager(self.folder / "last", options=options)
        self._best = _Manager(self.folder / "best", options=options)

    @property
    def last_step(self) -> int | None:
        """The step of the last saved state; None where there is none."""
        return self._last.latest_step()

    def save(
        self, step: int, state: Any, iterator: grain.DatasetIterator, origin: str
    ) -> None:
        """Keeps the training state and the position in the data.

        The position is the same in all processes, whose number may change.

        Args:
          step: of the state.
          state: to keep.
          iterator: over the data.
          origin: `digest` of what the training depends on; see `restore`.

        Raises:
          errors.UserError: it cannot be written, such as to a full disk.
        """
        self._save(
            self._last,
            step,
            state=ocp.args.StandardSave(state),
            data=ocp.args.JsonSave(iterator.get_state()),
            origin=ocp.args.JsonSave({"sha256": origin}),
        )

    def restore(self, like: Any, iterator: grain.DatasetIterator, origin: str) -> Any:
        """The last saved state; puts the iterator where it was.

        Args:
          like: a tree of `jax.ShapeDtypeStruct` with the wanted shardings.
          iterator: a new one over the same data, moved in place.
          origin: as it was given to `save`.

        Raises:
          errors.UserError: the saved state does not fit, or has another origin.
        """
        step = self._last.latest_step()
        try:
            saved = self._last.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(like),
                    data=ocp.args.JsonRestore(),
                    origin=ocp.args.JsonRestore(),
                ),
            )
            if saved["origin"] != {"sha256": origin}:
                raise errors.UserError(
                    f"{self.folder} was trained with other results of the stages "
                    "before it; delete it to train this stage again"
                )
            iterator.set_state(saved["data"])
            return saved["state"]
        except (ValueError, KeyError, OSError) as error:
            raise errors.UserError(
                f"checkpoint {self.folder / 'last' / str(step)} cannot be restored: "
                f"{_first_line(error)}"
            ) from error

    @property
    def best_error(self) -> float:
        """The lowest error that `save_best` was given; infinite before that."""
        step = self._best.latest_step()
        if step is None:
            return float("inf")
        args = ocp.args.Composite(selection=ocp.args.JsonRestore())
        return self._best.restore(step, args=args)["selection"]["error"]

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
        """The weights with the lowest error; None where none were selected."""
        step = self._best.latest_step()
        if step is None:
            return None
        args = ocp.args.Composite(params=ocp.args.StandardRestore(like))
        return self._best.restore(step, args=args)["params"]

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
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            saved = checkpointer.metadata(folder.absolute()).item_metadata.tree
            return checkpointer.restore(folder.absolute(), abstract(saved, sharding))
    except (AttributeError, ValueError, KeyError, OSError) as error:
        raise errors.UserError(
            f"the weights in {folder} cannot be read: {_first_line(error)}"
        ) from error


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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
