"""Sharding of arrays over a mesh of the devices of all processes.

The axis 'batch' splits the images: each process holds consecutive rows of a batch. In
scoring, the axis 'masks' splits the work on each image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jax_scadn.runtime import distributed, errors

BATCH, MASKS = "batch", "masks"


def mesh(batch_size: int, setting: str = "training.batch_size") -> Mesh:
    """A mesh over the largest number of devices that share the batch evenly.

    Args:
      batch_size: over all processes.
      setting: that says it, for messages.

    Raises:
      errors.UserError: the processes cannot share it evenly.
    """
    processes, local = jax.process_count(), jax.local_device_count()
    if batch_size % processes:
        raise errors.UserError(
            f"{processes} processes cannot share a batch of {batch_size}: set "
            f"--config.{setting} to a multiple of {processes * local}"
        )
    used = math.gcd(batch_size // processes, local)
    if used < local:
        logging.warning(
            "a batch of %d uses %d of %d devices",
            batch_size,
            processes * used,
            processes * local,
        )
    return _mesh(used)


def variant_mesh(count: int) -> tuple[Mesh, int]:
    """A mesh for independent variants, and their number rounded up to fill it.

    Raises:
      errors.UserError: several processes.
    """
    if jax.process_count() > 1:
        raise errors.UserError(
            "vectorized variants are trained in one process: set "
            "--variant_batching=map, or distribute them with launch.sweep"
        )
    used = min(count, jax.local_device_count())
    return _mesh(used), -(-count // used) * used


def scoring_mesh(images: int, shards_per_image: int = 1) -> tuple[Mesh, int]:
    """A mesh over all devices, and the number of images rounded up to fill it.

    With fewer images than devices, several devices share an image.

    Args:
      images: number of images scored together.
      shards_per_image: equal shards into which the work on an image can be split.
    """
    devices, local = jax.device_count(), jax.local_device_count()
    sharing = max(
        n
        for n in range(1, shards_per_image + 1)
        if shards_per_image % n == local % n == 0 and (n == 1 or n * images <= devices)
    )
    groups = devices // sharing
    return _mesh(local, sharing), -(-images // groups) * groups


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis sharded over all devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """The full array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def warm_up_collectives(mesh: Mesh) -> None:
    """Runs one collective operation, if there are several processes.

    On CPUs the first collective waits only 30 s for the other processes, which may
    differ by more in the time to read files or to compile a step.
    """
    if jax.process_count() > 1:
        distributed.barrier()
        ones = shard_batch(mesh, np.ones(len(mesh.local_devices), np.float32))
        jax.block_until_ready(jnp.sum(ones))


def shard_batch(mesh: Mesh, rows: Any) -> Any:
    """A tree of global batches from the rows of each process, in process order."""
    return _put(rows, batch_sharding(mesh))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """The tree on each device; all processes must pass the same values."""
    return _put(tree, replicated(mesh))


def _put(tree: Any, sharding: NamedSharding) -> Any:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def shard_map_images(mesh: Mesh, function: Callable, replicated: int) -> Callable:
    """A function that each device runs on its own images, without communication.

    A `vmap` over masks whose images are sharded by the compiler would gather all
    images on all devices.

    Args:
      mesh: its batch axis splits the images.
      function: takes `replicated` arguments, then images; returns arrays with the
        images' axis first. Devices that share an image must return the same.
      replicated: number of arguments that every device gets in full.
    """
    return jax.shard_map(
        function,
        mesh=mesh,
        in_specs=(*([PartitionSpec()] * replicated), PartitionSpec(BATCH)),
        out_specs=PartitionSpec(BATCH),
        check_vma=False,
    )


def map_shards(mesh: Mesh, function: Callable, replicated: int = 0) -> Callable:
    """A function that each device runs on its own shard of the arguments.

    Args:
      mesh: its batch axis splits the first axis of the arguments.
      function: takes `replicated` arguments, then sharded ones.
      replicated: number of arguments that every device gets in full.
    """

    def mapped(*arguments):
        split = len(arguments) - replicated
        return jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(PartitionSpec(),) * replicated + (PartitionSpec(BATCH),) * split,
            out_specs=PartitionSpec(BATCH),
            check_vma=False,
        )(*arguments)

    return mapped


def _mesh(used: int, sharing: int = 1) -> Mesh:
    """A mesh over the first devices of each process, in process order."""
    ordered = sorted(
        jax.devices(), key=lambda device: (device.process_index, device.id)
    )
    by_process = np.reshape(ordered, (jax.process_count(), -1))
    devices = by_process[:, :used].reshape(-1, sharing)
    return Mesh(devices, (BATCH, MASKS), axis_types=(AxisType.Auto,) * 2)
