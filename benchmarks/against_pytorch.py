"""Times training steps and scoring against PyTorch, with equal weights and images.

    python -m benchmarks.against_pytorch --rounds=5
    python -m benchmarks.against_pytorch --cases='scadn-step-*,first-score-256' --list

Each framework runs in its own process. Outputs of the first calls are compared, and a
case whose outputs differ is not timed. PyTorch runs in each of its forms
(`benchmarks.twins.forms`), and calls are timed in pairs with the fastest of them.
First calls, which compile, and peak memory are reported separately. Other cases are the
time from the start of a process to its first score, and training from files compared
with training on images that are already on the device. Prints Markdown, and writes
Markdown, CSV and JSON to --output after each row. The exit status is 1 if outputs
differ.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from benchmarks import (
    cases,
    epoch_scan,
    first_scores,
    input_pipeline,
    ours,
    processes,
    timing,
)
from benchmarks.twins import forms
from jax_scadn.parity import report
from jax_scadn.reports import tables
from jax_scadn.runtime import cli, errors
from jax_scadn.settings import resolve

_CASES = flags.DEFINE_list("cases", ["*"], "Names or patterns; see --list.")
_LIST = flags.DEFINE_bool("list", False, "Print the names of all cases and exit.")
_FORMS = flags.DEFINE_list("forms", ["*"], "Patterns of the PyTorch forms to try.")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "Timed pairs of calls.", lower_bound=1)
_COMPILE_LIMIT = flags.DEFINE_float(
    "compile_limit", 300, "Time limit of torch.compile for a case, seconds."
)
_PAIRS_LIMIT = flags.DEFINE_float(
    "pairs_limit",
    120,
    "Seconds after which a case starts no more rounds; it always gets one.",
)
_PYTORCH = flags.DEFINE_string(
    "pytorch_python", sys.executable, "Python with PyTorch, if it is not this one."
)
_OUTPUT = flags.DEFINE_string("output", "runs/benchmarks", "Directory of the tables.")

_PEAK = cases.Case("matrix-product", 2048, 1)
_OTHERS = {module.NAME: module for module in (first_scores, input_pipeline, epoch_scan)}


@dataclasses.dataclass(frozen=True)
class Measured:
    """One case in both frameworks.

    Attributes:
      case: its name.
      form: PyTorch's fastest form.
      pairs: seconds of calls, ours and PyTorch's.
      first: seconds of the first call, which compiles, by framework.
      peak: peak memory of the process in MiB, by framework, and of a later process of
        ours, which loads its programs from the compilation cache.
      before: MiB before the first call, by framework.
      gflop: additions and multiplications of a call's convolutions and matrix
        products, 10^9.
      difference: the largest one of the outputs, as a share of the tolerance.
      tried: results of each form of PyTorch.
    """

    case: str
    form: str
    pairs: list[tuple[float, float]]
    first: dict[str, float]
    peak: dict[str, float]
    before: dict[str, float]
    gflop: float
    difference: float
    tried: dict[str, dict[str, Any]]

    @property
    def rates(self) -> tuple[float, float]:
        """GFLOP/s, ours and PyTorch's."""
        return tuple(self.gflop / spread.median for spread in self.seconds)

    @property
    def seconds(self) -> tuple[timing.Spread, timing.Spread]:
        ours, torch = zip(*self.pairs, strict=True)
        return timing.Spread.of(ours), timing.Spread.of(torch)

    def row(self, peak_rate: float) -> dict[str, Any]:
        """Row of the table; `peak_rate` is that of the machine, GFLOP/s."""
        seconds, torch_seconds = self.seconds
        rate, torch_rate = self.rates
        return {
            "case": self.case,
            "JAX, s": str(seconds),
            "PyTorch, s": str(torch_seconds),
            "times as fast": str(timing.times_as_fast(self.pairs)),
            "pairs": len(self.pairs),
            "PyTorch's fastest form": self.form,
            "JAX, GFLOP/s": round(rate),
            "of peak, %": round(100 * rate / peak_rate),
            "PyTorch, GFLOP/s": round(torch_rate),
            "JAX: first call, s": round(self.first["jax"], 2),
            "PyTorch: first call, s": round(self.first["pytorch"], 2),
            "JAX: peak, MiB": round(self.peak["jax"]),
            "JAX: peak, compiled before, MiB": round(self.peak["jax, compiled before"]),
            "PyTorch: peak, MiB": round(self.peak["pytorch"]),
            "difference, of allowed": self.difference,
        }


class OutputsDifferError(Exception):
    """The outputs of the two frameworks differ; the message names one of them."""


def measure(
    case: cases.Case,
    wanted: Sequence[forms.Form],
    rounds: int,
    compile_limit: float,
    pairs_limit: float,
    pytorch: str,
) -> Measured:
    """Compares the outputs and times both frameworks.

    Args:
      case: what to time.
      wanted: PyTorch's forms to try, at least one.
      rounds: pairs of calls.
      compile_limit: seconds that the first call of a compiled form may take.
      pairs_limit: seconds after which no further pair is started.
      pytorch: a Python with PyTorch.

    Raises:
      OutputsDifferError: by more than the tolerance of the case.
      processes.WorkerError: ours failed, or all of PyTorch's forms.
    """
    compared = cases.COMPARED_STEPS if case.is_step else 1
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _write_inputs(case, folder / "inputs.npz")
        common = {"case": dataclasses.asdict(case), "compared": compared}
        task = common | {"framework": "jax", "outputs": f"{folder}/jax.npz"}
        mine = stack.enter_context(processes.Worker(task, folder))
        first = {"jax": mine.ask("first")["seconds"]}
        tried: dict[str, dict[str, Any]] = {}
        best, best_stack, fastest, worst = None, contextlib.ExitStack(), None, 0.0
        stack.callback(lambda: best_stack.close())
        for form in wanted:
            with contextlib.ExitStack() as attempt:
                worker = attempt.enter_context(
                    processes.Worker(
                        common
                        | {
                            "framework": "pytorch",
                            "settings": _settings(case),
                            "inputs": f"{folder}/inputs.npz",
                            "outputs": f"{folder}/pytorch.npz",
                            "form": dataclasses.asdict(form),
                        },
                        folder,
                        pytorch,
                    )
                )
                try:
                    seconds = worker.ask(
                        "first", compile_limit if form.compiled else None
                    )
                    attempted = {"first": seconds["seconds"]}
                    attempted["call"] = worker.ask("call")["seconds"]
                except processes.WorkerError as error:
                    tried[form.name] = {"failed": str(error)}
                    continue
                try:
                    difference = _difference(
                        case, folder / "jax.npz", folder / "pytorch.npz"
                    )
                except OutputsDifferError as error:
                    raise OutputsDifferError(f"{form.name}: {error}") from None
                worst = max(worst, difference)
                tried[form.name] = attempted
                if fastest is None or attempted["call"] < tried[fastest]["call"]:
                    best_stack.close()  # of the previous fastest one
                    best, fastest = worker, form.name
                    best_stack = attempt.pop_all()
        if best is None:
            raise processes.WorkerError(
                "; ".join(f"{name}: {what['failed']}" for name, what in tried.items())
            )
        pairs = timing.pairs(
            lambda: mine.ask("call")["seconds"],
            lambda: best.ask("call")["seconds"],
            rounds,
            pairs_limit,
        )
        memory = {"jax": mine.ask("memory"), "pytorch": best.ask("memory")}
        with processes.Worker(task, folder) as later:  # loads what mine compiled
            later.ask("first")
            memory["jax, compiled before"] = later.ask("memory")
        first["pytorch"] = tried[fastest]["first"]
        return Measured(
            case=case.name,
            form=fastest,
            pairs=pairs,
            first=first,
            peak={name: mib["peak"] for name, mib in memory.items()},
            before={name: mib["before"] for name, mib in memory.items()},
            gflop=best.ask("flops")["flops"] / 1e9,
            difference=worst,
            tried=tried,
        )


def _write_inputs(case: cases.Case, path: pathlib.Path) -> None:
    drawn = {
        f"{step}/{name}": array
        for step, arrays in enumerate(ours.given(case))
        for name, array in arrays.items()
    }
    np.savez(path, **ours.inputs(case), **drawn)


def _settings(case: cases.Case) -> dict[str, Any]:
    return resolve.flat(case.settings)


def _difference(case: cases.Case, mine: pathlib.Path, theirs: pathlib.Path) -> float:
    """The largest difference of an output as a share of its tolerance."""
    with np.load(mine) as ours_, np.load(theirs) as torch:
        outputs, others = dict(ours_), dict(torch)
    if set(outputs) != set(others):
        names = sorted(set(outputs) ^ set(others))
        raise OutputsDifferError(f"only one framework has {', '.join(names)}")
    worst = 0.0
    for name, output in outputs.items():
        call, _, output_name = name.partition("/")
        tolerance, kind = case.tolerance(output_name, int(call))
        row = report.compare(name, output, others[name], tolerance, kind)
        if not row.passed:
            raise OutputsDifferError(" ".join(str(row).split()))
        worst = max(worst, row.difference / tolerance)
    return worst


def _selected(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatch.fnmatch(name, p) for p in patterns)]


def _wanted_forms(case: cases.Case, patterns: Sequence[str]) -> list[forms.Form]:
    by_name = {form.name: form for form in forms.of(case.task)}
    chosen = [by_name[name] for name in _selected(list(by_name), patterns)]
    if not chosen:
        raise errors.UserError(
            f"--forms={','.join(patterns)}: {case.name} has {', '.join(by_name)}"
        )
    return chosen


def _machine() -> dict[str, Any]:
    return {
        "jax": jax.__version__,
        "torch": _pytorch_version(),
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
    }


def _pytorch_version() -> str:
    command = [_PYTORCH.value, "-c", "import torch; print(torch.__version__)"]
    try:
        return subprocess.check_output(
            command, text=True, stderr=subprocess.DEVNULL
        ).strip()
    except (OSError, subprocess.CalledProcessError):
        raise errors.UserError(
            f"{_PYTORCH.value} has no PyTorch: pip install 'jax_scadn[torch]', or "
            "give --pytorch_python=PATH of a Python with PyTorch"
        ) from None


def main(_) -> int:
    by_name = {case.name: case for case in cases.CASES}
    others = {name: other for other in _OTHERS.values() for name in other.CASES}
    if _LIST.value:
        print("\n".join([*by_name, *others]))
        return 0
    chosen = _selected(list(by_name), _CASES.value)
    chosen_others = _selected(list(others), _CASES.value)
    if not chosen and not chosen_others:
        known = ", ".join([*by_name, *others])
        raise errors.UserError(
            f"--cases={','.join(_CASES.value)}: no such case; known: {known}"
        )
    machine = _machine()
    print(" ".join(f"{name}={value}" for name, value in machine.items()), flush=True)
    output = pathlib.Path(_OUTPUT.value)
    status = 0
    if chosen:
        status = _measure_all([by_name[name] for name in chosen], machine, output)
    for module in _OTHERS.values():
        names = [name for name in module.CASES if name in chosen_others]
        if names:
            pytorch = [_PYTORCH.value] if module is first_scores else []
            results, rows = module.measure(names, _ROUNDS.value, *pytorch)
            print(tables.markdown(rows), flush=True)
            tables.write({"machine": machine, **results}, rows, output, module.NAME)
    return status


def _measure_all(
    chosen: Sequence[cases.Case], machine: Mapping[str, Any], output: pathlib.Path
) -> int:
    """Measures, prints and writes the cases; returns 1 if one of them failed."""
    # All rates are compared with the machine's peak.
    how = _COMPILE_LIMIT.value, _PAIRS_LIMIT.value, _PYTORCH.value
    peak = measure(_PEAK, forms.of(_PEAK.task), max(5, _ROUNDS.value), *how)
    measured, failures = {peak.case: peak}, {}
    rows = []
    for case in chosen:
        try:
            if case.name not in measured:
                wanted = _wanted_forms(case, _FORMS.value)
                measured[case.name] = measure(case, wanted, _ROUNDS.value, *how)
            rows.append(measured[case.name].row(max(peak.rates)))
        except (OutputsDifferError, processes.WorkerError) as error:
            failures[case.name] = str(error)
            rows.append({"case": case.name, "JAX, s": f"FAILED: {error}"})
        print(tables.markdown(rows[-1:]), flush=True)
        results = {
            "machine": machine,
            "measured": {
                name: dataclasses.asdict(one) for name, one in measured.items()
            },
            "failures": failures,
        }
        tables.write(results, rows, output, "against_pytorch")
    print(tables.markdown(rows), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    cli.run(main)
