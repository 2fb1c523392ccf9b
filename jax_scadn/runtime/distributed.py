"""Several processes that train together: start-up and communication.

Every process runs the same program on its shard of each batch. Only process 0 prints
and writes, except for checkpoints, which all processes write together.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Mapping
from typing import Any

import jax
from jax.experimental import multihost_utils

from jax_scadn.runtime import errors, watchdog

_JOIN_TIMEOUT = 300  # s that processes wait for each other at the start
_calls = 0  # of `preempted`; equal in all processes


def detect_cluster(
    environ: Mapping[str, str], coordinator: str, processes: int, process: int
) -> dict[str, Any] | None:
    """Arguments of `jax.distributed.initialize`; None for a single process.

    Args:
      environ: of the process. Kubernetes: the completion index of an indexed Job,
        JAX_COORDINATOR_ADDRESS and NUM_PROCESSES. SLURM: a step of several tasks.
      coordinator: HOST:PORT of process 0, '' to read it from the environment.
      processes: how many, 0 to read it from the environment.
      process: index of this one, -1 to read it from the environment.

    Raises:
      errors.UserError: incomplete or invalid values.
    """
    if processes == 1 and process < 1:
        return None
    coordinator = coordinator or environ.get("JAX_COORDINATOR_ADDRESS", "")
    if not coordinator:
        if processes or process >= 0:
            raise errors.UserError("give --coordinator_address=HOST:PORT of process 0")
        if int(environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            return {"cluster_detection_method": "slurm"}
        return None
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise errors.UserError(
            f"coordinator address {coordinator!r} must be HOST:PORT of process 0"
        )
    processes = processes or _number(environ, "NUM_PROCESSES", 0)
    if process < 0:
        process = _number(environ, "JOB_COMPLETION_INDEX", -1)
    if not 0 <= process < processes:
        raise errors.UserError(
            f"process {process} of {processes}: give --num_processes and --process_id, "
            "from 0, or NUM_PROCESSES and JOB_COMPLETION_INDEX in the environment"
        )
    return {
        "coordinator_address": coordinator,
        "num_processes": processes,
        "process_id": process,
        "cluster_detection_method": "deactivate",
    }


def start(cluster: dict[str, Any] | None, heartbeat_timeout: int) -> None:
    """Connects to the other processes; must precede JAX's first computation.

    Args:
      cluster: from `detect_cluster`.
      heartbeat_timeout: seconds without a heartbeat before a process is considered
        lost, and all others exit.
    """
    if cluster is None:
        return
    # JAX aborts a process that has lost the others, with a message; the stacks of all
    # threads, which absl makes Python print then, would hide it.
    faulthandler.disable()
    at = cluster.get("coordinator_address", "the first task of the SLURM step")
    absent = (
        f"not all processes have connected to {at}; start all of them, in any order"
    )
    # Before JAX would abort this process with its own message.
    with watchdog.Watchdog(_JOIN_TIMEOUT, absent):
        jax.distributed.initialize(
            **cluster,
            initialization_timeout=2 * _JOIN_TIMEOUT,
            heartbeat_timeout_seconds=heartbeat_timeout,
        )
    barrier()
    if not is_primary():
        sys.stdout = open(  # noqa: SIM115, until the process ends
            os.devnull, "w", encoding="utf-8", errors="replace"
        )


def is_primary() -> bool:
    """Whether this is the process that prints and writes."""
    return jax.process_index() == 0


def broadcast_from_primary(value: bool) -> bool:
    """Broadcasts a bool from process 0.

    Files that process 0 writes may not be visible to the others yet.
    """
    if not jax.distributed.is_initialized():
        return value
    return bool(multihost_utils.broadcast_one_to_all(value))


def barrier() -> None:
    """Barrier: afterwards all processes see the files of process 0."""
    broadcast_from_primary(True)


def preempted() -> bool:
    """Whether any process received SIGTERM; true in all of them at the same call.

    All processes must call it equally often. False in a single process.
    """
    global _calls
    _calls += 1
    if jax.process_count() == 1:
        return False
    return multihost_utils.reached_preemption_sync_point(_calls)


def gather_to_host(tree: Any) -> Any:
    """NumPy arrays of a tree that is sharded over the devices of all processes."""
    if jax.process_count() == 1:
        return jax.device_get(tree)  # all leaves at once
    return multihost_utils.process_allgather(tree, tiled=True)


def abort(status: int) -> None:
    """Exits a failed process without waiting for the others.

    They detect that it is lost and exit, too.
    """
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, str(default))
    try:
        return int(text)
    except ValueError:
        raise errors.UserError(f"{name}={text} must be an integer") from None
