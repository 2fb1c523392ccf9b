"""What the command lines share: the --config flag and one-line errors."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable

import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from jax_scadn import configuration, errors

_CONFIG = None


def config_flag() -> None:
    """Registers --config=FILE.py[:ARGUMENT] and --config.FIELD=VALUE."""
    global _CONFIG
    _CONFIG = config_flags.DEFINE_config_file(
        "config", None, "Settings: a file in configs/, such as configs/lace.py."
    )


def config() -> ml_collections.ConfigDict:
    """The resolved settings that the flags give."""
    if _CONFIG is None or _CONFIG.value is None:
        raise errors.UserError("give --config=FILE, such as --config=configs/lace.py")
    return configuration.resolve(_CONFIG.value)


def run(main: Callable[[list[str]], int | None], arguments: int = 0) -> None:
    """Parses the flags and calls main; a mistake of the user ends as one line.

    The exit status is main's (0 where it returns nothing), 2 after a mistake, 130
    after Ctrl-C.

    Args:
      main: gets what stands on the command line beside the flags.
      arguments: how many of those it takes.
    """
    logging.set_verbosity(logging.WARNING)

    def parse(argv: list[str]) -> list[str]:
        left = _parse(argv)
        if len(left) > 1 + arguments:
            raise errors.UserError(f"{left[-1]!r} is no flag; flags start with --")
        return left[1:]

    try:
        app.run(main, flags_parser=parse)
    except errors.UserError as error:
        sys.exit(_fail(str(error)))
    except KeyboardInterrupt:
        sys.exit(130)


def _parse(arguments: list[str]) -> list[str]:
    try:
        return flags.FLAGS(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        raise errors.UserError(_first_line(error)) from None
    except FileNotFoundError as error:
        raise errors.UserError(_missing_config(error)) from None


def _missing_config(error: OSError) -> str:
    name = error.filename or _first_line(error)
    known = sorted(str(path) for path in pathlib.Path("configs").glob("*.py"))
    hint = f"; there are: {', '.join(known)}" if known else ""
    return f"the settings file {name} does not exist{hint}"


def _first_line(error: Exception) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
    return " ".join(text.split()) or type(error).__name__


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
