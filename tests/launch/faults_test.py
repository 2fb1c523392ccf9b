"""Two processes with two devices each, and what may happen to them.

    python -m pytest tests/launch/faults_test.py -s

A quarter of an hour of work for two cores. The last tests need root, to mount file
systems.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import conftest
import processes
import pytest

pytestmark = pytest.mark.cluster

SAVING = "checkpoints/last/*.orbax-checkpoint-tmp*"
CALIBRATED = "detector"
# JAX agrees on a step to stop after about a second later, which has to come.
MANY = "--config.training.steps=60"
needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounts file systems"
)


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    os.environ.setdefault(
        "JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled"))
    )


def alone(folder, *arguments):
    """The work directory of one undisturbed process."""
    status, _, error = processes.finish(
        processes.start(folder / "run", 1, 1, *arguments)
    )
    assert status == 0, error[-3000:]
    return folder / "run"


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("alone"))


@pytest.fixture(scope="module")
def expected_of_many(tmp_path_factory):
    return alone(tmp_path_factory.mktemp("alone"), MANY)


def report(what, began, status, error):
    print(f"\n=== {what}: status {status}, {time.monotonic() - began:.1f} s later")
    said = ("error:", "launch.local:", "Terminating process")
    for line in error.splitlines():
        if any(word in line for word in said):
            print("   ", line[:300])


def resumes(workdir, expected, count, *arguments):
    """The same command resumes, with the same losses and table at the end."""
    again = processes.start(workdir, count, 2, *arguments)
    status, _, error = processes.finish(again)
    assert status == 0, error[-3000:]
    resumed, wanted = processes.losses(workdir), processes.losses(expected)
    assert list(resumed) == list(wanted)
    for step in wanted:
        assert resumed[step] == pytest.approx(wanted[step], rel=1e-4)
    assert processes.table(workdir) == processes.table(expected)
    print(f"    resumed as {count} x 2: same losses, same table")


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
        wait_for(process, tmp_path, CALIBRATED)
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
    resumes(tmp_path, expected, 1 + victim)


@pytest.mark.parametrize("victim", [0, 1, "launch.local", "launch.local, by Ctrl-C"])
def test_sigterm_saves_and_ends_all(tmp_path, expected_of_many, victim):
    process = processes.start(tmp_path, 2, 2, MANY)
    number = pid(process, victim) if victim in (0, 1) else process.pid
    wait_for_step(process, tmp_path, 4)
    by_hand = victim == "launch.local, by Ctrl-C"
    os.kill(number, signal.SIGINT if by_hand else signal.SIGTERM)
    began = time.monotonic()
    status, out, error = processes.finish(process)
    report(f"SIGTERM to {victim}", began, status, error)
    print("   ", *[line for line in out.splitlines() if "saved at" in line])
    assert status == 0
    assert out.count("; run the same command again to resume") == 1
    resumes(tmp_path, expected_of_many, 2 if victim == 0 else 1, MANY)


def test_sigterm_after_the_last_step_changes_nothing(tmp_path, expected):
    process = processes.start(tmp_path, 2, 2)
    number = pid(process, 1)
    wait_for_step(process, tmp_path, 20)
    os.kill(number, signal.SIGTERM)
    began = time.monotonic()
    status, _, error = processes.finish(process)
    report("SIGTERM to process 1 after the last step", began, status, error)
    assert status == 0
    assert processes.table(tmp_path) == processes.table(expected)


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_never_starts(tmp_path, number):
    command = [
        sys.executable, "-m", "jax_scadn.train", *processes.SMALL,
        f"--workdir={tmp_path}", "--coordinator_address=localhost:34567",
        "--num_processes=2", f"--process_id={number}",
    ]  # fmt: skip
    began = time.monotonic()
    done = subprocess.run(
        command, cwd=conftest.ROOT, capture_output=True, text=True, timeout=600
    )
    report(f"process {number} of 2 alone", began, done.returncode, done.stderr)
    assert done.returncode == 2
    assert "not all processes have connected to localhost:34567" in done.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--num_processes=2",),
        ("--coordinator_address=localhost", "--num_processes=2", "--process_id=0"),
        ("--coordinator_address=localhost:1", "--num_processes=2", "--process_id=2"),
        ("--coordinator_address=localhost:1", "--num_processes=1", "--process_id=1"),
    ],
)
def test_flags_that_do_not_suffice(tmp_path, flags):
    command = [sys.executable, "-m", "jax_scadn.train", *processes.SMALL, *flags]
    began = time.monotonic()
    done = subprocess.run(command, cwd=conftest.ROOT, capture_output=True, text=True)
    report(" ".join(flags), began, done.returncode, done.stderr)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


@needs_root
@pytest.mark.parametrize(
    ("moment", "message"),
    [
        # Training continues while the disk fills up.
        (
            "checkpoints/last/3",
            r"step (\d+) cannot .* of step (\d+) is complete",
        ),
        (CALIBRATED, "run the same command again to resume"),
    ],
)
def test_the_disk_is_full(tmp_path, expected, moment, message):
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", tmp_path]
    if subprocess.run(command, check=False).returncode:
        pytest.skip("may not mount")
    try:
        workdir = tmp_path / "run"
        # Rarely logged: the save is what the full disk meets.
        seldom = "--config.training.log_every=20"
        process = processes.start(workdir, 2, 2, seldom)
        wait_for(process, workdir, moment)
        ballast = tmp_path / "ballast"
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        began = time.monotonic()
        status, _, error = processes.finish(process)
        report(f"full disk, from {moment} on", began, status, error)
        assert status == 2
        said, *_ = [
            line
            for line in error.splitlines()
            if line.startswith("error: ") and "another process" not in line
        ]
        assert "No space left on device" in said
        named = [int(step) for step in re.search(message, said).groups()]
        if named:
            failed, complete = named
            assert complete == failed - 1
        ballast.unlink()
        status, _, error = processes.finish(processes.start(workdir, 2, 2))
        assert status == 0, error[-3000:]
        assert processes.table(workdir) == processes.table(expected)
        print("    resumed: same table")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


@needs_root
def test_the_file_system_stalls(tmp_path, expected):
    if shutil.which("mkfs.ext4") is None or shutil.which("fsfreeze") is None:
        pytest.skip("needs mkfs.ext4 and fsfreeze")
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
        assert "no progress for 120 s" in error
        resumes(workdir, expected, 2)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)
