"""Building a store: each session's stream is unpacked once, and its voxels are written as chunks that lie together.

A session is one job, wherever it runs: it reads from the bucket, writes to the store, reads back what it has written,
and only then makes the session visible. Jobs share nothing, so any number of workers may take them.
"""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.building.target import expect_apart, expect_own, is_foreign
from intake_laion_fmri.discovery import SubjectContents, subject_contents, subjects
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    MissingFileWarning,
    NotInBucketError,
    NotInStoreError,
    check_option,
)
from intake_laion_fmri.reading.arguments import ALL, SessionSelection, check_subjects
from intake_laion_fmri.reading.assembly import BetasParts, BucketPlan
from intake_laion_fmri.reading.blocks import SessionBlock
from intake_laion_fmri.reading.plans import Brain, TrialQuery, VoxelQuery
from intake_laion_fmri.reading.stored import read_options
from intake_laion_fmri.remote import addresses
from intake_laion_fmri.remote.access import SMALL_FILES_IN_FLIGHT, Bucket, open_bucket
from intake_laion_fmri.splits import SHARED, find_source
from intake_laion_fmri.store.chunks import ChunkGrid, ChunkTable, Codec, Dtype, Rounding
from intake_laion_fmri.store.format import (
    BETAS,
    STORED_DTYPES,
    LeftOut,
    Record,
    StoredSession,
    StoreOptions,
    coordinate_key,
    group_metadata,
    is_object,
    metadata_key,
    object_sum,
    root_metadata,
    session_group,
    subject_metadata,
    sum_of_inputs,
)
from intake_laion_fmri.store.groups import METADATA, ForeignError, GroupBusyError, GroupWriter
from intake_laion_fmri.store.order import stored_order
from intake_laion_fmri.store.root import NotWritableError, StoreRoot, open_store

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

    from intake_laion_fmri.axes.rois import RoiSelection

__all__ = [
    "BuildProgress",
    "SessionReport",
    "axis_sum",
    "build_store",
    "kept_voxels",
    "session_plan",
    "whole_session",
]

Scheduler = Literal["threads", "processes"]
"""Where sessions are built when no client is given."""

_REPORT_SECONDS = 0.2
"""Shortest time between two reports of progress."""

_PARENT_SECONDS = 1.0
"""How soon a worker process notices that its parent has ended, where the system does not tell."""

_WRITERS_LOCAL, _WRITERS_REMOTE = 2, 4
"""Objects that are written at a time: each takes up to three times its size of memory."""


@dataclass(frozen=True)
class SessionReport:
    """What became of one session."""

    subject: str
    """``"sub-01"``."""
    session: str
    """``"ses-01"``."""
    status: str
    """``"built"``; ``"renewed"``: its sources had been replaced, or objects of it were lost or damaged; or
    ``"complete"``: nothing was to be done."""
    bytes_read: int = 0
    """Of the stream."""
    bytes_written: int = 0
    """Of the betas."""
    seconds: float = 0.0
    """From the listing of the bucket to the verified group."""
    missing: tuple[str, ...] = ()
    """The coordinates that are left out, in words."""


@dataclass(frozen=True)
class BuildProgress:
    """How far a build has come; what was complete before is not counted."""

    sessions: int
    """Sessions that are done."""
    n_sessions: int
    """Sessions to be done."""
    bytes: int
    """Packed bytes that were read. Known during a session where it is built in this process, else after it."""
    n_bytes: int
    """Packed bytes of all these sessions."""
    seconds: float
    """Since the first session was begun."""
    finished: SessionReport | None = None
    """The session that has just been finished."""

    @property
    def seconds_left(self) -> float | None:
        """At the mean rate so far, writing included; None while there is none."""
        return (self.n_bytes - self.bytes) * self.seconds / self.bytes if self.bytes else None


def build_store(
    to: str | os.PathLike[str] | StoreRoot,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    store_options: Mapping[str, Any] | None = None,
    subjects: str | Sequence[str] = ALL,
    sessions: SessionSelection = ALL,
    roi: RoiSelection | None = None,
    mask: Mask | None = None,
    dtype: Dtype | None = None,
    keep_bits: int | None = None,
    codec: Codec | None = None,
    chunk_voxels: int | None = None,
    shard_voxels: int | None = None,
    splits: str | os.PathLike[str] | None = None,
    client: Client | None = None,
    scheduler: Scheduler = "threads",
    workers: int = 1,
    progress: Callable[[BuildProgress], None] | None = None,
) -> list[SessionReport]:
    r"""Build a Zarr store from the streams of a bucket, or complete one.

    Sessions that are complete are left alone; those that are not, or whose sources were replaced, are built. It may be
    interrupted at any moment and run again: a session is visible only when all of it was written and read back.

    Parameters
    ----------
    to : str or path
        URL or folder of the store.
    bucket, storage_options, mirror, mirror_only
        The bucket, as in `intake_laion_fmri.open_betas`.
    store_options : mapping, optional
        Options of the store's file system. For S3 credentials and region are found as in every other program.
    subjects : str or sequence of str, default "all"
        ``"sub-01"``, ``"01"``, or a list.
    sessions : str, int or sequence of these, default "all"
        As in `intake_laion_fmri.open_betas`, of each of the subjects.
    roi : str or sequence of str, optional
        Voxels to keep, as in `intake_laion_fmri.open_betas`; by default the whole mask.
    mask : {"rsquare", "anatomical"}, optional
        The mask; by default ``"rsquare"``.
    dtype : {"float32", "bitround", "float16"}, optional
        By default ``"float32"``, as it is. ``"bitround"`` keeps the first `keep_bits` bits of each mantissa, with
        a relative error of at most 2\ :sup:`-(keep_bits + 1)`, and needs a `codec` to save anything. ``"float16"`` is
        half the size, with a relative error of at most 2\ :sup:`-11` for values from 6.2e-5 on; smaller ones are off
        by up to 3e-8, and so by up to 100 %. What is read back is float32 in each case.
    keep_bits : int, optional
        1 to 23, for ``"bitround"``; by default 10 (4.9e-4).
    codec : {"none", "lz4", "zstd"}, optional
        By default ``"none"``: betas are noise to a codec, which saves 6 to 8 % of float32.
    chunk_voxels : int, optional
        Voxels per chunk, by default 128; a chunk holds all trials of its session.
    shard_voxels : int, optional
        Voxels per object, by default 4096; 0 for an object per chunk.
    splits : str or path, optional
        As in `intake_laion_fmri.open_betas`, for the coordinate ``split_role``.
    client : distributed.Client, optional
        Build on its workers, which read from the bucket and write to the store themselves; both must be reachable
        from there, and this package installed.
    scheduler : {"threads", "processes"}, default "threads"
        Without a client: build in this process, or in others. As always in Python, a script that starts processes
        needs ``if __name__ == "__main__":`` around the call.
    workers : int, default 1
        Without a client: sessions at a time. Each takes the memory of its block, 1.14 GB for a whole brain, and up to
        300 MB beside it.
    progress : callable, optional
        Is told a `BuildProgress` at the beginning, after each session, and in between up to five times a second.

    Returns
    -------
    list of SessionReport
        Of every session asked for, by subject and session.

    Raises
    ------
    ValueError, TypeError
        For an unknown subject, session, ROI or option, or options that differ from those of the store that is there.
    NotInBucketError, AccessDeniedError, BucketUnreachableError, DataIntegrityError
        As in `intake_laion_fmri.open_betas`; names the session. Where the fault is in the session's own sources, the
        others are built first.
    OSError
        If the store cannot be written to, such as on a full disk; names the session.
    RuntimeError
        If a worker died; names the sessions that it may have been working on.

    Warns
    -----
    MissingFileWarning
        Once, if optional files are absent: the store goes without their coordinates.

    Notes
    -----
    A session costs one pass over its stream, which is checked to its end, the writing and the reading back of its
    chunks, and what opening it costs: a few listings and some 50 small files. The same inputs and options give the
    same bytes, so builders may race; on one file system they take turns.
    """
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    root = open_store(to, store_options)
    if addresses.is_chain(root.url):
        raise ValueError(
            f"to={root.url!r} is an archive or a cache, and a store cannot be built in one: give a folder or the URL "
            "of an object store, and pack it afterwards."
        )
    query = TrialQuery.of(sessions, None, None, SHARED, "both")
    given = {
        "roi": roi,
        "mask": mask,
        "dtype": dtype,
        "keep_bits": keep_bits,
        "codec": codec,
        "chunk_voxels": chunk_voxels,
        "shard_voxels": shard_voxels,
    }
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a whole number of at least 1, found {workers!r}.")
    check_option("scheduler", scheduler, valid=get_args(Scheduler))
    expect_apart(root, place)
    expect_own(root)
    options = _options(root, given)
    plans = _plans(place, subjects, query, options)
    _begin(root, options, plans)
    complete, jobs = _jobs(root, plans, options, splits)
    tally = _Tally(jobs, progress)
    with _executor(client, scheduler, workers, tally) as executor:
        reports, failures = _run(jobs, executor, tally)
    root.tidy()
    every = sorted([*complete, *reports], key=lambda one: (one.subject, layout.session_number(one.session)))
    if failures:
        raise _failure(failures)
    missing = dict.fromkeys(text for report in reports for text in report.missing)
    if missing:
        warnings.warn(f"Left out: {'; '.join(missing)}.", MissingFileWarning, stacklevel=2)
    return every


# --- what is to be done -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    """One session to build."""

    root: StoreRoot
    place: Bucket
    subject: str
    session: str
    options: StoreOptions
    splits: str | os.PathLike[str] | None
    size: int
    """Packed bytes of the session's betas."""
    wait: bool = False
    """Whether to wait for another builder of the session, instead of leaving it for later."""

    @property
    def group(self) -> str:
        return session_group(self.subject, self.session)


@dataclass(frozen=True)
class _SubjectPlan:
    """What a bucket holds of a subject, and what is asked for."""

    public: tuple[str, ...]
    """Every public session with betas."""
    sessions: Mapping[str, BucketPlan]
    """Those to build."""


def _options(root: StoreRoot, given: Mapping[str, Any]) -> StoreOptions:
    try:
        stored = read_options(root)
    except NotInStoreError:
        stored = None
    return StoreOptions.of(given, stored)


def _plans(
    place: Bucket, asked: str | Sequence[str], query: TrialQuery, options: StoreOptions
) -> dict[str, _SubjectPlan]:
    """List the bucket, and find everything that is asked for; nothing has been written yet."""
    names = check_subjects(asked)
    if names is None:
        names = tuple(subjects(place))
        if not names:
            subject_contents(place, "sub-01")  # for its error
    voxels = VoxelQuery.of(options.roi, options.mask)
    plans = {}
    for name in names:
        contents = subject_contents(place, name, anatomy=voxels.needs_anatomy)
        asked_for = BucketPlan.of(place, contents, query, voxels).trials.sessions
        each = {session: session_plan(place, contents, session, options) for session in asked_for}
        plans[name] = _SubjectPlan(contents.sessions, each)
    return plans


def session_plan(place: Bucket, contents: SubjectContents, session: str, options: StoreOptions) -> BucketPlan:
    """Find what a session is built from: the whole mask, whatever is kept, because what is left out is recorded."""
    return BucketPlan.of(place, contents, whole_session(session), VoxelQuery.of(None, options.mask))


def whole_session(session: str) -> TrialQuery:
    """Return the selection of all trials of a session."""
    return TrialQuery.of(session, None, None, SHARED, "both")


def _begin(root: StoreRoot, options: StoreOptions, plans: Mapping[str, _SubjectPlan]) -> None:
    """Write the groups above those of the sessions."""
    root.create(metadata_key(""), root_metadata(options))
    written = read_options(root)
    if written != options:
        raise ValueError(
            f"Another builder has just begun {root.url} with {written}, where {options} was asked for. Choose another "
            "place, or its options."
        )
    for subject, plan in plans.items():
        key, content = metadata_key(subject), subject_metadata(subject, plan.public)
        there = root.read_present([key]).get(key)
        if there is not None and is_foreign(there):
            raise ForeignError.of(root.locate(subject), [METADATA])
        if there != content:
            root.put(key, [content])


def _jobs(
    root: StoreRoot,
    plans: Mapping[str, _SubjectPlan],
    options: StoreOptions,
    splits: str | os.PathLike[str] | None,
) -> tuple[list[SessionReport], list[_Job]]:
    wanted = [(session, plan) for subject in plans.values() for session, plan in subject.sessions.items()]
    with ThreadPoolExecutor(SMALL_FILES_IN_FLIGHT, thread_name_prefix="laion-store") as pool:
        statuses = pool.map(lambda one: _status(root, one[1], one[0], options), wanted)
    complete, jobs = [], []
    for (session, plan), status in zip(wanted, statuses, strict=True):
        if status == "complete":
            complete.append(SessionReport(plan.subject, session, status))
        else:
            size = plan.trials.betas[session].size
            jobs.append(_Job(root, plan.place, plan.subject, session, options, splits, size))
    return complete, jobs


def _status(root: StoreRoot, plan: BucketPlan, session: str, options: StoreOptions) -> str:
    """Tell whether a session is ``"complete"``, or is to be ``"built"`` or ``"renewed"``."""
    group = session_group(plan.subject, session)
    key = metadata_key(group)
    content = root.read_present([key])
    if not content:
        return "built"
    if is_foreign(content[key]):
        raise ForeignError.of(root.locate(group), [METADATA])
    try:
        one = StoredSession.parse(content[key], group=group, name=root.locate(key))
    except DataIntegrityError:
        return "renewed"
    if one.record.inputs != sum_of_inputs(plan.inputs) or one.record.options != options:
        return "renewed"
    there = root.find(group)

    def is_whole(key: str, size: int | None) -> bool:
        info = there.get(f"{group}/{key}")
        return info is not None and size in (info.size, None)

    return "complete" if all(is_whole(key, size) for key, size in one.keys.items()) else "renewed"


# --- a session --------------------------------------------------------------------------------------------------------


def _build(job: _Job, received: Callable[[int], None] | None = None) -> SessionReport:
    """Build one session: the job of a worker."""
    start = time.monotonic()
    contents = subject_contents(job.place, job.subject, anatomy=VoxelQuery.of(None, job.options.mask).needs_anatomy)
    plan = session_plan(job.place, contents, job.session, job.options)

    def look() -> None:
        if received:
            received(0)  # raises where the build has ended

    with job.root.writing(job.group, wait=job.wait, while_waiting=look) as writer:
        status = _status(job.root, plan, job.session, job.options)
        if status == "complete":  # another builder has done it meanwhile
            return SessionReport(job.subject, job.session, status)
        writer.begin(is_object)
        source = find_source(job.splits, bucket=job.place)
        files = plan.fetch()
        parts = plan.read(files, whole_session(job.session), source)
        kept, left_out = kept_voxels(parts, job.options.roi, where=f"{job.subject} in {job.place.url}")
        block = parts.steps[job.session].block
        assert isinstance(block, SessionBlock), "parts from a bucket are streams"
        values = block.read(kept.axis.index, received, _memory((len(block), len(kept.axis))))
        grid = job.options.grid(*values.shape)
        parts = replace(parts, brain=kept, betas_attrs=job.options.rounding.attrs)
        objects, group = _coordinates(parts, grid)
        if status == "renewed":
            writer.withdraw()
        _put_coordinates(writer, objects, threads=1 if job.root.is_local else SMALL_FILES_IN_FLIGHT)
        threads = _WRITERS_LOCAL if job.root.is_local else _WRITERS_REMOTE
        table = _put_betas(writer, grid, job.options.rounding, values, threads=threads)
        record = Record(
            job.group,
            job.options,
            sum_of_inputs(plan.inputs),
            group.axis,
            {key: object_sum(content) for key, content in objects.items()},
            table,
            left_out,
            _tables(plan, files) if "repetition" in group.arrays else {},
            {key: len(content) for key, content in objects.items()},
        )
        writer.publish(group_metadata({**group.attributes, **record.attribute()}, group.arrays))
    seconds, size, missing = time.monotonic() - start, sum(table.sizes), parts.remarks.left_out
    return SessionReport(job.subject, job.session, status, block.info.size, size, seconds, missing)


def _tables(plan: BucketPlan, files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the sums of the trial tables that repetitions were counted from; half of each, as they are many."""
    return {session: object_sum(files[info.key])[:32] for session, info in sorted(plan.trials.tables.items())}


_kept = threading.local()


def _keep_memory() -> None:
    """Let this thread, or the process of which it is the main one, use the same memory for each of its sessions.

    Memory that was used before costs a tenth of what the system takes for new pages. Workers of a cluster do not keep
    it: they live on after the build.
    """
    _kept.block = np.empty(0, dtype=np.float32)


def _begin_process() -> None:
    """Prepare a worker process: Ctrl-C at a terminal reaches it too, and it is up to its parent to say something."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, name="laion-parent", daemon=True).start()
    _keep_memory()


def _end_with_parent() -> None:
    """End this process when its parent has ended: whatever ended that, nobody waits for what is done here."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    pid = os.getppid()
    while parent.is_alive() and os.getppid() == pid:
        parent.join(_PARENT_SECONDS)
    os._exit(1)


def _memory(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return an array to read a session into, with anything in it."""
    size = math.prod(shape)
    if not hasattr(_kept, "block"):
        return np.empty(shape, dtype=np.float32)
    if _kept.block.size < size:
        del _kept.block  # before there are two
        _kept.block = np.empty(size, dtype=np.float32)
    block: NDArray[np.float32] = _kept.block[:size].reshape(shape)
    return block


def kept_voxels(parts: BetasParts, roi: RoiSelection | None, *, where: str) -> tuple[Brain, LeftOut]:
    """Return the voxels to keep, in the order in which they are stored, and what there is to say of the others."""
    brain = parts.brain
    places = brain.chosen(VoxelQuery.of(roi, parts.mask), where=where)
    if not len(places):
        raise ValueError(f"roi={roi!r} has no voxel within the mask of {where}: there is nothing to store.")
    others = brain.take(np.setdiff1d(np.arange(len(brain.axis)), places, assume_unique=True))
    ceilings = {name: values for name, values in others.maps.items() if name.startswith("nc_")}
    left_out = LeftOut.of(len(others.axis), others.rois.inside if others.rois else None, ceilings)
    kept = brain.take(places)
    return kept.take(stored_order(kept.axis.ijk(), kept.rois.inside if kept.rois else None)), left_out


@dataclass(frozen=True)
class _Group:
    """What a session's group says beside its record."""

    attributes: Mapping[str, Any]
    arrays: Mapping[str, Any]
    axis: str


def _coordinates(parts: BetasParts, grid: ChunkGrid) -> tuple[dict[str, bytes], _Group]:
    """Return every object of a session's group but its betas and its own metadata, as xarray writes them."""
    import dask.array as da

    shape = (grid.n_trials, grid.n_voxels)
    dataset = parts.stored(da.zeros(shape, chunks=shape, dtype=grid.item))
    narrower = {name: dtype for name, dtype in STORED_DTYPES.items() if name in dataset.coords}
    dataset = dataset.assign_coords({name: dataset[name].variable.astype(dtype) for name, dtype in narrower.items()})
    objects = _as_zarr(dataset, {BETAS: grid.encoding()})
    own = json.loads(objects.pop(METADATA))
    arrays = {str(name): json.loads(objects[f"{name}/{METADATA}"]) for name in sorted(map(str, dataset.variables))}
    return objects, _Group(own["attributes"], arrays, axis_sum(own["attributes"], arrays, objects))


def axis_sum(attributes: Mapping[str, Any], arrays: Mapping[str, Any], objects: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of all that lies along voxels and ROIs, and of where these are in the world.

    Parameters
    ----------
    attributes, arrays
        Of a session's group.
    objects : mapping
        Key below the group → content.
    """
    axis = hashlib.sha256(json.dumps([attributes[name] for name in ("affine", "grid_shape", "mask")]).encode())
    for name, metadata in sorted(arrays.items()):
        if not {"trial", "pool", "split"} & set(metadata.get("dimension_names", ())):
            axis.update(json.dumps(metadata, sort_keys=True).encode() + objects[coordinate_key(name, metadata)])
    return axis.hexdigest()


def _as_zarr(dataset: xr.Dataset, encoding: dict[str, Any]) -> dict[str, bytes]:
    """Let xarray write a Dataset, without the values of lazy variables: key → object."""
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    packing = (ZstdCodec(level=1), Crc32cCodec())
    whole: dict[Any, Any] = {
        name: {"chunks": array.shape, "compressors": packing} for name, array in dataset.coords.items()
    }
    memory: dict[str, Any] = {}
    dataset.to_zarr(
        MemoryStore(memory),
        mode="w",
        zarr_format=3,
        consolidated=False,
        compute=False,
        encoding={**whole, **encoding},
        write_empty_chunks=True,
    )
    return {key: buffer.to_bytes() for key, buffer in sorted(memory.items())}


def _put_coordinates(writer: GroupWriter, objects: Mapping[str, bytes], *, threads: int) -> None:
    """Write all other objects."""
    with ThreadPoolExecutor(threads, thread_name_prefix="laion-store") as pool:
        for _ in pool.map(lambda key: _put(writer, key, [objects[key]]), objects):
            pass


def _put_betas(
    writer: GroupWriter, grid: ChunkGrid, rounding: Rounding, values: NDArray[np.float32], *, threads: int
) -> ChunkTable:
    """Write the betas, object by object."""

    def put(number: int) -> ChunkTable:
        try:
            stored = rounding.apply(values[:, grid.voxels_of(number)])
        except OverflowError as error:
            raise ValueError(f"{error}: choose dtype='float32'.") from error
        content, table = grid.pack(stored)
        _put(writer, f"{BETAS}/{grid.key(number)}", content)
        return table

    with ThreadPoolExecutor(threads, thread_name_prefix="laion-store") as pool:
        tables = list(pool.map(put, range(grid.n_objects)))
    sums = (one for table in tables for one in table.sums)
    return ChunkTable(tuple(sums), tuple(one for table in tables for one in table.sizes))


def _put(writer: GroupWriter, key: str, content: Sequence[bytes]) -> None:
    """Write an object, and read it back."""
    writer.put(key, content)
    if not writer.holds(key, content):
        raise DataIntegrityError(
            f"{key}: what was read back is not what was written. Check the store's disk or server, and build again."
        )


# --- all of them ------------------------------------------------------------------------------------------------------


class _Stopped(Exception):  # noqa: N818  (nothing went wrong in it)
    """A session is left because the build is."""


class _Tally:
    """Counts what is done, for whoever wants to know; also where a thread learns that it should stop."""

    def __init__(self, jobs: Iterable[_Job], progress: Callable[[BuildProgress], None] | None) -> None:
        self._sizes = {job.group: job.size for job in jobs}
        self._progress = progress
        self._lock = threading.Lock()
        self._start = self._told = time.monotonic()
        self._sessions = self._bytes = 0
        self.counts_bytes = False
        self.stop = threading.Event()
        self._tell(None)

    def received(self, count: int) -> None:
        """Count bytes of a stream, in the thread that reads it."""
        if self.stop.is_set():
            raise _Stopped
        with self._lock:
            self._bytes += count
            if time.monotonic() - self._told >= _REPORT_SECONDS:
                self._tell(None)

    def finished(self, report: SessionReport) -> None:
        """Count a session."""
        with self._lock:
            self._sessions += 1
            if not self.counts_bytes or report.status == "complete":
                self._bytes += self._sizes[session_group(report.subject, report.session)]
            self._tell(report)

    def _tell(self, finished: SessionReport | None) -> None:
        self._told = time.monotonic()
        if self._progress is not None:
            total = sum(self._sizes.values())
            seconds = self._told - self._start
            told = BuildProgress(self._sessions, len(self._sizes), min(self._bytes, total), total, seconds, finished)
            self._progress(told)


@contextmanager
def _executor(client: Client | None, scheduler: str, workers: int, tally: _Tally) -> Iterator[Executor]:
    """Return what runs the jobs; leaving it early ends them."""
    if client is not None:
        executor = client.get_executor(pure=False)
        try:
            yield executor
        finally:
            executor.shutdown(wait=False)  # cancels what has not been begun; what has is done to its end
        return
    pool: Executor
    if scheduler == "processes":
        from dask.multiprocessing import get_context

        pool = ProcessPoolExecutor(workers, mp_context=get_context(), initializer=_begin_process)
    else:
        tally.counts_bytes = True
        pool = ThreadPoolExecutor(workers, thread_name_prefix="laion-build", initializer=_keep_memory)
    try:
        yield pool
    finally:
        tally.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


def _run(
    jobs: Sequence[_Job], executor: Executor, tally: _Tally
) -> tuple[list[SessionReport], list[tuple[_Job, BaseException]]]:
    """Do the jobs; after a fault that is not of one session alone, no new one is begun."""
    reports: list[SessionReport] = []
    failures: list[tuple[_Job, BaseException]] = []
    waiting = list(jobs)
    while waiting:
        extra = (tally.received,) if tally.counts_bytes else ()
        pending: dict[Future[SessionReport], _Job] = {executor.submit(_build, job, *extra): job for job in waiting}
        waiting = []
        for future in as_completed(pending):
            job = pending[future]
            error = None if future.cancelled() else future.exception()
            if future.cancelled() or isinstance(error, _Stopped):
                continue
            if error is None:
                reports.append(future.result())
                tally.finished(future.result())
            elif isinstance(error, GroupBusyError):
                waiting.append(replace(job, wait=True))
            else:
                failures.append((job, error))
                if not isinstance(error, _OF_ONE_SESSION) or isinstance(error, NotWritableError):
                    tally.stop.set()
                    for other in pending:
                        other.cancel()
        if tally.stop.is_set():
            break
    return reports, failures


_OF_ONE_SESSION = (DataIntegrityError, NotInBucketError, AccessDeniedError, ForeignError)
"""Faults of a session's own sources or place, which say nothing of the others."""


def _failure(failures: Sequence[tuple[_Job, BaseException]]) -> BaseException:
    """Describe what went wrong first, and what became of the rest."""
    (job, error), *others = failures
    text = f"{job.group} was not stored: {error or type(error).__name__}"
    if others:
        text += f" Nor {'were' if len(others) > 1 else 'was'} {', '.join(other.group for other, _ in others)}."
    text += " What is complete can be read; run the same again for the rest."
    if isinstance(error, BrokenProcessPool):
        text += (
            " A worker ended before its time: memory was short, or it was started by a script in which build_store is "
            "not called below `if __name__ == '__main__':`."
        )
    kind = type(error)
    described: BaseException
    if isinstance(error, DataIntegrityError | NotInBucketError | AccessDeniedError | BucketUnreachableError):
        described = kind(text)
    elif isinstance(error, OSError):
        described = kind(text) if error.errno is None else kind(error.errno, text)
    elif isinstance(error, ValueError):
        described = ValueError(text)
    else:
        described = RuntimeError(text)
    described.__cause__ = error
    return described
