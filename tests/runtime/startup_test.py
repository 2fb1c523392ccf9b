"""Ctrl-C: a word at once, status 130 and no traceback, whatever the command is at."""

import pathlib
import signal
import subprocess
import sys
import time

import conftest
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=conftest.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def computing(process):
    """Waits until the process has computed for another tenth of a second."""

    def ticks():
        stat = pathlib.Path(f"/proc/{process.pid}/stat").read_text()
        return int(stat.rpartition(")")[2].split()[11])

    before, deadline = ticks(), time.monotonic() + 60
    while ticks() < before + 10:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def interrupt(process):
    process.send_signal(signal.SIGINT)


def test_during_imports():
    with start("-m", "jax_scadn.train", "--config=configs/lace.py") as process:
        mapped = pathlib.Path(f"/proc/{process.pid}/maps")
        deadline = time.monotonic() + 60
        while "jaxlib" not in mapped.read_text():
            assert time.monotonic() < deadline
        interrupt(process)
        assert process.communicate(timeout=60) == ("", "stopped\n")
    assert process.returncode == 130


LONG = """
import hashlib, sys, types
sys.modules["__main__"].__spec__ = types.SimpleNamespace(name="jax_scadn.train")
from jax_scadn.runtime import startup
from jax_scadn.runtime import cli

def main(_):
    print("at work", flush=True)
    while True:
        hashlib.pbkdf2_hmac("sha256", b"", b"", {rounds})

cli.run(main)
"""


def test_during_a_compilation():
    """Native code is left by nothing but the end of the process."""
    with start("-c", LONG.format(rounds=2**31 - 1)) as process:
        assert process.stdout.readline() == "at work\n"
        computing(process)
        interrupt(process)
        words = "stopping; press Ctrl-C again to stop at once\n"
        assert process.stderr.readline() == words
        assert process.poll() is None
        interrupt(process)
        assert process.communicate(timeout=60) == ("", "stopped\n")
    assert process.returncode == 130


def test_once_is_enough_between_instructions():
    with start("-c", LONG.format(rounds=1)) as process:
        assert process.stdout.readline() == "at work\n"
        interrupt(process)
        out, error = process.communicate(timeout=60)
    assert (out, process.returncode) == ("", 130)
    assert error == "stopping; press Ctrl-C again to stop at once\n"
