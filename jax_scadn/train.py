"""Trains a detector on normal images: `python -m jax_scadn.train --config=FILE`.

Run the same command again to resume from the last checkpoint. At the end the detector
is calibrated on normal images and, if there are test images, evaluated.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib

from jax_scadn import methods
from jax_scadn.experiments import experiment
from jax_scadn.runtime import cli

cli.config_flag()
cli.cluster_flags()
_WORKDIR = cli.path_flag(
    "workdir", "", "Where everything is written; default: runs/<name>[/<category>]."
)


def main(_) -> None:
    config = methods.resolve(cli.open_config())
    workdir = _WORKDIR.value or experiment.default_workdir(config)
    experiment.train(config, pathlib.Path(workdir))


if __name__ == "__main__":
    cli.run(main)
