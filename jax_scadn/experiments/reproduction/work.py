"""Trains what is missing: all methods on all data, one method after the other.

Work directory:

    <data set>/<title>/<category>/seed_<n>/    as `experiment.train` writes it, with
                                               cost.json, see `costs`
    <data set>/<title>/failure.txt             where a method failed: the traceback
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import pathlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jax_scadn import methods
from jax_scadn.experiments import ablation, experiment
from jax_scadn.experiments.reproduction import columns
from jax_scadn.experiments.reproduction import datasets as datasets_lib
from jax_scadn.runtime import distributed, errors, files, memory

_FAILURE = "failure.txt"
_WORDS = 200  # letters of a reason


class Key(NamedTuple):
    """One run: a cell of the table with one seed."""

    title: str
    dataset: str
    category: str
    seed: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the runs that were asked for.

    Attributes:
      folders: work directories of those that are finished.
      trained_in: of the same, where their training's checkpoints and cost are.
      failures: the reasons of the others, one line each.
    """

    folders: Mapping[Key, pathlib.Path]
    trained_in: Mapping[Key, pathlib.Path]
    failures: Mapping[Key, str]


def run(
    chosen: Sequence[columns.Column],
    everything: Sequence[datasets_lib.Data],
    budget: str,
    overrides: Mapping[str, Any],
    seeds: Sequence[int],
    workdir: pathlib.Path,
    batching: str | None = None,
    variants_per_batch: int = 0,
    after: Callable[[pathlib.Path], None] | None = None,
) -> Outcome:
    """Trains, calibrates and evaluates what is not finished yet.

    A method that fails does not end the others. Columns of one method that differ in
    scoring only share a training, and its runs form jitted batches as in `ablation`.

    Args:
      chosen: the methods.
      everything: the data sets.
      budget: see `columns`.
      overrides: the user's settings.
      seeds: each is trained with each.
      workdir: see above.
      batching: see `ablation.run`.
      variants_per_batch: the same.
      after: is called with the folder of each finished run.

    Raises:
      errors.UserError: a folder belongs to a run with other settings.
    """
    folders: dict[Key, pathlib.Path] = {}
    trained_in: dict[Key, pathlib.Path] = {}
    failures: dict[Key, str] = {}
    for method, group in itertools.groupby(
        sorted(chosen, key=lambda column: column.method), lambda c: c.method
    ):
        tasks: dict[Key, ablation.Task] = {}
        for column, data in itertools.product(list(group), everything):
            keys = itertools.product(
                [column.title], [data.name], data.categories, seeds
            )
            keys = [Key(*key) for key in keys]
            try:
                tasks |= {
                    key: _task(key, column, data, budget, overrides, workdir)
                    for key in keys
                }
            except errors.UserError as error:
                failures |= dict.fromkeys(keys, _line(error))
                print(f"failed: {column.title}: {_line(error)}", flush=True)
        names = {task.name: key for key, task in tasks.items()}
        trainings = ablation.share(list(tasks.values()))
        todo = _unfinished(trainings)
        left = sum(len(one.left) for one in todo)
        print(f"{method}: {len(tasks) - left} of {len(tasks)} runs are finished")
        for batch in _batches(todo, batching, variants_per_batch):
            left = [task for training in batch for task in training.left]
            failed = _guarded(left, functools.partial(ablation.train, batch))
            failures |= {names[name]: reason for name, reason in failed.items()}
            memory.free_programs()
        for training in trainings:
            for task in training.tasks:
                key = names[task.name]
                if after and key not in failures:
                    failed = _guarded([task], functools.partial(after, task.workdir))
                    failures |= {names[name]: why for name, why in failed.items()}
                if key not in failures:
                    folders[key] = task.workdir
                    trained_in[key] = training.tasks[0].workdir
                memory.free_programs()
    return Outcome(folders, trained_in, failures)


def _task(
    key: Key,
    column: columns.Column,
    data: datasets_lib.Data,
    budget: str,
    overrides: Mapping[str, Any],
    workdir: pathlib.Path,
) -> ablation.Task:
    config = columns.config(column, budget, data.name, data.settings, overrides)
    config.seed, config.data.category = key.seed, key.category
    config = methods.resolve(config)
    methods.create(config)
    category = key.category or datasets_lib.folder_name(config.data.path)
    title = key.title.replace("/", "_")
    folder = pathlib.PurePath(data.name, title, category, f"seed_{key.seed}")
    return ablation.Task(str(folder), config, workdir / folder)


def _unfinished(
    trainings: Sequence[ablation.Training],
) -> list[ablation.Training]:
    for training in trainings:
        for task in training.tasks:
            if experiment.is_finished(task.workdir):
                experiment.refuse_other_settings(
                    task.config, task.workdir, resumes=False
                )
    return ablation.unfinished(trainings)


def _batches(
    todo: Sequence[ablation.Training], batching: str | None, variants_per_batch: int
) -> list[list[ablation.Training]]:
    """Those of `ablation`; one by one where a method fails before it is trained."""
    try:
        return ablation.batches(todo, batching, variants_per_batch)
    except Exception:
        return [[training] for training in todo]


def _guarded(
    tasks: Sequence[ablation.Task], call: Callable[[], dict[str, str] | None]
) -> dict[str, str]:
    """What failed in a call; nothing but a full disk or a signal ends the table.

    Args:
      tasks: that the call is about.
      call: returns reasons by the tasks' names.
    """
    try:
        return call() or {}
    except OSError:
        raise
    except Exception as error:
        if distributed.is_primary() and not isinstance(error, errors.UserError):
            place = tasks[0].workdir.parents[1] / _FAILURE
            files.write_text(place, traceback.format_exc())
        print(f"failed: {', '.join(t.name for t in tasks)}: {_line(error)}", flush=True)
        return {task.name: _line(error) for task in tasks}


def _line(error: Exception) -> str:
    """What is wrong, in one line."""
    text = " ".join(str(error).split())
    if not isinstance(error, errors.UserError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _WORDS else f"{text[: _WORDS - 3]}..."
