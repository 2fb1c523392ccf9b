"""The settings that all methods share.

Files in `configs/` start from `methods.default()` and change what their experiment
needs. Each method declares its own settings in its module.
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_collections

from jax_scadn.runtime import errors
from jax_scadn.settings import resolve
from jax_scadn.settings.fields import Field

FIELDS = {
    "name": Field(
        "",
        "of the experiment; the default work directory is runs/<name>",
        seen_by="evaluation",
        compared=False,
    ),
    "method": Field("", "a module of jax_scadn.methods, or a dotted path of your own"),
    "preset": Field("", "whose values the open settings take", choices=("",)),
    "seed": Field(
        0,
        "of weights, random draws and the order of images",
        least=0,
        most=2**32 - 1,
        compared=False,
    ),
    "dtype": Field("float32", "of activations", choices=("float32", "bfloat16")),
    "vgg_weights": Field(
        "",
        "file of VGG-19; '' = what jax_scadn.fetch_weights fetched",
        is_path=True,
        seen_by="scoring",
        compared=False,
    ),
    "data.source": Field(
        "folder",
        "kind of the data set",
        choices=("folder", "plain", "idx", "cifar10", "tfds", "digits", "lace"),
    ),
    "data.path": Field(
        "",
        "folder of the data; not needed for 'digits' and 'lace'",
        is_path=True,
        resumable=True,
        compared=False,
    ),
    "data.test_path": Field(
        "",
        "'plain': optional folder of test images",
        is_path=True,
        seen_by="evaluation",
        resumable=True,
        compared=False,
    ),
    "data.dataset": Field(
        "",
        "'tfds': 'mnist', 'fashion_mnist' or 'cifar10'; 'folder': what results call "
        "the data, such as 'lacead'",
        compared=False,
    ),
    "data.category": Field(
        "", "'' = all of them, one model after the other", compared=False
    ),
    "data.categories": Field(
        (),
        "their order in the table; () = that of the data",
        type=str,
        seen_by="evaluation",
        resumable=True,
        compared=False,
    ),
    "data.size": Field(
        512, "pixels, both sides", least=1, words="image size", write="pixels"
    ),
    "data.channels": Field(3, "1 = grey, 3 = RGB", choices=(1, 3)),
    "data.fit": Field(
        "squash",
        "how an image becomes square: scaled in both directions, padded by "
        "reflection, or its centre cropped, of which the ends are not seen",
        choices=("squash", "pad", "crop"),
        words="fit",
    ),
    "data.white": Field(
        65535,
        "value of white in files of more than 8 bit; 4095 for cameras of 12 bit",
        least=1,
        most=65535,
    ),
    "data.max_megapixels": Field(
        179,
        "of an image file; larger ones are refused",
        least=1,
        seen_by="machine",
    ),
    "data.flip": Field(False, "horizontal flips in training, p = 0.5"),
    "data.held_out": Field(
        0.1,
        "share of the normal training images kept for the threshold",
        least=0,
        below=1,
        words="held-out normal images",
        write="percent",
    ),
    "data.test_normal_limit": Field(
        0,
        "first n normal test images; 0 = all",
        least=0,
        words="normal test images",
        write="first",
        seen_by="evaluation",
    ),
    "data.test_anomalous_limit": Field(
        0,
        "first n of each defect or class; 0 = all",
        least=0,
        words="test images of each defect or class",
        write="first",
        seen_by="evaluation",
    ),
    "data.on_bad": Field("stop", "at unreadable files", choices=("stop", "skip")),
    "data.cache_mb": Field(
        4096,
        "MiB; larger data sets are read again in each epoch",
        least=0,
        seen_by="machine",
    ),
    "data.threads": Field(
        4, "that read images ahead of training", least=0, seen_by="machine"
    ),
    "training.log_every": Field(
        10, "steps between lines of the log", least=1, seen_by="machine"
    ),
    "training.picture_every": Field(
        500,
        "steps between pictures in TensorBoard; 0 = never",
        least=0,
        seen_by="machine",
    ),
    "training.checkpoint_every": Field(
        500, "steps between checkpoints", least=1, seen_by="machine"
    ),
    "training.stalled_after": Field(
        1800,
        "seconds without a finished step before the run is aborted; 0 = never",
        least=0,
        seen_by="machine",
    ),
    "selection.keep": Field(
        "last", "which weights", choices=("last",), words="weights that are kept"
    ),
    "scoring.images_per_call": Field(
        4, "images scored together", least=1, seen_by="machine"
    ),
    "scoring.distance": Field(
        "squared",
        "between two images",
        choices=(
            "squared",
            "absolute",
            "ssim",
            "conv1_2",
            "conv2_2",
            "conv3_4",
            "pm",
        ),
        words="distance",
        seen_by="scoring",
    ),
    "scoring.layer_weights": Field(
        (1.0, 1.0, 1.0),
        "of conv1_2, conv2_2, conv3_4 in 'pm'",
        length=3,
        least=0,
        seen_by="scoring",
    ),
    "scoring.normalisation": Field(
        "relative",
        "of VGG-19's features, see losses/distances.py",
        choices=("relative", "layer", "unit", "none"),
        seen_by="scoring",
    ),
    "scoring.image_score": Field(
        "mean", "of the anomaly map", choices=("mean", "max"), seen_by="scoring"
    ),
    "calibration.images": Field(
        0,
        "first n training images that the method's statistics come from; 0 = all",
        least=0,
        words="images that give mu",
        write="first",
        seen_by="scoring",
    ),
    "calibration.false_alarm_rate": Field(
        0.01,
        "share of normal images above the threshold",
        least=0,
        below=1,
        seen_by="evaluation",
        compared=False,
    ),
    "calibration.look_rate": Field(
        0.0,
        "share of normal images to look at or above the threshold; 0 = no such band",
        least=0,
        below=1,
        seen_by="evaluation",
        compared=False,
    ),
    "calibration.confidence": Field(
        0.95,
        "of the promise on false alarms",
        above=0,
        below=1,
        seen_by="evaluation",
        compared=False,
    ),
    "calibration.pixel_false_alarm_rate": Field(
        0.01,
        "share of normal pixels above the threshold of maps",
        least=0,
        below=1,
        seen_by="evaluation",
    ),
    "evaluation.after_training": Field(
        True,
        "whether a training ends with an evaluation",
        seen_by="evaluation",
        resumable=True,
        compared=False,
    ),
    "evaluation.sheet_rows": Field(
        12,
        "test images on the contact sheet",
        least=0,
        seen_by="evaluation",
        resumable=True,
        compared=False,
    ),
}


def budget(
    section: str = "training", batch_size: int | None = 4, epochs: int | None = 200
) -> dict[str, Field]:
    """Fields of a training stage's budget.

    Args:
      section: of the settings; what the stage's `budget` names.
      batch_size: the default; None: of the preset.
      epochs: the same.
    """
    return {
        f"{section}.batch_size": Field(
            batch_size, "images, over all devices", least=1, type=int
        ),
        f"{section}.epochs": Field(
            epochs,
            "passes over the training images",
            least=0,
            type=int,
            resumable=True,
        ),
        f"{section}.steps": Field(
            0,
            "if not 0: this many updates, whatever the epochs say",
            least=0,
            resumable=True,
        ),
    }


def adam(
    learning_rate: float | None,
    b1: float | None,
    b2: float | None,
    section: str = "optimizer",
    of: str = "Adam",
) -> dict[str, Field]:
    """Fields of Adam.

    Args:
      learning_rate: the default; None: of the preset.
      b1: the same.
      b2: the same.
      section: of the settings. In another one than 'optimizer' the learning rate is one
        of several, and `compare` calls it by its full name.
      of: which optimizer's the learning rate is.
    """
    return {
        f"{section}.learning_rate": Field(
            learning_rate,
            f"of {of}",
            above=0,
            type=float,
            words="learning rate" if section == "optimizer" else "",
        ),
        f"{section}.b1": Field(b1, "of Adam", least=0, below=1, type=float),
        f"{section}.b2": Field(b2, "of Adam", least=0, below=1, type=float),
        f"{section}.eps": Field(1e-8, "of Adam", above=0),
    }


def check(config: ml_collections.ConfigDict) -> None:
    """Raises errors.UserError where settings do not go together."""
    values = resolve.flat(config)
    for epochs in values:
        section, _, last = epochs.rpartition(".")
        steps = f"{section}.steps"
        if last == "epochs" and not values[epochs] and not values.get(steps, 1):
            raise errors.UserError(
                f"--config.{epochs} or --config.{steps} must be at least 1"
            )
    weights = tuple(config.scoring.layer_weights)
    if not any(weights):
        raise errors.UserError(
            f"--config.scoring.layer_weights={weights}: must not all be 0"
        )
    if problem := problem_of_rates(config.calibration):
        raise errors.UserError(f"--config.calibration.{problem}")


def problem_of_rates(rates: Mapping[str, float]) -> str:
    """Why rates of a calibration do not go together; '' if they do."""
    look, alarm = rates["look_rate"], rates["false_alarm_rate"]
    if 0 < look <= alarm:
        return f"look_rate={look}: must be above false_alarm_rate={alarm}, or 0"
    return ""
