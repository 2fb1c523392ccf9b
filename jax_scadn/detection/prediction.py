"""Scores image files; writes JSON lines, a CSV and overlays."""

from __future__ import annotations

import concurrent.futures
import csv
import glob
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np

from jax_scadn.data import folder as folder_lib
from jax_scadn.data import images as images_lib
from jax_scadn.detection.detector import Detector
from jax_scadn.reports import figures
from jax_scadn.runtime import errors

OVERLAYS = "overlays"
# Of each image. 'anomalous_share', of its pixels above the map's threshold, only where
# the method has maps, 'scale' only where it has scales.
FIELDS = ("path", "score", "threshold", "decision", "anomalous_share", "scale",
          "milliseconds")  # fmt: skip


def find(pattern: str, output: pathlib.Path) -> list[pathlib.Path]:
    """The images of a file name, a folder or a pattern, sorted.

    Args:
      pattern: what to look for.
      output: of `predict`; the overlays that an earlier call drew are no input.

    Raises:
      errors.UserError: there are none.
    """
    path = pathlib.Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        images = folder_lib.find_images(path)
    else:
        matches = sorted(map(pathlib.Path, glob.glob(str(path), recursive=True)))
        images = [p for p in matches if p.suffix.lower() in folder_lib.IMAGE_ENDINGS]
    drawn = (output / OVERLAYS).resolve()
    images = [p for p in images if not p.resolve().is_relative_to(drawn)]
    if not images:
        endings = ", ".join(folder_lib.IMAGE_ENDINGS)
        raise errors.UserError(f"--input={pattern}: no images there ({endings})")
    return images


def predict(
    detector: Detector,
    paths: Sequence[pathlib.Path],
    output: pathlib.Path,
    overlays: bool = True,
) -> list[pathlib.Path]:
    """Scores image files; prints a JSON line each and writes what `output` gets.

    Args:
      detector: calibrated.
      paths: of the images.
      output: gets `predictions.jsonl`, `predictions.csv` and `overlays/`.
      overlays: whether to draw them.

    Returns:
      The files that could not be read; each was named on standard error.

    Raises:
      errors.UserError: `output` cannot be written.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        lines = (output / "predictions.jsonl").open("w")
        rows = (output / "predictions.csv").open(
            "w", newline="", encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise errors.UserError(
            f"--output={output} cannot be written: {error}"
        ) from None
    unreadable = []
    common = pathlib.Path(os.path.commonpath([p.absolute().parent for p in paths]))
    with lines, rows:
        table = None
        for path, result in _scored(detector, paths, unreadable):
            line, image, anomaly_map = result
            if table is None:
                table = csv.DictWriter(rows, line, lineterminator="\n")
                table.writeheader()
            print(json.dumps(line), flush=True)
            lines.write(json.dumps(line) + "\n")
            table.writerow(line)
            if overlays and anomaly_map is not None:
                name = path.absolute().relative_to(common)
                name = name.with_name(name.name + ".png")
                calibration = detector.calibration
                picture = figures.overlay(
                    image, anomaly_map, calibration.vmin, calibration.vmax
                )
                figures.save(output / OVERLAYS / name, picture)
    return unreadable


def _scored(detector: Detector, paths, unreadable: list) -> Iterator:
    data, calibration = detector.config.data, detector.calibration

    def read(path):
        try:
            return path, images_lib.read(path, data.size, data.channels)
        except images_lib.UnreadableImage as error:
            print(f"error: {error}", file=sys.stderr)
            unreadable.append(path)
            return path, None

    compiled = set()
    size = detector.padded_batch_size(len(paths))
    with concurrent.futures.ThreadPoolExecutor(max(1, data.threads)) as pool:
        for start in range(0, len(paths), size):
            chunk = paths[start : start + size]
            read_ = [pair for pair in pool.map(read, chunk) if pair[1] is not None]
            if not read_:
                continue
            images = images_lib.stack([image for _, image in read_])
            if images.dtype not in compiled:
                # The first call compiles; its time is not that of an image.
                detector.score_batch(np.zeros_like(images), size)
                compiled.add(images.dtype)
            begin = time.perf_counter()
            scored = detector.score_batch(images, size)
            milliseconds = (time.perf_counter() - begin) * 1000 / len(images)
            for i, (path, _) in enumerate(read_):
                score = float(scored.scores[i])
                anomalous = score > calibration.threshold
                anomaly_map = None if scored.maps is None else scored.maps[i]
                line = {
                    "path": str(path),
                    "score": score,
                    "threshold": calibration.threshold,
                    "decision": "anomalous" if anomalous else "ok",
                }
                if anomaly_map is not None:
                    above = anomaly_map > calibration.map_threshold
                    line["anomalous_share"] = float(np.mean(above))
                if scored.scales is not None:
                    line["scale"] = int(scored.scales[i])
                line["milliseconds"] = round(milliseconds, 2)
                image = images_lib.as_float(images[i])
                yield path, (line, image, anomaly_map)
