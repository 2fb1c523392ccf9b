"""The declaration of one setting.

What else is known of a setting follows from it: which values are allowed, what may
change when a run resumes, which variants of an ablation share a training, what tells
the runs of a comparison apart and how it words them, and the table of all settings.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

SEEN_BY = ("training", "scoring", "evaluation", "machine")


def _plain(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


WRITERS: Mapping[str, Callable[[Any], str]] = {
    "plain": _plain,
    "pixels": lambda size: f"{size} x {size} pixels",
    "percent": lambda share: f"{share:.0%}",
    "first": lambda count: f"the first {count}" if count else "all",
}


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting: a scalar, or a sequence whose items the limits are for.

    Attributes:
      default: None: the value comes from the preset.
      text: one line, with the unit.
      type: of the value, or of a sequence's items; needed where the default does not
        tell it, which is where it is None or ().
      choices: the only values that are allowed.
      least, most: inclusive limits of numbers.
      above, below: exclusive limits of numbers.
      length: of a sequence; None = any.
      words: what `compare` calls it; '' = its name in backticks.
      write: how `compare` writes a value, a key of `WRITERS`.
      seen_by: 'training': other values give other weights; 'scoring': other maps and
        scores from the same weights; 'evaluation': other results from the same scores;
        'machine': the same results with other speed, memory or output on the way.
      resumable: may change when a run resumes although it is not the machine's.
      compared: runs that differ in it are different systems to `compare`; not those
        that differ in a seed, a category or the place of a file.
      is_path: a file or folder of this machine, in which `~` is replaced.
    """

    default: Any
    text: str
    _: dataclasses.KW_ONLY
    type: type | None = None
    choices: tuple[Any, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    length: int | None = None
    words: str = ""
    write: str = "plain"
    seen_by: str = "training"
    resumable: bool = False
    compared: bool = True
    is_path: bool = False

    def __post_init__(self):
        if self.type is None:
            first = self.default
            if self.is_sequence:
                first = self.default[0] if self.default else None
            if first is None:
                raise ValueError(f"{self.text!r}: the default needs a type")
            object.__setattr__(self, "type", type(first))
        if self.seen_by not in SEEN_BY:
            raise ValueError(f"{self.text!r}: seen_by={self.seen_by!r}")
        if self.write not in WRITERS:
            raise ValueError(f"{self.text!r}: write={self.write!r}")

    @property
    def is_sequence(self) -> bool:
        return isinstance(self.default, tuple)

    @property
    def may_change(self) -> bool:
        """Whether a run may resume with another value."""
        return self.resumable or self.seen_by == "machine"

    @property
    def tells_runs_apart(self) -> bool:
        """Whether runs that differ in it are different systems to `compare`."""
        return self.compared and self.seen_by != "machine"

    def limits(self) -> str:
        """Which numbers are allowed, such as 'in [0, 1)' or 'at least 1'; '' = all."""
        low = self.least if self.above is None else self.above
        high = self.most if self.below is None else self.below
        if low is not None and high is not None:
            start = "[" if self.above is None else "("
            end = "]" if self.below is None else ")"
            return f"in {start}{low}, {high}{end}"
        if low is not None:
            return f"at least {low}" if self.above is None else f"above {low}"
        if high is not None:
            return f"at most {high}" if self.below is None else f"below {high}"
        return ""

    def problem(self, value: Any) -> str:
        """What is wrong with a value, such as 'must be at least 1'; '' = nothing."""
        if value is None:
            return "must be set"
        if not self.is_sequence:
            return self._problem_of_item(value, "a number", "an integer")
        if not isinstance(value, (tuple, list)):
            return "must be a sequence"
        if self.length is not None and len(value) != self.length:
            return f"must have {self.length} items"
        problems = (self._problem_of_item(v, "numbers", "integers") for v in value)
        return next(filter(None, problems), "")

    def _problem_of_item(self, value: Any, number: str, integer: str) -> str:
        if self.type in (int, float):
            allowed = int if self.type is int else (int, float)
            if isinstance(value, bool) or not isinstance(value, allowed):
                return f"must be {integer if self.type is int else number}"
            if not math.isfinite(value):
                return "must be finite"
        elif not isinstance(value, self.type):
            return f"must be of type {self.type.__name__}"
        if self.choices and value not in self.choices:
            choices = ", ".join(str(choice) or "''" for choice in self.choices)
            return f"must be one of: {choices}"
        return "" if self._in_limits(value) else f"must be {self.limits()}"

    def _in_limits(self, value: Any) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def written(self, value: Any) -> str:
        """A value in the words of `compare`."""
        return WRITERS[self.write](value)


def merge(shared: Mapping[str, Field], own: Mapping[str, Field]) -> dict[str, Field]:
    """Fields of both by name, the shared ones first.

    A field that is declared again keeps the words of the shared one if it has none.
    """
    merged = dict(shared)
    for name, field in own.items():
        if name in shared and not field.words:
            before = shared[name]
            field = dataclasses.replace(field, words=before.words, write=before.write)
        merged[name] = field
    return merged
