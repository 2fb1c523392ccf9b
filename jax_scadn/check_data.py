"""Checks images before a training: `python -m jax_scadn.check_data --config=FILE`.

Reports on each category; the exit status is 1 if training would stop.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

from jax_scadn import methods
from jax_scadn.data import check
from jax_scadn.runtime import cli

cli.config_flag()


def main(_) -> int:
    return int(check.report(methods.resolve(cli.open_config())))


if __name__ == "__main__":
    cli.run(main)
