"""Compiled programs on disk, so that only the first process waits for the compiler."""

from __future__ import annotations

import os

import jax

from jax_scadn.runtime import cache_dir

_LEAST_SECONDS = "jax_persistent_cache_min_compile_time_secs"


def enable() -> None:
    """Keeps compiled programs in `compiled/` of the user's cache, see `user_cache`.

    What is set already stays: `JAX_COMPILATION_CACHE_DIR` names another folder, and
    `JAX_ENABLE_COMPILATION_CACHE=false` keeps nothing. Programs of another version of
    JAX, of other options or for another device are never taken. Nothing is ever
    deleted there; the folder may be.
    """
    if jax.config.jax_compilation_cache_dir is None:
        folder = str(cache_dir.folder() / "compiled")
        jax.config.update("jax_compilation_cache_dir", folder)
    if _LEAST_SECONDS.upper() not in os.environ:
        # JAX's default is a second; most of our programs compile in less, but they
        # are many.
        jax.config.update(_LEAST_SECONDS, 0.1)
