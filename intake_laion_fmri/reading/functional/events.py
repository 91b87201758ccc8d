"""Events of runs, as a table or as coordinates of betas."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from intake_laion_fmri import layout
from intake_laion_fmri.axes.events import NO_TRIAL, event_coordinates, read_events, trials_of
from intake_laion_fmri.axes.trial_table import read_trials
from intake_laion_fmri.axes.trials import TRIALS_PER_SESSION
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError, Remarks
from intake_laion_fmri.formats.grid import Coordinates
from intake_laion_fmri.reading.arguments import ALL, SessionSelection, check_argument
from intake_laion_fmri.reading.contents import Fetched, find_each
from intake_laion_fmri.reading.functional.raw_files import RunFiles
from intake_laion_fmri.reading.roi_files import UNREADABLE
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket

if TYPE_CHECKING:
    import pandas as pd


def open_events(
    subject: str,
    *,
    session: SessionSelection = ALL,
    run: int | Sequence[int] | None = None,
    task: str = "images",
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
) -> pd.DataFrame:
    """Read a subject's events: images and responses.

    Parameters
    ----------
    subject, bucket, storage_options, mirror, mirror_only
        As in `open_betas`.
    session : str, int or sequence of these, default "all"
        As in `open_betas`; sessions of other tasks have names, such as ``"4BarScreenfLoc"``.
    run : int, sequence of int, or None, default None
        Runs of each session. None takes all.
    task : str, default "images"
        The task of the runs.

    Returns
    -------
    pandas.DataFrame
        One row per event, including blanks, in the order of sessions and runs: ``session``, ``run`` and ``trial``
        (int64), then the file's columns.

        - ``trial`` is the betas' trial index (session number x 10000 + beta_index), -1 for blanks and other tasks;
        - times in s: ``onset``, ``duration``, ``response_time``, ``stim_duration``, ``isi_onset``, ``isi_duration``,
          float64;
        - ``trial_number``, ``response`` (1 new, 2 old), ``stim_number``, ``stim_occurrence``, ``stim_occurrence_run``,
          ``stim_occurrence_session``, Int64; ``response_correct`` and ``response_changed``, boolean;
        - texts: ``trial_type``, ``stim_name``, ``pulse_number``, ``pulse_onset``. The last two hold lists, as texts.

        ``n/a`` is NaN, ``<NA>`` or an empty text.

    Raises
    ------
    ValueError
        For an unknown subject, session, task or run.
    AccessDeniedError
        For a held-out session.
    NotInBucketError
        If the bucket holds no events.
    DataIntegrityError
        If a file is not a table of events.
    BucketUnreachableError
        As in `open_betas`.

    Warns
    -----
    UnexpectedContentWarning
        Once, if events do not match the trial table, so that their ``trial`` is -1, or if a column differs from the
        documentation.

    Notes
    -----
    A listing, two more for each session, and a request per run and per trial table.
    """
    check_argument("task", task)
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    table, remarks, _ = _events(bucket, layout.subject_name(subject), session, run, task)
    remarks.warn(stacklevel=2)
    return table


def trial_events(
    bucket: Bucket, subject: str, columns: object, trials: pd.DataFrame
) -> tuple[Coordinates, list[ObjectInfo]]:
    """Read event columns of the betas' trials.

    Parameters
    ----------
    bucket : Bucket
        Where to read from.
    subject : str
        ``"sub-01"``.
    columns : object
        The user's value, checked here.
    trials : pandas.DataFrame
        The chosen trials, with the index ``trial`` and the column ``session``.

    Returns
    -------
    coordinates : dict
        Each column along ``trial``.
    infos : list of ObjectInfo
        The files.

    Raises
    ------
    DataIntegrityError
        If events do not match the trial table.
    NotInBucketError
        If a run of a chosen trial has no events.
    """
    names: Any = check_argument("events", columns)
    sessions = trials["session"].unique().tolist()
    if not names or not sessions:
        return {}, []
    table, remarks, infos = _events(bucket, subject, sessions, None, "images")
    if remarks.noted:
        raise DataIntegrityError(f"Events of {subject}: {'; '.join(remarks.noted)}. Open the betas without events=.")
    shown = table[table["trial"] != NO_TRIAL].set_index("trial")
    absent = ~trials.index.isin(shown.index)
    if absent.any():
        first = trials[absent].iloc[0]
        raise NotInBucketError(
            f"{bucket.locate(layout.RAW.folder(subject))} has no events of run {first['run']} of {first['session']}. "
            "Choose other sessions with session=, omit events=, or fetch the file."
        )
    return event_coordinates(shown.loc[trials.index], names), infos


def _events(
    bucket: Bucket, subject: str, session: object, run: object, task: str
) -> tuple[pd.DataFrame, Remarks, list[ObjectInfo]]:
    """Read the events of a selection, with remarks and source files."""
    import pandas as pd

    runs = RunFiles.from_bucket(bucket, subject, layout.RAW, "events", session=session, run=run, task=task)
    sessions = list(dict.fromkeys(file.session for file in runs.files)) if task == "images" else []
    tables = _trial_tables(bucket, subject, sessions)
    files = Fetched(bucket, [*(file.info for file in runs.files), *tables.values()])
    notes: list[str] = []
    trials = {name: _read_trials(bucket, name, info, files, notes) for name, info in tables.items()}
    parts = []
    for file in runs.files:
        name = bucket.locate(file.info.key)
        events = read_events(files[file.info.key], name=name, note=notes.append)
        numbers = np.full(len(events), NO_TRIAL, dtype=np.int64)
        of_session = trials.get(file.session)
        if of_session is not None:
            try:
                numbers = trials_of(events, of_session[of_session["run"] == file.run])
            except ValueError as error:
                notes.append(f"{name}: {error}, so its trial is {NO_TRIAL}")
        events.insert(0, "trial", numbers)
        events.insert(0, "run", np.full(len(events), file.run, dtype=np.int64))
        events.insert(0, "session", np.full(len(events), file.session, dtype=object))
        parts.append(events)
    used = [*(file.info for file in runs.files), *tables.values()]
    return pd.concat(parts, ignore_index=True), Remarks(noted=tuple(notes)), used


def _trial_tables(bucket: Bucket, subject: str, sessions: Sequence[str]) -> dict[str, ObjectInfo]:
    """Return each session's trial table, where there is one."""
    found: dict[str, ObjectInfo] = {}
    root = layout.BETAS.folder(subject)
    for name, objects in zip(
        sessions, find_each(bucket, [f"{root}/{session}/func" for session in sessions]), strict=True
    ):
        key = layout.key("trials", subject=subject, session=name)
        if key in objects:
            found[name] = objects[key]
    return found


def _read_trials(
    bucket: Bucket, session: str, info: ObjectInfo, files: Mapping[str, bytes], notes: list[str]
) -> pd.DataFrame | None:
    """Read a session's numbered trials, or add a note and return None."""
    try:
        table = read_trials(files[info.key], name=bucket.locate(info.key), session=session)
    except UNREADABLE as error:
        notes.append(f"{error} Its events have the trial {NO_TRIAL}")
        return None
    return table.set_index(layout.session_number(session) * TRIALS_PER_SESSION + table["beta_index"])
