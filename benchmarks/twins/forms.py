"""Forms in which PyTorch can run a workload; the fastest one counts."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Form:
    """One form.

    Attributes:
      channels_last: whether kernels and images have their channels last in memory.
      compiled: whether `torch.compile` compiles the losses or the scoring.
      at_once: pairs of an image and a mask in a call of SCADN's generator.
    """

    channels_last: bool = False
    compiled: bool = False
    at_once: int = 0

    @property
    def name(self) -> str:
        words = ["compiled" if self.compiled else "eager"]
        words += ["channels_last"] * self.channels_last
        words += [f"{self.at_once} at once"] * bool(self.at_once)
        return " ".join(words)


def of(task: str) -> tuple[Form, ...]:
    """All forms of a task, see `benchmarks.cases.Case`."""
    if task == "matrix-product":
        return (Form(),)
    layouts = [
        Form(last, compiled) for compiled in (False, True) for last in (False, True)
    ]
    if task != "scadn-score":
        return tuple(layouts)
    chunks = [dataclasses.replace(form, at_once=4) for form in layouts]
    return (*chunks, Form(True, False, 1), Form(True, False, 12))
