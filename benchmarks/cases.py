"""Timed cases: a method's training step or its scoring, at a size and batch size."""

from __future__ import annotations

import dataclasses
from typing import Any

from jax_scadn import methods
from jax_scadn.settings import resolve

COMPARED_STEPS = 2


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
      task: 'scadn-step', 'scadn-score', 'impression-step', 'expert-step', 'utad-score'
        or, for the machine's peak, 'matrix-product'.
      size: side of the images in pixels, or of the matrices.
      batch: images in a call.
      changes: fields of the settings and their values, where they differ from those
        of full-width networks with the preset `reference`.
    """

    task: str
    size: int
    batch: int
    changes: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        return f"{self.task}-{self.size}x{self.batch}"

    @property
    def is_step(self) -> bool:
        return self.task.endswith("-step")

    def tolerance(self, output: str, call: int) -> tuple[float, str]:
        """Allowed difference of an output of that call, and its kind.

        Kinds are those of `jax_scadn.parity.report`. In each framework some of the
        millions of ReLUs round to the other side, which shows in gradients. After
        Adam's first step, which is the sign of the gradient, it also shows in losses.
        """
        if not self.is_step:
            return 1e-3, "max"
        first = 1e-3 if output.endswith("gradient_norm") else 1e-4
        return (2e-2 if call else first), "rel"

    @property
    def settings(self):
        """The resolved settings."""
        utad = self.task in ("impression-step", "expert-step", "utad-score")
        config = methods.default("utad" if utad else "scadn")
        config.data.size = self.size
        config.scoring.images_per_call = self.batch
        # IE-Net's stage does not accept a batch of one image.
        budget = {
            "scadn-step": "training",
            "impression-step": "impression.training",
            "expert-step": "expert.training",
        }.get(self.task)
        if budget:
            resolve.get(config, budget).batch_size = self.batch
        for field, value in self.changes:
            resolve.put(config, field, value)
        return methods.resolve(config)


def from_json(values: dict[str, Any]) -> Case:
    """The inverse of `dataclasses.asdict`, after a round trip through JSON."""
    changes = tuple((field, _tuple(value)) for field, value in values["changes"])
    return Case(**(values | {"changes": changes}))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


CASES = (
    Case("matrix-product", 2048, 1),
    *(
        Case("scadn-step", size, batch)
        for size, batch in ((32, 64), (64, 16), (128, 4), (256, 2))
    ),
    *(Case("scadn-score", size, batch) for batch in (1, 8) for size in (128, 256, 512)),
    Case("impression-step", 256, 4),
    Case("expert-step", 256, 1),
    Case("utad-score", 256, 1),
    Case("utad-score", 256, 8),
)
