"""Methods of anomaly detection, one module or package each.

A method is named by its module, or by the dotted path of a module of the user's own.
The module has

    FIELDS          its settings beside, or in place of, those of `settings.base`
    Method          see `base.Method`
    PRESETS         optional: the values of open fields, by preset
    COLUMNS         optional: which of its settings stand for a column of the papers'
                    tables, see `columns`
    check(config)   optional: raises errors.UserError where settings do not go together
"""

from __future__ import annotations

import importlib
import os
import pathlib
import pkgutil
import sys
import types

import ml_collections

from jax_scadn.runtime import errors
from jax_scadn.settings import base as shared
from jax_scadn.settings import fields as fields_lib
from jax_scadn.settings import files
from jax_scadn.settings import resolve as settings

_NO_METHOD = "base"  # the module that methods share
_NEEDED = ("FIELDS", "Method")


def names() -> tuple[str, ...]:
    """Names of the methods of this package."""
    modules = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in modules if name != _NO_METHOD))


def get(name: str) -> types.ModuleType:
    """The module of a method.

    Args:
      name: one of `names()`, or a dotted path such as 'my.method', from the working
        directory.

    Raises:
      errors.UserError: there is no such method.
    """
    if name in names():
        return importlib.import_module(f"{__name__}.{name}")
    if "." not in name:
        raise errors.UserError(_unknown(name))
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, TypeError, ValueError) as error:
        missing = getattr(error, "name", None)
        if missing is not None and not f"{name}.".startswith(f"{missing}."):
            raise  # something that the module itself imports
        raise errors.UserError(_unknown(name)) from None
    lacking = [part for part in _NEEDED if not hasattr(module, part)]
    if lacking:
        raise errors.UserError(
            f"--config.method={name}: the module has no {' and no '.join(lacking)}"
        )
    return module


def _unknown(name: str) -> str:
    return (
        f"--config.method={name}: must be one of: {', '.join(names())}; or the dotted "
        "path of a module, such as my.method"
    )


def fields(name: str) -> dict[str, fields_lib.Field]:
    """All settings of a method by their full names, such as 'data.size'.

    Raises:
      errors.UserError: there is no such method.
    """
    return fields_lib.merge(shared.FIELDS, get(name).FIELDS)


def columns(name: str) -> dict[str, dict[str, dict]]:
    """The columns of published tables that a method can fill.

    COLUMNS of its module has, for each title as papers write it, the changed settings
    by full name, in parts that later ones of this list override:

        always          at each budget
        BUDGET          'paper': the paper's settings; 'small': two CPU cores, minutes
        BUDGET/KIND     KIND is 'real': folders of images, or 'one_class': one class of
                        a labelled data set is normal
        BUDGET/DATASET  such as 'paper/cifar10'

    All parts may be left out. A method without COLUMNS has one with its default title.

    Raises:
      errors.UserError: there is no such method.
    """
    module = get(name)
    if hasattr(module, "COLUMNS"):
        return module.COLUMNS
    return {create(resolve(default(name))).title: {}}


def default(name: str = "scadn") -> ml_collections.ConfigDict:
    """The default settings of a method, locked.

    Raises:
      errors.UserError: there is no such method.
    """
    return settings.default(name, fields(name))


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """Returns a copy with the preset's values in the open fields, checked.

    Raises:
      errors.UserError: a value that is not allowed.
    """
    module = get(config.method)

    def check(resolved: ml_collections.ConfigDict) -> None:
        shared.check(resolved)
        if hasattr(module, "check"):
            module.check(resolved)

    presets = getattr(module, "PRESETS", {})
    return settings.resolve(config, fields(config.method), presets, check)


def read(path: pathlib.Path) -> ml_collections.ConfigDict:
    """The resolved settings of a file; fields that it lacks keep their default.

    Raises:
      errors.UserError: see `settings.files.read_values`; or unknown fields or values.
    """
    values = files.read_values(path)
    config = default(values["method"])
    try:
        config.update(values)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise errors.UserError(f"{path} cannot be read as settings: {reason}") from None
    return resolve(config)


def create(config: ml_collections.ConfigDict):
    """The method that resolved settings name."""
    return get(config.method).Method.from_config(config)
