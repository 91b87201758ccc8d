"""The trial axis: a trial table gives validated, labelled trials, numbered the same whatever else is loaded.

This module owns the names of the columns and coordinates along ``trial``. Row k of a session's table describes volume k
of its betas, so rows are never re-sorted.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.errors import DataIntegrityError, in_short

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "OOD_TYPES",
    "STIMULI",
    "TRIAL",
    "TRIALS_PER_SESSION",
    "Label",
    "Stimuli",
    "not_understood",
    "parse_label",
    "read_trials",
    "stack_sessions",
    "stack_stored",
    "stimuli_of",
    "trial_coordinates",
]

TRIAL = "trial"
"""Dimension and index: session number x 10000 + beta_index."""

TRIALS_PER_SESSION = 10_000
"""Factor between session numbers in the trial index; far above the 1,066 trials of the longest session."""

COLUMNS = ("session", "run", "beta_index", "label")
"""Columns of a trial table in the bucket."""

LONG_NAMES: Mapping[str, str] = MappingProxyType(
    {
        TRIAL: "session number x 10000 + beta_index",
        "session": "session",
        "run": "run within the session",
        "beta_index": "index of the volume within the session, from 0",
        "label": "stimulus file name",
        "shared": "whether all subjects saw the image",
        "dataset": "source of the image, empty where its label does not tell it",
        "ood_type": "type of an out-of-distribution image, empty for others",
        "n_repeats": "planned number of presentations of the image to the subject",
        "repetition": "earlier presentations of the image to the subject, over all public sessions",
    }
)
"""Name of a column or coordinate → what it means."""

_DTYPES: Mapping[str, Any] = MappingProxyType(
    {
        "session": object,
        "run": np.int64,
        "beta_index": np.int64,
        "label": object,
        "shared": np.bool_,
        "dataset": object,
        "ood_type": object,
        "n_repeats": np.int64,
        "repetition": np.int64,
    }
)

OOD_TYPES = frozenset(
    {"shape", "relations", "unusual", "cropped", "selfmade", "gaudy", "illusion-classic", "gabor", "illusion-natural"}
)
"""Types of out-of-distribution images."""

Stimuli = Literal["shared", "unique", "ood"]
"""Images that all subjects saw, OOD among them; images that only this subject saw; out-of-distribution images."""

STIMULI: tuple[Stimuli, ...] = get_args(Stimuli)
"""Values of the argument ``stimuli``."""

_LABEL = re.compile(
    r"(?:shared_(?P<repeats>12|4)rep_(?P<shared>LAION|THINGS\+|NSD|OOD)_(?P<rest>.+)"
    r"|unique_(?P<unique>LAION|THINGS\+?)_.+_(?P<participant>p0[1-5]))\.(?:jpg|png)",
)
_OOD_TYPE = re.compile(r"(?P<type>[A-Za-z0-9-]+)_.+")
_RUN = re.compile(r"(?:run-)?0*([1-9][0-9]{0,3})(?:\.0+)?")  # a column with a gap is written as 1.0
_SESSION = re.compile(r"(?:ses-)?0*([0-9]{1,4})")
_ANY_CASE = re.compile(_LABEL.pattern, re.IGNORECASE)
MAX_TABLE_BYTES = 4 * 1024 * 1024
"""Bytes of a trial table, at most: one of the longest session has about a hundred thousand. Bounds time and memory."""

_END_OF_LINE = re.compile(r"\r\n|\r|\n")
_NO_LABEL = frozenset({"", "blank", "n/a", "na", "nan", "none", "null"})
_UNIQUE_REPEATS = 4
_LONGEST_QUOTE = 200
_LONGEST_LABEL = 1024
_MOST_PRESENTATIONS = 128
"""Of an image to a subject; 12 are planned. A store has a byte for it."""

_LAST_SESSION = 99_999_999
"""Numbers of later ones would not fit into the index."""


@dataclass(frozen=True)
class Label:
    """What the file name of a stimulus says."""

    shared: bool
    """Whether all subjects saw it."""
    dataset: str
    """``LAION``, ``NSD``, ``THINGS``, ``THINGS+`` or ``OOD``."""
    ood_type: str
    """Type of an out-of-distribution image, or the empty text."""
    n_repeats: int
    """Planned presentations to each subject: 12 or 4."""
    participant: str
    """Code of the only subject who saw it (``p01`` is not always sub-01), or the empty text."""


@functools.lru_cache(maxsize=2**16)  # twice the images of the data set
def parse_label(label: str) -> Label | None:
    """Return what a stimulus label says, or None where it does not follow the data set's grammar.

    Parameters
    ----------
    label : str
        Taken whole: labels hold spaces, dots, ``+`` and pieces of URLs, and are never decoded.
    """
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    if match["unique"]:
        return Label(False, match["unique"], "", _UNIQUE_REPEATS, match["participant"])
    ood_type = ""
    if match["shared"] == "OOD":
        ood = _OOD_TYPE.fullmatch(match["rest"])
        if ood is None:
            return None
        ood_type = ood["type"]
    return Label(True, match["shared"], ood_type, int(match["repeats"]), "")


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

    def broken(found: str) -> DataIntegrityError:
        return DataIntegrityError(f"{name}: {found}. Fetch the file again; if it stays so, report it.")

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
    # By hand: pandas takes a row with too many fields for one with an index, and shifts its columns.
    # As many lines as there may be, and what follows as one more: what a broken file is made of may be endless.
    first, *rows = _END_OF_LINE.split(text.rstrip("\r\n"), maxsplit=TRIALS_PER_SESSION)
    header = first.split("\t")
    if any(header.count(column) != 1 for column in COLUMNS):
        found = first[:_LONGEST_QUOTE].replace("\t", ", ")[:_LONGEST_QUOTE]
        raise broken(f"expected the columns {', '.join(COLUMNS)}, each once, found {found!r}")
    if not 0 < len(rows) < TRIALS_PER_SESSION:
        more = f"{len(rows)} or more" if len(rows) == TRIALS_PER_SESSION else str(len(rows))
        raise broken(f"expected 1 to {TRIALS_PER_SESSION - 1} trials, found {more}")
    at = {column: header.index(column) for column in COLUMNS}

    number = int(session.removeprefix("ses-"))
    is_cut = not text.endswith(("\r", "\n"))  # so is a file that ends within its last label
    runs, labels = [], []
    for row, text_of_row in enumerate(rows):
        fields = text_of_row.split("\t")
        if len(fields) != len(header):
            raise broken(f"row {row}: expected {len(header)} fields, found {len(fields)}")
        spelled = _SESSION.fullmatch(fields[at["session"]])
        if spelled is None or int(spelled[1]) != number:
            raise broken(f"row {row}: expected the session {session!r}, found {_quoted(fields[at['session']])}")
        if fields[at["beta_index"]] != str(row):
            raise broken(f"row {row}: expected the beta_index {row}, found {_quoted(fields[at['beta_index']])}")
        run = _RUN.fullmatch(fields[at["run"]])
        if run is None:
            raise broken(f"row {row}: expected a run such as 1 or 'run-01', found {_quoted(fields[at['run']])}")
        label = fields[at["label"]]
        parsed = parse_label(label) if len(label) <= _LONGEST_LABEL else None
        if parsed is None and (_is_damaged(label) or (is_cut and row == len(rows) - 1)):
            raise broken(f"row {row}: expected a stimulus label of the data set, found {_quoted(label)}")
        if participant and parsed and parsed.participant not in ("", participant):
            raise broken(f"row {row}: expected an image of participant {participant}, found {_quoted(label)}")
        runs.append(int(run[1]))
        labels.append(label)
    return pd.DataFrame(
        {
            "session": np.full(len(rows), session, dtype=object),
            "run": np.array(runs, dtype=_DTYPES["run"]),
            "beta_index": np.arange(len(rows), dtype=_DTYPES["beta_index"]),
            "label": np.array(labels, dtype=object),
        }
    )


def _is_damaged(label: str) -> bool:
    """Return True if a label is none, or a known one that was altered: it would count as another image."""
    return (
        len(label) > _LONGEST_LABEL
        or label.strip(" \"'") != label
        or label.casefold() in _NO_LABEL
        or not label.isprintable()
        or (_ANY_CASE.fullmatch(label) is not None and _LABEL.fullmatch(label) is None)
    )


def not_understood(trials: pd.DataFrame) -> list[str]:
    """Return in words which labels of a table do not follow the data set's grammar; nothing where all do.

    Parameters
    ----------
    trials : pandas.DataFrame
        From `stack_sessions`.
    """
    unknown = (trials["dataset"] == "").to_numpy(dtype=bool)
    if not unknown.any():
        return []
    label = _quoted(trials["label"].to_numpy(dtype=object)[unknown.argmax()])
    sessions = in_short(trials["session"][unknown].unique().tolist())
    return [
        f"{unknown.sum()} trials of {sessions} have labels of another form than the data set's, {label} the first: "
        "they are kept, with the dataset '', as neither shared nor unique"
    ]


def _quoted(text: str) -> str:
    """Return a text for a message: what stands in a broken file may be of any length."""
    return repr(text if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]}…")


def stack_sessions(tables: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """Stack the tables of a subject's sessions and add what follows from them.

    Parameters
    ----------
    tables : sequence of (int, pandas.DataFrame)
        Session number and its table from `read_trials`, ascending: every public session from the first to the last
        of interest, because repetitions are counted over all of them.

    Returns
    -------
    pandas.DataFrame
        Index ``trial``; the columns of `COLUMNS`, then those parsed from the label and ``repetition``.

    Raises
    ------
    DataIntegrityError
        If an image occurs more often than ``repetition`` can count: 128 times, where 12 are planned; or a session's
        number is beyond what the index can hold.
    """
    for number, _ in tables:
        if not 0 <= number <= _LAST_SESSION:
            raise DataIntegrityError(
                f"Expected sessions with numbers up to {_LAST_SESSION}, found a trial table of session {number}. "
                "Remove its folder from the copy, or report it."
            )
    stacked = stack_stored(tables)
    repetition = stacked.groupby("label", sort=False).cumcount().to_numpy()
    if repetition.max(initial=0) >= _MOST_PRESENTATIONS:
        label = stacked["label"].iloc[int(repetition.argmax())]
        raise DataIntegrityError(
            f"The trial tables show {label!r} {repetition.max() + 1} times; expected 12 times at most. Fetch the trial "
            "tables again; if it stays so, report it."
        )
    stacked["repetition"] = repetition.astype(_DTYPES["repetition"])
    return stacked


def stack_stored(tables: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """Stack tables as `stack_sessions` does, of which repetitions were counted before, or could not be.

    Parameters
    ----------
    tables : sequence of (int, pandas.DataFrame)
        Session number and its table, ascending: the columns of `COLUMNS`, and ``repetition`` in all or in none.

    Returns
    -------
    pandas.DataFrame
        As of `stack_sessions`.
    """
    import pandas as pd

    stacked = pd.concat([table for _, table in tables], ignore_index=True)
    numbers = np.repeat([number for number, _ in tables], [len(table) for _, table in tables]).astype(np.int64)
    stacked.index = pd.Index(numbers * TRIALS_PER_SESSION + stacked["beta_index"].to_numpy(np.int64), name=TRIAL)
    codes, uniques = pd.factorize(stacked["label"].to_numpy(dtype=object))
    parsed = [parse_label(label) or Label(False, "", "", 0, "") for label in uniques]
    for name in ("shared", "dataset", "ood_type", "n_repeats"):
        stacked[name] = np.array([getattr(label, name) for label in parsed], dtype=_DTYPES[name])[codes]
    return stacked


def stimuli_of(trials: pd.DataFrame, stimuli: str) -> NDArray[np.bool_]:
    """Tell which trials show stimuli of a kind.

    Parameters
    ----------
    trials : pandas.DataFrame
        From `stack_sessions`.
    stimuli : str
        One of `STIMULI`.

    Returns
    -------
    array of bool, shape (trial,)
    """
    shared = trials["shared"].to_numpy(dtype=bool)
    if stimuli == "ood":
        return (trials["dataset"] == "OOD").to_numpy(dtype=bool)
    # What is said of an image by a label that is not understood is nothing.
    return shared if stimuli == "shared" else ~shared & (trials["dataset"] != "").to_numpy(dtype=bool)


def trial_coordinates(trials: pd.DataFrame) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]:
    """Return the index and the coordinates along ``trial``, as xarray takes them.

    Parameters
    ----------
    trials : pandas.DataFrame
        From `stack_sessions`, any rows of it.

    Returns
    -------
    dict
        Name → dimensions, values, attributes. Texts are objects: fixed-width texts do not survive a Zarr v3 store
        without a warning.
    """
    values = {TRIAL: trials.index.to_numpy(dtype=np.int64)}
    values |= {name: trials[name].to_numpy(dtype=dtype) for name, dtype in _DTYPES.items() if name in trials}
    return {name: ((TRIAL,), array, {"long_name": LONG_NAMES[name]}) for name, array in values.items()}
