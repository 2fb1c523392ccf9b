"""One category from images to results, and many categories one after the other."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import ml_collections

from jax_scadn import methods
from jax_scadn.data import check, records, sources
from jax_scadn.detection import detector, evaluation
from jax_scadn.reports import tables
from jax_scadn.runtime import distributed, errors
from jax_scadn.settings import configuration
from jax_scadn.training import loop

# Settings that may change when a run goes on: they change no result that it has.
_FREE = ("training.steps", "training.epochs", "training.log_every",
         "training.picture_every", "training.checkpoint_every",
         "training.stalled_after", "data.path", "data.cache_mb", "data.threads",
         "scoring.images_per_call",
         "scoring.masks_per_call", "evaluation.after_training",
         "evaluation.sheet_rows")  # fmt: skip
_EVALUATION = "evaluation"


def default_workdir(config: ml_collections.ConfigDict) -> pathlib.Path:
    """runs/<name>, and a category's own folder in it."""
    return pathlib.Path("runs") / config.name / config.data.category


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Trains on the category of the settings, or on each of them in its own folder.

    What is finished is not done again.
    """
    categories = sources.categories(config.data)
    if config.data.category or categories == ("",):
        _train_one(config, workdir)
        return
    missing = [name for name in config.data.categories if name not in categories]
    if missing:
        print(f"not in {config.data.path}: {', '.join(missing)}")
    for number, category in enumerate(categories, 1):
        print(f"[{number}/{len(categories)}] {category}")
        one = config.copy_and_resolve_references()
        one.data.category = category
        _train_one(one, workdir / category)
    if config.evaluation.after_training:
        _summarise(workdir, categories)


def evaluate(workdir: pathlib.Path, data_path: str = "") -> None:
    """Evaluates one trained category, or all that stand in the work directory."""
    if (workdir / detector.CONFIG).exists():
        _evaluate_one(workdir, data_path)
        return
    found = sorted(path.parent for path in workdir.glob(f"*/{detector.CONFIG}"))
    if not found:
        raise errors.UserError(
            f"{workdir} holds no training; give a --workdir that jax_scadn.train wrote"
        )
    for folder in found:
        print(folder.name)
        _evaluate_one(folder, data_path)
    _summarise(workdir, [folder.name for folder in found])


class Job:
    """One category: its data, its settings and where everything is written.

    Args:
      config: resolved settings, with the category set.
      workdir: a folder of its own.
      trained_in: work directory of the training, where that is another one's: jobs
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
        _refuse_other_settings(config, workdir)
        self.config = config
        self.workdir = workdir
        self.trained_in = trained_in or workdir
        self.dataset = _dataset(config)
        self.method = methods.create(config)
        if distributed.is_primary():
            _write_settings(config, workdir)

    def run(self, stage: int, trained: dict[str, Any]) -> loop.Run:
        """The training of one stage.

        Args:
          stage: its number.
          trained: weights of the stages before it, by folder.
        """
        stage = self.method.stages[stage]
        train = self.dataset.train
        source = stage.source(self.config, train, trained, self.trained_in)
        folder = self.trained_in / stage.folder
        return loop.Run(self.config, self.method, stage, source, train, folder)

    def finish(self, trained: dict[str, Any]) -> dict[str, Any] | None:
        """Calibrates and saves the detector, and evaluates it.

        Args:
          trained: weights of all stages by folder.

        Returns:
          See `evaluate`.
        """
        measure = self.method.measure.load_params(self.config.vgg_weights)
        params = self.method.inference_params(trained, measure)
        found = detector.uncalibrated(self.config, params)
        found = found.calibrated(self.dataset.train, self.dataset.held_out)
        found.save(self.workdir)
        return self.evaluate(found)

    def evaluate(self, found: detector.Detector) -> dict[str, Any] | None:
        """Writes the results, in process 0.

        Returns:
          Those, or None where there is nothing to evaluate, or in another process.
        """
        if len(self.dataset.test) and self.config.evaluation.after_training:
            folder = self.workdir / _EVALUATION
            return evaluation.evaluate(found, self.dataset, folder)
        return None


def is_finished(workdir: pathlib.Path) -> bool:
    """Whether a work directory holds a detector and its results."""
    return detector.is_saved(workdir) and distributed.broadcast_from_primary(
        _results(workdir).exists()
    )


def _results(workdir: pathlib.Path) -> pathlib.Path:
    return workdir / _EVALUATION / f"{evaluation.STEM}.json"


def _train_one(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    if is_finished(workdir):
        _refuse_other_settings(config, workdir)
        print(
            f"{workdir} is finished; delete it to train again, or only "
            f"{workdir / 'detector'} to train for more steps"
        )
        print(_results(workdir).with_suffix(".md").read_text())
        return
    job = Job(config, workdir)
    _print_size(config, job.dataset)
    if detector.is_saved(workdir):
        results = job.evaluate(detector.load(workdir))
    else:
        trained: dict[str, Any] = {}
        for number, stage in enumerate(job.method.stages):
            (weights,) = loop.fit([job.run(number, trained)])
            if isinstance(weights, errors.UserError):
                raise weights
            trained[stage.folder] = weights
        print("calibrating on normal images")
        results = job.finish(trained)
    _print_results(results, workdir)
    _print_next(workdir)


def import_detector(
    config: ml_collections.ConfigDict, trained: dict[str, Any], workdir: pathlib.Path
) -> None:
    """Makes a detector of weights that were trained elsewhere.

    Args:
      config: resolved settings.
      trained: weights of each stage by its folder.
      workdir: where there is no detector yet.
    """
    if detector.is_saved(workdir):
        raise errors.UserError(f"{workdir} holds a detector; give another --workdir")
    _print_results(Job(config, workdir).finish(trained), workdir)
    _print_next(workdir)


def _dataset(config: ml_collections.ConfigDict) -> records.Dataset:
    return check.enforce(sources.load(config.data, config.seed), config.data.on_bad)


def _print_size(config: ml_collections.ConfigDict, dataset: records.Dataset) -> None:
    splits = {
        "training": dataset.train,
        "held-out": dataset.held_out,
        "test": dataset.test,
    }
    counts = ", ".join(f"{len(split)} {name}" for name, split in splits.items())
    items = [item for split in splits.values() for item in split.items]
    kept = "kept in memory" if dataset.train.cached else "read again in each epoch"
    mib = sources.memory(items, config.data)
    print(f"{counts} images; decoded they take {mib:.1f} MiB and are {kept}")


def _print_next(workdir: pathlib.Path) -> None:
    print(f"next: python -m jax_scadn.evaluate --workdir={workdir}")
    print(
        f"      python -m jax_scadn.predict --workdir={workdir} "
        "--input=IMAGE_OR_FOLDER --output=predictions"
    )


def _evaluate_one(workdir: pathlib.Path, data_path: str) -> None:
    trained = detector.load(workdir)
    if data_path:
        trained.config.data.path = data_path
    dataset = _dataset(trained.config)
    if not len(dataset.test):
        raise errors.UserError(
            f"the data of {workdir} has no test images; use jax_scadn.predict"
        )
    results = evaluation.evaluate(trained, dataset, workdir / _EVALUATION)
    _print_results(results, workdir)


def _print_results(results: dict[str, Any] | None, workdir: pathlib.Path) -> None:
    if results is None:
        return
    print(tables.markdown(evaluation.rows(results)))
    at = results["threshold"]
    print(
        f"threshold {at['value']:.4g} from {at['images']} "
        f"{'held-out ' if at['held_out'] else 'training '}normal images: "
        f"{_percent(at['normal_above'])} of the normal and "
        f"{_percent(at['anomalous_above'])} of the anomalous test images are above it"
    )
    folder = workdir / _EVALUATION
    print(f"heat maps: {folder / 'sheet.png'}")
    print(f"tables and ROC plot: {folder}")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _summarise(workdir: pathlib.Path, categories) -> None:
    """The table of all categories with their mean."""
    if not distributed.is_primary():
        return
    every: list[dict[str, Any]] = []
    for category in categories:
        path = _results(workdir / category)
        if path.exists():
            every.append(json.loads(path.read_text()))
    if len(every) < len(categories):
        return  # a mean over what happens to be there would mislead
    rows = evaluation.summary_rows(every)
    tables.write({"categories": every}, rows, workdir, "summary")
    print(tables.markdown(rows))
    print(f"tables: {workdir}/summary.md, .csv, .json")


def _refuse_other_settings(
    config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> None:
    """Does nothing where nothing is trained yet: the first try may have failed.

    Raises:
      errors.UserError: the directory belongs to a run with other settings.
    """
    path = workdir / detector.CONFIG
    kept = ("checkpoints", "*/checkpoints", "detector")
    trained = any(found for pattern in kept for found in workdir.glob(pattern))
    if path.exists() and trained:
        ours = configuration.flat(config)
        theirs = configuration.flat(configuration.read(path))
        for name, value in ours.items():
            if name not in _FREE and value != theirs.get(name):
                raise errors.UserError(
                    f"{workdir} belongs to a run with {name}={theirs.get(name)!r}, not "
                    f"{value!r}; give another --workdir or delete it"
                )


def _write_settings(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        configuration.write(config, workdir / detector.CONFIG)
    except OSError as error:
        raise errors.UserError(f"{workdir} cannot be written: {error}") from None
