"""The table of image scores of an evaluation, `images.csv`."""

from __future__ import annotations

import csv
import io
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jax_scadn.data import records
from jax_scadn.runtime import errors, files

FILE = "images.csv"


class ImageScores(NamedTuple):
    """Image scores by detector.

    Attributes:
      paths: (n,) by which the images of two runs are paired.
      labels: (n,) bool, True where anomalous.
      scores: by detector, (n,) float64, in which the detector's float32 are exact.
    """

    paths: list[str]
    labels: np.ndarray
    scores: dict[str, np.ndarray]


def write(
    test: records.Split, scores: Mapping[str, np.ndarray], folder: pathlib.Path
) -> None:
    """Writes `images.csv`, a row an image.

    Python writes a float so that it is read back as it was.

    Args:
      test: n images.
      scores: by detector, (n,).
      folder: gets the file.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "defect", "anomalous", *scores])
    anomalous = (test.labels == records.ANOMALOUS).astype(int)
    columns = [column.tolist() for column in (anomalous, *scores.values())]
    writer.writerows(zip(test.paths, test.defects, *columns, strict=True))
    files.write_text(folder / FILE, text.getvalue())


def read(folder: pathlib.Path) -> ImageScores:
    """Reads `images.csv` from the folder that `write` was given.

    Raises:
      errors.UserError: the file is missing or damaged.
    """
    path = folder / FILE
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *images = csv.reader(file, strict=True)
        paths, _, labels, *columns = zip(*images, strict=True)
        return ImageScores(
            paths=list(paths),
            labels=np.array(labels, np.int32).astype(bool),
            scores={
                name: np.array(column, np.float64)
                for name, column in zip(header[3:], columns, strict=True)
            },
        )
    except FileNotFoundError:
        raise errors.UserError(
            f"{path} does not exist: run jax_scadn.evaluate on this work directory"
        ) from None
    except (ValueError, csv.Error) as error:
        raise errors.UserError(
            f"{path} is damaged ({error}): run jax_scadn.evaluate again"
        ) from error
