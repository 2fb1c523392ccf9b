"""Path of the user's cache directory."""

from __future__ import annotations

import os
import pathlib


def folder() -> pathlib.Path:
    """`$XDG_CACHE_HOME/jax_scadn`, or `~/.cache/jax_scadn`; it may not exist yet."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root) / "jax_scadn"
