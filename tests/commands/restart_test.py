"""Runs in separate processes that are stopped by signals."""

import signal
import subprocess
import sys
import time

import conftest
import pytest

from jax_scadn.detection import detector
from jax_scadn.experiments import ablation

ROOT = conftest.ROOT
STEPS = 12
SCADN = (
    "--config=configs/lace.py", "--config.model.width=4", "--config.model.blocks=1",
    "--config.model.discriminator_width=4",
)  # fmt: skip
UTAD = (
    "--config=configs/utad_cpu.py", "--config.data.source=lace",
    "--config.data.channels=1", "--config.scoring.distance=squared",
    "--config.impression.features=(4,)", "--config.impression.pools=(4,)",
    "--config.impression.decoder_features=(4,)", "--config.impression.upsamplings=(4,)",
    "--config.impression.head_features=4", "--config.impression.latent=8",
    "--config.expert.width=4", f"--config.expert.training.steps={STEPS}",
)  # fmt: skip


def command(module, workdir, *arguments, nets=SCADN):
    budget = "impression.training" if nets is UTAD else "training"
    return [
        sys.executable, "-m", f"jax_scadn.{module}", *nets,
        f"--workdir={workdir}", f"--config.{budget}.steps={STEPS}",
        "--config.data.size=48", f"--config.{budget}.batch_size=4",
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
    """Waits until the log contains that step."""
    log = workdir / "log.jsonl"
    deadline = time.monotonic() + 240
    while not (log.exists() and len(log.read_text().splitlines()) >= step):
        assert process.poll() is None, process.communicate()[1][-2000:]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_same_detector(workdir, other):
    """The weights are bit-for-bit identical, and so is the calibration."""
    one, two = detector.load(workdir), detector.load(other)
    conftest.assert_trees_equal(one.variables, two.variables)
    conftest.assert_trees_equal(one.statistics, two.statistics)
    assert one.calibration == two.calibration


def losses(workdir):
    lines = (workdir / "log.jsonl").read_text().splitlines()
    return [line.split('"images_per_second"')[0] for line in lines]


@pytest.mark.slow
def test_kill_and_sigterm_end_in_the_weights_of_an_uninterrupted_run(tmp_path):
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    unevaluated = "--config.evaluation.after_training=False"
    run(command("train", uninterrupted, unevaluated))

    again = command("train", interrupted, unevaluated)
    process = start(again)
    wait_for_step(process, interrupted, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    process = start(again)
    wait_for_step(process, interrupted, 6)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error[-2000:]
    assert "run the same command again to resume" in out

    run(again)
    assert_same_detector(uninterrupted, interrupted)
    assert losses(uninterrupted) == losses(interrupted)


@pytest.mark.slow
def test_kill_in_either_stage_of_utad_ends_in_the_same_weights(tmp_path):
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    unevaluated = "--config.evaluation.after_training=False"
    run(command("train", uninterrupted, unevaluated, nets=UTAD))

    again = command("train", interrupted, unevaluated, nets=UTAD)
    for stage in ("impression", "expert"):
        assert not (interrupted / "expert").exists()
        process = start(again)
        wait_for_step(process, interrupted / stage, 5)
        process.send_signal(signal.SIGKILL)
        process.communicate()

    run(again)
    assert_same_detector(uninterrupted, interrupted)
    for stage in ("impression", "expert"):
        assert len(losses(uninterrupted / stage)) == STEPS
        assert losses(uninterrupted / stage) == losses(interrupted / stage)


@pytest.mark.slow
@pytest.mark.parametrize("batching", ablation.BATCHING)
def test_a_killed_ablation_ends_in_the_same_table(tmp_path, batching):
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    arguments = (
        "--sweep=masks.mask_value=0.0,1.0",
        f"--variant_batching={batching}",
        "--config.data.test_normal_limit=4",
        "--config.data.test_anomalous_limit=4",
    )
    run(command("ablate", uninterrupted, *arguments))
    again = command("ablate", interrupted, *arguments)
    process = start(again)
    wait_for_step(process, interrupted / "masks.mask_value=0.0" / "seed_0", 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert "masks.mask_value=1.0" in run(again)
    tables = [
        (workdir / "comparison.csv").read_text()
        for workdir in (uninterrupted, interrupted)
    ]
    assert tables[0] == tables[1]
    assert "masks.mask_value=1.0" in tables[0]
