"""Atomic file writes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path, tag: str = "") -> Iterator[pathlib.Path]:
    """A temporary file next to `path` that replaces it if the block succeeds.

    The directory is created if it does not exist; the suffix is kept, as it may
    determine the format. Concurrent writers must pass distinct tags.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}{tag}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # missing if the disk is full
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8; file names that are not UTF-8 are escaped with backslashes."""
    # Tasks of a sweep may write the same file concurrently.
    with replacing(path, secrets.token_hex(4)) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
