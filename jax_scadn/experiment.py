"""One category from images to results, and many categories one after the other."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import ml_collections

from jax_scadn import (
    configuration,
    detector,
    errors,
    evaluation,
    methods,
    tables,
    training,
)
from jax_scadn.data import check, records, sources

# Settings that may change when a run goes on: they change no result that it has.
_FREE = ("training.steps", "training.epochs", "training.log_every",
         "training.picture_every", "training.checkpoint_every", "data.path",
         "data.cache_mb", "data.threads", "scoring.images_per_call",
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


def _train_one(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    results = workdir / _EVALUATION / f"{evaluation.STEM}.json"
    _refuse_other_settings(config, workdir)
    if detector.is_saved(workdir) and results.exists():
        print(
            f"{workdir} is finished; delete it to train again, or only "
            f"{workdir / 'detector'} to train for more steps"
        )
        print((results.with_suffix(".md")).read_text())
        return
    dataset = _dataset(config)
    _write_settings(config, workdir)
    _print_size(config, dataset)
    if detector.is_saved(workdir):
        trained = detector.load(workdir)
    else:
        method = methods.create(config)
        params = training.fit(config, method, dataset.train, workdir)
        trained = _calibrated(config, params, dataset, workdir)
    if len(dataset.test) and config.evaluation.after_training:
        _report(trained, dataset, workdir)
    _print_next(workdir)


def import_detector(
    config: ml_collections.ConfigDict, params: Any, workdir: pathlib.Path
) -> None:
    """Calibrates weights that were trained elsewhere, and saves the detector."""
    if detector.is_saved(workdir):
        raise errors.UserError(f"{workdir} holds a detector; give another --workdir")
    workdir.mkdir(parents=True, exist_ok=True)
    _calibrated(config, params, _dataset(config), workdir)
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


def _calibrated(config, params, dataset, workdir: pathlib.Path) -> detector.Detector:
    print("calibrating on normal images")
    trained = detector.uncalibrated(config, params)
    trained = trained.calibrated(dataset.train, dataset.held_out)
    trained.save(workdir)
    return trained


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
    _report(trained, dataset, workdir)


def _report(trained: detector.Detector, dataset, workdir: pathlib.Path) -> None:
    folder = workdir / _EVALUATION
    results = evaluation.evaluate(trained, dataset, folder)
    print(tables.markdown(evaluation.rows(results)))
    at = results["threshold"]
    print(
        f"threshold {at['value']:.4g} from {trained.calibration.threshold_images} "
        f"{'held-out ' if trained.calibration.held_out else 'training '}normal images: "
        f"{_percent(at['normal_above'])} of the normal and "
        f"{_percent(at['anomalous_above'])} of the anomalous test images are above it"
    )
    print(f"heat maps: {folder / 'sheet.png'}")
    print(f"tables and ROC plot: {folder}")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _summarise(workdir: pathlib.Path, categories) -> None:
    """The table of all categories with their mean."""
    every: list[dict[str, Any]] = []
    for category in categories:
        path = workdir / category / _EVALUATION / f"{evaluation.STEM}.json"
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
    trained = any((workdir / name).exists() for name in ("checkpoints", "detector"))
    if path.exists() and trained:
        ours, theirs = _flat(config), _flat(configuration.read(path))
        for name in ours:
            if name not in _FREE and ours[name] != theirs[name]:
                raise errors.UserError(
                    f"{workdir} belongs to a run with {name}={theirs[name]!r}, not "
                    f"{ours[name]!r}; give another --workdir or delete it"
                )


def _write_settings(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        configuration.write(config, workdir / detector.CONFIG)
    except OSError as error:
        raise errors.UserError(f"{workdir} cannot be written: {error}") from None


def _flat(config: ml_collections.ConfigDict, prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = tuple(value) if isinstance(value, list) else value
    return flat
