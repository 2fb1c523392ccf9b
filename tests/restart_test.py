"""Runs that are stopped from outside, in processes of their own."""

import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from jax_scadn import ablation, detector

ROOT = pathlib.Path(__file__).parents[1]
STEPS = 12


def command(module, workdir, *arguments):
    return [
        sys.executable, "-m", f"jax_scadn.{module}", "--config=configs/lace.py",
        f"--workdir={workdir}", f"--config.training.steps={STEPS}",
        "--config.data.size=32", "--config.model.width=4", "--config.model.blocks=1",
        "--config.model.discriminator_width=4", "--config.training.batch_size=4",
        "--config.training.checkpoint_every=1", "--config.training.log_every=1",
        *arguments,
    ]  # fmt: skip


def start(command):
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def run(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


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
    unevaluated = "--config.evaluation.after_training=False"
    run(command("train", whole, unevaluated))

    again = command("train", broken, unevaluated)
    process = start(again)
    wait_for_step(process, broken, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    process = start(again)
    wait_for_step(process, broken, 6)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error[-2000:]
    assert "the same command goes on" in out

    run(again)
    (expected, calibration), (actual, repeated) = weights(whole), weights(broken)
    for one, other in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(one, other)
    assert calibration == repeated
    losses = [
        [
            line.split('"images_per_second"')[0]
            for line in (w / "log.jsonl").read_text().splitlines()
        ]
        for w in (whole, broken)
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("batching", ablation.BATCHING)
def test_a_killed_ablation_ends_in_the_same_table(tmp_path, batching):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    arguments = (
        "--sweep=masks.fill=0.0,1.0",
        f"--variant_batching={batching}",
        "--config.data.test_normal_limit=4",
        "--config.data.test_anomalous_limit=4",
    )
    run(command("ablate", whole, *arguments))
    again = command("ablate", broken, *arguments)
    process = start(again)
    wait_for_step(process, broken / "masks.fill=0.0" / "seed_0", 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "masks.fill=1.0" in run(again)
    tables = [(w / "comparison.csv").read_text() for w in (whole, broken)]
    assert tables[0] == tables[1]
    assert "masks.fill=1.0" in tables[0]
