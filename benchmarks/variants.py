"""Five variants in one process compared with five processes.

    python -m benchmarks.variants --steps=100

Whole runs on synthetic lace with the networks of configs/lace.py, from process start
to results, alternating: five times `jax_scadn.train`, and `jax_scadn.ablate` with both
kinds of batching. Then single steps in this process: five steps one after another, and
one step of five stacked variants, with `vmap` or `lax.map`. Nothing is cached between
processes.
"""

from __future__ import annotations

import functools
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import flags

from configs import lace
from jax_scadn import methods
from jax_scadn.experiments.ablation import BATCHING
from jax_scadn.reports import tables
from jax_scadn.runtime import cli, sharding
from jax_scadn.training import loop, protocol, vectorized

_VARIANTS = flags.DEFINE_integer(
    "variants", 5, "Number of variants; they differ in their seed."
)
_STEPS = flags.DEFINE_integer("steps", 100, "Steps of each whole run.")
_ROUNDS = flags.DEFINE_integer(
    "rounds", 3, "Number of timings of whole runs; 0 = none."
)
_CALLS = flags.DEFINE_integer("calls", 20, "Number of timings of each single step.")
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks", "Directory of the tables.")


def whole_runs(count: int, steps: int, rounds: int) -> dict[str, list[float]]:
    """Seconds from start to end, alternating."""
    settings = ("--config=configs/lace.py", f"--config.training.steps={steps}",
                "--config.training.picture_every=0", "--config.selection.keep=last",
                "--config.data.test_normal_limit=4",
                "--config.data.test_anomalous_limit=4")  # fmt: skip
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            for seed in range(count):
                _run("train", f"{folder}/{seed}", *settings, f"--config.seed={seed}")
            apart = f"{count} times jax_scadn.train"
            times.setdefault(apart, []).append(time.perf_counter() - start)
            seeds = ",".join(map(str, range(count)))
            for batching in BATCHING:
                start = time.perf_counter()
                _run(
                    "ablate",
                    f"{folder}/{batching}",
                    *settings,
                    f"--seeds={seeds}",
                    f"--variant_batching={batching}",
                )
                name = f"jax_scadn.ablate, {batching}"
                times.setdefault(name, []).append(time.perf_counter() - start)
    return times


def _run(module: str, workdir: str, *arguments: str) -> None:
    command = [sys.executable, "-m", f"jax_scadn.{module}", f"--workdir={workdir}"]
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
    done = subprocess.run(
        [*command, *arguments], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")


def single_steps(count: int, calls: int) -> dict[str, list[float]]:
    """Seconds of one step of all variants, without compilation."""
    config = methods.resolve(lace.get_config())
    (stage,) = methods.create(config).stages
    hyper = stage.hyperparameters(config)
    shape = (config.training.batch_size, config.data.size, config.data.size, 1)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    seeds = np.arange(count, dtype=np.uint32)
    alone = [loop.init(stage, seed, protocol.EMPTY, {}) for seed in seeds]
    mesh, _ = sharding.variant_mesh(1)
    stacked = vectorized.stack(alone)
    hypers, batches = vectorized.stack([hyper] * count), np.stack([images] * count)
    active = np.ones(count, bool)

    def one_after_the_other():
        for number in range(count):
            alone[number], _ = loop.train_step(
                stage,
                alone[number],
                hyper,
                protocol.EMPTY,
                seeds[number],
                {"image": images},
            )
        return alone

    def together():
        nonlocal stacked
        stacked, _ = vectorized.train_steps(
            stage, mesh, stacked, hypers, {}, {}, seeds, {"image": batches}, active
        )
        return stacked

    @functools.partial(jax.jit, donate_argnums=0)
    def scan(states):
        def step(variant):
            state, hyper, seed, batch = variant
            return loop.update(stage, state, hyper, protocol.EMPTY, seed, batch)

        states, _ = jax.lax.map(step, (states, hypers, seeds, {"image": batches}))
        return states

    looped = vectorized.stack(alone)

    def in_a_loop():
        nonlocal looped
        looped = scan(looped)
        return looped

    return {
        "one after the other (map)": _timed(one_after_the_other, calls),
        "in one step (vmap)": _timed(together, calls),
        "in one step (lax.map)": _timed(in_a_loop, max(1, calls // 5)),
    }


def _timed(step: Callable, calls: int) -> list[float]:
    jax.block_until_ready(step())
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        jax.block_until_ready(step())
        times.append(time.perf_counter() - start)
    return times


def rows(times: dict[str, list[float]], what: str) -> list[dict]:
    """Medians and spreads; the ratio is the median of the first row over each row's."""
    first = statistics.median(next(iter(times.values())))
    return [
        {
            what: name,
            "seconds, median": statistics.median(values),
            "fastest": min(values),
            "slowest": max(values),
            "times as fast": first / statistics.median(values),
        }
        for name, values in times.items()
    ]


def main(_) -> None:
    count = _VARIANTS.value
    measured = {
        "whole runs": whole_runs(count, _STEPS.value, _ROUNDS.value),
        "single steps": single_steps(count, _CALLS.value),
    }
    folder = pathlib.Path(_OUTPUT.value)
    print(f"JAX {jax.__version__} on {jax.default_backend()}, {_STEPS.value} steps\n")
    for what, times in measured.items():
        if times:
            table = rows(times, what)
            print(tables.markdown(table))
            name = f"variants, {what}".replace(" ", "_").replace(",", "")
            tables.write({"jax": jax.__version__, "rows": table}, table, folder, name)


if __name__ == "__main__":
    cli.run(main)
