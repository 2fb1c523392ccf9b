"""Finished runs: where they lie, and which are seeds and categories of one system."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jax_scadn import methods
from jax_scadn.data import labelled
from jax_scadn.experiments import papers
from jax_scadn.runtime import errors
from jax_scadn.settings import resolve
from jax_scadn.settings.fields import Field

CONFIG, ABLATION = "config.json", "ablation.json"
EVALUATION = "evaluation"
RESULTS = pathlib.PurePath(EVALUATION, "results.json")
MVTEC = papers.table("scadn/table2").categories

_KEYS = ("name", "category", "method", "seed", "images", "detectors")  # of results
_ALL = "all"  # kinds of defects together
_DEPTH = 4  # of folders that are searched: as in runs/<name>/<category>/seed_<n>


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained and evaluated category.

    Attributes:
      path: its work directory.
      settings: all of them by their full name, such as 'data.size'.
      results: what `evaluation.evaluate` returned.
      ablation: what is common to an ablation of settings; '' outside of one.
      variant: of that ablation, or ''.
    """

    path: pathlib.Path
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    ablation: str = ""
    variant: str = ""

    @property
    def category(self) -> str:
        return self.results["category"]

    @property
    def seed(self) -> int:
        return self.results["seed"]

    @property
    def fields(self) -> Mapping[str, Field]:
        """The declarations of `settings`."""
        return methods.fields(self.settings["method"])

    @property
    def method(self) -> str:
        """As tables and results name it, such as 'SCADN'."""
        return self.results["method"].upper()

    @property
    def dataset(self) -> str:
        """A key of `papers.DATASETS` where it is one of those."""
        name = self.results.get("dataset") or _source(self.settings)
        return "mvtec_ad" if name == "folder" and self.category in MVTEC else name

    def value(self, detector: str, metric: str) -> float | None:
        """A metric over all test images, such as 'image.auroc'; None if unknown."""
        kind, name = metric.split(".")
        values = self.results["detectors"][detector][_ALL][kind]
        return values.get(name) if values else None


@dataclasses.dataclass(frozen=True)
class System:
    """One method with one set of settings, on the categories of one data set.

    Attributes:
      name: of its experiment; with what sets it apart from others of that name.
      runs: by category and seed, both in order.
    """

    name: str
    runs: Mapping[str, Mapping[int, Run]]

    @property
    def first(self) -> Run:
        """A run that stands for what all have in common."""
        return next(iter(next(iter(self.runs.values())).values()))

    @property
    def dataset(self) -> str:
        return self.first.dataset

    @property
    def settings(self) -> Mapping[str, Any]:
        return self.first.settings

    @property
    def method(self) -> str:
        return self.first.method

    @property
    def trivial(self) -> tuple[str, ...]:
        """Names of the detectors beside the trained one."""
        return tuple(d for d in self.first.results["detectors"] if d != self.method)

    def values(self, category: str, detector: str, metric: str) -> dict[int, float]:
        """By seed, where they are known."""
        runs = self.runs.get(category, {})
        values = {seed: run.value(detector, metric) for seed, run in runs.items()}
        return {seed: value for seed, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Variants of settings that were declared together, on one data set.

    Attributes:
      variants: name -> the settings that it changes, in the order of declaration.
      seeds: that were asked for.
      systems: by variant, where there are results.
    """

    variants: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    systems: Mapping[str, System]

    @property
    def first(self) -> Run:
        """A run that stands for what all have in common."""
        return next(iter(self.systems.values())).first


@dataclasses.dataclass(frozen=True)
class Found:
    """What some directories hold.

    Attributes:
      systems: of runs that belong to no ablation of settings.
      ablations: of settings.
      unfinished: runs without results.
    """

    systems: tuple[System, ...]
    ablations: tuple[Ablation, ...]
    unfinished: tuple[pathlib.Path, ...]


def find(folders: Sequence[pathlib.Path]) -> Found:
    """All runs in the directories, grouped.

    Runs whose settings differ in category and seed alone are one system; so is an
    ablation whose variants differ in nothing else. Ablations that differ in the
    category alone are one.

    Raises:
      errors.UserError: a directory holds no results, a file is damaged, or two runs
        have the same settings, category and seed.
    """
    runs: dict[pathlib.Path, Run] = {}
    ablations: dict[str, list[Mapping[str, Any]]] = {}
    unfinished: list[pathlib.Path] = []
    for folder in folders:
        found, without = [], []
        for place in _walk(folder, _DEPTH):
            if (place / ABLATION).is_file():
                declared = _read(place / ABLATION, ("variants", "seeds"))
                members, missing = _of_ablation(place, declared)
                for run in members[:1]:
                    ablations.setdefault(run.ablation, []).append(declared)
            else:
                members, missing = _load([(place, "")])
            found += members
            without += missing
        if not found:
            hint = f": {len(without)} runs are not finished" if without else ""
            raise errors.UserError(
                f"{folder} holds no results{hint}; give directories that "
                f"jax_scadn.train, .evaluate or .ablate wrote"
            )
        runs |= {run.path.resolve(): run for run in found}
        unfinished += without
    systems = _systems(runs.values())
    return Found(
        tuple(system for system in systems if not system.first.ablation),
        tuple(
            Ablation(
                variants=every[0]["variants"],
                seeds=tuple(sorted({s for one in every for s in one["seeds"]})),
                systems={
                    s.first.variant: s for s in systems if s.first.ablation == key
                },
            )
            for key, every in ablations.items()
            if key
        ),
        tuple(dict.fromkeys(unfinished)),
    )


def _walk(folder: pathlib.Path, depth: int) -> Iterator[pathlib.Path]:
    """Directories of runs and of ablations, nothing below them."""
    if any((folder / name).is_file() for name in (CONFIG, ABLATION)):
        yield folder
    elif depth and folder.is_dir():
        for child in sorted(folder.iterdir()):
            if not child.name.startswith("."):
                yield from _walk(child, depth - 1)


def _of_ablation(
    place: pathlib.Path, declared: Mapping[str, Any]
) -> tuple[list[Run], list[pathlib.Path]]:
    """Its runs, and where others are missing."""
    variants = declared["variants"]
    members = [
        (place / variant / f"seed_{seed}", variant)
        for variant in variants
        for seed in declared["seeds"]
    ]
    varied = {field for changes in variants.values() for field in changes}
    if varied <= {"data.category"}:
        return _load([(path, "") for path, _ in members])
    found, missing = _load(members)
    if found:
        common = {k: v for k, v in _that_matter(found[0]).items() if k not in varied}
        key = json.dumps([variants, *_data(found[0]), common], sort_keys=True)
        found = [dataclasses.replace(run, ablation=key) for run in found]
    return found, missing


def _load(
    members: Iterable[tuple[pathlib.Path, str]],
) -> tuple[list[Run], list[pathlib.Path]]:
    """Runs by directory and variant, and the directories without results."""
    found, missing = [], []
    for path, variant in members:
        if (path / RESULTS).is_file():
            settings = resolve.flat(methods.read(path / CONFIG))
            results = _read(path / RESULTS, _KEYS)
            found.append(Run(path, settings, results, variant=variant))
        else:
            missing.append(path)
    return found, missing


def _read(path: pathlib.Path, keys: Sequence[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in keys if key not in content]
    except (ValueError, TypeError) as error:
        raise errors.UserError(f"{path} cannot be read as JSON: {error}") from None
    if missing:
        raise errors.UserError(
            f"{path} has no {', '.join(missing)}; evaluate the run again"
        )
    return content


def _source(settings: Mapping[str, Any]) -> str:
    """The data set of results that do not name it."""
    source = settings["data.source"]
    if source in ("folder", "plain", "lace"):
        return source
    return labelled.name(source, settings["data.path"], settings["data.dataset"])


def _systems(runs: Iterable[Run]) -> list[System]:
    groups: dict[tuple, list[Run]] = collections.defaultdict(list)
    for run in runs:
        groups[_identity(run)].append(run)
    names = _names(list(groups.values()))
    return [
        System(name, _by_category(group))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _identity(run: Run) -> tuple:
    """The same for all runs of a system."""
    settings = json.dumps(_that_matter(run), sort_keys=True)
    return run.ablation, run.variant, *_data(run), settings


def _data(run: Run) -> tuple[str, str]:
    """What tells data sets apart; those with a name are the same wherever they lie."""
    known = run.dataset in papers.DATASETS
    return run.dataset, "" if known else run.settings["data.path"]


def _that_matter(run: Run) -> dict[str, Any]:
    fields = run.fields
    return {k: v for k, v in run.settings.items() if fields[k].tells_runs_apart}


def _by_category(runs: Sequence[Run]) -> dict[str, dict[int, Run]]:
    grouped: dict[str, dict[int, Run]] = {}
    for run in sorted(runs, key=lambda run: (run.category, run.seed)):
        seeds = grouped.setdefault(run.category, {})
        if run.seed in seeds:
            raise errors.UserError(
                f"{seeds[run.seed].path} and {run.path} have the same settings, "
                f"category and seed; give one of them"
            )
        seeds[run.seed] = run
    return grouped


def _names(groups: Sequence[Sequence[Run]]) -> list[str]:
    """A name for each group; groups of one name are told apart by their settings."""
    names = [
        ", ".join(dict.fromkeys(run.results["name"] for run in group))
        + (f", {group[0].variant}" if group[0].variant else "")
        for group in groups
    ]
    labels = []
    for name, group in zip(names, groups, strict=True):
        alike = [
            other[0]
            for other, its_name in zip(groups, names, strict=True)
            if its_name == name and other[0].dataset == group[0].dataset
        ]
        differing = [
            f"{field}={value}"
            for field, value in _that_matter(group[0]).items()
            if any(other.settings.get(field) != value for other in alike)
        ]
        labels.append(f"{name} ({', '.join(differing)})" if differing else name)
    return labels
