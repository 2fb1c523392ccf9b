"""Kills train, ablate and predict at random moments, and runs them again.

Whatever the moments, a training must end in the weights of one that was not killed, bit
for bit, with each step once in its log, and a prediction with each image once. Exit
status 1 if one does not.
"""

import argparse
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 12
TRAINING = (
    "--config=configs/lace.py", "--config.model.width=4", "--config.model.blocks=1",
    "--config.model.discriminator_width=4", "--config.data.size=48",
    "--config.training.batch_size=4", f"--config.training.steps={STEPS}",
    "--config.training.checkpoint_every=1", "--config.training.log_every=1",
    "--config.calibration.images=8", "--config.data.test_normal_limit=4",
    "--config.data.test_anomalous_limit=2", "--config.evaluation.sheet_rows=1",
)  # fmt: skip
SWEEP = ("--sweep=optimizer.learning_rate=1e-4,2e-4", "--variant_batching=vmap")
IMAGES = 60


class Job:
    """A command that can be run again, and what it must leave behind.

    Attributes:
      seconds: that it takes if it is not killed.
    """

    def __init__(self, name, command, result):
        self.name = name
        self.command = command
        self.result = result
        self.kills = self.wrong = 0

    def measure(self, workdir):
        begin = time.monotonic()
        _run(self.command(workdir))
        self.seconds = time.monotonic() - begin
        self.expected = self.result(workdir)

    def kill_and_finish(self, workdir, kills, rng):
        """Kills it up to so many times, then lets it finish; returns how many."""
        done = 0
        while done < kills:
            process = _start(self.command(workdir))
            try:
                process.wait(rng.uniform(0, self.seconds))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
            else:
                break
        _run(self.command(workdir))
        self.kills += done
        if self.result(workdir) != self.expected:
            self.wrong += 1
            print(f"{self.name}: {workdir} has another result after {done} kills")
        return done


def _start(command):
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def _run(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")


def _module(name, *arguments):
    return [sys.executable, "-m", f"jax_scadn.{name}", *arguments]


def _trained(workdir):
    """The hash of the weights, the thresholds, and the steps in the log."""
    detector = json.loads((workdir / "detector/calibration.json").read_text())
    lines = (workdir / "log.jsonl").read_text().splitlines()
    return detector, [json.loads(line)["step"] for line in lines]


def _ablated(workdir):
    variants = sorted(path.parent for path in workdir.rglob("config.json"))
    return [(variant.name, _trained(variant)) for variant in variants]


def _predicted(workdir):
    lines = (workdir / "predictions.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    return [{k: v for k, v in line.items() if k != "milliseconds"} for line in lines]


def _photos(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for n in range(IMAGES):
        image = rng.integers(0, 256, (60, 60), np.uint8)
        Image.fromarray(image).save(folder / f"{n:03}.png")
    return folder


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    parser.add_argument("--count", type=int, default=100, help="kills in all")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="jax_scadn_kills_") as name:
        root = pathlib.Path(name)
        photos, model = _photos(root / "photos"), root / "train"
        jobs = [
            Job(
                "train",
                lambda w: _module("train", *TRAINING, f"--workdir={w}"),
                _trained,
            ),
            Job(
                "ablate",
                lambda w: _module("ablate", *TRAINING, *SWEEP, f"--workdir={w}"),
                _ablated,
            ),
            Job(
                "predict",
                lambda w: _module(
                    "predict",
                    f"--workdir={model}",
                    f"--input={photos}",
                    f"--output={w}",
                ),
                _predicted,
            ),
        ]
        for job in jobs:
            job.measure(root / job.name)
            print(f"{job.name}: {job.seconds:.0f} s without a kill", flush=True)
        left, number = options.count, 0
        while left > 0:
            job = jobs[number % len(jobs)]
            number += 1
            kills = min(left, rng.randint(1, 5))
            left -= job.kill_and_finish(root / f"{job.name}_{number}", kills, rng)
        for job in jobs:
            print(f"{job.name}: {job.kills} kills, {job.wrong} wrong results")
    return int(any(job.wrong for job in jobs))


if __name__ == "__main__":
    sys.exit(main())
