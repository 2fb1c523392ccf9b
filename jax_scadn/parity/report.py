"""Comparison of quantities with PyTorch's."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Row:
    """One quantity, compared with PyTorch's.

    Attributes:
      name: of the quantity.
      ours: its value, or its mean.
      torch: PyTorch's.
      difference: the largest difference, absolute or relative according to `kind`.
      tolerance: the largest allowed difference.
      kind: 'abs', 'rel', 'max' (absolute over PyTorch's largest magnitude) or 'L2'
        (norm of the difference over PyTorch's norm).
    """

    name: str
    ours: float
    torch: float
    difference: float
    tolerance: float
    kind: str

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance  # False for NaN

    def __str__(self) -> str:
        verdict = "pass" if self.passed else "FAIL"
        return (
            f"{verdict}  {self.name:<52} {self.ours:>13.6g} {self.torch:>13.6g} "
            f"{self.difference:>10.2e} {self.tolerance:>8.0e} {self.kind}"
        )


def compare(name: str, ours, torch, tolerance: float, kind: str) -> Row:
    """Compares two arrays.

    Raises:
      ValueError: the shapes differ.
    """
    ours, torch = np.asarray(ours, np.float64), np.asarray(torch, np.float64)
    if ours.shape != torch.shape:
        raise ValueError(f"{name}: ours {ours.shape} != PyTorch's {torch.shape}")
    gap = np.abs(ours - torch)
    if kind == "abs":
        difference = gap.max()
    elif kind == "rel":
        difference = np.max(gap / np.abs(torch))
    elif kind == "max":
        difference = gap.max() / np.abs(torch).max()
    else:
        difference = np.linalg.norm(gap) / np.linalg.norm(torch)
    return Row(name, ours.mean(), torch.mean(), float(difference), tolerance, kind)


def text(rows: Sequence[Row]) -> str:
    """The rows as a table, and the number of rows that pass."""
    header = f"      {'quantity':<52} {'ours':>13} {'PyTorch':>13} difference  allowed"
    passed = sum(row.passed for row in rows)
    verdict = f"{passed} of {len(rows)} quantities pass"
    return "\n".join([header, *map(str, rows), verdict])
