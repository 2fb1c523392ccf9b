"""Deep SVDD on MNIST or CIFAR-10, with the authors' budget.

    python -m jax_scadn.train --config=configs/deep_svdd.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/deep_svdd.py:cifar10 \
        --config.data.path=FOLDER

One class: --config.data.category=0. A short run: --config.pretraining.steps=600
--config.training.steps=600. Hardware: 2 CPU cores. Time and result: not yet run.
"""

from jax_scadn import methods

_SOURCES = {"mnist": ("idx", 28, 1), "cifar10": ("cifar10", 32, 3)}


def get_config(preset: str = "mnist"):
    """Settings for 'mnist' or 'cifar10'."""
    config = methods.default("deep_svdd")
    config.name = f"deep_svdd/{preset}"
    config.preset = preset
    config.data.source, config.data.size, config.data.channels = _SOURCES[preset]
    config.data.path = f"data/{preset}"
    config.training.picture_every = 0
    config.scoring.images_per_call = 256
    return config
