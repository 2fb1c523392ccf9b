"""Trains many variants at once: `python -m jax_scadn.ablate --config=FILE`.

The settings file has a function `sweep(add)` that calls `add(name, changes)` for each
variant, and `SEEDS`. Any field can be varied from the command line too:

    python -m jax_scadn.ablate --config=configs/lace.py --seeds=0,1 \\
        --sweep=model.width=8,16 --sweep=masks.mask_value=0.0,1.0

Run the same command again to resume. Each variant is afterwards a trained model for
evaluate and predict; at the end all are compared, see `jax_scadn.compare`.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib
import sys

from absl import flags

from jax_scadn import methods
from jax_scadn.experiments import ablation, comparison, experiment
from jax_scadn.runtime import cli, distributed

cli.config_flag()
cli.cluster_flags()
_WORKDIR = cli.path_flag(
    "workdir", "", "Where everything is written; default: runs/<name>[/<category>]."
)
_SWEEP = flags.DEFINE_multi_string("sweep", [], "FIELD=VALUE,VALUE; may be repeated.")
_SEEDS = flags.DEFINE_list("seeds", [], "Seeds; default: SEEDS of the settings file.")
_BATCHING = flags.DEFINE_enum(
    "variant_batching",
    None,
    ablation.BATCHING,
    "vmap: variants in one jitted step; map: one after the other. Default: the faster.",
)
_PER_BATCH = flags.DEFINE_integer(
    "variants_per_batch", 0, "At most so many in a step; 0: as many as fit in memory."
)


def main(_) -> int:
    config = methods.resolve(cli.open_config())
    workdir = pathlib.Path(_WORKDIR.value or experiment.default_workdir(config))
    file = cli.config_module()
    seeds = ablation.seeds_of(file, _SEEDS.value)
    failed = ablation.run(
        cli.open_config(),
        ablation.collect(getattr(file, "sweep", None), _SWEEP.value, seeds),
        seeds,
        workdir,
        _BATCHING.value,
        _PER_BATCH.value,
    )
    for reason in failed:
        print(f"failed: {reason}", file=sys.stderr)
    if distributed.is_primary():
        print(comparison.compare([workdir], output=workdir))
        print(f"written: {workdir}/comparison.md, .csv, .json, .tex, .png")
    return 1 if failed else 0


if __name__ == "__main__":
    cli.run(main)
