"""Comparisons with tables of categories, on small trees of saved runs."""

import comparison_runs
import pytest
from conftest import tiny

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import categories, report, runs
from jax_scadn.runtime import errors
from jax_scadn.settings import files


def test_missing_categories_are_not_run_and_have_no_mean(tmp_path):
    comparison_runs.write_run(tmp_path / "a", "bottle", 0, 0.8)
    comparison_runs.write_run(tmp_path / "b", "bottle", 1, 0.9)
    comparison_runs.write_run(tmp_path / "c", "cable", 0, 0.7)
    (block,) = comparison_runs.compare(tmp_path)
    assert block.table.id == "scadn/table2"
    rows = comparison_runs.rows_of(block)
    assert list(rows) == [*papers.table("scadn/table2").categories, "mean"]
    assert rows["bottle"].ours.value == pytest.approx(0.85)
    # Two values at a distance of 0.05 from their mean: sqrt(2 * 0.05^2 / 1).
    assert rows["bottle"].ours.deviation == pytest.approx(0.05 * 2**0.5)
    assert rows["bottle"].ours.seeds == (0, 1)
    assert rows["bottle"].published == 0.957
    assert rows["bottle"].difference == pytest.approx(0.85 - 0.957)
    assert rows["cable"].ours.seeds == (0,)
    assert rows["cable"].ours.deviation is None
    for name, value in comparison_runs.BASELINES.items():
        assert rows["bottle"].baselines[name].value == pytest.approx(value)
    for key in ("zipper", "mean"):
        assert rows[key].ours is None
        assert rows[key].difference is None
        assert rows[key].baselines["mean image"] is None
    assert rows["mean"].published == 0.818
    text = report.markdown([block])
    assert text.count("| not run ") == 14
    assert (
        "- 2 of 15 categories were run; a mean over some of them is not computed"
        in text
    )
    assert "seeds: 0, 1 of bottle; 0 of cable; " in text


def test_mean_over_all_categories_uses_the_seeds_that_all_have(tmp_path):
    for digit in range(10):
        for seed in (0, 1, 2):
            if (digit, seed) != (7, 2):
                auroc = 0.9 + 0.01 * seed + 0.002 * digit
                comparison_runs.write_run(
                    tmp_path / f"{digit}-{seed}", str(digit), seed, auroc, "mnist"
                )
    (block,) = comparison_runs.compare(tmp_path)
    assert block.table.id == "scadn/table5"
    rows = comparison_runs.rows_of(block)
    assert list(rows) == [*"0123456789", "mean"]
    assert rows["3"].ours.value == pytest.approx(0.916)
    assert rows["3"].published is None
    mean = rows["mean"]
    assert mean.ours.seeds == (0, 1)
    assert mean.ours.value == pytest.approx((0.909 + 0.919) / 2)
    assert mean.ours.deviation == pytest.approx(0.01 / 2**0.5)
    assert (mean.published, mean.published_deviation) == (0.9771, 0.0005)
    assert mean.difference == pytest.approx(0.914 - 0.9771)
    assert mean.baselines["nearest image"].value == pytest.approx(0.85)


def test_no_seed_with_all_categories_gives_no_mean(tmp_path):
    for digit in range(10):
        comparison_runs.write_run(
            tmp_path / str(digit), str(digit), int(digit == 4), 0.9, "mnist"
        )
    (block,) = comparison_runs.compare(tmp_path)
    assert all(row.ours for row in block.rows[:-1])
    assert comparison_runs.rows_of(block)["mean"].ours is None


def test_different_protocols_are_separate_blocks(tmp_path):
    comparison_runs.write_run(tmp_path / "short", auroc=0.6, seed=0)
    comparison_runs.write_run(tmp_path / "long", auroc=0.8, seed=0, training__steps=8)
    short, long = sorted(
        comparison_runs.compare(tmp_path), key=lambda block: block.ours
    )
    assert comparison_runs.rows_of(short)["bottle"].ours.value == 0.6
    assert comparison_runs.rows_of(long)["bottle"].ours.value == 0.8
    assert "4 steps of 4 images, 2 epochs of 8 images" in short.ours
    assert "8 steps of 4 images, 4 epochs of 8 images" in long.ours
    assert short.name == "tiny (training.steps=4)"
    assert long.name == "tiny (training.steps=8)"
    assert report.markdown([short, long]).count("Yan et al.") == 1


def test_settings_without_effect_do_not_separate_systems(tmp_path):
    comparison_runs.write_run(tmp_path / "a", seed=0, name="first")
    comparison_runs.write_run(
        tmp_path / "b", seed=1, scoring__images_per_call=2, name="second"
    )
    comparison_runs.write_run(tmp_path / "c", seed=2, data__path="elsewhere")
    (block,) = comparison_runs.compare(tmp_path)
    assert comparison_runs.rows_of(block)["bottle"].ours.seeds == (0, 1, 2)
    assert block.name == "first, second, tiny"


def test_custom_folders_are_distinguished_by_their_path(tmp_path):
    comparison_runs.write_run(tmp_path / "a", "nuts", data__path="one")
    comparison_runs.write_run(tmp_path / "b", "nuts", data__path="two")
    assert len(comparison_runs.compare(tmp_path)) == 2


def test_without_a_table_ours_is_compared_with_the_baselines(tmp_path):
    comparison_runs.write_run(tmp_path / "nuts", "nuts", 0, 0.7)
    comparison_runs.write_run(tmp_path / "bolts", "bolts", 0, 0.8)
    (block,) = comparison_runs.compare(tmp_path)
    assert block.table is None
    assert list(comparison_runs.rows_of(block)) == [
        "bolts",
        "nuts",
    ]  # without a mean
    assert comparison_runs.rows_of(block)["nuts"].baselines["mean image"].value == 0.75
    assert "No published table matches." in report.markdown([block])


def test_digits_are_not_mnist(tmp_path):
    for digit in range(10):
        comparison_runs.write_run(tmp_path / str(digit), str(digit), 0, 0.9, "digits")
    (block,) = comparison_runs.compare(tmp_path)
    assert block.table is None
    assert comparison_runs.rows_of(block)["mean"].ours.value == pytest.approx(0.9)
    with pytest.raises(errors.UserError, match=r"no column for digits, only for mnist"):
        comparison_runs.compare(tmp_path, table="scadn/table5")


def test_pixel_metrics_have_their_own_table(tmp_path):
    comparison_runs.write_run(tmp_path / "a", pixel={"auroc_per_image": 0.7})
    image, pixel = comparison_runs.compare(tmp_path)
    assert (image.metric, pixel.metric) == ("image.auroc", "pixel.auroc_per_image")
    assert pixel.table.id == "scadn/table3"
    assert comparison_runs.rows_of(pixel)["bottle"].difference == pytest.approx(
        0.7 - 0.696
    )
    assert comparison_runs.rows_of(pixel)["bottle"].interval is None


def test_requested_table(tmp_path):
    comparison_runs.write_run(
        tmp_path / "a", pixel={"iou": 0.4, "iou_at_threshold": 0.3}
    )
    (block,) = comparison_runs.compare(tmp_path, table="utad/table1")
    assert comparison_runs.rows_of(block)["bottle"].published == 0.37
    assert comparison_runs.rows_of(block)["bottle"].ours.value == 0.3
    assert "ours is SCADN, the paper's is UTAD" in block.coverage
    with pytest.raises(errors.UserError, match=r"no pixel\.auroc_per_image"):
        comparison_runs.compare(tmp_path, table="scadn/table3")
    with pytest.raises(errors.UserError, match=r"is an ablation; give a directory"):
        comparison_runs.compare(tmp_path, table="scadn/table4")
    with pytest.raises(errors.UserError, match=r"none of the categories of tiny \(bo"):
        comparison_runs.compare(tmp_path, table="scadn/table1")
    measured = {"iou_at_threshold": 0.3, "auroc_pooled": 0.8}
    comparison_runs.write_run(tmp_path / "h", "hazelnut", pixel=measured)
    iou, auroc = comparison_runs.compare(tmp_path / "h", table="utad/table4")
    assert list(comparison_runs.rows_of(iou)) == ["hazelnut"]  # without a mean
    assert comparison_runs.rows_of(iou)["hazelnut"].published == 0.649
    assert comparison_runs.rows_of(auroc)["hazelnut"].published == 0.976
    comparison_runs.write_run(tmp_path / "b", "17")
    blocks = comparison_runs.compare(tmp_path / "b", table="scadn/table1")
    assert comparison_runs.rows_of(blocks[0])["17"].published == 0.866
    assert "ours is on other data, the paper's is on LaceAD" in blocks[0].coverage


def test_same_run_twice(tmp_path):
    comparison_runs.write_run(tmp_path / "a")
    (block,) = comparison_runs.compare(
        tmp_path, tmp_path / "a", tmp_path / "../" / tmp_path.name
    )
    assert comparison_runs.rows_of(block)["bottle"].ours.seeds == (0,)
    comparison_runs.write_run(tmp_path / "b")
    with pytest.raises(errors.UserError, match=r"a and .*b have the same settings"):
        comparison_runs.compare(tmp_path)


def test_no_results(tmp_path):
    with pytest.raises(errors.UserError, match=r"gone has no results; give"):
        comparison_runs.compare(tmp_path / "gone")
    (tmp_path / "started").mkdir()
    files.write(tiny(), tmp_path / "started/config.json")
    with pytest.raises(errors.UserError, match=r"no results: 1 runs are not finished"):
        comparison_runs.compare(tmp_path / "started")
    comparison_runs.write_run(tmp_path / "finished")
    collection = runs.find([tmp_path])
    assert collection.unfinished == (tmp_path / "started",)
    text = report.markdown(
        categories.blocks(collection, None, None), collection.unfinished
    )
    assert text.endswith(f"Without results (1): {tmp_path / 'started'}\n")


def test_too_deep_and_hidden_folders_are_not_searched(tmp_path):
    comparison_runs.write_run(tmp_path / "a/b/c/d/e/f")
    comparison_runs.write_run(tmp_path / ".trash/a")
    with pytest.raises(errors.UserError, match="has no results"):
        comparison_runs.compare(tmp_path)


@pytest.mark.parametrize("text", ["{", "3", '{"name": "x"}'])
def test_damaged_results(tmp_path, text):
    comparison_runs.write_run(tmp_path)
    (tmp_path / "evaluation/results.json").write_text(text)
    with pytest.raises(errors.UserError, match=r"results\.json"):
        comparison_runs.compare(tmp_path)
