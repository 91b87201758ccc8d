"""Building a store from a bucket's streams.

A session is one job, wherever it runs: it reads from the bucket, writes to the store, reads back what it has written,
and only then makes the session visible. Jobs share nothing, so any number of workers may take them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from intake_laion_fmri import layout
from intake_laion_fmri.axes.roles import SHARED
from intake_laion_fmri.axes.voxels import Mask
from intake_laion_fmri.building.plan import begin, checked_options, expect_apart, pending_jobs, subject_plans
from intake_laion_fmri.building.report import BuildProgress, SessionReport
from intake_laion_fmri.building.workers import Tally, described_failure, open_executor, run_jobs
from intake_laion_fmri.errors import MissingFileWarning, check_option
from intake_laion_fmri.reading.arguments import ALL, SessionSelection
from intake_laion_fmri.reading.plans.trials import TrialQuery
from intake_laion_fmri.remote import addresses
from intake_laion_fmri.remote.access import Bucket, open_bucket, open_store
from intake_laion_fmri.running.progress import Switch, shown
from intake_laion_fmri.store.codecs import Codec
from intake_laion_fmri.store.rounding import Dtype
from intake_laion_fmri.store.writing import store_writer

if TYPE_CHECKING:
    from distributed import Client

    from intake_laion_fmri.axes.rois import RoiSelection

Scheduler = Literal["threads", "processes"]
"""Where sessions are built when no client is given."""


def build_store(
    to: str | os.PathLike[str] | Bucket,
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
    progress: Switch[BuildProgress] = None,
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
    mask : {"rsquare", "anatomical", "rsquare_or_nan"}, optional
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
    progress : bool or callable, optional
        Whether to show a bar, as in `load`. A function is called with a `BuildProgress` at the beginning, after each
        session, and in between up to five times a second.

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

    On a local disk a session is written to a folder ``.NAME.building`` beside the store and moved into it. A process
    that is killed leaves the folder; the next build removes it and builds the session again from its start.
    """
    source = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    root = open_store(to, store_options)
    if addresses.is_chain(root.url):
        raise ValueError(
            f"to={root.url!r} is an archive or a cache, in which no store can be built: give a folder or the URL of "
            "an object store, and pack the store afterwards."
        )
    query = TrialQuery.from_arguments(sessions, None, None, SHARED, "both")
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
        raise ValueError(f"workers must be an integer of at least 1, found {workers!r}.")
    check_option("scheduler", scheduler, valid=get_args(Scheduler))
    expect_apart(root, source)
    store_writer(root).expect_own()
    options = checked_options(root, given)
    plans = subject_plans(source, subjects, query, options)
    begin(root, options, plans)
    complete, jobs = pending_jobs(root, plans, options, splits)
    with shown("Building", progress) as report:
        tally = Tally(jobs, report)
        try:
            with open_executor(client, scheduler, workers, tally) as executor:
                reports, failures = run_jobs(jobs, executor, tally)
        finally:  # after Ctrl-C, what its processes were writing
            store_writer(root).tidy()
    every = sorted([*complete, *reports], key=lambda report: (report.subject, layout.session_number(report.session)))
    if failures:
        raise described_failure(failures)
    missing = dict.fromkeys(text for report in reports for text in report.missing)
    if missing:
        warnings.warn(f"Left out: {'; '.join(missing)}.", MissingFileWarning, stacklevel=2)
    return every
