"""Table 4 of the SCADN paper: five trainings, seven evaluations, two seeds each.

    python -m jax_scadn.ablate --config=configs/ablation_mvtec.py:bottle \
        --config.data.path=FOLDER

Without a category every category in the folder is run. The networks are small enough
for a CPU; for the paper's own settings add --config.data.size=512
--config.model.width=64 --config.model.blocks=8 --config.model.discriminator_width=64
--config.training.steps=0 --config.training.batch_size=4.

Hardware: 2 CPU cores, about 45 minutes. Result: docs/results.md.
"""

from jax_scadn import methods

SEEDS = (0, 1)


def get_config(category: str = ""):
    """Settings of the full model, for one category or all."""
    config = methods.default()
    config.name = "ablation_mvtec"
    config.data.path = "data/mvtec_ad"
    config.data.category = category
    config.data.size = 64
    config.model.width = 16
    config.model.blocks = 4
    config.model.discriminator_width = 16
    config.optimizer.learning_rate = 1e-3  # few steps: ten times the paper's
    config.optimizer.discriminator_learning_rate = 1e-4
    config.training.batch_size = 8
    config.training.steps = 1000
    config.training.picture_every = 0
    config.selection.keep = "last"
    config.scoring.images_per_call = 16
    return config


def sweep(add):
    """The rows of the table: S1 are the largest stripes, S3 the smallest."""
    add("no_adversarial", {"loss.adversarial_weight": 0.0})
    for scale, pairs in (("S1", 2), ("S2", 4), ("S3", 8)):
        add(scale, {"masks.stripe_pairs": (pairs,)})
    # These three differ in scoring only, and share one training.
    add("mean", {"scoring.merge": "mean"})
    add("max", {"scoring.merge": "max"})
    add("full", {})
