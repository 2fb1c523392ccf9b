"""x"""
from jax_scadn import configuration


def get_config():
    config = configuration.default()
    config.name = "lace"
    config.data.source = "lace"
    config.data.size = 64
    config.data.channels = 1
    config.model.width = 16
    config.model.blocks = 4
    config.model.discriminator_width = 16
    config.training.batch_size = 8
    config.training.steps = 300
    config.training.picture_every = 0
    config.scoring.images_per_call = 16
    return config
