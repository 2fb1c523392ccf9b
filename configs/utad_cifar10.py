"""CIFAR-10, one class normal and the others anomalous (UTAD, Table 2), with flips.

    python -m jax_scadn.train --config=configs/utad_cifar10.py:ship
    python -m jax_scadn.train --config=configs/utad_cifar10.py \
        --config.data.source=cifar10 --config.data.path=FOLDER_OF_THE_BATCHES

Networks as in configs/utad_mnist.py. Hardware: one NVIDIA GPU. Time and result: not
yet run.
"""

from configs import utad_mnist


def get_config(category: str = ""):
    """Settings for one normal class, or for each of them."""
    config = utad_mnist.get_config(category)
    config.name = "utad_cifar10"
    config.data.dataset = "cifar10"
    config.data.channels = 3
    config.data.flip = True
    return config
