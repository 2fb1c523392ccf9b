"""Scores, thresholds and metrics of an evaluation."""

import csv
import dataclasses
import json

import evaluation_stub
import numpy as np
import pytest

from jax_scadn.data import records
from jax_scadn.detection import evaluation, image_scores
from jax_scadn.reports import uncertainty
from jax_scadn.runtime import errors


def test_merges_and_threshold(tmp_path, sheet):
    results = evaluation.evaluate(
        evaluation_stub.Stub(threshold=0.65), evaluation_stub.dataset(), tmp_path
    )
    merges = results["merges"]
    assert merges["max_mu"] == 1
    # The largest mean: good 0.6, 0.6; anomalous 0.7, 0.6, 0.9. Two of six pairs tie.
    assert merges["max"] == pytest.approx(5 / 6)
    # Sums: good 0.9, 0.9; anomalous 1.3, 1.3, 1.8.
    assert merges["mean"] == 1
    # The second scale: good 0.2, 0.1; anomalous 0.1, 0.1, 0.9. Two lose, two tie.
    # The third one: good 0.6, 0.6; anomalous 0.5, 0.6, 0.6. Two lose, four tie.
    assert merges["scales"] == pytest.approx([1, 3 / 6, 2 / 6])
    assert results["threshold"] == {
        "value": 0.65,
        "images": 1,
        "held_out": True,
        "false_alarm_rate_wanted": 0.01,
        "false_alarm_rate_expected": 0.5,
        "false_alarm_rate_at_most": pytest.approx(0.95),
        "confidence": 0.95,
        "normal_above": 0,
        "anomalous_above": pytest.approx(2 / 3),
    }


def test_the_map_has_a_threshold(tmp_path, sheet):
    stub = evaluation_stub.Stub()
    score_split = stub.score_split

    def raised(split):
        """0.5 in the first eighth of each map: not above the threshold of 0.5."""
        for indices, scored in score_split(split):
            scored.maps[:, :4] = np.maximum(scored.maps[:, :4], 0.5)
            if split[indices[0]].image.max() == 20:
                scored.maps[:, 16:] = 0.75  # half of a good image is above
            yield indices, scored

    stub.score_split = raised
    results = evaluation.evaluate(stub, evaluation_stub.dataset(), tmp_path)
    # `mask` marks 8 columns of 32 - value % 16 rows.
    hole, stain = 8 * (18 + 24), 8 * 30
    scadn = results["detectors"]["SCADN"]
    for kind, marked in (("hole", hole), ("stain", stain), ("all", hole + stain)):
        iou = scadn[kind]["pixel"]["iou_at_threshold"]
        assert iou == pytest.approx(marked / (marked + 512))
    assert results["map_threshold"] == {
        "value": 0.5,
        "false_alarm_rate_wanted": 0.25,
        "normal_above": pytest.approx(1 / 4),
        "anomalous_above": pytest.approx((hole + stain) / 3 / 1024),
    }
    for row in sheet.rows:
        np.testing.assert_array_equal(row.segmentation, row.anomaly_map > 0.5)


def test_held_out_images_give_baselines_a_threshold(tmp_path, sheet):
    # The mean of the training images is 15. The held-out image is 21, and 45 in less
    # than 1 / 4 of its pixels. So the threshold is the distance of 21: the good 10 and
    # 20 are below it, and all pixels of the others are above.
    grey = np.full((32, 32, 1), 21, np.uint8)
    grey[:7] = 45
    bolts = evaluation_stub.dataset()
    held_out = dataclasses.replace(bolts.held_out.items[0], read_image=lambda: grey)
    bolts = dataclasses.replace(bolts, held_out=records.Split([held_out]))
    mean = evaluation.evaluate(evaluation_stub.Stub(), bolts, tmp_path)["detectors"][
        "mean image"
    ]
    expected = 8 * (18 + 24 + 30) / (3 * 1024)
    assert mean["all"]["pixel"]["iou_at_threshold"] == pytest.approx(expected)
    bolts = dataclasses.replace(bolts, held_out=records.Split([]))
    results = evaluation.evaluate(evaluation_stub.Stub(), bolts, tmp_path)
    assert "iou_at_threshold" not in results["detectors"]["mean image"]["all"]["pixel"]
    row = evaluation.rows(results)[-1]
    assert np.isnan(row["IoU at threshold"])
    assert row["best IoU"] > 0


def test_the_auroc_of_all_images_has_an_interval(tmp_path, sheet, monkeypatch):
    def auroc_interval(labels, scores):
        assert labels.tolist() == [0, 0, 1, 1, 1]
        return uncertainty.Interval(*sorted(scores[3:].tolist()))

    monkeypatch.setattr(uncertainty, "auroc_interval", auroc_interval)
    results = evaluation.evaluate(
        evaluation_stub.Stub(), evaluation_stub.dataset(), tmp_path
    )
    scadn = results["detectors"]["SCADN"]
    assert scadn["all"]["image"]["auroc_interval"] == pytest.approx(
        evaluation_stub.SCORES[3:]
    )
    assert "auroc_interval" not in scadn["hole"]["image"]
    low, high = results["detectors"]["mean image"]["all"]["image"]["auroc_interval"]
    # Distances of grey values 40 and 50 from the mean 15.
    assert (low, high) == pytest.approx(((25 / 255) ** 2, (35 / 255) ** 2))


def test_scores_of_each_image(tmp_path, sheet, monkeypatch):
    # Scores with many digits: they are read back bit for bit.
    exact = {
        value: np.float32(1) / np.float32(value) for value in evaluation_stub.MEANS
    }
    stub = evaluation_stub.Stub()

    def score_split(split):
        for indices, scored in evaluation_stub.Stub.score_split(stub, split):
            value = list(evaluation_stub.MEANS)[indices[0]]
            yield indices, scored._replace(scores=np.array([exact[value]]))

    monkeypatch.setattr(stub, "score_split", score_split)
    defects = ("good", "good", 'a "hole", cut', "stain", "stain")
    evaluation.evaluate(stub, evaluation_stub.dataset(defects), tmp_path)
    with (tmp_path / "images.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "path",
        "defect",
        "anomalous",
        "SCADN",
        "mean image",
        "nearest image",
    ]
    assert [row["anomalous"] for row in rows] == ["0", "0", "1", "1", "1"]
    assert [row["defect"] for row in rows] == list(defects)
    assert rows[0]["SCADN"] == "0.10000000149011612"
    paths, labels, scores = image_scores.read(tmp_path)
    assert paths == [
        f"test/{defect}/{value}.png"
        for defect, value in zip(defects, evaluation_stub.MEANS, strict=True)
    ]
    assert labels.tolist() == [False, False, True, True, True]
    assert list(scores) == ["SCADN", "mean image", "nearest image"]
    assert scores["SCADN"].tolist() == [float(score) for score in exact.values()]
    assert (np.float32(scores["mean image"]) == scores["mean image"]).all()


def test_scores_that_cannot_be_read(tmp_path):
    with pytest.raises(errors.UserError, match=r"images\.csv does not exist: run"):
        image_scores.read(tmp_path)
    header = "path,defect,anomalous,SCADN\n"
    for text in (
        "",
        header,
        header + "a,good,0\n",
        header + "a,good,0,0.5\nb,good,0",
        header + "a,good,0,0.5\nb,good,0,0.5,0.5",
        header + 'a,good,0,0.5\n"b"c,good,0,0.5\n',
        header + "a,good,0,half\n",
        header + "a,good,no,0.5\n",
        header + 'a,"good,0,0.5\n',
        "path,defect,anomalous\na,good,0,0.5\n",
    ):
        (tmp_path / "images.csv").write_text(text)
        with pytest.raises(errors.UserError, match=r"images\.csv is damaged") as caught:
            image_scores.read(tmp_path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("only", ["good", "hole"])
def test_only_one_class(tmp_path, sheet, only):
    defects = (only, only, None, None, None)
    results = evaluation.evaluate(
        evaluation_stub.Stub(), evaluation_stub.dataset(defects), tmp_path
    )
    assert np.isnan(results["detectors"]["SCADN"]["all"]["image"]["auroc"])
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["detectors"]["SCADN"]["all"]["image"]["auroc"] is None
    assert results["detectors"]["SCADN"]["all"]["image"]["auroc_interval"] is None
    kind = "anomalous" if only == "good" else "normal"
    assert np.isnan(results["threshold"][f"{kind}_above"])


def test_roc_curves(tmp_path, sheet):
    evaluation.evaluate(evaluation_stub.Stub(), evaluation_stub.dataset(), tmp_path)
    labels, scores = sheet.curves["SCADN"]
    assert labels.tolist() == [0, 0, 1, 1, 1]
    assert scores == pytest.approx(evaluation_stub.SCORES)


def _results(category, images, auroc, iou):
    values = {
        "images": images,
        "image": {"auroc": auroc, "ap": 0.5, "f1_max": 0.5},
        "pixel": None if iou is None else {"iou": iou},
    }
    return {
        "category": category,
        "detectors": {"SCADN": {"all": values}, "mean image": {"all": values}},
    }


def test_summary_ends_with_the_mean_of_each_detector():
    results = [_results("bolt", 5, 0.9, 0.2), _results("nut", 7, 0.6, 0.4)]
    rows = evaluation.summary_rows(results)
    assert [(row["detector"], row["category"]) for row in rows] == [
        ("SCADN", "bolt"),
        ("SCADN", "nut"),
        ("SCADN", "mean of 2"),
        ("mean image", "bolt"),
        ("mean image", "nut"),
        ("mean image", "mean of 2"),
    ]
    assert [row["images"] for row in rows[:3]] == [5, 7, 12]
    assert [row["image AUROC"] for row in rows[:3]] == pytest.approx([0.9, 0.6, 0.75])
    assert [row["best IoU"] for row in rows[:3]] == pytest.approx([0.2, 0.4, 0.3])


def test_summary_has_no_mean_where_a_category_has_no_value():
    results = [_results("bolt", 5, 0.9, 0.2), _results("nut", 7, 0.6, None)]
    mean = evaluation.summary_rows(results)[2]
    assert np.isnan(mean["best IoU"])
    assert mean["image AUROC"] == pytest.approx(0.75)
