"""A detector from a generator that the authors' PyTorch code trained.

    python -m jax_scadn.torch_import --generator=best_gen.pth \\
        --config=configs/mvtec.py:bottle --workdir=runs/imported

It is for evaluate and predict; mu, threshold and colours come from the normal images
of the settings.
"""

from __future__ import annotations

import pathlib

from absl import flags

from jax_scadn import cli, experiment
from jax_scadn.torch_import import scadn, state_dict


def main(_) -> None:
    arrays = state_dict.load(_GENERATOR.value, "generator")
    params = scadn.generator_params(arrays)
    config = scadn.settings_for(params, cli.config())
    workdir = _WORKDIR.value or experiment.default_workdir(config)
    experiment.import_detector(config, {"": params}, pathlib.Path(workdir))


if __name__ == "__main__":
    cli.config_flag()
    _GENERATOR = flags.DEFINE_string("generator", None, "A ..._gen.pth or .npz file.")
    _WORKDIR = flags.DEFINE_string("workdir", "", "Where the detector is written.")
    flags.mark_flag_as_required("generator")
    cli.run(main)
