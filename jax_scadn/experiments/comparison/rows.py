"""Rows and blocks of a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jax_scadn.data import labelled
from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import means, protocol, runs, scores
from jax_scadn.experiments.comparison import measured as measured_lib


@dataclasses.dataclass(frozen=True)
class Row:
    """A category, the mean of all, or a variant; None where a number is unknown.

    Attributes:
      key: as in the table.
      label: for display.
      ours: mean over seeds; None if not run.
      interval: 95 %, of `ours` over test images.
      published, published_deviation: of the paper.
      baselines: by name, on the same split.
      measured: of the authors' code.
      change: of a variant from the full model.
      published_change: the same in the paper.
    """

    key: str
    label: str
    ours: means.Mean | None
    interval: tuple[float, float] | None
    published: float | None
    published_deviation: float | None
    baselines: Mapping[str, means.Mean | None]
    measured: means.Mean | None
    change: scores.Change | None = None
    published_change: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the published number."""
        return difference(self.ours and self.ours.value, self.published)

    @property
    def measured_difference(self) -> float | None:
        """Ours minus the measured number."""
        return difference(
            self.ours and self.ours.value, self.measured and self.measured.value
        )


@dataclasses.dataclass(frozen=True)
class Block:
    """One protocol of ours, compared with one table in one metric.

    Attributes:
      name: of the system or the ablation.
      method: such as 'SCADN'.
      dataset: key, see `papers.DATASETS`.
      category: of an ablation; None where the rows are categories.
      full: of an ablation, the variant that the others are compared with.
      metric: key into results, such as 'image.auroc'.
      table: None if nothing is published.
      baselines: names, in the order of the results.
      rows: in the order of the table.
      ours: description of our protocol.
      coverage: descriptions of the available categories, seeds and variants.
      differences: from the table's protocol, if that is known for our method.
      measured: file of measured results, '' without.
      measured_protocol: descriptions of their protocol.
      measured_differences: from their protocol.
    """

    name: str
    method: str
    dataset: str
    category: str | None
    full: str | None
    metric: str
    table: papers.Table | None
    baselines: tuple[str, ...]
    rows: Sequence[Row]
    ours: str
    coverage: Sequence[str]
    differences: Sequence[str]
    measured: str = ""
    measured_protocol: Sequence[str] = ()
    measured_differences: Sequence[str] = ()

    @property
    def is_ablation(self) -> bool:
        """Whether the rows are variants."""
        return self.category is not None

    @property
    def is_proposed(self) -> bool:
        """Whether the table's protocol is that of our method."""
        return self.table is not None and self.table.method == self.method


def row(
    system: runs.System | None,
    key: str,
    label: str,
    categories: Sequence[str],
    metric: str,
    published: tuple[float | None, float | None],
    measured: measured_lib.Measured | None,
    **more,
) -> Row:
    """A row of the mean over some categories, or of a single one.

    Args:
      system: None if not run.
      key, label: see `Row`.
      categories: all must have been run.
      metric: key into results.
      published: number and standard deviation.
      measured: of the authors' code, or None.
      **more: other fields of the row.
    """

    def mean(values) -> means.Mean | None:
        by_category = {category: values(category) for category in categories}
        return means.over_categories(by_category, categories)

    ours, interval, baselines, theirs = None, None, {}, None
    if system:
        ours = mean(lambda c: system.values(c, system.method, metric))
        baselines = {
            name: mean(lambda c, name=name: system.values(c, name, metric))
            for name in system.baselines
        }
        if len(categories) == 1 and metric == scores.IMAGE_AUROC:
            interval = scores.interval(system, categories[0])
        if measured:
            theirs = mean(lambda c: measured.values(system, c, metric))
    return Row(key, label, ours, interval, *published, baselines, theirs, **more)


def measured_fields(
    system: runs.System,
    measured: measured_lib.Measured | None,
    varied: Collection[str] = (),
) -> dict[str, Any]:
    """The fields of a block about measured results; {} without such results.

    Args:
      system: ours.
      measured: of the authors' code, or None.
      varied: settings that an ablation varies; they are not compared.
    """
    if not measured or not measured.entries(system):
        return {}
    return {
        "measured": measured.name,
        "measured_protocol": measured.protocol(system),
        "measured_differences": protocol.measured_differences(system, measured, varied),
    }


def expected_categories(dataset: str) -> tuple[str, ...]:
    """All categories of a known data set; () for others."""
    return papers.categories(dataset) or labelled.CLASSES.get(dataset, ())


def difference(first: float | None, second: float | None) -> float | None:
    """None if one of them is unknown."""
    return None if first is None or second is None else first - second


def is_ablation(table: papers.Table) -> bool:
    """Whether the rows of a table are variants of one method."""
    return table.row_axis == "variant"
