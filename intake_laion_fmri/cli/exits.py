"""Exit codes of commands, and the errors behind them."""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click

from intake_laion_fmri.cli import interrupts
from intake_laion_fmri.cli.wording import cli_message
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    IncompleteBucketWarning,
    LeftAloneWarning,
    MissingFileWarning,
    NotInBucketError,
    OfflineWarning,
)

FAILED = 1
"""Exit code of a failure. 0 is success; 2 is an error of usage."""
DRIFT = FAILED
"""Exit code of comparisons: there are differences."""
UNREACHABLE = 3
"""Exit code: the bucket does not respond."""
DENIED = 4
"""Exit code: the bucket may not be read."""
NOT_FOUND = 5
"""Exit code: there is no such bucket, or it has no matching object."""
CONTRADICTORY = 6
"""Exit code: the bucket, a store, a mirror or an inventory is damaged or inconsistent."""
CLOSED_PIPE = 141
"""Exit code: the reader of the output has closed it; shells report SIGPIPE so."""

_CODES: Mapping[type[Exception], int] = {
    BucketUnreachableError: UNREACHABLE,
    AccessDeniedError: DENIED,
    NotInBucketError: NOT_FOUND,
    DataIntegrityError: CONTRADICTORY,
}


class Program(click.Group):
    """The whole command line.

    It ends without a traceback at Ctrl-C, and when its output is closed.
    """

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command that the arguments name."""
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # of what is printed, such as on a full disk
            _write_to_nowhere()
            with contextlib.suppress(OSError):
                click.echo(f"Error: {error}", err=True)
            sys.exit(FAILED)

    def list_commands(self, context: click.Context) -> list[str]:
        """List the commands in the order of their registration."""
        return list(self.commands)

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        interrupts.promise("")
        try:
            with interrupts.in_order():
                return super().invoke(context)
        except (KeyboardInterrupt, click.Abort):  # the second: at a question
            interrupts.leave()
        except BrokenPipeError:
            _write_to_nowhere()
            raise click.exceptions.Exit(CLOSED_PIPE) from None


def _write_to_nowhere() -> None:
    """Redirect output to nowhere, so that the interpreter's last flush succeeds."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
            continue
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())


def epilog(examples: str, *, failed: str, done: str = "done", more: str = "") -> str:
    """Return the end of a command's help: examples, notes and exit codes.

    `done` and `failed` describe the exit codes 0 and 1; `more` holds paragraphs between, marked up for click.
    """
    indented = "\n".join(f"  {line}" for line in inspect.cleandoc(examples).splitlines())
    codes = f"""\b
Exit codes:
  0  {done}
  1  {failed}
  2  invalid command or options
  {UNREACHABLE}  the bucket or the store does not respond
  {DENIED}  no permission to read or write the bucket or the store
  {NOT_FOUND}  the bucket, store, mirror or object does not exist
  {CONTRADICTORY}  the bucket, a store, a mirror or an inventory is damaged or inconsistent
"""
    return "\n\n".join(part.strip("\n") for part in (f"\b\nExamples:\n{indented}", more, codes) if part)


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn a bucket's errors into one line and an exit code.

    Warnings are printed as lines as well.
    """
    try:
        with warnings.catch_warnings(record=True) as caught:
            for category in (IncompleteBucketWarning, LeftAloneWarning, MissingFileWarning, OfflineWarning):
                warnings.simplefilter("always", category)
            yield
    except (click.Abort, click.exceptions.Exit, BrokenPipeError):  # no errors, but builtin ones by their classes
        raise
    except (OSError, RuntimeError, DataIntegrityError) as error:
        click.echo(f"Error: {cli_message(error)}", err=True)
        code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), FAILED)
        raise click.exceptions.Exit(code) from error
    except ValueError as error:  # options that the bucket's client refuses
        raise click.UsageError(cli_message(error)) from error
    for text in dict.fromkeys(str(warning.message) for warning in caught):
        click.echo(f"Warning: {cli_message(text)}", err=True)
