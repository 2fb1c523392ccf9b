"""Training from files beside training on one batch that waits on the device.

64 x 64 pixels, where steps are short, with the networks of configs/small_cpu.py: PNG
files of 256 x 256 pixels, kept in memory after they were read once, or read, decoded
and resized again in each epoch.
"""

from __future__ import annotations

import pathlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks import timing
from configs import small_cpu
from jax_scadn import configuration, methods, training
from jax_scadn.data import lace, pipeline, sources

NAME = "input_pipeline"
CASES = ("input-kept-in-memory", "input-read-each-epoch")

_FILES = 64
_FILE_SIZE = 256  # pixels
_STEPS = 50  # in a sample


def measure(names: list[str], rounds: int) -> tuple[dict[str, Any], list[dict]]:
    """Results by name, and the rows of their table.

    Args:
      names: out of `CASES`.
      rounds: pairs of samples.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_images(pathlib.Path(folder), _FILES, _FILE_SIZE)
        found = {
            name: compare(settings(folder, name == CASES[0]), rounds, _STEPS)
            for name in names
        }
    return found, [{"case": name, **_row(**seconds)} for name, seconds in found.items()]


def settings(folder: str, kept: bool):
    """Resolved settings of a training on the folder's files."""
    config = small_cpu.get_config("plain")
    config.data.path = folder
    if not kept:
        config.data.cache_mb = 0
    return configuration.resolve(config)


def write_images(folder: pathlib.Path, count: int, size: int) -> None:
    """PNG files of lace."""
    items, _ = lace.items(size, 3, train=count)
    for number, item in enumerate(items):
        Image.fromarray(item.read_image()).save(folder / f"{number:03d}.png")


def compare(config, rounds: int, steps: int) -> dict[str, list]:
    """Seconds of that many steps: pairs (synthetic, files), and of the batches alone.

    Losses are fetched one step late, as the training loop does.
    """
    (stage,) = methods.create(config).stages
    hyper = jax.device_put(stage.hyperparameters(config))
    train = sources.load(config.data, config.seed).train
    batches = pipeline.training_iterator(
        pipeline.Images(train),
        config.training.batch_size,
        config.seed,
        config.data.flip,
        config.data.threads,
    )
    waiting = jax.device_put(next(batches))
    state = training.init(stage, config.seed)

    def sample(next_batch: Callable[[], dict[str, np.ndarray]]) -> float:
        nonlocal state
        start = time.perf_counter()
        late = {}
        for _ in range(steps):
            batch = jax.device_put(next_batch())
            state, metrics = training.train_step(stage, state, hyper, batch)
            jax.device_get(late)
            late = metrics
        jax.block_until_ready(state)
        return time.perf_counter() - start

    def from_files() -> float:
        return sample(lambda: next(batches))

    def synthetic() -> float:
        return sample(lambda: waiting)

    sample(lambda: waiting)  # compiles
    from_files()  # reads all files that are to be kept
    return {
        "pairs": timing.pairs(synthetic, from_files, rounds),
        "alone": [_alone(batches, steps) for _ in range(rounds)],
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
