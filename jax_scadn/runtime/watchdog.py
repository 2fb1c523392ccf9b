"""Watchdog: aborts a process that makes no progress."""

from __future__ import annotations

import os
import pathlib
import sys
import threading
import traceback

_PACKAGE = pathlib.Path(__file__).parents[1]
_STALLED = (
    "a file system that stalls, or another process that does; what was saved before is "
    "whole, and the same command goes on from it"
)


class Watchdog:
    """Ends the process with one line and status 2 unless `heartbeat` comes in time.

    What hangs in the operating system cannot be interrupted; only another thread can
    still say so. Other processes that wait for this one then notice that it is gone.

    Args:
      seconds: without `heartbeat`; 0 waits for ever.
      meaning: what it means that nothing happens, and what to do then.
    """

    def __init__(self, seconds: float, meaning: str = _STALLED):
        self._seconds = seconds
        self._meaning = meaning
        self._told = threading.Event()
        self._over = False
        self._watched = threading.get_ident()

    def heartbeat(self) -> None:
        """Resets the timer."""
        self._told.set()

    def __enter__(self) -> Watchdog:
        if self._seconds:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._over = True
        self._told.set()

    def _watch(self) -> None:
        while self._told.wait(self._seconds):
            if self._over:
                return
            self._told.clear()
        print(
            f"error: nothing has happened for {self._seconds:g} s in {self._place()}: "
            f"{self._meaning}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)

    def _place(self) -> str:
        """Where the watched thread is, in this package."""
        frame = sys._current_frames()[self._watched]
        ours = [
            f"{pathlib.Path(at.filename).name}, {at.name}"
            for at in traceback.extract_stack(frame)
            if pathlib.Path(at.filename).is_relative_to(_PACKAGE)
        ]
        return ours[-1] if ours else "the program"
