"""An epoch as one `lax.scan` over a data set on the device, compared with a loop.

scikit-learn's digits, 32 x 32 pixels, with the networks of configs/digits.py. The loop
gives each step its batch from the host and fetches the losses one step late, as the
training loop does; the scan reads its batches by index from the data set.
"""

from __future__ import annotations

import functools
import time
from typing import Any

import jax
import numpy as np

from benchmarks import timing, training_loop
from configs import digits
from jax_scadn import methods
from jax_scadn.training import loop as loop_lib
from jax_scadn.training import protocol

NAME = "epoch_scan"
CASES = ("epoch-as-one-scan",)

_STEPS = 20  # per epoch


def measure(names: list[str], rounds: int) -> tuple[dict[str, Any], list[dict]]:
    """Results by name, and the rows of their table.

    Args:
      names: some of `CASES`.
      rounds: pairs of epochs.
    """
    (name,) = names
    config = methods.resolve(digits.get_config("8"))
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
    """Seconds of `steps` steps as pairs (loop, scan), without compilation."""
    training = training_loop.Loop(config)
    source = training.source
    images = jax.device_put(np.stack([source[i]["image"] for i in range(len(source))]))
    order = np.random.default_rng(0).integers(
        len(images), size=(steps, config.training.batch_size)
    )

    @functools.partial(jax.jit, donate_argnums=0)
    def epoch(state, hyper, images, order):
        def step(state, batch):
            return loop_lib.update(
                training.stage,
                state,
                hyper,
                protocol.EMPTY,
                training.seed,
                {"image": images[batch]},
            )

        return jax.lax.scan(step, state, order)

    def loop() -> float:
        return training.seconds(steps)

    def scan() -> float:
        start = time.perf_counter()
        training.state, metrics = epoch(training.state, training.hyper, images, order)
        jax.device_get(metrics)
        jax.block_until_ready(training.state)
        return time.perf_counter() - start

    loop()
    scan()
    return timing.pairs(loop, scan, rounds)
