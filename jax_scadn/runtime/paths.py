"""Paths as users give them."""

from __future__ import annotations

import os
import re

from jax_scadn.runtime import errors

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def local(text: str) -> str:
    """A path with `~` replaced by the home directory.

    Args:
      text: as it was given; '' stays.

    Raises:
      errors.UserError: an address such as gs://bucket/folder.
    """
    if _URL.match(text):
        raise errors.UserError(
            f"{text}: give a path of this machine; buckets and addresses are not read "
            "or written, mount or copy them"
        )
    return os.path.expanduser(text)
