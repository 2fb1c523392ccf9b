"""Scores image files; writes JSON lines, a CSV and overlays."""

from __future__ import annotations

import concurrent.futures
import contextlib
import csv
import glob
import hashlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_scadn.data import images as images_lib
from jax_scadn.data import walk
from jax_scadn.detection import drift, finite
from jax_scadn.detection.detector import Detector
from jax_scadn.reports import figures
from jax_scadn.runtime import errors

OVERLAYS = "overlays"
LINES, TABLE = "predictions.jsonl", "predictions.csv"
# Of each image. 'p_value' is None where no images were held out; 'anomalous_share', of
# its pixels above the map's threshold, is there only where the method has maps, 'scale'
# only where it has scales, and 'drift', the wealth, only where it is asked for.
FIELDS = ("path", "score", "threshold", "p_value", "decision", "anomalous_share",
          "scale", "milliseconds", "drift")  # fmt: skip
_LONGEST_NAME = 240  # bytes; file systems take 255, and a temporary name is longer


def find(pattern: str, output: pathlib.Path) -> list[pathlib.Path]:
    """The images of a file name, a folder or a pattern, sorted.

    What is passed over is said on standard error.

    Args:
      pattern: what to look for.
      output: of `predict`; the overlays that an earlier call drew, there or elsewhere,
        are no input.

    Raises:
      errors.UserError: there are none.
    """
    path = pathlib.Path(pattern).expanduser()
    if path.is_file():
        return [path]
    passed_over: dict[str, Sequence[pathlib.Path]] = {}
    if path.is_dir():
        images, passed_over = walk.walk(path)
    else:
        matches = sorted(map(pathlib.Path, glob.glob(str(path), recursive=True)))
        if not matches:
            raise errors.UserError(f"--input={pattern} does not exist")
        files = [p for p in matches if not p.is_dir()]
        images = [p for p in files if walk.is_image_name(p)]
        if other := [p for p in files if not walk.is_image_name(p)]:
            passed_over[walk.NO_IMAGE] = other
        path = pathlib.Path(os.path.commonpath([p.parent for p in matches]))
    drawn = (output / OVERLAYS).resolve()
    inputs, overlays = [], []
    for image in images:
        (overlays if _is_overlay(image.resolve(), drawn) else inputs).append(image)
    if overlays:
        passed_over["overlays of predictions"] = overlays
    if line := walk.note(passed_over, path):
        print(line, file=sys.stderr)
    if not inputs:
        raise errors.UserError(f"--input={pattern}: no images there")
    return inputs


def _is_overlay(path: pathlib.Path, drawn: pathlib.Path) -> bool:
    folders = [folder for folder in path.parents if folder.name == OVERLAYS]
    return drawn in folders or any((f.parent / LINES).is_file() for f in folders)


def predict(
    detector: Detector,
    paths: Sequence[pathlib.Path],
    output: pathlib.Path,
    overlays: bool = True,
    drift_file: pathlib.Path | None = None,
) -> list[pathlib.Path]:
    """Scores image files; prints a JSON line each and writes what `output` gets.

    An image that cannot be read, has no finite score, or whose overlay cannot be
    written is named on standard error, and the others are scored.

    Args:
      detector: calibrated.
      paths: of the images.
      output: gets `predictions.jsonl`, `predictions.csv` and `overlays/`. Until all
        images are scored both files end in `.part`, and earlier ones stay.
      overlays: whether to draw them.
      drift_file: state of `drift`, that is carried on; None = not asked for. Where
        images are of a training, not held out, there is none.

    Returns:
      The images, and files of `output`, that went wrong.

    Raises:
      errors.UserError: `output` cannot be written at the start, or `drift_file` is of
        another detector.
    """
    failed = []
    held_out = detector.calibration.scores
    state = None
    if drift_file is not None:
        if not detector.calibration.held_out:
            raise errors.UserError("--drift needs held-out images: run recalibrate")
        state = drift.load(drift_file, held_out)

    def fail(path: pathlib.Path, message: str) -> None:
        # A name may contain line breaks.
        print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
        failed.append(path)

    common = pathlib.Path(os.path.commonpath([p.absolute().parent for p in paths]))
    with _Files(output) as files:
        for chunk in _scored(detector, paths, fail):
            for result in chunk:
                if state is not None:
                    result.line["drift"] = state.see(held_out, result.line["score"])
                print(json.dumps(result.line))
                files.write(result.line)
                if overlays and result.anomaly_map is not None:
                    name = result.path.absolute().relative_to(common)
                    try:
                        figures.save(
                            output / OVERLAYS / _overlay_name(name),
                            figures.overlay(
                                result.image,
                                result.anomaly_map,
                                detector.calibration.vmin,
                                detector.calibration.vmax,
                            ),
                        )
                    except OSError as error:
                        reason = error.strerror or error
                        fail(
                            result.path,
                            f"the overlay of {result.path} cannot be written: {reason}",
                        )
            sys.stdout.flush()
            files.flush()
    if files.error is not None:
        fail(
            output / LINES,
            f"the files in --output={output} are not complete: {files.error}",
        )
    elif state is not None:
        try:
            drift.save(drift_file, state)
        except OSError as error:
            fail(drift_file, f"--drift={drift_file} cannot be written: {error}")
        print(state.sentence(), file=sys.stderr)
    return failed


def _overlay_name(image: pathlib.Path) -> pathlib.Path:
    """Where the overlay lies: the image's name with `.png`, shortened if need be."""
    name = os.fsencode(image.name)
    if len(name) + len(".png") > _LONGEST_NAME:
        digest = hashlib.sha256(name).hexdigest()[:16]
        name = (
            name[: _LONGEST_NAME - len(digest) - len("-.png")] + f"-{digest}".encode()
        )
    return image.with_name(os.fsdecode(name) + ".png")


class _Files:
    """`predictions.jsonl` and `.csv`; they replace earlier ones when all is written.

    Attributes:
      error: the first that writing met; the files are given up then.
    """

    def __init__(self, folder: pathlib.Path):
        self.error: OSError | None = None
        self._paths = [folder / LINES, folder / TABLE]
        self._parts = [path.with_name(path.name + ".part") for path in self._paths]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = self._parts[0].open("w", encoding="utf-8")
            self._rows = self._parts[1].open(
                "w", newline="", encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            raise errors.UserError(
                f"--output={folder} cannot be written: {error}"
            ) from None
        self._table: csv.DictWriter | None = None

    def write(self, line: dict[str, Any]) -> None:
        if self._table is None:
            self._table = csv.DictWriter(self._rows, line, lineterminator="\n")
            self._try(self._table.writeheader)
        self._try(self._lines.write, json.dumps(line) + "\n")
        self._try(self._table.writerow, line)

    def flush(self) -> None:
        self._try(self._lines.flush)
        self._try(self._rows.flush)

    def _try(self, function, *arguments) -> None:
        if self.error is None:
            try:
                function(*arguments)
            except OSError as error:
                self.error = error

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, kind, *_) -> None:
        for file in (self._lines, self._rows):
            try:
                file.close()  # writes what is left
            except OSError as error:
                self.error = self.error or error
        if kind is not None:
            print(
                f"stopped: the images scored so far are in {self._parts[0]}",
                file=sys.stderr,
            )
            return
        for part, path in zip(self._parts, self._paths, strict=True):
            self._try(os.replace, part, path)


class _Result(NamedTuple):
    """One image: its line, in [0, 1], and its map, if the method has maps."""

    path: pathlib.Path
    line: dict[str, Any]
    image: np.ndarray
    anomaly_map: np.ndarray | None


def _scored(detector: Detector, paths, fail) -> Iterator[list[_Result]]:
    """Yields results batch by batch; `fail` gets images without one."""
    data = detector.config.data
    images_lib.allow(data.max_megapixels)

    def read(path):
        try:
            return images_lib.read(path, data.size, data.channels, data.white, data.fit)
        except images_lib.UnreadableImage as error:
            return error

    compiled = set()
    size = detector.padded_batch_size(len(paths))
    with concurrent.futures.ThreadPoolExecutor(max(1, data.threads)) as pool:
        for start in range(0, len(paths), size):
            chunk = paths[start : start + size]
            found, images = [], []
            for path, image in zip(chunk, pool.map(read, chunk), strict=True):
                if isinstance(image, images_lib.UnreadableImage):
                    fail(path, str(image))
                else:
                    found.append(path)
                    images.append(image)
            if not images:
                continue
            images = images_lib.stack(images)
            if images.dtype not in compiled:
                # The first call compiles; its time is not that of an image.
                with contextlib.suppress(finite.NotFinite):
                    detector.score_batch(np.zeros_like(images), size)
                compiled.add(images.dtype)
            usable = np.ones(len(images), bool)
            begin = time.perf_counter()
            try:
                scored = detector.score_batch(images, size)
            except finite.NotFinite as error:
                scored, usable = error.scored, error.finite
            milliseconds = (time.perf_counter() - begin) * 1000 / len(images)
            for path in np.array(found, object)[~usable]:
                fail(path, f"{path}: the score or the anomaly map is not finite")
            yield [
                _result(detector, path, images[i], scored, i, milliseconds)
                for i, path in enumerate(found)
                if usable[i]
            ]


def _result(detector, path, image, scored, i, milliseconds) -> _Result:
    calibration = detector.calibration
    score = float(scored.scores[i])
    anomaly_map = None if scored.maps is None else scored.maps[i]
    line = {
        "path": str(path),
        "score": score,
        "threshold": calibration.threshold,
        "p_value": None,
        "decision": calibration.decision(score),
    }
    if (p_values := calibration.p_values(scored.scores[i : i + 1])) is not None:
        line["p_value"] = float(p_values[0])
    if anomaly_map is not None:
        line["anomalous_share"] = float(
            np.mean(anomaly_map > calibration.map_threshold)
        )
    if scored.scales is not None:
        line["scale"] = int(scored.scales[i])
    line["milliseconds"] = round(milliseconds, 2)
    return _Result(path, line, images_lib.as_float(image), anomaly_map)
