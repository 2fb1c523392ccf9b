"""Tables and plots of comparisons, and the command."""

import csv
import json
import subprocess
import sys

import comparison_runs
import conftest
import pytest
from matplotlib import figure
from PIL import Image

from jax_scadn.experiments.comparison import plots, report
from jax_scadn.reports import tables

ROOT = conftest.ROOT


@pytest.fixture
def blocks(tmp_path):
    comparison_runs.write_run(tmp_path / "b0", "bottle", 0, 0.8)
    comparison_runs.write_run(tmp_path / "b1", "bottle", 1, 0.9)
    comparison_runs.write_ablation(
        tmp_path / "a",
        {
            ("mean", 0): comparison_runs.PERFECT,
            ("full", 0): comparison_runs.GOOD,
            ("S1", 0): comparison_runs.FAIR,
        },
    )
    return comparison_runs.compare(tmp_path)


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
    comparison_runs.write_run(tmp_path, pixel={"auroc_per_image": 0.7})
    _, pixel = comparison_runs.compare(tmp_path)
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


def test_plot(tmp_path, blocks):
    plots.draw(blocks, tmp_path / "out/x.png")
    with Image.open(tmp_path / "out/x.png") as picture:
        assert picture.width == 1320
        assert picture.height > 600
    bars, dots = (figure.Figure().add_subplot() for _ in range(2))
    plots._bars(blocks[0], bars)
    assert [text.get_text() for text in bars.texts] == ["not run"] * 15
    assert [label.get_text() for label in bars.get_xticklabels()][::15] == [
        "bottle",
        "mean of 15",
    ]
    # One of ours, 16 of the paper, two baselines; and an empty one each for the legend.
    heights = [bar.get_height() for bar in bars.patches]
    assert sorted(height for height in heights if height)[-1] == 0.983
    assert sum(height > 0 for height in heights) == 1 + 16 + 2
    plots._dots(blocks[1], dots)
    assert [text.get_text() for text in dots.texts] == ["not run"] * 5
    assert "Not a reproduction of scadn/table4: training, " in plots._title(blocks[1])


def test_lace_has_no_category(tmp_path):
    comparison_runs.write_run(tmp_path, "", dataset="lace", name="lace")
    (block,) = comparison_runs.compare(tmp_path)
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
    comparison_runs.write_run(tmp_path / "runs/a", "bottle", 0, 0.8)
    comparison_runs.write_run(tmp_path / "runs/b", "bottle", 0, 0.9, training__steps=8)
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
    assert done.stderr.startswith("error: empty has no results; give directories")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
