"""The trial table of a session, read and checked."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from intake_laion_fmri.axes.labels import LONGEST_QUOTE, is_altered, parse_label, quoted
from intake_laion_fmri.axes.trials import COLUMNS, DTYPES, TRIALS_PER_SESSION
from intake_laion_fmri.errors import DataIntegrityError

if TYPE_CHECKING:
    import pandas as pd

_RUN = re.compile(r"(?:run-)?0*([1-9][0-9]{0,3})(?:\.0+)?")  # a column with a gap is written as 1.0
_SESSION = re.compile(r"(?:ses-)?0*([0-9]{1,4})")
MAX_TABLE_BYTES = 4 * 1024 * 1024
"""Bytes of a trial table, at most: one of the longest session has about a hundred thousand. Bounds time and memory."""

_END_OF_LINE = re.compile(r"\r\n|\r|\n")
_NO_LABEL = frozenset({"", "blank", "n/a", "na", "nan", "none", "null"})
_LONGEST_LABEL = 1024


def read_trials(content: bytes, *, name: str, session: str, participant: str | None = None) -> pd.DataFrame:
    """Read and check the trial table of one session.

    Parameters
    ----------
    content : bytes
        The file: tab-separated UTF-8, with the columns ``session, run, beta_index, label`` in any order (others are
        ignored).
    name : str
        What to call the file in errors.
    session : str
        The session that the table must be of, ``"ses-01"``. In the table its number counts: ``1`` is ``ses-01``.
    participant : str, optional
        The code that labels of unique images must carry, ``"p01"``.

    Returns
    -------
    pandas.DataFrame
        One row per trial, in the file's order, with columns `COLUMNS`; ``run`` is a number, and ``session`` the
        name that was given. A label that does not follow the data set's grammar is kept as it is.

    Raises
    ------
    DataIntegrityError
        If it is no such table or has no row, columns or values are missing, a row belongs to another session,
        ``beta_index`` does not count from 0, a run is not from 1 to 9999, or a label is damaged or of another
        participant. Names the row, counted from 0 like volumes.

    Notes
    -----
    Takes no more than ten times the file's size in memory; a file of more than `MAX_TABLE_BYTES` is refused.
    """
    import pandas as pd

    broken = functools.partial(_broken, name)
    text = _table_text(content, broken)
    header, rows = _table_rows(text, broken)
    columns = operator.itemgetter(*(header.index(column) for column in COLUMNS))
    number = int(session.removeprefix("ses-"))
    # A file that ends without a newline may end within its last label.
    cut = None if text.endswith(("\r", "\n")) else len(rows) - 1
    # Idea: one pass over the rows, so that the error names the first bad row; its columns are found by name once.
    # Reference: the columns are those of the bucket's trial tables; the grammar of labels is in `labels`.
    # Cost: O(rows), four regular expressions a row; a label is parsed once for all sessions.
    runs, labels = [], []
    for row, text_of_row in enumerate(rows):
        fields = text_of_row.split("\t")
        if len(fields) != len(header):
            raise broken(f"row {row}: expected {len(header)} fields, found {len(fields)}")
        spelled, run, beta_index, label = columns(fields)
        match = _SESSION.fullmatch(spelled)
        if match is None or int(match[1]) != number:
            raise broken(f"row {row}: expected the session {session!r}, found {quoted(spelled)}")
        if beta_index != str(row):
            raise broken(f"row {row}: expected the beta_index {row}, found {quoted(beta_index)}")
        match = _RUN.fullmatch(run)
        if match is None:
            raise broken(f"row {row}: expected a run such as 1 or 'run-01', found {quoted(run)}")
        problem = _problem_of(label, participant, is_cut=row == cut)
        if problem:
            raise broken(f"row {row}: expected {problem}, found {quoted(label)}")
        runs.append(int(match[1]))
        labels.append(label)
    return pd.DataFrame(
        {
            "session": np.full(len(rows), session, dtype=object),
            "run": np.array(runs, dtype=DTYPES["run"]),
            "beta_index": np.arange(len(rows), dtype=DTYPES["beta_index"]),
            "label": np.array(labels, dtype=object),
        }
    )


Broken = Callable[[str], DataIntegrityError]
"""Takes what was found in a file; returns the error that names it."""


def _broken(name: str, found: str) -> DataIntegrityError:
    """Return the error for a broken table."""
    return DataIntegrityError(f"{name}: {found}. Fetch the file again; if it stays so, report it.")


def _table_text(content: bytes, broken: Broken) -> str:
    """Decode a table of a bounded size, without NUL bytes."""
    if len(content) > MAX_TABLE_BYTES:
        raise broken(f"expected a trial table of at most {MAX_TABLE_BYTES} bytes, found {len(content)}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise broken(f"line {line}: expected UTF-8, found the byte {error.object[error.start]:#04x}") from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise broken(f"line {line}: expected text, found a NUL byte")
    return text


def _table_rows(text: str, broken: Broken) -> tuple[list[str], list[str]]:
    """Split a table into the names of its columns and its rows."""
    # By hand: pandas takes a row with too many fields for one with an index, and shifts its columns.
    # As many lines as there may be, and what follows as one more: what a broken file is made of may be endless.
    first, *rows = _END_OF_LINE.split(text.rstrip("\r\n"), maxsplit=TRIALS_PER_SESSION)
    header = first.split("\t")
    if any(header.count(column) != 1 for column in COLUMNS):
        found = first[:LONGEST_QUOTE].replace("\t", ", ")[:LONGEST_QUOTE]
        raise broken(f"expected the columns {', '.join(COLUMNS)}, each once, found {found!r}")
    if not 0 < len(rows) < TRIALS_PER_SESSION:
        more = f"{len(rows)} or more" if len(rows) == TRIALS_PER_SESSION else str(len(rows))
        raise broken(f"expected 1 to {TRIALS_PER_SESSION - 1} trials, found {more}")
    return header, rows


def _problem_of(label: str, participant: str | None, *, is_cut: bool) -> str:
    """Return what was expected instead of a label, or an empty text if it is sound."""
    parsed = parse_label(label) if len(label) <= _LONGEST_LABEL else None
    if parsed is None and (_is_damaged(label) or is_cut):
        return "a stimulus label of the data set"
    if participant and parsed and parsed.participant not in ("", participant):
        return f"an image of participant {participant}"
    return ""


def _is_damaged(label: str) -> bool:
    """Return True if a label is empty, or a known label that was altered: it would count as another image."""
    return (
        len(label) > _LONGEST_LABEL
        or label.strip(" \"'") != label
        or label.casefold() in _NO_LABEL
        or not label.isprintable()
        or is_altered(label)
    )
