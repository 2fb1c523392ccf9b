"""Seconds and peak memory of scoring one image with the full-width model.

    python -m benchmarks.scoring --sizes=256,512

Each size runs in a process of its own, so that its peak memory is its own. The model
is untrained: neither number depends on the weights.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time

import jax
import numpy as np
from absl import flags

from jax_scadn import cli, configuration, detector, methods, tables

_SIZES = flags.DEFINE_list("sizes", ["256", "512"], "Sides of the image, pixels.")
_CALLS = flags.DEFINE_integer("calls", 3, "Timed calls; the median is shown.")
_MASKS = flags.DEFINE_integer("masks_per_call", 0, "Masks at a time; 0 = by size.")
_ONE = flags.DEFINE_bool("one", False, "Measure the only size in this process.")


def measure(size: int, calls: int, masks_per_call: int) -> dict:
    """Scores one image of that size: times in seconds, memory in MiB."""
    config = configuration.default()
    config.data.size = size
    config.scoring.images_per_call = 1
    config.scoring.masks_per_call = masks_per_call
    config = configuration.resolve(config)
    method = methods.create(config)
    state = jax.jit(method.repainting.init)(0)
    params = method.inference_params({"": state.generator}, {})
    model = detector.uncalibrated(config, params)
    image = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)
    before = _peak_mib()
    seconds = []
    for _ in range(1 + calls):
        start = time.perf_counter()
        model.score_batch(image)
        seconds.append(time.perf_counter() - start)
    return {
        "size": size,
        "masks": 4 * len(config.masks.stripe_pairs),
        "first call, s": seconds[0],
        "median, s": statistics.median(seconds[1:]),
        "fastest, s": min(seconds[1:]),
        "slowest, s": max(seconds[1:]),
        "peak memory, MiB": round(_peak_mib()),
        "before scoring, MiB": round(before),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(_) -> None:
    if _ONE.value:
        row = measure(int(_SIZES.value[0]), _CALLS.value, _MASKS.value)
        print(json.dumps(row))
        return
    rows = []
    for size in _SIZES.value:
        command = [sys.executable, "-m", "benchmarks.scoring", "--one"]
        command += [f"--sizes={size}", f"--calls={_CALLS.value}"]
        command += [f"--masks_per_call={_MASKS.value}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"JAX {jax.__version__}, {jax.devices()[0].device_kind}")
    print(tables.markdown(rows))


if __name__ == "__main__":
    cli.run(main)
