"""RIAD on MVTec AD at 256 x 256, as in its paper.

    python -m jax_scadn.train --config=configs/riad.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/riad.py:small --config.data.path=FOLDER

Hardware: one NVIDIA GPU. Time and result: not yet run. The second is for 2 CPU cores:
64 x 64, a sixty-fourth of the parameters, 3 minutes for 200 images; image AUROC on
MVTec bottle: 0.97 (docs/results.md).
"""

from jax_scadn import methods


def get_config(preset: str = "paper"):
    """Settings for 'paper' or 'small'."""
    config = methods.default("riad")
    config.name = f"riad/{preset}"
    config.data.path = "data/mvtec_ad"
    if preset == "small":
        config.data.size = 64
        config.model.width = 8
        config.masks.cells = (2, 4, 8)
        config.optimizer.learning_rate = 1e-3  # few steps: ten times the paper's
        config.training.batch_size = 8
        config.training.steps = 300
        config.scoring.smoothing = 7
        config.scoring.images_per_call = 16
    elif preset != "paper":
        raise ValueError(f"{preset!r} must be 'paper' or 'small'")
    return config
