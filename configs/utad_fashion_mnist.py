"""Fashion-MNIST, one class normal, the others anomalous, see configs/utad_mnist.py.

    python -m jax_scadn.train --config=configs/utad_fashion_mnist.py:sneaker
    python -m jax_scadn.train --config=configs/utad_fashion_mnist.py \
        --config.data.source=idx --config.data.path=FOLDER_OF_IDX_GZ_FILES

Hardware: one NVIDIA GPU. Time and result: not yet run.
"""

from configs import utad_mnist


def get_config(category: str = ""):
    """Settings for one normal class, or for each of them."""
    config = utad_mnist.get_config(category)
    config.name = "utad_fashion_mnist"
    config.data.dataset = "fashion_mnist"
    return config
