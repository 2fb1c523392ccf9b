"""Published tables are matched by the column of the method's title."""

import comparison_runs
import pytest
from matplotlib import figure

from jax_scadn import methods
from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import plots, report
from jax_scadn.runtime import errors

TITLES = {"AE-L2": "ae_l2", "AE-SSIM": "ae_ssim", "DAE": "dae"}
PIXEL = {"auroc_per_image": 0.7, "auroc_pooled": 0.8, "iou_at_threshold": 0.3}
UNKNOWN = "the paper quotes the numbers of {0}; its protocol for {0} is not known"


def write_autoencoder(path, title, **more):
    fields = {"method": "autoencoder", "preset": TITLES[title], "pixel": PIXEL}
    comparison_runs.write_run(path, **(fields | more))


def by_table(*paths, **more):
    blocks = comparison_runs.compare(*paths, **more)
    return {block.table and block.table.id: block for block in blocks}


@pytest.mark.parametrize(
    ("title", "bottle", "mean"), [("AE-L2", 0.22, 0.82), ("AE-SSIM", 0.15, 0.87)]
)
def test_autoencoders_have_columns_in_the_tables_of_utad(tmp_path, title, bottle, mean):
    write_autoencoder(tmp_path, title)
    blocks = by_table(tmp_path)
    assert list(blocks) == ["utad/table1", "utad/table1/auroc"]
    iou, auroc = blocks.values()
    assert iou.method == title
    row = comparison_runs.rows_of(iou)["bottle"]
    assert (row.published, row.ours.value) == (bottle, 0.3)
    assert row.baselines["mean image"].value == 0.3
    assert comparison_runs.rows_of(auroc)["mean"].published == mean
    for block in (iou, auroc):
        assert block.differences == []
        assert block.coverage.count(UNKNOWN.format(title)) == 1
        assert block.coverage[-1] == "seeds: 0; the paper does not say how many"
        assert not block.is_proposed
    text = report.markdown([iou])
    assert text.startswith(f"### {title} on MVTec AD, IoU at threshold: tiny\n")
    assert "**Not a reproduction of utad/table1.**\n" in text
    assert "Differences" not in text
    assert "(UTAD), arXiv:2103.11671. Protocol of UTAD: One model" in text
    assert plots._title(iou).endswith("\nNot a reproduction of utad/table1")


def test_dae_has_columns_in_the_tables_of_scadn(tmp_path):
    write_autoencoder(tmp_path / "a", "DAE")
    blocks = by_table(tmp_path / "a")
    assert list(blocks) == ["scadn/table2", "scadn/table3"]
    published = [
        comparison_runs.rows_of(block)["bottle"].published for block in blocks.values()
    ]
    assert published == [0.86, 0.544]
    # Only SCADN's row has a number of seeds.
    write_autoencoder(tmp_path / "b", "DAE", category="3", dataset="mnist")
    comparison_runs.write_run(tmp_path / "c", "3", dataset="mnist")
    for name, published, seeds in (
        ("b", (0.8766, None), "the paper does not say how many"),
        ("c", (0.9771, 0.0005), "in the paper 3"),
    ):
        (block,) = comparison_runs.compare(tmp_path / name)
        assert block.table.id == "scadn/table5"
        mean = comparison_runs.rows_of(block)["mean"]
        assert (mean.published, mean.published_deviation) == published
        assert block.coverage[-1] == f"seeds: 0; {seeds}"


def test_a_proposed_method_has_the_differences_of_its_protocol(tmp_path):
    comparison_runs.write_run(tmp_path)
    (block,) = comparison_runs.compare(tmp_path)
    assert block.is_proposed
    assert block.differences
    assert UNKNOWN.format("SCADN") not in block.coverage


def test_a_column_in_the_table_of_another_paper(tmp_path, monkeypatch):
    """UTAD's table as if it had a column of SCADN."""
    table = papers.table("utad/table1")
    columns = tuple("SCADN" if key == "LSA" else key for key in table.columns)
    others = dict(papers.tables())
    others["utad/table1"] = table.__class__(**(vars(table) | {"columns": columns}))
    monkeypatch.setattr(papers, "tables", lambda: others)
    comparison_runs.write_run(tmp_path, pixel=PIXEL)
    blocks = by_table(tmp_path)
    assert list(blocks) == ["scadn/table2", "scadn/table3", "utad/table1"]
    block = blocks["utad/table1"]
    assert comparison_runs.rows_of(block)["bottle"].published == 0.27
    assert UNKNOWN.format("SCADN") in block.coverage
    assert block.differences == []


def test_a_requested_table_without_the_method_shows_the_proposed_one(tmp_path):
    write_autoencoder(tmp_path, "DAE")
    (block,) = comparison_runs.compare(tmp_path, table="utad/table1")
    assert comparison_runs.rows_of(block)["bottle"].published == 0.37
    assert "ours is DAE, the paper's is UTAD" in block.coverage
    assert block.differences == []
    (block,) = comparison_runs.compare(tmp_path, table="scadn/table2")
    assert comparison_runs.rows_of(block)["bottle"].published == 0.86


@pytest.mark.parametrize(
    ("method", "title", "baselines"),
    [
        ("patch_memory", "patch memory", ("mean image", "nearest image")),
        ("reference_images", "nearest image", ("mean image",)),
    ],
)
def test_methods_without_a_column(tmp_path, method, title, baselines):
    """Closed-form methods, which have neither steps nor epochs."""
    comparison_runs.write_run(
        tmp_path / "ours", method=method, scores=(3, 1, 2, 4, 5, 6)
    )
    comparison_runs.write_run(tmp_path / "scadn", auroc=0.8)
    torch = comparison_runs.measured(
        tmp_path,
        {"x": [{"category": "bottle", "seed": 0, "image_auroc": 0.7, "steps": 4}
               | {"method": title.upper()}]},
    )  # fmt: skip
    blocks = comparison_runs.compare(tmp_path, torch=torch)
    assert {block.method for block in blocks} == {title, "SCADN"}
    (block,) = (block for block in blocks if block.method == title)
    assert block.table is None
    assert block.baselines == baselines
    row = comparison_runs.rows_of(block)["bottle"]
    assert row.ours.value == 1
    expected = {name: comparison_runs.BASELINES[name] for name in baselines}
    assert {name: mean.value for name, mean in row.baselines.items()} == expected
    assert row.interval == (1, 1)
    assert row.measured.value == 0.7
    assert block.measured_differences == []
    assert "steps" not in block.ours
    assert "8 training images; 0 held-out normal images" in block.ours
    text = report.markdown([block])
    assert text.startswith(f"### {title} on MVTec AD, image AUROC: tiny\n")
    assert "No published table matches." in text
    plots._bars(block, figure.Figure().add_subplot())
    with pytest.raises(errors.UserError, match="none of the categories"):
        comparison_runs.compare(tmp_path / "ours", table="scadn/table1")


def test_variants_may_be_different_methods(tmp_path):
    """Each is compared by the scores under its own title."""
    changes = {"ssim": {"preset": "ae_ssim"}, "l2": {}}
    scores = {
        ("ssim", 0): comparison_runs.FAIR,
        ("l2", 0): comparison_runs.GOOD,
    }
    comparison_runs.write_ablation(tmp_path, scores, changes, method="autoencoder")
    (block,) = comparison_runs.compare(tmp_path)
    rows = comparison_runs.rows_of(block)
    assert rows["ssim"].change.value == pytest.approx(-1 / 9)
    assert list(rows["ssim"].change.p_values) == [0]
    assert block.method == "AE-L2"


def test_reference_images_as_variants(tmp_path):
    changes = {
        "mean": {"reference.kind": "mean"},
        "nearest": {"reference.kind": "nearest"},
    }
    scores = {("mean", 0): comparison_runs.FAIR, ("nearest", 0): comparison_runs.GOOD}
    comparison_runs.write_ablation(tmp_path, scores, changes, method="reference_images")
    (block,) = comparison_runs.compare(tmp_path)
    rows = comparison_runs.rows_of(block)
    assert rows["nearest"].change.value == pytest.approx(1 / 9)
    report.markdown([block])
    plots._dots(block, figure.Figure().add_subplot())


def test_results_without_a_title_are_refused(tmp_path):
    comparison_runs.write_run(tmp_path)
    path = tmp_path / "evaluation/results.json"
    path.write_text(path.read_text().replace('"title"', '"heading"'))
    with pytest.raises(errors.UserError, match="has no title; evaluate the run again"):
        comparison_runs.compare(tmp_path)


def test_every_title_is_spelled_as_in_the_tables():
    columns = {
        key for table in papers.tables().values() for key in table.keys("method")
    }
    titles = {
        methods.create(comparison_runs.settings("autoencoder", preset=preset)).title
        for preset in TITLES.values()
    }
    assert titles == set(TITLES)
    assert titles | {"SCADN", "UTAD"} <= columns
