"""From image files to scores, through the functions that the commands call."""

import csv
import json

import numpy as np
import pytest
from conftest import SIZE, tiny
from PIL import Image

import jax_scadn
from jax_scadn.data import walk
from jax_scadn.detection import detector, prediction
from jax_scadn.experiments import experiment
from jax_scadn.reports import figures
from jax_scadn.runtime import errors

pytestmark = pytest.mark.slow

CATEGORIES = ("bolt", "nut")


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, format="PNG")
    return path


def write_category(folder, random):
    """Smooth images of 48 x 40 pixels; the defect is a white square."""
    y, x = np.mgrid[:40, :48]

    def image(channels=3):
        phase = random.uniform(0, 6, channels)
        waves = np.sin(x[..., None] / 5 + phase) + np.cos(y[..., None] / 4 - phase)
        return np.uint8(127 + 50 * waves)

    for number in range(7):
        write(folder / f"train/good/{number}.png", image())
    write(folder / "train/good/UPPER.PNG", image())
    write(folder / "train/good/alpha.png", image(4))
    write(folder / "train/good/deep.png", image(1)[..., 0].astype(np.uint16) * 257)
    (folder / "license.txt").write_text("not an image")
    for number in range(3):
        write(folder / f"test/good/{number}.png", image())
        for defect in ("hole", "scratch"):
            bad, mask = image(), np.zeros((40, 48), np.uint8)
            bad[10:25, 10:25] = mask[10:25, 10:25] = 255
            write(folder / f"test/{defect}/{number}.png", bad)
            truth = folder / f"ground_truth/{defect}/{number}_mask.png"
            write(truth, mask)


def settings(data, **changes):
    fields = {
        "name": "end_to_end",
        "data__source": "folder",
        "data__path": str(data),
        "data__channels": 3,
        "data__held_out": 0.2,
        "training__steps": 3,
        "scoring__images_per_call": 4,
    }
    return tiny(**fields | changes)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for category in CATEGORIES:
        write_category(root / category, random)
    return root


@pytest.fixture(scope="module")
def workdir(data, tmp_path_factory):
    """A finished run on both categories."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    experiment.train(settings(data), folder)
    return folder


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_a_run_writes_its_files(workdir):
    for category in CATEGORIES:
        folder = workdir / category
        log = list(map(json.loads, (folder / "log.jsonl").read_text().splitlines()))
        steps = [line["step"] for line in log if "reconstruction_loss" in line]
        assert steps == [1, 2, 3]
        assert json.loads((folder / "config.json").read_text())["data"]["category"] == (
            category
        )
        for name in ("results.md", "results.csv", "results.json", "roc.png"):
            assert (folder / "evaluation" / name).stat().st_size
        with Image.open(folder / "evaluation/sheet.png") as sheet:
            assert min(sheet.size) > SIZE * 4


def test_tables_and_their_mean(workdir):
    rows = read_csv(workdir / "bolt/evaluation/results.csv")
    assert [row["defect"] for row in rows if row["detector"] == "SCADN"] == [
        "hole",
        "scratch",
        "all",
    ]
    summary = read_csv(workdir / "summary.csv")
    scadn = [row for row in summary if row["detector"] == "SCADN"]
    assert [row["category"] for row in scadn] == [*CATEGORIES, "mean of 2"]
    assert [row["images"] for row in scadn] == ["9", "9", "18"]
    for column in ("image AUROC", "pixel AUROC (pooled)", "AUPRO", "best IoU"):
        values = [float(row[column]) for row in scadn]
        assert values[2] == pytest.approx((values[0] + values[1]) / 2)
        assert all(0 <= value <= 1 for value in values)
    assert "mean of 2" in (workdir / "summary.md").read_text()
    assert len(json.loads((workdir / "summary.json").read_text())["categories"]) == 2


def test_finished_runs_are_not_repeated(data, workdir, capsys):
    before = files(workdir / "bolt/detector") | files(workdir / "bolt/checkpoints")
    experiment.train(settings(data), workdir)
    printed = capsys.readouterr().out
    for category in CATEGORIES:
        assert f"{workdir / category} is finished" in printed
    after = files(workdir / "bolt/detector") | files(workdir / "bolt/checkpoints")
    assert after == before


def test_other_settings_need_another_workdir(data, workdir):
    saved = (workdir / "bolt/config.json").read_text()
    with pytest.raises(
        errors.UserError, match=r"seed=0, not 1; give another --workdir"
    ):
        experiment.train(settings(data, seed=1), workdir)
    assert (workdir / "bolt/config.json").read_text() == saved


def test_finished_runs_keep_their_settings(data, workdir):
    saved = (workdir / "bolt/config.json").read_text()
    experiment.train(settings(data, training__steps=9), workdir)
    assert (workdir / "bolt/config.json").read_text() == saved


def test_a_failed_first_run_does_not_block_the_workdir(tmp_path):
    write_category(tmp_path / "data", np.random.default_rng(1))
    workdir = tmp_path / "run"
    for change, message in (
        ({"data__path": "gone"}, "gone is not a directory"),
        ({"training__batch_size": 99}, "batch_size to 9 or less"),
    ):
        with pytest.raises(errors.UserError, match=message):
            experiment.train(settings(tmp_path / "data", **change), workdir)
    (tmp_path / "data/train/good/0.png").write_bytes(b"")
    with pytest.raises(errors.UserError, match="on_bad=skip"):
        experiment.train(settings(tmp_path / "data"), workdir)
    experiment.train(settings(tmp_path / "data", data__on_bad="skip"), workdir)
    assert detector.is_saved(workdir)


def test_evaluate_score_and_predict_agree(data, workdir, tmp_path, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(
        figures, "contact_sheet", lambda rows, *_: shown.append(list(rows))
    )
    experiment.evaluate(workdir)
    assert "mean of 2" in capsys.readouterr().out
    assert len(shown) == 2
    evaluated = {row.label: row.score for row in shown[0]}  # bolt
    assert len(evaluated) == 9

    trained = jax_scadn.load(workdir / "bolt")
    paths = walk.walk(data / "bolt/test").images
    images = []
    for path in paths:
        with Image.open(path) as image:
            images.append(np.asarray(image))
    scored = trained.score(images)
    assert scored.maps.shape == (9, SIZE, SIZE)
    expected = [evaluated[f"{path.parent.name} {path.stem}"] for path in paths]
    np.testing.assert_allclose(scored.scores, expected, rtol=1e-6)

    assert prediction.predict(trained, paths, tmp_path / "out") == []
    rows = read_csv(tmp_path / "out/predictions.csv")
    assert [row["path"] for row in rows] == list(map(str, paths))
    predicted = [float(row["score"]) for row in rows]
    np.testing.assert_allclose(predicted, expected, rtol=1e-6)
    assert len(set(predicted)) == 9
    assert [int(row["scale"]) for row in rows] == scored.scales.tolist()


def test_a_single_category_and_moved_data(data, workdir, tmp_path):
    results = workdir / "nut/evaluation/results.json"
    expected = json.loads(results.read_text())
    moved = tmp_path / "moved"
    moved.symlink_to(data)
    experiment.evaluate(workdir / "nut", str(moved))
    assert json.loads(results.read_text()) == expected
    with pytest.raises(errors.UserError, match="gone is not a directory"):
        experiment.evaluate(workdir / "nut", str(tmp_path / "gone"))


def test_missing_and_damaged_files_of_a_detector(workdir, tmp_path):
    copy = tmp_path / "copy"
    (copy / "detector").mkdir(parents=True)
    config = (workdir / "bolt/config.json").read_text()
    calibration = (workdir / "bolt/detector/calibration.json").read_text()

    def fails(message):
        with pytest.raises(errors.UserError, match=message) as caught:
            detector.load(copy)
        assert "\n" not in str(caught.value)

    fails(r"copy/config\.json does not exist: give a --workdir")
    (copy / "config.json").write_text(config[:50])
    fails(r"config\.json cannot be read as settings")
    (copy / "config.json").write_text(config)
    fails("has no finished training; run jax_scadn.train again")
    (copy / "detector/calibration.json").write_text(calibration[:50])
    fails(r"calibration\.json cannot be read .*; train again")
    (copy / "detector/calibration.json").write_text(calibration)
    fails(r"the weights in .*copy/detector/params cannot be read")


def test_plain_folder_without_test_images(data, tmp_path, capsys):
    workdir = tmp_path / "plain"
    good = data / "bolt/train/good"
    config = settings(good, data__source="plain", data__held_out=0.0)
    experiment.train(config, workdir)
    assert not (workdir / "evaluation").exists()
    out = capsys.readouterr().out
    assert f"jax_scadn.predict --workdir={workdir}" in out
    assert "from 10 training normal images\nit promises nothing of new images" in out
    with pytest.raises(
        errors.UserError, match=r"no test images; use jax_scadn\.predict"
    ):
        experiment.evaluate(workdir)
    trained = detector.load(workdir)
    assert not trained.calibration.held_out
    assert len(trained.calibration.scores) == 10
    paths = walk.walk(good).images
    prediction.predict(trained, paths, tmp_path / "out", overlays=False)
    # The threshold is the largest score of these same images.
    rows = read_csv(tmp_path / "out/predictions.csv")
    assert [row["decision"] for row in rows] == ["ok"] * 10
    scores = [float(row["score"]) for row in rows]
    assert max(scores) == pytest.approx(trained.calibration.threshold)


def test_a_single_category_of_a_folder_gets_its_own_directory(data, tmp_path, capsys):
    config = settings(data, data__categories=("nut", "absent"), training__steps=1)
    experiment.train(config, tmp_path)
    assert detector.is_saved(tmp_path / "nut")
    out = capsys.readouterr().out
    assert "not in" in out
    assert "absent" in out
    assert "mean of 1" in (tmp_path / "summary.md").read_text()
