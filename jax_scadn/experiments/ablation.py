"""Many variants of one experiment, trained in one process and in one jitted batch.

Work directory:

    ablation.json             the variants and their seeds
    <variant>/seed_<n>/       a work directory as `experiment.train` writes it
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import itertools
import json
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import ml_collections

from jax_scadn import methods
from jax_scadn.data import sources
from jax_scadn.detection import evaluation
from jax_scadn.experiments import experiment
from jax_scadn.runtime import distributed, errors, files, lock
from jax_scadn.settings import base, resolve
from jax_scadn.training import protocol, vectorized

BATCHING = ("vmap", "map")
FILE = "ablation.json"
_BASE = "base"  # the settings themselves, where only seeds vary
_WORDS = {"true": True, "false": False}

Changes = Mapping[str, Any]  # 'model.width' -> value


@dataclasses.dataclass(frozen=True)
class Task:
    """One variant with one seed."""

    name: str
    config: ml_collections.ConfigDict
    workdir: pathlib.Path


@dataclasses.dataclass(frozen=True)
class Training:
    """What is trained once: tasks that differ in nothing that training sees.

    Attributes:
      tasks: the first one's folder keeps the checkpoints.
      left: those of them that are not finished.
    """

    tasks: Sequence[Task]
    left: Sequence[Task]


def collect(
    sweep: Callable[[Callable[..., None]], None] | None,
    options: Sequence[str],
    seeds: Sequence[int],
    allow_single: bool = False,
) -> dict[str, Changes]:
    """The variants by name, in order.

    Args:
      sweep: called with `add(name, changes)`; None where the settings have none.
      options: such as 'model.width=16,32'; each variant is made once for each
        combination of their values.
      seeds: several of them are enough to vary.
      allow_single: whether there may be nothing to vary.

    Raises:
      errors.UserError: nothing to vary, a name twice, or an option that is not
        FIELD=VALUE,VALUE.
    """
    declared: dict[str, Changes] = {}

    def add(name: str, changes: Changes) -> None:
        if name in declared:
            raise errors.UserError(f"the sweep has two variants named {name!r}")
        if name in ("", ".", "..") or "/" in name:
            raise errors.UserError(
                f"variant {name!r}: the name must be one of a folder"
            )
        declared[name] = dict(changes)

    if sweep is not None:
        sweep(add)
    if not (declared or options or len(seeds) > 1 or allow_single):
        raise errors.UserError(
            "nothing to vary: take settings with a function sweep(add), such as "
            "configs/ablation_mvtec.py, or give --sweep=FIELD=VALUE,VALUE or "
            "--seeds=0,1"
        )
    axes = [_axis(option) for option in options]
    combined = {}
    for name, changes in (declared or {"": {}}).items():
        for point in itertools.product(*axes):
            label = ",".join([name] * bool(name) + [text for text, _, _ in point])
            values = {field: value for _, field, value in point}
            if label in combined:
                raise errors.UserError(f"the sweep has two variants named {label!r}")
            combined[label or _BASE] = {**changes, **values}
    return combined


def seeds_of(file: types.ModuleType, given: Sequence[str]) -> Sequence[int]:
    """Those given on the command line, or SEEDS of the settings file; each once.

    Raises:
      errors.UserError: one of them is not allowed.
    """
    try:
        seeds = [int(seed) for seed in given if seed]
    except ValueError:
        text = ",".join(given)
        raise errors.UserError(f"--seeds={text}: must be integers") from None
    seeds = dict.fromkeys(seeds or getattr(file, "SEEDS", (0,)))
    for seed in seeds:
        if problem := base.FIELDS["seed"].problem(seed):
            raise errors.UserError(f"--seeds={seed}: {problem}")
    return list(seeds)


def _axis(option: str) -> list[tuple[str, str, Any]]:
    field, equals, values = option.partition("=")
    values = values.strip().removesuffix(",")
    if not equals or not values:
        raise errors.UserError(f"--sweep={option}: give FIELD=VALUE,VALUE")
    try:
        parsed = ast.literal_eval(f"({values},)")
    except (SyntaxError, TypeError, ValueError):  # words
        words = [word.strip() for word in values.split(",")]
        parsed = [_WORDS.get(word.lower(), word) for word in words]
    for number, value in enumerate(parsed):
        if value in parsed[:number]:
            raise errors.UserError(f"--sweep={option}: has the value {value} twice")
    return [(_label(field, value), field, value) for value in parsed]


def _label(field: str, value: Any) -> str:
    """A part of the name of a folder."""
    return f"{field}={value}".replace(" ", "").replace("/", "_")


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
      config: settings before `methods.resolve`.
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
    failed = []
    for trainings in plan(config, changes, seeds, workdir):
        todo = unfinished(trainings)
        count = sum(len(one.tasks) for one in trainings)
        left = sum(len(one.left) for one in todo)
        print(f"{count - left} of {count} variants are finished")
        for batch in batches(todo, batching, variants_per_batch):
            failed += [f"{name}: {reason}" for name, reason in train(batch).items()]
    return failed


def plan(
    config: ml_collections.ConfigDict,
    changes: Mapping[str, Changes],
    seeds: Sequence[int],
    workdir: pathlib.Path,
) -> list[list[Training]]:
    """For each category its trainings, in the same order wherever it is called.

    Notes in the category's folder what belongs to it. For arguments see `run`.
    """
    chosen = any("data.category" in changed for changed in changes.values())
    if chosen or config.data.category:
        categories = ("",)
    else:
        categories = sources.categories(methods.resolve(config).data)
    planned = []
    for category in categories:
        one = config.copy_and_resolve_references()
        if category:
            one.data.category = category
        planned.append(share(_tasks(one, changes, seeds, workdir / category)))
        if distributed.is_primary():
            _write(changes, seeds, workdir / category)
    return planned


def unfinished(trainings: Sequence[Training]) -> list[Training]:
    """Those of which something is left to do, and what it is."""
    left = [
        dataclasses.replace(
            one, left=[t for t in one.tasks if not experiment.is_finished(t.workdir)]
        )
        for one in trainings
    ]
    return [one for one in left if one.left]


def _tasks(config, changes, seeds, workdir: pathlib.Path) -> list[Task]:
    tasks = []
    for name, changed in changes.items():
        if "seed" in changed:  # each of --seeds would be this one
            raise errors.UserError(f"variant {name!r} sets seed: give --seeds instead")
        for seed in seeds:
            one = config.copy_and_resolve_references()
            one.seed = seed
            for field, value in changed.items():
                try:
                    resolve.put(one, field, value)
                except (AttributeError, KeyError, TypeError) as error:
                    reason = " ".join(str(error).split())
                    raise errors.UserError(
                        f"variant {name!r} sets {field}={value!r}: {reason}"
                    ) from None
            folder = pathlib.PurePath(name) / f"seed_{seed}"
            tasks.append(Task(str(folder), methods.resolve(one), workdir / folder))
    return tasks


def _write(changes, seeds, workdir: pathlib.Path) -> None:
    """Notes the variants; those of an earlier call stay.

    Raises:
      errors.UserError: a variant of that name was another one.
    """
    path = workdir / FILE
    noted = json.loads(json.dumps(changes))  # tuples become lists
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
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
    files.write_text(path, text + "\n")


def share(tasks: Sequence[Task]) -> list[Training]:
    """Tasks that differ in nothing that training sees share one."""
    shared: dict[str, list[Task]] = {}
    for task in tasks:
        fields = methods.fields(task.config.method)
        seen = {
            field: value
            for field, value in resolve.flat(task.config).items()
            if fields[field].seen_by == "training"
        }
        shared.setdefault(json.dumps(seen), []).append(task)
    return [Training(tasks, tasks) for tasks in shared.values()]


def batches(
    trainings: Sequence[Training],
    batching: str | None = None,
    variants_per_batch: int = 0,
) -> list[list[Training]]:
    """Batches of trainings whose stages and batches are the same; see `run`."""
    batching = batching or ("map" if jax.default_backend() == "cpu" else "vmap")
    if batching == "map":
        return [[one] for one in trainings]
    alike: dict[Any, list[Training]] = {}
    for one in trainings:
        config = one.tasks[0].config
        method = methods.create(config)
        sizes = tuple(
            resolve.get(config, stage.budget).batch_size
            for stage in protocol.gradient_stages(method.stages)
        )
        key = (tuple(method.stages), sizes, tuple(method.frozen.items()))
        alike.setdefault(key, []).append(one)
    result = []
    for (stages, sizes, _), together in alike.items():
        if not sizes:  # nothing to step together
            result += [[one] for one in together]
            continue
        size = variants_per_batch or _fitting(stages, together[0])
        size = size or len(together)
        result += [together[i : i + size] for i in range(0, len(together), size)]
    return result


def _fitting(stages, training: Training) -> int:
    """How many trainings fit into the memory of all devices; 0 where not known.

    Read off the first stage that is trained, where it needs no earlier ones.
    """
    task = training.tasks[0]
    if protocol.is_closed_form(stages[0]):
        return 0
    run = experiment.CategoryRun(task.config, task.workdir)
    return vectorized.fitting(run.run(run.method.stages[0], {}))


def train(batch: Sequence[Training]) -> dict[str, str]:
    """Trains together, and finishes what is left of the tasks.

    Returns:
      The reasons of what failed, by the task's name.

    Raises:
      errors.UserError: another process is at work in one of their folders.
    """
    folders = {task.workdir for one in batch for task in (one.tasks[0], *one.left)}
    with contextlib.ExitStack() as stack:
        for folder in sorted(folders):
            stack.enter_context(lock.held(folder))
        return _train(batch)


def _train(batch: Sequence[Training]) -> dict[str, str]:
    firsts = [one.tasks[0] for one in batch]
    runs = [experiment.CategoryRun(task.config, task.workdir) for task in firsts]
    print(f"training {', '.join(task.name for task in firsts)}", flush=True)
    failed = {}

    def fail(task: Task, error: errors.UserError) -> None:
        failed[task.name] = str(error)
        print(f"failed: {task.name}: {error}")

    for one, run, trained in zip(
        batch, runs, experiment.train_stages(runs), strict=True
    ):
        first = one.tasks[0]
        if isinstance(trained, errors.UserError):
            for task in one.left:
                fail(task, trained)
            continue
        for task in one.left:
            other = run
            if task is not first:
                other = experiment.CategoryRun(task.config, task.workdir, run.workdir)
            try:
                _report(task, other.finish(trained))
            except errors.UserError as error:  # such as weights that are not finite
                fail(task, error)
    return failed


def _report(task: Task, results: dict[str, Any] | None) -> None:
    if results is not None:
        image = evaluation.trained(results)[evaluation.ALL]["image"]
        print(f"{task.name}: image AUROC {image['auroc']:.4f}", flush=True)
