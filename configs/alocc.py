"""ALOCC on MNIST: D's opinion of an image, or of its reconstruction.

    python -m jax_scadn.train --config=configs/alocc.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/alocc.py:d --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/alocc.py:small \
        --config.data.path=FOLDER --config.data.category=0

'd' and 'dr' score with the same training; 'small' is 'dr' for a CPU. Hardware: one
NVIDIA GPU; 2 CPU cores for 'small'. Result of 'small': docs/results.md; its
steps are few, since the training is not stable. The others: not yet run.
"""

from jax_scadn import methods


def get_config(preset: str = "dr"):
    """Settings for 'd', 'dr' or 'small'."""
    config = methods.default("alocc")
    config.name = f"alocc/{preset}"
    config.preset = "dr" if preset == "small" else preset
    config.data.source = "idx"
    config.data.path = "data/mnist"
    config.data.channels = 1
    config.scoring.images_per_call = 256
    if preset == "small":
        config.model.width = 8
        config.model.discriminator_width = 8
        config.training.batch_size = 64
        config.training.steps = 60
    return config
