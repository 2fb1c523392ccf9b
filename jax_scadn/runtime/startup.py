"""Ctrl-C, from the first moment of a command: commands import this module first.

The other imports take seconds, and compiling may take minutes, in which Python handles
no signal.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading

_STATUS = 130  # as of a process that Ctrl-C ended
_SAYING = threading.RLock()  # handlers interrupt each other
_said = False


def answer_interrupts() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, and is answered at once.

    The second one ends the process, whatever it is at. Does nothing in processes that
    are none of our commands, or that ignore Ctrl-C (`nohup`).
    """
    if signal.getsignal(signal.SIGINT) is not _stop:
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_answer, args=(reader,), daemon=True).start()
    signal.signal(signal.SIGINT, _interrupt)


def _answer(reader: int) -> None:
    asked = False
    while True:
        for number in os.read(reader, 64):
            if number == signal.SIGINT and asked:
                _stop()
            elif number == signal.SIGINT:
                asked = True
                _say_once()


def _interrupt(*_) -> None:
    """In the main thread, which may come to it before the other one does."""
    _say_once()
    raise KeyboardInterrupt


def _say_once() -> None:
    global _said
    with _SAYING:
        if not _said:
            _said = True
            _say("stopping; press Ctrl-C again to stop at once")


def _stop(*_) -> None:
    _say("stopped")
    os._exit(_STATUS)


def _say(text: str) -> None:
    start = "\n" if os.isatty(2) else ""  # after ^C, or a bar
    os.write(2, f"{start}{text}\n".encode())


def _is_command() -> bool:
    """Whether the process was started with `python -m` and one of our modules."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec is not None and spec.name.partition(".")[0] in ("jax_scadn", "launch")


if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _stop)
    # It warns of a cache that cannot be written, and makes do without.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
