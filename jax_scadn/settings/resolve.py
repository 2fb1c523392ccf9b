"""Settings of a run as a ConfigDict: defaults, presets, checks, access by full name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ml_collections
from ml_collections import config_dict

from jax_scadn.runtime import errors, paths
from jax_scadn.settings.fields import Field

Presets = Mapping[str, Mapping[str, Any]]


def default(method: str, fields: Mapping[str, Field]) -> ml_collections.ConfigDict:
    """The default settings, locked.

    Args:
      method: its name, which is also that of the experiment until it is given another.
      fields: all of them by full name, such as 'data.size'.
    """
    config = _nested(
        {
            name: _placeholder(field) if field.default is None else field.default
            for name, field in fields.items()
        }
    )
    config.name = config.method = method
    return config.lock()


def unset(fields: Mapping[str, Field]) -> ml_collections.ConfigDict:
    """Settings whose values are all None, of the fields' types, locked."""
    values = {name: _placeholder(field) for name, field in fields.items()}
    return _nested(values).lock()


def _placeholder(field: Field):
    return config_dict.placeholder(tuple if field.is_sequence else field.type)


def _nested(values: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """Values by full name as sections."""
    config = ml_collections.ConfigDict()
    for name, value in values.items():
        *sections, last = name.split(".")
        section = config
        for part in sections:
            if part not in section:
                section[part] = ml_collections.ConfigDict()
            section = section[part]
        section[last] = value
    return config


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


def resolve(
    config: ml_collections.ConfigDict,
    fields: Mapping[str, Field],
    presets: Presets,
    check: Callable[[ml_collections.ConfigDict], None],
) -> ml_collections.ConfigDict:
    """Returns a copy with the preset's values in the open fields, checked.

    In paths `~` is replaced.

    Args:
      config: as `default` made it, with changes.
      fields: all of them by full name.
      presets: of each preset, the values of the fields that are open without it.
      check: raises errors.UserError where values do not go together.

    Raises:
      errors.UserError: a value that is not allowed.
    """
    config = config.copy_and_resolve_references()
    if unpaired := sorted(flat(config).keys() ^ fields.keys()):
        raise errors.UserError(_of_another_method(config.method, unpaired, fields))
    with config.unlocked():
        for name, value in presets.get(config.preset, {}).items():
            if get(config, name) is None:
                put(config, name, value)
    values = flat(config)
    for name, field in fields.items():
        if problem := field.problem(values[name]):
            raise errors.UserError(f"--config.{name}={values[name]}: {problem}")
        if field.is_path:
            with config.unlocked():
                put(config, name, _local(name, values[name]))
    check(config)
    return config


def _of_another_method(
    method: str, unpaired: list[str], fields: Mapping[str, Field]
) -> str:
    name = unpaired[0]
    problem = "is missing" if name in fields else "is not a setting"
    return (
        f"--config.{name} {problem} of {method}; --config.method={method} alone does "
        f"not change the method: begin the settings with methods.default({method!r})"
    )


def _local(name: str, path: str) -> str:
    try:
        return paths.local(path)
    except errors.UserError as error:
        raise errors.UserError(f"--config.{name}={error}") from None
