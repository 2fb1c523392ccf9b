"""SCADN's own settings, and its two presets."""

from __future__ import annotations

import ml_collections

from jax_scadn.losses import adversarial
from jax_scadn.runtime import errors
from jax_scadn.scoring import masks
from jax_scadn.settings import base
from jax_scadn.settings.fields import Field

# What the paper says and what its authors' public code does where they differ.
PRESETS = {
    "reference": {
        "masks.mask_value": 1.0,
        "model.dilated_blocks": "all",
        "loss.reconstruction": "reference",
        "loss.gan": "nsgan",
        "optimizer.discriminator_learning_rate": 1e-5,
        "selection.keep": "best",
    },
    "paper": {
        "masks.mask_value": 0.0,
        "model.dilated_blocks": "first",
        "loss.reconstruction": "paper",
        "loss.gan": "minimax",
        "optimizer.discriminator_learning_rate": 1e-4,
        "selection.keep": "last",
    },
}

FIELDS = {
    "preset": Field(
        "reference",
        "'reference': the authors' public code; 'paper': where the paper differs",
        choices=tuple(PRESETS),
    ),
    **base.budget(),
    "masks.stripe_pairs": Field(
        (2, 4, 8),
        "of each scale; a stripe is size / (2 pairs) wide",
        least=1,
        words="pairs of stripes in a mask",
    ),
    "masks.probabilities": Field(
        (), "of each mask in training; () = uniform", type=float, least=0
    ),
    "masks.mask_value": Field(
        None,
        "of masked pixels",
        type=float,
        least=0,
        most=1,
        words="value of masked pixels",
    ),
    "model.width": Field(
        64, "channels of the generator's first layer", least=1, words="generator width"
    ),
    "model.blocks": Field(8, "residual blocks", least=0, words="generator blocks"),
    "model.dilation": Field(
        2, "of the first convolution of a dilated residual block, pixels", least=1
    ),
    "model.dilated_blocks": Field(
        None, "which residual blocks are dilated", type=str, choices=("all", "first")
    ),
    "model.discriminator_width": Field(
        64,
        "channels of the discriminator's first layer",
        least=1,
        words="discriminator width",
    ),
    "model.power_iterations": Field(
        1, "of spectral norm, per forward pass in training", least=1
    ),
    "loss.reconstruction": Field(
        None,
        "form of the reconstruction loss",
        type=str,
        choices=("reference", "paper"),
    ),
    "loss.reconstruction_weight": Field(1.0, "lambda_rec, Eq. 4", least=0),
    "loss.masked_weight": Field(3.0, "lambda_rm, Eq. 2", least=0),
    "loss.gan": Field(
        None,
        "form of the adversarial loss",
        type=str,
        choices=tuple(adversarial.GAN_LOSSES),
    ),
    "loss.adversarial_weight": Field(
        0.001, "lambda_adv, Eq. 4", least=0, words="weight of the adversarial loss"
    ),
    "loss.feature_matching_weight": Field(
        0.0, "of L1 between discriminator features; 0 = off", least=0
    ),
    **base.adam(1e-4, b1=0.0, b2=0.9, of="the generator, Adam"),
    "optimizer.discriminator_learning_rate": Field(
        None,
        "of the discriminator, Adam",
        type=float,
        above=0,
        words="discriminator's learning rate",
    ),
    "selection.keep": Field(
        None,
        "which weights; 'best': lowest error on normal training images",
        type=str,
        choices=("best", "last"),
    ),
    "selection.every_epochs": Field(
        10, "epochs between computations of that error", least=1
    ),
    "selection.images": Field(
        0,
        "first n training images that it is computed on; 0 = all",
        least=0,
        words="images that select weights",
        write="first",
    ),
    "scoring.merge": Field(
        "max_mu",
        "of the scales' maps",
        choices=("max_mu", "max", "mean"),
        words="merge of the scales",
        seen_by="scoring",
    ),
    "scoring.masks_per_call": Field(
        0, "masks inpainted together; 0 = by image size", least=0, seen_by="machine"
    ),
}
COLUMNS = {
    "SCADN": {
        "paper": {"data.size": 512, "training.batch_size": 4},
        "paper/one_class": {"data.size": 32, "training.batch_size": 512},
        "paper/cifar10": {"data.flip": True},
        "small": {
            "model.width": 16,
            "model.blocks": 4,
            "model.discriminator_width": 16,
            # Few steps: ten times the paper's.
            "optimizer.learning_rate": 1e-3,
            "optimizer.discriminator_learning_rate": 1e-4,
            "training.batch_size": 8,
            "training.steps": 1500,
            "selection.keep": "last",
        },
        "small/one_class": {
            "model.blocks": 2,
            "training.batch_size": 32,
            "training.steps": 200,
            "calibration.images": 500,
        },
    }
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where settings do not go together."""
    size = config.data.size
    if size < 24 or size % 8:
        raise errors.UserError(
            f"--config.data.size={size}: must be a multiple of 8, at least 24"
        )
    pairs = tuple(config.masks.stripe_pairs)
    if not pairs or 2 * max(pairs) > size:
        raise errors.UserError(
            f"--config.masks.stripe_pairs={pairs}: must be integers in "
            f"[1, {size // 2}], at least one"
        )
    probabilities = tuple(config.masks.probabilities)
    count = masks.MASKS_PER_SCALE * len(pairs)
    if probabilities and (len(probabilities) != count or not any(probabilities)):
        raise errors.UserError(
            f"--config.masks.probabilities={probabilities}: must be {count} numbers, "
            "one for each mask, and not all 0"
        )
