"""Your own images on a CPU: 64 x 64, a sixteenth of the parameters, a few minutes.

    python -m jax_scadn.train --config=configs/small_cpu.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/small_cpu.py:plain \
        --config.data.path=GOOD_IMAGES --config.data.test_path=IMAGES_TO_TEST

The first takes a folder in the MVTec AD layout, the second any folder of good images;
images to test are optional. Hardware: 2 CPU cores, about 5 minutes. Result, after 3,000
steps on 200 images: docs/results.md.
"""

from jax_scadn import methods


def get_config(source: str = "folder"):
    """Settings for 'folder' or 'plain'."""
    config = methods.default()
    config.name = "small_cpu"
    config.data.source = source
    config.data.size = 64
    config.model.width = 16
    config.model.blocks = 4
    config.model.discriminator_width = 16
    config.optimizer.learning_rate = 1e-3  # few steps: ten times the paper's
    config.optimizer.discriminator_learning_rate = 1e-4
    config.training.batch_size = 8
    config.training.steps = 1500
    config.selection.keep = "last"
    config.scoring.images_per_call = 16
    return config
