"""LaceAD as in Table 1 of the SCADN paper: 17 patterns, 512 x 512, batch 4.

    python -m jax_scadn.train --config=configs/laceAD.py --config.data.path=FOLDER

The folder has the MVTec AD layout, one category for each pattern, named 1 to 17 as in
the table. A model is trained for each. Hardware: one NVIDIA GPU with 16 GB or more.
Time and result: not yet run.
"""

from jax_scadn import methods


def get_config(category: str = ""):
    """Settings for one pattern, or for all in the folder."""
    config = methods.default()
    config.name = "laceAD"
    config.data.path = "data/laceAD"
    config.data.dataset = "lacead"  # so that `compare` knows the table
    config.data.category = category
    config.data.size = 512
    config.training.batch_size = 4
    config.training.epochs = 200
    return config
