"""Seconds from the start of a process to the first score of an image.

JAX loads a saved detector, with an empty compilation cache (cold) and with one that an
earlier process has filled (warm); PyTorch loads the same generator from a .pth file and
runs it without compilation.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks import cases, ours, timing
from jax_scadn.detection import calibration
from jax_scadn.scoring import masks
from jax_scadn.settings import resolve

NAME = "first_scores"
CASES = ("first-score-64", "first-score-256")

_TORCH = "benchmarks.twins.first_score"
_TOLERANCE = 1e-3  # relative, of the scores


def measure(
    names: list[str], rounds: int, pytorch: str
) -> tuple[dict[str, Any], list[dict]]:
    """Results by case and kind of process, and the rows of their table.

    Args:
      names: some of `CASES`.
      rounds: processes of each kind, alternating.
      pytorch: a Python with PyTorch.
    """
    results = {}
    rows = []
    for name in names:
        case = cases.Case("scadn-score", int(name.rpartition("-")[2]), 1)
        results[name] = _measure(case, rounds, pytorch)
        rows += [
            {"case": name, "way": way, "seconds": str(timing.Spread.of(seconds))}
            for way, seconds in results[name].items()
        ]
    return {"seconds": results}, rows


def _measure(case: cases.Case, rounds: int, pytorch: str) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        torch_command = [pytorch, "-m", _TORCH, str(folder)]
        _prepare(case, folder, torch_command)
        module = "benchmarks.first_score"
        jax_command = [sys.executable, "-m", module, str(folder / "run"), str(folder)]
        ways = {
            "JAX, cold cache": (jax_command, None),
            "JAX, warm cache": (jax_command, folder / "warm"),
            "PyTorch, eager": ([*torch_command, "eager"], folder / "unused"),
            "PyTorch, eager channels_last": (
                [*torch_command, "channels_last"],
                folder / "unused",
            ),
        }
        _, expected = _run(*ways["JAX, warm cache"])  # fills the cache
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, (command, cache) in ways.items():
                passed, score = _run(command, cache)
                if not abs(score - expected) <= _TOLERANCE * abs(expected):
                    raise RuntimeError(f"{way}: score is {score}, expected {expected}")
                seconds[way].append(passed)
    return seconds


def _prepare(case: cases.Case, folder: pathlib.Path, pytorch: list[str]) -> None:
    """Writes an image, a detector and PyTorch's weights of the same generator."""
    config = case.settings
    np.save(folder / "image.npy", ours.inputs(case)["image"])
    np.save(folder / "masks.npy", masks.striped(case.size, config.masks.stripe_pairs))
    settings = resolve.flat(config)
    (folder / "settings.json").write_text(json.dumps(settings))
    model = ours.scoring_detector(case)
    model.calibration = calibration.calibrate(
        config.calibration, np.zeros(1), maps=None, held_out=False
    )
    model.save(folder / "run")
    subprocess.run([*pytorch, "save"], check=True)


def _run(command: list[str], cache: pathlib.Path | None) -> tuple[float, float]:
    """Seconds until a process has printed its score, and the score.

    Args:
      command: Python, module and arguments.
      cache: the user's cache directory; None = an empty one.
    """
    environment = os.environ.copy()
    for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"):
        environment.pop(name, None)
    with tempfile.TemporaryDirectory() as empty:
        environment["XDG_CACHE_HOME"] = str(cache or empty)
        start = time.perf_counter()
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        ) as process:
            line = process.stdout.readline()
            seconds = time.perf_counter() - start
    return seconds, float(line)
