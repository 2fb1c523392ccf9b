"""How a step of training spreads over devices: run on CPUs, worked out for GPUs.

    python -m benchmarks.weak_scaling

First the small networks of configs/digits.py on 1, 2 and 4 forced CPU devices, with as
many images on each: seconds a step, how far its losses are off those of one device with
the same batches, and what the compiled step sums over the devices. The devices share
the cores, so that the seconds say little. Then the networks of configs/mvtec.py on
GPUs: operations are XLA's count of the step lowered for CUDA, and bytes are those of
the gradients. What a GPU and a network do in a second is assumed, below.
"""

from __future__ import annotations

import math
import re
import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.cases import Case
from configs import digits
from jax_scadn import cli, configuration, methods, sharding, tables, training

_ON_EACH = 3  # odd: with 4 devices, `sharding.mesh` takes 1, 2 and 4 of them
_COUNTS = (1, 2, 4)
_STEPS = 10

# Assumed, of machines with eight GPUs like NVIDIA's H100.
_GPUS = 8  # in a machine
_OPERATIONS = 0.3 * 495e12  # a second: three tenths of the peak in TF32
_INSIDE = 450e9  # bytes a second that a GPU sends to the others of its machine
_FAST = 8 * 50e9  # to other machines: 400 Gbit/s for each GPU
_SLOW = 12.5e9  # to other machines: 100 Gbit/s for all


def steps(stage, hyper, mesh, batches) -> tuple[np.ndarray, list[float]]:
    """Losses (steps, names) and seconds of training on the devices of a mesh."""
    state = sharding.put_whole(mesh, training.init(stage, 0))
    hyper = sharding.put_whole(mesh, hyper)
    found, seconds = [], []
    for images in batches:
        batch = sharding.put_rows(mesh, {"image": images})
        start = time.perf_counter()
        state, values = training.train_step(stage, state, hyper, batch)
        values = jax.device_get(values)
        seconds.append(time.perf_counter() - start)
        found.append([value for name, value in values.items() if "_loss" in name])
    return np.array(found), seconds


def on_cpus() -> list[dict[str, Any]]:
    """Rows of the first table."""
    config = digits.get_config("8")
    # With the usual eps, Adam without momentum makes rounding errors grow tenfold in a
    # few steps.
    config.optimizer.eps = 1.0
    config = configuration.resolve(config)
    (stage,) = methods.create(config).stages
    hyper = stage.hyperparameters(config)
    size, channels = config.data.size, config.data.channels
    rows = []
    for count in _COUNTS:
        shape = (_STEPS, count * _ON_EACH, size, size, channels)
        batches = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        mesh = sharding.mesh(shape[1])
        assert mesh.size == count
        expected, _ = steps(stage, hyper, sharding.mesh(1), batches)
        found, seconds = steps(stage, hyper, mesh, batches)
        rows.append(
            {
                "devices": count,
                "images": shape[1],
                "s a step": statistics.median(seconds[1:]),
                "largest difference of losses": np.max(np.abs(found / expected - 1)),
                "MB summed": summed(compiled(stage, hyper, mesh, shape[1:])) / 1e6,
                "MB of gradients": gradient_bytes(stage) / 1e6 if count > 1 else 0.0,
            }
        )
    return rows


def compiled(stage, hyper, mesh, shape: tuple[int, ...]) -> str:
    """The program of a step on each device of a mesh."""

    def spread(tree, sharding_):
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding_), tree
        )

    state = spread(jax.eval_shape(stage.init, 0), sharding.replicated(mesh))
    hyper = spread(hyper, sharding.replicated(mesh))
    image = jax.ShapeDtypeStruct(shape, jnp.uint8, sharding=sharding.split(mesh))
    step = training.train_step.lower(stage, state, hyper, {"image": image})
    return step.compile().as_text()


def summed(program: str) -> int:
    """Bytes that a compiled program sums over devices, all of float32."""
    count = 0
    for results in re.findall(r"= (.*?) all-reduce(?:-start)?\(", program):
        for axes in re.findall(r"f32\[([\d,]*)\]", results):
            count += math.prod(int(axis) for axis in axes.split(",") if axis)
    return 4 * count


def gradient_bytes(stage) -> int:
    """Of what devices sum in a step.

    The discriminator's gradients of real and of repainted images are two sums.
    """
    state = jax.eval_shape(stage.init, 0)
    sizes = [
        sum(x.size for x in jax.tree.leaves(params))
        for params in (state.generator, state.discriminator)
    ]
    return 4 * (sizes[0] + 2 * sizes[1])


def operations(size: int, images: int) -> float:
    """Floating-point operations of a full-width step, as XLA counts them for CUDA."""
    config = Case("scadn-step", size, images).settings
    (stage,) = methods.create(config).stages
    state = jax.eval_shape(stage.init, 0)
    hyper = stage.hyperparameters(config)
    shape = (images, size, size, config.data.channels)
    batch = {"image": jax.ShapeDtypeStruct(shape, jnp.uint8)}
    step = training.train_step.trace(stage, state, hyper, batch)
    return step.lower(lowering_platforms=("cuda",)).cost_analysis()["flops"]


def sending(sum_bytes: int, gpus: int, between: float) -> float:
    """Seconds of a sum by rings: each GPU sends 2 (n - 1) / n of its bytes.

    A ring through each GPU's adapter, all at the same time: a machine sends to the next
    one what a GPU sends to the next one.

    Args:
      sum_bytes: that each GPU holds.
      gpus: n.
      between: bytes that a machine sends in a second.
    """
    rate = _INSIDE if gpus <= _GPUS else min(_INSIDE, between)
    return 2 * (gpus - 1) / gpus * sum_bytes / rate


def on_gpus(size: int) -> list[dict[str, Any]]:
    """Rows of the second table: as many images on each GPU, however many there are."""
    stage_bytes = gradient_bytes(methods.create(Case("", size, 1).settings).stages[0])
    rows = []
    for images in (1, 4, 16):
        computing = operations(size, images) / _OPERATIONS
        for gpus in (8, 64, 512):
            fast = sending(stage_bytes, gpus, _FAST)
            slow = sending(stage_bytes, gpus, _SLOW)
            rows.append(
                {
                    "images on each": images,
                    "GPUs": gpus,
                    "images": images * gpus,
                    "ms computing": computing * 1e3,
                    "MB sent": 2 * (gpus - 1) / gpus * stage_bytes / 1e6,
                    "ms sending": fast * 1e3,
                    "computing": computing / (computing + fast),
                    "ms, slow": slow * 1e3,
                    "computing, slow": computing / (computing + slow),
                }
            )
    return rows


def of_four() -> list[dict[str, Any]]:
    """Rows of the third table: the paper's batch of four images, on 1, 2 and 4 GPUs."""
    rows = []
    for size in (512, 128, 32):
        stage_bytes = gradient_bytes(
            methods.create(Case("", size, 4).settings).stages[0]
        )
        alone = operations(size, 4) / _OPERATIONS
        for gpus in (1, 2, 4):
            computing = operations(size, 4 // gpus) / _OPERATIONS
            inside = sending(stage_bytes, gpus, _INSIDE)
            apart = 2 * (gpus - 1) / gpus * stage_bytes / _SLOW
            rows.append(
                {
                    "size": size,
                    "GPUs": gpus,
                    "ms computing": computing * 1e3,
                    "ms sending": inside * 1e3,
                    "times as fast": alone / (computing + inside),
                    "ms, machines of one GPU": apart * 1e3,
                    "times as fast, so": alone / (computing + apart),
                }
            )
    return rows


def main(_) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(_COUNTS))
    for rows in (on_cpus(), on_gpus(512), of_four()):
        print(tables.markdown(rows))


if __name__ == "__main__":
    cli.run(main)
