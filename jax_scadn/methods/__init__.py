"""Methods: each a bundle of pure functions; the rest knows none of them by name.

What a method is to the rest:

    from_config(config)     from resolved settings
    stages                  what is trained, one after the other, see `training.Stage`
    inference_params(...)   what scoring needs of the trained stages
    maps                    number K of maps that scoring chooses from
    shares                  into how many the work on one image can be split
    score(params, mu, images)   -> `scoring.Scored`; where `shares` > 1 it takes
                            shared_by, the axis of devices that share each image
"""

from __future__ import annotations

import types

import ml_collections

from jax_scadn.methods import scadn, scadn_settings
from jax_scadn.methods.utad import method, settings
from jax_scadn.runtime import errors

_METHODS = {
    "scadn": (scadn.Scadn, scadn_settings),
    "utad": (method.Utad, settings),
}


def create(config: ml_collections.ConfigDict):
    """The method that the resolved settings name."""
    method, _ = _METHODS[config.method]
    return method.from_config(config)


def settings(name: str) -> types.ModuleType:
    """The module of a method's own settings.

    Raises:
      errors.UserError: there is no such method.
    """
    if name not in _METHODS:
        choices = ", ".join(_METHODS)
        raise errors.UserError(
            f"--config.method={name} is not allowed; choose one of: {choices}"
        )
    return _METHODS[name][1]
