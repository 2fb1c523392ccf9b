"""How results came about and what differs from a published protocol, in words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from jax_scadn.data import pipeline
from jax_scadn.experiments import papers
from jax_scadn.experiments.comparison import measured as measured_lib
from jax_scadn.experiments.comparison import runs
from jax_scadn.settings.fields import Field

# The order of differences, by the beginnings of names: the weightiest first.
_ORDER = ("data.size", "model.", "data.", "optimizer.", "loss.", "masks.", "selection.",
          "scoring.", "calibration.", "")  # fmt: skip
# Settings of training that whoever measures the authors' code may have chosen anew, as
# all that training does not see.
_OF_PROTOCOL = ("data.size", "training.", "expert.training.", "selection.")
# Stages of training: prefix of their settings, and their name in a sentence.
_STAGES = {"": "training", "expert.": "training of the second stage"}


def ours(system: runs.System) -> str:
    """The settings that matter most, in a line."""
    settings, fields = system.settings, system.first.fields
    parts = [fields["data.size"].written(settings["data.size"])]
    parts += [
        f"{_named(field, fields)}: {fields[field].written(settings[field])}"
        for field in ("model.width", "model.blocks")
        if field in settings
    ]
    parts += [f"{name}: {_budget(system, prefix)}" for prefix, name in _stages(system)]
    images = [run.results["images"] for run in _every(system)]
    for split, words in (
        ("held_out", "held-out normal images"),
        ("test_normal", "normal"),
        ("test_anomalous", "anomalous test images"),
    ):
        parts.append(f"{_range(counts[split] for counts in images)} {words}")
    return "; ".join([*parts[:-2], f"{parts[-2]} and {parts[-1]}"])


def differences(
    system: runs.System, protocol: papers.Protocol, varied: Collection[str] = ()
) -> list[str]:
    """What is not as in the paper or in its authors' code; [] if nothing is.

    Args:
      system: whose settings are compared.
      protocol: what the paper and the code say.
      varied: settings that an ablation varies, and which are not compared.
    """
    lines = []
    fields = system.first.fields
    worded = sorted((name for name in fields if fields[name].words), key=_order)
    for field in dict.fromkeys([*worded, *protocol.paper, *protocol.code]):
        if field not in system.settings or field in varied or _is_budget(field):
            continue
        value = system.settings[field]
        said = {
            where: values[field]
            for where, values in (("paper", protocol.paper), ("code", protocol.code))
            if field in values
        }
        if said and value not in map(_comparable, said.values()):
            written = fields[field].written
            there = _there({where: written(v) for where, v in said.items()})
            lines.append(f"{_named(field, fields)}: {written(value)}; {there}")
    budgets = [
        _budget_difference(system, protocol, *stage) for stage in _stages(system)
    ]
    return [line for line in budgets if line] + lines


def coverage(
    system: runs.System, categories: Sequence[str], table: papers.Table | None
) -> list[str]:
    """Which data, categories and seeds there are, and which the paper has."""
    lines = about_data(system, table)
    run = [category for category in categories if category in system.runs]
    if len(run) < len(categories):
        lines.append(
            f"{len(run)} of {len(categories)} categories were run; "
            f"there is no mean over a part of them"
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
        texts.append("a mean over categories is over the seeds that all have")
    return [*lines, f"seeds: {'; '.join(texts)}{seeds_there(table)}"]


def about_data(system: runs.System, table: papers.Table | None) -> list[str]:
    """Where method or data may not be what a reader takes them for."""
    lines = []
    if table and table.method != system.method:
        lines.append(f"ours is {system.method}, the paper's is {table.method}")
    if table and system.dataset not in table.keys("dataset"):
        theirs = ", ".join(papers.DATASETS[name] for name in table.keys("dataset"))
        lines.append(f"ours is on other data, the paper's is on {theirs}")
    if system.dataset == "mvtec_ad":
        lines.append("the data are taken for MVTec AD by the names of categories")
    return lines


def seeds_there(table: papers.Table | None) -> str:
    """The end of a sentence about seeds: how many the paper has."""
    if table is None:
        return ""
    seeds = table.protocol.seeds
    return "; the paper does not say how many" if seeds is None else f"; there {seeds}"


def measured_differences(
    system: runs.System,
    measured: measured_lib.Measured,
    varied: Collection[str] = (),
) -> list[str]:
    """What is not as in measured results of the authors' code.

    That is what the entries tell, and settings of the code that the file has no word
    for: its networks, masks, losses and optimizers. Arguments: see `differences`.
    """
    every = _every(system)
    splits = ("test_normal", "test_anomalous")
    known = {
        "size": ("image size", {system.settings["data.size"]}),
        "steps": ("steps", {_steps(run, "") for run in every}),
        "batch": ("batch", {system.settings["training.batch_size"]}),
        "n_test": (
            "test images",
            {sum(run.results["images"][split] for split in splits) for run in every},
        ),
    }
    lines = []
    for key, (name, values) in known.items():
        theirs = {e[key] for e in measured.entries(system) if key in e}
        if theirs and theirs != values:
            lines.append(f"{name} {_range(values)}, there {_range(theirs)}")
    code, fields = papers.code(system.method), system.first.fields
    return lines + [
        f"{_named(field, fields)} {fields[field].written(system.settings[field])}, "
        f"there {fields[field].written(value)}"
        for field, value in code.items()
        if field in system.settings
        and fields[field].seen_by == "training"
        and not field.startswith(_OF_PROTOCOL)
        and field not in varied
        and system.settings[field] != _comparable(value)
    ]


def _stages(system: runs.System) -> list[tuple[str, str]]:
    return [
        (prefix, name)
        for prefix, name in _STAGES.items()
        if f"{prefix}training.batch_size" in system.settings
        and system.settings.get(f"{prefix}enabled", True)
    ]


def _is_budget(field: str) -> bool:
    return field.endswith(("training.batch_size", "training.epochs"))


def _steps(run: runs.Run, prefix: str) -> int:
    settings = run.settings
    batch = settings[f"{prefix}training.batch_size"]
    epoch = pipeline.batches_per_epoch(run.results["images"]["train"], batch)
    steps = settings[f"{prefix}training.steps"]
    return steps or settings[f"{prefix}training.epochs"] * epoch


def _budget(system: runs.System, prefix: str) -> str:
    every = _every(system)
    batch = system.settings[f"{prefix}training.batch_size"]
    epochs = [
        _steps(run, prefix) * batch / run.results["images"]["train"] for run in every
    ]
    return (
        f"{_range(_steps(run, prefix) for run in every)} steps of {batch} images, "
        f"{_range(epochs)} epochs of {_images(system)} images"
    )


def _budget_difference(
    system: runs.System, protocol: papers.Protocol, prefix: str, name: str
) -> str | None:
    """Steps and epochs of ours and of the paper in both units; None if equal."""
    said, equal = {}, False
    for where, values in (("paper", protocol.paper), ("code", protocol.code)):
        epochs = values.get(f"{prefix}training.epochs")
        batch = values.get(f"{prefix}training.batch_size")
        if epochs is None or batch is None:
            continue
        every = _every(system)
        steps = [_published_steps(run, epochs, batch) for run in every]
        said[where] = (
            f"{epochs} epochs in batches of {batch}, {_range(steps)} steps on all "
            f"normal images of these data"
        )
        ours_ = [_steps(run, prefix) for run in every]
        same_batch = batch == system.settings[f"{prefix}training.batch_size"]
        equal |= same_batch and ours_ == steps
    if equal:
        return None
    there = _there(said) if said else "the paper does not say how long"
    return f"{name}: {_budget(system, prefix)}; {there}"


def _published_steps(run: runs.Run, epochs: int, batch: int) -> int:
    images = run.results["images"]
    normal = images["train"] + images["held_out"]
    return epochs * pipeline.batches_per_epoch(normal, batch)


def _there(said: Mapping[str, str]) -> str:
    """'in the paper ..., in its code ...', once where both are the same."""
    places = {"paper": "in the paper", "code": "in its authors' code"}
    if len(set(said.values())) == 1:
        said = dict(list(said.items())[:1])
    return ", ".join(f"{places[where]} {value}" for where, value in said.items())


def _images(system: runs.System) -> str:
    return _range(run.results["images"]["train"] for run in _every(system))


def _every(system: runs.System) -> list[runs.Run]:
    return [run for seeds in system.runs.values() for run in seeds.values()]


def _range(values: Iterable[float]) -> str:
    """'3', or '3 to 7'; fractions with three digits."""
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
