"""Training from files compared with training on one batch that is on the device.

64 x 64 pixels, where steps are short, with the networks of configs/small_cpu.py: PNG
files of 256 x 256 pixels, either kept in memory after they were read once, or read,
decoded and resized again in each epoch.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
from PIL import Image

from benchmarks import timing, training_loop
from configs import small_cpu
from jax_scadn import methods
from jax_scadn.data import lace

NAME = "input_pipeline"
CASES = ("input-kept-in-memory", "input-read-each-epoch")

_FILES = 64
_FILE_SIZE = 256  # pixels
_STEPS = 50  # of one sample


def measure(names: list[str], rounds: int) -> tuple[dict[str, Any], list[dict]]:
    """Results by name, and the rows of their table.

    Args:
      names: some of `CASES`.
      rounds: pairs of samples.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_images(pathlib.Path(folder), _FILES, _FILE_SIZE)
        results = {
            name: compare(settings(folder, name == CASES[0]), rounds, _STEPS)
            for name in names
        }
    rows = [{"case": name, **_row(**seconds)} for name, seconds in results.items()]
    return results, rows


def settings(folder: str, kept: bool):
    """Resolved settings of a training on the folder's files."""
    config = small_cpu.get_config("plain")
    config.data.path = folder
    if not kept:
        config.data.cache_mb = 0
    return methods.resolve(config)


def write_images(folder: pathlib.Path, count: int, size: int) -> None:
    """Writes lace as PNG files."""
    items, _ = lace.items(size, 3, train=count)
    for number, item in enumerate(items):
        Image.fromarray(item.read_image()).save(folder / f"{number:03d}.png")


def compare(config, rounds: int, steps: int) -> dict[str, list]:
    """Seconds of `steps` steps as pairs (synthetic, files), and of reading batches."""
    training = training_loop.Loop(config)
    waiting = jax.device_put(next(training.batches))

    def from_files() -> float:
        return training.seconds(steps)

    def synthetic() -> float:
        return training.seconds(steps, lambda: waiting)

    synthetic()  # compiles
    from_files()  # reads all files that are kept in memory
    return {
        "pairs": timing.pairs(synthetic, from_files, rounds),
        "alone": [_alone(training.batches, steps) for _ in range(rounds)],
        "steps": steps,
    }


def _alone(batches: Iterator, steps: int) -> float:
    start = time.perf_counter()
    for _ in range(steps):
        next(batches)
    return time.perf_counter() - start


def _row(pairs: list, alone: list[float], steps: int) -> dict[str, Any]:
    synthetic, files = (
        statistics.median(seconds) for seconds in zip(*pairs, strict=True)
    )
    share = timing.times_as_fast([(files, synthetic) for synthetic, files in pairs])
    return {
        "on the device, steps/s": steps / synthetic,
        "from files, steps/s": steps / files,
        "share": str(share),
        "files alone, batches/s": steps / statistics.median(alone),
    }
