"""Autoencoders: AE-L2, AE-SSIM, and SCADN's DAE, as in their papers at 128 x 128.

    python -m jax_scadn.train --config=configs/autoencoder.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/autoencoder.py:dae \
        --config.data.path=FOLDER

Hardware: one NVIDIA GPU. Time and result: not yet run at this size. For a CPU add
--config.data.size=64 --config.training.batch_size=16 --config.training.steps=1000.
"""

from jax_scadn import methods


def get_config(preset: str = "ae_l2"):
    """Settings for 'ae_l2', 'ae_ssim' or 'dae'."""
    config = methods.default("autoencoder")
    config.name = f"autoencoder/{preset}"
    config.preset = preset
    config.data.path = "data/mvtec_ad"
    config.data.channels = 3
    if preset == "ae_ssim":
        config.scoring.distance = "ssim"
    return config
