"""Damaged checkpoints are one line, or do not matter."""

import shutil

import conftest
import grain
import jax
import numpy as np
import pytest

from jax_scadn.runtime import errors
from jax_scadn.training import checkpoints

STATE = {"w": np.arange(5000, dtype=np.float32), "b": {"c": np.ones((3, 3))}}
SHARDING = jax.sharding.SingleDeviceSharding(jax.devices()[0])
LIKE = checkpoints.abstract(STATE, SHARDING)
ORIGIN = {"earlier": "results", "data": "images"}
DAMAGES = {
    "gone": None,
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "other": lambda content: bytes(byte ^ 0x5A for byte in content),
    "json": lambda content: b"{}",
}


def iterator():
    return iter(grain.MapDataset.source(range(8)).repeat().to_iter_dataset())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A training's checkpoints, and a detector's weights in `params`."""
    folder = tmp_path_factory.mktemp("saved")
    training = checkpoints.Checkpoints(folder)
    training.save(4, STATE, iterator(), ORIGIN)
    training.save_best(4, STATE, 0.5)
    training.close()
    checkpoints.save_params(folder / "params", STATE)
    return folder


def read(folder, part):
    """What is saved in `last`, `best` or `params`."""
    if part == "params":
        return checkpoints.load_params(folder / "params", SHARDING)
    training = checkpoints.Checkpoints(folder)
    try:
        if part == "last":
            assert training.last_step == 4
            return training.restore(LIKE, iterator(), ORIGIN)
        assert training.best_error == 0.5
        return training.restore_best(LIKE)
    finally:
        training.close()


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files(saved, tmp_path, capfd, damage):
    messages = []
    files = [path.relative_to(saved) for path in saved.rglob("*") if path.is_file()]
    for name in sorted(files):
        part = name.parts[0]
        shutil.rmtree(tmp_path / part, ignore_errors=True)
        shutil.copytree(saved / part, tmp_path / part)
        content = (saved / name).read_bytes()
        (tmp_path / name).unlink()
        if DAMAGES[damage]:
            (tmp_path / name).write_bytes(DAMAGES[damage](content))
        try:
            conftest.assert_trees_equal(read(tmp_path, part), STATE)
        except errors.UserError as error:
            messages.append(str(error))
    assert len(messages) >= 12  # four files in each of the three folders
    assert not [text for text in messages if "\n" in text or str(tmp_path) not in text]
    assert capfd.readouterr() == ("", "")


def test_another_machine_is_said(saved, tmp_path, monkeypatch, caplog):
    shutil.copytree(saved / "last", tmp_path / "last")
    read(tmp_path, "last")
    assert not caplog.records
    here = checkpoints.machine()
    monkeypatch.setattr(checkpoints, "machine", lambda: "64 TPU")
    conftest.assert_trees_equal(read(tmp_path, "last"), STATE)
    (record,) = caplog.records
    assert record.getMessage() == (
        f"saved on {here}, resumed on 64 TPU: the weights may differ in the last bits"
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [("earlier", "other results of the stages before"), ("data", "on other images")],
)
def test_another_origin_is_refused(saved, tmp_path, changed, says):
    shutil.copytree(saved / "last", tmp_path / "last")
    training = checkpoints.Checkpoints(tmp_path)
    try:
        with pytest.raises(errors.UserError, match=says):
            training.restore(LIKE, iterator(), ORIGIN | {changed: "others"})
    finally:
        training.close()
