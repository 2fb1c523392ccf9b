"""Time and memory of trainings and of scoring, `cost.json` of a work directory."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Iterator, Sequence

import jax
from absl import logging

from jax_scadn.runtime import distributed, files, memory

FILE = "cost.json"
_TRAINING, _SCORING = "training", "scoring"


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a part of a run has taken.

    Attributes:
      seconds: of a training, compilation included, or of scoring an image.
      mib: memory at its peak: of the device where that is known, else of the process;
        None where neither is.
      runs: that were trained together in that time.
      complete: False where a process was killed, whose time is not counted.
      hardware: in words.
    """

    seconds: float = 0.0
    mib: float | None = None
    runs: int = 1
    complete: bool = True
    hardware: str = ""


@contextlib.contextmanager
def training(folders: Sequence[pathlib.Path]) -> Iterator[None]:
    """Adds the block's time and memory to the training of each folder.

    Args:
      folders: of runs that are trained together.
    """
    before = [read_training(folder) or Cost() for folder in folders]
    for folder, cost in zip(folders, before, strict=True):
        _write(folder, _TRAINING, dataclasses.replace(cost, complete=False))
    meter = Meter()
    try:
        yield
    finally:
        seconds, mib = meter.read()
        for folder, cost in zip(folders, before, strict=True):
            total = Cost(
                cost.seconds + seconds,
                max(filter(None, (mib, cost.mib)), default=None),
                len(folders),
                cost.complete,
                hardware(),
            )
            _write(folder, _TRAINING, total)


def write_scoring(folder: pathlib.Path, cost: Cost) -> None:
    """Notes what scoring an image took."""
    _write(folder, _SCORING, cost)


def read_training(folder: pathlib.Path) -> Cost | None:
    """What the training has taken until now; None if it is not known."""
    return _read(folder, _TRAINING)


def read_scoring(folder: pathlib.Path) -> Cost | None:
    """What scoring an image took; None if it is not known."""
    return _read(folder, _SCORING)


def hardware() -> str:
    """Such as 'cpu, 2 cores'."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return f"cpu, {os.cpu_count()} cores"
    return f"{jax.device_count()} x {device.device_kind}"


class Meter:
    """Seconds and peak memory since it was made."""

    def __init__(self):
        self._before = _device_peak()
        self._process = memory.restart_peak()
        self._start = time.monotonic()

    def read(self) -> tuple[float, float | None]:
        """Seconds, and MiB or None."""
        seconds, peak = time.monotonic() - self._start, _device_peak()
        if peak is None:
            return seconds, memory.peak() if self._process else None
        # Devices count from the start of the process: an earlier peak hides lower ones.
        return seconds, peak if peak > self._before else None


def _device_peak() -> float | None:
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use")
    return None if peak is None else peak / 2**20


def _all(folder: pathlib.Path) -> dict:
    try:
        return json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _read(folder: pathlib.Path, part: str) -> Cost | None:
    values = _all(folder).get(part)
    return Cost(**values) if values else None


def _write(folder: pathlib.Path, part: str, cost: Cost) -> None:
    if distributed.is_primary():
        values = {**_all(folder), part: dataclasses.asdict(cost)}
        try:
            files.write_text(folder / FILE, json.dumps(values, indent=2) + "\n")
        except OSError as error:
            # Not worth a training; what the training writes itself says more.
            logging.warning("costs are not noted: %s", error)
