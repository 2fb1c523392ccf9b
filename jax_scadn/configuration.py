"""Every setting, its unit or allowed values, its default, and the two presets.

Files in `configs/` start from `default()` and change what their experiment needs.
Fields that are `None` here take their value from the preset in `resolve`.
"""

from __future__ import annotations

import json
import pathlib

import ml_collections
from ml_collections import config_dict

from jax_scadn import atomic, errors, losses

# What the SCADN paper says and what its authors' public code does where they differ.
PRESETS = {
    "reference": {
        "masks.fill": 1.0,
        "model.dilated_blocks": "all",
        "loss.reconstruction": "reference",
        "loss.gan": "nsgan",
        "optimizer.discriminator_learning_rate": 1e-5,
        "selection.keep": "best",
    },
    "paper": {
        "masks.fill": 0.0,
        "model.dilated_blocks": "first",
        "loss.reconstruction": "paper",
        "loss.gan": "minimax",
        "optimizer.discriminator_learning_rate": 1e-4,
        "selection.keep": "last",
    },
}

ALLOWED = {
    "method": ("scadn",),
    "preset": tuple(PRESETS),
    "dtype": ("float32", "bfloat16"),
    "data.source": ("folder", "plain", "idx", "cifar10", "tfds", "digits", "lace"),
    "data.channels": (1, 3),
    "data.on_bad": ("stop", "skip"),
    "model.dilated_blocks": ("all", "first"),
    "loss.reconstruction": ("reference", "paper"),
    "loss.gan": losses.GAN_LOSSES,
    "selection.keep": ("best", "last"),
    "scoring.merge": ("max_mu", "max", "mean"),
}

_LEAST = {
    "seed": 0,
    "data.threads": 0,
    "data.cache_mb": 0,
    "data.test_normal_limit": 0,
    "data.test_anomalous_limit": 0,
    "model.width": 1,
    "model.blocks": 0,
    "model.dilation": 1,
    "model.discriminator_width": 1,
    "model.power_iterations": 1,
    "training.batch_size": 1,
    "training.epochs": 0,
    "training.steps": 0,
    "training.log_every": 1,
    "training.picture_every": 0,
    "training.checkpoint_every": 1,
    "selection.every_epochs": 1,
    "selection.images": 0,
    "scoring.images_per_call": 1,
    "scoring.masks_per_call": 1,
    "calibration.images": 0,
    "evaluation.sheet_rows": 0,
}


def default() -> ml_collections.ConfigDict:
    """SCADN with the values of the authors' public code, on a folder of images."""
    config = ml_collections.ConfigDict()
    config.name = "scadn"  # the default work directory is runs/<name>
    config.method = "scadn"
    config.preset = "reference"  # 'reference' | 'paper'
    config.seed = 0  # of weights, masks and the order of images
    config.dtype = "float32"  # 'float32' | 'bfloat16', of activations

    data = config.data = ml_collections.ConfigDict()
    data.source = "folder"  # 'folder' | 'plain' | 'idx' | 'cifar10' | 'tfds' |
    #                         'digits' | 'lace'
    data.path = ""  # folder of the data; not needed for 'digits', 'lace'
    data.test_path = ""  # 'plain': optional folder of test images
    data.dataset = ""  # 'tfds': 'mnist' | 'fashion_mnist' | 'cifar10'
    data.category = ""  # '' = all of them, one model after the other
    data.categories = ()  # their order in the table; () = all that are found
    data.size = 512  # pixels, both sides; a multiple of 8
    data.channels = 3  # 1 grey | 3 RGB
    data.flip = False  # horizontal flips in training, p = 0.5
    data.held_out = 0.1  # share of the normal training images kept for the threshold
    data.test_normal_limit = 0  # first n normal test images; 0 = all
    data.test_anomalous_limit = 0  # first n of each defect or class; 0 = all
    data.on_bad = "stop"  # unreadable files: 'stop' | 'skip'
    data.cache_mb = 4096  # MiB; larger data sets are read again in each epoch
    data.threads = 4  # that read images ahead of training

    masks = config.masks = ml_collections.ConfigDict()
    masks.stripe_pairs = (2, 4, 8)  # per scale; a stripe is size / (2 pairs) wide
    masks.probabilities = ()  # of each mask in training; () = uniform
    masks.fill = config_dict.placeholder(float)  # value of removed pixels, [0, 1]

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
    loss.removed_weight = 3.0  # lambda_rm, Eq. 2
    loss.gan = config_dict.placeholder(str)  # 'nsgan' | 'lsgan' | 'hinge' | 'minimax'
    loss.adversarial_weight = 0.001  # lambda_adv, Eq. 4
    loss.feature_matching_weight = 0.0  # L1 between discriminator features; 0 = off

    optimizer = config.optimizer = ml_collections.ConfigDict()
    optimizer.learning_rate = 1e-4  # of the generator
    optimizer.discriminator_learning_rate = config_dict.placeholder(float)
    optimizer.b1 = 0.0
    optimizer.b2 = 0.9
    optimizer.eps = 1e-8

    training = config.training = ml_collections.ConfigDict()
    training.batch_size = 4  # images, over all devices
    training.epochs = 200
    training.steps = 0  # if not 0: this many updates, whatever the epochs say
    training.log_every = 10  # steps
    training.picture_every = 500  # steps; 0 = never
    training.checkpoint_every = 500  # steps

    selection = config.selection = ml_collections.ConfigDict()
    selection.keep = config_dict.placeholder(str)  # 'best' | 'last'
    selection.every_epochs = 10  # how often the error on normal images is measured
    selection.images = 0  # the first n training images; 0 = all

    scoring = config.scoring = ml_collections.ConfigDict()
    scoring.merge = "max_mu"  # 'max_mu' | 'max' | 'mean', over the scales
    scoring.images_per_call = 4  # images scored together
    scoring.masks_per_call = 4  # masks repainted at a time; bounds memory

    calibration = config.calibration = ml_collections.ConfigDict()
    calibration.images = 0  # mu over the first n training images; 0 = all
    calibration.false_alarm_rate = 0.01  # of normal images above the threshold

    evaluation = config.evaluation = ml_collections.ConfigDict()
    evaluation.after_training = True
    evaluation.sheet_rows = 12  # test images on the contact sheet
    return config.lock()


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a copy with the preset's values in the open fields, checked.

    Raises:
      errors.UserError: a value that is not allowed, with the field and the choices.
    """
    config = config.copy_and_resolve_references()
    if config.preset in PRESETS:
        with config.unlocked():
            for field, value in PRESETS[config.preset].items():
                section, name = field.split(".")
                if config[section][name] is None:
                    config[section][name] = value
    for field, allowed in ALLOWED.items():
        value = config
        for name in field.split("."):
            value = value[name]
        if value not in allowed:
            choices = ", ".join(map(str, allowed))
            raise errors.UserError(
                f"--config.{field}={value} is not allowed; choose one of: {choices}"
            )
    _check_numbers(config)
    return config


def _check_numbers(config: ml_collections.ConfigDict) -> None:
    size = config.data.size
    if size < 24 or size % 8:
        raise errors.UserError(
            f"--config.data.size={size}: take a multiple of 8, 24 or more"
        )
    if not 0 <= config.data.held_out < 1:
        raise errors.UserError(
            f"--config.data.held_out={config.data.held_out}: take a share in [0, 1)"
        )
    for field, least in _LEAST.items():
        section, _, name = field.rpartition(".")
        value = (config[section] if section else config)[name]
        if value < least:
            raise errors.UserError(f"--config.{field}={value}: take {least} or more")
    if not config.training.steps and not config.training.epochs:
        raise errors.UserError("set --config.training.epochs or .steps to 1 or more")
    if not 0 <= config.calibration.false_alarm_rate < 1:
        raise errors.UserError(
            f"--config.calibration.false_alarm_rate="
            f"{config.calibration.false_alarm_rate}: take a share in [0, 1)"
        )
    pairs = config.masks.stripe_pairs
    if not pairs or not all(isinstance(k, int) and 0 < 2 * k <= size for k in pairs):
        raise errors.UserError(
            f"--config.masks.stripe_pairs={pairs}: take whole numbers from 1 to "
            f"{size // 2}"
        )
    probabilities = config.masks.probabilities
    count = 4 * len(config.masks.stripe_pairs)
    valid = len(probabilities) == count and min(probabilities) >= 0 < sum(probabilities)
    if probabilities and not valid:
        raise errors.UserError(
            f"--config.masks.probabilities={probabilities}: give {count}, one for "
            f"each mask, none below 0 and not all 0"
        )


def write(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
    """Writes the settings as JSON."""
    atomic.write_text(path, config.to_json_best_effort(indent=2) + "\n")


def read(path: pathlib.Path) -> ml_collections.ConfigDict:
    """Reads what `write` wrote; fields that it lacks keep their default.

    Raises:
      errors.UserError: the file is missing or is no such JSON.
    """
    config = default()
    try:
        config.update(json.loads(path.read_text()))
    except FileNotFoundError:
        raise errors.UserError(
            f"{path} does not exist: give a --workdir that jax_scadn.train wrote"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.UserError(f"{path} cannot be read as settings: {error}") from None
    return resolve(config)
