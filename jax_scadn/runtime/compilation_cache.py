"""Persistent compilation cache: later processes do not compile again."""

from __future__ import annotations

import os
import pathlib
import tempfile

import jax
from absl import logging

from jax_scadn.runtime import cache_dir

_LEAST_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def enable() -> None:
    """Keeps compiled programs in `compiled/` of the user's cache, see `cache_dir`.

    Environment variables take precedence: `JAX_COMPILATION_CACHE_DIR` names another
    directory, `JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off. Programs of
    another version of JAX, other options or another device are never used. Entries
    are never deleted; the directory may be deleted at any time. One that cannot be
    written is said once, and not used.
    """
    if not jax.config.jax_enable_compilation_cache:
        return
    try:
        if jax.config.jax_compilation_cache_dir is None:
            folder = str(cache_dir.folder() / "compiled")
            jax.config.update("jax_compilation_cache_dir", folder)
        _write_to(jax.config.jax_compilation_cache_dir)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        logging.warning("compiled programs are not kept: %s", error)
        jax.config.update("jax_enable_compilation_cache", False)
    if _LEAST_SECONDS.upper() not in os.environ:
        # JAX's default is 1 s; most of our programs compile faster, but there are many.
        jax.config.update(_LEAST_SECONDS, 0.1)


def _write_to(folder: str) -> None:
    """Raises OSError where JAX would warn at each program."""
    if "://" not in folder:  # JAX writes to buckets, too
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
