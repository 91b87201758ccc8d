"""A subject's tables: trials, stimuli, and both joined."""

from __future__ import annotations

import functools
import io
import operator
import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.errors import Remarks, StimuliNotDownloadedError, check_option, unknown_value
from intake_laion_fmri.reading.arguments import SessionSelection, check_sessions
from intake_laion_fmri.subject.reader import SubjectReader, one_or_each

if TYPE_CHECKING:
    import pandas as pd


_OF_IMAGES = ("unique_or_shared", "dataset")
"""Columns of the stimulus table that `Tables.metadata` includes."""

_ABSENT = -1
"""Row of an image that is not in the stimulus table."""


class Tables:
    """Accessors of `Subject` for tables and counts."""

    _reader: SubjectReader

    def get_trial_info(self, session: SessionSelection) -> pd.DataFrame | dict[str, pd.DataFrame]:
        """Read a trial table, whose rows are those of the betas.

        The columns are ``session``, ``run``, ``beta_index`` and ``label``.

        Parameters
        ----------
        session : str, int or sequence of these
            ``"ses-01"``, ``"01"``, ``1``; for a list, or ``"all"``, the result is a dict with the table of each.

        Raises
        ------
        ValueError
            If `session` is None, or unknown.
        NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
            As in `intake_laion_fmri.open_trials`.
        """
        if session is None:
            raise ValueError("session=None: expected a session such as 'ses-01', a list of them, or 'all'.")
        return one_or_each(session, self._reader.trials(session))

    @functools.cached_property
    def metadata(self) -> pd.DataFrame:
        """Trials of all sessions, joined with the stimulus table; read once.

        The columns are ``session``, ``run``, ``beta_index``, ``label``, ``session_trial`` (from 0 within the session),
        ``image_name``, ``stim_idx`` (row of the stimulus table), ``unique_or_shared`` and ``dataset``. The index counts
        the trials of the available sessions, with a warning if a session between them is missing.

        Raises
        ------
        StimuliNotDownloadedError
            If there is no stimulus table.
        """
        import pandas as pd

        images = self.get_stimulus_metadata()
        by_session, noted = self._reader.trials_and_notes("all")
        trials = pd.concat(by_session.values(), ignore_index=True)
        there = {layout.session_number(name) for name in by_session}
        known = there | layout.HELD_OUT_SESSIONS
        gaps = [f"ses-{number:02d}" for number in range(1, max(there)) if number not in known]
        if gaps:
            warnings.warn(
                f"Sessions are missing: {', '.join(gaps)}. The index of metadata counts only the trials of available "
                "sessions: it is not the trial's number in the data set, and changes when a session is added.",
                stacklevel=3,
            )
        trials["session_trial"] = trials.groupby("session", sort=False).cumcount()
        trials["image_name"] = trials["label"]
        rows = pd.Index(images["image_name"]).get_indexer(trials["label"])
        unknown = rows == _ABSENT
        if unknown.any():
            noted += (f"{unknown.sum()} trials show images that are not in the table: their stim_idx is {_ABSENT}",)
        Remarks(noted=noted).warn(stacklevel=3)
        trials["stim_idx"] = rows.astype(np.int64)
        for column in _OF_IMAGES:
            trials[column] = np.where(unknown, "", images[column].to_numpy(dtype=object)[rows])
        return trials

    def get_n_stimuli(self, stimuli: Literal["shared", "unique"] | None = None) -> int:
        """Count the stimuli of the **whole data set**, and warn about it.

        Parameters
        ----------
        stimuli : {"shared", "unique"}, optional
            Count these only.
        """
        check_option("stimuli", stimuli, valid=("shared", "unique"), optional=True)
        kinds = self.get_stimulus_metadata()["unique_or_shared"]
        warnings.warn(
            "get_n_stimuli counts the stimuli of all subjects. To count those that this subject saw, use "
            "intake_laion_fmri.open_trials(subject)['label'].nunique().",
            stacklevel=2,
        )
        return len(kinds) if stimuli is None else int((kinds == stimuli).sum())

    def has_stimuli(self) -> bool:
        """Return True if the bucket has the stimulus table."""
        return layout.STIMULUS_METADATA in self._reader.bucket.find(layout.STIMULI_ROOT)

    def get_stimulus_metadata(self) -> pd.DataFrame:
        """Read the public stimulus table, a row per image.

        Raises
        ------
        StimuliNotDownloadedError
            If the bucket has none.
        """
        import pandas as pd

        bucket = self._reader.bucket
        listing = bucket.find(layout.STIMULI_ROOT)
        if layout.STIMULUS_METADATA not in listing:
            raise StimuliNotDownloadedError(str(bucket.missing(layout.STIMULUS_METADATA, listing)))
        content = bucket.fetch([listing[layout.STIMULUS_METADATA]])[layout.STIMULUS_METADATA]
        return pd.read_csv(io.BytesIO(content), keep_default_na=False)


def rows_of_sessions(metadata: pd.DataFrame, session: SessionSelection | None) -> pd.DataFrame:
    """Return the rows of some sessions, or raise ValueError."""
    chosen = None if session is None else check_sessions(session)
    if chosen is None:
        return metadata
    known = [str(name) for name in metadata["session"].unique()]
    found: list[str] = []
    for name in chosen:
        names = layout.same_session(name, known)
        if not names:
            raise unknown_value("session", name, known)
        found += names
    return metadata[metadata["session"].isin(found)]


def image_of_trial(metadata: pd.DataFrame, trial: int) -> str:
    """Return the image of a row of `Tables.metadata`, or raise IndexError."""
    row = operator.index(trial)
    if not -len(metadata) <= row < len(metadata):
        raise IndexError(f"No trial {row}: expected a row of metadata, from 0 to {len(metadata) - 1}.")
    return str(metadata["image_name"].iloc[row])
