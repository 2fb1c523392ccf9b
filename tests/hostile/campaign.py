"""Runs hostile cases; each must end right or in one line, in time and memory."""

import pathlib
import tempfile
import time
import traceback
import warnings
from typing import NamedTuple

import numpy as np

from jax_scadn.runtime import errors
from tests.hostile import cases

SECONDS, MEBIBYTES = 2.0, 512.0
RIGHT, REFUSED, WRONG = "right", "refused", "wrong"
# How often each is drawn; `load` and `check` cost the most.
WEIGHTS = {
    "read": 6, "read_mask": 2, "check": 2, "predict": 3, "load": 2, "settings": 3,
    "arrays": 2,
}  # fmt: skip


class Outcome(NamedTuple):
    """How a case ended; `seconds` of the processor."""

    name: str
    seed: int
    kind: str
    message: str
    seconds: float
    mebibytes: float


def run(count, first_seed=0):
    """Yields the outcome of each case, the same ones for the same seeds."""
    with tempfile.TemporaryDirectory(prefix="jax_scadn_hostile_") as folder:
        functions = cases.all_cases(pathlib.Path(folder) / "detector")
        names = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
        for name in functions:  # compiles what all share
            _one(functions, name, 2**31, folder)
        for seed in range(first_seed, first_seed + count):
            yield _one(functions, names[seed % len(names)], seed, folder)


def _one(functions, name, seed, folder):
    kind, message = RIGHT, ""
    before = _peak(reset=True)
    begin = time.process_time()
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", RuntimeWarning)
                functions[name](np.random.default_rng(seed), pathlib.Path(empty))
        except errors.UserError as error:
            kind, message = REFUSED, str(error)
            if "\n" in message:
                kind, message = WRONG, f"more than a line: {message!r}"
        except BaseException:
            kind, message = WRONG, traceback.format_exc()
    seconds = time.process_time() - begin
    mebibytes = max(0.0, _peak() - before)
    if seconds > SECONDS:
        kind, message = WRONG, f"took {seconds:.1f} s: {message}"
    if mebibytes > MEBIBYTES:
        kind, message = WRONG, f"took {mebibytes:.0f} MiB: {message}"
    return Outcome(name, seed, kind, message, seconds, mebibytes)


def _peak(reset=False):
    """MiB that this process has used at most since the last reset; 0 if not known."""
    try:
        if reset:
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        status = pathlib.Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def summary(outcomes):
    """A table of how many cases ended how, and the costliest ones."""
    lines = [f"{'case':<12}{'right':>7}{'refused':>9}{'wrong':>7}{'s':>7}{'MiB':>7}"]
    for name in dict.fromkeys(sorted(outcome.name for outcome in outcomes)):
        of = [outcome for outcome in outcomes if outcome.name == name]
        counts = [sum(o.kind == kind for o in of) for kind in (RIGHT, REFUSED, WRONG)]
        lines.append(
            f"{name:<12}{counts[0]:>7}{counts[1]:>9}{counts[2]:>7}"
            f"{max(o.seconds for o in of):>7.2f}{max(o.mebibytes for o in of):>7.0f}"
        )
    wrong = sum(outcome.kind == WRONG for outcome in outcomes)
    lines.append(f"{len(outcomes)} cases, {wrong} wrong; s and MiB: of the costliest")
    return "\n".join(lines)
