"""An epoch as one `lax.scan` over a data set on the device, beside the loop of steps.

Digits of scikit-learn, 32 x 32 pixels, with the networks of configs/digits.py. The loop
gives each step its batch from the host and fetches the losses one step late, as the
training loop does; the scan takes its batches by index out of the data set.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import numpy as np

from benchmarks import timing
from configs import digits
from jax_scadn import configuration, methods, training
from jax_scadn.data import pipeline, sources

NAME = "epoch_scan"
CASES = ("epoch-as-one-scan",)

_STEPS = 20  # of an epoch


def measure(names: list[str], rounds: int) -> tuple[dict[str, Any], list[dict]]:
    """Results by name, and the rows of their table.

    Args:
      names: out of `CASES`.
      rounds: pairs of epochs.
    """
    (name,) = names
    config = configuration.resolve(digits.get_config("8"))
    pairs = compare(config, rounds, _STEPS)
    loop, scan = (timing.Spread.of(seconds) for seconds in zip(*pairs, strict=True))
    row = {
        "case": name,
        "loop, ms a step": 1e3 * loop.median / _STEPS,
        "scan, ms a step": 1e3 * scan.median / _STEPS,
        "loop, times as fast": str(timing.times_as_fast(pairs)),
    }
    return {"pairs": pairs, "steps": _STEPS}, [row]


def compare(config, rounds: int, steps: int) -> list[tuple[float, float]]:
    """Seconds of that many steps: pairs (loop, scan), both compiled before."""
    (stage,) = methods.create(config).stages
    hyper = jax.device_put(stage.hyperparameters(config))
    train = sources.load(config.data, config.seed).train
    source = pipeline.Images(train)
    batches = pipeline.training_iterator(
        source,
        config.training.batch_size,
        config.seed,
        config.data.flip,
        config.data.threads,
    )
    images = jax.device_put(np.stack([source[i]["image"] for i in range(len(source))]))
    order = np.random.default_rng(0).integers(
        len(images), size=(steps, config.training.batch_size)
    )
    state = training.init(stage, config.seed)

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state, hyper, images, order):
        def step(state, batch):
            return stage.step(state, hyper, {"image": images[batch]})

        return jax.lax.scan(step, state, order)

    def loop() -> float:
        nonlocal state
        start = time.perf_counter()
        late = {}
        for _ in range(steps):
            batch = jax.device_put(next(batches))
            state, metrics = training.train_step(stage, state, hyper, batch)
            jax.device_get(late)
            late = metrics
        jax.block_until_ready(state)
        return time.perf_counter() - start

    def scan() -> float:
        nonlocal state
        start = time.perf_counter()
        state, metrics = epoch(state, hyper, images, order)
        jax.device_get(metrics)
        jax.block_until_ready(state)
        return time.perf_counter() - start

    loop()
    scan()
    return timing.pairs(loop, scan, rounds)
