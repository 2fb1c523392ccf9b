"""Fills a paper's table: `python -m jax_scadn.reproduce --table=scadn/table5`.

Trains what is missing; run the same command again to resume. --folder=PARTS instead
ranks all methods on your own images (MVTec AD layout).
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

from absl import flags

from jax_scadn.experiments import ablation, reproduction
from jax_scadn.experiments.reproduction import columns
from jax_scadn.runtime import cli

cli.settings_flags(columns.template())
cli.cluster_flags()
_TABLE = flags.DEFINE_string("table", None, "Such as scadn/table5.")
_FOLDER = cli.path_flag("folder", None, "Your images, in place of a table.")
_BUDGET = flags.DEFINE_enum("budget", "small", columns.BUDGETS, "small: two CPU cores.")
_METHODS = flags.DEFINE_list("methods", [], "Titles or modules; default: all.")
_CATEGORIES = flags.DEFINE_list("categories", [], "Default: all that are there.")
_SEEDS = flags.DEFINE_list("seeds", [], "Default: 0, or as many as the paper's.")
_WORKDIR = cli.path_flag("workdir", "", "Default: runs/reproduction/<table or folder>.")


def main(_) -> int:
    seeds = ablation.seeds_of(None, _SEEDS.value) if _SEEDS.value else ()
    request = reproduction.Request(
        _BUDGET.value, _METHODS.value, _CATEGORIES.value, seeds, cli.given_settings()
    )
    done = reproduction.run(_TABLE.value, _FOLDER.value, request, _WORKDIR.value)
    print("\n".join([done.text, *(f"failed: {one}" for one in done.failures)]))
    return 1 if done.failures else 0


if __name__ == "__main__":
    cli.run(main)
