"""scikit-learn's handwritten digits, each one normal in turn: no download needed.

    python -m jax_scadn.train --config=configs/digits.py      # ten small models
    python -m jax_scadn.train --config=configs/digits.py:8    # one of them

The first 1,200 of the 1,797 images of 8 x 8 pixels are for training; the others, by
other writers, are for testing. Hardware: 2 CPU cores. Time and result: README.
"""

from jax_scadn import methods


def get_config(category: str = ""):
    """Settings for one normal digit, or for each of them."""
    config = methods.default()
    config.name = "digits"
    config.data.source = "digits"
    config.data.category = category
    config.data.size = 32
    config.data.channels = 1
    config.model.width = 16
    config.model.blocks = 2
    config.model.discriminator_width = 16
    config.optimizer.learning_rate = 1e-3  # few steps: ten times the paper's
    config.optimizer.discriminator_learning_rate = 1e-4
    config.training.batch_size = 16
    config.training.steps = 200
    config.training.picture_every = 0
    config.selection.keep = "last"
    config.scoring.images_per_call = 32
    return config
