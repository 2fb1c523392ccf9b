"""Comparisons with measured results of the authors' code."""

import comparison_runs
import pytest

from jax_scadn.experiments.comparison import measured, report
from jax_scadn.runtime import errors


def test_measured_results_by_seed(tmp_path):
    comparison_runs.write_run(
        tmp_path / "a", "bottle", 0, 0.8, data__test_normal_limit=3
    )
    torch = comparison_runs.measured(
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
    (block,) = comparison_runs.compare(tmp_path / "a", torch=torch)
    row = comparison_runs.rows_of(block)["bottle"]
    assert row.measured.value == pytest.approx(0.75)
    assert row.measured.seeds == (0, 5)
    assert row.measured_difference == pytest.approx(0.05)
    assert block.measured_protocol == ["Both.", "Ours."]
    assert "steps 4, in theirs 400" in block.measured_differences
    assert "generator width 4, in theirs 64" in block.measured_differences
    assert "generator blocks 1, in theirs 8" in block.measured_differences
    for word in ("image size", "normal test images"):
        assert not any(word in line for line in block.measured_differences)
    assert "Both. Ours." in report.markdown([block])


def test_measured_digits_belong_to_mnist_only(tmp_path):
    comparison_runs.write_run(tmp_path / "a", "8", dataset="mnist")
    comparison_runs.write_run(tmp_path / "b", "8", dataset="digits")
    torch = comparison_runs.measured(
        tmp_path, {"mnist": [{"digit": 8, "seed": 0, "auc": 0.2}]}
    )
    mnist, digits = sorted(
        comparison_runs.compare(tmp_path, torch=torch),
        key=lambda block: block.dataset == "digits",
    )
    assert comparison_runs.rows_of(mnist)["8"].measured.value == 0.2
    assert comparison_runs.rows_of(digits)["8"].measured is None
    assert digits.measured == ""


def test_measured_merges_belong_to_the_variants_that_differ_in_nothing_else(tmp_path):
    comparison_runs.write_ablation(
        tmp_path / "a",
        {
            (name, 0): comparison_runs.GOOD
            for name in ("S1", "mean", "full", "no_adversarial")
        },
    )
    entry = {"image_auroc": 0.7, "image_auroc_mean_merge": 0.6}
    torch = comparison_runs.measured(
        tmp_path, {"x": [{"category": "bottle", "seed": 0} | entry]}
    )
    (block,) = comparison_runs.compare(tmp_path / "a", torch=torch)
    rows = comparison_runs.rows_of(block)
    assert rows["full"].measured.value == 0.7
    assert rows["mean"].measured.value == 0.6
    for name in ("S1", "no_adversarial", "max"):
        assert rows[name].measured is None


def test_measured_file_of_the_reference(shared, tmp_path):
    torch = measured.read(shared / "reference/measured_pytorch.json")
    comparison_runs.write_run(tmp_path / "a", "bottle", pixel={"auroc_per_image": 0.8})
    comparison_runs.write_run(tmp_path / "b", "8", dataset="mnist")
    image, pixel, mnist = comparison_runs.compare(tmp_path, torch=torch)
    mean = (0.80556 + 0.84365 + 0.84603) / 3
    assert comparison_runs.rows_of(image)["bottle"].measured.value == pytest.approx(
        mean
    )
    mean = (0.82599 + 0.82002 + 0.83432) / 3
    assert comparison_runs.rows_of(pixel)["bottle"].measured.value == pytest.approx(
        mean
    )
    mean = (0.73996 + 0.80574) / 2
    assert comparison_runs.rows_of(mnist)["8"].measured.value == pytest.approx(mean)


@pytest.mark.parametrize(
    "text", ["{", "{}", '{"results": {"a": [{"seed": 0}]}}', '{"results": [1]}']
)
def test_file_in_another_format(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(errors.UserError, match=r"--measured=.*x\.json cannot be used"):
        measured.read(tmp_path / "x.json")
    with pytest.raises(errors.UserError, match=r"gone"):
        measured.read(tmp_path / "gone")
