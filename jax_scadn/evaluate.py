"""Evaluates a trained detector: `python -m jax_scadn.evaluate --workdir=DIR`.

Prints the table and writes it (JSON, CSV, Markdown) with a ROC plot and a contact
sheet into `DIR/evaluation`. A work directory of many categories gets each of them
and the table of all.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib

from absl import flags

from jax_scadn.experiments import experiment
from jax_scadn.runtime import cli

cli.cluster_flags()
_WORKDIR = cli.path_flag("workdir", None, "What jax_scadn.train wrote.")
_DATA = cli.path_flag("data", "", "Folder of the data, if it has moved.")
_TEST_DATA = cli.path_flag(
    "test_data", "", "Folder of the test images of 'plain' data, if it has moved."
)
flags.mark_flag_as_required("workdir")


def main(_) -> None:
    experiment.evaluate(pathlib.Path(_WORKDIR.value), _DATA.value, _TEST_DATA.value)


if __name__ == "__main__":
    cli.run(main)
