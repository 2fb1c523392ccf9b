"""Synthetic lace with holes, broken threads and stains: no download needed.

    python -m jax_scadn.train --config=configs/lace.py

Small enough for a laptop: 64 x 64 pixels, a sixteenth of the full model's parameters.
Hardware: 2 CPU cores. Time and result: README.
"""

from jax_scadn import methods


def get_config():
    """Settings of the demo."""
    config = methods.default()
    config.name = "lace"
    config.data.source = "lace"
    config.data.size = 64
    config.data.channels = 1
    config.model.width = 16
    config.model.blocks = 4
    config.model.discriminator_width = 16
    config.optimizer.learning_rate = 5e-4  # few steps: five times the paper's
    config.optimizer.discriminator_learning_rate = 5e-5
    config.training.batch_size = 8
    config.training.steps = 2000
    config.selection.images = 64
    config.scoring.images_per_call = 16
    return config
