"""MNIST, one digit normal and the others anomalous (UTAD, Table 2): 32 x 32.

    python -m jax_scadn.train --config=configs/utad_mnist.py:8
    python -m jax_scadn.train --config=configs/utad_mnist.py --config.data.source=idx \
        --config.data.path=FOLDER_OF_IDX_GZ_FILES

Three inception blocks and one residual block, as in the paper for small images; it does
not say which block and which pooling are left out. Without a digit all ten are trained,
one model each. Hardware: one NVIDIA GPU. Time and result: not yet run.
"""

from jax_scadn import methods


def get_config(category: str = ""):
    """Settings for one normal digit, or for each of them."""
    config = methods.default("utad")
    config.name = "utad_mnist"
    config.data.source = "tfds"
    config.data.dataset = "mnist"
    config.data.category = category
    config.data.size = 32
    config.data.channels = 1
    config.impression.features = (32, 64, 128)
    config.impression.pools = (2, 2, 2)
    config.impression.decoder_features = (128, 64, 32)
    config.impression.upsamplings = (2, 2, 2)
    config.impression.image_discriminator_scales = 2  # three need 64 pixels
    config.expert.blocks = 1
    config.expert.training.batch_size = 128
    config.scoring.image_score = "mean"  # a wrong object fills the image
    config.scoring.images_per_call = 64
    return config
