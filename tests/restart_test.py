"""Runs that are stopped from outside, in processes of their own."""

import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jax_scadn import detector

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 12


def command(workdir, steps=STEPS):
    return [
        sys.executable, "-m", "jax_scadn.train", "--config=configs/lace.py",
        f"--workdir={workdir}", f"--config.training.steps={steps}",
        "--config.data.size=32", "--config.model.width=4", "--config.model.blocks=1",
        "--config.model.discriminator_width=4", "--config.training.batch_size=4",
        "--config.training.checkpoint_every=1", "--config.training.log_every=1",
        "--config.evaluation.after_training=False",
    ]  # fmt: skip


def start(workdir, steps=STEPS):
    return subprocess.Popen(
        command(workdir, steps), cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for_step(process, workdir, step):
    """Until the log holds that step."""
    log = workdir / "log.jsonl"
    deadline = time.monotonic() + 240
    while not (log.exists() and len(log.read_text().splitlines()) >= step):
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def weights(workdir):
    loaded = detector.load(workdir)
    return [
        np.asarray(leaf) for leaf in jax.tree.leaves(loaded.params)
    ], loaded.calibration


@pytest.mark.slow
def test_kill_and_sigterm_end_in_the_weights_of_an_uninterrupted_run(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    done = subprocess.run(command(whole), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

    process = start(broken, steps=STEPS)
    wait_for_step(process, broken, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    process = start(broken)
    wait_for_step(process, broken, 6)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error[-2000:]
    assert "the same command goes on" in out

    process = start(broken)
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-2000:]
    (expected, calibration), (actual, again) = weights(whole), weights(broken)
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(one, other)
    assert calibration == again
    losses = [
        [
            line.split('"images_per_second"')[0]
            for line in (w / "log.jsonl").read_text().splitlines()
        ]
        for w in (whole, broken)
    ]
    assert losses[0] == losses[1]
