"""The smallest defects found: `python -m jax_scadn.sensitivity --workdir=DIR`.

Plants synthetic defects into the good images that were held out from the training, and
prints and writes into `DIR/sensitivity` the share of each size that is found.
"""

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import pathlib

from absl import flags

from jax_scadn.experiments import sensitivity
from jax_scadn.runtime import cli

_WORKDIR = cli.path_flag("workdir", None, "What jax_scadn.train wrote.")
_DATA = cli.path_flag("data", "", "Folder of the data, if it has moved.")
_SIZES = flags.DEFINE_list(
    "sizes", ["0.02", "0.04", "0.08", "0.16", "0.32"], "Shares of the image's side."
)
_CONTRASTS = flags.DEFINE_list("contrasts", ["0.1", "0.3", "1"], "In (0, 1].")
_TRIALS = flags.DEFINE_integer("trials", 40, "Defects of each size.", lower_bound=1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the defects.", lower_bound=0)
flags.mark_flag_as_required("workdir")


def main(_) -> None:
    sensitivity.run(
        pathlib.Path(_WORKDIR.value),
        _DATA.value,
        _SIZES.value,
        _CONTRASTS.value,
        _TRIALS.value,
        _SEED.value,
    )


if __name__ == "__main__":
    cli.run(main)
