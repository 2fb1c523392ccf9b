import csv
import json
import pathlib
import time

import numpy as np
import pytest
from conftest import SIZE, tiny
from PIL import Image

from jax_scadn.detection import calibration, drift, finite, prediction
from jax_scadn.runtime import errors
from jax_scadn.scoring import merging


class Stub:
    """Scores by mean brightness; the first call with a type is slow, as if compiled."""

    def __init__(self, batch_size=2):
        self.config = tiny()
        self.batch_size = batch_size
        self.calibration = calibration.Calibration(
            threshold=0.5,
            false_alarm_rate=0.01,
            look_threshold=None,
            look_rate=0.0,
            confidence=0.95,
            map_threshold=0.25,
            pixel_false_alarm_rate=0.01,
            scores=tuple(n / 20 for n in range(1, 10)),
            held_out=True,
            vmin=0.0,
            vmax=1.0,
        )
        self._compiled = set()

    def padded_batch_size(self, count):
        return min(count, self.batch_size)

    def score_batch(self, images, size):
        assert images.shape[1:] == (SIZE, SIZE, 1)
        assert len(images) <= size <= self.batch_size
        if images.dtype not in self._compiled:
            self._compiled.add(images.dtype)
            time.sleep(0.2)
        maps = images[..., 0] / np.float32(np.iinfo(images.dtype).max)
        scores = maps.mean((1, 2))
        return merging.Scored(
            maps, scores, np.arange(len(images)), scores[:, None], images
        )


def write(path, value, depth=8):
    path.parent.mkdir(parents=True, exist_ok=True)
    dtype, scale = (np.uint8, 1) if depth == 8 else (np.uint16, 257)
    Image.fromarray(np.full((40, 48), value * scale, dtype)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for name, value in (("a/0.png", 51), ("b/0.png", 204), ("C.PNG", 102)):
        write(tmp_path / "in" / name, value)
    return tmp_path / "in"


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def names(paths, folder):
    return [str(path.relative_to(folder)) for path in paths]


def test_find(folder, tmp_path, capsys):
    output = tmp_path / "out"
    expected = ["C.PNG", "a/0.png", "b/0.png"]
    assert names(prediction.find(str(folder), output), folder) == expected
    assert names(prediction.find(f"{folder}/*/*.png", output), folder) == expected[1:]
    assert names(prediction.find(f"{folder}/**", output), folder) == expected
    single = folder / "license.txt"  # a named file may have any suffix
    single.write_text("no image")
    assert prediction.find(str(single), output) == [single]
    assert capsys.readouterr().err == ""
    assert names(prediction.find(str(folder), output), folder) == expected
    assert capsys.readouterr().err == (
        f"passed over in {folder}: 1 with another ending (license.txt)\n"
    )


def test_find_in_the_home_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(prediction.find("~/in", tmp_path / "out")) == 3


def test_earlier_overlays_are_not_inputs(folder):
    output = folder / "predictions"
    expected = prediction.find(str(folder), output)
    prediction.predict(Stub(), expected, output)
    assert (output / "overlays/C.PNG.png").exists()
    assert prediction.find(str(folder), output) == expected
    assert prediction.find(f"{folder}/**/*", output) == expected


def test_overlays_of_another_output_are_not_inputs(folder, tmp_path):
    expected = prediction.find(str(folder), tmp_path / "out")
    prediction.predict(Stub(), expected, folder / "earlier")
    assert prediction.find(str(folder), tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("", ": no images there"), ("/*.txt", ": no images there"),
     ("/none", " does not exist"), ("/*.tiff", " does not exist")],
)  # fmt: skip
def test_find_nothing(tmp_path, pattern, says):
    (tmp_path / "license.txt").write_text("no image")
    with pytest.raises(errors.UserError, match=r"--input=.*" + says):
        prediction.find(f"{tmp_path}{pattern}", tmp_path / "out")


def test_lines_table_and_overlays(folder, tmp_path, capsys):
    output = tmp_path / "new/out"
    paths = prediction.find(str(folder), output)
    assert prediction.predict(Stub(), paths, output) == []
    printed = capsys.readouterr()
    assert printed.err == ""
    assert (output / "predictions.jsonl").read_text() == printed.out
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["path"] for line in lines] == list(map(str, paths))
    assert [line["score"] for line in lines] == pytest.approx([0.4, 0.2, 0.8])
    assert [line["decision"] for line in lines] == ["ok", "ok", "anomalous"]
    assert [line["anomalous_share"] for line in lines] == [1, 0, 1]
    assert [line["scale"] for line in lines] == [0, 1, 0]  # 0 and 1 in the stub's batch
    assert {line["threshold"] for line in lines} == {0.5}
    with (output / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {name: str(value) for name, value in line.items()} for line in lines
    ]
    assert [*rows[0], "drift"] == list(prediction.FIELDS)
    # Of nine held-out scores from 0.05 to 0.45 one, five and none are larger.
    assert [line["p_value"] for line in lines] == pytest.approx([0.2, 0.6, 0.1])
    drawn = sorted((output / "overlays").rglob("*.png"))
    assert names(drawn, output / "overlays") == [
        "C.PNG.png",
        "a/0.png.png",
        "b/0.png.png",
    ]
    assert pixels(drawn[1]).shape == (SIZE, SIZE, 3)
    assert (pixels(drawn[1]) != pixels(drawn[2])).any()


def test_drift_is_carried_on(folder, tmp_path, capsys):
    output, state = tmp_path / "out", tmp_path / "drift.json"
    paths = prediction.find(str(folder), output)
    for _ in range(8):
        assert prediction.predict(Stub(), paths[2:], output, False, state) == []
    *_, wealth = (json.loads(x)["drift"] for x in capsys.readouterr().out.splitlines())
    assert drift.load(state, Stub().calibration.scores).wealth == wealth > 1
    before = state.read_bytes()
    (folder / "broken.png").write_bytes(b"")
    prediction.predict(Stub(), [folder / "broken.png"], output, False, state)
    assert state.read_bytes() == before
    assert "after 8 images" in capsys.readouterr().err
    state.write_text("{}")
    with pytest.raises(errors.UserError, match="is not a file of --drift"):
        prediction.predict(Stub(), paths, output, False, state)


def test_no_overlays_and_no_threads(folder, tmp_path):
    paths = prediction.find(str(folder), tmp_path)
    stub = Stub()
    stub.config.data.threads = 0  # Grain reads in the caller's thread
    prediction.predict(stub, paths, tmp_path / "out", overlays=False)
    assert len((tmp_path / "out/predictions.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "out/overlays").exists()


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n broken"])
@pytest.mark.parametrize("broken", [0, 1, 4])
def test_a_broken_file_is_named_and_the_others_are_scored(
    tmp_path, capsys, broken, content
):
    paths = [write(tmp_path / f"{i}.png", 40 * i) for i in range(5)]
    paths[broken].write_bytes(content)
    assert prediction.predict(Stub(), paths, tmp_path / "out") == [paths[broken]]
    printed = capsys.readouterr()
    scores = {
        line["path"]: line["score"]
        for line in map(json.loads, printed.out.splitlines())
    }
    assert scores == pytest.approx(
        {str(paths[i]): 40 * i / 255 for i in range(5) if i != broken}
    )
    assert printed.err.startswith(f"error: {paths[broken]} cannot be read")
    assert len(printed.err.splitlines()) == 1


def test_only_broken_files(tmp_path, capsys):
    path = tmp_path / "0.png"
    path.touch()
    assert prediction.predict(Stub(), [path], tmp_path / "out") == [path]
    assert capsys.readouterr().out == ""


def test_sixteen_bit_scores_as_eight_bit_does(tmp_path, capsys):
    paths = [write(tmp_path / "8.png", 77), write(tmp_path / "16.png", 77, depth=16)]
    prediction.predict(Stub(batch_size=1), paths, tmp_path / "out")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["score"] == pytest.approx(77 / 255)
    assert lines[1]["score"] == pytest.approx(77 / 255)
    # The times do not include compilation, for either type.
    assert max(line["milliseconds"] for line in lines) < 150


def test_white_of_a_camera(tmp_path, capsys):
    stub = Stub(batch_size=2)
    stub.config = stub.config.copy_and_resolve_references()
    stub.config.data.white = 4095
    paths = [tmp_path / "12.png", tmp_path / "16.png"]
    for path, value in zip(paths, (819, 8190), strict=True):
        Image.fromarray(np.full((8, 8), value, np.uint16)).save(path)
    assert prediction.predict(stub, paths, tmp_path / "out") == paths[1:]
    captured = capsys.readouterr()
    assert json.loads(captured.out)["score"] == pytest.approx(0.2)
    assert "16.png" in captured.err
    assert "--config.data.white" in captured.err


def test_name_that_is_not_unicode(tmp_path, capsys):
    path = tmp_path / "bad\udcff.png"
    try:
        write(path, 9)
    except OSError:
        pytest.skip("this file system takes Unicode names only")
    assert prediction.predict(Stub(), [path], tmp_path / "out") == []
    assert json.loads(capsys.readouterr().out)["path"] == str(path)
    assert "bad\\udcff.png" in (tmp_path / "out/predictions.csv").read_text("utf-8")


def test_output_that_cannot_be_written(folder, tmp_path):
    (tmp_path / "file").touch()
    paths = prediction.find(str(folder), tmp_path)
    for output in (tmp_path / "file", tmp_path / "file/sub"):
        with pytest.raises(errors.UserError, match=r"--output=.*file.* be written"):
            prediction.predict(Stub(), paths, output)


class NotFinite(Stub):
    """The map of the brightest image has a pixel that is not finite."""

    def score_batch(self, images, size):
        scored = super().score_batch(images, size)
        maps = np.where(scored.maps > 0.75, -np.inf, scored.maps)
        return finite.check_scored(scored._replace(maps=maps), list("ab"))


def test_a_score_that_is_not_finite_is_never_ok(folder, tmp_path, capsys):
    paths = prediction.find(str(folder), tmp_path)
    assert prediction.predict(NotFinite(), paths, tmp_path / "out") == [paths[2]]
    printed = capsys.readouterr()
    assert [json.loads(line)["score"] for line in printed.out.splitlines()] == (
        pytest.approx([0.4, 0.2])
    )
    assert printed.err == (
        f"error: {paths[2]}: the score or the anomaly map is not finite\n"
    )
    assert not (tmp_path / "out/overlays/b").exists()


def test_overlays_that_cannot_be_written_end_nothing(folder, tmp_path, capsys):
    paths = prediction.find(str(folder), tmp_path)
    (tmp_path / "out/overlays").mkdir(parents=True)
    (tmp_path / "out/overlays/a").touch()  # a file where a folder is needed
    assert prediction.predict(Stub(), paths, tmp_path / "out") == [paths[1]]
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert printed.err.startswith(f"error: the overlay of {paths[1]} cannot be written")
    assert len(printed.err.splitlines()) == 1
    assert (tmp_path / "out/predictions.jsonl").read_text() == printed.out


@pytest.mark.parametrize("length", [236, 237, 251, 255])
def test_names_of_any_length_have_overlays_of_their_own(tmp_path, length):
    stems = ("b" * (length - 4), "ä" * ((length - 4) // 2))
    paths = [tmp_path / "in" / f"{stem}.png" for stem in stems]
    for path in paths:
        write(path, 9)
    assert prediction.predict(Stub(), paths, tmp_path / "out") == []
    assert len(list((tmp_path / "out/overlays").iterdir())) == 2


class Interrupted(Stub):
    def score_batch(self, images, size):
        if (images > 200).any():
            raise KeyboardInterrupt
        return super().score_batch(images, size)


def test_an_interrupted_call_keeps_earlier_files_and_its_own_lines(
    folder, tmp_path, capsys
):
    paths = prediction.find(str(folder), tmp_path)
    prediction.predict(Stub(), paths[:1], tmp_path / "out")
    before = (tmp_path / "out/predictions.jsonl").read_text()
    capsys.readouterr()
    with pytest.raises(KeyboardInterrupt):
        prediction.predict(Interrupted(), paths, tmp_path / "out")
    printed = capsys.readouterr()
    assert (tmp_path / "out/predictions.jsonl").read_text() == before
    part = tmp_path / "out/predictions.jsonl.part"
    assert part.read_text() == printed.out
    assert len(printed.out.splitlines()) == 2
    assert printed.err == f"stopped: the images scored so far are in {part}\n"


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_nothing(folder, tmp_path, capsys):
    paths = prediction.find(str(folder), tmp_path)
    prediction.predict(Stub(), paths[:1], tmp_path / "out")
    before = (tmp_path / "out/predictions.jsonl").read_text()
    capsys.readouterr()
    part = tmp_path / "out/predictions.jsonl.part"
    part.symlink_to("/dev/full")
    failed = prediction.predict(Stub(), paths, tmp_path / "out")
    assert failed == [tmp_path / "out/predictions.jsonl"]
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 3
    assert "are not complete: [Errno 28] No space left" in printed.err
    assert (tmp_path / "out/predictions.jsonl").read_text() == before
