"""Describes an evaluation protocol and how it differs from a published one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from jax_scadn.data import pipeline
from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import measured as measured_lib
from jax_scadn.experiments.comparison import runs
from jax_scadn.settings.fields import Field

# The order of differences, by the beginnings of names: the most important first.
_ORDER = ("data.size", "model.", "data.", "optimizer.", "loss.", "masks.", "selection.",
          "scoring.", "calibration.", "")  # fmt: skip
# Settings of training that are free when the authors' code is run, like all settings
# that training does not depend on.
_OF_PROTOCOL = ("data.size", "selection.")


def ours(system: runs.System) -> str:
    """The most important settings, in a line."""
    settings, fields = system.settings, system.first.fields
    parts = [fields["data.size"].written(settings["data.size"])]
    parts += [
        f"{_named(field, fields)}: {fields[field].written(settings[field])}"
        for field in ("model.width", "model.blocks")
        if field in settings
    ]
    budgets = system.first.budgets
    parts += [f"{_stage(section)}: {_budget(system, section)}" for section in budgets]
    if not budgets:
        parts.append(f"{_images(system)} training images")
    images = [run.results["images"] for run in _every(system)]
    for split, description in (
        ("held_out", "held-out normal images"),
        ("test_normal", "normal"),
        ("test_anomalous", "anomalous test images"),
    ):
        parts.append(f"{_range(counts[split] for counts in images)} {description}")
    return "; ".join([*parts[:-2], f"{parts[-2]} and {parts[-1]}"])


def differences(
    system: runs.System, protocol: papers.Protocol, varied: Collection[str] = ()
) -> list[str]:
    """Differences from both the paper and its authors' code; [] without any.

    Args:
      system: ours.
      protocol: of the paper and of the code.
      varied: settings that an ablation varies; they are not compared.
    """
    lines = []
    fields = system.first.fields
    described = sorted((name for name in fields if fields[name].words), key=_order)
    for field in dict.fromkeys([*described, *protocol.paper, *protocol.code]):
        if field not in system.settings or field in varied:
            continue
        if _is_budget(system, field):
            continue
        value = system.settings[field]
        said = {
            where: values[field]
            for where, values in (("paper", protocol.paper), ("code", protocol.code))
            if field in values
        }
        if said and value not in map(_comparable, said.values()):
            written = fields[field].written
            theirs = _theirs({where: written(v) for where, v in said.items()})
            lines.append(f"{_named(field, fields)}: {written(value)}; {theirs}")
    budgets = [
        _budget_difference(system, protocol, section)
        for section in system.first.budgets
    ]
    return [line for line in budgets if line] + lines


def differences_to(
    system: runs.System, table: papers.Table | None, varied: Collection[str] = ()
) -> list[str]:
    """`differences` from the protocol of a table, if that is of the system's method.

    What a paper says about a method that it quotes is not known.
    """
    if table is None or table.method != system.method:
        return []
    return differences(system, table.protocol, varied)


def published_method(system: runs.System, table: papers.Table) -> str:
    """The method whose numbers are compared: the system's, or else the proposed one."""
    quoted = system.method in table.keys("method")
    return system.method if quoted else table.method


def coverage(
    system: runs.System, categories: Sequence[str], table: papers.Table | None
) -> list[str]:
    """Descriptions of our data, categories and seeds, and those of the paper."""
    lines = about_data(system, table)
    run = [category for category in categories if category in system.runs]
    if len(run) < len(categories):
        lines.append(
            f"{len(run)} of {len(categories)} categories were run; "
            f"a mean over some of them is not computed"
        )
    others = [category for category in system.runs if category not in categories]
    if others:
        lines.append(f"not in the table: {', '.join(others)}")
    by_seeds: dict[str, list[str]] = {}
    for category, seeds in system.runs.items():
        by_seeds.setdefault(", ".join(map(str, seeds)), []).append(category)
    texts = [
        seeds if len(by_seeds) == 1 else f"{seeds} of {', '.join(of)}"
        for seeds, of in by_seeds.items()
    ]
    if len(by_seeds) > 1:
        texts.append("means over categories are over the seeds of all of them")
    return [*lines, f"seeds: {'; '.join(texts)}{published_seeds(system, table)}"]


def about_data(system: runs.System, table: papers.Table | None) -> list[str]:
    """Remarks on methods and data that might be mistaken for others."""
    lines = []
    if table and table.method != system.method:
        if published_method(system, table) == system.method:
            lines.append(
                f"the paper quotes the numbers of {system.method}; its protocol for "
                f"{system.method} is not known"
            )
        else:
            lines.append(f"ours is {system.method}, the paper's is {table.method}")
    if table and system.dataset not in table.keys("dataset"):
        theirs = ", ".join(papers.DATASETS[name] for name in table.keys("dataset"))
        lines.append(f"ours is on other data, the paper's is on {theirs}")
    if system.dataset == "mvtec_ad":
        lines.append("the data set is MVTec AD by the names of its categories")
    return lines


def published_seeds(system: runs.System, table: papers.Table | None) -> str:
    """The end of a sentence about seeds: the number of the paper's."""
    if table is None:
        return ""
    seeds = table.protocol.seeds
    if seeds is None or published_method(system, table) != table.method:
        return "; the paper does not say how many"
    return f"; in the paper {seeds}"


def measured_differences(
    system: runs.System,
    measured: measured_lib.Measured,
    varied: Collection[str] = (),
) -> list[str]:
    """Differences from the protocol of measured results of the authors' code.

    Compares what the entries say, and settings of the code that they lack: networks,
    masks, losses and optimizers. Arguments: see `differences`.
    """
    every = _every(system)
    splits = ("test_normal", "test_anomalous")
    known = {
        "size": ("image size", {system.settings["data.size"]}),
        "n_test": (
            "test images",
            {sum(run.results["images"][split] for split in splits) for run in every},
        ),
    }
    if system.first.budgets:
        first = system.first.budgets[0]
        known |= {
            "steps": ("steps", {_steps(run, first) for run in every}),
            "batch": ("batch", {system.settings[f"{first}.batch_size"]}),
        }
    lines = []
    for key, (name, values) in known.items():
        theirs = {e[key] for e in measured.entries(system) if key in e}
        if theirs and theirs != values:
            lines.append(f"{name} {_range(values)}, in theirs {_range(theirs)}")
    code, fields = papers.code(system.method), system.first.fields
    return lines + [
        f"{_named(field, fields)} {fields[field].written(system.settings[field])}, "
        f"in theirs {fields[field].written(value)}"
        for field, value in code.items()
        if field in system.settings
        and fields[field].seen_by == "training"
        and not field.startswith(_OF_PROTOCOL)
        and not _is_budget(system, field)
        and field not in varied
        and system.settings[field] != _comparable(value)
    ]


def _stage(section: str) -> str:
    """'training', or 'training of expert' where a stage has its own section."""
    stage = section.removesuffix("training").rstrip(".")
    return f"training of {stage}" if stage else "training"


def _is_budget(system: runs.System, field: str) -> bool:
    """Whether it belongs to a budget, also of a stage that is switched off."""
    section, _, name = field.rpartition(".")
    parts = ("batch_size", "epochs", "steps")
    return name in parts and f"{section}.epochs" in system.first.fields


def _steps(run: runs.Run, section: str) -> int:
    settings = run.settings
    batch = settings[f"{section}.batch_size"]
    epoch = pipeline.batches_per_epoch(run.results["images"]["train"], batch)
    return settings[f"{section}.steps"] or settings[f"{section}.epochs"] * epoch


def _budget(system: runs.System, section: str) -> str:
    every = _every(system)
    batch = system.settings[f"{section}.batch_size"]
    epochs = [
        _steps(run, section) * batch / run.results["images"]["train"] for run in every
    ]
    return (
        f"{_range(_steps(run, section) for run in every)} steps of {batch} images, "
        f"{_range(epochs)} epochs of {_images(system)} images"
    )


def _budget_difference(
    system: runs.System, protocol: papers.Protocol, section: str
) -> str | None:
    """Budgets of ours and of the paper, each in steps and epochs; None if equal."""
    said, equal = {}, False
    for where, values in (("paper", protocol.paper), ("code", protocol.code)):
        epochs = values.get(f"{section}.epochs")
        batch = values.get(f"{section}.batch_size")
        if epochs is None or batch is None:
            continue
        every = _every(system)
        steps = [_published_steps(run, epochs, batch) for run in every]
        said[where] = (
            f"{epochs} epochs in batches of {batch}, {_range(steps)} steps on all "
            f"normal images of these data"
        )
        ours_ = [_steps(run, section) for run in every]
        same_batch = batch == system.settings[f"{section}.batch_size"]
        equal |= same_batch and ours_ == steps
    if equal:
        return None
    theirs = _theirs(said) if said else "the paper does not say how long"
    return f"{_stage(section)}: {_budget(system, section)}; {theirs}"


def _published_steps(run: runs.Run, epochs: int, batch: int) -> int:
    images = run.results["images"]
    normal = images["train"] + images["held_out"]
    return epochs * pipeline.batches_per_epoch(normal, batch)


def _theirs(said: Mapping[str, str]) -> str:
    """'in the paper ..., in its authors' code ...', or one of them if both agree."""
    places = {"paper": "in the paper", "code": "in its authors' code"}
    if len(set(said.values())) == 1:
        said = dict(list(said.items())[:1])
    return ", ".join(f"{places[where]} {value}" for where, value in said.items())


def _images(system: runs.System) -> str:
    return _range(run.results["images"]["train"] for run in _every(system))


def _every(system: runs.System) -> list[runs.Run]:
    return [run for seeds in system.runs.values() for run in seeds.values()]


def _range(values: Iterable[float]) -> str:
    """'3' or '3 to 7'; fractions with three digits."""
    values = list(values)
    ends = [f"{v:,}" if isinstance(v, int) else f"{v:.3g}" for v in
            (min(values), max(values))]  # fmt: skip
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _comparable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _named(field: str, fields: Mapping[str, Field]) -> str:
    return fields[field].words or f"`{field}`"


def _order(field: str) -> int:
    return next(n for n, start in enumerate(_ORDER) if field.startswith(start))
