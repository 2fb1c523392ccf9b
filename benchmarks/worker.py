"""A worker process that runs one workload in one framework on request.

Started by `benchmarks.processes.Worker` with its task as JSON. Reads requests line by
line and answers each with a line of JSON:

    first   makes all compared calls; seconds of the first one, and a file with the
            outputs of all
    call    seconds of a call
    memory  peak so far, and before the first call, MiB
    flops   of a call (PyTorch only)
"""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np

from benchmarks import processes


def _prepare(task: dict):
    """The workload, a function from its outputs to arrays, and its FLOP counter."""
    if task["framework"] == "jax":
        # TensorBoard's writer imports it if it is installed, which takes 460 MiB.
        sys.modules["torch"] = None
        from benchmarks import cases, ours
        from jax_scadn.runtime import memory

        memory.trim_after_compilation()  # as all commands do
        case = cases.from_json(task["case"])
        return ours.workload(case), ours.arrays, None
    from benchmarks.twins import forms, workloads

    with np.load(task["inputs"]) as arrays:
        flat = dict(arrays)
    given: list[dict[str, np.ndarray]] = [{} for _ in range(task["compared"])]
    inputs = {}
    for name, array in flat.items():
        step, _, drawn = name.partition("/")
        if drawn:
            given[int(step)][drawn] = array
        else:
            inputs[name] = array
    what = task["case"]["task"], task["settings"], inputs
    form = forms.Form(**task["form"])
    call = workloads.workload(*what, given, form)
    return call, workloads.arrays, lambda: workloads.flops(*what)


def main() -> None:
    # Libraries may print; only answers must reach the parent.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    task = json.loads(sys.argv[1])
    call, arrays, flops = _prepare(task)
    before = processes.peak_mib()

    def timed() -> tuple[float, dict]:
        start = time.perf_counter()
        outputs = call()
        return time.perf_counter() - start, outputs

    for line in sys.stdin:
        request = line.strip()
        if request == "first":
            seconds, outputs = timed()
            compared = [arrays(outputs)]
            compared += [arrays(call()) for _ in range(task["compared"] - 1)]
            np.savez(
                task["outputs"],
                **{
                    f"{number}/{name}": array
                    for number, outputs in enumerate(compared)
                    for name, array in outputs.items()
                },
            )
            answer = {"seconds": seconds}
        elif request == "call":
            answer = {"seconds": timed()[0]}
        elif request == "memory":
            answer = {"peak": processes.peak_mib(), "before": before}
        else:
            answer = {"flops": flops()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
