"""Table 3 of the UTAD paper: one training, measured in seven ways.

    python -m jax_scadn.ablate --config=configs/ablation_utad_mvtec.py:bottle \
        --config.data.path=FOLDER

Three of the paper's seven names were lost; the differences named here are those that
its text speaks of. Settings and sizes are those of configs/utad_cpu.py, which tells of
VGG-19's weights. For the paper's own settings take configs/utad_mvtec.py as the base.

Hardware: 2 CPU cores. Time and result: docs/results.md.
"""

from configs import utad_cpu


def get_config(category: str = ""):
    """Settings for one category, or for all that the folder holds."""
    config = utad_cpu.get_config(category)
    config.name = "ablation_utad_mvtec"
    return config


def sweep(add):
    """The rows of the table; they differ in scoring only."""
    for measure in ("absolute", "squared", "ssim", "conv1_2", "conv2_2", "conv3_4"):
        add(measure, {"scoring.distance": measure})
    add("pm", {})
