import ctypes
import pathlib
import re

import jax
import pytest

from jax_scadn import compiler_memory

STATUS = pathlib.Path("/proc/self/status")


def has_glibc():
    try:
        return STATUS.exists() and hasattr(ctypes.CDLL(None), "malloc_trim")
    except (OSError, TypeError):
        return False


def resident_mib():
    return int(re.search(r"VmRSS:\s+(\d+) kB", STATUS.read_text())[1]) / 1024


@pytest.fixture
def free_lists():
    """64 MiB that are free, but not at the end of the allocator's memory."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    blocks = [libc.malloc(4096) for _ in range(1 << 14)]
    for block in blocks:
        ctypes.memset(block, 1, 4096)
    last = libc.malloc(4096)
    for block in blocks:
        libc.free(block)
    yield
    libc.free(last)


@pytest.mark.skipif(not has_glibc(), reason="needs Linux with glibc")
def test_what_is_free_leaves_the_process_after_a_compilation(free_lists):
    compiler_memory.give_back()
    before = resident_mib()
    compiled = jax.monitoring.record_event_duration_secs
    compiled("/jax/core/compile/jaxpr_trace_duration", 1.0)
    compiled(compiler_memory._COMPILED, 0.01)
    assert resident_mib() > before - 8
    compiled(compiler_memory._COMPILED, 1.0)
    assert resident_mib() < before - 48


def test_compilations_say_so():
    heard = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: heard.append(event)
    )
    jax.jit(lambda x: x + 3.25)(1.0)
    assert compiler_memory._COMPILED in heard
