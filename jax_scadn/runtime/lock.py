"""A directory belongs to one run at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from jax_scadn.runtime import distributed, errors

FILE = ".lock"


@contextlib.contextmanager
def held(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other runs out of a directory until the block or the process ends.

    Of a run's processes the first one holds it. The kernel releases what a killed
    process held; the file that stays means nothing. Not to be nested for one folder.
    File systems without locks are not protected.

    Args:
      folder: is made if it does not exist.

    Raises:
      errors.UserError: another run holds it, or it cannot be written.
    """
    if not distributed.is_primary():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / FILE).open("a+")
    except OSError as error:
        raise errors.UserError(f"{folder} cannot be written: {error}") from None
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise errors.UserError(
                f"{folder} is in use by {holder}: wait until it ends, or give another "
                "--workdir"
            ) from None
        except OSError:
            pass
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield
