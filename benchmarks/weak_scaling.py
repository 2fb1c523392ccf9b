"""Weak scaling of a training step: measured on CPUs, calculated for GPUs.

    python -m benchmarks.weak_scaling

First small networks on 1, 2 and 4 forced CPU devices, with the same number of images on
each: seconds per step, the difference of the losses from those of one device with the
same batches, and the bytes that the compiled step sums over the devices. The devices
share the cores: the numbers show whether it is correct, not how fast it is.

Then full-width SCADN on GPUs. Computed: bytes of gradients, and operations as XLA
counts them in the step that is lowered for CUDA. Assumed: the speed of GPUs and
networks, and that nothing is sent while gradients are computed.
"""

from __future__ import annotations

import functools
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
from jax_scadn import methods
from jax_scadn.reports import tables
from jax_scadn.runtime import cli, sharding
from jax_scadn.training import loop, protocol

_ON_EACH = 3  # images; odd, so that `sharding.mesh` takes 1, 2 and 4 of 4 devices
_DEVICES = (1, 2, 4)
_STEPS = 20

# Assumed, for machines with eight GPUs like NVIDIA's H100.
_GPUS = 8  # in a machine
_OPERATIONS = 0.3 * 495e12  # a second: three tenths of the peak in TF32
_INSIDE = 450e9  # bytes a second from a GPU to others of its machine, by NVLink
_FAST = _GPUS * 50e9  # from a machine to another one: 400 Gbit/s for each GPU
_SLOW = 12.5e9  # the same with 100 Gbit/s for all of them


def small() -> tuple[protocol.GradientStage, Any]:
    """A stage and its hyperparameters.

    So narrow that CPUs use XLA's own convolutions, as GPUs do.
    """
    config = digits.get_config("8")
    config.model.width = config.model.discriminator_width = 4
    # Adam without momentum moves weights by the sign of the gradient: with the usual
    # eps and rates, rounding errors grow tenfold in a few steps.
    config.optimizer.eps = 1.0
    config.optimizer.learning_rate = 3e-5
    config.optimizer.discriminator_learning_rate = 3e-6
    config = methods.resolve(config)
    (stage,) = methods.create(config).stages
    return stage, stage.hyperparameters(config)


def full(size: int, images: int) -> tuple[protocol.GradientStage, Any]:
    """A stage with the paper's networks and its hyperparameters."""
    config = Case("scadn-step", size, images).settings
    (stage,) = methods.create(config).stages
    return stage, stage.hyperparameters(config)


def steps(stage, hyper, mesh, batches) -> tuple[np.ndarray, list[float], str]:
    """Losses (steps, names), seconds of each step, and the compiled program."""
    state = loop.init(stage, 0, protocol.EMPTY, {})
    seed = np.uint32(0)
    state, hyper, seed = sharding.replicate(mesh, (state, hyper, seed))
    losses, seconds, step = [], [], None
    for images in batches:
        batch = sharding.shard_batch(mesh, {"image": images})
        if step is None:
            arguments = state, hyper, protocol.EMPTY, seed, batch
            step = loop.train_step.lower(stage, *arguments).compile()
        start = time.perf_counter()
        state, values = step(state, hyper, protocol.EMPTY, seed, batch)
        values = jax.device_get(values)
        seconds.append(time.perf_counter() - start)
        losses.append([value for name, value in values.items() if "_loss" in name])
    return np.array(losses), seconds, step.as_text()


def on_cpus() -> list[dict[str, Any]]:
    """A row for each number of devices."""
    stage, hyper = small()
    rows = []
    for devices in _DEVICES:
        shape = (_STEPS, devices * _ON_EACH, stage.size, stage.size, stage.channels)
        batches = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        expected, _, _ = steps(stage, hyper, sharding.mesh(1), batches)
        losses, seconds, program = steps(stage, hyper, sharding.mesh(shape[1]), batches)
        rows.append(
            {
                "devices": devices,
                "images": shape[1],
                "s a step": statistics.median(seconds),
                "largest difference": f"{np.max(np.abs(losses / expected - 1)):.0e}",
                "bytes summed": summed(program),
                "bytes of gradients": gradient_bytes(stage),
            }
        )
    return rows


def summed(program: str) -> int:
    """Bytes that a compiled program sums over the devices, all float32."""
    count = 0
    for results in re.findall(r"= (.*?) all-reduce(?:-start)?\(", program):
        for axes in re.findall(r"f32\[([\d,]*)\]", results):
            count += math.prod(int(axis) for axis in axes.split(",") if axis)
    return 4 * count


def gradient_bytes(stage) -> int:
    """Bytes of the gradients of one step.

    The discriminator's gradients of real and of inpainted images are summed separately.
    """
    state = _shapes(stage)
    generator, discriminator = (
        sum(x.size for x in jax.tree.leaves(params))
        for params in (state.generator, state.discriminator)
    )
    return 4 * (generator + 2 * discriminator)


def _shapes(stage):
    init = functools.partial(loop.init, stage)
    return jax.eval_shape(init, 0, protocol.EMPTY, {})


def operations(size: int, images: int) -> float:
    """Operations of one step on a GPU with that many images."""
    stage, hyper = full(size, images)
    shape = (images, size, size, stage.channels)
    batch = {"image": jax.ShapeDtypeStruct(shape, jnp.uint8)}
    arguments = _shapes(stage), hyper, protocol.EMPTY, np.uint32(0), batch
    step = loop.train_step.trace(stage, *arguments)
    return step.lower(lowering_platforms=("cuda",)).cost_analysis()["flops"]


def sent(count: int, gpus: int) -> float:
    """Bytes that each GPU sends to sum `count` bytes in a ring."""
    return 2 * (gpus - 1) / gpus * count


def on_gpus(size: int) -> list[dict[str, Any]]:
    """Rows with the same number of images on each GPU, for growing numbers of GPUs.

    As many rings go through the network of a machine as it has GPUs, each with its
    share of the bytes: a machine sends as many bytes as one GPU.
    """
    rows = []
    for images in (1, 4, 16):
        computing = operations(size, images) / _OPERATIONS
        for gpus in (8, 64, 512):
            count = sent(gradient_bytes(full(size, images)[0]), gpus)
            apart = gpus > _GPUS
            row = {
                "images on each": images,
                "GPUs": gpus,
                "batch": images * gpus,
                "computing, ms": _ms(computing),
                "MB sent": round(count / 1e6),
            }
            for name, between in (("fast", _FAST), ("slow", _SLOW)):
                sending = count / (min(_INSIDE, between) if apart else _INSIDE)
                row[f"sending, {name}, ms"] = _ms(sending)
                row[f"busy, {name}"] = f"{computing / (computing + sending):.0%}"
            rows.append(row)
    return rows


def of_four() -> list[dict[str, Any]]:
    """Rows for the paper's batch of four images, on 1, 2 and 4 GPUs."""
    rows = []
    for size in (512, 128, 32):
        alone = operations(size, 4) / _OPERATIONS
        for gpus in (1, 2, 4):
            computing = operations(size, 4 // gpus) / _OPERATIONS
            count = sent(gradient_bytes(full(size, 4)[0]), gpus)
            row = {"size": size, "GPUs": gpus, "computing, ms": _ms(computing)}
            for name, rate in (("one machine", _INSIDE), ("slow network", _SLOW)):
                row[f"sending, {name}, ms"] = _ms(count / rate)
                gain = alone / (computing + count / rate)
                row[f"times as fast, {name}"] = f"{gain:.2g}"
            rows.append(row)
    return rows


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


def main(_) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", max(_DEVICES))
    for rows in (on_cpus(), on_gpus(512), of_four()):
        print(tables.markdown(rows), flush=True)


if __name__ == "__main__":
    cli.run(main)
