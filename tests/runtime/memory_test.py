import ctypes
import os
import pathlib

import jax
import pytest

from jax_scadn.runtime import memory

pytestmark = pytest.mark.jax_version

PAGES = pathlib.Path("/proc/self/pagemap")
LIBC = ctypes.CDLL(None)
BLOCKS, BYTES = 1 << 10, 1 << 16  # 64 MiB


def has_glibc():
    return PAGES.exists() and hasattr(LIBC, "malloc_trim")


@pytest.fixture
def blocks():
    """Touched blocks that are not at the end of the allocator's memory."""
    LIBC.malloc.restype = ctypes.c_void_p
    LIBC.free.argtypes = [ctypes.c_void_p]
    blocks = [LIBC.malloc(BYTES) for _ in range(BLOCKS)]
    last = LIBC.malloc(BYTES)
    for block in blocks:
        ctypes.memset(block, 1, BYTES)
    yield blocks
    LIBC.free(last)


def resident(blocks):
    """Number of blocks whose middle page is in memory."""
    page = os.sysconf("SC_PAGE_SIZE")
    with PAGES.open("rb") as pages:
        middles = [(block + BYTES // 2) // page for block in blocks]
        entries = [os.pread(pages.fileno(), 8, 8 * middle) for middle in middles]
    return sum(entry[-1] >> 7 for entry in entries)  # bit 63


@pytest.mark.skipif(not has_glibc(), reason="needs Linux with glibc")
def test_free_memory_is_returned_after_a_compilation(blocks):
    """Counts only these blocks: other memory of the process is not considered."""
    memory.trim_after_compilation()
    compiled = jax.monitoring.record_event_duration_secs
    for block in blocks:
        LIBC.free(block)
    compiled("/jax/core/compile/jaxpr_trace_duration", 1.0)
    compiled(memory._COMPILED, 0.01)
    assert resident(blocks) > 0.9 * BLOCKS
    compiled(memory._COMPILED, 1.0)
    assert resident(blocks) < 0.1 * BLOCKS


def test_compilations_are_reported():
    heard = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: heard.append(event)
    )
    jax.jit(lambda x: x + 3.25)(1.0)
    assert memory._COMPILED in heard


def test_available_memory(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(memory, "_MEMINFO", meminfo)
    assert memory.available() is None
    meminfo.write_text("MemTotal: 9 kB\n")
    assert memory.available() is None
    meminfo.write_text("MemTotal:  4096 kB\nMemAvailable:   1536 kB\nCached: 1 kB\n")
    assert memory.available() == 1.5
