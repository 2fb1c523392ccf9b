"""Ablation of the parts of UTAD on MNIST, as in Table 2 of its paper.

    python -m jax_scadn.ablate --config=configs/ablation_utad_mnist.py:8 \
        --config.data.source=idx --config.data.path=FOLDER_OF_IDX_GZ_FILES

The parts that each row of the paper includes are known for the first and the last row
only: these are compared with the paper's numbers. The other rows remove one part each,
as its text describes. Without a digit all ten are trained, one model each.

Hardware: one NVIDIA GPU. Time and result: not yet run.
"""

from configs import utad_mnist

_NO_INFORMATION = {
    "impression.local_weight": 0.0,
    "impression.global_weight": 0.0,
    "impression.kl_weight": 0.0,
}
_NO_EXPERT = {"expert.enabled": False}
_NO_PERCEPTION = {"scoring.distance": "squared"}


def get_config(category: str = ""):
    """Settings of the full model, for one normal digit or for each of them."""
    config = utad_mnist.get_config(category)
    config.name = "ablation_utad_mnist"
    config.preset = "paper"
    return config


def sweep(add):
    """All parts but one; without Expert-Net there is no guidance by details."""
    add("baseline", {**_NO_INFORMATION, **_NO_EXPERT, **_NO_PERCEPTION})
    add("no_information", _NO_INFORMATION)
    add("no_expert", _NO_EXPERT)
    add("no_guidance", {"expert.guidance": "noise"})
    add("no_perception", _NO_PERCEPTION)
    add("full", {})
