"""Methods: each a bundle of pure functions; the rest knows none of them by name."""

from __future__ import annotations

import ml_collections

from jax_scadn.methods import scadn

_METHODS = {"scadn": scadn.Scadn}


def create(config: ml_collections.ConfigDict):
    """The method that the resolved settings name."""
    return _METHODS[config.method].from_config(config)
