"""Runs in separate processes that are stopped by signals."""

import signal
import subprocess
import sys
import time

import conftest
import pytest
from PIL import Image

from jax_scadn.data import lace
from jax_scadn.detection import detector
from jax_scadn.experiments import ablation

ROOT = conftest.ROOT
STEPS = 8
SCADN = (
    "--config=configs/lace.py", "--config.model.width=4", "--config.model.blocks=1",
    "--config.model.discriminator_width=4",
)  # fmt: skip
UTAD = (
    "--config=configs/utad_cpu.py", "--config.data.channels=1",
    "--config.scoring.distance=squared",
    "--config.impression.features=(4,)", "--config.impression.pools=(4,)",
    "--config.impression.decoder_features=(4,)", "--config.impression.upsamplings=(4,)",
    "--config.impression.head_features=4", "--config.impression.latent=8",
    "--config.expert.width=4", f"--config.expert.training.steps={STEPS}",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Some lace as files."""
    folder = tmp_path_factory.mktemp("data")
    train, test = lace.items(48, 1, train=16, test_good=4, test_per_defect=2)
    for split, items in (("train", train), ("test", test)):
        for n, item in enumerate(items):
            path = folder / f"lace/{split}/{item.defect}/{n:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(item.read_image()[..., 0]).save(path)
            if item.read_mask is not None:
                path = folder / f"lace/ground_truth/{item.defect}/{n:03d}_mask.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(item.read_mask()).save(path)
    return folder


def command(module, data, workdir, *arguments, nets=SCADN):
    budget = "impression.training" if nets is UTAD else "training"
    return [
        sys.executable, "-m", f"jax_scadn.{module}", *nets,
        "--config.data.source=folder", f"--config.data.path={data}",
        "--config.data.category=lace",
        f"--workdir={workdir}", f"--config.{budget}.steps={STEPS}",
        "--config.data.size=48", f"--config.{budget}.batch_size=4",
        "--config.training.checkpoint_every=1", "--config.training.log_every=1",
        "--config.evaluation.sheet_rows=1",
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
def test_kill_and_sigterm_end_in_the_weights_of_an_uninterrupted_run(tmp_path, data):
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    unevaluated = "--config.evaluation.after_training=False"
    run(command("train", data, uninterrupted, unevaluated))

    again = command("train", data, interrupted, unevaluated)
    process = start(again)
    wait_for_step(process, interrupted, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()

    process = start(again)
    wait_for_step(process, interrupted, 5)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error[-2000:]
    assert "run the same command again to resume" in out

    run(again)
    assert_same_detector(uninterrupted, interrupted)
    assert losses(uninterrupted) == losses(interrupted)


@pytest.mark.slow
def test_kill_in_either_stage_of_utad_ends_in_the_same_weights(tmp_path, data):
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    unevaluated = "--config.evaluation.after_training=False"
    run(command("train", data, uninterrupted, unevaluated, nets=UTAD))

    again = command("train", data, interrupted, unevaluated, nets=UTAD)
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
def test_a_killed_ablation_ends_in_the_same_table(tmp_path, data, batching):
    uninterrupted, interrupted = tmp_path / "uninterrupted", tmp_path / "interrupted"
    arguments = (
        "--sweep=masks.mask_value=0.0,1.0",
        f"--variant_batching={batching}",
    )
    run(command("ablate", data, uninterrupted, *arguments))
    again = command("ablate", data, interrupted, *arguments)
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
