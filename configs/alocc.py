"""ALOCC on MNIST: D's opinion of an image, or of its reconstruction.

    python -m jax_scadn.train --config=configs/alocc.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/alocc.py:d --config.data.path=FOLDER

Both score with the same training. One digit: --config.data.category=0. A short run:
--config.training.steps=300. Hardware: 2 CPU cores. Time and result: not yet run.
"""

from jax_scadn import methods


def get_config(preset: str = "dr"):
    """Settings for 'd' or 'dr'."""
    config = methods.default("alocc")
    config.name = f"alocc/{preset}"
    config.preset = preset
    config.data.source = "idx"
    config.data.path = "data/mnist"
    config.data.channels = 1
    config.scoring.images_per_call = 256
    return config
