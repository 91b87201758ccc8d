"""Copying a part of the bucket to a local folder: what there is, what is missing, and the copying.

The bucket is listed first; what is complete by its record is not looked at again. Large objects come a few at a time,
each in several requests; small ones many at a time. Any number of processes may fill one folder, each of them may be
killed at any moment, and the next run goes on from what is there. What is in the folder and was not written by this
project is left alone, and told.
"""

from __future__ import annotations

import contextlib
import errno
import os
import queue
import shutil
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.discovery import subjects as list_subjects
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    LeftAloneWarning,
    NotInBucketError,
    in_short,
    unknown_value,
)
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.partial import PIECE_BYTES, received_before
from intake_laion_fmri.mirror.selection import EntityFilter, MirrorSelection, subject_of
from intake_laion_fmri.mirror.splits import bring_splits, pools_of
from intake_laion_fmri.mirror.transfer import (
    REQUEST_BYTES,
    STALE_SECONDS,
    Fetched,
    LeftAloneError,
    ObjectBusyError,
    errors_of_writing,
    fetch_object,
    locked,
    tidy,
    what_is_in_the_way,
)
from intake_laion_fmri.reading.arguments import ALL, SessionSelection
from intake_laion_fmri.remote.access import Bucket, open_source
from intake_laion_fmri.remote.answers import object_info
from intake_laion_fmri.remote.copy import MirrorFolder, rejection
from intake_laion_fmri.remote.locks import LEASE_SECONDS

__all__ = [
    "MIRROR_KINDS",
    "MirrorPlan",
    "MirrorProgress",
    "MirrorReport",
    "fill_mirror",
    "licence_notice",
    "mirror_bucket",
    "plan_mirror",
    "told_of_left_alone",
]

MIRROR_KINDS: Mapping[str, tuple[str, ...]] = layout.GROUPS
"""Kinds of objects, as they are chosen for a mirror → the kinds of `layout.KINDS` that belong to them."""

REQUESTS_PER_OBJECT = 4
"""Ranged requests under way for a large object."""

CONNECTIONS = 32
"""Most requests under way."""

NOTICE = (
    f"LAION-fMRI: brain data and derivatives are in the public domain ({layout.LICENSE}). Please cite: "
    f"{layout.REFERENCES}. The stimulus images are not: they are given under a data use agreement, by "
    f"{layout.CONTACT}."
)
"""What those who copy the data should know; see `licence_notice`."""

ROOT_FILE_BYTES = 1024 * 1024
"""Files directly in the bucket come along up to this size."""

_TREES: Mapping[str, tuple[str, ...]] = {
    layout.BETAS_ROOT: ("betas", "trials", "noise_ceilings", "r2", "hrf", "ridge", "other"),
    layout.ROIS_ROOT: ("rois",),
    layout.ANATOMY_ROOT: ("anatomy",),
}
"""Tree with a folder per subject → the groups of its objects."""

_REPORT_SECONDS = 0.2
_BUSY_SECONDS = 0.5
"""How soon an object that another process is fetching is looked at again."""

PATIENT_SECONDS = 1.25 * LEASE_SECONDS
"""How long a process is waited for that does not get on: longer than the lock of one that has died is good for."""

_OF_ONE_OBJECT = frozenset(
    getattr(errno, name, -1)
    for name in (
        "EEXIST",
        "EISDIR",
        "ENOTDIR",
        "ENAMETOOLONG",
        "ELOOP",
        "EILSEQ",
        "EINVAL",
        "EACCES",
        "EPERM",
        "ETXTBSY",
        "EBUSY",
    )
)
"""What a disk may have against one file, and not against the next."""

Outcome = tuple[ObjectInfo, "Future[Fetched]"]


@dataclass(frozen=True)
class MirrorPlan:
    """What is to be copied, by the bucket's listing and by what is there."""

    to: Path
    """The mirror."""
    place: Bucket
    """The bucket."""
    objects: tuple[ObjectInfo, ...]
    """All that was chosen and may be read."""
    complete: tuple[ObjectInfo, ...]
    """Those of which there is a current copy, with a record."""
    unrecorded: tuple[ObjectInfo, ...]
    """Those of which there seems to be one, copied by other means: it is compared with what the bucket tells."""
    fetch: tuple[ObjectInfo, ...]
    """Those that are to be fetched."""
    n_bytes: int
    """Of all objects."""
    bytes_to_fetch: int
    """Of those to be fetched, without what earlier runs have received of them."""
    held_out: int
    """Objects of held-out sessions, which cannot be read."""
    gated: int
    """Objects that are given under a data use agreement only."""
    refused: tuple[tuple[str, str], ...]
    """Keys that cannot be files of a mirror, and why."""
    left_alone: tuple[tuple[str, str], ...]
    """Keys in whose places is what this project did not write, and what that is. More of them may be found when files
    are compared."""
    free_bytes: int
    """Of the mirror's disk."""
    notes: tuple[str, ...] = ()
    """What else users should know, in words."""
    listings: Mapping[str, Mapping[str, ObjectInfo]] = field(default_factory=dict, repr=False)
    """Folder → what the bucket holds there, to be kept in the mirror."""
    pools: tuple[str, ...] = ()
    """Pools whose published split files are brought along, as the bucket has none of its own."""


@dataclass(frozen=True)
class MirrorProgress:
    """How far copying has come; what was there before is not counted."""

    files: int
    """Files that are done."""
    n_files: int
    """Files to be fetched or checked."""
    bytes: int
    """Bytes that have been received."""
    n_bytes: int
    """Bytes to be received."""
    seconds: float
    """Since the first request."""
    finished: str | None = None
    """Key of the file that has just been finished."""

    @property
    def rate(self) -> float | None:
        """Bytes per second so far; None while there are none."""
        return self.bytes / self.seconds if self.bytes and self.seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None while there is none."""
        return (self.n_bytes - self.bytes) / self.rate if self.rate else None


@dataclass(frozen=True)
class MirrorReport:
    """What was copied."""

    to: Path
    """The mirror."""
    n_files: int
    """Files of the choice that are complete now: all but those that were left alone."""
    n_bytes: int
    """Their bytes."""
    fetched: int
    """Files that were fetched by this run."""
    adopted: int
    """Files that were there without a record and proved to be the bucket's."""
    replaced: int
    """Fetched files in whose place there was an older or a damaged one, copied by an earlier run."""
    bytes_received: int
    """Bytes that came over the network, or from the folder that was copied."""
    held_out: int
    """As in the plan."""
    gated: int
    """As in the plan."""
    refused: tuple[tuple[str, str], ...]
    """As in the plan."""
    left_alone: tuple[tuple[str, str], ...]
    """Keys in whose places is what this project did not write, and what that is: it was neither read as the bucket's
    nor touched."""
    seconds: float
    """Copying took."""
    notes: tuple[str, ...] = ()
    """As in the plan."""

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out and why, in words."""
        held_out = f"{self.held_out} objects of held-out sessions were left out: they cannot be read."
        gated = f"{self.gated} objects were left out that are given under a data use agreement only."
        refused = [f"{key!r} was left out: it {reason}." for key, reason in self.refused]
        alone = [told_of_left_alone(self.to, self.left_alone)] if self.left_alone else []
        return (*([held_out] if self.held_out else []), *([gated] if self.gated else []), *refused, *alone, *self.notes)


def told_of_left_alone(to: Path, found: Sequence[tuple[str, str]]) -> str:
    """Say in words what was left alone."""
    named = in_short([f"{key!r} ({what})" for key, what in found], most=5)
    return (
        f"{len(found)} of the bucket's objects were not copied to {to}: in their places is what this project did not "
        f"write, and it was left alone: {named}. Move it away and mirror again to have the bucket's files."
    )


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
    offline: bool = False,
) -> MirrorPlan:
    """Find out what copying a part of the bucket comes to. Nothing is copied or written.

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
        Of `MIRROR_KINDS`; by default all but the stimuli. A JSON file goes with the file that it describes.
    entities : mapping, optional
        ``task``, ``space``, ``desc``, ``stat``, ``suffix`` or ``extension`` → a value or several, with or without the
        prefix (``"desc-R2"`` or ``"R2"``). A file in whose name an entity does not occur is kept.
    include_stimuli : bool, default False
        Whether to copy the public tables of stimuli too.
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
        If a held-out session is named, or the stimuli that are given under a data use agreement only.
    NotInBucketError
        If there is no such bucket, or nothing in it of what is chosen; or, offline, no listing of it.
    BucketUnreachableError
        If it does not answer.

    Notes
    -----
    Each of the data set's trees is listed once, of the chosen subjects only; no object is asked for by itself.
    """
    selection = MirrorSelection.of(
        subjects=subjects, sessions=sessions, kinds=kinds, entities=entities, include_stimuli=include_stimuli
    )
    place, folder = open_source(bucket, storage_options), MirrorFolder.of(to)
    _expect_apart(place, folder)
    if offline:
        return replace(_plan(place, folder, selection, _listed_before(place, folder, selection), []), listings={})
    return _plan(place, folder, selection, *_listed(place, selection))


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
    jobs: int = 4,
    progress: Callable[[MirrorProgress], None] | None = None,
) -> MirrorReport:
    """Copy a part of the bucket to a folder, or complete such a copy.

    Parameters
    ----------
    to : str, path or MirrorPlan
        Folder of the mirror, or what `plan_mirror` returned; then the arguments that choose are not looked at.
    bucket, storage_options, subjects, sessions, kinds, entities, include_stimuli
        As in `plan_mirror`.
    jobs : int, default 4
        Large files at a time, each with up to four requests under way; of small ones four times as many.
    progress : callable, optional
        Is told a `MirrorProgress` at the beginning, after each file, and in between up to five times a second.

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
        If something is in a file's place that this project did not write: it is not touched.

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
        )
    report = fill_mirror(to, jobs=jobs, progress=progress)
    if report.left_alone:
        warnings.warn(told_of_left_alone(report.to, report.left_alone), LeftAloneWarning, stacklevel=2)
    return report


def licence_notice(to: str | os.PathLike[str]) -> str | None:
    """Return the notice on the data's licence if it has not been shown for this mirror, and note that it is shown now.

    Parameters
    ----------
    to : str or path
        Folder of the mirror.

    Returns
    -------
    str or None
        To be shown, and nothing to be asked. Where the mirror cannot be written to it is shown each time.
    """
    folder = MirrorFolder.of(to)
    if folder.was_told():
        return None
    with contextlib.suppress(OSError, DataIntegrityError):
        folder.note_told(NOTICE)
    return NOTICE


def fill_mirror(
    plan: MirrorPlan,
    *,
    jobs: int = 4,
    progress: Callable[[MirrorProgress], None] | None = None,
    piece_bytes: int = PIECE_BYTES,
    request_bytes: int = REQUEST_BYTES,
) -> MirrorReport:
    """Copy what a plan says; `mirror_bucket` with the sizes of what is kept and asked for at a time."""
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, found {jobs!r}.")
    _expect_room(plan)
    folder = MirrorFolder(plan.to)
    _save_listings(folder, plan)
    run = _Run(plan, folder, jobs, progress or _nobody, piece_bytes, request_bytes)
    try:
        done = run.all()
    finally:
        if not run.interrupted and (plan.fetch or plan.unrecorded or folder.metadata.is_dir()):
            with contextlib.suppress(OSError, DataIntegrityError):
                tidy(folder, run.current.values())
    without_splits = bring_splits(folder, plan.pools)
    if any(one.info != plan_info for one, plan_info in done):
        _save_listings(folder, replace(plan, listings=_renewed(plan.listings, run.current)))
    statuses = Counter(one.status for one, _ in done)
    return MirrorReport(
        plan.to,
        n_files=len(run.current),
        n_bytes=sum(info.size for info in run.current.values()),
        fetched=statuses["fetched"],
        adopted=statuses["adopted"],
        replaced=sum(one.replaced for one, _ in done),
        bytes_received=run.received.value,
        held_out=plan.held_out,
        gated=plan.gated,
        refused=plan.refused,
        left_alone=tuple(sorted(run.left_alone.items())),
        seconds=run.seconds,
        notes=(*plan.notes, *without_splits),
    )


class _Counter:
    """A number that several threads add to."""

    def __init__(self) -> None:
        self.value = 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self.value += count


class _Run:
    """One run of copying."""

    def __init__(
        self,
        plan: MirrorPlan,
        folder: MirrorFolder,
        jobs: int,
        progress: Callable[[MirrorProgress], None],
        piece_bytes: int,
        request_bytes: int,
    ) -> None:
        self.left_alone = dict(plan.left_alone)
        """Key → what is in its place."""
        self.current = {info.key: info for info in plan.objects if info.key not in self.left_alone}
        """Key → the object as it was copied."""
        self.received = _Counter()
        self.seconds = 0.0
        self.interrupted = False
        self._plan, self._folder, self._progress = plan, folder, progress
        self._piece_bytes, self._request_bytes = piece_bytes, request_bytes
        self._jobs = jobs
        self._stop = threading.Event()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._busy: dict[ObjectInfo, _Busy] = {}
        self._errors: list[Exception] = []
        self._done: list[tuple[Fetched, ObjectInfo]] = []
        self._start = time.monotonic()
        self._reported = -1.0

    def all(self) -> list[tuple[Fetched, ObjectInfo]]:
        """Copy everything; return what became of each object, with what the plan said of it."""
        todo = [*self._plan.unrecorded, *self._plan.fetch]
        self._report(None, force=True)
        if not todo:
            return []
        requests = min(REQUESTS_PER_OBJECT, max(1, CONNECTIONS // self._jobs))
        with (
            ThreadPoolExecutor(min(self._jobs, CONNECTIONS), thread_name_prefix="laion-large") as large,
            ThreadPoolExecutor(min(4 * self._jobs, CONNECTIONS), thread_name_prefix="laion-small") as small,
        ):
            self._pools = {True: small, False: large}
            try:
                for info in todo:
                    self._begin(info, requests)
                alone = len(self.left_alone)
                while (
                    len(self._done) + len(self._errors) + len(self.left_alone) - alone < len(todo)
                    and not self._stop.is_set()
                ):
                    self._take(requests)
            except BaseException:
                self.interrupted = True
                raise
            finally:
                self._stop.set()
                for pool in (large, small):
                    pool.shutdown(wait=False, cancel_futures=True)
        self.seconds = time.monotonic() - self._start
        if self._errors:
            raise _one_error(self._errors, self._folder.path, sorted(self.left_alone.items()))
        return self._done

    def _begin(self, info: ObjectInfo, requests: int, wait_seconds: float = 0.0) -> None:
        is_small = info.size <= self._request_bytes
        future = self._pools[is_small].submit(
            fetch_object,
            self._plan.place,
            info,
            self._folder,
            requests=requests,
            piece_bytes=self._piece_bytes,
            request_bytes=self._request_bytes,
            received=self.received.add,
            stop=self._stop,
            wait_seconds=wait_seconds,
        )
        future.add_done_callback(lambda done: self._outcomes.put((info, done)))

    def _take(self, requests: int) -> None:
        """Take what has been finished, or wait a little; begin anew with what another process was busy with."""
        try:
            info, future = self._outcomes.get(timeout=_REPORT_SECONDS)
        except queue.Empty:
            self._report(None)
        else:
            self._settle(info, future)
        for info, busy in list(self._busy.items()):
            if busy.is_due(self._folder, info):
                busy.due = float("inf")
                self._begin(info, requests, PATIENT_SECONDS if busy.is_stuck else 0.0)

    def _settle(self, info: ObjectInfo, future: Future[Fetched]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if isinstance(error, ObjectBusyError):
            busy = self._busy.setdefault(info, _Busy())
            if not busy.is_stuck:
                busy.wait()
                return
            told = f"another process has received nothing of {info.key} for {STALE_SECONDS:.0f} s: {error}"
            error = OSError(errno.EBUSY, told)
        self._busy.pop(info, None)
        if error is None:
            fetched = future.result()
            self._done.append((fetched, info))
            self.current[info.key] = fetched.info
            self._report(info.key, force=True)
        elif isinstance(error, LeftAloneError):
            self.left_alone[info.key] = str(error)
            del self.current[info.key]
        elif isinstance(error, Exception):
            self._errors.append(error)
            if not _is_of_one_object(error):
                self._finish_those_under_way(error)
        else:
            raise error

    def _finish_those_under_way(self, error: Exception) -> None:
        """Begin nothing more after an error that the next object would meet as well; wait unless it is the disk's."""
        for pool in self._pools.values():
            pool.shutdown(wait=isinstance(error, BucketUnreachableError), cancel_futures=True)
        self._stop.set()

    def _report(self, finished: str | None, *, force: bool = False) -> None:
        seconds = time.monotonic() - self._start
        if force or seconds - self._reported >= _REPORT_SECONDS:
            self._reported = seconds
            n_files = len(self._plan.unrecorded) + len(self._plan.fetch)
            n_bytes = self._plan.bytes_to_fetch
            received = min(self.received.value, n_bytes)
            self._progress(MirrorProgress(len(self._done), n_files, received, n_bytes, seconds, finished))


@dataclass
class _Busy:
    """An object that another process is fetching."""

    due: float = 0.0
    """When it is looked at again."""
    seen: int = -1
    """Bytes that the other has received."""
    moved: float = field(default_factory=time.monotonic)
    """When that last changed."""
    is_stuck: bool = False
    """Whether the other process does not get on: it is waited for once more, until its lock expires, and then told."""

    def wait(self) -> None:
        self.due = time.monotonic() + _BUSY_SECONDS

    def is_due(self, folder: MirrorFolder, info: ObjectInfo) -> bool:
        """Tell whether it is time to try."""
        if time.monotonic() < self.due:
            return False
        received = received_before(folder, info)
        if received != self.seen:
            self.seen, self.moved = received, time.monotonic()
        self.is_stuck = time.monotonic() - self.moved > STALE_SECONDS
        return True


def _plan(
    place: Bucket,
    folder: MirrorFolder,
    selection: MirrorSelection,
    listings: Mapping[str, Mapping[str, ObjectInfo]],
    notes: list[str],
) -> MirrorPlan:
    """Compare what was listed and chosen with what is there."""
    listed = {key: info for listing in listings.values() for key, info in listing.items() if not key.endswith("/")}
    selection.expect_in(listed, where=place.url)
    if selection.stimuli and not notes:
        notes.append(f"The images themselves are given under a data use agreement only: ask {layout.CONTACT}.")
    chosen = [info for key, info in sorted(listed.items()) if selection.takes(key)]
    if not chosen:
        raise NotInBucketError(
            f"{place.url} has nothing of what was chosen. Choose more; 'intake-laion-fmri ls' tells what there is."
        )
    public = [info for info in chosen if layout.is_of_public(info.key)]
    ungated = [info for info in public if info.key != layout.GATED]
    folders = _folders_among(listed)
    refused = {
        info.key: reason for info in ungated if (reason := rejection(info.key) or _same_as_folder(info.key, folders))
    }
    objects = [info for info in ungated if info.key not in refused]
    complete, unrecorded, fetch, left_alone = _compared(folder, objects)
    return MirrorPlan(
        folder.path,
        place,
        objects=tuple(objects),
        complete=tuple(complete),
        unrecorded=tuple(unrecorded),
        fetch=tuple(fetch),
        n_bytes=sum(info.size for info in objects),
        bytes_to_fetch=sum(info.size - received_before(folder, info) for info in fetch),
        held_out=len(chosen) - len(public),
        gated=len(public) - len(ungated),
        refused=tuple(refused.items()),
        left_alone=tuple(left_alone.items()),
        free_bytes=_free_bytes(folder.path),
        notes=tuple(notes),
        listings=listings,
        pools=pools_of(listed) if selection.wants("splits") else (),
    )


def _folders_among(keys: Iterable[str]) -> dict[str, str]:
    """Return the folders that keys lie in, each with one of these keys."""
    folders: dict[str, str] = {}
    for key in keys:
        folder = key.rpartition("/")[0]
        while folder and folder not in folders:
            folders[folder] = key
            folder = folder.rpartition("/")[0]
    return folders


def _same_as_folder(key: str, folders: Mapping[str, str]) -> str | None:
    return f"has the name of a folder, in which {folders[key]!r} lies" if key in folders else None


def _compared(
    folder: MirrorFolder, objects: Sequence[ObjectInfo]
) -> tuple[list[ObjectInfo], list[ObjectInfo], list[ObjectInfo], dict[str, str]]:
    """Return what is complete by its record, what may be, what is not, and what cannot be as something is there."""
    complete: list[ObjectInfo] = []
    unrecorded: list[ObjectInfo] = []
    fetch: list[ObjectInfo] = []
    left_alone: dict[str, str] = {}
    for info in objects:
        if folder.is_complete(info):
            complete.append(info)
        elif reason := what_is_in_the_way(folder, info):
            left_alone[info.key] = reason
        else:
            copy = folder.copy_of(info.key)
            seems = copy and copy.state.st_size == info.size and (not copy.record or folder.holds(info))
            seems = seems and not folder.untold(info)
            (unrecorded if seems else fetch).append(info)
    return complete, unrecorded, fetch, left_alone


def _listed(place: Bucket, selection: MirrorSelection) -> tuple[dict[str, dict[str, ObjectInfo]], list[str]]:
    """List what the selection may be in: folder → objects; and notes."""
    root, top = _directly_in(place, "")
    trees = [f"derivatives/{name}" for name in _directly_in(place, "derivatives")[1]] if "derivatives" in top else []
    listings, notes = {"": root}, []
    wanted = [tree for tree, groups in _TREES.items() if selection.wants(*groups)]
    for tree in wanted:
        if tree in trees:
            names = [tree] if selection.subjects is None else [f"{tree}/{name}" for name in selection.subjects]
            listings |= {name: place.find(name) for name in names}
    if wanted:
        _expect_subjects(place, selection, listings)
    if selection.wants("splits") and layout.SPLITS_ROOT in trees:
        listings[layout.SPLITS_ROOT] = place.find(layout.SPLITS_ROOT)
    if selection.wants("stimuli"):
        if layout.STIMULI_ROOT in top:
            listings[layout.STIMULI_ROOT] = place.find(layout.STIMULI_ROOT)
        else:
            notes.append(f"{place.url} has no {layout.STIMULI_ROOT}/ yet.")
    return listings, notes


def _listed_before(place: Bucket, folder: MirrorFolder, selection: MirrorSelection) -> dict[str, dict[str, ObjectInfo]]:
    """Return what the bucket held the last time, as `_listed` does."""
    known = folder.listing("") or {}
    missing = set(selection.subjects or ()) - {subject_of(key) for key in known}
    if not known or missing:
        what = f"of {', '.join(sorted(missing))} " if known else ""
        raise NotInBucketError(
            f"{folder.path} has no listing {what}of {place.url}: nothing was copied yet. Copy it when it answers."
        )
    return {"": known}


def _directly_in(place: Bucket, folder: str) -> tuple[dict[str, ObjectInfo], list[str]]:
    """Return the files directly in a folder, small ones, and the names of its folders: one listing."""
    try:
        entries = place.entries(folder)
    except NotInBucketError as error:
        if folder:
            return {}, []
        raise place.no_such_bucket() from error
    keys = {place.key_of(entry["name"]): entry for entry in entries}
    folders = [key.rpartition("/")[2] for key, entry in keys.items() if entry["type"] == "directory"]
    files = [
        object_info(key, entry) for key, entry in keys.items() if entry["type"] == "file" and entry["size"] is not None
    ]
    return {info.key: info for info in files if info.size <= ROOT_FILE_BYTES}, folders


def _expect_subjects(
    place: Bucket, selection: MirrorSelection, listings: Mapping[str, Mapping[str, ObjectInfo]]
) -> None:
    """Raise if a chosen subject is nowhere in what was listed, or if there is none at all."""
    found = {subject_of(key) for listing in listings.values() for key in listing} - {None}
    for name in selection.subjects or ():
        if name not in found:
            known = list_subjects(place)
            if name not in known:
                raise unknown_value("subject", name, known, where=place.url)
    if not found:
        raise NotInBucketError(
            f"{place.url!r} holds none of {', '.join(_TREES)}: expected the root of a bucket, or of a copy of it, with "
            "the bucket's folders."
        )


def _expect_apart(place: Bucket, folder: MirrorFolder) -> None:
    """Raise if a mirror cannot be a folder, or is the bucket itself."""
    if folder.path.exists() and not folder.path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder.path} is a file. A mirror is a folder: name another one.")
    if place.is_local and os.path.realpath(place.root) == os.path.realpath(folder.path):
        raise ValueError(
            f"{folder.path} is the bucket and the mirror. Give another bucket=, or copy to another folder."
        )


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def _expect_room(plan: MirrorPlan) -> None:
    free = _free_bytes(plan.to)
    if plan.bytes_to_fetch > free:
        raise OSError(
            errno.ENOSPC,
            f"{plan.to} needs {plan.bytes_to_fetch} bytes ({plan.bytes_to_fetch / 1e9:.1f} GB) for "
            f"{len(plan.fetch)} files, and its disk has {free} ({free / 1e9:.1f} GB) free. Make room, or choose less.",
        )


def _save_listings(folder: MirrorFolder, plan: MirrorPlan) -> None:
    """Keep the listings for working offline."""
    try:
        with errors_of_writing("A listing", folder.metadata), locked(folder, "listings"):
            for name, objects in plan.listings.items():
                folder.save_listing(name, objects)
    except ObjectBusyError:
        pass  # another process has just listed the same
    except OSError:
        if plan.fetch or plan.unrecorded:  # a complete mirror may be read-only
            raise


def _renewed(
    listings: Mapping[str, Mapping[str, ObjectInfo]], current: Mapping[str, ObjectInfo]
) -> dict[str, dict[str, ObjectInfo]]:
    """Return listings with objects that were replaced while they were copied."""
    return {
        folder: {key: current.get(key, info) for key, info in objects.items()} for folder, objects in listings.items()
    }


def _is_of_one_object(error: Exception) -> bool:
    """Whether the next object may go better."""
    if isinstance(error, AccessDeniedError | NotInBucketError | DataIntegrityError):
        return True
    return (
        isinstance(error, OSError) and not isinstance(error, BucketUnreachableError) and error.errno in _OF_ONE_OBJECT
    )


def _one_error(errors: Sequence[Exception], to: Path, left_alone: Sequence[tuple[str, str]]) -> Exception:
    """Return the first error, saying how many there were, and what was left alone besides."""
    first = next((one for one in errors if not isinstance(one, AccessDeniedError)), errors[0])
    others = len(errors) - 1
    more = [f"So it is with {others} more {'object' if others == 1 else 'objects'}."] if others else []
    more += [told_of_left_alone(to, left_alone)] if left_alone else []
    if not more:
        return first
    if isinstance(first, AccessDeniedError | NotInBucketError | DataIntegrityError | BucketUnreachableError):
        made: Exception = type(first)(" ".join([str(first), *more]))
    elif isinstance(first, OSError) and first.errno is not None:
        made = OSError(first.errno, " ".join([str(first.strerror), *more]))
    else:
        return first
    made.__cause__ = first
    return made


def _nobody(progress: MirrorProgress) -> None:
    """Take no notice."""
