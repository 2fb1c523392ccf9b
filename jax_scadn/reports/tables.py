"""Results as JSON, CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
import math
import numbers
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jax_scadn.runtime import files

# Texts to typeset as numbers, and characters that LaTeX would interpret.
_LATEX_NUMBER = re.compile(r"[-+]\d\S*|\S+ ± \S+")
_LATEX_ESCAPES = str.maketrans(
    {character: rf"\{character}" for character in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$"}
)


def markdown(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> str:
    """An aligned table, numbers to the right.

    Args:
      rows: a mapping per row; missing values, None and NaN are shown as '-'. Floats
        have 4 decimals, or 4 significant digits below 0.1.
      columns: keys to show, in order; None shows all, in the order of appearance.

    Returns:
      The lines, each ending with a line break; only the header if there are no rows.
    """
    columns = _columns(rows) if columns is None else list(columns)
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    header = [_cell(column) for column in columns]
    widths = [max(3, *map(len, texts)) for texts in zip(header, *cells, strict=True)]
    numeric = [
        any(_is_number(row.get(column)) for row in rows)
        and all(row.get(column) is None or _is_number(row[column]) for row in rows)
        for column in columns
    ]
    rule = [
        "-" * (width - 1) + ":" if right else "-" * width
        for width, right in zip(widths, numeric, strict=True)
    ]
    lines = []
    for texts in (header, rule, *cells):
        aligned = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, numeric, strict=True)
        ]
        lines.append(f"| {' | '.join(aligned)} |\n")
    return "".join(lines)


def latex(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None
) -> str:
    """Rows of a tabular: the header, a line, and the rows.

    Args:
      rows, columns: as in `markdown`.

    Returns:
      The lines, each ending with a line break.
    """
    columns = _columns(rows) if columns is None else list(columns)
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    lines = [
        rf"{' & '.join(map(_latex_cell, texts))} \\" for texts in (columns, *cells)
    ]
    return "\n".join([lines[0], r"\hline", *lines[1:]]) + "\n"


def write(
    results: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    directory: pathlib.Path,
    stem: str,
    text: str | None = None,
) -> None:
    """Writes `<stem>.md`, `<stem>.csv` and, last, `<stem>.json` into `directory`.

    Writes are atomic, and the JSON exists only if the other two do.

    Args:
      results: nested dicts, lists, NumPy arrays and scalars; NaN and infinities
        become null.
      rows: the table of the CSV (full precision, empty where None or NaN) and of the
        Markdown (`markdown`).
      directory: created if it does not exist.
      stem: of the three file names.
      text: of the Markdown; None for the table of `rows`.

    Raises:
      TypeError: a result is not JSON-serialisable.
    """
    text = markdown(rows) if text is None else text
    files.write_text(directory / f"{stem}.md", text)
    files.write_text(directory / f"{stem}.csv", _csv(rows))
    document = json.dumps(_plain(results), indent=2, allow_nan=False) + "\n"
    files.write_text(directory / f"{stem}.json", document)


def _columns(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(column for row in rows for column in row))


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_missing(value: Any) -> bool:
    return value is None or (_is_number(value) and math.isnan(value))


def _cell(value: Any) -> str:
    if _is_missing(value):
        return "-"
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        return f"{value:.4f}" if value == 0 or abs(value) >= 0.1 else f"{value:.4g}"
    return str(value).replace("|", r"\|").replace("\n", " ")


def _latex_cell(text: str) -> str:
    if _LATEX_NUMBER.fullmatch(text):
        text = text.replace("±", r"\pm")
        return f"${text}$"
    return text.translate(_LATEX_ESCAPES)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(rows), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({k: "" if _is_missing(v) else v for k, v in row.items()})
    return text.getvalue()


def _plain(value: Any) -> Any:
    """The value in JSON types, with None for numbers that are not finite."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
