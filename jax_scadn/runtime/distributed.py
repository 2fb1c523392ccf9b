"""Many processes that train as one: how they find each other and what they agree on.

Every process runs the same program on its share of each batch. Process 0 alone prints
and writes, except for checkpoints, which all write together.
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

_MEETING = 300  # s that processes wait for each other at the start
_calls = 0  # of `preempted`; the same in all processes


def detect_cluster(
    environ: Mapping[str, str], coordinator: str, processes: int, process: int
) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` has to be told; None for a process alone.

    Args:
      environ: of the process. Kubernetes: the completion index of an indexed Job,
        JAX_COORDINATOR_ADDRESS and NUM_PROCESSES. SLURM: a step of several tasks.
      coordinator: HOST:PORT of process 0, '' where the environment tells.
      processes: how many, 0 where the environment tells.
      process: number of this one, -1 where the environment tells.

    Raises:
      errors.UserError: what is told does not suffice.
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
        raise errors.UserError(f"process 0 is not at {coordinator!r}: give HOST:PORT")
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


def start(found: dict[str, Any] | None, heartbeat_timeout: int) -> None:
    """Meets the other processes; has to come before JAX's first computation.

    Args:
      found: by `detect_cluster`.
      heartbeat_timeout: seconds without a heartbeat before a process is considered
        lost, and all others end.
    """
    if found is None:
        return
    # JAX aborts a process that has lost the others. It says why; the stacks of all
    # threads, which absl makes Python print then, would only hide it.
    faulthandler.disable()
    at = found.get("coordinator_address", "the first task of the SLURM step")
    absent = f"not all processes have come to {at}; start each of them, in any order"
    # Sooner than JAX, which would abort this process with words of its own.
    with watchdog.Watchdog(_MEETING, absent):
        jax.distributed.initialize(
            **found,
            initialization_timeout=2 * _MEETING,
            heartbeat_timeout_seconds=heartbeat_timeout,
        )
    barrier()
    if not is_primary():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, until the process ends


def is_primary() -> bool:
    """Whether this is the process that prints and writes."""
    return jax.process_index() == 0


def broadcast_from_primary(value: bool) -> bool:
    """What process 0 says, in all processes.

    Files that process 0 writes may not yet be there for the others to see.
    """
    if not jax.distributed.is_initialized():
        return value
    return bool(multihost_utils.broadcast_one_to_all(value))


def barrier() -> None:
    """Until all processes are here, so that all see what process 0 has written."""
    broadcast_from_primary(True)


def preempted() -> bool:
    """Whether a process was sent SIGTERM; true in all of them at the same call.

    All processes have to call it equally often. False in a process alone.
    """
    global _calls
    _calls += 1
    if jax.process_count() == 1:
        return False
    return multihost_utils.reached_preemption_sync_point(_calls)


def gather_to_host(tree: Any) -> Any:
    """NumPy arrays of what is spread over the devices of all processes."""
    if jax.process_count() == 1:
        return jax.device_get(tree)  # of all leaves at once
    return multihost_utils.process_allgather(tree, tiled=True)


def abort(status: int) -> None:
    """Ends a process that failed, without the usual wait for the others to end.

    They notice that it is gone and end, too.
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
        raise errors.UserError(f"{name}={text}: give a whole number") from None
