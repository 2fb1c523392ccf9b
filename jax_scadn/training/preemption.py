"""Preemption: SIGTERM and Ctrl-C end a training after a save."""

from __future__ import annotations

import signal
import threading

import jax

from jax_scadn.runtime import distributed


class PreemptionGuard:
    """Notes the first SIGTERM or Ctrl-C, so that the loop can save and leave.

    In a thread that is not the main one, such as a notebook's, signals stay as they
    are: Python lets no other thread handle them. Where there are many processes, JAX
    takes SIGTERM, and informs all of them.
    """

    def __init__(self):
        self.signal: int | None = None
        self._handlers = {}

    def __enter__(self) -> PreemptionGuard:
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def wanted(self) -> bool:
        """Whether to leave now; the loop asks once a step."""
        return self.signal is not None or distributed.preempted()

    def _note(self, number, _) -> None:
        if self.signal is not None:  # the second one does not wait
            raise KeyboardInterrupt
        self.signal = number
