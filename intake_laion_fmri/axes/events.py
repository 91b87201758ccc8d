"""Events of a run: images, responses, and the matching trials.

This module owns the names and types of the columns. The columns of scanner pulses hold Python lists; these stay texts
and are never evaluated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.trials import TRIAL
from intake_laion_fmri.errors import in_short
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.formats.tables import MAX_TABLE_BYTES, quoted, read_table

if TYPE_CHECKING:
    import pandas as pd

NO_TRIAL = -1
"""Trial of a row without betas, such as a blank."""

_TIME, _COUNT, _FLAG, _TEXT = "float64", "Int64", "boolean", "object"

COLUMNS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "onset": (_TIME, "onset of the trial in the run"),
        "duration": (_TIME, "duration of the trial"),
        "trial_number": (_COUNT, "number of the row in the run, blanks included, from 1"),
        "trial_type": (_TEXT, "new, old or blank"),
        "response": (_COUNT, "button: 1 for new, 2 for old"),
        "response_correct": (_FLAG, "whether the answer was right"),
        "response_changed": (_FLAG, "whether the subject changed the answer"),
        "response_time": (_TIME, "reaction time"),
        "stim_number": (_COUNT, "number of the image in the run, from 1"),
        "stim_name": (_TEXT, "stimulus file name"),
        "stim_occurrence": (_COUNT, "presentations of the image so far, this one included"),
        "stim_occurrence_run": (_COUNT, "presentations in the run so far, this one included"),
        "stim_occurrence_session": (_COUNT, "presentations in the session so far, this one included"),
        "stim_duration": (_TIME, "duration of the image"),
        "isi_onset": (_TIME, "onset of the interval after the image"),
        "isi_duration": (_TIME, "duration of the interval after the image"),
        "pulse_number": (_TEXT, "numbers of the scanner's pulses in the trial, as text"),
        "pulse_onset": (_TEXT, "onsets of the scanner's pulses in the trial, as text"),
    }
)
"""Column of an events table → its pandas type and its meaning."""

_NEEDED = ("onset", "duration", "trial_type")
_NOTHING = frozenset({"", "n/a", "N/A", "na", "NA", "nan", "NaN"})
_FLAGS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def read_events(content: bytes, *, name: str, note: Callable[[str], None]) -> pd.DataFrame:
    """Read the events of one run.

    Parameters
    ----------
    content : bytes
        The file: tab-separated UTF-8, with the columns of `COLUMNS` in any order.
    name : str
        Name of the file for errors.
    note : callable
        Called with a description of each difference from the documentation.

    Returns
    -------
    pandas.DataFrame
        The columns of `COLUMNS`, then others as texts. ``n/a`` is NaN, ``<NA>`` or an empty text. A column with invalid
        values is kept as texts, and a missing one is empty; both are noted.

    Raises
    ------
    DataIntegrityError
        If it is not a table, or lacks ``onset``, ``duration`` or ``trial_type``.
    """
    import pandas as pd

    table = read_table(content, name=name, needed=_NEEDED, separator="\t", most_bytes=MAX_TABLE_BYTES)
    texts = {str(column): values.tolist() for column, values in table.items()}
    missing = [column for column in COLUMNS if column not in texts]
    if missing:
        note(f"{name}: the columns {in_short(missing)} are missing")
    found = {}
    for column in [*COLUMNS, *(column for column in texts if column not in COLUMNS)]:
        found[column] = _typed(column, texts.get(column, [""] * len(table)), name, note)
    return pd.DataFrame(found)


def _typed(column: str, texts: Sequence[str], name: str, note: Callable[[str], None]) -> pd.Series[Any]:
    """Convert a column to its type, or note why it stays text."""
    import pandas as pd

    dtype = COLUMNS.get(column, (_TEXT, ""))[0]
    known = [None if text in _NOTHING else text for text in texts]
    plain = pd.Series([text or "" for text in known], dtype=object)
    if dtype == _TEXT:
        return plain
    try:
        if dtype == _FLAG:
            return pd.Series([text and _FLAGS[text.casefold()] for text in known], dtype=dtype)
        numbers = [np.nan if text is None else float(text) for text in known]
        if dtype == _COUNT:
            return pd.Series([pd.NA if number != number else _whole(number) for number in numbers], dtype=dtype)
        return pd.Series(numbers, dtype=dtype)
    except (KeyError, ValueError, OverflowError) as error:
        note(f"{name}: {column} is kept as text, because a value is not a {_WORDS[dtype]} ({error})")
        return plain


_WORDS = {_TIME: "number", _COUNT: "whole number", _FLAG: "0 or 1"}


def _whole(number: float) -> int:
    if number != int(number) or abs(number) > 2**53:
        raise ValueError(f"found {number:g}")
    return int(number)


def trials_of(events: pd.DataFrame, trials: pd.DataFrame) -> NDArray[np.int64]:
    """Match each event of a run with a trial of the betas.

    Images are in the order of the trial table, which has no blanks.

    Parameters
    ----------
    events : pandas.DataFrame
        From `read_events`.
    trials : pandas.DataFrame
        Rows of the run, with the index ``trial`` and the column ``label``.

    Returns
    -------
    array of int64
        `NO_TRIAL` for blanks.

    Raises
    ------
    ValueError
        If the images differ from those of the trial table; the text describes how.
    """
    kinds, images = events["trial_type"].str.casefold(), events["stim_name"].str.casefold()
    shown = ~((kinds == "blank") | images.isin(["", "blank"])).to_numpy(dtype=bool)
    names, labels = events["stim_name"].to_numpy(dtype=object)[shown], trials["label"].to_numpy(dtype=object)
    if len(names) != len(labels):
        raise ValueError(f"it shows {len(names)} images, but the trial table has {len(labels)}")
    for number, (name, label) in enumerate(zip(names, labels, strict=True)):
        if name != label:
            raise ValueError(f"its image {number + 1} is {quoted(name)}, but {quoted(label)} in the trial table")
    numbers = np.full(len(events), NO_TRIAL, dtype=np.int64)
    numbers[shown] = trials.index.to_numpy()
    return numbers


def event_coordinates(events: pd.DataFrame, columns: Sequence[str]) -> Coordinates:
    """Return event columns along ``trial``, numbers as float64 with NaN."""
    coordinates: Coordinates = {}
    for column in columns:
        values = events[column]
        is_text = values.dtype == object
        numbers = values if is_text else values.astype("Float64")
        array = numbers.to_numpy(object if is_text else np.float64, na_value=np.nan)
        units = {"units": "s"} if COLUMNS[column][0] == _TIME and not is_text else {}
        coordinates[column] = ((TRIAL,), array, {"long_name": COLUMNS[column][1], **units})
    return coordinates
