"""Comma-separated tables: bytes in, columns of texts out."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import Broken

if TYPE_CHECKING:
    import pandas as pd


def read_csv_table(content: bytes, *, name: str, needed: Collection[str]) -> pd.DataFrame:
    """Read a table whose fields stay the texts that they are: empty ones are "".

    Parameters
    ----------
    content : bytes
        UTF-8, with a line of names first.
    name : str
        What to call the file in errors.
    needed : collection of str
        Columns that must be there.

    Returns
    -------
    pandas.DataFrame
        Every column, of texts.

    Raises
    ------
    DataIntegrityError
        If it is no such table, or a row has more or fewer fields. Names the row, from 0.
    """
    import pandas as pd

    broken = Broken(name)
    try:
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise broken(f"expected a comma-separated table in UTF-8 ({error})") from error
    missing = [column for column in needed if column not in header]
    if missing or len(set(header)) < len(header):
        raise broken(f"expected the columns {', '.join(needed)}, found {', '.join(header)}")
    for number, row in enumerate(rows):
        if len(row) != len(header):
            raise broken(f"row {number}: expected {len(header)} fields, found {len(row)}")
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    return pd.DataFrame({key: _texts(column) for key, column in zip(header, columns, strict=True)})


def whole_numbers(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.int64]:
    """Return a column of numbers from 0 on; DataIntegrityError names the row of anything else."""
    for number, text in enumerate(table[column].tolist()):
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise Broken(name)(f"row {number}: {column}: expected a number from 0 on, found {text[:80]!r}")
    return np.array([int(text) for text in table[column].tolist()], dtype=np.int64)


def numbers(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.float64]:
    """Return a column of numbers; NaN where it is empty; DataIntegrityError names the row of anything else."""
    found = np.full(len(table), np.nan)
    for number, text in enumerate(table[column].tolist()):
        try:
            found[number] = float(text) if text else np.nan
        except ValueError as error:
            raise Broken(name)(f"row {number}: {column}: expected a number, found {text[:80]!r}") from error
    return found


def flags(table: pd.DataFrame, column: str, *, name: str) -> NDArray[np.bool_]:
    """Return a column of true and false; DataIntegrityError names the row of anything else."""
    words = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
    for number, text in enumerate(table[column].tolist()):
        if text.lower() not in words:
            raise Broken(name)(f"row {number}: {column}: expected True or False, found {text[:80]!r}")
    return np.array([words[text.lower()] for text in table[column].tolist()], dtype=bool)


def _texts(values: tuple[str, ...]) -> NDArray[np.object_]:
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column
