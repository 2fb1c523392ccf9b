"""Two processes with two devices each, and what may happen to them.

    python -m pytest launch/tests/faults_test.py -s

Minutes of work for two cores. The last two tests need root, to mount file systems.
"""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "tests"))
import distributed_test as processes

SAVING = "checkpoints/last/*.orbax-checkpoint-tmp*"
CALIBRATING = "detector"
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounts file systems"
)


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled"))
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The losses and the table of one process that nothing happens to."""
    workdir = tmp_path_factory.mktemp("alone") / "run"
    status, _, error = processes.finish(processes.start(workdir, 1, 1))
    assert status == 0, error[-3000:]
    return workdir


def report(what, began, status, error):
    print(f"\n=== {what}: status {status}, {time.monotonic() - began:.1f} s later")
    said = ("error:", "launch.local:", "Terminating process")
    for line in error.splitlines():
        if any(word in line for word in said):
            print("   ", line[:300])


def goes_on(workdir, expected, count, devices=2):
    """The same command ends in the same losses and table."""
    status, _, error = processes.finish(processes.start(workdir, count, devices))
    assert status == 0, error[-3000:]
    found, wanted = processes.losses(workdir), processes.losses(expected)
    assert list(found) == list(wanted)
    for step in wanted:
        assert found[step] == pytest.approx(wanted[step], rel=1e-4)
    assert processes.table(workdir) == processes.table(expected)
    print(f"    gone on with as {count} x {devices}: same losses, same table")


def pid(process, number):
    """Of one of the processes that launch.local has started."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for child in map(int, children.read_text().split()):
            command = pathlib.Path(f"/proc/{child}/cmdline").read_text().split("\0")
            if f"--process_id={number}" in command:
                return child
        time.sleep(0.1)
    raise AssertionError(f"process {number} was not started")


def wait_for_step(process, workdir, step):
    deadline = time.monotonic() + 900
    log = workdir / "log.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) >= step):
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for(process, workdir, pattern):
    """Until a file is there; looks often enough to see a save that is under way."""
    deadline = time.monotonic() + 900
    while not any(workdir.glob(pattern)):
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("moment", ["training", "save", "evaluation"])
def test_a_process_is_killed(tmp_path, expected, moment, victim):
    process = processes.start(tmp_path, 2, 2)
    number = pid(process, victim)
    if moment == "evaluation":
        wait_for(process, tmp_path, CALIBRATING)
    else:
        wait_for_step(process, tmp_path, 4)
        if moment == "save":
            wait_for(process, tmp_path, SAVING)
    os.kill(number, signal.SIGKILL)
    began = time.monotonic()
    status, _, error = processes.finish(process)
    report(f"kill -9 of process {victim} in {moment}", began, status, error)
    assert status == 128 + signal.SIGKILL
    assert f"process {victim} was ended by SIGKILL" in error
    goes_on(tmp_path, expected, 1 + victim)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_is_sent_sigterm(tmp_path, expected, victim):
    process = processes.start(tmp_path, 2, 2)
    number = pid(process, victim)
    wait_for_step(process, tmp_path, 4)
    os.kill(number, signal.SIGTERM)
    began = time.monotonic()
    status, out, error = processes.finish(process)
    report(f"SIGTERM to process {victim}", began, status, error)
    print("   ", *[line for line in out.splitlines() if "saved at" in line])
    assert status == 0
    goes_on(tmp_path, expected, 2 - victim)


@needs_root
def test_the_disk_is_full(tmp_path, expected):
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", tmp_path], check=True
    )
    try:
        workdir = tmp_path / "run"
        # Rarely logged: the save is what the full disk meets.
        seldom = "--config.training.log_every=20"
        process = processes.start(workdir, 2, 2, seldom)
        wait_for(process, workdir, "checkpoints/last/3")
        ballast = tmp_path / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        began = time.monotonic()
        status, _, error = processes.finish(process)
        report("full disk", began, status, error)
        assert status == 2
        assert "No space left on device" in error
        ballast.unlink()
        status, _, error = processes.finish(processes.start(workdir, 2, 2))
        assert status == 0, error[-3000:]
        assert processes.table(workdir) == processes.table(expected)
        print("    gone on with: same table")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@needs_root
def test_the_file_system_stalls(tmp_path, expected):
    image, folder = tmp_path / "image", tmp_path / "mounted"
    folder.mkdir()
    image.write_bytes(b"")
    os.truncate(image, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], check=False)
    if mounted.returncode:
        pytest.skip("no loop device")
    try:
        workdir = folder / "run"
        limit = "--config.training.stalled_after=120"
        process = processes.start(workdir, 2, 2, limit)
        wait_for_step(process, workdir, 4)
        wait_for(process, workdir, SAVING)
        # Thawed after a while, for a process that hangs in it cannot end before.
        thaw = threading.Timer(180, subprocess.run, [["fsfreeze", "-u", folder]])
        subprocess.run(["fsfreeze", "-f", folder], check=True)
        thaw.start()
        began = time.monotonic()
        status, _, error = processes.finish(process)
        report("stalled file system", began, status, error)
        thaw.join()
        assert status == 2
        assert "nothing has happened for 120 s" in error
        goes_on(workdir, expected, 2)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
