"""Settings in a JSON file, `config.json` of a work directory."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import ml_collections

from jax_scadn.runtime import errors, files

FORMAT = 2
_KEY = "format"


def write(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
    """Writes settings as JSON."""
    content = {_KEY: FORMAT, **config.to_dict()}
    files.write_text(path, json.dumps(content, indent=2) + "\n")


def read_values(path: pathlib.Path) -> dict[str, Any]:
    """Reads what `write` wrote: values by name, sections as dictionaries.

    Raises:
      errors.UserError: the file is missing, damaged or of another version.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise errors.UserError(
            f"{path} does not exist: give a --workdir that jax_scadn.train wrote"
        ) from None
    except ValueError as error:
        raise errors.UserError(f"{path} cannot be read as settings: {error}") from None
    if not isinstance(values, dict) or not isinstance(values.get("method"), str):
        raise errors.UserError(f"{path} cannot be read as settings: no method")
    written = values.pop(_KEY, 1)
    if written != FORMAT:
        age, remedy = "an older", "train again"
        if isinstance(written, int) and written > FORMAT:
            age, remedy = "a newer", "update jax_scadn"
        raise errors.UserError(
            f"{path} was written by {age} version (format {written}): {remedy}"
        )
    return values
