"""Runs one task's part of many trainings: `python -m launch.sweep --config=FILE`.

The trainings are every category of the data with every seed and every variant of the
settings' `sweep(add)`, as in `jax_scadn.ablate`. Task i of n runs the trainings i,
i + n, i + 2n, ... of that list and skips finished ones, so that n tasks run them all,
and running the same n tasks again runs what is missing. i and n come from a SLURM
array, from the index of a Kubernetes Job, or from --task and --tasks.

    sbatch --array=0-5 launch/slurm.sbatch \\
        python -m launch.sweep --config=configs/mvtec.py --seeds=0,1
    python -m launch.sweep --config=configs/mvtec.py --seeds=0,1 --list
    python -m jax_scadn.compare runs/mvtec
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import os
import pathlib
import shlex
from collections.abc import Mapping

from absl import flags

from jax_scadn import methods
from jax_scadn.experiments import ablation, experiment
from jax_scadn.runtime import cli, errors

cli.config_flag()
cli.cluster_flags()
_WORKDIR = cli.path_flag(
    "workdir", "", "Where everything is written; default: runs/<name>[/<category>]."
)
_SWEEP = flags.DEFINE_multi_string("sweep", [], "FIELD=VALUE,VALUE; may be repeated.")
_SEEDS = flags.DEFINE_list("seeds", [], "Seeds; default: SEEDS of the settings file.")
_TASK = flags.DEFINE_integer("task", -1, "Number of this task, from 0.")
_TASKS = flags.DEFINE_integer("tasks", 0, "Number of tasks.")
_LIST = flags.DEFINE_bool("list", False, "Print the trainings and exit.")


def share(environ: Mapping[str, str], task: int, tasks: int) -> tuple[int, int]:
    """Index of this task and number of tasks; (0, 1) if nothing specifies them.

    Args:
      environ: of the process.
      task: -1 = from the environment.
      tasks: 0 = from the environment.

    Raises:
      errors.UserError: they are incomplete or out of range.
    """
    if "SLURM_ARRAY_TASK_ID" in environ:
        first = int(environ["SLURM_ARRAY_TASK_MIN"])
        step = int(environ.get("SLURM_ARRAY_TASK_STEP", 1))
        index = (int(environ["SLURM_ARRAY_TASK_ID"]) - first) // step
        count = int(environ["SLURM_ARRAY_TASK_COUNT"])
    elif "JOB_COMPLETION_INDEX" in environ:
        index, count = int(environ["JOB_COMPLETION_INDEX"]), 0
    else:
        index, count = 0, 0 if task >= 0 else 1
    task = index if task < 0 else task
    tasks = tasks or count
    if not 0 <= task < tasks:
        raise errors.UserError(
            f"task {task} of {tasks}: give --tasks, and --task from 0 to --tasks - 1"
        )
    return task, tasks


def main(_) -> int:
    config = methods.resolve(cli.open_config())
    workdir = pathlib.Path(_WORKDIR.value or experiment.default_workdir(config))
    file = cli.config_module()
    seeds = ablation.seeds_of(file, _SEEDS.value)
    sweep = getattr(file, "sweep", None)
    changes = ablation.collect(sweep, _SWEEP.value, seeds, allow_single=True)
    planned = ablation.plan(cli.open_config(), changes, seeds, workdir)
    trainings = [training for category in planned for training in category]
    if _LIST.value:
        for number, training in enumerate(trainings):
            left = ablation.unfinished([training])
            print(f"{number} {'unfinished' if left else 'finished'}", end="")
            print("", *(task.workdir for task in training.tasks))
        return 0
    task, tasks = share(os.environ, _TASK.value, _TASKS.value)
    mine = trainings[task::tasks]
    todo = ablation.unfinished(mine)
    print(f"task {task} of {tasks}: {len(todo)} of {len(mine)} trainings to run")
    failed = [
        f"{name}: {reason}"
        for training in todo
        for name, reason in ablation.train([training]).items()
    ]
    quoted = shlex.quote(str(workdir))
    print(f"task {task} of {tasks} is done; python -m jax_scadn.compare {quoted}")
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
