"""Real jobs on a one-node SLURM cluster on this machine.

    python -m pytest tests/launch/slurm_test.py -s

Needs root and Debian's slurmctld, slurmd, slurm-client and munge; skips without them.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import conftest
import pytest

pytestmark = pytest.mark.cluster

ROOT = conftest.ROOT
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scontrol", "scancel")
SMALL = (
    "--config=configs/digits.py", "--config.training.steps=20",
    "--config.model.width=4", "--config.model.blocks=1",
    "--config.model.discriminator_width=4", "--config.training.log_every=1",
    "--config.training.checkpoint_every=5", "--config.data.test_normal_limit=10",
    "--config.data.test_anomalous_limit=2", "--heartbeat_timeout=1000",
)  # fmt: skip
CONF = """
ClusterName=test
SlurmctldHost={host}(localhost)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={daemon}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
SlurmctldTimeout=3600
SlurmdTimeout=3600
KillWait=30
NodeName={host} NodeAddr=localhost CPUs=2
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_port():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The environment in which sbatch reaches the cluster."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing or os.geteuid():
        pytest.skip(f"needs root and {', '.join(missing or ['root'])}")
    folder = tmp_path_factory.mktemp("slurm")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)  # munged refuses directories that others may write to
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    conf = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    ports = {"controller": free_port(), "daemon": free_port()}
    conf.write_text(CONF.format(folder=folder, host=host, **ports))
    environ = {
        **os.environ,
        "SLURM_CONF": str(conf),
        "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": "2",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
    }
    commands = (
        ["munged", "--foreground", "--force", f"--key-file={key}",
         f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
         f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D", "-f", str(conf)],
        ["slurmd", "-D", "-f", str(conf), "-N", host],
    )  # fmt: skip
    started = []
    for command in commands:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, env=environ, **quiet))
        time.sleep(2)
    try:
        logs = "".join(path.read_text() for path in folder.glob("*.log"))
        stopped = [p.args[0] for p in started if p.poll() is not None]
        if stopped:
            pytest.skip(f"{', '.join(stopped)} cannot start here: {logs[-1000:]}")
        command = ["sinfo", "--noheader", "--format=%t"]
        until(
            lambda: (
                subprocess.run(
                    command, env=environ, capture_output=True, text=True
                ).stdout.strip()
                == "idle"
            ),
            120,
            "an idle node",
        )
        yield environ
    finally:
        subprocess.run(["scancel", "--user=root"], env=environ, check=False)
        for process in reversed(started):
            process.terminate()
            process.wait(60)


def sbatch(environ, folder, *arguments):
    command = ["sbatch", "--parsable", f"--output={folder}/%x-%A_%a.log", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def states(environ, job):
    """The states of a job, or of each task of an array."""
    command = ["scontrol", "show", "job", "--oneliner", job]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    if done.returncode:  # the controller is busy
        return ["UNKNOWN"]
    return [
        dict(field.partition("=")[::2] for field in line.split())["JobState"]
        for line in done.stdout.splitlines()
        if line
    ]


def wait_for(environ, job, folder):
    ended = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
    until(lambda: set(states(environ, job)) <= ended, 1500, f"job {job}")
    print(job, states(environ, job))
    for log in sorted(folder.glob(f"*-{job}_*.log")):
        lines = [line for line in log.read_text().splitlines() if "Gloo" not in line]
        print(f"--- {log.name}", *lines[-12:], sep="\n")
    return states(environ, job)


def steps(workdir):
    log = workdir / "log.jsonl"
    if not log.exists():
        return []
    return [json.loads(line)["step"] for line in log.read_text().splitlines()]


def test_two_processes_train_save_at_sigterm_and_are_queued_again(cluster, tmp_path):
    workdir = tmp_path / "run"
    job = sbatch(
        cluster, tmp_path, "--ntasks=2", "launch/slurm.sbatch", "python", "-m",
        "jax_scadn.train", *SMALL, f"--workdir={workdir}", "--config.data.category=8",
        "--config.training.steps=60",
    )  # fmt: skip
    until(lambda: len(steps(workdir)) > 5, 900, "the sixth step")
    # As SLURM does at the time limit, by --signal=B:TERM@300.
    subprocess.run(
        ["scancel", "--signal=TERM", "--batch", job], env=cluster, check=True
    )
    assert wait_for(cluster, job, tmp_path) == ["COMPLETED"]
    log = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "run the same command again to resume" in log
    assert steps(workdir) == list(range(1, 61))
    assert (workdir / "evaluation" / "results.md").exists()


def test_an_array_runs_a_sweep_and_then_only_what_is_missing(cluster, tmp_path):
    workdir = tmp_path / "sweep"
    command = (
        "--array=0-2", "--ntasks=1", "launch/slurm.sbatch", "python", "-m",
        "launch.sweep", *SMALL, "--config.data.categories=('3','5','8')",
        "--seeds=0,1", f"--workdir={workdir}", "--config.training.steps=150",
    )  # fmt: skip
    job = sbatch(cluster, tmp_path, *command)
    # Task 1 runs the second and the fifth training; it is cancelled in the fifth.
    until(lambda: steps(workdir / "8" / "base" / "seed_0"), 900, "the fifth training")
    subprocess.run(["scancel", f"{job}_1"], env=cluster, check=True)
    ended = wait_for(cluster, job, tmp_path)
    assert sorted(ended) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    results = "*/base/seed_*/evaluation/results.json"
    before = {path: path.stat().st_mtime_ns for path in workdir.glob(results)}
    missing = workdir / "8" / "base" / "seed_0" / "evaluation" / "results.json"
    assert len(before) == 5
    assert missing not in before

    again = sbatch(cluster, tmp_path, *command)
    assert wait_for(cluster, again, tmp_path) == ["COMPLETED"] * 3
    after = {path: path.stat().st_mtime_ns for path in workdir.glob(results)}
    assert set(after) == {*before, missing}
    assert before == {path: after[path] for path in before}

    table = subprocess.run(
        [sys.executable, "-m", "jax_scadn.compare", str(workdir)],
        cwd=ROOT,
        env=cluster,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    print(table)
    assert "not finished" not in table
