"""Table 3 of the UTAD paper: one training, scored with seven distances.

    python -m jax_scadn.ablate --config=configs/ablation_utad_mvtec.py:bottle \
        --config.data.path=FOLDER

Three of the paper's seven names were lost; the distances here are those that its text
mentions. Settings and sizes are those of configs/utad_cpu.py, which also explains
VGG-19's weights. For the paper's own settings use configs/utad_mvtec.py as the base.

Hardware: 2 CPU cores. Time and result: docs/results.md.
"""

from configs import utad_cpu


def get_config(category: str = ""):
    """Settings for one category, or for all in the folder."""
    config = utad_cpu.get_config(category)
    config.name = "ablation_utad_mvtec"
    return config


def sweep(add):
    """The rows of the table; they differ in scoring only."""
    for measure in ("absolute", "squared", "ssim", "conv1_2", "conv2_2", "conv3_4"):
        add(measure, {"scoring.distance": measure})
    add("pm", {})
