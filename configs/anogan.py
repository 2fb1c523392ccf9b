"""AnoGAN on MNIST at 32 x 32: with an encoder, or with a search for each image.

    python -m jax_scadn.train --config=configs/anogan.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/anogan.py:search \
        --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/anogan.py:small \
        --config.data.path=FOLDER --config.data.category=0

'small' is 'fast' for a CPU. The search takes scoring.search_steps passes of both
networks for each image. Hardware: one NVIDIA GPU; 2 CPU cores for 'small'.
Result of 'small': docs/results.md; the others: not yet run.
"""

from jax_scadn import methods


def get_config(preset: str = "fast"):
    """Settings for 'fast', 'search' or 'small'."""
    config = methods.default("anogan")
    config.name = f"anogan/{preset}"
    config.preset = "fast" if preset == "small" else preset
    config.data.source = "idx"
    config.data.path = "data/mnist"
    config.data.channels = 1
    config.scoring.images_per_call = 64
    if preset == "small":
        config.model.width = 16
        config.training.steps = 500
        config.encoder.training.steps = 300
    return config
