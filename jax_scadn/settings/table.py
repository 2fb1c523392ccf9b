"""The text of docs/settings.md: every setting of every method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jax_scadn.settings import base
from jax_scadn.settings.fields import Field

_HEAD = """\
# Settings

Written by `python -m jax_scadn.list_settings --output=docs/settings.md`.

Each is a flag `--config.NAME=VALUE`, and a field of what `get_config()` in a file of
`configs/` returns. No number may be NaN or infinite. What a setting is seen by:

- training: other values give other weights. Variants of an ablation that differ in
  nothing that training sees share one training.
- scoring: other values give other maps and scores from the same weights.
- evaluation: other values give other results from the same scores.
- machine: the results are the same; speed, memory or output on the way are not.

A run resumes only with the settings that it began with, except for those that only the
machine sees and those marked \\*.
"""
_COLUMNS = ("name", "default", "allowed", "what it is", "seen by")


def markdown(methods: Mapping[str, Mapping[str, Field]]) -> str:
    """The text.

    Args:
      methods: all fields of each method by their full names.
    """
    sections = [_HEAD, _section("All methods", base.FIELDS)]
    for method, fields in methods.items():
        own = {k: field for k, field in fields.items() if field != base.FIELDS.get(k)}
        sections.append(_section(method, own))
    return "\n".join(sections)


def _section(title: str, fields: Mapping[str, Field]) -> str:
    rows = [_COLUMNS, ("---",) * len(_COLUMNS)]
    rows += [_row(name, field) for name, field in fields.items()]
    return f"## {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(name: str, field: Field) -> tuple[str, ...]:
    star = r" \*" if field.resumable else ""
    text = field.text.replace("|", r"\|").replace("*", r"\*")
    return (f"`{name}`", _default(name, field), _allowed(field), text,
            field.seen_by + star)  # fmt: skip


def _default(name: str, field: Field) -> str:
    if name in ("name", "method"):
        return "the method's name"
    return "of the preset" if field.default is None else _value(field.default)


def _allowed(field: Field) -> str:
    if field.choices:
        return ", ".join(map(_value, field.choices))
    if field.is_path:
        return "path"
    length = f"{field.length} " if field.length else ""
    kind = {int: "integer", float: "number", bool: "True, False"}.get(field.type, "")
    if field.is_sequence and kind:
        kind = f"{length}{kind}s"
    return " ".join(filter(None, (kind, field.limits())))


def _value(value: Any) -> str:
    return f"`{value!r}`"
