"""New thresholds of a detector of mean images, trained on a plain folder."""

import json
import shutil

import contract
import numpy as np
import pytest
from PIL import Image

import jax_scadn
from jax_scadn.detection import calibration_file, recalibration
from jax_scadn.experiments import experiment
from jax_scadn.runtime import errors


def write(folder, count, seed):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, (32, 32), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("recalibration")
    write(root / "good", 12, seed=0)
    config = contract.resolved(
        "mean image", data__source="plain", data__path=str(root / "good")
    )
    experiment.train(config, root / "run")
    return root


@pytest.fixture
def workdir(trained, tmp_path):
    return shutil.copytree(trained / "run", tmp_path / "run")


def test_thresholds_come_from_the_new_images(workdir, tmp_path):
    before = jax_scadn.load(workdir)
    paths = write(tmp_path / "new", 20, seed=1)
    rates = {"false_alarm_rate": 0.1, "look_rate": 0.5}
    recalibration.recalibrate(workdir, paths, rates)
    after = jax_scadn.load(workdir)
    images = np.stack([np.array(Image.open(path)) for path in paths])[..., None]
    scores = np.sort(after.score(images).scores)
    assert after.calibration.scores == tuple(scores.tolist())
    assert after.calibration.threshold == scores[18]  # rank ceil(21 * 0.9) = 19
    assert after.calibration.look_threshold == scores[10]
    assert after.calibration.vmax != before.calibration.vmax
    np.testing.assert_array_equal(
        after.variables["reference"]["mean"], before.variables["reference"]["mean"]
    )
    (line,) = (workdir / recalibration.HISTORY).read_text().splitlines()
    kept = json.loads(line)["calibration"]
    assert kept["threshold"] == before.calibration.threshold


def test_other_rates_take_the_scores_of_before(workdir, tmp_path):
    paths = write(tmp_path / "new", 20, seed=1)
    first = recalibration.recalibrate(workdir, paths, {"false_alarm_rate": 0.1})
    second = recalibration.recalibrate(workdir, [], {"false_alarm_rate": 0.3})
    assert second.threshold == first.scores[14]  # rank ceil(21 * 0.7) = 15
    assert (second.scores, second.vmax) == (first.scores, first.vmax)
    assert len((workdir / recalibration.HISTORY).read_text().splitlines()) == 2
    again = recalibration.recalibrate(workdir, [], {"confidence": 0.5})
    assert (again.threshold, again.confidence) == (second.threshold, 0.5)


def test_a_file_of_an_older_version_is_replaced(workdir, tmp_path):
    path = calibration_file.path(workdir)
    values = json.loads(path.read_text())
    del values["scores"]
    path.write_text(json.dumps(values))
    with pytest.raises(errors.UserError, match=r"jax_scadn\.recalibrate"):
        jax_scadn.load(workdir)
    recalibration.recalibrate(workdir, write(tmp_path / "new", 3, seed=1), {})
    assert len(jax_scadn.load(workdir).calibration.scores) == 3


def _of_training(folder, trained):
    shutil.copy(trained / "good/3.png", folder / "x.png")


def _twice(folder, trained):
    shutil.copy(folder / "0.png", folder / "x.png")


def _damaged(folder, trained):
    (folder / "x.png").write_bytes(b"no image")


@pytest.mark.parametrize(
    ("spoil", "rates", "message"),
    [
        (_of_training, {}, r"x\.png is a copy of .*3\.png of the training"),
        (_twice, {}, r"x\.png is a copy of .*0\.png: thresholds need"),
        (_damaged, {}, r"x\.png cannot be read as an image"),
        (None, {"confidence": 1.0}, r"--confidence=1\.0: must be in \(0, 1\)"),
        (None, {"look_rate": 0.001}, r"--look_rate=0\.001: must be above"),
        (None, {"false_alarm_rate": float("nan")}, r"--false_alarm_rate=nan"),
    ],
)
def test_bad_input_changes_nothing(workdir, trained, tmp_path, spoil, rates, message):
    write(tmp_path / "new", 3, seed=1)
    if spoil:
        spoil(tmp_path / "new", trained)
    before = calibration_file.path(workdir).read_bytes()
    paths = sorted((tmp_path / "new").glob("*.png"))
    with pytest.raises(errors.UserError, match=message) as raised:
        recalibration.recalibrate(workdir, paths, rates)
    assert "\n" not in str(raised.value)
    assert calibration_file.path(workdir).read_bytes() == before
    assert not (workdir / recalibration.HISTORY).exists()


def test_without_a_detector_nothing_is_made(tmp_path):
    with pytest.raises(errors.UserError, match="does not exist"):
        recalibration.recalibrate(tmp_path / "none", [], {"confidence": 0.5})
    assert not (tmp_path / "none").exists()


def test_thresholds_of_maps_need_images(workdir):
    with pytest.raises(errors.UserError, match="give --input as well"):
        recalibration.recalibrate(workdir, [], {recalibration.PIXELS: 0.1})
