"""Tables: columns of texts, and their conversion to numbers."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import Broken

if TYPE_CHECKING:
    import pandas as pd

MAX_TABLE_BYTES = 4 * 1024 * 1024
"""Maximum size of a session's or run's table; the longest has 0.1 MB. Bounds time and memory."""

LONGEST_QUOTE = 200
"""Maximum number of characters of a text in a message."""


def read_table(
    content: bytes, *, name: str, needed: Collection[str], separator: str = ",", most_bytes: int | None = None
) -> pd.DataFrame:
    """Read a table of text fields as `read_columns` does, shape (row, column)."""
    import pandas as pd

    columns = read_columns(content, name=name, needed=needed, separator=separator, most_bytes=most_bytes)
    return pd.DataFrame(columns, dtype=object)


def read_columns(
    content: bytes,
    *,
    name: str,
    needed: Collection[str],
    separator: str = ",",
    most_bytes: int | None = None,
    most_rows: int | None = None,
) -> dict[str, tuple[str, ...]]:
    """Read the columns of a table as texts; empty fields are "".

    pandas would take the first of too many fields as an index, and shift the columns.

    Parameters
    ----------
    content : bytes
        UTF-8, with the names in the first line.
    name : str
        Name of the file for errors.
    needed : collection of str
        Required columns.
    separator : str, default ","
        Separator of fields. With a comma, fields may be quoted.
    most_bytes, most_rows : int, optional
        Size limits; a larger table is an error.

    Returns
    -------
    dict of str to tuple of str
        All columns in the file's order; the first of those with the same name.

    Raises
    ------
    DataIntegrityError
        If it is not such a table, or a row has more or fewer fields. The message names the row, from 0.
    """
    broken = Broken(name)
    if most_bytes is not None and len(content) > most_bytes:
        raise broken(f"expected a table of at most {most_bytes} bytes, found {len(content)}")
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE
    lines = io.StringIO(_decoded(content, broken).rstrip("\r\n"), newline="")
    reader = csv.reader(lines, delimiter=separator, quoting=quoting, strict=True)
    try:
        header = next(reader, [])
        rows = [row or [""] for row in itertools.islice(reader, most_rows and most_rows + 1)]
    except csv.Error as error:
        raise broken(f"line {reader.line_num}: expected a table: {error}") from error
    if any(header.count(column) != 1 for column in needed):
        raise broken(f"expected the columns {', '.join(needed)}, each once, found {quoted(', '.join(header))}")
    if most_rows is not None and len(rows) > most_rows:
        raise broken(f"expected 1 to {most_rows} rows, found more")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise broken(f"row {number}: expected {len(header)} fields, found {len(row)}")
    columns: dict[str, tuple[str, ...]] = {}
    for column, values in zip(header, zip(*rows, strict=True) if rows else itertools.repeat(()), strict=False):
        columns.setdefault(column, values)
    return columns


def _decoded(content: bytes, broken: Broken) -> str:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise broken(f"line {line}: expected UTF-8, found the byte {error.object[error.start]:#04x}") from error
    if "\0" in text:
        raise broken(f"line {text.count(chr(10), 0, text.index(chr(0))) + 1}: expected text, found a NUL byte")
    return text


def expect_each(
    texts: Sequence[str], is_right: Callable[[str], object], expected: str, broken: Callable[[str], Exception]
) -> None:
    """Raise an error from `broken` for the first invalid text."""
    wrong = {text for text in set(texts) if not is_right(text)}  # columns often have few distinct texts
    if wrong:
        row, text = next(found for found in enumerate(texts) if found[1] in wrong)
        raise broken(f"row {row}: expected {expected}, found {quoted(text)}")


def quoted(text: str) -> str:
    """Quote a text for a message, shortened."""
    return repr(text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]}…")


def whole_numbers(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.int64]:
    """Convert a column to whole numbers from 0 on, or raise DataIntegrityError."""
    texts = table[column].tolist()
    expect_each(texts, re.compile("[0-9]{1,18}").fullmatch, f"a whole number of at least 0 in {column}", Broken(name))
    return np.array([int(text) for text in texts], dtype=np.int64)


def numbers(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.float64]:
    """Convert a column to numbers (empty: NaN), or raise DataIntegrityError."""
    found = np.full(len(table), np.nan)
    for number, text in enumerate(table[column].tolist()):
        try:
            found[number] = float(text) if text else np.nan
        except ValueError as error:
            raise Broken(name)(f"row {number}: {column}: expected a number, found {text[:80]!r}") from error
    return found


def flags(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.bool_]:
    """Convert a column of True and False, or raise DataIntegrityError."""
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    texts = [text.lower() for text in table[column].tolist()]
    expect_each(texts, words.__contains__, f"True or False in {column}", Broken(name))
    return np.array([words[text] for text in texts], dtype=bool)
