"""Worker processes, and a process's peak memory."""

from __future__ import annotations

import json
import os
import pathlib
import re
import resource
import select
import subprocess
import sys
import tempfile
from typing import Any

# PyTorch compiles without its caches, so that the first call includes compilation.
_NOTHING_CACHED = {"TORCHINDUCTOR_FORCE_DISABLE_CACHES": "1"}


class WorkerError(Exception):
    """A worker died or took too long; the message is one line."""


class Worker:
    """A `benchmarks.worker` process with one workload; leaving the context ends it.

    Args:
      task: JSON for the worker.
      compiled: directory of JAX's compilation cache.
      interpreter: of Python; by default that of this process.
    """

    def __init__(
        self,
        task: dict[str, Any],
        compiled: str | os.PathLike[str],
        interpreter: str = sys.executable,
    ):
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            [interpreter, "-m", "benchmarks.worker", json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=os.environ
            | _NOTHING_CACHED
            | {
                "JAX_ENABLE_COMPILATION_CACHE": "true",
                "JAX_COMPILATION_CACHE_DIR": str(compiled),
                "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            },
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()

    def ask(self, request: str, timeout: float | None = None) -> dict[str, Any]:
        """The worker's answer.

        Raises:
          WorkerError: it died, or did not answer within `timeout` seconds.
        """
        try:
            self._process.stdin.write(request + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        # An answer is one line, so none of it stays in a buffer.
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        if not ready:
            raise WorkerError(f"no answer within {timeout:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        return json.loads(line)

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors if line.strip()]
        return f"died with status {status}: {lines[-1] if lines else 'no message'}"


def peak_mib() -> float:
    """Peak memory of this process so far, MiB.

    On Linux `ru_maxrss` of a child starts at its parent's value.
    """
    try:
        status = pathlib.Path("/proc/self/status").read_text()
    except FileNotFoundError:
        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes or KiB
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
