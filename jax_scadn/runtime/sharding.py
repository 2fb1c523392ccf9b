"""Where arrays live: a mesh over the devices of all processes.

Its axis 'batch' splits the images, so that each process holds a run of rows of a batch.
In scoring its axis 'masks' splits the work on each of the images.
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


def mesh(batch_size: int) -> Mesh:
    """Over as many devices as share the batch evenly, all of them if they can.

    Raises:
      errors.UserError: the processes cannot share it evenly.
    """
    processes, local = jax.process_count(), jax.local_device_count()
    if batch_size % processes:
        raise errors.UserError(
            f"{processes} processes cannot share a batch of {batch_size}: set "
            f"--config.training.batch_size to a multiple of {processes * local}"
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
    """A mesh for that many things of their own, and their number rounded up to it.

    Raises:
      errors.UserError: there are several processes.
    """
    if jax.process_count() > 1:
        raise errors.UserError(
            "variants in one step are trained in one process: give "
            "--variant_batching=map, or spread them by launch.sweep"
        )
    used = min(count, jax.local_device_count())
    return _mesh(used), -(-count // used) * used


def scoring_mesh(images: int, shares: int = 1) -> tuple[Mesh, int]:
    """Over all devices, and the number of images rounded up to fill them.

    Where there are fewer images than devices, several devices share an image.

    Args:
      images: to be scored together.
      shares: into how many equal shares the work on one image can be split.
    """
    devices, local = jax.device_count(), jax.local_device_count()
    sharing = max(
        n
        for n in range(1, shares + 1)
        if shares % n == local % n == 0 and (n == 1 or n * images <= devices)
    )
    groups = devices // sharing
    return _mesh(local, sharing), -(-images // groups) * groups


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The first axis over all devices of the mesh."""
    return NamedSharding(mesh, PartitionSpec(BATCH))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on each device."""
    return NamedSharding(mesh, PartitionSpec())


def warm_up_collectives(mesh: Mesh) -> None:
    """Makes the devices of all processes find each other, where there are several.

    On CPUs the first one to compute together waits 30 s for the others to come: less
    than they may differ in what they need to read files or to compile a step.
    """
    if jax.process_count() > 1:
        distributed.barrier()
        ones = shard_batch(mesh, np.ones(len(mesh.local_devices), np.float32))
        jax.block_until_ready(jnp.sum(ones))


def shard_batch(mesh: Mesh, rows: Any) -> Any:
    """A tree of batches out of the rows that each process holds, in their order."""
    return _put(rows, batch_sharding(mesh))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """The tree on each device; all processes have to give the same."""
    return _put(tree, replicated(mesh))


def _put(tree: Any, sharding: NamedSharding) -> Any:
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)
    return jax.tree.map(
        lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree
    )


def shard_map_images(mesh: Mesh, function: Callable, replicated: int) -> Callable:
    """The function run by each device on its own images, without communication.

    A `vmap` over masks whose images are sharded by the compiler would gather all
    images on all devices.

    Args:
      mesh: over which the images are split.
      function: takes `replicated` whole arguments, then images; returns arrays with
        the images' axis first. Devices that share an image have to return the same.
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


def _mesh(used: int, sharing: int = 1) -> Mesh:
    """Over the first devices of each process, in the order of the processes."""
    ordered = sorted(
        jax.devices(), key=lambda device: (device.process_index, device.id)
    )
    by_process = np.reshape(ordered, (jax.process_count(), -1))
    devices = by_process[:, :used].reshape(-1, sharing)
    return Mesh(devices, (BATCH, MASKS), axis_types=(AxisType.Auto,) * 2)
