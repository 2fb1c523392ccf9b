"""GANomaly on CIFAR-10 or MNIST, as in its paper at 32 x 32.

    python -m jax_scadn.train --config=configs/ganomaly.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/ganomaly.py:mnist \
        --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/ganomaly.py:small \
        --config.data.path=FOLDER --config.data.category=0

'small' is MNIST for a CPU. Hardware: one NVIDIA GPU; 2 CPU cores for 'small'.
Result of 'small': docs/results.md; the others: not yet run.
"""

from jax_scadn import methods


def get_config(preset: str = "cifar10"):
    """Settings for 'cifar10', 'mnist' or 'small'."""
    config = methods.default("ganomaly")
    config.name = f"ganomaly/{preset}"
    config.data.source = "cifar10"
    config.data.path = "data/cifar10"
    config.scoring.images_per_call = 64
    if preset != "cifar10":
        config.data.source = "idx"
        config.data.path = "data/mnist"
        config.data.channels = 1
    if preset == "small":
        config.model.width = 16
        config.training.steps = 300
    return config
