"""Planning and filling a mirror.

The bucket is listed first; what is complete by its record is not looked at again. Large objects come a few at a time,
each in several requests; small ones many at a time. Any number of processes may fill one folder, each of them may be
killed at any moment, and the next run goes on from what is there. Files in the folder that this project did
not write are left alone, and named.
"""

from __future__ import annotations

import contextlib
import errno
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError, LeftAloneWarning
from intake_laion_fmri.mirror.copying import CopyingRun
from intake_laion_fmri.mirror.partial import PIECE_BYTES
from intake_laion_fmri.mirror.plan import (
    free_bytes,
    listed_before,
    listed_now,
    plan_from_listings,
    raise_unless_apart,
    save_listings,
)
from intake_laion_fmri.mirror.report import MirrorPlan, MirrorProgress, MirrorReport, left_alone_message
from intake_laion_fmri.mirror.selection import EntityFilter, MirrorSelection
from intake_laion_fmri.mirror.splits import bring_splits
from intake_laion_fmri.mirror.targets import tidy
from intake_laion_fmri.mirror.transfer import REQUEST_BYTES
from intake_laion_fmri.reading.arguments import ALL, SessionSelection
from intake_laion_fmri.remote.access import Bucket, open_source
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.running.progress import Switch, shown

MIRROR_KINDS: Mapping[str, tuple[str, ...]] = layout.GROUPS
"""Groups of files, as they are chosen for a mirror → the kinds of `layout.KINDS` that belong to them."""

NOTICE = (
    f"LAION-fMRI: brain data and derivatives are in the public domain ({layout.LICENSE}). Please cite: "
    f"{layout.REFERENCES}. The stimulus images are not: they require a data use agreement with "
    f"{layout.CONTACT}."
)
"""What those who copy the data should know; see `licence_notice`."""


def plan_mirror(
    to: str | os.PathLike[str],
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    subjects: str | Sequence[str] | None = ALL,
    sessions: SessionSelection | None = ALL,
    kinds: str | Sequence[str] | None = None,
    entities: EntityFilter | None = None,
    include_stimuli: bool = False,
    include_raw: bool = False,
    offline: bool = False,
) -> MirrorPlan:
    """Plan the copying of a part of the bucket, without any writing.

    Parameters
    ----------
    to : str or path
        Folder of the mirror.
    bucket, storage_options
        As in `intake_laion_fmri.open_betas`. A folder is a bucket too.
    subjects : str or sequence of str, default "all"
        ``"sub-01"``, ``"01"``, or a list.
    sessions : str, int or sequence of these, default "all"
        ``"ses-01"``, ``"01"``, ``1``; ``"averages"`` for the files of a subject as a whole. With any choice of
        sessions comes what reading them needs of their subject: noise ceilings, mean R2, ROIs and the brain mask, so
        far as the other arguments let them.
    kinds : str or sequence of str, optional
        Of `MIRROR_KINDS`; by default all but the large ones, `layout.LARGE_GROUPS`. A JSON file goes with the
        file that it describes.
    entities : mapping, optional
        ``task``, ``space``, ``desc``, ``stat``, ``suffix`` or ``extension``, of raw data also ``run``, ``echo`` and
        ``part`` → a value or several, with or without the prefix (``"desc-R2"`` or ``"R2"``). A file in whose name an
        entity does not occur is kept.
    include_stimuli : bool, default False
        Whether to copy the public files of stimuli too.
    include_raw : bool, default False
        Whether to copy the raw data and the tables of events too: hundreds of GB a subject.
    offline : bool, default False
        Whether to go by the bucket's listing of the last time that the mirror was filled, and ask nobody.

    Returns
    -------
    MirrorPlan

    Raises
    ------
    ValueError
        If a subject, session, kind, entity or a value of it is unknown, with the nearest names.
    AccessDeniedError
        If a held-out session is named, or the stimuli that require a data use agreement.
    NotInBucketError
        If there is no such bucket, or nothing in it of what is chosen; or, offline, no listing of it.
    BucketUnreachableError
        If it does not respond.

    Notes
    -----
    Each of the data set's trees is listed once, of the chosen subjects only; no object is asked for by itself.
    """
    selection = MirrorSelection.from_arguments(
        subjects=subjects,
        sessions=sessions,
        kinds=kinds,
        entities=entities,
        include_stimuli=include_stimuli,
        include_raw=include_raw,
    )
    source, folder = open_source(bucket, storage_options), MirrorFolder.from_argument(to)
    raise_unless_apart(source, folder)
    if offline:
        return replace(
            plan_from_listings(source, folder, selection, listed_before(source, folder, selection), []), listings={}
        )
    return plan_from_listings(source, folder, selection, *listed_now(source, selection))


def mirror_bucket(
    to: str | os.PathLike[str] | MirrorPlan,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    subjects: str | Sequence[str] | None = ALL,
    sessions: SessionSelection | None = ALL,
    kinds: str | Sequence[str] | None = None,
    entities: EntityFilter | None = None,
    include_stimuli: bool = False,
    include_raw: bool = False,
    jobs: int = 4,
    progress: Switch[MirrorProgress] = None,
) -> MirrorReport:
    """Copy a part of the bucket to a folder, or complete a copy.

    Parameters
    ----------
    to : str, path or MirrorPlan
        Folder of the mirror, or what `plan_mirror` returned; then the arguments that choose are not looked at.
    bucket, storage_options, subjects, sessions, kinds, entities, include_stimuli, include_raw
        As in `plan_mirror`.
    jobs : int, default 4
        Large files at a time, each with up to four requests under way; of small ones four times as many.
    progress : bool or callable, optional
        Whether to show a bar, as in `load`. A function is called with a `MirrorProgress` at the beginning, after each
        file, and in between up to five times a second.

    Returns
    -------
    MirrorReport

    Raises
    ------
    ValueError, AccessDeniedError, NotInBucketError, BucketUnreachableError
        As in `plan_mirror`. An object that cannot be read does not keep the others from being copied; it is named
        once these are done.
    DataIntegrityError
        If an object was damaged on its way, or replaced, twice. Nothing of it is kept.
    OSError
        If the disk has less room than is needed, or cannot be written to; FileExistsError if the folder
        ``.laion-fmri`` in it is not this project's.

    Warns
    -----
    LeftAloneWarning
        If a file that this project did not write has an object's name; it is not touched.

    Notes
    -----
    A file is in its place only when all of it has come and was checked: by its ETag where that is an MD5, else a
    ``.gz`` by its checksum and length, else by its size. Requests are made again as `config.NetworkPolicy` says.

    A file that is there already, copied by other means, is taken over once its content is proved to be the object's: by
    the ETag, or where that tells nothing by fetching the object and comparing. A file of an earlier run is replaced
    where the bucket has another one, unless it was changed since.

    With the files of a bucket that has no splits of its own come the published split files, for working offline.
    """
    if not isinstance(to, MirrorPlan):
        to = plan_mirror(
            to,
            bucket=bucket,
            storage_options=storage_options,
            subjects=subjects,
            sessions=sessions,
            kinds=kinds,
            entities=entities,
            include_stimuli=include_stimuli,
            include_raw=include_raw,
        )
    report = fill_mirror(to, jobs=jobs, progress=progress)
    if report.left_alone:
        warnings.warn(left_alone_message(report.plan.to, report.left_alone), LeftAloneWarning, stacklevel=2)
    return report


def licence_notice(to: str | os.PathLike[str]) -> str | None:
    """Return the licence notice once per mirror.

    A record in the mirror notes that it was shown.

    Parameters
    ----------
    to : str or path
        Folder of the mirror.

    Returns
    -------
    str or None
        To be shown, and nothing to be asked. Where the mirror cannot be written to it is shown each time.
    """
    folder = MirrorFolder.from_argument(to)
    if folder.notice_was_shown():
        return None
    with contextlib.suppress(OSError, DataIntegrityError):
        folder.note_shown(NOTICE)
    return NOTICE


def fill_mirror(
    plan: MirrorPlan,
    *,
    jobs: int = 4,
    progress: Switch[MirrorProgress] = None,
    piece_bytes: int = PIECE_BYTES,
    request_bytes: int = REQUEST_BYTES,
) -> MirrorReport:
    """Copy a plan's objects, with the given sizes of pieces and requests."""
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, found {jobs!r}.")
    _expect_room(plan)
    folder = MirrorFolder(plan.to)
    save_listings(folder, plan)
    with shown("Copying", progress) as report:
        run = CopyingRun(plan, folder, jobs, report, piece_bytes, request_bytes)
        try:
            done = run.all()
        finally:
            if not run.interrupted and (plan.fetch or plan.unrecorded or folder.metadata.is_dir()):
                with contextlib.suppress(OSError, DataIntegrityError):
                    tidy(folder, run.current.values())
    without_splits = bring_splits(folder, plan.pools)
    if any(fetched.info != planned for fetched, planned in done):
        current = {
            name: {key: run.current.get(key, info) for key, info in objects.items()}
            for name, objects in plan.listings.items()
        }
        save_listings(folder, replace(plan, listings=current))
    statuses = Counter(fetched.status for fetched, _ in done)
    return MirrorReport(
        plan,
        n_files=len(run.current),
        n_bytes=sum(info.size for info in run.current.values()),
        fetched=statuses["fetched"],
        adopted=statuses["adopted"],
        replaced=sum(fetched.replaced for fetched, _ in done),
        bytes_received=run.received,
        left_alone=tuple(sorted(run.left_alone.items())),
        seconds=run.seconds,
        notes=(*plan.notes, *without_splits),
    )


def _expect_room(plan: MirrorPlan) -> None:
    free = free_bytes(plan.to)
    if plan.bytes_to_fetch > free:
        raise OSError(
            errno.ENOSPC,
            f"{plan.to} needs {plan.bytes_to_fetch} bytes ({plan.bytes_to_fetch / 1e9:.1f} GB) for "
            f"{len(plan.fetch)} files, and its disk has {free} ({free / 1e9:.1f} GB) free. Free some space, or "
            "choose less.",
        )
