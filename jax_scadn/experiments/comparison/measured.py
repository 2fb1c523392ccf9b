"""Measured results of the authors' PyTorch code, or of the user's own."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

from jax_scadn.experiments.comparison import runs
from jax_scadn.runtime import errors

# (metric, merge of scales) -> names of the metric in the file.
_NAMES = {
    ("image.auroc", "max_mu"): ("image_auroc", "auc"),
    ("image.auroc", "max"): ("image_auroc_no_mu", "auc_no_mu"),
    ("image.auroc", "mean"): ("image_auroc_mean_merge", "auc_mean_scales"),
    ("pixel.auroc_per_image", "max_mu"): ("pixel_auroc_mean_over_images",),
    ("pixel.auroc_pooled", "max_mu"): ("pixel_auroc_pooled",),
    ("pixel.iou", "max_mu"): ("pixel_iou",),
}
_METHOD = "SCADN"  # default of entries


@dataclasses.dataclass(frozen=True)
class Measured:
    """Results by group; each entry is one training.

    A group is named after its data set; with categories of MVTec AD, its name does not
    matter.

    Attributes:
      name: of the file.
      descriptions: protocol of each group, and 'common'.
      groups: entries with 'category' (or 'digit'), 'seed' and metrics; optional are
        'method', 'size', 'steps', 'batch' and 'n_test'.
    """

    name: str
    descriptions: Mapping[str, str]
    groups: Mapping[str, list[Mapping[str, Any]]]

    def entries(self, system: runs.System) -> list[Mapping[str, Any]]:
        """Entries of the method and the data set of a system."""
        return [
            entry
            for name, entries in self.groups.items()
            for entry in entries
            if _belongs(entry, name, system)
        ]

    def protocol(self, system: runs.System) -> list[str]:
        """Descriptions of the groups of `entries`."""
        groups = [
            name
            for name, entries in self.groups.items()
            if any(_belongs(entry, name, system) for entry in entries)
        ]
        return [
            self.descriptions[name]
            for name in ["common", *groups]
            if name in self.descriptions
        ]

    def values(
        self, system: runs.System, category: str, metric: str
    ) -> dict[int, float]:
        """By seed; {} if nothing was measured."""
        merge = system.settings.get("scoring.merge", "max_mu")
        return {
            entry["seed"]: entry[name]
            for entry in self.entries(system)
            for name in _NAMES.get((metric, merge), ())
            if name in entry and _category(entry) == category
        }


def read(path: pathlib.Path) -> Measured:
    """Reads a file in the format of measured_pytorch.json.

    Raises:
      errors.UserError: it is missing or has another format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        groups, descriptions = content["results"], content.get("protocol", {})
        for entry in (entry for entries in groups.values() for entry in entries):
            _category(entry), entry["seed"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"--measured={path} cannot be used ({type(error).__name__}: {error}); it "
            f"must be JSON with results: group: [entries with category and seed]"
        ) from None
    return Measured(path.name, descriptions, groups)


def _category(entry: Mapping[str, Any]) -> str:
    return str(entry["category"] if "category" in entry else entry["digit"])


def _belongs(entry: Mapping[str, Any], group: str, system: runs.System) -> bool:
    dataset = "mvtec_ad" if _category(entry) in runs.MVTEC else group
    method = entry.get("method", _METHOD)
    return dataset == system.dataset and method.lower() == system.method.lower()
