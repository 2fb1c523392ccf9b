"""Comparison with PyTorch's results: `python -m jax_scadn.parity GOLDEN.npz`.

Prints every quantity of a golden file of SCADN or UTAD; the exit status is 1 if one
fails. SCADN's settings can be changed to see it fail: `--config.masks.mask_value=0`.
"""

from __future__ import annotations

from jax_scadn.runtime import startup  # noqa: F401

# isort: split

import importlib
import pathlib

import jax
import numpy as np
from ml_collections import config_flags

from jax_scadn import methods
from jax_scadn.parity import report
from jax_scadn.runtime import cli, errors, paths
from jax_scadn.settings import resolve

_CONFIG = config_flags.DEFINE_config_dict("config", methods.default("scadn"))


def main(arguments: list[str]) -> int:
    if not arguments:
        raise errors.UserError("give one file: python -m jax_scadn.parity GOLDEN.npz")
    path = pathlib.Path(paths.local(arguments[0]))
    try:
        golden = dict(np.load(path))
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path} cannot be read as .npz: {error}") from None
    # TensorFloat-32 would make GPUs fail a check that float32 passes.
    jax.config.update("jax_default_matmul_precision", "highest")
    rows = _check(golden)
    print(report.text(rows))
    return 0 if all(row.passed for row in rows) else 1


def _check(golden: dict[str, np.ndarray]) -> list[report.Row]:
    name = "scadn" if "mask_set" in golden else "utad"
    module = importlib.import_module(f"jax_scadn.parity.{name}")
    defaults = resolve.flat(methods.default("scadn"))
    settings = resolve.flat(_CONFIG.value)
    changes = {k: v for k, v in settings.items() if v != defaults[k]}
    return module.check(golden, changes)


if __name__ == "__main__":
    cli.run(main, arguments=1)
