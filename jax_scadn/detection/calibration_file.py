"""`detector/calibration.json`: the calibration, and the digest of what it is for."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import shlex
from collections.abc import Mapping
from typing import Any

from jax_scadn.detection.calibration import Calibration
from jax_scadn.runtime import errors, files

_DIGEST = "sha256"
_OF_MAPS = ("map_threshold", "vmin", "vmax")


def path(workdir: pathlib.Path) -> pathlib.Path:
    """Where it lies."""
    return workdir / "detector" / "calibration.json"


def write(workdir: pathlib.Path, calibration: Calibration, digest: str) -> None:
    """Replaces the file.

    Args:
      workdir: of the training.
      calibration: to write.
      digest: of the weights and statistics, see `checkpoints.digest`.
    """
    values = dataclasses.asdict(calibration) | {_DIGEST: digest}
    files.write_text(path(workdir), json.dumps(values, indent=2) + "\n")


def read(workdir: pathlib.Path) -> tuple[Calibration, str]:
    """The calibration and the digest; '' where none was written.

    Raises:
      errors.UserError: there is no file, or it cannot be read.
    """
    values, digest = _values(workdir)
    try:
        return _parse(values), digest
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{path(workdir)} cannot be read ({error}); give new thresholds with "
            "jax_scadn.recalibrate, or train again"
        ) from None


def digest(workdir: pathlib.Path) -> str:
    """That of `read`, also of a file whose other values are not understood.

    Raises:
      errors.UserError: there is no file, or it is not one of JSON.
    """
    return _values(workdir)[1]


def _values(workdir: pathlib.Path) -> tuple[dict[str, Any], str]:
    try:
        values = json.loads(path(workdir).read_text(encoding="utf-8"))
        return values, values.pop(_DIGEST, "")
    except FileNotFoundError:
        raise errors.UserError(
            f"{workdir} has no finished training; run jax_scadn.train again with "
            f"--workdir={shlex.quote(str(workdir))} to resume it"
        ) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise errors.UserError(
            f"{path(workdir)} cannot be read ({error}); train again"
        ) from None


def _parse(values: Mapping[str, Any]) -> Calibration:
    """The calibration whose `dataclasses.asdict` was written to a file.

    Raises:
      ValueError: a value is missing, unknown, of another type, or not finite.
    """
    fields = {field.name for field in dataclasses.fields(Calibration)}
    if unpaired := sorted(fields ^ set(values)):
        raise ValueError(f"{unpaired[0]} is missing or unknown")
    without_maps = all(values[name] is None for name in _OF_MAPS)
    for name, value in values.items():
        if name == "held_out":
            right = isinstance(value, bool)
        elif name == "scores":
            right = isinstance(value, list) and value and all(map(_finite, value))
            right = right and value == sorted(value)
        elif value is None:
            right = name == "look_threshold" or (name in _OF_MAPS and without_maps)
        else:
            right = _finite(value)
        if not right:
            raise ValueError(f"{name} must not be {_short(value)}")
    look = values["look_threshold"]
    if look is not None and look > values["threshold"]:
        raise ValueError(f"look_threshold {look} is above threshold")
    return Calibration(**values | {"scores": tuple(values["scores"])})


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
