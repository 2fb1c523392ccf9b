"""Tables as text, and the three files of results."""

import json
import math
import pathlib

import numpy as np
import pytest

from jax_scadn.reports import tables


def test_markdown_aligns_and_rounds():
    rows = [
        {"category": "bottle", "auroc": 0.80556, "images": 83},
        {"category": "cable|x", "auroc": float("nan"), "images": None},
        {"category": "mean", "auroc": np.float32(1), "note": "a\nb"},
    ]
    assert tables.markdown(rows) == (
        "| category |  auroc | images | note |\n"
        "| -------- | -----: | -----: | ---- |\n"
        "| bottle   | 0.8056 |     83 | -    |\n"
        "| cable\\|x |      - |      - | -    |\n"
        "| mean     | 1.0000 |      - | a b  |\n"
    )


def test_markdown_shows_the_chosen_columns_in_order():
    text = tables.markdown([{"a": 1, "b": True, "c": 3}], ["c", "b"])
    assert text == "|   c | b    |\n| --: | ---- |\n|   3 | True |\n"


def test_markdown_without_rows_is_a_header():
    assert tables.markdown([], ["auroc"]) == "| auroc |\n| ----- |\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (0.5, "0.5000"),
        (-0.123456, "-0.1235"),
        (0.00177123, "0.001771"),
        (12345678, "12345678"),
        (None, "-"),
        (np.float64("nan"), "-"),
        (math.inf, "inf"),
    ],
)
def test_numbers_in_markdown(value, text):
    assert tables.markdown([{"x": value}]).splitlines()[2].strip("| ") == text


def test_write_creates_three_files(tmp_path):
    results = {
        "auroc": np.float32(0.5),
        "missing": float("nan"),
        "infinite": np.inf,
        "curve": np.array([0.0, np.nan]),
        "nested": {"pair": (np.int64(1), None), np.int64(3): pathlib.Path("a/b")},
    }
    rows = [
        {"category": "a, b", "auroc": 1 / 3},
        {"category": "c", "auroc": float("nan"), "images": 2},
    ]
    tables.write(results, rows, tmp_path / "new", "results")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        "results.json",
        "results.csv",
        "results.md",
    }
    assert json.loads((tmp_path / "new/results.json").read_text()) == {
        "auroc": 0.5,
        "missing": None,
        "infinite": None,
        "curve": [0.0, None],
        "nested": {"pair": [1, None], "3": "a/b"},
    }
    assert (tmp_path / "new/results.csv").read_text() == (
        'category,auroc,images\n"a, b",0.3333333333333333,\nc,,2\n'
    )
    assert (tmp_path / "new/results.md").read_text() == tables.markdown(rows)


def test_a_failed_write_keeps_the_old_json(tmp_path):
    tables.write({"auroc": 1}, [], tmp_path, "results")
    with pytest.raises(TypeError):
        tables.write({"auroc": object()}, [], tmp_path, "results")
    assert json.loads((tmp_path / "results.json").read_text()) == {"auroc": 1}


def test_names_that_are_not_utf8_can_be_written(tmp_path):
    name = b"br\xfcck".decode("utf-8", "surrogateescape")
    tables.write({name: 1}, [{"name": name}], tmp_path, "results")
    assert r"br\udcfcck" in (tmp_path / "results.md").read_text()
