"""Finished runs on disk, grouped into systems and ablations."""

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
from jax_scadn.training import protocol

CONFIG, ABLATION = "config.json", "ablation.json"
EVALUATION = "evaluation"
PARAMETERS = "parameters_millions"  # in place of a metric
RESULTS = pathlib.PurePath(EVALUATION, "results.json")
MVTEC = papers.categories("mvtec_ad")

_KEYS = ("name", "category", "title", "seed", "images", "detectors")  # of results
_ALL = "all"  # all kinds of defects
_DEPTH = 4  # of the search, as in runs/<name>/<category>/seed_<n>


@dataclasses.dataclass(frozen=True)
class Run:
    """One trained and evaluated category.

    Attributes:
      path: its work directory.
      settings: by full name, such as 'data.size'.
      results: of `evaluation.evaluate`.
      budgets: sections of the settings with the budgets of its stages, in their order;
        () where none is trained in steps.
      ablation: key of an ablation of settings; '' outside of one.
      variant: of that ablation, or ''.
    """

    path: pathlib.Path
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    budgets: tuple[str, ...] = ()
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
        """The method's title as papers write it, such as 'AE-L2'."""
        return self.results["title"]

    @property
    def dataset(self) -> str:
        """A key of `papers.DATASETS`, or another name."""
        name = self.results.get("dataset") or _source(self.settings)
        return "mvtec_ad" if name == "folder" and self.category in MVTEC else name

    def value(self, detector: str, metric: str) -> float | None:
        """A metric over all test images, such as 'image.auroc'; None if unknown.

        `PARAMETERS` is that of the networks instead.
        """
        if metric == PARAMETERS:
            counts = self.results.get("parameters") if detector == self.method else None
            return sum(counts.values()) / 1e6 if counts else None
        kind, name = metric.split(".")
        values = self.results["detectors"][detector][_ALL][kind]
        return values.get(name) if values else None


@dataclasses.dataclass(frozen=True)
class System:
    """One method with one set of settings, on the categories of one data set.

    Attributes:
      name: of its experiment, with the settings that differ from others of that name.
      runs: by category and seed, both in order.
    """

    name: str
    runs: Mapping[str, Mapping[int, Run]]

    @property
    def first(self) -> Run:
        """A run, for the settings that all have in common."""
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
    def baselines(self) -> tuple[str, ...]:
        """Names of the other detectors in the results."""
        return tuple(d for d in self.first.results["detectors"] if d != self.method)

    def values(self, category: str, detector: str, metric: str) -> dict[int, float]:
        """By seed; without seeds whose value is unknown."""
        runs = self.runs.get(category, {})
        values = {seed: run.value(detector, metric) for seed, run in runs.items()}
        return {seed: value for seed, value in values.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Variants of settings that were declared together, on one data set.

    Attributes:
      variants: name -> changed settings, in the order of declaration.
      seeds: requested ones.
      systems: by variant; without variants that have no results.
    """

    variants: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    systems: Mapping[str, System]

    @property
    def first(self) -> Run:
        """A run, for the settings that all have in common."""
        return next(iter(self.systems.values())).first


@dataclasses.dataclass(frozen=True)
class RunCollection:
    """The systems and ablations in some directories.

    Attributes:
      systems: of runs outside ablations of settings.
      ablations: of settings.
      unfinished: directories of runs without results.
    """

    systems: tuple[System, ...]
    ablations: tuple[Ablation, ...]
    unfinished: tuple[pathlib.Path, ...]


def find(folders: Sequence[pathlib.Path]) -> RunCollection:
    """All runs in the directories, grouped.

    Runs whose settings differ only in category and seed are one system, and so are
    the variants of an ablation of categories. Ablations that differ only in the
    category are one ablation.

    Raises:
      errors.UserError: a directory has no results, a file is damaged, or two runs have
        the same settings, category and seed.
    """
    runs: dict[pathlib.Path, Run] = {}
    ablations: dict[str, list[Mapping[str, Any]]] = {}
    unfinished: list[pathlib.Path] = []
    for folder in folders:
        finished, without = [], []
        for place in _walk(folder, _DEPTH):
            if (place / ABLATION).is_file():
                declared = _read(place / ABLATION, ("variants", "seeds"))
                members, missing = _load_ablation(place, declared)
                for run in members[:1]:
                    ablations.setdefault(run.ablation, []).append(declared)
            else:
                members, missing = _load([(place, "")])
            finished += members
            without += missing
        if not finished:
            hint = f": {len(without)} runs are not finished" if without else ""
            raise errors.UserError(
                f"{folder} has no results{hint}; give directories that "
                f"jax_scadn.train, .evaluate or .ablate wrote"
            )
        runs |= {run.path.resolve(): run for run in finished}
        unfinished += without
    systems = _systems(runs.values())
    return RunCollection(
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
    """Directories of runs and ablations; does not descend into them."""
    if any((folder / name).is_file() for name in (CONFIG, ABLATION)):
        yield folder
    elif depth and folder.is_dir():
        for child in sorted(folder.iterdir()):
            if not child.name.startswith("."):
                yield from _walk(child, depth - 1)


def _load_ablation(
    place: pathlib.Path, declared: Mapping[str, Any]
) -> tuple[list[Run], list[pathlib.Path]]:
    """Finished runs, and directories of missing ones."""
    variants = declared["variants"]
    members = [
        (place / variant / f"seed_{seed}", variant)
        for variant in variants
        for seed in declared["seeds"]
    ]
    varied = {field for changes in variants.values() for field in changes}
    if varied <= {"data.category"}:
        return _load([(path, "") for path, _ in members])
    runs, missing = _load(members)
    if runs:
        common = {k: v for k, v in _result_fields(runs[0]).items() if k not in varied}
        key = json.dumps([variants, *_data(runs[0]), common], sort_keys=True)
        runs = [dataclasses.replace(run, ablation=key) for run in runs]
    return runs, missing


def _load(
    members: Iterable[tuple[pathlib.Path, str]],
) -> tuple[list[Run], list[pathlib.Path]]:
    """Reads (directory, variant); returns runs and directories without results."""
    runs, missing = [], []
    for path, variant in members:
        if (path / RESULTS).is_file():
            config = methods.read(path / CONFIG)
            stages = methods.create(config).stages
            runs.append(
                Run(
                    path,
                    resolve.flat(config),
                    _read(path / RESULTS, _KEYS),
                    budgets=tuple(
                        stage.budget for stage in protocol.gradient_stages(stages)
                    ),
                    variant=variant,
                )
            )
        else:
            missing.append(path)
    return runs, missing


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
    """The data set of results that lack its name."""
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
    """Equal for all runs of a system."""
    settings = json.dumps(_result_fields(run), sort_keys=True)
    return run.ablation, run.variant, *_data(run), settings


def _data(run: Run) -> tuple[str, str]:
    """Identity of a data set; the path matters only for those without a known name."""
    known = run.dataset in papers.DATASETS
    return run.dataset, "" if known else run.settings["data.path"]


def _result_fields(run: Run) -> dict[str, Any]:
    """Settings that distinguish systems."""
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
    """A name for each group, with the settings that differ where names are equal."""
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
            if its_name == name
            and (other[0].method, other[0].dataset)
            == (group[0].method, group[0].dataset)
        ]
        differing = [
            f"{field}={value}"
            for field, value in _result_fields(group[0]).items()
            if any(other.settings.get(field) != value for other in alike)
        ]
        labels.append(f"{name} ({', '.join(differing)})" if differing else name)
    return labels
