"""Messages of the package, whose functions take arguments, in the words of the command line, which has options."""

from __future__ import annotations

import re
import shlex

import click

from intake_laion_fmri import redact
from intake_laion_fmri.cli.output import printable

__all__ = ["cli_message"]

_VALUE = r"(?P<value>'[^']*'|\"[^\"]*\"|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|[\w.-]+)?"
_NO_SHELL_WORD = re.compile(r"[^\w@%+=:,./{}…-]")


def cli_message(error: object) -> str:
    """Return a message as the running command prints it: ``mirror='/copy'`` is ``--mirror /copy`` there.

    An argument that the command has no option for stays as it is.
    """
    options = _options()
    if not options:
        return printable(redact.text(error))
    names = "|".join(sorted(options, key=len, reverse=True))
    # Neither within a path, nor a value of something else: these are the user's own words.
    pattern = re.compile(rf"(?<![\w/=.?&'\"-])(?P<name>{names})={_VALUE}")
    return printable(pattern.sub(lambda match: _spoken(options[match["name"]], match["value"]), redact.text(error)))


def _options() -> dict[str, click.Option]:
    """Return the options of the running command, by the arguments that they stand for."""
    context = click.get_current_context(silent=True)
    found: dict[str, click.Option] = {}
    for parameter in context.command.params if context else ():
        if isinstance(parameter, click.Option):
            long = max(parameter.opts, key=len)
            for name in (parameter.name, long.removeprefix("--").replace("-", "_")):
                found[name or ""] = parameter
    found.pop("", None)
    return found


def _spoken(option: click.Option, value: str | None) -> str:
    long = max(option.opts, key=len)
    if option.is_flag or value is None:
        return long
    entry = re.fullmatch(r"\{'(\w+)': (.*)\}", value)
    if entry:
        return f"{long} {entry[1]}={entry[2]}"
    if value.startswith(("'", '"')):
        value = value[1:-1]
        return f"{long} {shlex.quote(value) if _NO_SHELL_WORD.search(value) or not value else value}"
    return f"{long} {value}"
