"""UTAD's own settings, and its two presets.

The ablations of the paper's Table 2:

    without mutual information   impression.local_weight=0, impression.global_weight=0
                                 and impression.kl_weight=0
    without Expert-Net           expert.enabled=False
    without detail guidance      expert.guidance='noise'
    without PM                   scoring.distance='squared' or another of Table 3
"""

from __future__ import annotations

import dataclasses
import math

import ml_collections

from jax_scadn.runtime import errors
from jax_scadn.settings import base
from jax_scadn.settings.fields import Field

# What the paper says and what the authors' public settings say where they differ. The
# paper has no image discriminator and no content loss; its numbers that were lost, and
# the epochs of stage 2, which neither gives, are the same in both.
PRESETS = {
    "reference": {
        "impression.training.batch_size": 128,
        "impression.training.epochs": 400,
        "impression.image_gan_weight": 0.1,
        "expert.content_weight": 1.0,
    },
    "paper": {
        "impression.training.batch_size": 4,
        "impression.training.epochs": 200,
        "impression.image_gan_weight": 0.0,
        "expert.content_weight": 0.0,
    },
}

FIELDS = {
    "preset": Field(
        "reference",
        "'reference': the authors' public settings; 'paper': where the paper differs",
        choices=tuple(PRESETS),
    ),
    "data.size": Field(256, "pixels, both sides; see `check` for multiples", least=1),
    "scoring.distance": dataclasses.replace(
        base.FIELDS["scoring.distance"], default="pm"
    ),
    "scoring.image_score": dataclasses.replace(
        base.FIELDS["scoring.image_score"], default="max"
    ),
    # Stage 1: IE-Net.
    "impression.features": Field(
        (32, 32, 64, 128), "channels of each encoder block's branch", least=1
    ),
    "impression.pools": Field(
        (4, 2, 2, 2), "factor of the pooling after each of them", least=1
    ),
    "impression.decoder_features": Field(
        (128, 64, 64, 32), "channels of each decoder block's branch", least=1
    ),
    "impression.upsamplings": Field(
        (2, 4, 2, 2), "factor after each; product as of pools", least=1
    ),
    "impression.head_features": Field(
        64, "channels between features and code", least=1
    ),
    "impression.latent": Field(128, "length of the code z", least=1),
    "impression.reconstruction_weight": Field(
        100.0, "of mean((M - x)^2), Eq. 5", least=0
    ),
    "impression.local_weight": Field(
        1.5, "of the information of single positions, Eq. 4", least=0
    ),
    "impression.global_weight": Field(
        0.5, "of that of the whole feature map, Eq. 4", least=0
    ),
    "impression.kl_weight": Field(
        0.1, "of KL(q(z given x), N(0, 1)) / latent, Eq. 2", least=0
    ),
    "impression.image_gan_weight": Field(
        None, "of the image discriminator's loss; 0 = none", type=float, least=0
    ),
    "impression.image_discriminator_width": Field(
        32, "channels of its first layer", least=1
    ),
    "impression.image_discriminator_scales": Field(
        3, "image sizes that it sees", least=1
    ),
    "impression.learning_rate": Field(1e-3, "of IE-Net, SGD", above=0),
    "impression.discriminator_learning_rate": Field(
        1e-4, "of the latent and the image discriminator, SGD", above=0
    ),
    "impression.momentum": Field(0.9, "of SGD", least=0, below=1),
    "impression.weight_decay": Field(1e-4, "added to the gradient", least=0),
    **base.budget("impression.training", batch_size=None, epochs=None),
    # Stage 2: Expert-Net.
    "expert.enabled": Field(True, "False: the map is d(I, M), and there is no stage 2"),
    "expert.guidance": Field(
        "detail",
        "what the decoders get besides the content",
        choices=("detail", "noise"),
    ),
    "expert.width": Field(64, "channels of the first layers", least=1),
    "expert.blocks": Field(
        2, "residual blocks of an encoder, and of a decoder", least=1
    ),
    "expert.detail": Field(8, "length of the detail vector", least=1),
    "expert.mlp_width": Field(256, "units between detail and AdaIN", least=1),
    "expert.image_weight": Field(
        10.0, "of L1(reconstruction, image), in [-1, 1]", least=0
    ),
    "expert.impression_weight": Field(
        10.0, "of L1(naive impression, impression), the same", least=0
    ),
    "expert.detail_weight": Field(
        1.0, "of L1 of the details of reconstruction and image", least=0
    ),
    "expert.content_weight": Field(None, "of L1 of contents", type=float, least=0),
    **base.adam(1e-4, b1=0.5, b2=0.999, section="expert"),
    "expert.weight_decay": Field(1e-4, "added to the gradient", least=0),
    "expert.halve_every": Field(
        50_000, "steps between halvings of the learning rate", least=1
    ),
    **base.budget("expert.training", batch_size=1),
}
COLUMNS = {
    "UTAD": {
        "paper": {"preset": "paper", "data.size": 256},
        "paper/one_class": {
            "preset": "reference",
            "data.size": 32,
            "impression.features": (32, 64, 128),
            "impression.pools": (2, 2, 2),
            "impression.decoder_features": (128, 64, 32),
            "impression.upsamplings": (2, 2, 2),
            "impression.image_discriminator_scales": 2,  # three need 64 pixels
            "expert.blocks": 1,
            "expert.training.batch_size": 128,
            "scoring.image_score": "mean",  # a wrong object fills the image
        },
        "small": {
            "preset": "paper",
            "impression.features": (8, 16, 32),
            "impression.pools": (4, 2, 2),
            "impression.decoder_features": (32, 16, 8),
            "impression.upsamplings": (2, 4, 2),
            "impression.head_features": 32,
            "impression.latent": 32,
            # Few steps: ten times the public one.
            "impression.learning_rate": 1e-2,
            "impression.discriminator_learning_rate": 3e-3,
            "impression.training.batch_size": 8,
            "impression.training.steps": 3000,
            "expert.width": 16,
            "expert.blocks": 1,
            "expert.mlp_width": 64,
            "expert.learning_rate": 1e-3,
            "expert.training.batch_size": 4,
            "expert.training.steps": 2000,
        },
        "small/one_class": {
            "impression.pools": (2, 2, 2),
            "impression.upsamplings": (2, 2, 2),
            "impression.training.batch_size": 32,
            "impression.training.steps": 400,
            "expert.training.batch_size": 16,
            "expert.training.steps": 400,
            "scoring.image_score": "mean",
        },
    }
}


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where settings do not go together."""
    impression = config.impression
    for counts, factors in (
        ("features", "pools"),
        ("decoder_features", "upsamplings"),
    ):
        _check_blocks(impression, counts, factors)
    if math.prod(impression.pools) != math.prod(impression.upsamplings):
        raise errors.UserError(
            f"--config.impression.upsamplings={impression.upsamplings}: must have "
            f"the product of the pools, {math.prod(impression.pools)}"
        )
    _check_size(config)
    information = impression.local_weight > 0 or impression.global_weight > 0
    if information and impression.training.batch_size < 2:
        raise errors.UserError(
            "--config.impression.training.batch_size=1: must be at least 2, since "
            "mutual information compares an image with another one"
        )


def _check_blocks(impression, counts: str, factors: str) -> None:
    if not impression[counts]:
        raise errors.UserError(f"--config.impression.{counts}: give at least one")
    if len(impression[counts]) != len(impression[factors]):
        raise errors.UserError(
            f"--config.impression.{factors}={impression[factors]}: must have "
            f"{len(impression[counts])} items, one for each of {counts}"
        )


def _check_size(config: ml_collections.ConfigDict) -> None:
    size = config.data.size
    # IE-Net's head pools once more; Expert-Net halves twice for the content, and
    # four times, to a pixel at least, for the detail.
    multiple, least = 2 * math.prod(config.impression.pools), 0
    if config.expert.enabled:
        multiple, least = math.lcm(multiple, 4), 16
    if config.impression.image_gan_weight > 0:
        least = max(least, 16 << (config.impression.image_discriminator_scales - 1))
    if size < max(least, multiple) or size % multiple:
        raise errors.UserError(
            f"--config.data.size={size}: must be a multiple of {multiple}, at least "
            f"{max(least, multiple)}"
        )
