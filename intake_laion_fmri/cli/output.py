"""Output of commands: tables and bars on terminals, lines in pipes, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

import click

from intake_laion_fmri.running.progress import ProgressBar, size

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of lines.")


_WIDE = 10_000
"""Width of a console that wraps no row."""


class Size(int):
    """A number of bytes, formatted with decimal units on a terminal."""


@dataclass(frozen=True)
class Table:
    """Rows for terminals and pipes."""

    columns: Sequence[str]
    """Headings, shown on a terminal only."""
    rows: Sequence[Sequence[object]]
    """Cells are strings, numbers, sizes, or sequences of strings."""
    name: str = ""
    """First field of each line in a pipe, for commands that print several tables."""


def on_terminal(stream: TextIO | None) -> bool:
    """Return True if a stream is a terminal; None is a closed stream."""
    return stream is not None and stream.isatty()


def printable(text: str) -> str:
    """Escape control characters, such as those of a key."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


def print_json(value: object) -> None:
    """Print one JSON object."""
    click.echo(json.dumps(value, indent=2))


def print_table(table: Table, *, wrap: bool = True) -> None:
    """Print a table on a terminal, tab-separated lines in a pipe.

    Without `wrap`, rows are not wrapped on a terminal either, so that they can be copied.
    """
    if not on_terminal(sys.stdout):
        for row in table.rows:
            fields = ([table.name] if table.name else []) + [_plain(cell) for cell in row]
            click.echo("\t".join(fields))
    else:
        _draw(table, wrap=wrap)


def _draw(table: Table, *, wrap: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box.SIMPLE_HEAD if wrap else None, pad_edge=False, show_edge=False, padding=(0, 1))
    for number, name in enumerate(table.columns):
        numbers = bool(table.rows) and all(isinstance(row[number], int) for row in table.rows)
        drawn.add_column(name, justify="right" if numbers else "left", overflow="fold", no_wrap=numbers or not wrap)
    for row in table.rows:
        drawn.add_row(*(Text(_shown(cell)) for cell in row))
    Console(highlight=False, width=None if wrap else _WIDE).print(drawn)


def _plain(cell: object) -> str:
    if isinstance(cell, str):
        return printable(cell).replace("\n", "\\n")
    if isinstance(cell, Sequence):
        return ",".join(map(_plain, cell))
    return str(int(cell) if isinstance(cell, Size) else cell)


def _shown(cell: object) -> str:
    if isinstance(cell, Size):
        return size(cell)
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, Sequence) and not isinstance(cell, str):
        return ", ".join(map(_shown, cell))
    return _plain(cell)


class Bar(ProgressBar):
    """Progress bar of a command."""

    def say(self, line: str) -> None:
        """Print a line, above the bar."""
        self.above(lambda: click.echo(printable(line)))
