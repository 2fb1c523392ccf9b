"""Training in several processes, which tests start and compare."""

import json
import subprocess
import sys

import conftest

# Adam without momentum moves a weight by the sign of its gradient, and the L1 loss has
# signs in its gradient too: with the usual eps a rounding error grows tenfold in a few
# steps, between any two ways to shard a batch over devices.
SMALL = (
    "--config=configs/digits.py:8", "--config.training.steps=20",
    "--config.training.log_every=1", "--config.training.checkpoint_every=1",
    "--config.model.width=4", "--config.model.blocks=1",
    "--config.model.discriminator_width=4", "--config.optimizer.eps=1.0",
    "--config.optimizer.learning_rate=3e-5",
    "--config.optimizer.discriminator_learning_rate=3e-6",
    "--config.data.test_normal_limit=16",
    "--config.data.test_anomalous_limit=4", "--config.evaluation.sheet_rows=1",
)  # fmt: skip


def start(workdir, processes, devices, *arguments):
    """Starts processes; the long timeout tolerates pauses of the machine."""
    command = [
        sys.executable, "-m", "launch.local", f"--processes={processes}",
        f"--cpu_devices={devices}", "--grace=60", "--", sys.executable, "-m",
        "jax_scadn.train", *SMALL, f"--workdir={workdir}", "--heartbeat_timeout=1000",
        *arguments,
    ]  # fmt: skip
    return subprocess.Popen(
        command,
        cwd=conftest.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate(timeout=900)
    return process.returncode, out, error


def losses(workdir):
    """Losses by step."""
    log = workdir / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    names = [name for name in lines[0] if name.endswith("_loss")]
    return {line["step"]: [line[name] for name in names] for line in lines}


def table(workdir):
    return (workdir / "evaluation" / "results.md").read_text()
