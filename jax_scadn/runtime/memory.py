"""What XLA's compiler has taken goes back to the system."""

from __future__ import annotations

import ctypes
import functools

import jax

_COMPILED = "/jax/core/compile/backend_compile_duration"
_LONG = 0.1  # seconds; shorter ones leave little


@functools.cache
def trim_after_compilation() -> None:
    """Has free memory returned after each compilation, or after one was found on disk.

    The program of a full-width network leaves 250 MiB in the allocator's lists. They
    would stay with the process beside what it computes. Only glibc's allocator is told
    so; elsewhere nothing happens.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return

    def after(event: str, seconds: float, **_) -> None:
        if event == _COMPILED and seconds >= _LONG:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(after)
