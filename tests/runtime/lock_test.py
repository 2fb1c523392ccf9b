import os
import signal
import subprocess
import sys

import pytest

from jax_scadn.runtime import errors, lock

HOLD = """
import pathlib, sys, time
from jax_scadn.runtime import lock
with lock.held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_told_which_one_holds_the_folder(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        with (
            pytest.raises(errors.UserError, match=f"in use by process {first.pid} on"),
            lock.held(folder),
        ):
            pytest.fail("two processes held it")
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        with lock.held(folder):
            assert f"process {os.getpid()} " in (folder / lock.FILE).read_text()
    with lock.held(folder):
        pass


def test_a_folder_that_cannot_be_made_is_a_one_line_error(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(errors.UserError, match="file/run cannot be written"),
        lock.held(tmp_path / "file/run"),
    ):
        pytest.fail("held what does not exist")
