"""Reading and checking of a session's trial table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from intake_laion_fmri.axes.labels import is_altered, parse_label
from intake_laion_fmri.axes.trials import COLUMNS, COORDINATES, TRIALS_PER_SESSION
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.formats.tables import MAX_TABLE_BYTES, expect_each, quoted, read_columns

if TYPE_CHECKING:
    import pandas as pd

_RUN = re.compile(r"(?:run-)?0*([1-9][0-9]{0,3})(?:\.0+)?")  # a column with a gap is written as 1.0
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
        Name of the file for errors.
    session : str
        The expected session, ``"ses-01"``. The table may give its number only: ``1`` is ``ses-01``.
    participant : str, optional
        The code that labels of unique images must contain, ``"p01"``.

    Returns
    -------
    pandas.DataFrame
        One row per trial, in the file's order, with columns `COLUMNS`; ``run`` is a number, and ``session`` the
        argument. A label that does not follow the data set's grammar is kept unchanged.

    Raises
    ------
    DataIntegrityError
        If it is not such a table or has no row, columns or values are missing, a row belongs to another session,
        ``beta_index`` does not count from 0, a run is not from 1 to 9999, or a label is damaged or of another
        participant. The message names the row, counted from 0 like volumes.

    Notes
    -----
    Needs up to ten times the file's size in memory; a file larger than `MAX_TABLE_BYTES` is refused.
    """
    import pandas as pd

    broken, number = Broken(name), int(session.removeprefix("ses-"))
    most = {"most_bytes": MAX_TABLE_BYTES, "most_rows": TRIALS_PER_SESSION - 1}
    columns = read_columns(content, name=name, needed=COLUMNS, separator="\t", **most)
    labels = columns["label"]
    if not labels:
        raise broken(f"expected 1 to {TRIALS_PER_SESSION - 1} trials, found 0")
    expect_each(columns["session"], re.compile(rf"(?:ses-)?0*{number}").fullmatch, f"the session {session!r}", broken)
    for row, index in enumerate(columns["beta_index"]):
        if index != str(row):
            raise broken(f"row {row}: expected the beta_index {row}, found {quoted(index)}")
    expect_each(columns["run"], _RUN.fullmatch, "a run such as 1 or 'run-01'", broken)
    may_be_cut = not content.endswith((b"\r", b"\n"))
    for row, label in enumerate(labels):
        parsed = parse_label(label) if len(label) <= _LONGEST_LABEL else None
        if parsed is None:
            if not _is_sound(label) or (may_be_cut and row == len(labels) - 1):
                raise broken(f"row {row}: expected a stimulus label of the data set, found {quoted(label)}")
        elif participant and parsed.participant not in ("", participant):
            raise broken(f"row {row}: expected an image of participant {participant}, found {quoted(label)}")
    runs = {run: int(run.removeprefix("run-").partition(".")[0]) for run in set(columns["run"])}
    return pd.DataFrame(
        {
            "session": np.full(len(labels), session, dtype=object),
            "run": np.array([runs[run] for run in columns["run"]], dtype=COORDINATES["run"][0]),
            "beta_index": np.arange(len(labels), dtype=COORDINATES["beta_index"][0]),
            "label": np.array(labels, dtype=object),
        }
    )


def _is_sound(label: str) -> bool:
    """Return False for an empty or altered label.

    An altered label would count as a different image.
    """
    if len(label) > _LONGEST_LABEL or label.casefold() in _NO_LABEL:
        return False
    return label.strip(" \"'") == label and label.isprintable() and not is_altered(label)
