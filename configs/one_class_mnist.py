"""MNIST's row in Table 5 of the SCADN paper: each digit normal in turn, three seeds.

    python -m jax_scadn.ablate --config=configs/one_class_mnist.py \
        --config.data.path=FOLDER_OF_IDX_GZ_FILES

Ten digits times three seeds are thirty trainings with one compiled step. The networks
are small enough for a CPU; configs/mnist.py has the paper's settings.

Hardware: 2 CPU cores, about 29 minutes. Result: docs/results.md.
"""

from jax_scadn import methods

SEEDS = (0, 1, 2)


def get_config():
    """Settings that all digits share."""
    config = methods.default()
    config.name = "one_class_mnist"
    config.data.source = "idx"
    config.data.path = "data/mnist"
    config.data.size = 32
    config.data.channels = 1
    config.data.test_normal_limit = 100  # 1,000 of the 10,000 test images; 0 = all
    config.data.test_anomalous_limit = 100
    config.model.width = 16
    config.model.blocks = 2
    config.model.discriminator_width = 16
    config.optimizer.learning_rate = 1e-3  # few steps: ten times the paper's
    config.optimizer.discriminator_learning_rate = 1e-4
    config.training.batch_size = 32
    config.training.steps = 200
    config.training.picture_every = 0
    config.selection.keep = "last"
    config.calibration.images = 500
    config.scoring.images_per_call = 64
    return config


def sweep(add):
    """A variant for each digit."""
    for digit in range(10):
        add(str(digit), {"data.category": str(digit)})
