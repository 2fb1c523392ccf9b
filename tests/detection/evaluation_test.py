import csv
import dataclasses
import json
import pathlib
import types

import numpy as np
import pytest
from conftest import tiny

from jax_scadn.data import records
from jax_scadn.detection import baselines, calibration, evaluation
from jax_scadn.reports import figures, uncertainty
from jax_scadn.runtime import errors
from jax_scadn.scoring import merging

# Every image has its own grey value, by which the stub knows it.
MEANS = {  # errors of the three scales
    10: (0.1, 0.2, 0.6),  # good
    20: (0.2, 0.1, 0.6),  # good
    30: (0.7, 0.1, 0.5),  # hole
    40: (0.6, 0.1, 0.6),  # hole
    50: (0.3, 0.9, 0.6),  # stain
}
MU = (0.1, 0.1, 0.6)
# Chosen by mean - mu: 1, 0, 0, 0, 1.
SCORES = (0.2, 0.2, 0.7, 0.6, 0.9)
DEFECTS = ("good", "good", "hole", "hole", "stain")


@pytest.fixture(autouse=True)
def forget_baselines():
    """Images of the same names differ from test to test."""
    baselines._computed.cache_clear()


def mask(value):
    marked = np.zeros((32, 32), bool)
    marked[value % 16 :, :8] = True
    return marked


def item(value, defect, with_mask):
    normal = defect == records.GOOD
    return records.Item(
        path=f"test/{defect}/{value}.png",
        label=records.NORMAL if normal else records.ANOMALOUS,
        defect=defect,
        read_image=lambda: np.full((32, 32, 1), value, np.uint8),
        read_mask=(lambda: mask(value)) if with_mask and not normal else None,
    )


def dataset(defects=DEFECTS, masks=(True,) * 5):
    test = [
        item(value, *pair)
        for value, *pair in zip(MEANS, defects, masks, strict=True)
        if pair[0]
    ]
    train = [item(value, records.GOOD, False) for value in (12, 18)]
    return records.Dataset(
        category="bolt",
        train=records.Split(train),
        held_out=records.Split([item(15, records.GOOD, False)]),
        test=records.Split(test),
        name="bolts",
    )


class Stub:
    """Finds every anomalous pixel, and scores as `MEANS` says."""

    has_embeddings = False

    def __init__(self, threshold=0.5, **settings):
        self.config = tiny(data__size=32, **settings)
        self.method = types.SimpleNamespace(title="SCADN")
        self.statistics = {"mu": MU}
        self.calibration = calibration.Calibration(
            threshold=threshold,
            false_alarm_rate=0.01,
            map_threshold=0.5,
            pixel_false_alarm_rate=0.25,
            threshold_images=1,
            held_out=True,
            vmin=0.0,
            vmax=1.0,
        )

    def parameter_counts(self):
        return {"generator": 7}

    def score_split(self, split):
        for index in range(len(split)):
            record = split[index]
            means = np.array(MEANS[int(record.image[0, 0, 0])])
            scale = np.argmax(means - MU)
            found = np.full((32, 32), record.label == records.ANOMALOUS)
            if record.mask is not None:
                found = record.mask
            scored = merging.Scored(
                maps=np.float32(found)[None],
                scores=means[scale][None],
                scales=scale[None],
                scale_means=means[None],
                pictures={
                    "inpainted": np.full((1, 32, 32, 1), record.image[0, 0, 0] / 255)
                },
            )
            yield np.array([index]), scored


@pytest.fixture
def sheet(monkeypatch):
    """What is drawn, instead of drawing it."""
    drawn = types.SimpleNamespace(rows=[], curves=None, neighbours=None)

    def contact_sheet(rows, vmin, vmax, path):
        assert rows  # the real one draws no empty sheet
        drawn.rows = rows

    def neighbours_sheet(rows, neighbours, path):
        assert path.name == "neighbours.png"
        greys = [[round(image.max() * 255) for image in row] for row in neighbours]
        drawn.neighbours = {
            row.label: row_greys for row, row_greys in zip(rows, greys, strict=True)
        }

    monkeypatch.setattr(figures, "contact_sheet", contact_sheet)
    monkeypatch.setattr(figures, "neighbours_sheet", neighbours_sheet)
    monkeypatch.setattr(
        figures, "roc_plot", lambda curves, path: setattr(drawn, "curves", curves)
    )
    return drawn


def test_results_and_files(tmp_path):
    results = evaluation.evaluate(Stub(), dataset(), tmp_path)
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


def test_merges_and_threshold(tmp_path, sheet):
    results = evaluation.evaluate(Stub(threshold=0.65), dataset(), tmp_path)
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
        "normal_above": 0,
        "anomalous_above": pytest.approx(2 / 3),
    }


def test_the_map_has_a_threshold(tmp_path, sheet):
    stub = Stub()
    score_split = stub.score_split

    def raised(split):
        """0.5 in the first eighth of each map: not above the threshold of 0.5."""
        for indices, scored in score_split(split):
            scored.maps[:, :4] = np.maximum(scored.maps[:, :4], 0.5)
            if split[indices[0]].image.max() == 20:
                scored.maps[:, 16:] = 0.75  # half of a good image is
            yield indices, scored

    stub.score_split = raised
    results = evaluation.evaluate(stub, dataset(), tmp_path)
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
    # The mean of training is 15; the held-out image is 21, and 45 in less than 1 / 4 of
    # its pixels. So the threshold is the distance of 21: the good 10 and 20 are below
    # it, and all pixels of the others above.
    grey = np.full((32, 32, 1), 21, np.uint8)
    grey[:7] = 45
    bolts = dataset()
    held_out = dataclasses.replace(bolts.held_out.items[0], read_image=lambda: grey)
    bolts = dataclasses.replace(bolts, held_out=records.Split([held_out]))
    mean = evaluation.evaluate(Stub(), bolts, tmp_path)["detectors"]["mean image"]
    expected = 8 * (18 + 24 + 30) / (3 * 1024)
    assert mean["all"]["pixel"]["iou_at_threshold"] == pytest.approx(expected)
    bolts = dataclasses.replace(bolts, held_out=records.Split([]))
    results = evaluation.evaluate(Stub(), bolts, tmp_path)
    assert "iou_at_threshold" not in results["detectors"]["mean image"]["all"]["pixel"]
    row = evaluation.rows(results)[-1]
    assert np.isnan(row["IoU at threshold"])
    assert row["best IoU"] > 0


def test_neighbours_of_anomalous_images(tmp_path, sheet):
    bolts = dataset()
    greys = (12, 18, 90, 33, 47, 29)
    train = [item(value, records.GOOD, False) for value in greys]
    bolts = dataclasses.replace(bolts, train=records.Split(train))
    stub = Stub(evaluation__sheet_rows=4)  # 40 is not on it
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
    stub = Stub()
    stub.has_embeddings = True
    evaluation.evaluate(stub, dataset(("good", "good", None, None, None)), tmp_path)
    assert sheet.neighbours is None


def test_the_auroc_of_all_images_has_an_interval(tmp_path, sheet, monkeypatch):
    def auroc_interval(labels, scores):
        assert labels.tolist() == [0, 0, 1, 1, 1]
        return uncertainty.Interval(*sorted(scores[3:].tolist()))

    monkeypatch.setattr(uncertainty, "auroc_interval", auroc_interval)
    results = evaluation.evaluate(Stub(), dataset(), tmp_path)
    scadn = results["detectors"]["SCADN"]
    assert scadn["all"]["image"]["auroc_interval"] == pytest.approx(SCORES[3:])
    assert "auroc_interval" not in scadn["hole"]["image"]
    low, high = results["detectors"]["mean image"]["all"]["image"]["auroc_interval"]
    # Of grey values 40 and 50 to the mean 15.
    assert (low, high) == pytest.approx(((25 / 255) ** 2, (35 / 255) ** 2))


def test_scores_of_each_image(tmp_path, sheet, monkeypatch):
    # Not of five digits: what is read is what was found, bit for bit.
    found = {value: np.float32(1) / np.float32(value) for value in MEANS}
    stub = Stub()

    def score_split(split):
        for indices, scored in Stub.score_split(stub, split):
            value = list(MEANS)[indices[0]]
            yield indices, scored._replace(scores=np.array([found[value]]))

    monkeypatch.setattr(stub, "score_split", score_split)
    defects = ("good", "good", 'a "hole", cut', "stain", "stain")
    evaluation.evaluate(stub, dataset(defects), tmp_path)
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
    paths, labels, scores = evaluation.read_scores(tmp_path)
    assert paths == [
        f"test/{defect}/{value}.png"
        for defect, value in zip(defects, MEANS, strict=True)
    ]
    assert labels.tolist() == [False, False, True, True, True]
    assert list(scores) == ["SCADN", "mean image", "nearest image"]
    assert scores["SCADN"].tolist() == [float(score) for score in found.values()]
    assert (np.float32(scores["mean image"]) == scores["mean image"]).all()


def test_scores_that_cannot_be_read(tmp_path):
    with pytest.raises(errors.UserError, match=r"images\.csv does not exist: run"):
        evaluation.read_scores(tmp_path)
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
            evaluation.read_scores(tmp_path)
        assert "\n" not in str(caught.value)


def test_one_kind_of_defect_is_the_same_as_all(tmp_path, sheet):
    defects = ("good", "good", "hole", "hole", "hole")
    results = evaluation.evaluate(Stub(), dataset(defects), tmp_path)
    assert list(results["detectors"]["SCADN"]) == ["all"]


def test_without_masks(tmp_path, sheet):
    results = evaluation.evaluate(Stub(), dataset(masks=(False,) * 5), tmp_path)
    values = results["detectors"]["SCADN"]["all"]
    assert values["pixel"] is None
    assert values["image"]["auroc"] == 1
    row = evaluation.rows(results)[0]
    assert "image AUROC" in row
    assert "AUPRO" not in row
    assert all(drawn.mask is None for drawn in sheet.rows)


def test_anomalous_image_without_mask_counts_for_images_only(tmp_path, sheet):
    # The stub marks all of it: with a mask of zeros the pixel metrics would not be 1.
    results = evaluation.evaluate(
        Stub(), dataset(masks=(True, True, False, True, True)), tmp_path
    )
    values = results["detectors"]["SCADN"]
    assert values["hole"]["images"] == 2
    assert values["all"]["pixel"]["auroc_pooled"] == pytest.approx(1)
    assert values["all"]["pixel"]["iou"] == pytest.approx(1)


@pytest.mark.parametrize("only", ["good", "hole"])
def test_one_class_alone(tmp_path, sheet, only):
    defects = (only, only, None, None, None)
    results = evaluation.evaluate(Stub(), dataset(defects), tmp_path)
    assert np.isnan(results["detectors"]["SCADN"]["all"]["image"]["auroc"])
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["detectors"]["SCADN"]["all"]["image"]["auroc"] is None
    assert results["detectors"]["SCADN"]["all"]["image"]["auroc_interval"] is None
    kind = "anomalous" if only == "good" else "normal"
    assert np.isnan(results["threshold"][f"{kind}_above"])


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
    stub = Stub(evaluation__sheet_rows=count)
    evaluation.evaluate(stub, dataset(), tmp_path)
    assert [row.label for row in sheet.rows] == shown
    for row in sheet.rows:
        value = int(row.label.split()[1])
        score = SCORES[list(MEANS).index(value)]
        assert (row.image == np.float32(value) / 255).all()
        assert row.reconstructions["inpainted"] == pytest.approx(
            np.full((32, 32, 1), value / 255)
        )
        assert row.score == pytest.approx(score)
        assert row.anomalous == (score > 0.5)
        if row.mask is not None:
            assert (row.mask == mask(value)).all()
            assert (row.anomaly_map == row.mask).all()


def test_roc_curves(tmp_path, sheet):
    evaluation.evaluate(Stub(), dataset(), tmp_path)
    labels, scores = sheet.curves["SCADN"]
    assert labels.tolist() == [0, 0, 1, 1, 1]
    assert scores == pytest.approx(SCORES)


def test_tables_come_last(tmp_path, monkeypatch):
    """A run whose `results.json` stands is taken as finished, pictures and all."""

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(figures, "contact_sheet", fail)
    monkeypatch.setattr(figures, "roc_plot", lambda *_: None)
    with pytest.raises(OSError, match="disk full"):
        evaluation.evaluate(Stub(), dataset(), tmp_path)
    assert not (tmp_path / "results.json").exists()


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
    every = [_results("bolt", 5, 0.9, 0.2), _results("nut", 7, 0.6, 0.4)]
    rows = evaluation.summary_rows(every)
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
    every = [_results("bolt", 5, 0.9, 0.2), _results("nut", 7, 0.6, None)]
    mean = evaluation.summary_rows(every)[2]
    assert np.isnan(mean["best IoU"])
    assert mean["image AUROC"] == pytest.approx(0.75)


def test_summary_of_saved_results(tmp_path, sheet):
    evaluation.evaluate(Stub(), dataset(masks=(False,) * 5), tmp_path)
    saved = json.loads(pathlib.Path(tmp_path / "results.json").read_text())
    rows = evaluation.summary_rows([saved, saved])
    assert rows[2]["image AUROC"] == 1
    assert "AUPRO" not in rows[2]
