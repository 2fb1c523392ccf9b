"""Results beside published and measured numbers, on small trees made by hand."""

import csv
import json
import subprocess
import sys

import conftest
import numpy as np
import pytest
from conftest import tiny
from matplotlib import figure
from PIL import Image

from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import (
    categories,
    measured,
    plots,
    protocol,
    report,
    runs,
    variants,
)
from jax_scadn.reports import tables, uncertainty
from jax_scadn.runtime import errors
from jax_scadn.settings import files

ROOT = conftest.ROOT
TRIVIAL = {"mean image": 0.75, "nearest image": 0.85}
LABELS = np.array([0, 0, 0, 1, 1, 1])
# Image AUROCs by hand: 9 pairs, of which 9, 8, 7 are in the right order.
PERFECT = (1, 2, 3, 4, 5, 6)
GOOD = (1, 2, 4, 3, 5, 6)
FAIR = (1, 2, 5, 3, 4, 6)


def leave(
    path,
    category="bottle",
    seed=0,
    auroc=0.9,
    dataset="folder",
    scores=None,
    images=(8, 0),
    pixel=None,
    name="tiny",
    **changes,
):
    """What train and evaluate leave of a run, as far as it is read."""
    settings = {"data__held_out": 0.0, "data__size": 64} | changes
    config = tiny(name=name, seed=seed, data__category=category, **settings)
    if scores is not None:
        normal, anomalous = np.array(scores)[LABELS == 0], np.array(scores)[LABELS == 1]
        auroc = np.mean(anomalous[:, None] > normal)
    values = {name: {"auroc": value} for name, value in TRIVIAL.items()}
    values["SCADN"] = {"auroc": auroc}
    results = {
        "name": name,
        "dataset": dataset,
        "category": category,
        "method": "scadn",
        "seed": seed,
        "images": {
            "train": images[0],
            "held_out": images[1],
            "test_normal": 3,
            "test_anomalous": 3,
        },
        "detectors": {
            detector: {"all": {"images": 6, "image": value, "pixel": pixel}}
            for detector, value in values.items()
        },
    }
    (path / "evaluation").mkdir(parents=True)
    files.write(config, path / "config.json")
    (path / "evaluation/results.json").write_text(json.dumps(results))
    if scores is not None:
        rows = zip(LABELS, scores, strict=True)
        lines = [f"test/{i}.png,x,{label},{s}" for i, (label, s) in enumerate(rows)]
        text = "\n".join(["path,defect,anomalous,SCADN", *lines])
        (path / "evaluation/images.csv").write_text(text)


def declare(path, changes, seeds=(0, 1)):
    path.mkdir(parents=True, exist_ok=True)
    declared = {"variants": changes, "seeds": list(seeds)}
    (path / "ablation.json").write_text(json.dumps(declared))


def compare(*paths, table=None, torch=None):
    found = runs.find(paths)
    asked = papers.table(table) if table else None
    blocks = categories.blocks(found, asked, torch)
    return blocks + variants.blocks(found, asked, torch)


def rows_of(block):
    return {row.key: row for row in block.rows}


def test_missing_categories_are_not_run_and_have_no_mean(tmp_path):
    leave(tmp_path / "a", "bottle", 0, 0.8)
    leave(tmp_path / "b", "bottle", 1, 0.9)
    leave(tmp_path / "c", "cable", 0, 0.7)
    (block,) = compare(tmp_path)
    assert block.table.id == "scadn/table2"
    rows = rows_of(block)
    assert list(rows) == [*papers.table("scadn/table2").categories, "mean"]
    assert rows["bottle"].ours.value == pytest.approx(0.85)
    # Two values at a distance of 0.05 from their mean: sqrt(2 * 0.05^2 / 1).
    assert rows["bottle"].ours.deviation == pytest.approx(0.05 * 2**0.5)
    assert rows["bottle"].ours.seeds == (0, 1)
    assert rows["bottle"].published == 0.957
    assert rows["bottle"].difference == pytest.approx(0.85 - 0.957)
    assert rows["cable"].ours.seeds == (0,)
    assert rows["cable"].ours.deviation is None
    for name, value in TRIVIAL.items():
        assert rows["bottle"].trivial[name].value == pytest.approx(value)
    for key in ("zipper", "mean"):
        assert rows[key].ours is None
        assert rows[key].difference is None
        assert rows[key].trivial["mean image"] is None
    assert rows["mean"].published == 0.818
    text = report.markdown([block])
    assert text.count("| not run ") == 14
    assert "- 2 of 15 categories were run; there is no mean over a part" in text
    assert "seeds: 0, 1 of bottle; 0 of cable; " in text


def test_mean_over_all_categories_is_of_the_seeds_that_all_have(tmp_path):
    for digit in range(10):
        for seed in (0, 1, 2):
            if (digit, seed) != (7, 2):
                auroc = 0.9 + 0.01 * seed + 0.002 * digit
                leave(tmp_path / f"{digit}-{seed}", str(digit), seed, auroc, "mnist")
    (block,) = compare(tmp_path)
    assert block.table.id == "scadn/table5"
    rows = rows_of(block)
    assert list(rows) == [*"0123456789", "mean"]
    assert rows["3"].ours.value == pytest.approx(0.916)
    assert rows["3"].published is None
    mean = rows["mean"]
    assert mean.ours.seeds == (0, 1)
    assert mean.ours.value == pytest.approx((0.909 + 0.919) / 2)
    assert mean.ours.deviation == pytest.approx(0.01 / 2**0.5)
    assert (mean.published, mean.published_deviation) == (0.9771, 0.0005)
    assert mean.difference == pytest.approx(0.914 - 0.9771)
    assert mean.trivial["nearest image"].value == pytest.approx(0.85)


def test_no_seed_with_all_categories_gives_no_mean(tmp_path):
    for digit in range(10):
        leave(tmp_path / str(digit), str(digit), int(digit == 4), 0.9, "mnist")
    (block,) = compare(tmp_path)
    assert all(row.ours for row in block.rows[:-1])
    assert rows_of(block)["mean"].ours is None


def test_other_protocols_are_other_blocks(tmp_path):
    leave(tmp_path / "short", auroc=0.6, seed=0)
    leave(tmp_path / "long", auroc=0.8, seed=0, training__steps=8)
    short, long = sorted(compare(tmp_path), key=lambda block: block.ours)
    assert rows_of(short)["bottle"].ours.value == 0.6
    assert rows_of(long)["bottle"].ours.value == 0.8
    assert "4 steps of 4 images, 2 epochs of 8 images" in short.ours
    assert "8 steps of 4 images, 4 epochs of 8 images" in long.ours
    assert short.name == "tiny (training.steps=4)"
    assert long.name == "tiny (training.steps=8)"
    assert report.markdown([short, long]).count("Yan et al.") == 1


def test_settings_without_effect_make_no_other_system(tmp_path):
    leave(tmp_path / "a", seed=0, name="first")
    leave(tmp_path / "b", seed=1, scoring__images_per_call=2, name="second")
    leave(tmp_path / "c", seed=2, data__path="elsewhere")
    (block,) = compare(tmp_path)
    assert rows_of(block)["bottle"].ours.seeds == (0, 1, 2)
    assert block.name == "first, second, tiny"


def test_folders_of_ones_own_are_told_apart_by_their_path(tmp_path):
    leave(tmp_path / "a", "nuts", data__path="one")
    leave(tmp_path / "b", "nuts", data__path="two")
    assert len(compare(tmp_path)) == 2


def test_without_a_table_ours_stands_beside_the_trivial_detectors(tmp_path):
    leave(tmp_path / "nuts", "nuts", 0, 0.7)
    leave(tmp_path / "bolts", "bolts", 0, 0.8)
    (block,) = compare(tmp_path)
    assert block.table is None
    assert list(rows_of(block)) == ["bolts", "nuts"]  # and no mean of them
    assert rows_of(block)["nuts"].trivial["mean image"].value == 0.75
    assert "No published table fits." in report.markdown([block])


def test_digits_are_not_mnist(tmp_path):
    for digit in range(10):
        leave(tmp_path / str(digit), str(digit), 0, 0.9, "digits")
    (block,) = compare(tmp_path)
    assert block.table is None
    assert rows_of(block)["mean"].ours.value == pytest.approx(0.9)
    with pytest.raises(errors.UserError, match=r"no column for digits, only for mnist"):
        compare(tmp_path, table="scadn/table5")


def test_pixel_metrics_have_their_own_table(tmp_path):
    leave(tmp_path / "a", pixel={"auroc_per_image": 0.7})
    image, pixel = compare(tmp_path)
    assert (image.metric, pixel.metric) == ("image.auroc", "pixel.auroc_per_image")
    assert pixel.table.id == "scadn/table3"
    assert rows_of(pixel)["bottle"].difference == pytest.approx(0.7 - 0.696)
    assert rows_of(pixel)["bottle"].interval is None


def test_table_that_was_asked_for(tmp_path):
    leave(tmp_path / "a", pixel={"iou": 0.4, "iou_at_threshold": 0.3})
    (block,) = compare(tmp_path, table="utad/table1")
    assert rows_of(block)["bottle"].published == 0.37
    assert rows_of(block)["bottle"].ours.value == 0.3
    assert "ours is SCADN, the paper's is UTAD" in block.coverage
    with pytest.raises(errors.UserError, match=r"no pixel\.auroc_per_image"):
        compare(tmp_path, table="scadn/table3")
    with pytest.raises(errors.UserError, match=r"is an ablation; give a directory"):
        compare(tmp_path, table="scadn/table4")
    with pytest.raises(errors.UserError, match=r"none of the categories of tiny \(bo"):
        compare(tmp_path, table="scadn/table1")
    measured = {"iou_at_threshold": 0.3, "auroc_pooled": 0.8}
    leave(tmp_path / "h", "hazelnut", pixel=measured)
    iou, auroc = compare(tmp_path / "h", table="utad/table4")
    assert list(rows_of(iou)) == ["hazelnut"]  # of which there is no mean
    assert rows_of(iou)["hazelnut"].published == 0.649
    assert rows_of(auroc)["hazelnut"].published == 0.976
    leave(tmp_path / "b", "17")
    blocks = compare(tmp_path / "b", table="scadn/table1")
    assert rows_of(blocks[0])["17"].published == 0.866
    assert "ours is on other data, the paper's is on LaceAD" in blocks[0].coverage


def test_same_run_twice(tmp_path):
    leave(tmp_path / "a")
    (block,) = compare(tmp_path, tmp_path / "a", tmp_path / "../" / tmp_path.name)
    assert rows_of(block)["bottle"].ours.seeds == (0,)
    leave(tmp_path / "b")
    with pytest.raises(errors.UserError, match=r"a and .*b have the same settings"):
        compare(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(errors.UserError, match=r"gone holds no results; give"):
        compare(tmp_path / "gone")
    (tmp_path / "started").mkdir()
    files.write(tiny(), tmp_path / "started/config.json")
    with pytest.raises(errors.UserError, match=r"no results: 1 runs are not finished"):
        compare(tmp_path / "started")
    leave(tmp_path / "finished")
    found = runs.find([tmp_path])
    assert found.unfinished == (tmp_path / "started",)
    text = report.markdown(categories.blocks(found, None, None), found.unfinished)
    assert text.endswith(f"Without results (1): {tmp_path / 'started'}\n")


def test_too_deep_and_hidden_folders_are_not_searched(tmp_path):
    leave(tmp_path / "a/b/c/d/e/f")
    leave(tmp_path / ".trash/a")
    with pytest.raises(errors.UserError, match="holds no results"):
        compare(tmp_path)


@pytest.mark.parametrize("text", ["{", "3", '{"name": "x"}'])
def test_damaged_results(tmp_path, text):
    leave(tmp_path)
    (tmp_path / "evaluation/results.json").write_text(text)
    with pytest.raises(errors.UserError, match=r"results\.json"):
        compare(tmp_path)


# Ablations


TABLE4 = {
    "no_adversarial": {"loss.adversarial_weight": 0.0},
    "S1": {"masks.stripe_pairs": [2]},
    "mean": {"scoring.merge": "mean"},
    "full": {},
    "narrow": {"model.width": 2},
}


def ablate(path, scores, changes=TABLE4, seeds=(0, 1), **more):
    """`scores` by (variant, seed)."""
    declare(path, changes, seeds)
    for (variant, seed), values in scores.items():
        fields = {k.replace(".", "__"): v for k, v in changes[variant].items()}
        folder = path / variant / f"seed_{seed}"
        leave(folder, seed=seed, scores=values, **(more | fields))


def test_ablation_in_the_order_of_the_table(tmp_path):
    scores = {("mean", 0): PERFECT, ("mean", 1): GOOD, ("full", 0): GOOD,
              ("full", 1): FAIR, ("narrow", 1): PERFECT}  # fmt: skip
    ablate(tmp_path, scores)
    (block,) = compare(tmp_path)
    assert block.table.id == "scadn/table4"
    rows = rows_of(block)
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
    assert any("of bottle alone" in line for line in block.coverage)


def test_uncertainty_is_over_the_images_that_all_share(tmp_path):
    scores = {("mean", 0): PERFECT, ("mean", 1): GOOD, ("full", 0): GOOD,
              ("full", 1): FAIR}  # fmt: skip
    ablate(tmp_path, scores)
    (block,) = compare(tmp_path)
    change = rows_of(block)["mean"].change
    expected = uncertainty.paired_bootstrap(
        LABELS, np.array([PERFECT, GOOD]), np.array([GOOD, FAIR])
    )
    assert (change.low, change.high) == (expected.low, expected.high)
    first = uncertainty.paired_difference(LABELS, np.array(PERFECT), np.array(GOOD))
    assert change.p_values[0] == first.p_value
    row = rows_of(block)["full"]
    expected = uncertainty.auroc_interval(LABELS, np.array([GOOD, FAIR]))
    assert row.interval == tuple(expected)
    assert 0 <= row.interval[0] < row.ours.value < row.interval[1] <= 1


def test_interval_of_one_seed_is_its_bootstrap_interval(tmp_path):
    leave(tmp_path, scores=FAIR)
    (block,) = compare(tmp_path)
    expected = uncertainty.auroc_interval(LABELS, np.array(FAIR))
    assert rows_of(block)["bottle"].interval == pytest.approx(expected)


@pytest.mark.parametrize("change", ["missing", "other images", "one class"])
def test_no_interval_without_the_same_images(tmp_path, change):
    ablate(tmp_path, {("mean", 0): PERFECT, ("full", 0): FAIR})
    path = tmp_path / "mean/seed_0/evaluation/images.csv"
    if change == "missing":
        path.unlink()
    elif change == "other images":
        path.write_text(path.read_text().replace("test/3.png", "test/9.png"))
    else:
        for variant in ("mean", "full"):
            path = tmp_path / variant / "seed_0/evaluation/images.csv"
            path.write_text(path.read_text().replace("x,1", "x,0"))
    (block,) = compare(tmp_path)
    row = rows_of(block)["mean"]
    assert row.change.value == pytest.approx(2 / 9)
    assert (row.change.low, row.change.p_values) == (None, {})
    assert "p by seed" not in report.markdown([block]).splitlines()[2]


def test_damaged_scores(tmp_path):
    leave(tmp_path, scores=FAIR)
    path = tmp_path / "evaluation/images.csv"
    path.write_text(path.read_text().replace("x,1,", "x,1,a"))
    with pytest.raises(errors.UserError, match=r"images\.csv is damaged"):
        compare(tmp_path)


def test_ablation_of_all_categories_has_their_mean(tmp_path):
    changes = {"S1": {"masks.stripe_pairs": [2]}, "full": {}}
    every = papers.table("scadn/table2").categories
    for category in every:
        scores = {("S1", 0): FAIR, ("full", 0): GOOD, ("full", 1): PERFECT}
        if category == "wood":
            del scores["full", 1]
        ablate(tmp_path / category, scores, changes, category=category)
    mean, *single = compare(tmp_path)
    assert [block.category for block in single] == sorted(every)
    assert rows_of(single[0])["full"].ours.seeds == (0, 1)
    assert rows_of(single[0])["S1"].change.value == pytest.approx(-1 / 9)
    assert not any("alone" in line for line in mean.coverage)
    rows = rows_of(mean)
    assert rows["full"].ours.seeds == (0,)  # the other seed lacks wood
    assert rows["full"].ours.value == pytest.approx(8 / 9)
    assert rows["full"].published == 0.8183
    assert rows["S1"].change.value == pytest.approx(-1 / 9)
    assert rows["S2"].ours is None
    assert report.title(mean) == "SCADN on MVTec AD (mean), image AUROC: tiny"


def test_ablations_of_some_categories_are_one_without_a_mean(tmp_path):
    changes = {"S1": {"masks.stripe_pairs": [2]}, "full": {}}
    scores = {("S1", 0): FAIR, ("full", 0): GOOD}
    ablate(tmp_path / "a", scores, changes, category="bottle")
    ablate(tmp_path / "b", {("full", 0): GOOD}, changes, category="cable")
    (ablation,) = runs.find([tmp_path]).ablations
    assert list(ablation.systems) == ["S1", "full"]
    assert [block.category for block in compare(tmp_path)] == ["bottle", "cable"]


def test_ablations_with_other_settings_are_other_blocks(tmp_path):
    for steps in (4, 8):
        scores = {("mean", 0): GOOD, ("full", 0): FAIR}
        ablate(tmp_path / str(steps), scores, training__steps=steps)
    first, second = compare(tmp_path)
    assert first.ours != second.ours
    assert rows_of(first)["mean"].ours.seeds == (0,)


def test_ablation_of_categories_is_one_system(tmp_path):
    digits = {str(digit): {"data.category": str(digit)} for digit in range(10)}
    declare(tmp_path, digits, seeds=(0,))
    for digit in digits:
        leave(tmp_path / digit / "seed_0", digit, 0, 0.9, "mnist")
    (block,) = compare(tmp_path)
    assert block.category is None
    assert rows_of(block)["mean"].ours.value == pytest.approx(0.9)


def test_ablation_without_a_table_is_compared_with_the_unchanged(tmp_path):
    changes = {"two": {"model.width": 2}, "four": {}}
    ablate(tmp_path, {("two", 0): GOOD, ("four", 0): FAIR}, changes, seeds=(0,))
    (block,) = compare(tmp_path)
    assert block.table is None
    rows = rows_of(block)
    assert list(rows) == ["two", "four"]
    assert "| to four | to four, 95 % |" in " ".join(report.markdown([block]).split())
    assert rows["two"].change.value == pytest.approx(1 / 9)
    assert rows["four"].change is None


def test_equal_variants_stay_apart(tmp_path):
    changes = {"full": {}, "same": {"model.width": 4}}
    ablate(tmp_path, {("full", 0): GOOD, ("same", 0): FAIR}, changes, seeds=(0,))
    (block,) = compare(tmp_path)
    assert rows_of(block)["same"].ours.value == pytest.approx(7 / 9)
    assert block.table is None  # one common name is no common table


def test_table_of_variants_by_category(tmp_path):
    changes = {"conv1_2": {"model.width": 2}, "pm": {}}
    scores = {("conv1_2", 0): GOOD, ("pm", 0): FAIR}
    ablate(tmp_path, scores, changes, pixel={"iou_at_threshold": 0.25})
    (block,) = compare(tmp_path, table="utad/table3")
    row = rows_of(block)["conv1_2"]
    assert (row.published, row.ours.value) == (0.3, 0.25)  # of bottle
    assert row.published_change == pytest.approx(0.3 - 0.37)
    assert (row.change.value, row.change.low) == (0, None)
    assert "ours is SCADN, the paper's is UTAD" in block.coverage
    assert not any("alone" in line for line in block.coverage)


def test_what_an_ablation_varies_is_no_difference(tmp_path):
    changes = {"S1": {"masks.stripe_pairs": [2]}, "S2": {"masks.stripe_pairs": [4]}}
    ablate(tmp_path / "a", {("S1", 0): GOOD}, {**changes, "full": {}})
    torch = _measured(tmp_path, {"x": [{"category": "bottle", "seed": 0}]})
    (block,) = compare(tmp_path / "a", torch=torch)
    every = [*block.differences, *block.measured_differences]
    assert len(every) > 6
    assert not [line for line in every if "stripes" in line]
    ablate(tmp_path / "b", {("full", 0): GOOD}, {**changes, "full": {}},
           masks__stripe_pairs=(2, 8))  # fmt: skip
    (block,) = compare(tmp_path / "b")
    assert [line for line in block.differences if "stripes" in line]


def test_variants_beside_a_table_of_categories(tmp_path):
    ablate(tmp_path, {("mean", 0): GOOD, ("full", 0): FAIR})
    blocks = compare(tmp_path, table="scadn/table2")
    assert [block.name for block in blocks] == ["tiny, mean", "tiny, full"]
    assert rows_of(blocks[0])["bottle"].published == 0.957


def test_ablation_of_other_data_does_not_fit(tmp_path):
    ablate(tmp_path, {("mean", 0): GOOD, ("full", 0): FAIR}, dataset="lace")
    (block,) = compare(tmp_path)
    assert block.table is None
    (block,) = compare(tmp_path, table="scadn/table4")
    assert rows_of(block)["mean"].published == 0.8083


def test_ablation_without_categories(tmp_path):
    scores = {("mean", 0): GOOD, ("full", 0): FAIR}
    ablate(tmp_path, scores, category="", dataset="lace")
    (block,) = compare(tmp_path)
    assert block.is_ablation
    text = report.markdown([block])
    assert text.startswith("### SCADN on lace, image AUROC: tiny\n\n| variant ")
    assert "Sources" not in text
    plots._dots(block, figure.Figure().add_subplot())


def test_ablation_without_any_result(tmp_path):
    declare(tmp_path / "ablation", TABLE4)
    with pytest.raises(errors.UserError, match="10 runs are not finished"):
        compare(tmp_path)
    leave(tmp_path / "other")
    (block,) = compare(tmp_path)
    assert block.category is None


# Protocols


def system_of(path):
    return runs.find([path]).systems[0]


def test_the_published_protocol_differs_in_nothing(tmp_path):
    table = papers.table("scadn/table2")
    changes = {field.replace(".", "__"): value for field, value in
               {**table.protocol.paper, **table.protocol.code}.items()}  # fmt: skip
    leave(tmp_path / "a", images=(10, 0), training__steps=0, **changes)
    assert protocol.differences(system_of(tmp_path / "a"), table.protocol) == []
    # 10 images in batches of 4: two steps an epoch.
    changes["training__epochs"] = 1
    leave(tmp_path / "b", images=(10, 0), training__steps=400, **changes)
    assert protocol.differences(system_of(tmp_path / "b"), table.protocol) == []
    leave(tmp_path / "c", images=(7, 1), training__steps=399, **changes)
    (line,) = protocol.differences(system_of(tmp_path / "c"), table.protocol)
    assert line == (
        "training: 399 steps of 4 images, 228 epochs of 7 images; in the paper 200 "
        "epochs in batches of 4, 400 steps on all normal images of these data"
    )
    changes["training__batch_size"] = 2
    leave(tmp_path / "d", images=(10, 0), training__steps=400, **changes)
    (line,) = protocol.differences(system_of(tmp_path / "d"), table.protocol)
    assert line.startswith("training: 400 steps of 2 images, 80 epochs of 10 images")


def test_what_differs_is_said_in_words(tmp_path):
    leave(
        tmp_path,
        images=(18, 2),
        data__held_out=0.1,
        data__test_normal_limit=3,
        masks__mask_value=0.5,
        masks__stripe_pairs=(2, 4),
    )
    table = papers.table("scadn/table2")
    lines = protocol.differences(system_of(tmp_path), table.protocol)
    for line in (
        "image size: 64 x 64 pixels; in the paper 512 x 512 pixels",
        "held-out normal images: 10%; in its authors' code 0%",
        "normal test images: the first 3; in its authors' code all",
        "value of masked pixels: 0.5; in the paper 0.0, in its authors' code 1.0",
        "generator width: 4; in its authors' code 64",
        "generator blocks: 1; in the paper 8",
        "pairs of stripes in a mask: 2, 4; in its authors' code 2, 4, 8",
    ):
        assert line in lines
    assert lines[0].startswith("training: 4 steps of 4 images, 0.889 epochs of 18")
    text = report.markdown(compare(tmp_path))
    assert "**Not a reproduction of scadn/table2. What differs:**" in text
    assert "; 2 held-out normal images; 3 normal and 3 anomalous test images." in text


def test_either_side_of_paper_and_code_is_no_difference(tmp_path):
    table = papers.table("scadn/table2")
    for preset in ("paper", "reference"):
        leave(tmp_path / preset, preset=preset)
        lines = protocol.differences(system_of(tmp_path / preset), table.protocol)
        assert not [line for line in lines if "masked pixels" in line]


# Measured results


def _measured(tmp_path, results, words=None):
    path = tmp_path / "torch.json"
    path.write_text(json.dumps({"protocol": words or {}, "results": results}))
    return measured.read(path)


def test_measured_results_by_seed(tmp_path):
    leave(tmp_path / "a", "bottle", 0, 0.8, data__test_normal_limit=3)
    torch = _measured(
        tmp_path,
        {
            "any name": [
                {"category": "bottle", "seed": 0, "image_auroc": 0.7, "size": 64},
                {"category": "bottle", "seed": 5, "image_auroc": 0.8, "steps": 400},
                {"category": "cable", "seed": 0, "image_auroc": 0.1},
                {"category": "bottle", "seed": 0, "image_auroc": 0, "method": "utad"},
            ],
            "mnist": [{"digit": 8, "seed": 0, "auc": 0.2}],
        },
        {"common": "Both.", "any name": "Ours.", "mnist": "Theirs."},
    )
    (block,) = compare(tmp_path / "a", torch=torch)
    row = rows_of(block)["bottle"]
    assert row.measured.value == pytest.approx(0.75)
    assert row.measured.seeds == (0, 5)
    assert row.measured_difference == pytest.approx(0.05)
    assert block.measured_words == ["Both.", "Ours."]
    assert "steps 4, there 400" in block.measured_differences
    assert "generator width 4, there 64" in block.measured_differences
    assert "generator blocks 1, there 8" in block.measured_differences
    for word in ("image size", "normal test images"):
        assert not any(word in line for line in block.measured_differences)
    assert "Both. Ours." in report.markdown([block])


def test_measured_digits_belong_to_mnist_alone(tmp_path):
    leave(tmp_path / "a", "8", dataset="mnist")
    leave(tmp_path / "b", "8", dataset="digits")
    torch = _measured(tmp_path, {"mnist": [{"digit": 8, "seed": 0, "auc": 0.2}]})
    mnist, digits = sorted(
        compare(tmp_path, torch=torch), key=lambda block: block.dataset == "digits"
    )
    assert rows_of(mnist)["8"].measured.value == 0.2
    assert rows_of(digits)["8"].measured is None
    assert digits.measured == ""


def test_measured_merges_belong_to_the_variants_that_differ_in_nothing_else(tmp_path):
    ablate(
        tmp_path / "a",
        {(name, 0): GOOD for name in ("S1", "mean", "full", "no_adversarial")},
    )
    entry = {"image_auroc": 0.7, "image_auroc_mean_merge": 0.6}
    torch = _measured(tmp_path, {"x": [{"category": "bottle", "seed": 0} | entry]})
    (block,) = compare(tmp_path / "a", torch=torch)
    rows = rows_of(block)
    assert rows["full"].measured.value == 0.7
    assert rows["mean"].measured.value == 0.6
    for name in ("S1", "no_adversarial", "max"):
        assert rows[name].measured is None


def test_measured_file_of_the_reference(shared, tmp_path):
    torch = measured.read(shared / "reference/measured_pytorch.json")
    leave(tmp_path / "a", "bottle", pixel={"auroc_per_image": 0.8})
    leave(tmp_path / "b", "8", dataset="mnist")
    image, pixel, mnist = compare(tmp_path, torch=torch)
    mean = (0.80556 + 0.84365 + 0.84603) / 3
    assert rows_of(image)["bottle"].measured.value == pytest.approx(mean)
    mean = (0.82599 + 0.82002 + 0.83432) / 3
    assert rows_of(pixel)["bottle"].measured.value == pytest.approx(mean)
    mean = (0.73996 + 0.80574) / 2
    assert rows_of(mnist)["8"].measured.value == pytest.approx(mean)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"results": {"a": [{"seed": 0}]}}', '{"results": [1]}']
)
def test_measured_file_that_is_none(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(errors.UserError, match=r"--measured=.*x\.json cannot be used"):
        measured.read(tmp_path / "x.json")
    with pytest.raises(errors.UserError, match=r"gone"):
        measured.read(tmp_path / "gone")


# What is written


@pytest.fixture
def blocks(tmp_path):
    leave(tmp_path / "b0", "bottle", 0, 0.8)
    leave(tmp_path / "b1", "bottle", 1, 0.9)
    ablate(tmp_path / "a", {("mean", 0): PERFECT, ("full", 0): GOOD, ("S1", 0): FAIR})
    return compare(tmp_path)


def test_files(tmp_path, blocks):
    folder = tmp_path / "out"
    report.write(blocks, [tmp_path / "late"], folder)
    assert {path.name for path in folder.iterdir()} == {
        "comparison.md",
        "comparison.csv",
        "comparison.json",
        "comparison.tex",
    }
    assert (folder / "comparison.md").read_text() == report.markdown(
        blocks, [tmp_path / "late"]
    )
    with (folder / "comparison.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    bottle = lines[0]
    assert (bottle["table"], bottle["category"]) == ("scadn/table2", "bottle")
    assert float(bottle["ours"]) == pytest.approx(0.85)
    assert float(bottle["ours_std"]) == pytest.approx(0.05 * 2**0.5)
    assert bottle["ours_seeds"] == "2"
    assert float(bottle["mean image"]) == 0.75
    assert float(bottle["difference"]) == pytest.approx(0.85 - 0.957)
    assert lines[1]["ours"] == ""
    (line,) = [line for line in lines if line["variant"] == "mean"]
    assert line["category"] == "bottle"
    assert float(line["change"]) == pytest.approx(1 / 9)
    saved = json.loads((folder / "comparison.json").read_text())
    assert saved["unfinished"] == [str(tmp_path / "late")]
    assert saved["blocks"][0]["table"] == "scadn/table2"
    assert saved["blocks"][0]["rows"][0]["published"] == 0.957
    assert saved["blocks"][0]["differences"] == blocks[0].differences
    assert saved["blocks"][1]["rows"][4]["change"]["p_values"].keys() == {"0"}


def test_markdown_of_both_kinds(blocks):
    text = report.markdown(blocks)
    (line,) = [line for line in text.splitlines() if line.startswith("| bottle")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    expected = "bottle,0.8500 ± 0.0707,2,0.957,-0.1070,0.7500,0.8500"
    assert cells == expected.split(",")
    (line,) = [line for line in text.splitlines() if line.startswith("| mean over")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[:3] == ["mean over scales", "1.0000", "1"]
    assert cells[3] == "1.000 to 1.000"
    assert cells[4] == "+0.1111"
    assert cells[7:] == ["0.8083", "-0.0100", "0.7500", "0.8500"]
    assert text.count("Yan et al.") == 2  # each table once, at the end


def test_published_numbers_keep_their_digits(tmp_path):
    leave(tmp_path, pixel={"auroc_per_image": 0.7})
    _, pixel = compare(tmp_path)
    lines = report.markdown([pixel]).splitlines()
    (zipper,) = [line for line in lines if line.startswith("| zipper")]
    assert "| 0.670 |" in zipper


def test_latex_rows(blocks):
    lines = report.latex(blocks).splitlines()
    assert lines[0] == "% SCADN on MVTec AD, image AUROC: tiny"
    assert any(line.startswith("% - image size: 64 x 64") for line in lines)
    header = lines.index(r"\hline") - 1
    assert lines[header].startswith(r"category & ours & seeds & paper & ours - paper &")
    assert lines[header + 2] == (
        r"bottle & $0.8500 \pm 0.0707$ & 2 & 0.957 & $-0.1070$ & 0.7500 & 0.8500 \\"
    )
    assert r"metal\_nut & not run & - & 0.624 & - & - & - \\" in lines


def test_latex_escapes():
    text = tables.latex(
        [{"a_b": r"50 % & {x} \ ~ ^", "c": -0.5}, {"c": 1}], ["a_b", "c"]
    )
    assert text == (
        "a\\_b & c \\\\\n\\hline\n"
        "50 \\% \\& \\{x\\} \\textbackslash{} \\textasciitilde{} \\textasciicircum{} & "
        "$-0.5000$ \\\\\n"
        "- & 1 \\\\\n"
    )


def test_picture(tmp_path, blocks):
    plots.draw(blocks, tmp_path / "out/x.png")
    with Image.open(tmp_path / "out/x.png") as picture:
        assert picture.width == 1320
        assert picture.height > 600
    bars, dots = (figure.Figure().add_subplot() for _ in range(2))
    plots._bars(blocks[0], bars)
    words = [text.get_text() for text in bars.texts]
    assert words == ["not run"] * 15
    assert [label.get_text() for label in bars.get_xticklabels()][::15] == [
        "bottle",
        "mean of 15",
    ]
    # One of ours, 16 of the paper, two trivial; and an empty one each for the legend.
    heights = [bar.get_height() for bar in bars.patches]
    assert sorted(height for height in heights if height)[-1] == 0.983
    assert sum(height > 0 for height in heights) == 1 + 16 + 2
    plots._dots(blocks[1], dots)
    assert [text.get_text() for text in dots.texts] == ["not run"] * 5
    assert "Not a reproduction of scadn/table4: training, " in plots._title(blocks[1])


def test_lace_has_no_category(tmp_path):
    leave(tmp_path, "", dataset="lace", name="lace")
    (block,) = compare(tmp_path)
    assert report.title(block) == "SCADN on lace, image AUROC: lace"
    assert block.rows[0].label == "lace"


def _command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "jax_scadn.compare", *map(str, arguments)],
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
    )


def test_command(tmp_path):
    leave(tmp_path / "runs/a", "bottle", 0, 0.8)
    leave(tmp_path / "runs/b", "bottle", 0, 0.9, training__steps=8)
    done = _command("runs/a", "runs/b", "--output=out", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("### SCADN on MVTec AD, image AUROC: tiny (") == 2
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {
        ".md",
        ".csv",
        ".json",
        ".tex",
        ".png",
    }


def test_command_on_a_directory_without_results(tmp_path):
    (tmp_path / "empty").mkdir()
    done = _command("empty", "--output=out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: empty holds no results; give directories")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
