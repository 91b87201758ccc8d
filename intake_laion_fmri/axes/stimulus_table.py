"""The stimulus table, read and checked: row k describes image k of the file of images."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from typing import TYPE_CHECKING

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.labels import quoted
from intake_laion_fmri.errors import DataIntegrityError

if TYPE_CHECKING:
    import pandas as pd

STIMULUS = "stimulus"
"""Coordinate along ``trial``: the row of the stimulus table that describes the image."""

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
        What to call the file in errors.

    Returns
    -------
    pandas.DataFrame
        Index ``image_name``; columns ``row`` (from 0), ``dataset``, ``participant``, ``subject`` (of a participant's
        code, or empty), ``unique_or_shared``, ``n_reps`` (a number), and those that the file has besides.

    Raises
    ------
    DataIntegrityError
        If it is no such table, a column or a name is missing, a name is there twice, or a number of repetitions is
        none. Names the row, from 0.
    """
    import pandas as pd

    def broken(problem: str) -> DataIntegrityError:
        return DataIntegrityError(f"{name}: {problem}. Fetch the file again; if it stays so, report it.")

    try:
        header, *rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError) as error:
        raise broken(f"expected a comma-separated table in UTF-8 ({error})") from error
    missing = [column for column in (_INDEX, *_COLUMNS) if header.count(column) != 1]
    if missing:
        raise broken(f"expected the columns {', '.join((_INDEX, *_COLUMNS))}; it has no {', '.join(missing)}")
    for row, fields in enumerate(rows):
        if len(fields) != len(header):
            raise broken(f"row {row}: expected {len(header)} fields, found {len(fields)}")
    table = pd.DataFrame(rows, columns=header, dtype=object)
    wrong = (table[_INDEX] == "") | table[_INDEX].duplicated()
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise broken(f"row {row}: expected the name of another image than above, found {quoted(table[_INDEX][row])}")
    n_reps = table["n_reps"].str.extract(f"^{_REPEATS.pattern}$", expand=False)
    if n_reps.isna().any():
        row = int(n_reps.isna().to_numpy().argmax())
        raise broken(f"row {row}: expected n_reps such as '12rep', found {quoted(table['n_reps'][row])}")
    table["n_reps"] = n_reps.astype(np.int64)
    table.insert(0, "row", np.arange(len(table), dtype=np.int64))
    subjects = [_SUBJECTS.get(code, "") for code in table["participant"]]
    table.insert(list(table).index("participant") + 1, "subject", np.array(subjects, dtype=object))
    return table.set_index(_INDEX)


def with_stimuli(trials: pd.DataFrame, content: bytes, *, name: str) -> pd.DataFrame:
    """Return a table of trials with the column `STIMULUS`, -1 for a label that the stimulus table has not.

    Its ``attrs`` tell which version of the table the rows are of. Errors as of `read_stimulus_table`.
    """
    import pandas as pd

    rows = read_stimulus_table(content, name=name).index.get_indexer(pd.Index(trials["label"]))
    numbered = trials.assign(**{STIMULUS: rows.astype(np.int32)})
    about = {"table": layout.STIMULUS_METADATA, "table_sha256": hashlib.sha256(content).hexdigest()}
    numbered.attrs = {**trials.attrs, STIMULUS: about}
    return numbered
