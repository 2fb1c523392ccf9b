"""One category from images to results, and many categories one after the other."""

from __future__ import annotations

import functools
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from jax_scadn import methods
from jax_scadn.data import check, records, sources
from jax_scadn.detection import detector, evaluation
from jax_scadn.experiments import console, costs
from jax_scadn.methods import base
from jax_scadn.reports import tables
from jax_scadn.runtime import distributed, errors, lock
from jax_scadn.settings import files, resolve
from jax_scadn.training import closed_form, loop, protocol, vectorized

_EVALUATION = "evaluation"
# `jax_scadn.evaluate` has flags of its own, and none for most settings.
_WORDS_OF_EVALUATE = {
    r"--config\.data\.test_path": "--test_data",
    r"--config\.data\.path": "--data",
    r"set --config\.data\.category to one of": "give other --data; there are",
    r",? or (set )?--config\..*": "",
}


def default_workdir(config: ml_collections.ConfigDict) -> pathlib.Path:
    """runs/<name>, and a category's own folder in it."""
    return pathlib.Path("runs") / config.name / config.data.category


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Trains on the category of the settings, or on each of them in its own folder.

    What is finished is not done again.
    """
    categories = sources.categories(config.data)
    if config.data.category or categories == ("",):
        with lock.held(workdir):
            _train_one(config, workdir)
        return
    missing = [name for name in sources.wanted(config.data) if name not in categories]
    if missing:
        print(f"not in {config.data.path}: {', '.join(missing)}")
    for number, category in enumerate(categories, 1):
        print(f"[{number}/{len(categories)}] {category}")
        one = config.copy_and_resolve_references()
        one.data.category = category
        with lock.held(workdir / category):
            _train_one(one, workdir / category)
    if config.evaluation.after_training:
        _summarise(workdir, categories)


def evaluate(workdir: pathlib.Path, data_path: str = "", test_path: str = "") -> None:
    """Evaluates one trained category, or all in the work directory.

    Args:
      workdir: of the training.
      data_path: in place of `data.path`; '' = where it was.
      test_path: in place of `data.test_path`.

    Raises:
      errors.UserError: no finished training there, or the data cannot be used.
    """
    if (workdir / detector.CONFIG).exists():
        with lock.held(workdir):
            _evaluate_one(workdir, data_path, test_path)
        return
    folders = sorted(path.parent for path in workdir.glob(f"*/{detector.CONFIG}"))
    if not folders:
        raise errors.UserError(
            f"{workdir} has no training; give a --workdir that jax_scadn.train wrote"
        )
    for folder in folders:
        print(folder.name)
        with lock.held(folder):
            _evaluate_one(folder, data_path, test_path)
    _summarise(workdir, [folder.name for folder in folders])


class CategoryRun:
    """One category: its data, its settings and where everything is written.

    Args:
      config: resolved settings, with the category set.
      workdir: a folder of its own.
      trained_in: work directory of the training, where that is another one's: runs
        whose settings differ in evaluation only share one.

    Raises:
      errors.UserError: the data cannot be used, or the folder is another run's.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: pathlib.Path,
        trained_in: pathlib.Path | None = None,
    ):
        refuse_other_settings(config, workdir)
        self.config = config
        self.workdir = workdir
        self.trained_in = trained_in or workdir
        self.dataset = _dataset(config)
        self.method = methods.create(config)
        if distributed.is_primary():
            _write_settings(config, workdir)

    def context(self, earlier: Mapping[str, Any]) -> protocol.Context:
        """What a stage may read, given the results of the stages before it."""
        return protocol.Context(self._frozen, earlier)

    @functools.cached_property
    def _frozen(self) -> dict[str, Any]:
        return {name: source.load() for name, source in self.method.frozen.items()}

    def run(self, stage, earlier: Mapping[str, Any]) -> loop.Run:
        """The training of a gradient stage.

        Args:
          stage: of the method.
          earlier: results of the stages before it, by name.
        """
        trained = protocol.gradient_stages(self.method.stages)
        folder = self.trained_in
        if len(trained) > 1:
            folder = folder / stage.name
        return loop.Run(
            self.config,
            self.method,
            stage,
            self.dataset.train,
            self.context(earlier),
            folder,
        )

    def solve(self, stage, earlier: Mapping[str, Any]) -> Any:
        """The result of a closed-form stage; arguments: see `run`."""
        print(f"{stage.name}: features of {len(self.dataset.train)} images", flush=True)
        return closed_form.fit(
            stage,
            self.dataset.train,
            self.context(earlier),
            self.config.seed,
            self.config.scoring.images_per_call,
        )

    def finish(self, results: Mapping[str, Any]) -> dict[str, Any] | None:
        """Calibrates and saves the detector, and evaluates it.

        Args:
          results: of all stages by name.

        Returns:
          See `evaluate`.
        """
        variables = {base.FROZEN: self._frozen, **results}
        trained = detector.Detector(self.config, variables)
        trained = trained.calibrated(self.dataset.train, self.dataset.held_out)
        trained.save(self.workdir)
        return self.evaluate(trained)

    def evaluate(self, trained: detector.Detector) -> dict[str, Any] | None:
        """Writes the results, in process 0.

        Returns:
          Those, or None where there is nothing to evaluate, or in another process.
        """
        if len(self.dataset.test) and self.config.evaluation.after_training:
            folder = self.workdir / _EVALUATION
            return evaluation.evaluate(trained, self.dataset, folder)
        return None


def is_finished(workdir: pathlib.Path) -> bool:
    """Whether a work directory has a detector and its results."""
    return detector.is_saved(workdir) and distributed.broadcast_from_primary(
        _results(workdir).exists()
    )


def _results(workdir: pathlib.Path) -> pathlib.Path:
    return workdir / _EVALUATION / f"{evaluation.STEM}.json"


def _train_one(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    if is_finished(workdir):
        refuse_other_settings(config, workdir)
        print(
            f"{workdir} is finished; delete it to train again, or only "
            f"{workdir / 'detector'} to train for more steps"
        )
        print(_results(workdir).with_suffix(".md").read_text(encoding="utf-8"))
        return
    run = CategoryRun(config, workdir)
    console.print_size(config, run.dataset)
    if detector.is_saved(workdir):
        results = run.evaluate(detector.load(workdir))
    else:
        trained = train_stages([run])[0]
        if isinstance(trained, errors.UserError):
            raise trained
        print("calibrating on normal images")
        results = run.finish(trained)
    console.print_results(results, workdir, workdir / _EVALUATION)
    console.print_next(workdir)


def train_stages(
    runs: Sequence[CategoryRun],
) -> list[dict[str, Any] | errors.UserError]:
    """Trains all stages of runs whose stages are the same, several in one step.

    Returns:
      For each run the results of its stages by name, or what stopped it.
    """
    with costs.training([run.trained_in for run in runs]):
        return _train_stages(runs)


def _train_stages(runs) -> list[dict[str, Any] | errors.UserError]:
    results: list[dict[str, Any] | errors.UserError] = [{} for _ in runs]
    for stage in runs[0].method.stages:
        left = [n for n, r in enumerate(results) if not isinstance(r, errors.UserError)]
        if not left:
            break
        if protocol.is_closed_form(stage):
            solved = [runs[n].solve(stage, results[n]) for n in left]
        else:
            trainings = [runs[n].run(stage, results[n]) for n in left]
            states = loop.SingleRun if len(left) == 1 else vectorized.VectorizedRuns
            solved = loop.fit(trainings, states)
        for n, result in zip(left, solved, strict=True):
            if isinstance(result, errors.UserError):
                results[n] = result
            else:
                results[n][stage.name] = result
    return results


def import_detector(
    config: ml_collections.ConfigDict, trained: dict[str, Any], workdir: pathlib.Path
) -> None:
    """Makes a detector of weights that were trained elsewhere.

    Args:
      config: resolved settings.
      trained: results of each stage by name.
      workdir: where there is no detector yet.
    """
    with lock.held(workdir):
        if detector.is_saved(workdir):
            raise errors.UserError(
                f"{workdir} has a detector already; give another --workdir"
            )
        console.print_results(
            CategoryRun(config, workdir).finish(trained), workdir, workdir / _EVALUATION
        )
    console.print_next(workdir)


def _dataset(config: ml_collections.ConfigDict) -> records.Dataset:
    return check.enforce(sources.load(config.data, config.seed), config.data.on_bad)


def load(
    workdir: pathlib.Path, data_path: str = "", test_path: str = ""
) -> tuple[detector.Detector, records.Dataset]:
    """The detector of a work directory, and the data that it was trained on.

    Arguments and errors: see `evaluate`.
    """
    trained = detector.load(workdir)
    data = trained.config.data
    data.path = data_path or data.path
    data.test_path = test_path or data.test_path
    try:
        return trained, _dataset(trained.config)
    except errors.UserError as error:
        message = str(error)
        for flag, words in _WORDS_OF_EVALUATE.items():
            message = re.sub(flag, words, message)
        raise errors.UserError(message) from None


def _evaluate_one(workdir: pathlib.Path, data_path: str, test_path: str) -> None:
    trained, dataset = load(workdir, data_path, test_path)
    if not len(dataset.test):
        raise errors.UserError(
            f"the data of {workdir} has no test images; use jax_scadn.predict"
        )
    results = evaluation.evaluate(trained, dataset, workdir / _EVALUATION)
    console.print_results(results, workdir, workdir / _EVALUATION)


def _summarise(workdir: pathlib.Path, categories) -> None:
    """The table of all categories with their mean."""
    if not distributed.is_primary():
        return
    every: list[dict[str, Any]] = []
    for category in categories:
        path = _results(workdir / category)
        if path.exists():
            every.append(json.loads(path.read_text(encoding="utf-8")))
    if len(every) < len(categories):
        return  # a mean over some categories would mislead
    rows = evaluation.summary_rows(every)
    tables.write({"categories": every}, rows, workdir, "summary")
    print(tables.markdown(rows))
    print(f"tables: {workdir}/summary.md, .csv, .json")


def refuse_other_settings(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, resumes: bool = True
) -> None:
    """Refuses a folder that was trained with other settings.

    Does nothing where nothing is trained yet: the first try may have failed.

    Args:
      config: resolved settings.
      workdir: of the run.
      resumes: whether the run goes on, so that some settings may be others; False where
        its results are to be used as they are.

    Raises:
      errors.UserError: the directory belongs to a run with other settings.
    """
    path = workdir / detector.CONFIG
    kept = ("checkpoints", "*/checkpoints", "detector")
    trained = any(any(workdir.glob(pattern)) for pattern in kept)
    if path.exists() and trained:
        ours = resolve.flat(config)
        theirs = resolve.flat(methods.read(path))
        fields = methods.fields(config.method)
        for name, value in ours.items():
            field = fields[name]
            may_change = field.may_change and (resumes or not field.tells_runs_apart)
            if not may_change and value != theirs.get(name):
                raise errors.UserError(
                    f"{workdir} belongs to a run with {name}={theirs.get(name)!r}, not "
                    f"{value!r}; give another --workdir or delete it"
                )


def _write_settings(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        files.write(config, workdir / detector.CONFIG)
    except OSError as error:
        raise errors.UserError(f"{workdir} cannot be written: {error}") from None
