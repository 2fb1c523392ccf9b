"""The machine's memory: what is free, and what compilations leave behind."""

from __future__ import annotations

import ctypes
import functools
import gc
import pathlib

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 0.1  # seconds; shorter compilations leave little
_MEMINFO = pathlib.Path("/proc/meminfo")
_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")
_MAPS = pathlib.Path("/proc/self/maps")
_RESTART_PEAK = "5"  # see proc_pid_clear_refs(5)
# Linux gives a process 65,530 mappings of memory and each program takes some thirty:
# without any left, jaxlib crashes.
MANY_MAPPINGS = 20_000


@functools.cache
def trim_after_compilation() -> None:
    """Returns free memory after each compilation, or after loading a cached program.

    Compiling a full-width network leaves 250 MiB in the allocator's lists, which would
    stay with the process. Only for glibc's allocator; a no-op elsewhere.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return

    def after(event: str, seconds: float, **_) -> None:
        if event == _COMPILED and seconds >= _LONG:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(after)


def available() -> float | None:
    """MiB that new arrays can have without swapping; None where it is not known."""
    return _mib(_MEMINFO, "MemAvailable")


def restart_peak() -> bool:
    """Lets `peak` count from now on; False where the system cannot."""
    try:
        _CLEAR.write_text(_RESTART_PEAK)
    except OSError:
        return False
    return True


def peak() -> float | None:
    """MiB that the process had at most since `restart_peak`; None if not known."""
    return _mib(_STATUS, "VmHWM")


def free_programs(mappings: int = MANY_MAPPINGS) -> None:
    """Frees compiled programs, in a process that compiles many different ones.

    Args:
      mappings: only where the process has more mappings of memory than this.
    """
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > mappings:
        jax.clear_caches()
        gc.collect()


def _mib(path: pathlib.Path, wanted: str) -> float | None:
    """A line of a file of Linux's, in MiB."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == wanted:
            return int(value.split()[0]) / 2**10
    return None
