"""Shared parts of the commands: the --config flag and one-line errors."""

from __future__ import annotations

import argparse
import codecs
import importlib.util
import logging as python_logging
import os
import pathlib
import re
import sys
import traceback
import types
from collections.abc import Callable, Sequence

import jax
import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

from jax_scadn.runtime import (
    compilation_cache,
    distributed,
    errors,
    memory,
    paths,
    startup,
)

flags.disclaim_key_flags()  # so that --help shows --config as the caller's flag

_COMPILATION_CACHE = flags.DEFINE_bool(
    "compilation_cache",
    True,
    "Keep compiled programs for later processes, in the user's cache directory.",
)
_CONFIG = None
_OUT_OF_MEMORY = (
    "the device is out of memory; lower the batch size of the training, "
    "--config.scoring.images_per_call or, for SCADN, --config.scoring.masks_per_call"
)
_ASCII = {"\N{PLUS-MINUS SIGN}": "+-", "\N{HORIZONTAL ELLIPSIS}": "..."}
_BROKEN_PIPE = 141  # as of a process that SIGPIPE ended
_LOST = (
    "another process has stopped, and this one cannot continue without it; run the "
    "same command again in all of them to resume"
)


def config_flag(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Registers --config=FILE.py[:ARGUMENT] and --config.FIELD=VALUE."""
    global _CONFIG
    _CONFIG = config_flags.DEFINE_config_file(
        "config",
        None,
        "Settings: a file in configs/, such as configs/lace.py.",
        flag_values,
    )


def settings_flags(
    settings: ml_collections.ConfigDict, flag_values: flags.FlagValues = flags.FLAGS
) -> None:
    """Registers --config.FIELD=VALUE, for commands that take no settings file.

    Args:
      settings: all fields, unset; `given_settings` has those that were given.
      flag_values: that get the flags.
    """
    text = "--config.FIELD=VALUE, see docs/settings.md."
    try:
        config_flags.DEFINE_config_dict("config", settings, text, flag_values)
    except (AttributeError, KeyError) as error:  # it looks at the command line at once
        sys.exit(_fail(_no_such_setting(str(error), sys.argv) or str(error)))


def given_settings() -> dict[str, object]:
    """The settings on the command line by full name, such as 'data.path'."""
    return dict(config_flags.get_override_values(flags.FLAGS["config"]))


class _PathParser(flags.ArgumentParser):
    """Paths as `paths.local` returns them."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return paths.local(argument)


def path_flag(
    name: str,
    default: str | None,
    text: str,
    flag_values: flags.FlagValues = flags.FLAGS,
) -> flags.FlagHolder:
    """Registers a flag that is a path: `~` is replaced, addresses are refused.

    Args:
      name: without dashes.
      default: where it is not given.
      text: one line for --help.
      flag_values: that get it.

    Returns:
      As of absl's DEFINE_string.
    """
    serializer = flags.ArgumentSerializer()
    return flags.DEFINE(_PathParser(), name, default, text, flag_values, serializer)


def cluster_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Registers the multi-process flags."""
    flags.DEFINE_string(
        "coordinator_address",
        "",
        "HOST:PORT of process 0, if several processes train together.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "num_processes", 0, "Number of processes.", flag_values=flag_values
    )
    flags.DEFINE_integer(
        "process_id", -1, "Index of this process, from 0.", flag_values=flag_values
    )
    flags.DEFINE_integer(
        "heartbeat_timeout",
        100,
        "Seconds without a heartbeat before a process is considered lost.",
        lower_bound=1,
        flag_values=flag_values,
    )


def open_config() -> ml_collections.ConfigDict:
    """The settings given by the flags, before a preset fills open fields."""
    if _CONFIG is None or _CONFIG.value is None:
        raise errors.UserError("give --config=FILE, such as --config=configs/lace.py")
    return _CONFIG.value


def config_module() -> types.ModuleType:
    """The settings file as a module, for attributes other than `get_config`."""
    path, _, _ = config_flags.get_config_filename(flags.FLAGS["config"]).partition(":")
    spec = importlib.util.spec_from_file_location("settings_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(main: Callable[[list[str]], int | None], arguments: int = 0) -> None:
    """Parses the flags and calls main; a user error prints one line.

    The exit status is main's (0 if it returns None), 2 after a user error, 130 after
    Ctrl-C, and 141, without a word, where standard output was closed.

    Args:
      main: receives the positional arguments.
      arguments: how many of them it accepts.
    """
    startup.answer_interrupts()
    _replace_what_cannot_be_encoded()
    sys.argv = [_with_home(argument) for argument in sys.argv]
    logging.set_verbosity(logging.WARNING)
    plain = python_logging.Formatter("%(levelname)s: %(message)s")
    logging.get_absl_handler().setFormatter(plain)

    def parse_(argv: list[str]) -> list[str]:
        rest = parse(argv)
        if len(rest) > 1 + arguments:
            raise errors.UserError(
                f"unexpected argument {rest[-1]!r}; flags start with --"
            )
        if _COMPILATION_CACHE.value:
            compilation_cache.enable()
        memory.trim_after_compilation()
        return rest[1:]

    def start(argv: list[str]) -> int | None:
        if "coordinator_address" in flags.FLAGS:
            _join_cluster()
        status = main(argv)
        sys.stdout.flush()
        distributed.barrier()  # no process exits before process 0 has written all files
        return status

    try:
        app.run(start, flags_parser=parse_)
    except BrokenPipeError:  # such as `| head`: nobody reads what is left to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        distributed.abort(_BROKEN_PIPE)
    except (errors.UserError, OSError) as error:  # OSError: such as a full disk
        distributed.abort(_fail(str(error)))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            distributed.abort(_fail(_OUT_OF_MEMORY))
        if jax.process_count() == 1:
            raise
        distributed.abort(_fail(f"{_LOST}: {str(error).splitlines()[0]}"))
    except KeyboardInterrupt:
        distributed.abort(130)


def _with_home(argument: str) -> str:
    """--config=FILE, which is not a `path_flag`, with `~` replaced."""
    flag, equals, path = argument.partition("=")
    if flag == "--config" and equals:
        return f"{flag}={os.path.expanduser(path)}"
    return argument


def _replace_what_cannot_be_encoded() -> None:
    """Lets names and signs that a terminal does not know end no command."""

    def replace(error: UnicodeError) -> tuple[str | bytes, int]:
        sign = error.object[error.start]
        if sign in _ASCII:
            return _ASCII[sign], error.start + 1
        return codecs.backslashreplace_errors(error)

    codecs.register_error("jax_scadn", replace)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="jax_scadn")


def _join_cluster() -> None:
    """Starts as one of several processes if the flags or the environment say so."""
    cluster = distributed.detect_cluster(
        os.environ,
        flags.FLAGS.coordinator_address,
        flags.FLAGS.num_processes,
        flags.FLAGS.process_id,
    )
    distributed.start(cluster, flags.FLAGS.heartbeat_timeout)


def parse(
    arguments: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS
) -> list[str]:
    """Sets the flags and returns the remaining arguments, the program name first.

    Raises:
      errors.UserError: an error in the flags or in the settings file.
    """
    path = _settings_file(arguments) if "config" in flag_values else ""
    if path and not pathlib.Path(path).is_file():
        raise errors.UserError(_missing_config(path))
    try:
        rest = flag_values(arguments)
        if path and _CONFIG is not None:
            _CONFIG.value.lock()  # raises the errors of opening the file
        return rest
    except errors.UserError:
        raise
    # The settings file is a program and may raise anything.
    except Exception as error:
        raise errors.UserError(_explanation(error, arguments, path)) from None


def _settings_file(arguments: Sequence[str]) -> str:
    """FILE of --config=FILE[:ARGUMENT]; '' without the flag."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", "-config", nargs="?")
    known, _ = parser.parse_known_args(arguments[1:])
    return (known.config or "").partition(":")[0]


def _missing_config(path: str) -> str:
    known = sorted(map(str, pathlib.Path("configs").glob("[!_]*.py")))
    hint = f"; available: {', '.join(known)}" if known else ""
    return f"the settings file {path} does not exist{hint}"


def _explanation(error: Exception, arguments: Sequence[str], path: str) -> str:
    """One line for an error raised by parsing the flags, with its location."""
    text = "".join(traceback.format_exception(error))
    location = rf'File "[^"]*{re.escape(pathlib.Path(path).name)}", line (\d+)'
    lines = re.findall(location, text) if path else []
    if lines:
        return f"{path}, line {lines[-1]}: {_last_line(text)}"
    if "config file" in str(error):  # its message contains a traceback
        return f"{path} cannot be used: {_last_line(text)}"
    if isinstance(error, (AttributeError, KeyError)):
        return _no_such_setting(str(error), arguments) or f"{path}: {_last_line(text)}"
    missing = re.search(r"Flag --(\w+) must have a value", str(error))
    return f"give --{missing[1]}" if missing else " ".join(str(error).split())


def _no_such_setting(text: str, arguments: Sequence[str]) -> str | None:
    wrong = re.search(r"\w+", text)[0]
    for argument in arguments:
        flag = argument.partition("=")[0]
        if wrong in flag.split("."):
            meant = re.search(r'Did you mean "(\w+)"', text)
            hint = f"did you mean {meant[1]}?" if meant else "see docs/settings.md"
            return f"unknown setting {flag}; {hint}"
    return None


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1].strip()


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 2
