"""Comparisons of ablations with tables of variants."""

import comparison_runs
import numpy as np
import pytest
from matplotlib import figure

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import plots, report, runs
from jax_scadn.reports import uncertainty
from jax_scadn.runtime import errors


def test_ablation_in_the_order_of_the_table(tmp_path):
    scores = {
        ("mean", 0): comparison_runs.PERFECT,
        ("mean", 1): comparison_runs.GOOD,
        ("full", 0): comparison_runs.GOOD,
        ("full", 1): comparison_runs.FAIR,
        ("narrow", 1): comparison_runs.PERFECT,
    }
    comparison_runs.write_ablation(tmp_path, scores)
    (block,) = comparison_runs.compare(tmp_path)
    assert block.table.id == "scadn/table4"
    rows = comparison_runs.rows_of(block)
    assert list(rows) == [*papers.table("scadn/table4").rows, "narrow"]
    assert rows["mean"].ours.value == pytest.approx(17 / 18)
    assert rows["mean"].published == 0.8083
    assert rows["mean"].published_change == pytest.approx(0.8083 - 0.8183)
    assert rows["mean"].change.value == pytest.approx(1 / 9)
    assert rows["full"].change is None
    assert rows["full"].published_change is None
    assert rows["full"].label == "full model: max over scales, with mu"
    for name in ("no_adversarial", "S2", "max"):
        assert rows[name].ours is None
        assert rows[name].published is not None
    # Compared with the full model of the same seed: 1 - 7/9.
    assert rows["narrow"].published is None
    assert rows["narrow"].change.value == pytest.approx(2 / 9)
    assert list(rows["narrow"].change.p_values) == [1]
    assert "narrow: not run with seed 0" in block.coverage
    assert any("of bottle only" in line for line in block.coverage)


def test_uncertainty_is_over_the_images_that_all_share(tmp_path):
    scores = {
        ("mean", 0): comparison_runs.PERFECT,
        ("mean", 1): comparison_runs.GOOD,
        ("full", 0): comparison_runs.GOOD,
        ("full", 1): comparison_runs.FAIR,
    }
    comparison_runs.write_ablation(tmp_path, scores)
    (block,) = comparison_runs.compare(tmp_path)
    change = comparison_runs.rows_of(block)["mean"].change
    expected = uncertainty.paired_bootstrap(
        comparison_runs.LABELS,
        np.array([comparison_runs.PERFECT, comparison_runs.GOOD]),
        np.array([comparison_runs.GOOD, comparison_runs.FAIR]),
    )
    assert (change.low, change.high) == (expected.low, expected.high)
    first = uncertainty.paired_difference(
        comparison_runs.LABELS,
        np.array(comparison_runs.PERFECT),
        np.array(comparison_runs.GOOD),
    )
    assert change.p_values[0] == first.p_value
    row = comparison_runs.rows_of(block)["full"]
    expected = uncertainty.auroc_interval(
        comparison_runs.LABELS, np.array([comparison_runs.GOOD, comparison_runs.FAIR])
    )
    assert row.interval == tuple(expected)
    assert 0 <= row.interval[0] < row.ours.value < row.interval[1] <= 1


def test_interval_of_one_seed_is_its_bootstrap_interval(tmp_path):
    comparison_runs.write_run(tmp_path, scores=comparison_runs.FAIR)
    (block,) = comparison_runs.compare(tmp_path)
    expected = uncertainty.auroc_interval(
        comparison_runs.LABELS, np.array(comparison_runs.FAIR)
    )
    assert comparison_runs.rows_of(block)["bottle"].interval == pytest.approx(expected)


@pytest.mark.parametrize("change", ["missing", "other images", "one class"])
def test_no_interval_without_the_same_images(tmp_path, change):
    comparison_runs.write_ablation(
        tmp_path,
        {("mean", 0): comparison_runs.PERFECT, ("full", 0): comparison_runs.FAIR},
    )
    path = tmp_path / "mean/seed_0/evaluation/images.csv"
    if change == "missing":
        path.unlink()
    elif change == "other images":
        path.write_text(path.read_text().replace("test/3.png", "test/9.png"))
    else:
        for variant in ("mean", "full"):
            path = tmp_path / variant / "seed_0/evaluation/images.csv"
            path.write_text(path.read_text().replace("x,1", "x,0"))
    (block,) = comparison_runs.compare(tmp_path)
    row = comparison_runs.rows_of(block)["mean"]
    assert row.change.value == pytest.approx(2 / 9)
    assert (row.change.low, row.change.p_values) == (None, {})
    assert "p by seed" not in report.markdown([block]).splitlines()[2]


def test_damaged_scores(tmp_path):
    comparison_runs.write_run(tmp_path, scores=comparison_runs.FAIR)
    path = tmp_path / "evaluation/images.csv"
    path.write_text(path.read_text().replace("x,1,", "x,1,a"))
    with pytest.raises(errors.UserError, match=r"images\.csv is damaged"):
        comparison_runs.compare(tmp_path)


def test_ablation_of_all_categories_has_their_mean(tmp_path):
    changes = {"S1": {"masks.stripe_pairs": [2]}, "full": {}}
    categories = papers.table("scadn/table2").categories
    for category in categories:
        scores = {
            ("S1", 0): comparison_runs.FAIR,
            ("full", 0): comparison_runs.GOOD,
            ("full", 1): comparison_runs.PERFECT,
        }
        if category == "wood":
            del scores["full", 1]
        comparison_runs.write_ablation(
            tmp_path / category, scores, changes, category=category
        )
    mean, *single = comparison_runs.compare(tmp_path)
    assert [block.category for block in single] == sorted(categories)
    assert comparison_runs.rows_of(single[0])["full"].ours.seeds == (0, 1)
    assert comparison_runs.rows_of(single[0])["S1"].change.value == pytest.approx(
        -1 / 9
    )
    assert not any("only, the paper's" in line for line in mean.coverage)
    rows = comparison_runs.rows_of(mean)
    assert rows["full"].ours.seeds == (0,)  # the other seed lacks wood
    assert rows["full"].ours.value == pytest.approx(8 / 9)
    assert rows["full"].published == 0.8183
    assert rows["S1"].change.value == pytest.approx(-1 / 9)
    assert rows["S2"].ours is None
    assert report.title(mean) == "SCADN on MVTec AD (mean), image AUROC: tiny"


def test_ablations_of_some_categories_are_one_without_a_mean(tmp_path):
    changes = {"S1": {"masks.stripe_pairs": [2]}, "full": {}}
    scores = {("S1", 0): comparison_runs.FAIR, ("full", 0): comparison_runs.GOOD}
    comparison_runs.write_ablation(tmp_path / "a", scores, changes, category="bottle")
    comparison_runs.write_ablation(
        tmp_path / "b", {("full", 0): comparison_runs.GOOD}, changes, category="cable"
    )
    (ablation,) = runs.find([tmp_path]).ablations
    assert list(ablation.systems) == ["S1", "full"]
    assert [block.category for block in comparison_runs.compare(tmp_path)] == [
        "bottle",
        "cable",
    ]


def test_ablations_with_other_settings_are_separate_blocks(tmp_path):
    for steps in (4, 8):
        scores = {("mean", 0): comparison_runs.GOOD, ("full", 0): comparison_runs.FAIR}
        comparison_runs.write_ablation(
            tmp_path / str(steps), scores, training__steps=steps
        )
    first, second = comparison_runs.compare(tmp_path)
    assert first.ours != second.ours
    assert comparison_runs.rows_of(first)["mean"].ours.seeds == (0,)


def test_ablation_of_categories_is_one_system(tmp_path):
    digits = {str(digit): {"data.category": str(digit)} for digit in range(10)}
    comparison_runs.declare_ablation(tmp_path, digits, seeds=(0,))
    for digit in digits:
        comparison_runs.write_run(tmp_path / digit / "seed_0", digit, 0, 0.9, "mnist")
    (block,) = comparison_runs.compare(tmp_path)
    assert block.category is None
    assert comparison_runs.rows_of(block)["mean"].ours.value == pytest.approx(0.9)


def test_ablation_without_a_table_is_compared_with_the_unchanged_variant(tmp_path):
    changes = {"two": {"model.width": 2}, "four": {}}
    comparison_runs.write_ablation(
        tmp_path,
        {("two", 0): comparison_runs.GOOD, ("four", 0): comparison_runs.FAIR},
        changes,
        seeds=(0,),
    )
    (block,) = comparison_runs.compare(tmp_path)
    assert block.table is None
    rows = comparison_runs.rows_of(block)
    assert list(rows) == ["two", "four"]
    assert "| to four | to four, 95 % |" in " ".join(report.markdown([block]).split())
    assert rows["two"].change.value == pytest.approx(1 / 9)
    assert rows["four"].change is None


def test_equal_variants_stay_separate(tmp_path):
    changes = {"full": {}, "same": {"model.width": 4}}
    comparison_runs.write_ablation(
        tmp_path,
        {("full", 0): comparison_runs.GOOD, ("same", 0): comparison_runs.FAIR},
        changes,
        seeds=(0,),
    )
    (block,) = comparison_runs.compare(tmp_path)
    assert comparison_runs.rows_of(block)["same"].ours.value == pytest.approx(7 / 9)
    assert block.table is None  # one common name is not enough


def test_table_of_variants_by_category(tmp_path):
    changes = {"conv1_2": {"model.width": 2}, "pm": {}}
    scores = {("conv1_2", 0): comparison_runs.GOOD, ("pm", 0): comparison_runs.FAIR}
    comparison_runs.write_ablation(
        tmp_path, scores, changes, pixel={"iou_at_threshold": 0.25}
    )
    (block,) = comparison_runs.compare(tmp_path, table="utad/table3")
    row = comparison_runs.rows_of(block)["conv1_2"]
    assert (row.published, row.ours.value) == (0.3, 0.25)  # of bottle
    assert row.published_change == pytest.approx(0.3 - 0.37)
    assert (row.change.value, row.change.low) == (0, None)
    assert "ours is SCADN, the paper's is UTAD" in block.coverage
    assert not any("only, the paper's" in line for line in block.coverage)


def test_varied_settings_are_not_differences(tmp_path):
    changes = {"S1": {"masks.stripe_pairs": [2]}, "S2": {"masks.stripe_pairs": [4]}}
    comparison_runs.write_ablation(
        tmp_path / "a", {("S1", 0): comparison_runs.GOOD}, {**changes, "full": {}}
    )
    torch = comparison_runs.measured(
        tmp_path, {"x": [{"category": "bottle", "seed": 0}]}
    )
    (block,) = comparison_runs.compare(tmp_path / "a", torch=torch)
    lines = [*block.differences, *block.measured_differences]
    assert len(lines) > 6
    assert not [line for line in lines if "stripes" in line]
    comparison_runs.write_ablation(
        tmp_path / "b",
        {("full", 0): comparison_runs.GOOD},
        {**changes, "full": {}},
        masks__stripe_pairs=(2, 8),
    )
    (block,) = comparison_runs.compare(tmp_path / "b")
    assert [line for line in block.differences if "stripes" in line]


def test_variants_against_a_table_of_categories(tmp_path):
    comparison_runs.write_ablation(
        tmp_path, {("mean", 0): comparison_runs.GOOD, ("full", 0): comparison_runs.FAIR}
    )
    blocks = comparison_runs.compare(tmp_path, table="scadn/table2")
    assert [block.name for block in blocks] == ["tiny, mean", "tiny, full"]
    assert comparison_runs.rows_of(blocks[0])["bottle"].published == 0.957


def test_ablation_of_other_data_does_not_match(tmp_path):
    comparison_runs.write_ablation(
        tmp_path,
        {("mean", 0): comparison_runs.GOOD, ("full", 0): comparison_runs.FAIR},
        dataset="lace",
    )
    (block,) = comparison_runs.compare(tmp_path)
    assert block.table is None
    (block,) = comparison_runs.compare(tmp_path, table="scadn/table4")
    assert comparison_runs.rows_of(block)["mean"].published == 0.8083


def test_ablation_without_categories(tmp_path):
    scores = {("mean", 0): comparison_runs.GOOD, ("full", 0): comparison_runs.FAIR}
    comparison_runs.write_ablation(tmp_path, scores, category="", dataset="lace")
    (block,) = comparison_runs.compare(tmp_path)
    assert block.is_ablation
    text = report.markdown([block])
    assert text.startswith("### SCADN on lace, image AUROC: tiny\n\n| variant ")
    assert "Sources" not in text
    plots._dots(block, figure.Figure().add_subplot())


def test_ablation_without_any_result(tmp_path):
    comparison_runs.declare_ablation(tmp_path / "ablation", comparison_runs.TABLE4)
    with pytest.raises(errors.UserError, match="10 runs are not finished"):
        comparison_runs.compare(tmp_path)
    comparison_runs.write_run(tmp_path / "other")
    (block,) = comparison_runs.compare(tmp_path)
    assert block.category is None
