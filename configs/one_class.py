"""One-class SVM and kernel density on MNIST: each digit normal in turn, no training.

    python -m jax_scadn.train --config=configs/one_class.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/one_class.py:kde \
        --config.data.path=FOLDER

On images of your own: --config.data.source=folder --config.data.size=64
--config.data.channels=3. Hardware: 2 CPU cores, about a minute a digit. Result:
docs/results.md.
"""

from jax_scadn import methods


def get_config(preset: str = "ocsvm"):
    """Settings for 'ocsvm' or 'kde'."""
    config = methods.default("one_class")
    config.name = f"one_class/{preset}"
    config.preset = preset
    config.data.source = "idx"
    config.data.path = "data/mnist"
    config.data.channels = 1
    config.scoring.images_per_call = 256
    return config
