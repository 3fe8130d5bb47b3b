"""What both commands share: flags read with a remedy for each mistake, and how a command ends."""

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


CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/, as configs/samm.py")


def run(
    main: Callable[[ConfigDict], object], defaults: Mapping[str, Path] = MappingProxyType({})
) -> int:
    """Parse the flags, call `main` with the configuration, and give the exit status.

    Args:
      main: the command.
      defaults: flag -> file that is the configuration when this flag is given and --config is not.

    Returns:
      2 after a UserError or a wrong flag, whose message goes to stderr alone. Ctrl-C ends the
      process at once, with status 130.

    Raises:
      SystemExit: with status 0 when `main` is through, or after --help.
    """
    parse = functools.partial(_parse, defaults=defaults)
    return run_and_get_status(lambda: app.run(lambda _: _run_and_flush(main), flags_parser=parse))


def run_and_get_status(work: Callable[[], object]) -> int:
    """Do a command's work and give its exit status.

    Args:
      work: the command.

    Returns:
      0; 2 after a UserError, or a file that cannot be read or written, of which stderr tells in a
      line. Ctrl-C ends the process at once, with status 130.
    """
    try:
        work()
    except BrokenPipeError:  # as after `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("\nStopped: nobody reads the output any more.", file=sys.stderr)
        return MISTAKE
    except UserError as error:
        print(f"\n{error}", file=sys.stderr)
        return MISTAKE
    except OSError as error:
        if not error.filename:  # no path of the user's
            raise
        print(
            f"\n{error.filename}: {error.strerror or error}. Fix: correct the path, or who may "
            "read and write it.",
            file=sys.stderr,
        )
        return MISTAKE
    except KeyboardInterrupt:
        pass
    else:
        return 0
    print(
        "\nInterrupted. What is finished is kept: run the same command again to go on.",
        file=sys.stderr,
        flush=True,
    )
    sys.stdout.flush()
    gc.collect()  # gives the semaphores of the worker processes back
    # XLA may be compiling in threads of its own, on which an orderly end can crash.
    os._exit(INTERRUPTED)


def expand_path(text: str | os.PathLike[str]) -> Path:
    """A path that the user gave; a shell leaves the ~ of --out=~/clip as it is.

    Raises:
      UserError: it is of a user who is not there.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text}: {error} Correct the path.") from error


def _run_and_flush(main: Callable[[ConfigDict], object]) -> None:
    main(CONFIG.value)
    sys.stdout.flush()  # here, where it is noticed that nobody reads


def _parse(argv: Sequence[str], defaults: Mapping[str, Path]) -> list[str]:
    """Parse flags; a name that no flag or field has is a UserError with the nearest one."""
    try:
        rest = flags.FLAGS(_put_config_first(argv, defaults))
        if CONFIG.value is not None:
            CONFIG.value.keys()  # a file that could not be loaded raises only when it is used
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(_message(error)) from error
    if len(rest) > 1:
        raise UserError(f"{rest[1]!r} is not a flag; flags are written --name=value.")
    return rest


def _put_config_first(argv: Sequence[str], defaults: Mapping[str, Path]) -> list[str]:
    """The same arguments with --config=FILE before the fields that belong to it."""
    program, *arguments = argv
    for at in range(len(arguments) - 1, 0, -1):
        if arguments[at - 1] == "--config":  # written with a blank
            arguments[at - 1 : at + 1] = [f"--config={arguments[at]}"]
    files = [argument for argument in arguments if argument.startswith("--config=")]
    names = [argument.partition("=")[0] for argument in arguments]
    if not files:
        if {"--help", "--helpfull", "--helpshort"} & {*arguments}:
            return [*argv]
        files = [f"--config={defaults[flag]}" for flag in defaults if f"--{flag}" in names]
    if not files:
        others = "".join(f", or give --{flag}" for flag in defaults)
        raise UserError(
            f"Which configuration? Add, for example, --config=configs/synthetic.py{others}"
        )
    if any(argument.startswith("--config.preset") for argument in arguments):
        raise UserError(
            "The preset is written after the file: --config=configs/synthetic.py:smoke (for the "
            "ablation: --config=configs/ablation.py:synthetic-smoke)"
        )
    if len(files) > 1:
        raise UserError(f"Only one configuration at a time, not {' and '.join(files)}.")
    file = Path(files[0].removeprefix("--config=").partition(":")[0])
    if not file.is_file():
        raise UserError(
            f"{file}: no such configuration file. Those of this project are in the folder configs/ "
            "of its repository, where the command is run: --config=configs/synthetic.py"
        )
    return [program, *files, *(argument for argument in arguments if argument not in files)]


def _message(error: BaseException) -> str:
    """The message at the core of an error that was raised from others of its kind."""
    if isinstance(error.__context__, UserError):  # a config file's own check
        return str(error.__context__)
    core = error
    while core.args and isinstance(core.args[0], BaseException):
        core = core.args[0]
    told = str(core.args[0]) if core.args else type(core).__name__
    unknown = isinstance(error, AttributeError | KeyError)
    return f"There is no field {told}" if unknown else told
