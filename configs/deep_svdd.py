"""Deep SVDD on MNIST or CIFAR-10, with the authors' budget.

    python -m jax_scadn.train --config=configs/deep_svdd.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/deep_svdd.py:cifar10 \
        --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/deep_svdd.py:small \
        --config.data.path=FOLDER --config.data.category=0

'small' is MNIST with few steps. Hardware: 2 CPU cores. Result on MNIST with a
part of the budget: docs/results.md. Time, CIFAR-10 and 'small': not yet run.
"""

from jax_scadn import methods

_SOURCES = {"mnist": ("idx", 28, 1), "cifar10": ("cifar10", 32, 3)}


def get_config(preset: str = "mnist"):
    """Settings for 'mnist', 'cifar10' or 'small'."""
    config = methods.default("deep_svdd")
    config.name = f"deep_svdd/{preset}"
    config.preset = data = "mnist" if preset == "small" else preset
    config.data.source, config.data.size, config.data.channels = _SOURCES[data]
    config.data.path = f"data/{data}"
    config.training.picture_every = 0
    config.scoring.images_per_call = 256
    if preset == "small":
        config.pretraining.steps = 300
        config.training.steps = 300
    return config
