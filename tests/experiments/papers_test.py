"""Published tables: numbers equal to the reference, and lookups by key."""

import json

import pytest

from jax_scadn import methods
from jax_scadn.data import labelled
from jax_scadn.experiments import papers
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve


def test_tables_of_both_papers():
    assert list(papers.tables()) == [
        "scadn/table1",
        "scadn/table2",
        "scadn/table3",
        "scadn/table4",
        "scadn/table5",
        "utad/table1",
        "utad/table1/auroc",
        "utad/table2",
        "utad/table2/ablation",
        "utad/table3",
        "utad/table4",
    ]


@pytest.mark.parametrize("table", papers.tables().values(), ids=lambda t: t.id)
def test_every_table_is_complete(table):
    assert table.title
    assert table.source
    assert table.protocol.description
    axes = {table.row_axis, table.column_axis, *table.fixed}
    assert {"dataset", "category", "metric"} <= axes
    assert {table.row_axis, table.column_axis}.isdisjoint(table.fixed)
    assert all(len(row) == len(table.columns) for row in table.rows.values())
    assert set(table.labels) <= set(table.rows)
    assert bool(table.full) == (table.row_axis == "variant")
    assert table.full in ("", *table.rows)
    if table.row_axis != "variant":  # it contains its own method
        assert table.method in table.keys("method")
    assert set(table.keys("dataset")) <= set(papers.DATASETS)
    assert set(table.keys("dataset")) - {"mvtec_ad", "lacead"} <= set(labelled.CLASSES)


@pytest.mark.parametrize("table", papers.tables().values(), ids=lambda t: t.id)
def test_settings_of_protocols_exist(table):
    config = methods.default(table.method.lower())
    known = resolve.flat(config)
    assert {*table.protocol.paper, *table.protocol.code} <= set(known)


def _key(name):
    return name.lower().replace(" ", "_")


def _same(table, rows, columns=None):
    """Asserts equal rows: keys, order and numbers."""
    table = papers.table(table)
    assert list(table.rows) == list(rows)
    assert {name: list(row) for name, row in table.rows.items()} == rows
    if columns:
        assert list(table.columns) == columns


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("scadn/table1", "table1_lacead_image_auroc"),
        ("scadn/table2", "table2_mvtec_image_auroc"),
        ("scadn/table3", "table3_mvtec_pixel_auroc_mean_over_images"),
    ],
)
def test_scadn_by_category(shared, name, reference):
    text = (shared / "reference/scadn_tables.json").read_text()
    theirs = json.loads(text)[reference]
    rows = {_key(category): row for category, row in theirs["rows"].items()}
    _same(name, rows, theirs["columns"])


def test_scadn_ablation(shared):
    text = (shared / "reference/scadn_tables.json").read_text()
    theirs = json.loads(text)["table4_mvtec_ablation_mean_image_auroc"]
    names = {
        (False, "S1S2S3", "max", True): "no_adversarial",
        (True, "S1", None, None): "S1",
        (True, "S2", None, None): "S2",
        (True, "S3", None, None): "S3",
        (True, "S1S2S3", "mean", None): "mean",
        (True, "S1S2S3", "max", False): "max",
        (True, "S1S2S3", "max", True): "full",
    }
    rows = {}
    for row in theirs:
        scales = "".join(row["scales"])
        key = (row["adversarial"], scales, row["merge"], row["subtract_mu"])
        rows[names[key]] = [row["auroc"]]
    _same("scadn/table4", rows, ["mean"])


def test_scadn_one_class(shared):
    text = (shared / "reference/scadn_tables.json").read_text()
    theirs = json.loads(text)["table5_one_class_image_auroc"]
    _same("scadn/table5", theirs["rows"], ["mnist", "cifar10"])
    deviations = papers.table("scadn/table5").deviations
    assert list(deviations["SCADN"]) == theirs["scadn_std_over_3_seeds"]
    assert papers.table("scadn/table5").protocol.seeds == 3


def test_utad(shared):
    theirs = json.loads((shared / "reference/utad_tables.json").read_text())
    iou = theirs["table1_mvtec_iou"]
    rows = {_key(category): row for category, row in iou["rows"].items()}
    _same("utad/table1", rows | {"mean": iou["mean_iou"]}, iou["columns"])
    _same("utad/table1/auroc", {"mean": iou["mean_pixel_auroc"]}, iou["columns"])
    classes = theirs["table2_mean_image_auroc"]
    columns = ["mnist", "fashion_mnist", "cifar10"]
    full = {"UTAD": classes["ablation"][-1]}
    _same("utad/table2", classes["existing"] | full, columns)
    ablation = papers.table("utad/table2/ablation")
    assert list(map(list, ablation.rows.values())) == classes["ablation"]
    assert ablation.full == list(ablation.rows)[-1]
    distances = papers.table("utad/table3")
    reference = theirs["table3_measure_iou"]
    assert list(map(list, distances.rows.values())) == list(reference["rows"].values())
    assert list(distances.columns) == list(map(_key, reference["columns"]))
    assert list(distances.rows)[3:] == ["conv1_2", "conv2_2", "conv3_4", "pm"]
    _same(
        "utad/table4",
        theirs["table4_hazelnut_capacity"]["rows"],
        ["parameters_millions", "pixel.iou_at_threshold", "pixel.auroc_pooled"],
    )


def test_every_number_has_a_reference(shared):
    """The tables have as many numbers as the references."""

    def numbers(value):
        if isinstance(value, dict):
            return sum(map(numbers, value.values()))
        if isinstance(value, list):
            return sum(map(numbers, value))
        return isinstance(value, float)

    def ours(paper):
        tables = [t for t in papers.tables().values() if t.id.startswith(paper)]
        return sum(
            sum(isinstance(v, float) for row in group.values() for v in row)
            for table in tables
            for group in (table.rows, table.deviations)
        )

    scadn = json.loads((shared / "reference/scadn_tables.json").read_text())
    utad = json.loads((shared / "reference/utad_tables.json").read_text())
    assert ours("scadn") == numbers(scadn)
    assert ours("utad") == numbers(utad) + 3  # full UTAD, among methods and variants


def test_published_number_by_keys():
    table = papers.table("scadn/table2")
    keys = {"method": "SCADN", "dataset": "mvtec_ad"}
    assert table.published(category="metal_nut", **keys) == (0.624, None)
    assert table.published(category="mean", **keys) == (0.818, None)
    assert table.published(category="zebra", **keys) == (None, None)
    assert table.published(category="tile", method="UTAD") == (None, None)
    other = {"method": "SCADN", "dataset": "mnist"}
    assert table.published(category="tile", **other) == (None, None)
    assert papers.table("utad/table2").published(
        method="UnSt", dataset="fashion_mnist"
    ) == (None, None)


def test_only_the_mean_over_classes_has_a_number():
    table = papers.table("scadn/table5")
    keys = {"method": "SCADN", "dataset": "cifar10"}
    assert table.published(category="mean", **keys) == (0.669, 0.0019)
    assert table.published(category="ship", **keys) == (None, None)


def test_keys_and_categories():
    table = papers.table("scadn/table2")
    assert table.keys("dataset") == ("mvtec_ad",)
    assert table.keys("variant") == ()
    assert len(table.keys("category")) == 16
    assert len(table.categories) == 15
    assert papers.table("scadn/table5").categories == ()
    assert papers.table("utad/table4").categories == ("hazelnut",)


def test_settings_of_the_authors_code():
    code = papers.code("SCADN")
    assert code["model.width"] == 64
    assert code["model.blocks"] == 8  # from the paper's text
    assert code["loss.gan"] == "nsgan"  # the paper's text differs
    assert code["masks.stripe_pairs"] == [2, 4, 8]
    assert "data.size" not in papers.code("UTAD")  # differs between data sets
    assert papers.code("AUTOENCODER") == {}


def test_unknown_table():
    with pytest.raises(errors.UserError, match=r"'scadn/table9'.*scadn/table5"):
        papers.table("scadn/table9")
