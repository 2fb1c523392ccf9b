"""Methods ranked on a folder of one's own."""

import json

import comparison_runs
import numpy as np
import pytest
import small_sets
from PIL import Image

from jax_scadn.experiments import ablation, costs, reproduction
from jax_scadn.experiments.comparison import scores
from jax_scadn.experiments.reproduction import ranking
from jax_scadn.runtime import errors

SETTINGS = {"data.size": 32, "data.channels": 1, "data.held_out": 0.3}


def request(methods=("reference_images", "AE-L2"), **more):
    return reproduction.Request(
        methods=methods,
        settings={**SETTINGS, "optimizer.learning_rate": 1e30, "training.steps": 2,
                  "training.batch_size": 2, "model.width": 2},
        **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def ranked(tmp_path_factory):
    parts = small_sets.write_folder(tmp_path_factory.mktemp("parts") / "my_parts")
    workdir = tmp_path_factory.mktemp("ranked")
    return parts, workdir, reproduction.run(None, str(parts), request(), workdir)


def test_methods_are_ranked_with_costs_and_thresholds(ranked):
    _, workdir, result = ranked
    (bolt,) = json.loads((workdir / "ranking.json").read_text())["categories"]
    assert bolt["category"] == "bolt"
    # A bright square is far from any normal image: both tell all images apart.
    lines = bolt["methods"]
    assert [line["rank"] for line in lines] == [1, 2]
    assert {line["method"] for line in lines} == {"mean image", "nearest image"}
    for line in lines:
        assert (line["image AUROC"], line["low"], line["high"]) == (1.0, 1.0, 1.0)
        assert line["anomalous above threshold"] == 1.0
        assert line["pixel AUROC (pooled)"] > 0.99
    (pair,) = bolt["pairs"]
    assert (pair["change"]["value"], pair["p_value"], pair["holds"]) == (0, 1, False)
    # The network fails, and is said to.
    assert list(bolt["failures"]) == ["AE-L2"]
    assert len(result.failures) == 1
    assert "| AE-L2         |" in result.text
    assert "failed: " in result.text
    assert "training, s" in result.text
    assert (workdir / "ranking.png").stat().st_size > 5_000


def test_the_sheet_has_a_column_for_each_method(ranked):
    _, workdir, _ = ranked
    with Image.open(workdir / "sheet_bolt.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    height, width = pixels.shape[:2]
    # input, mask and two methods of 128 pixels; six images.
    assert width == 212 + 4 * (128 + 8) - 8 + 16
    assert height > 6 * 128
    vermilion, green = ((213, 94, 0), (0, 122, 90))
    framed = [np.sum(np.all(pixels == color, axis=-1)) for color in (vermilion, green)]
    ring = 128**2 - 120**2
    assert framed[0] >= 2 * 3 * ring  # three holes, two methods
    assert framed[1] >= 2 * ring


def test_again_nothing_is_measured_anew(ranked, monkeypatch):
    parts, workdir, _ = ranked
    bolt = json.loads((workdir / "ranking.json").read_text())["categories"][0]
    maps = {p: p.stat().st_mtime_ns for p in workdir.rglob("maps.npz")}
    assert len(maps) == 2
    monkeypatch.setattr(ablation, "train", lambda batch: 1 / 0)
    reproduction.run(None, str(parts), request(), workdir)
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("maps.npz")} == maps
    after = json.loads((workdir / "ranking.json").read_text())["categories"][0]
    assert (after["methods"], after["pairs"]) == (bolt["methods"], bolt["pairs"])
    assert after["failures"] == {"AE-L2": "ZeroDivisionError: division by zero"}


def test_a_folder_without_test_images_is_refused(tmp_path):
    parts = small_sets.write_folder(tmp_path / "parts", ("a", "b"))
    with pytest.raises(errors.UserError, match=r"^--categories=c: .*: a, b$"):
        reproduction.run(None, str(parts), request(categories=["c"]), tmp_path / "w")
    for path in (parts / "b/test/hole").iterdir():
        path.unlink()
    with pytest.raises(errors.UserError, match="has no anomalous test images") as e:
        reproduction.run(None, str(parts), request(), tmp_path / "w")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "w").exists()


def test_pairs_are_corrected_for_their_number():
    def pair(p_value):
        return ranking.Pair("a", "b", scores.Change(0.1, None, None, {}), p_value)

    # Three known: 3 x 0.01; 2 x 0.02; 0.03 is not below the one before it.
    held = ranking._holm([pair(0.03), pair(0.01), pair(None), pair(0.02)])
    assert [p.p_value for p in held] == pytest.approx([0.04, 0.03, None, 0.04])
    assert [p.holds for p in held] == [True, True, False, True]
    assert [p.p_value for p in ranking._holm([pair(0.9), pair(0.8)])] == [1.0, 1.0]


def test_the_better_one_comes_first(tmp_path):
    for title, values in (
        ("mean image", comparison_runs.FAIR),
        ("nearest image", comparison_runs.PERFECT),
    ):
        comparison_runs.write_run(
            tmp_path / f"folder/{title}/bottle/seed_0",
            method="reference_images",
            scores=values,
            reference__kind=title.split()[0],
        )
    titles = ["mean image", "nearest image"]
    (bottle,) = ranking.rank(tmp_path, ["bottle"], titles, {})
    assert list(bottle.systems) == ["nearest image", "mean image"]
    assert bottle.auroc("nearest image") == 1.0
    (pair,) = bottle.pairs
    assert pair.first == "nearest image"
    assert pair.change.value == pytest.approx(2 / 9)  # 9 and 7 of 9 pairs
    assert pair.holds == (pair.p_value < 0.05)


def test_time_of_several_processes_is_added(tmp_path, monkeypatch):
    monkeypatch.setattr(costs.Meter, "read", lambda self: (2.0, 30.0))
    with costs.training([tmp_path]):
        pass
    assert costs.read_training(tmp_path).seconds == 2

    def interrupted():
        with costs.training([tmp_path, tmp_path / "b"]):
            assert not costs.read_training(tmp_path).complete
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    both = costs.read_training(tmp_path)
    assert (both.seconds, both.mib, both.runs, both.complete) == (4, 30, 2, True)
    # Killed without a word: it was at least that long.
    before = costs.training([tmp_path])
    before.__enter__()
    with costs.training([tmp_path]):
        pass
    assert not costs.read_training(tmp_path).complete
    assert costs.read_scoring(tmp_path) is None
