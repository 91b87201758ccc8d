"""Messages of the package for the command line: options instead of arguments."""

from __future__ import annotations

import re
import shlex

import click

from intake_laion_fmri.cli.output import printable
from intake_laion_fmri.errors import redact

_VALUE = r"(?P<value>'[^']*'|\"[^\"]*\"|\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}|[\w.-]+)?"
_NO_SHELL_WORD = re.compile(r"[^\w@%+=:,./{}…-]")

_NAMESAKES = {"to": ("store", "mirror"), "url": ("store",), "folder": ("mirror",)}
"""From a parameter of a command to the names of the corresponding arguments of functions."""


def cli_message(error: object) -> str:
    """Reword a message for the command line: ``mirror='/copy'`` becomes ``--mirror /copy``.

    An argument that the command has no option for stays as it is.
    """
    parameters = _parameters()
    if not parameters:
        return printable(redact.text(error))
    names = "|".join(sorted(parameters, key=len, reverse=True))
    tables = "|".join(name for name, parameter in parameters.items() if parameter.metavar == "KEY=VALUE") or "(?!)"
    # Do not replace parts of paths or of other values: these are the user's own words.
    pattern = re.compile(
        rf"(?<![\w/=.?&'\"-])(?:(?P<name>{names})(?:={_VALUE}|(?= must ))|the argument '(?P<argument>{names})'"
        rf"|(?P<table>{tables})\b(?:\['(?P<entry>\w+)'\])?(?!\w))"
    )

    def replacement(match: re.Match[str]) -> str:
        word = _word(parameters[match["name"] or match["argument"] or match["table"]])
        if match["name"]:
            return _with_value(word, parameters[match["name"]], match["value"])
        return f"{word} {match['entry']}" if match["entry"] else word

    return printable(pattern.sub(replacement, redact.text(error)))


def _parameters() -> dict[str, click.Parameter]:
    """Return the running command's options and arguments by function argument."""
    context = click.get_current_context(silent=True)
    found: dict[str, click.Parameter] = {}
    namesakes: dict[str, click.Parameter] = {}
    for parameter in context.command.params if context else ():
        names = [parameter.name or "", _word(parameter).lstrip("-").replace("-", "_").lower()]
        found |= dict.fromkeys(names, parameter)
        namesakes |= dict.fromkeys(_NAMESAKES.get(names[0], ()), parameter)
    found.pop("", None)
    return {**namesakes, **found}


def _word(parameter: click.Parameter) -> str:
    """Return the name of a parameter as users type it."""
    return max(parameter.opts, key=len) if isinstance(parameter, click.Option) else parameter.metavar or "PATH"


def _with_value(word: str, parameter: click.Parameter, value: str | None) -> str:
    if value is None or (isinstance(parameter, click.Option) and parameter.is_flag):
        return word
    entry = re.fullmatch(r"\{'(\w+)': (.*)\}", value)
    if entry:
        return f"{word} {entry[1]}={entry[2]}"
    if value.startswith(("'", '"')):
        value = value[1:-1]
        return f"{word} {shlex.quote(value) if _NO_SHELL_WORD.search(value) or not value else value}"
    return f"{word} {value}"
