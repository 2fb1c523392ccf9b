"""Messages of trainings and evaluations; end_to_end_test.py has the rest."""

import math
import pathlib
import shlex
import types

import conftest
import evaluation_stub
import pytest

from jax_scadn.detection import detector
from jax_scadn.experiments import console, experiment
from jax_scadn.runtime import errors
from jax_scadn.settings import files


def test_printed_commands_can_be_pasted(capsys, tmp_path):
    workdir = tmp_path / "my runs, it's $HOME"
    console.print_next(workdir)
    words = shlex.split(capsys.readouterr().out)
    assert words.count(f"--workdir={workdir}") == 2
    files.write(conftest.tiny(), workdir / detector.CONFIG)
    with pytest.raises(errors.UserError, match="has no finished training") as caught:
        detector.load(workdir)
    command = str(caught.value).partition(";")[2]
    assert f"--workdir={workdir}" in shlex.split(command)


@pytest.mark.parametrize(
    ("normal", "anomalous", "words"),
    [
        (0.25, 1.0, "25 % of the normal and 100 % of the anomalous test images"),
        (0.25, math.nan, "images: 25 % of the normal test images are"),
        (math.nan, 0.5, "images: 50 % of the anomalous test images are"),
    ],
)
def test_shares_of_images_that_there_are(normal, anomalous, words):
    shares = {"normal_above": normal, "anomalous_above": anomalous}
    calibration = evaluation_stub.Stub().calibration
    line = console.threshold_line(calibration, {"threshold": shares})
    assert words in line
    assert "nan" not in line


@pytest.mark.parametrize(
    ("changes", "given", "message"),
    [
        ({}, {"data_path": "new"}, r"^new is .*: set --data to a"),
        ({}, {}, r"^old is not a directory: set --data to a"),
        ({"source": "plain"}, {"data_path": "."}, r"images directly.* point --data to"),
        ({"category": "a", "path": "."}, {}, r"has no category 'a': give other --data"),
        (
            {"source": "plain", "path": "train"},
            {"test_path": "new"},
            r"^new is not a directory: set --test_data to a",
        ),
    ],
)
def test_moved_data_names_the_flags_of_evaluate(
    tmp_path, monkeypatch, changes, given, message
):
    monkeypatch.chdir(tmp_path)
    pathlib.Path("train/good").mkdir(parents=True)
    pathlib.Path("train/1.png").touch()
    pathlib.Path(detector.CONFIG).touch()
    changes = {"source": "folder", "path": "old", "test_path": "old"} | changes
    config = conftest.tiny(**{f"data__{name}": v for name, v in changes.items()})
    trained = types.SimpleNamespace(config=config)
    monkeypatch.setattr(detector, "load", lambda workdir: trained)
    with pytest.raises(errors.UserError, match=message) as caught:
        experiment.evaluate(tmp_path, **given)
    assert "--config" not in str(caught.value)


def test_a_category_more_is_no_other_run(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    files.write(conftest.tiny(data__categories=("a", "b")), tmp_path / detector.CONFIG)
    more = conftest.tiny(data__categories=("a", "b", "c"))
    experiment.refuse_other_settings(more, tmp_path)
    with pytest.raises(errors.UserError, match="belongs to a run with seed=0, not 1"):
        experiment.refuse_other_settings(conftest.tiny(seed=1), tmp_path)
