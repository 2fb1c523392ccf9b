"""SCADN's own settings, and its two presets."""

from __future__ import annotations

import ml_collections
from ml_collections import config_dict

from jax_scadn.losses import adversarial
from jax_scadn.runtime import errors
from jax_scadn.scoring import masks

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

ALLOWED = {
    "model.dilated_blocks": ("all", "first"),
    "loss.reconstruction": ("reference", "paper"),
    "loss.gan": adversarial.GAN_LOSSES,
    "selection.keep": ("best", "last"),
    "scoring.merge": ("max_mu", "max", "mean"),
}

LEAST = {
    "model.width": 1,
    "model.blocks": 0,
    "model.dilation": 1,
    "model.discriminator_width": 1,
    "model.power_iterations": 1,
    "selection.every_epochs": 1,
    "selection.images": 0,
    "scoring.masks_per_call": 0,
}


def add(config: ml_collections.ConfigDict) -> None:
    """Adds the sections of SCADN, with the values of the authors' public code."""
    masks_ = config.masks = ml_collections.ConfigDict()
    masks_.stripe_pairs = (2, 4, 8)  # per scale; a stripe is size / (2 pairs) wide
    masks_.probabilities = ()  # of each mask in training; () = uniform
    masks_.mask_value = config_dict.placeholder(float)  # of masked pixels, [0, 1]

    model = config.model = ml_collections.ConfigDict()
    model.width = 64  # channels of the generator's first layer
    model.blocks = 8  # residual blocks
    model.dilation = 2  # of the first convolution of a dilated residual block
    model.dilated_blocks = config_dict.placeholder(str)  # 'all' | 'first'
    model.discriminator_width = 64  # channels of the discriminator's first layer
    model.power_iterations = 1  # of spectral norm, per forward pass in training

    loss = config.loss = ml_collections.ConfigDict()
    loss.reconstruction = config_dict.placeholder(str)  # 'reference' | 'paper'
    loss.reconstruction_weight = 1.0  # lambda_rec, Eq. 4
    loss.masked_weight = 3.0  # lambda_rm, Eq. 2
    loss.gan = config_dict.placeholder(str)  # 'nsgan' | 'lsgan' | 'hinge' | 'minimax'
    loss.adversarial_weight = 0.001  # lambda_adv, Eq. 4
    loss.feature_matching_weight = 0.0  # L1 between discriminator features; 0 = off

    optimizer = config.optimizer = ml_collections.ConfigDict()
    optimizer.learning_rate = 1e-4  # of the generator
    optimizer.discriminator_learning_rate = config_dict.placeholder(float)
    optimizer.b1 = 0.0
    optimizer.b2 = 0.9
    optimizer.eps = 1e-8

    config.selection.every_epochs = 10  # how often the error on normals is measured
    config.selection.images = 0  # the first n training images; 0 = all

    config.scoring.merge = "max_mu"  # 'max_mu' | 'max' | 'mean', over the scales
    config.scoring.masks_per_call = 0  # masks inpainted at a time; 0 = by image size


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where numbers are out of range."""
    size = config.data.size
    if size < 24 or size % 8:
        raise errors.UserError(
            f"--config.data.size={size}: take a multiple of 8, 24 or more"
        )
    pairs = config.masks.stripe_pairs
    if not pairs or not all(isinstance(k, int) and 0 < 2 * k <= size for k in pairs):
        raise errors.UserError(
            f"--config.masks.stripe_pairs={pairs}: take whole numbers from 1 to "
            f"{size // 2}"
        )
    probabilities = config.masks.probabilities
    count = masks.MASKS_PER_SCALE * len(pairs)
    valid = len(probabilities) == count and min(probabilities) >= 0 < sum(probabilities)
    if probabilities and not valid:
        raise errors.UserError(
            f"--config.masks.probabilities={probabilities}: give {count}, one for "
            f"each mask, none below 0 and not all 0"
        )
