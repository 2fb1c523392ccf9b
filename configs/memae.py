"""MemAE as the baseline of SCADN: its generator with a memory instead of blocks.

    python -m jax_scadn.train --config=configs/memae.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/memae.py:small --config.data.path=FOLDER

The first is the paper's setting at 512 x 512, with cosine similarity as in MemAE's
paper; `:code` has the inner product and the threshold of its authors' code. Hardware:
one NVIDIA GPU. Time and result: not yet run. The second is for 2 CPU cores: 64 x 64,
a sixteenth of the parameters, about a minute for 200 images; image AUROC on MVTec
bottle: 0.90 (docs/results.md).
"""

from jax_scadn import methods


def get_config(preset: str = "paper"):
    """Settings for 'paper', 'code' or 'small'."""
    config = methods.default("memae")
    config.name = f"memae/{preset}"
    config.data.path = "data/mvtec_ad"
    if preset != "small":
        config.preset = preset
        return config
    config.data.size = 64
    config.model.width = 16
    config.memory.size = 200
    config.memory.similarity = "product"  # learns in fewer steps
    config.memory.shrinkage = 1.0
    config.optimizer.learning_rate = 1e-3  # few steps: ten times the paper's
    config.training.batch_size = 8
    config.training.steps = 600
    config.scoring.images_per_call = 16
    return config
