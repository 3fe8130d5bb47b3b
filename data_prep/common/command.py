"""The command line code of both commands: parsing of flags, error messages, exit statuses."""

from __future__ import annotations

import functools
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from data_prep.common.errors import UserError

MISTAKE, INTERRUPTED = 2, 130


CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, such as configs/samm.py."
)


def run(
    main: Callable[[ConfigDict], object], defaults: Mapping[str, Path] = MappingProxyType({})
) -> int:
    """Parse the flags, call `main` with the configuration, and return the exit status.

    Args:
      main: Command to run.
      defaults: Flag -> configuration file to use if this flag is given and --config is not.

    Returns:
      2 after a UserError or a wrong flag; only the message is printed, to stderr. Ctrl-C ends the
      process at once, with status 130.

    Raises:
      SystemExit: With status 0 when `main` has finished, or after --help.
    """
    parse = functools.partial(_parse, defaults=defaults)
    return run_and_get_status(lambda: app.run(lambda _: _run_and_flush(main), flags_parser=parse))


def run_and_get_status(work: Callable[[], object]) -> int:
    """Run a command's work and return its exit status.

    Args:
      work: The command.

    Returns:
      0; or 2 after a UserError, a file that cannot be read or written, or a closed output pipe.
      stderr then gets a message instead of a traceback. Ctrl-C ends the process at once, with
      status 130.
    """
    try:
        work()
    except BrokenPipeError:  # For example after `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("\nStopped: the output pipe is closed.", file=sys.stderr)
        return MISTAKE
    except UserError as error:
        print(f"\n{error}", file=sys.stderr)
        return MISTAKE
    except OSError as error:
        if not error.filename:  # The error is not about a file of the user.
            raise
        print(
            f"\n{error.filename}: {error.strerror or error}. Fix: correct the path or its "
            "permissions.",
            file=sys.stderr,
        )
        return MISTAKE
    except KeyboardInterrupt:
        pass
    else:
        return 0
    print(
        "\nInterrupted. Finished work is kept. Run the same command again to continue.",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    gc.collect()  # Releases the semaphores of the worker processes.
    # XLA may still be compiling in its own threads; an orderly exit can then crash.
    os._exit(INTERRUPTED)


def expand_path(text: str | os.PathLike[str]) -> Path:
    """Return a path given by the user, with ~ expanded.

    A shell does not expand the ~ of --out=~/clip.

    Raises:
      UserError: The path names a user who does not exist.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text}: {error} Fix: correct the path.") from error


def _run_and_flush(main: Callable[[ConfigDict], object]) -> None:
    main(CONFIG.value)
    sys.stdout.flush()  # Here, so that a closed pipe raises inside `run_and_get_status`.


def _parse(argv: Sequence[str], defaults: Mapping[str, Path]) -> list[str]:
    """Parse the flags and return the arguments that are left.

    Raises:
      UserError: A flag or field is unknown or has an invalid value. For an unknown name, the
        message gives the nearest valid one.
    """
    try:
        rest = flags.FLAGS(_put_config_first(argv, defaults))
        if CONFIG.value is not None:
            CONFIG.value.keys()  # A file that could not be loaded raises only here.
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_message(error)) from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag. Fix: write flags as --name=value.")
    return rest


def _put_config_first(argv: Sequence[str], defaults: Mapping[str, Path]) -> list[str]:
    """Return the arguments with --config=FILE before the fields that belong to it.

    Raises:
      UserError: There is no configuration file, or more than one, or it does not exist.
    """
    program, *arguments = argv
    for i in range(len(arguments) - 1, 0, -1):
        if arguments[i - 1] == "--config":  # Written with a space instead of '='.
            arguments[i - 1 : i + 1] = [f"--config={arguments[i]}"]
    files = [argument for argument in arguments if argument.startswith("--config=")]
    names = [argument.partition("=")[0] for argument in arguments]
    if not files:
        if {"--help", "--helpfull", "--helpshort"} & {*arguments}:
            return [*argv]
        files = [f"--config={defaults[flag]}" for flag in defaults if f"--{flag}" in names]
    if not files:
        alternatives = "".join(f", or give --{flag}" for flag in defaults)
        raise UserError(
            "--config: no file is given. Fix: add, for example, "
            f"--config=configs/synthetic.py{alternatives}"
        )
    if any(argument.startswith("--config.preset") for argument in arguments):
        raise UserError(
            "--config.preset: not a field. Fix: write the preset after the file, "
            "--config=configs/synthetic.py:smoke (for the ablation: "
            "--config=configs/ablation.py:synthetic-smoke)"
        )
    if len(files) > 1:
        raise UserError(
            f"--config: only one is allowed, not {' and '.join(files)}. Fix: drop all but one."
        )
    file = Path(files[0].removeprefix("--config=").partition(":")[0])
    if not file.is_file():
        raise UserError(
            f"{file}: no such configuration file. Fix: run the command in the repository of "
            "this project; its configurations are in configs/, such as "
            "--config=configs/synthetic.py"
        )
    return [program, *files, *(argument for argument in arguments if argument not in files)]


def _message(error: BaseException) -> str:
    """Return the message of the innermost error of a chain of wrapped errors."""
    if isinstance(error.__context__, UserError):  # Raised by a check in the configuration file.
        return str(error.__context__)
    core = error
    while core.args and isinstance(core.args[0], BaseException):
        core = core.args[0]
    message = str(core.args[0]) if core.args else type(core).__name__
    is_unknown_field = isinstance(error, AttributeError | KeyError)
    return f"There is no field {message}" if is_unknown_field else message
