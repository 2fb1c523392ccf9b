"""Autoencoders on images of your own folder: AE-L2, AE-SSIM, and SCADN's DAE.

    python -m jax_scadn.train --config=configs/autoencoder.py --config.data.path=DATA
    python -m jax_scadn.train --config=configs/autoencoder.py:dae --config.data.path=DATA

As in their papers, but for the images: 128 x 128 pixels. Hardware: one NVIDIA GPU. Not
yet run at this size; sized for a CPU: --config.data.size=64 --config.training.steps=400.
"""

from jax_scadn import methods


def get_config(preset: str = "ae_l2"):
    config = methods.default("autoencoder")
    config.name = preset
    config.preset = preset
    if preset == "ae_ssim":
        config.scoring.distance = "ssim"
    return config
