"""Skip-GANomaly on CIFAR-10 or MNIST, as in its paper at 32 x 32.

    python -m jax_scadn.train --config=configs/skip_ganomaly.py \
        --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/skip_ganomaly.py:mnist \
        --config.data.path=FOLDER

On a CPU: --config.model.width=16 --config.training.steps=300 and one class,
--config.data.category=0. Hardware: one NVIDIA GPU. Time and result: not yet run.
"""

from jax_scadn import methods

_SOURCES = {"mnist": ("idx", 1), "cifar10": ("cifar10", 3)}


def get_config(data: str = "cifar10"):
    """Settings for 'cifar10' or 'mnist'."""
    config = methods.default("skip_ganomaly")
    config.name = f"skip_ganomaly/{data}"
    config.data.source, config.data.channels = _SOURCES[data]
    config.data.path = f"data/{data}"
    config.scoring.images_per_call = 64
    return config
