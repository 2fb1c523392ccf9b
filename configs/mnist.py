"""MNIST, one digit normal and the others anomalous (Table 5): 32 x 32, batch 512.

    python -m jax_scadn.train --config=configs/mnist.py:8
    python -m jax_scadn.train --config=configs/mnist.py --config.data.source=idx \
        --config.data.path=FOLDER_OF_IDX_GZ_FILES

Without a digit all ten are trained, one model each. Hardware: one NVIDIA GPU. Time and
result: not yet run with this budget; docs/results.md has a short CPU run.
"""

from jax_scadn import methods


def get_config(category: str = ""):
    """Settings for one normal digit, or for each of them."""
    config = methods.default()
    config.name = "mnist"
    config.data.source = "tfds"
    config.data.dataset = "mnist"
    config.data.category = category
    config.data.size = 32
    config.data.channels = 1
    config.training.batch_size = 512
    config.training.epochs = 200
    config.scoring.images_per_call = 64
    return config
