"""UTAD's own settings, and its two presets.

The ablations of the paper's Table 2:

    without mutual information   impression.local_weight=0, impression.global_weight=0
                                 and impression.kl_weight=0
    without Expert-Net           expert.enabled=False
    without detail guidance      expert.guidance='noise'
    without PM                   scoring.distance='squared' or another of Table 3
"""

from __future__ import annotations

import math

import ml_collections
from ml_collections import config_dict

from jax_scadn.runtime import errors

# What the paper says and what the authors' public settings say where they differ. The
# paper has no image discriminator and no content loss; its numbers that were lost, and
# the epochs of stage 2, which neither tells, are the same in both.
PRESETS = {
    "reference": {
        "training.batch_size": 128,
        "training.epochs": 400,
        "impression.image_gan_weight": 0.1,
        "expert.content_weight": 1.0,
    },
    "paper": {
        "training.batch_size": 4,
        "training.epochs": 200,
        "impression.image_gan_weight": 0.0,
        "expert.content_weight": 0.0,
    },
}

ALLOWED = {"expert.guidance": ("detail", "noise")}

LEAST = {
    "impression.head_features": 1,
    "impression.latent": 1,
    "impression.reconstruction_weight": 0,
    "impression.local_weight": 0,
    "impression.global_weight": 0,
    "impression.kl_weight": 0,
    "impression.image_gan_weight": 0,
    "impression.image_discriminator_width": 1,
    "impression.image_discriminator_scales": 1,
    "impression.weight_decay": 0,
    "expert.width": 1,
    "expert.blocks": 1,
    "expert.detail": 1,
    "expert.mlp_width": 1,
    "expert.image_weight": 0,
    "expert.impression_weight": 0,
    "expert.detail_weight": 0,
    "expert.content_weight": 0,
    "expert.weight_decay": 0,
    "expert.halve_every": 1,
    "expert.training.batch_size": 1,
    "expert.training.epochs": 0,
    "expert.training.steps": 0,
}


def add(config: ml_collections.ConfigDict) -> None:
    """Adds the sections of the two stages; `training` is that of stage 1."""
    config.data.size = 256  # pixels, both sides; see `check` for what it divides by
    config.training.batch_size = config_dict.placeholder(int)  # over all devices
    config.training.epochs = config_dict.placeholder(int)
    config.selection.keep = "last"
    config.scoring.distance = "pm"
    config.scoring.image_score = "max"

    impression = config.impression = ml_collections.ConfigDict()  # stage 1: IE-Net
    impression.features = (32, 32, 64, 128)  # channels of each encoder block's branch
    impression.pools = (4, 2, 2, 2)  # factor of the pooling after each of them
    impression.decoder_features = (128, 64, 64, 32)  # of each decoder block's branch
    impression.upsamplings = (2, 4, 2, 2)  # factor after each; product as of pools
    impression.head_features = 64  # channels between features and code
    impression.latent = 128  # length of the code z
    impression.reconstruction_weight = 100.0  # of mean((M - x)^2), Eq. 5
    impression.local_weight = 1.5  # of the information of single positions, Eq. 4
    impression.global_weight = 0.5  # of that of the whole feature map, Eq. 4
    impression.kl_weight = 0.1  # of KL(q(z|x) || N(0, 1)) / latent, Eq. 2
    impression.image_gan_weight = config_dict.placeholder(float)  # 0 = none
    impression.image_discriminator_width = 32  # channels
    impression.image_discriminator_scales = 3  # image sizes that it sees
    impression.learning_rate = 1e-3  # of IE-Net, SGD
    impression.discriminator_learning_rate = 1e-4  # of latent and image ones, SGD
    impression.momentum = 0.9
    impression.weight_decay = 1e-4  # added to the gradient

    expert = config.expert = ml_collections.ConfigDict()  # stage 2: Expert-Net
    expert.enabled = True  # False: the map is d(I, M), and there is no stage 2
    expert.guidance = "detail"  # 'detail' | 'noise', what the decoders are told
    expert.width = 64  # channels of the first layers
    expert.blocks = 2  # residual blocks of an encoder, and of a decoder
    expert.detail = 8  # length of the detail vector
    expert.mlp_width = 256  # between detail and AdaIN
    expert.image_weight = 10.0  # of L1(reconstruction, image), in [-1, 1]
    expert.impression_weight = 10.0  # of L1(naive impression, impression), the same
    expert.detail_weight = 1.0  # of L1 of the details of reconstruction and image
    expert.content_weight = config_dict.placeholder(float)  # of L1 of contents
    expert.learning_rate = 1e-4
    expert.b1 = 0.5
    expert.b2 = 0.999
    expert.eps = 1e-8
    expert.weight_decay = 1e-4  # added to the gradient
    expert.halve_every = 50_000  # steps, of the learning rate
    training = expert.training = ml_collections.ConfigDict()
    training.batch_size = 1  # images, over all devices
    training.epochs = 200
    training.steps = 0  # if not 0: this many updates, whatever the epochs say


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where numbers do not go together."""
    impression = config.impression
    for counts, factors in (
        ("features", "pools"),
        ("decoder_features", "upsamplings"),
    ):
        _check_blocks(impression, counts, factors)
    if math.prod(impression.pools) != math.prod(impression.upsamplings):
        raise errors.UserError(
            f"--config.impression.upsamplings={impression.upsamplings}: their product "
            f"is to be that of the pools, {math.prod(impression.pools)}"
        )
    _check_size(config)
    information = impression.local_weight > 0 or impression.global_weight > 0
    if information and config.training.batch_size < 2:
        raise errors.UserError(
            "--config.training.batch_size=1: take 2 or more, since mutual information "
            "compares an image with another one"
        )
    schedule = config.expert.training
    if config.expert.enabled and not schedule.steps and not schedule.epochs:
        raise errors.UserError(
            "set --config.expert.training.epochs or .steps to 1 or more"
        )


def _check_blocks(impression, counts: str, factors: str) -> None:
    values = tuple(impression[counts]) + tuple(impression[factors])
    if not all(isinstance(n, int) and n > 0 for n in values) or not values:
        raise errors.UserError(
            f"--config.impression.{counts} and .{factors}: take whole numbers, 1 or "
            "more"
        )
    if len(impression[counts]) != len(impression[factors]):
        raise errors.UserError(
            f"--config.impression.{factors}={impression[factors]}: give "
            f"{len(impression[counts])}, one for each of {counts}"
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
            f"--config.data.size={size}: take a multiple of {multiple}, "
            f"{max(least, multiple)} or more"
        )
