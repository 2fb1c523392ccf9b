"""VAE, and gamma-VAE with gradient projection, at 256 x 256.

    python -m jax_scadn.train --config=configs/vae.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/vae.py:gamma_vae \
        --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/vae.py:small --config.data.path=FOLDER

Hardware: one NVIDIA GPU. Time and result: not yet run. `:small` and `:gamma_vae_small`
are for 2 CPU cores: 64 x 64, a quarter of the hidden units, 3 minutes for 200 images;
image AUROC on MVTec bottle: docs/results.md.
"""

from jax_scadn import methods


def get_config(preset: str = "vae"):
    """Settings for 'vae', 'gamma_vae', 'small' or 'gamma_vae_small'."""
    config = methods.default("vae")
    config.name = f"vae/{preset}"
    config.preset = preset.removesuffix("small").rstrip("_") or "vae"
    config.data.path = "data/mvtec_ad"
    if preset.endswith("small"):
        config.data.size = 64
        config.model.hidden = 512
        config.training.batch_size = 16
        config.training.steps = 1000
        config.scoring.images_per_call = 16
    return config
