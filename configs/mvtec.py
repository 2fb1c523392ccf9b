"""MVTec AD as in Tables 2 and 3 of the SCADN paper: 512 x 512, batch 4, 200 epochs.

    python -m jax_scadn.train --config=configs/mvtec.py --config.data.path=FOLDER
    python -m jax_scadn.train --config=configs/mvtec.py:bottle --config.data.path=FOLDER

The first trains all 15 categories one after another and ends with a table of their
means. Hardware: one NVIDIA GPU with 16 GB or more. Time and result: not yet run.
"""

from jax_scadn import methods

CATEGORIES = (
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
)


def get_config(category: str = ""):
    """Settings for one category, or for all of them."""
    config = methods.default()
    config.name = "mvtec"
    config.data.path = "data/mvtec_ad"
    config.data.category = category
    config.data.categories = CATEGORIES
    config.data.size = 512
    config.training.batch_size = 4
    config.training.epochs = 200
    return config
