"""UTAD on your own images on a CPU: 64 x 64, a quarter of the widths, both stages.

    python -m jax_scadn.train --config=configs/utad_cpu.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/utad_cpu.py:bottle \
        --config.data.path=FOLDER

The folder has the MVTec AD layout. VGG-19's weights come from
`python -m jax_scadn.fetch_weights` or --config.vgg_weights;
--config.scoring.distance=ssim needs no weights. Hardware: 2 CPU cores, 11 minutes for
200 images. Result: docs/results.md.
"""

from jax_scadn import methods


def get_config(category: str = ""):
    """Settings for one category, or for all in the folder."""
    config = methods.default("utad")
    config.name = "utad_cpu"
    config.preset = "paper"
    config.data.path = "data/mvtec_ad"
    config.data.category = category
    config.data.size = 64
    config.impression.features = (8, 16, 32)
    config.impression.pools = (4, 2, 2)
    config.impression.decoder_features = (32, 16, 8)
    config.impression.upsamplings = (2, 4, 2)
    config.impression.head_features = 32
    config.impression.latent = 32
    config.impression.learning_rate = 1e-2  # few steps: ten times the public one
    config.impression.discriminator_learning_rate = 3e-3
    config.expert.width = 16
    config.expert.blocks = 1
    config.expert.mlp_width = 64
    config.expert.learning_rate = 1e-3
    config.expert.training.batch_size = 4
    config.expert.training.steps = 2000
    config.impression.training.batch_size = 8
    config.impression.training.steps = 3000
    config.scoring.images_per_call = 16
    return config
