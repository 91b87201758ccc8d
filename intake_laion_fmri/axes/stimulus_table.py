"""The stimulus table: row k describes image k of the image file."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.formats.masks import Broken
from intake_laion_fmri.formats.tables import expect_each, quoted, read_table

if TYPE_CHECKING:
    import pandas as pd

STIMULUS = "stimulus"
"""Coordinate along ``trial``: the image's row in the stimulus table."""

_INDEX = "image_name"
_COLUMNS = ("dataset", "participant", "unique_or_shared", "n_reps")
_REPEATS = re.compile(r"([0-9]{1,3})(?:rep)?(?:\.0+)?")
_SUBJECTS = {code: subject for subject, code in layout.PARTICIPANT_CODES.items()}


def read_stimulus_table(content: bytes, *, name: str) -> pd.DataFrame:
    """Read and check the stimulus table.

    Parameters
    ----------
    content : bytes
        The file: comma-separated UTF-8, with the columns ``image_name, dataset, participant, unique_or_shared, n_reps``
        in any order.
    name : str
        Name of the file for errors.

    Returns
    -------
    pandas.DataFrame
        Index ``image_name``; columns ``row`` (from 0), ``dataset``, ``participant``, ``subject`` (of a participant's
        code, or empty), ``unique_or_shared``, ``n_reps`` (a number), and any others of the file.

    Raises
    ------
    DataIntegrityError
        If it is not such a table, a column or a name is missing, a name is repeated, or a number of repetitions is
        invalid. The message names the row, from 0.
    """
    broken = Broken(name)
    table = read_table(content, name=name, needed=(_INDEX, *_COLUMNS))
    wrong = (table[_INDEX] == "") | table[_INDEX].duplicated()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise broken(f"row {row}: expected each image name once, found {quoted(table[_INDEX][row])} twice")
    expect_each(table["n_reps"].tolist(), _REPEATS.fullmatch, "n_reps such as '12rep'", broken)
    table["n_reps"] = table["n_reps"].str.extract(_REPEATS.pattern, expand=False).astype(np.int64)
    table.insert(0, "row", np.arange(len(table), dtype=np.int64))
    subjects = [_SUBJECTS.get(code, "") for code in table["participant"]]
    table.insert(list(table).index("participant") + 1, "subject", np.array(subjects, dtype=object))
    return table.set_index(_INDEX)


def with_stimuli(trials: pd.DataFrame, content: bytes, *, name: str) -> pd.DataFrame:
    """Add the column `STIMULUS` to a table of trials.

    Labels outside the stimulus table get -1. The column's ``attrs`` hold the key and SHA-256 of the table. Errors are
    those of `read_stimulus_table`.
    """
    import pandas as pd

    rows = read_stimulus_table(content, name=name).index.get_indexer(pd.Index(trials["label"]))
    numbered = trials.assign(**{STIMULUS: rows.astype(np.int32)})
    about = {"table": layout.STIMULUS_METADATA, "table_sha256": hashlib.sha256(content).hexdigest()}
    numbered.attrs = {**trials.attrs, STIMULUS: about}
    return numbered
