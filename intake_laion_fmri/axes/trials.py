"""The trial axis: labelled trials, numbered independently of the selection.

This module owns the names of the columns and coordinates along ``trial``. Row k of a session's table describes volume k
of its betas, so rows are never sorted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.axes.labels import Label, parse_label
from intake_laion_fmri.errors import DataIntegrityError, in_short
from intake_laion_fmri.formats.tables import quoted

if TYPE_CHECKING:
    import pandas as pd

TRIAL = "trial"
"""Dimension and index: session number x 10000 + beta_index."""

TRIALS_PER_SESSION = 10_000
"""Factor between session numbers in the trial index; far above the 1,066 trials of the longest session."""

COLUMNS = ("session", "run", "beta_index", "label")
"""Columns of a trial table in the bucket."""

COORDINATES: Mapping[str, tuple[Any, str]] = {
    TRIAL: (np.int64, "session number x 10000 + beta_index"),
    "session": (object, "session"),
    "run": (np.int64, "run within the session"),
    "beta_index": (np.int64, "index of the volume within the session, from 0"),
    "label": (object, "stimulus file name"),
    "shared": (np.bool_, "whether all subjects saw the image"),
    "dataset": (object, "source of the image, empty where its label does not tell it"),
    "ood_type": (object, "type of an out-of-distribution image, empty for others"),
    "n_repeats": (np.int64, "planned number of presentations of the image to the subject"),
    "repetition": (np.int64, "earlier presentations of the image to the subject, over all public sessions"),
    "stimulus": (np.int32, "row of the image in the stimulus table, -1 where it has none"),
}
"""Name of a column or coordinate → its type and its meaning."""

Stimuli = Literal["shared", "unique", "ood"]
"""Images that all subjects saw, OOD among them; images that only this subject saw; out-of-distribution images."""

STIMULI: tuple[Stimuli, ...] = get_args(Stimuli)
"""Values of the argument ``stimuli``."""

_MOST_PRESENTATIONS = 128
"""Maximum presentations of an image to a subject; 12 are planned. Stores use one byte."""

_LAST_SESSION = 99_999_999
"""Larger session numbers would not fit into the index."""


def not_understood(trials: pd.DataFrame) -> list[str]:
    """Describe labels outside the data set's grammar; empty if there are none."""
    unknown = (trials["dataset"] == "").to_numpy(dtype=bool)
    if not unknown.any():
        return []
    label = quoted(trials["label"].to_numpy(dtype=object)[unknown.argmax()])
    sessions = in_short(trials["session"][unknown].unique().tolist())
    return [
        f"{unknown.sum()} trials of {sessions} have labels that do not follow the data set's format, first {label}: "
        "they are kept, with the dataset '', as neither shared nor unique"
    ]


def stack_sessions(tables: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """Concatenate a subject's session tables and add derived columns.

    Parameters
    ----------
    tables : sequence of (int, pandas.DataFrame)
        Session number and table from `read_trials`, ascending: all public sessions up to the last chosen one, because
        repetitions are counted over all of them.

    Returns
    -------
    pandas.DataFrame
        Index ``trial``; the columns of `COLUMNS`, then those parsed from the label and ``repetition``.

    Raises
    ------
    DataIntegrityError
        If an image occurs more than 128 times, as ``repetition`` is limited (12 are planned), or a session's number
        does not fit into the index.
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
            "tables again; if it persists, report it."
        )
    stacked["repetition"] = repetition.astype(COORDINATES["repetition"][0])
    return stacked


def stack_stored(tables: Sequence[tuple[int, pd.DataFrame]]) -> pd.DataFrame:
    """Concatenate tables as `stack_sessions` does, without counting repetitions.

    Either all tables or none have the column ``repetition``.
    """
    import pandas as pd

    stacked = pd.concat([table for _, table in tables], ignore_index=True)
    numbers = np.repeat([number for number, _ in tables], [len(table) for _, table in tables]).astype(np.int64)
    stacked.index = pd.Index(numbers * TRIALS_PER_SESSION + stacked["beta_index"].to_numpy(np.int64), name=TRIAL)
    codes, uniques = pd.factorize(stacked["label"].to_numpy(dtype=object))
    parsed = [parse_label(label) or Label(False, "", "", 0, "") for label in uniques]
    for name in ("shared", "dataset", "ood_type", "n_repeats"):
        stacked[name] = np.array([getattr(label, name) for label in parsed], dtype=COORDINATES[name][0])[codes]
    return stacked


def stimuli_of(trials: pd.DataFrame, stimuli: str) -> NDArray[np.bool_]:
    """Return flags for trials of one of `STIMULI`, shape (trial,)."""
    shared = trials["shared"].to_numpy(dtype=bool)
    if stimuli == "ood":
        return (trials["dataset"] == "OOD").to_numpy(dtype=bool)
    # A label outside the grammar is neither shared nor unique.
    return shared if stimuli == "shared" else ~shared & (trials["dataset"] != "").to_numpy(dtype=bool)


def trial_coordinates(trials: pd.DataFrame) -> dict[str, tuple[tuple[str, ...], NDArray[Any], dict[str, Any]]]:
    """Return the index and the coordinates along ``trial``.

    The table's ``attrs`` may hold further attributes per column. Texts are objects, because Zarr v3 warns about
    fixed-width texts.
    """
    values = {TRIAL: trials.index.to_numpy(dtype=np.int64)}
    values |= {name: trials[name].to_numpy(dtype=dtype) for name, (dtype, _) in COORDINATES.items() if name in trials}
    attrs = {name: {"long_name": COORDINATES[name][1], **trials.attrs.get(name, {})} for name in values}
    return {name: ((TRIAL,), array, attrs[name]) for name, array in values.items()}
