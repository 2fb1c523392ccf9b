"""Every setting that all methods share, its unit or allowed values, its default.

Files in `configs/` start from `default()` and change what their experiment needs.
Each method adds its own in `methods/<method>_settings.py`. Fields that are `None` take
their value from the preset in `resolve`.
"""

from __future__ import annotations

import json
import pathlib
from typing import Any

import ml_collections
from ml_collections import config_dict

from jax_scadn import methods
from jax_scadn.losses import distances
from jax_scadn.networks.pretrained import vgg19
from jax_scadn.runtime import errors, files

_ALLOWED = {
    "preset": ("reference", "paper"),
    "dtype": ("float32", "bfloat16"),
    "data.source": ("folder", "plain", "idx", "cifar10", "tfds", "digits", "lace"),
    "data.channels": (1, 3),
    "data.on_bad": ("stop", "skip"),
    "selection.keep": ("last",),
    "scoring.distance": distances.NAMES,
    "scoring.normalisation": distances.NORMALISATIONS,
    "scoring.image_score": ("mean", "max"),
}

_LEAST = {
    "seed": 0,
    "data.threads": 0,
    "data.cache_mb": 0,
    "data.test_normal_limit": 0,
    "data.test_anomalous_limit": 0,
    "training.batch_size": 1,
    "training.epochs": 0,
    "training.steps": 0,
    "training.log_every": 1,
    "training.picture_every": 0,
    "training.checkpoint_every": 1,
    "training.stalled_after": 0,
    "scoring.images_per_call": 1,
    "calibration.images": 0,
    "evaluation.sheet_rows": 0,
}


def default(method: str = "scadn") -> ml_collections.ConfigDict:
    """The settings of a method, for a folder of images.

    Raises:
      errors.UserError: there is no such method.
    """
    config = ml_collections.ConfigDict()
    config.name = method  # the default work directory is runs/<name>
    config.method = method  # 'scadn' | 'utad'
    config.preset = "reference"  # 'reference' | 'paper'
    config.seed = 0  # of weights, random draws and the order of images
    config.dtype = "float32"  # 'float32' | 'bfloat16', of activations
    config.vgg_weights = ""  # file of VGG-19; '' = what jax_scadn.fetch_weights fetched

    data = config.data = ml_collections.ConfigDict()
    data.source = "folder"  # 'folder' | 'plain' | 'idx' | 'cifar10' | 'tfds' |
    #                         'digits' | 'lace'
    data.path = ""  # folder of the data; not needed for 'digits', 'lace'
    data.test_path = ""  # 'plain': optional folder of test images
    data.dataset = ""  # 'tfds': 'mnist' | 'fashion_mnist' | 'cifar10'
    data.category = ""  # '' = all of them, one model after the other
    data.categories = ()  # their order in the table; () = all that are found
    data.size = 512  # pixels, both sides
    data.channels = 3  # 1 grey | 3 RGB
    data.flip = False  # horizontal flips in training, p = 0.5
    data.held_out = 0.1  # share of the normal training images kept for the threshold
    data.test_normal_limit = 0  # first n normal test images; 0 = all
    data.test_anomalous_limit = 0  # first n of each defect or class; 0 = all
    data.on_bad = "stop"  # unreadable files: 'stop' | 'skip'
    data.cache_mb = 4096  # MiB; larger data sets are read again in each epoch
    data.threads = 4  # that read images ahead of training

    training = config.training = ml_collections.ConfigDict()
    training.batch_size = 4  # images, over all devices
    training.epochs = 200
    training.steps = 0  # if not 0: this many updates, whatever the epochs say
    training.log_every = 10  # steps
    training.picture_every = 500  # steps; 0 = never
    training.checkpoint_every = 500  # steps
    training.stalled_after = 1800  # s in which no step ends, to give up; 0 = never

    selection = config.selection = ml_collections.ConfigDict()
    selection.keep = config_dict.placeholder(str)  # which weights: 'best' | 'last'

    scoring = config.scoring = ml_collections.ConfigDict()
    scoring.images_per_call = 4  # images scored together
    scoring.distance = "squared"  # 'squared' | 'absolute' | 'ssim' | 'conv1_2' |
    #                              'conv2_2' | 'conv3_4' | 'pm', between two images
    scoring.layer_weights = (1.0, 1.0, 1.0)  # of conv1_2, conv2_2, conv3_4 in 'pm'
    scoring.normalisation = "relative"  # of VGG-19's features: 'relative' | 'layer' |
    #                                     'unit' | 'none', see losses/distances.py
    scoring.image_score = "mean"  # 'mean' | 'max', of the anomaly map

    calibration = config.calibration = ml_collections.ConfigDict()
    calibration.images = 0  # mu over the first n training images; 0 = all
    calibration.false_alarm_rate = 0.01  # of normal images above the threshold
    calibration.pixel_false_alarm_rate = 0.01  # of normal pixels above the map's one

    evaluation = config.evaluation = ml_collections.ConfigDict()
    evaluation.after_training = True
    evaluation.sheet_rows = 12  # test images on the contact sheet

    methods.settings(method).add(config)
    return config.lock()


def get(config: ml_collections.ConfigDict, field: str) -> Any:
    """The value of a field such as 'data.size'."""
    for name in field.split("."):
        config = config[name]
    return config


def put(config: ml_collections.ConfigDict, field: str, value: Any) -> None:
    """Sets a field such as 'data.size'.

    Raises:
      KeyError, AttributeError: no such field.
      TypeError: a value of another type.
    """
    section, _, name = field.rpartition(".")
    setattr(get(config, section) if section else config, name, value)


def flat(config: ml_collections.ConfigDict, prefix: str = "") -> dict[str, Any]:
    """All fields by their full names, sequences as tuples."""
    fields = {}
    for name, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            fields |= flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = tuple(value) if isinstance(value, list) else value
    return fields


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a copy with the preset's values in the open fields, checked.

    Raises:
      errors.UserError: a value that is not allowed, with the field and the choices.
    """
    config = config.copy_and_resolve_references()
    method = methods.settings(config.method)
    with config.unlocked():
        for field, value in method.PRESETS.get(config.preset, {}).items():
            if get(config, field) is None:
                put(config, field, value)
    for field, allowed in (_ALLOWED | method.ALLOWED).items():
        value = get(config, field)
        if value not in allowed:
            choices = ", ".join(map(str, allowed))
            raise errors.UserError(
                f"--config.{field}={value} is not allowed; choose one of: {choices}"
            )
    _check_numbers(config)
    for field, least in (_LEAST | method.LEAST).items():
        if get(config, field) < least:
            raise errors.UserError(
                f"--config.{field}={get(config, field)}: take {least} or more"
            )
    method.check(config)
    return config


def _check_numbers(config: ml_collections.ConfigDict) -> None:
    for field in (
        "data.held_out",
        "calibration.false_alarm_rate",
        "calibration.pixel_false_alarm_rate",
    ):
        share = get(config, field)
        if not 0 <= share < 1:
            raise errors.UserError(f"--config.{field}={share}: take a share in [0, 1)")
    if not config.training.steps and not config.training.epochs:
        raise errors.UserError("set --config.training.epochs or .steps to 1 or more")
    _check_layer_weights(config.scoring.layer_weights)


def _check_layer_weights(weights) -> None:
    layers = len(vgg19.LAYERS)
    if len(weights) != layers or min(weights) < 0 or not any(weights):
        raise errors.UserError(
            f"--config.scoring.layer_weights={tuple(weights)}: give {layers}, none "
            "below 0 and not all 0"
        )


def write(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
    """Writes the settings as JSON."""
    files.write_text(path, config.to_json_best_effort(indent=2) + "\n")


def read(path: pathlib.Path) -> ml_collections.ConfigDict:
    """Reads what `write` wrote; fields that it lacks keep their default.

    Raises:
      errors.UserError: the file is missing or is no such JSON.
    """
    try:
        values = json.loads(path.read_text())
        config = default(values["method"])
        config.update(values)
    except FileNotFoundError:
        raise errors.UserError(
            f"{path} does not exist: give a --workdir that jax_scadn.train wrote"
        ) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.UserError(f"{path} cannot be read as settings: {error}") from None
    return resolve(config)
