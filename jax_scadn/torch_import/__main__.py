"""A detector from weights that the authors' PyTorch code trained.

    python -m jax_scadn.torch_import --generator=best_gen.pth \\
        --config=configs/mvtec.py:bottle --workdir=runs/imported
    python -m jax_scadn.torch_import --ie_net=IE.pth --gen_i=I.pth --gen_m=M.pth \\
        --config=configs/utad_mvtec.py:bottle --workdir=runs/imported

mu, thresholds and colours come from the normal images of the settings.
"""

from __future__ import annotations

import pathlib

from absl import flags

from jax_scadn.experiments import experiment
from jax_scadn.networks.pretrained import state_dict
from jax_scadn.runtime import cli, errors
from jax_scadn.torch_import import scadn, utad

_METHODS = {"scadn": scadn, "utad": utad}


def main(_) -> None:
    config = cli.config()
    module = _METHODS[config.method]
    arrays = {}
    for network in module.NETWORKS:
        path = flags.FLAGS[network].value
        if not path:
            raise errors.UserError(f"give --{network}, a .pth or .npz file")
        arrays[network] = state_dict.load(path, network)
    config, trained = module.trained(config, arrays)
    workdir = _WORKDIR.value or experiment.default_workdir(config)
    experiment.import_detector(config, trained, pathlib.Path(workdir))


if __name__ == "__main__":
    cli.config_flag()
    for _network in [name for module in _METHODS.values() for name in module.NETWORKS]:
        flags.DEFINE_string(_network, "", "A .pth file, or .npz with the same names.")
    _WORKDIR = flags.DEFINE_string("workdir", "", "Where the detector is written.")
    cli.run(main)
