"""Persistent compilation cache: later processes do not compile again."""

from __future__ import annotations

import os

import jax

from jax_scadn.runtime import cache_dir

_LEAST_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def enable() -> None:
    """Keeps compiled programs in `compiled/` of the user's cache, see `cache_dir`.

    Environment variables take precedence: `JAX_COMPILATION_CACHE_DIR` names another
    directory, `JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off. Programs of
    another version of JAX, other options or another device are never used. Entries
    are never deleted; the directory may be deleted at any time.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = str(cache_dir.folder() / "compiled")
        jax.config.update("jax_compilation_cache_dir", folder)
    if _LEAST_SECONDS.upper() not in os.environ:
        # JAX's default is 1 s; most of our programs compile faster, but there are many.
        jax.config.update(_LEAST_SECONDS, 0.1)
