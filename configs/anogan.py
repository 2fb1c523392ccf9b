"""AnoGAN on MNIST at 32 x 32: with an encoder, or with a search for each image.

    python -m jax_scadn.train --config=configs/anogan.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/anogan.py:search \
        --config.data.path=FOLDER

On a CPU: --config.model.width=16 --config.training.steps=500
--config.encoder.training.steps=500, one class (--config.data.category=0), and for the
search few test images (--config.data.test_normal_limit=50) and
--config.scoring.search_steps=100. Hardware: one NVIDIA GPU. Time and result: not yet
run.
"""

from jax_scadn import methods


def get_config(preset: str = "fast"):
    """Settings for 'fast' or 'search'."""
    config = methods.default("anogan")
    config.name = f"anogan/{preset}"
    config.preset = preset
    config.data.source = "idx"
    config.data.path = "data/mnist"
    config.data.channels = 1
    config.scoring.images_per_call = 64
    return config
