"""The machine's memory: what is free, and what compilations leave behind."""

from __future__ import annotations

import ctypes
import functools
import pathlib

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 0.1  # seconds; shorter compilations leave little
_MEMINFO = pathlib.Path("/proc/meminfo")


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
    try:
        lines = _MEMINFO.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) / 2**10
    return None
