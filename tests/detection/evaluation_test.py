"""Files, tables and sheets of an evaluation."""

import csv
import dataclasses
import json
import pathlib
import weakref

import evaluation_stub
import numpy as np
import pytest
from absl import logging

from jax_scadn.data import records
from jax_scadn.detection import baselines, evaluation
from jax_scadn.reports import figures
from jax_scadn.runtime import memory


def test_results_and_files(tmp_path):
    results = evaluation.evaluate(
        evaluation_stub.Stub(), evaluation_stub.dataset(), tmp_path
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        "results.json",
        "results.csv",
        "results.md",
        "images.csv",
        "roc.png",
        "sheet.png",
    }
    assert json.loads((tmp_path / "results.json").read_text()) == results
    assert (results["category"], results["size"], results["seed"]) == ("bolt", 32, 0)
    assert results["dataset"] == "bolts"
    assert results["images"] == {
        "train": 2,
        "held_out": 1,
        "test_normal": 2,
        "test_anomalous": 3,
    }
    scadn = results["detectors"]["SCADN"]
    assert {defect: values["images"] for defect, values in scadn.items()} == {
        "hole": 2,
        "stain": 1,
        "all": 5,
    }
    for values in scadn.values():
        for metric in ("auroc", "ap", "f1_max"):
            assert values["image"][metric] == 1
        for metric in (
            "auroc_per_image",
            "auroc_pooled",
            "aupro",
            "iou",
            "iou_at_threshold",
        ):
            assert values["pixel"][metric] == pytest.approx(1)
    # 12 and 18 have the mean 15: the good ones are at a distance of 5, the others at
    # 15 or more.
    assert results["detectors"]["mean image"]["all"]["image"]["auroc"] == 1
    assert results["parameters"] == {"generator": 7}
    assert list(results["detectors"]) == ["SCADN", "mean image", "nearest image"]
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["detector"], row["defect"]) for row in rows] == [
        ("SCADN", "hole"),
        ("SCADN", "stain"),
        ("SCADN", "all"),
        ("mean image", "all"),
        ("nearest image", "all"),
    ]
    assert list(rows[0]) == [
        "detector",
        "defect",
        "images",
        *evaluation.COLUMNS.values(),
    ]
    assert rows[0]["image AUROC"] == "1.0"


def test_neighbours_of_anomalous_images(tmp_path, sheet):
    bolts = evaluation_stub.dataset()
    greys = (12, 18, 90, 33, 47, 29)
    train = [evaluation_stub.item(value, records.GOOD, False) for value in greys]
    bolts = dataclasses.replace(bolts, train=records.Split(train))
    stub = evaluation_stub.Stub(evaluation__sheet_rows=4)  # 40 is not on the sheet
    evaluation.evaluate(stub, bolts, tmp_path)
    assert sheet.neighbours is None
    stub.has_embeddings = True
    stub.embeddings = lambda split: split.images()[:, 0, 0].repeat(3, axis=-1)
    evaluation.evaluate(stub, bolts, tmp_path)
    assert sheet.neighbours == {
        "hole 30": [29, 33, 18, 47],
        "stain 50": [47, 33, 29, 18],
    }
    few = dataclasses.replace(bolts, train=records.Split(train[:3]))
    evaluation.evaluate(stub, few, tmp_path)
    assert sheet.neighbours["hole 30"] == [18, 12, 90]


def test_no_neighbours_without_anomalous_images(tmp_path, sheet):
    stub = evaluation_stub.Stub()
    stub.has_embeddings = True
    evaluation.evaluate(
        stub, evaluation_stub.dataset(("good", "good", None, None, None)), tmp_path
    )
    assert sheet.neighbours is None


def test_one_kind_of_defect_is_the_same_as_all(tmp_path, sheet):
    defects = ("good", "good", "hole", "hole", "hole")
    results = evaluation.evaluate(
        evaluation_stub.Stub(), evaluation_stub.dataset(defects), tmp_path
    )
    assert list(results["detectors"]["SCADN"]) == ["all"]


def test_without_masks(tmp_path, sheet):
    results = evaluation.evaluate(
        evaluation_stub.Stub(), evaluation_stub.dataset(masks=(False,) * 5), tmp_path
    )
    values = results["detectors"]["SCADN"]["all"]
    assert values["pixel"] is None
    assert values["image"]["auroc"] == 1
    row = evaluation.rows(results)[0]
    assert "image AUROC" in row
    assert "AUPRO" not in row
    assert all(drawn.mask is None for drawn in sheet.rows)


def test_anomalous_image_without_mask_counts_for_images_only(tmp_path, sheet):
    # The stub marks the entire image: with an empty mask pixel metrics would not be 1.
    results = evaluation.evaluate(
        evaluation_stub.Stub(),
        evaluation_stub.dataset(masks=(True, True, False, True, True)),
        tmp_path,
    )
    values = results["detectors"]["SCADN"]
    assert values["hole"]["images"] == 2
    assert values["all"]["pixel"]["auroc_pooled"] == pytest.approx(1)
    assert values["all"]["pixel"]["iou"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, []),
        (1, ["good 10"]),
        (3, ["good 10", "hole 30", "stain 50"]),
        (4, ["good 10", "good 20", "hole 30", "stain 50"]),
        (12, ["good 10", "good 20", "hole 30", "hole 40", "stain 50"]),
    ],
)
def test_sheet_shows_each_kind_of_defect(tmp_path, sheet, count, shown):
    stub = evaluation_stub.Stub(evaluation__sheet_rows=count)
    evaluation.evaluate(stub, evaluation_stub.dataset(), tmp_path)
    assert [row.label for row in sheet.rows] == shown
    for row in sheet.rows:
        value = int(row.label.split()[1])
        score = evaluation_stub.SCORES[list(evaluation_stub.MEANS).index(value)]
        assert (row.image == np.float32(value) / 255).all()
        assert row.reconstructions["inpainted"] == pytest.approx(
            np.full((32, 32, 1), value / 255)
        )
        assert row.score == pytest.approx(score)
        assert row.anomalous == (score > 0.5)
        if row.mask is not None:
            assert (row.mask == evaluation_stub.mask(value)).all()
            assert (row.anomaly_map == row.mask).all()


def test_tables_come_last(tmp_path, monkeypatch):
    """A run with `results.json` counts as finished, including its figures."""

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(figures, "contact_sheet", fail)
    monkeypatch.setattr(figures, "roc_plot", lambda *_: None)
    with pytest.raises(OSError, match="disk full"):
        evaluation.evaluate(evaluation_stub.Stub(), evaluation_stub.dataset(), tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_summary_of_saved_results(tmp_path, sheet):
    evaluation.evaluate(
        evaluation_stub.Stub(), evaluation_stub.dataset(masks=(False,) * 5), tmp_path
    )
    saved = json.loads(pathlib.Path(tmp_path / "results.json").read_text())
    rows = evaluation.summary_rows([saved, saved])
    assert rows[2]["image AUROC"] == 1
    assert "AUPRO" not in rows[2]


def test_maps_are_freed_before_those_of_the_baselines(tmp_path, sheet, monkeypatch):
    stub, seen = evaluation_stub.Stub(evaluation__sheet_rows=2), []
    score_split, of_dataset = stub.score_split, baselines.of_dataset

    def watched(split):
        for indices, scored in score_split(split):
            maps = scored.maps.copy()  # views of it hold this array
            seen.append(weakref.ref(maps))
            yield indices, scored._replace(maps=maps)
            del maps

    def freed(*arguments):
        assert len(seen) == len(evaluation_stub.MEANS)
        assert not any(reference() is not None for reference in seen)
        return of_dataset(*arguments)

    stub.score_split = watched
    monkeypatch.setattr(baselines, "of_dataset", freed)
    evaluation.evaluate(stub, evaluation_stub.dataset(), tmp_path)
    assert len(sheet.rows) == 2


def test_too_little_memory_is_said_before_the_start(tmp_path, sheet, monkeypatch):
    warnings = []
    monkeypatch.setattr(
        logging, "warning", lambda text, *values: warnings.append(text % values)
    )
    stub = evaluation_stub.Stub()
    # Five images of 32 x 32 pixels: 16 bytes, and a cache of 1, and 1 for three masks.
    needed = 5 * 32**2 * 16 + 5 * 32**2 + 3 * 32**2
    for free in (None, needed / 2**20):
        monkeypatch.setattr(memory, "available", lambda free=free: free)
        evaluation.evaluate(stub, evaluation_stub.dataset(), tmp_path)
    assert not warnings

    def score_split(split):
        raise OSError("scoring")

    stub.score_split = score_split
    monkeypatch.setattr(memory, "available", lambda: (needed - 1) / 2**20)
    with pytest.raises(OSError, match="scoring"):
        evaluation.evaluate(stub, evaluation_stub.dataset(), tmp_path)
    (warning,) = warnings
    assert "5 images of 32x32" in warning
    assert "--config.data.size or --config.data.test_normal_limit" in warning
