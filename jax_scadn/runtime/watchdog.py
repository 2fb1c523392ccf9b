"""Watchdog: aborts a process that makes no progress."""

from __future__ import annotations

import os
import pathlib
import sys
import threading
import traceback

_PACKAGE = pathlib.Path(__file__).parents[1]
_STALLED = (
    "a file system or another process has stalled; earlier checkpoints are complete, "
    "run the same command again to resume"
)


class Watchdog:
    """Exits with one line and status 2 unless `heartbeat` is called in time.

    Calls that hang in the operating system cannot be interrupted; only another thread
    can report them. Processes that wait for this one then detect that it is lost.

    Args:
      seconds: without a heartbeat; 0 turns the watchdog off.
      meaning: the likely cause, and what to do.
    """

    def __init__(self, seconds: float, meaning: str = _STALLED):
        self._seconds = seconds
        self._meaning = meaning
        self._event = threading.Event()
        self._stopped = False
        self._watched = threading.get_ident()

    def heartbeat(self) -> None:
        """Resets the timer."""
        self._event.set()

    def __enter__(self) -> Watchdog:
        if self._seconds:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self._stopped = True
        self._event.set()

    def _watch(self) -> None:
        while self._event.wait(self._seconds):
            if self._stopped:
                return
            self._event.clear()
        print(
            f"error: no progress for {self._seconds:g} s in {self._location()}: "
            f"{self._meaning}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(2)

    def _location(self) -> str:
        """The innermost function of this package in the watched thread."""
        frame = sys._current_frames()[self._watched]
        ours = [
            f"{pathlib.Path(at.filename).name}, {at.name}"
            for at in traceback.extract_stack(frame)
            if pathlib.Path(at.filename).is_relative_to(_PACKAGE)
        ]
        return ours[-1] if ours else "the program"
