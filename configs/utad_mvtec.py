"""MVTec AD as in Table 1 of the UTAD paper: 256 x 256, batch 4, 200 epochs, PM.

    python -m jax_scadn.train --config=configs/utad_mvtec.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/utad_mvtec.py:bottle \
        --config.data.path=FOLDER

The first trains all 15 categories one after another. One command trains both stages;
VGG-19's weights come from `python -m jax_scadn.fetch_weights` or --config.vgg_weights.
The public settings (--config.preset=reference) use batches of 128 in the first stage,
which the smaller categories cannot fill. Hardware: one NVIDIA GPU with 16 GB or more.
Time and result: not yet run.
"""

from configs import mvtec
from jax_scadn import methods


def get_config(category: str = ""):
    """Settings for one category, or for all of them."""
    config = methods.default("utad")
    config.name = "utad_mvtec"
    config.preset = "paper"
    config.data.path = "data/mvtec_ad"
    config.data.category = category
    config.data.categories = mvtec.CATEGORIES
    return config
