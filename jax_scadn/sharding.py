"""Where arrays live: one mesh with one axis, over which the images are split."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
from absl import logging
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BATCH = "batch"


def mesh(batch_size: int) -> Mesh:
    """Over as many devices as share the batch evenly, all of them if they can."""
    devices = jax.devices()
    used = math.gcd(batch_size, len(devices))
    if used < len(devices):
        logging.warning(
            "a batch of %d uses %d of %d devices", batch_size, used, len(devices)
        )
    return _mesh(used)


def spread(count: int) -> tuple[Mesh, int]:
    """A mesh for that many things of their own, and their number rounded up to it."""
    used = min(count, len(jax.devices()))
    return _mesh(used), -(-count // used) * used


def scoring_mesh(images: int) -> tuple[Mesh, int]:
    """Over all devices, and the number of images rounded up to fill them."""
    devices = len(jax.devices())
    batch_size = -(-images // devices) * devices
    return mesh(batch_size), batch_size


def split(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def map_images(mesh: Mesh, function: Callable, replicated: int) -> Callable:
    """The function run by each device on its own images, without communication.

    A `vmap` over masks whose images are sharded by the compiler would gather all
    images on all devices.

    Args:
      mesh: over which the images are split.
      function: takes `replicated` whole arguments, then images; returns arrays with
        the images' axis first.
      replicated: how many arguments every device gets whole.
    """
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(*([PartitionSpec()] * replicated), PartitionSpec(BATCH)),
        out_specs=PartitionSpec(BATCH),
        check_vma=False,
    )


def map_shards(mesh: Mesh, function: Callable) -> Callable:
    """The function run by each device on its own share of all arguments."""
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=PartitionSpec(BATCH),
        out_specs=PartitionSpec(BATCH),
        check_vma=False,
    )


def _mesh(used: int) -> Mesh:
    return jax.make_mesh(
        (used,), (BATCH,), axis_types=(AxisType.Auto,), devices=jax.devices()[:used]
    )
