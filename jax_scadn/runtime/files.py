"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator


@contextlib.contextmanager
def replacing(path: pathlib.Path, tag: str = "") -> Iterator[pathlib.Path]:
    """A file beside `path` that takes its place once the block has ended well.

    The folder is made if it does not exist; the ending is kept, as it may tell the
    format. Who writes while others may write the same file gives a tag of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}{tag}.part{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk does not tell it
        raise
    finally:
        part.unlink(missing_ok=True)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes UTF-8; names of files that are not UTF-8 stand in it with backslashes."""
    # Tasks of a sweep may note the same things at once.
    with replacing(path, secrets.token_hex(4)) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
