"""Many variants of one experiment, trained in one process and in one jitted batch.

Work directory:

    ablation.json             the variants and their seeds
    <variant>/seed_<n>/       a work directory as `experiment.train` writes it
"""

from __future__ import annotations

import ast
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections

from jax_scadn import (
    atomic,
    configuration,
    errors,
    evaluation,
    experiment,
    methods,
    training,
    variants,
)
from jax_scadn.data import sources

BATCHING = ("vmap", "map")
FILE = "ablation.json"
_BASE = "base"  # the settings themselves, where only seeds vary

# Settings that no training sees: variants that differ in nothing else share one.
_AFTER_TRAINING = ("name", "vgg_weights", "scoring.", "calibration.", "evaluation.",
                   "data.test_")  # fmt: skip

Changes = Mapping[str, Any]  # 'model.width' -> value


@dataclasses.dataclass(frozen=True)
class Task:
    """One variant with one seed."""

    name: str
    config: ml_collections.ConfigDict
    workdir: pathlib.Path


def collect(
    sweep: Callable[[Callable[..., None]], None] | None,
    options: Sequence[str],
    seeds: Sequence[int],
) -> dict[str, Changes]:
    """The variants by name, in order.

    Args:
      sweep: called with `add(name, changes)`; None where the settings have none.
      options: such as 'model.width=16,32'; each variant is made once for each
        combination of their values.
      seeds: several of them are enough to vary.

    Raises:
      errors.UserError: nothing to vary, a name twice, or an option that is not
        FIELD=VALUE,VALUE.
    """
    found: dict[str, Changes] = {}

    def add(name: str, changes: Changes) -> None:
        if name in found:
            raise errors.UserError(f"the sweep has two variants named {name!r}")
        found[name] = dict(changes)

    if sweep is not None:
        sweep(add)
    if not found and not options and len(seeds) < 2:
        raise errors.UserError(
            "nothing to vary: take settings with a function sweep(add), such as "
            "configs/ablation_mvtec.py, or give --sweep=FIELD=VALUE,VALUE or "
            "--seeds=0,1"
        )
    axes = [_axis(option) for option in options]
    combined = {}
    for name, changes in (found or {"": {}}).items():
        for point in itertools.product(*axes):
            label = ",".join([name] * bool(name) + [text for text, _, _ in point])
            values = {field: value for _, field, value in point}
            combined[label or _BASE] = {**changes, **values}
    return combined


def _axis(option: str) -> list[tuple[str, str, Any]]:
    field, equals, values = option.partition("=")
    if not equals or not values:
        raise errors.UserError(f"--sweep={option}: give FIELD=VALUE,VALUE")
    try:
        parsed = ast.literal_eval(f"({values},)")
    except (SyntaxError, ValueError):  # words
        parsed = tuple(values.split(","))
    return [(f"{field}={value}".replace(" ", ""), field, value) for value in parsed]


def run(
    config: ml_collections.ConfigDict,
    changes: Mapping[str, Changes],
    seeds: Sequence[int],
    workdir: pathlib.Path,
    batching: str | None = None,
    variants_per_batch: int = 0,
) -> list[str]:
    """Trains, calibrates and evaluates what is not finished yet.

    Args:
      config: settings before `configuration.resolve`.
      changes: of each variant.
      seeds: each variant is trained with each.
      workdir: see above; one such folder for each category where the settings name
        none and have several.
      batching: 'vmap' steps variants together whose program is the same, 'map' one
        after the other; None takes what is faster: 'map' on CPUs.
      variants_per_batch: at most so many together; 0 = as many as fit into memory.

    Returns:
      Names of the trainings that failed, with the reason.

    Raises:
      errors.UserError: wrong settings, or the folder belongs to another ablation.
    """
    batching = batching or ("map" if jax.default_backend() == "cpu" else "vmap")
    chosen = any("data.category" in changed for changed in changes.values())
    if chosen or config.data.category:
        categories = ("",)
    else:
        categories = sources.categories(configuration.resolve(config).data)
    failed = []
    for category in categories:
        one = config.copy_and_resolve_references()
        if category:
            one.data.category = category
        tasks = _tasks(one, changes, seeds, workdir / category)
        _write(changes, seeds, workdir / category)
        left = [task for task in tasks if not experiment.is_finished(task.workdir)]
        print(f"{len(tasks) - len(left)} of {len(tasks)} variants are finished")
        trainings = _trainings(tasks)
        unfinished = {task.name for task in left}
        todo = [t for t in trainings if unfinished & {task.name for task in t}]
        for batch in _batches(todo, batching, variants_per_batch):
            failed += _train(batch, unfinished)
    return failed


def _tasks(config, changes, seeds, workdir: pathlib.Path) -> list[Task]:
    tasks = []
    for name, changed in changes.items():
        for seed in seeds:
            one = config.copy_and_resolve_references()
            one.seed = seed
            for field, value in changed.items():
                try:
                    configuration.put(one, field, value)
                except (AttributeError, KeyError, TypeError) as error:
                    reason = " ".join(str(error).split())
                    raise errors.UserError(
                        f"variant {name!r} sets {field}={value!r}: {reason}"
                    ) from None
            folder = pathlib.PurePath(name) / f"seed_{seed}"
            tasks.append(
                Task(str(folder), configuration.resolve(one), workdir / folder)
            )
    return tasks


def _write(changes, seeds, workdir: pathlib.Path) -> None:
    """Notes the variants; those of an earlier call stay.

    Raises:
      errors.UserError: a variant of that name was another one.
    """
    path = workdir / FILE
    noted = json.loads(json.dumps(changes))  # tuples become lists
    if path.exists():
        before = json.loads(path.read_text())
        for name, changed in before["variants"].items():
            if noted.get(name, changed) != changed:
                raise errors.UserError(
                    f"{path} has another variant {name!r}; give another --workdir or "
                    "delete it"
                )
        noted = before["variants"] | noted
        seeds = sorted({*before["seeds"], *seeds})
    workdir.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"variants": noted, "seeds": list(seeds)}, indent=2)
    atomic.write_text(path, text + "\n")


def _trainings(tasks: Sequence[Task]) -> list[list[Task]]:
    """The tasks of each training; the first one's folder keeps its checkpoints."""
    shared: dict[str, list[Task]] = {}
    for task in tasks:
        seen = {
            field: value
            for field, value in configuration.flat(task.config).items()
            if not field.startswith(_AFTER_TRAINING)
        }
        shared.setdefault(json.dumps(seen), []).append(task)
    return list(shared.values())


def _batches(
    trainings: Sequence[list[Task]], batching: str, variants_per_batch: int
) -> list[list[list[Task]]]:
    """What is stepped together: trainings whose stages and batches are the same."""
    if batching == "map":
        return [[one] for one in trainings]
    alike: dict[Any, list[list[Task]]] = {}
    for one in trainings:
        config = one[0].config
        stages = methods.create(config).stages
        sizes = tuple(stage.schedule(config).batch_size for stage in stages)
        alike.setdefault((stages, sizes), []).append(one)
    batches = []
    for (stages, _), together in alike.items():
        size = variants_per_batch or variants.fitting(stages[0], together[0][0].config)
        size = size or len(together)
        batches += [together[i : i + size] for i in range(0, len(together), size)]
    return batches


def _train(batch: Sequence[list[Task]], unfinished: set[str]) -> list[str]:
    """Trains one batch and finishes its tasks; returns what failed."""
    jobs = [experiment.Job(tasks[0].config, tasks[0].workdir) for tasks in batch]
    names = ", ".join(tasks[0].name for tasks in batch)
    print(f"training {names}", flush=True)
    trained: list[dict[str, Any]] = [{} for _ in jobs]
    failed: dict[int, str] = {}
    for number, stage in enumerate(jobs[0].method.stages):
        going = [n for n in range(len(jobs)) if n not in failed]
        if not going:
            break
        runs = [jobs[n].run(number, trained[n]) for n in going]
        states = training.Alone if len(runs) == 1 else variants.Stacked
        for n, weights in zip(going, training.fit(runs, states), strict=True):
            if isinstance(weights, errors.UserError):
                failed[n] = f"{batch[n][0].name}: {weights}"
            else:
                trained[n][stage.folder] = weights
    for n, tasks in enumerate(batch):
        if n in failed:
            print(f"failed: {failed[n]}")
            continue
        for task in tasks:
            if task.name in unfinished:
                job = jobs[n]
                if task is not tasks[0]:
                    job = experiment.Job(task.config, task.workdir, jobs[n].workdir)
                _say(task, job.finish(trained[n]))
    return list(failed.values())


def _say(task: Task, results: dict[str, Any] | None) -> None:
    if results is not None:
        image = evaluation.trained(results)[evaluation.ALL]["image"]
        print(f"{task.name}: image AUROC {image['auroc']:.4f}", flush=True)
