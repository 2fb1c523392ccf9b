"""Fashion-MNIST, one class normal and the others anomalous, as in configs/mnist.py.

    python -m jax_scadn.train --config=configs/fashion_mnist.py:sneaker
    python -m jax_scadn.train --config=configs/fashion_mnist.py \
        --config.data.source=idx --config.data.path=FOLDER_OF_IDX_GZ_FILES

Hardware: one NVIDIA GPU. Time and result: not yet run.
"""

from configs import mnist


def get_config(category: str = ""):
    """Settings for one normal class, or for each of them."""
    config = mnist.get_config(category)
    config.name = "fashion_mnist"
    config.data.dataset = "fashion_mnist"
    return config
