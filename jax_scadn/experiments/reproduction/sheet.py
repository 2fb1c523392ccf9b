"""What a trained method shows and costs on some test images, and the sheet of all."""

from __future__ import annotations

import pathlib
import statistics
import time
from collections.abc import Mapping

import numpy as np

from jax_scadn import methods
from jax_scadn.data import images as images_lib
from jax_scadn.data import sources
from jax_scadn.detection import detector as detector_lib
from jax_scadn.detection import evaluation
from jax_scadn.experiments import costs
from jax_scadn.reports import figures
from jax_scadn.runtime import distributed, errors, files

FILE = "maps.npz"  # of a run: maps of the images on the sheet, in levels of colour
_CALLS = 3  # that are timed
_LEVELS = 255


def measure(folder: pathlib.Path) -> None:
    """Scores the images of the sheet; keeps their maps, and what scoring takes.

    Does nothing where that is done.

    Args:
      folder: of a finished run.
    """
    if distributed.broadcast_from_primary((folder / FILE).exists()):
        return
    trained = detector_lib.load(folder)
    config, calibration = trained.config, trained.calibration
    test = sources.load(config.data, config.seed).test
    shown = evaluation.for_the_sheet(test.defects, config.evaluation.sheet_rows)
    images = images_lib.stack([record.image for record in test.subset(shown)])
    size = min(trained.batch_size, len(images))
    meter, seconds = costs.Meter(), []
    for number in range(1 + _CALLS):
        start = time.monotonic()
        trained.score_batch(images[:size])
        if number:  # the first may compile
            seconds.append(time.monotonic() - start)
    _, mib = meter.read()
    parts = [
        trained.score_batch(images[i : i + trained.batch_size])
        for i in range(0, len(images), trained.batch_size)
    ]
    kept = {
        "paths": [test.paths[i] for i in shown],
        "anomalous": np.concatenate([p.scores for p in parts]) > calibration.threshold,
    }
    if parts[0].maps is not None:
        low, high = calibration.vmin, calibration.vmax
        maps = np.concatenate([part.maps for part in parts])
        kept["levels"] = np.rint(
            _LEVELS * np.clip((maps - low) / (high - low), 0, 1)
        ).astype(np.uint8)
    if not distributed.is_primary():
        return
    each = statistics.median(seconds) / trained.batch_size
    costs.write_scoring(folder, costs.Cost(each, mib, hardware=costs.hardware()))
    with files.replacing(folder / FILE) as part:
        np.savez_compressed(part, **kept)


def draw(folders: Mapping[str, pathlib.Path], path: pathlib.Path) -> None:
    """Writes the sheet of one category, a column a method.

    Args:
      folders: of one run of each method by its title, all on the same images.
      path: of the picture.
    """
    first = methods.read(next(iter(folders.values())) / detector_lib.CONFIG)
    test = sources.load(first.data, first.seed).test
    kept = {title: np.load(folder / FILE) for title, folder in folders.items()}
    place = {name: index for index, name in enumerate(test.paths)}
    rows = []
    for number, name in enumerate(next(iter(kept.values()))["paths"].tolist()):
        if any(one["paths"][number] != name for one in kept.values()):
            raise errors.UserError(
                f"the runs in {path.parent} are of other test images: give another "
                "--workdir"
            )
        record = test[place[name]]
        rows.append(
            figures.MethodsRow(
                image=images_lib.as_float(record.image),
                mask=record.mask,
                label=evaluation.label(test.items[place[name]]),
                maps={
                    title: one["levels"][number] / _LEVELS if "levels" in one else None
                    for title, one in kept.items()
                },
                anomalous={
                    title: bool(one["anomalous"][number]) for title, one in kept.items()
                },
            )
        )
    figures.methods_sheet(rows, path)
