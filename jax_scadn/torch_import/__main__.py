"""Creates a detector from weights trained by the authors' PyTorch code.

    python -m jax_scadn.torch_import --generator=best_gen.pth \\
        --config=configs/mvtec.py:bottle --workdir=runs/imported
    python -m jax_scadn.torch_import --ie_net=IE.pth --gen_i=I.pth --gen_m=M.pth \\
        --config=configs/utad_mvtec.py:bottle --workdir=runs/imported

The method's statistics, thresholds and colours come from the normal images of the
settings.
"""

from __future__ import annotations

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import importlib
import pathlib
import pkgutil

from absl import flags

from jax_scadn import methods, torch_import
from jax_scadn.experiments import experiment
from jax_scadn.networks.pretrained import state_dict
from jax_scadn.runtime import cli, errors

# Each module of the package is named after the method whose weights it converts.
_METHODS = {
    module.name: importlib.import_module(f"jax_scadn.torch_import.{module.name}")
    for module in pkgutil.iter_modules(torch_import.__path__)
    if module.name != "__main__"
}


def main(_) -> None:
    config = methods.resolve(cli.open_config())
    if config.method not in _METHODS:
        raise errors.UserError(
            f"weights of {config.method} cannot be imported; choose one of: "
            f"{', '.join(_METHODS)}"
        )
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
        cli.path_flag(_network, "", "A .pth file, or .npz with the same names.")
    _WORKDIR = cli.path_flag("workdir", "", "Directory of the detector.")
    cli.run(main)
