"""What `store.py` measures: stores built, opened and read, each by a process of its own."""

from __future__ import annotations

import filecmp
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import MB, Figures, bytes_read, imports, own_peak
from open_subject import planned_labels, trial_table
from read_session import BUCKET as SESSION_BUCKET
from read_session import SESSION, SUBJECT, best_buffer, floor, package, write_session

from intake_laion_fmri import layout

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["BENCH", "BUCKET", "CONTENDERS", "PASSES", "ROI", "ROIS", "SCRATCH", "SESSIONS"]

BENCH = SESSION_BUCKET.parent
BUCKET = BENCH / "store-bucket"
SCRATCH = BENCH / "store-scratch"
"""Where contenders build; removed at the end."""

SESSIONS = [f"ses-{number:02d}" for number in range(1, 31)]

ROI = "hV4"
ROIS = ("FFA1", "MT", "PPA", "hV4", "V3v", "V1v", "EBA")
"""160 to 700 voxels: what is read, and averaged over, to compare layouts."""
PASSES = 5


# --- what is prepared once --------------------------------------------------------------------------------------------


def write_bucket(session_bucket: str, bucket: str) -> Figures:
    """Make a bucket of 30 sessions of one: hard links to its files, and trial tables of their own."""
    source, target = Path(session_bucket), Path(bucket)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    table = layout.key("trials", subject=SUBJECT, session=SESSION)
    n_trials = len((source / table).read_text(encoding="utf-8").splitlines()) - 1
    labels = planned_labels()
    for path in source.rglob("*"):
        key = path.relative_to(source).as_posix()
        if path.is_file() and key != table:
            for session in SESSIONS if SESSION in key else [""]:
                twin = partial / key.replace(SESSION, session)
                twin.parent.mkdir(parents=True, exist_ok=True)
                os.link(path, twin)
    for session in SESSIONS:
        shown = [labels.pop() for _ in range(n_trials)]
        trials = partial / layout.key("trials", subject=SUBJECT, session=session)
        trials.write_text(trial_table(session, shown), encoding="utf-8")
    partial.rename(target)
    return {}


def prepare(bucket: str, store: str, roi: str | None = None, linked: bool = False) -> Figures:
    """Build what a store of 30 sessions lacks.

    Parameters
    ----------
    bucket, store : str
        Folders.
    roi : str, optional
        The voxels to keep.
    linked : bool, default False
        Whether sessions share their betas, which are the same, by hard links: the store takes the room of one session.
        Opening costs what it would, but to read many sessions is to read the same memory again and again.
    """
    from intake_laion_fmri.store import BuildProgress, build_store

    def finished(progress: BuildProgress) -> None:
        if progress.finished is None:
            return
        if linked:
            _share_betas(Path(store, SUBJECT), progress.finished.session)
        told = f"{progress.finished.session}: {progress.sessions} of {progress.n_sessions} in {progress.seconds:.0f} s"
        print(told, file=sys.stderr, flush=True)

    build_store(store, bucket=bucket, roi=roi, scheduler="processes", workers=2, progress=finished)
    os.sync()
    return {}


def _share_betas(subject: Path, session: str) -> None:
    """Let a session's betas be those of another one that is there, after a look at whether they are the same."""
    others = (one for one in SESSIONS if one != session and (subject / one / "zarr.json").exists())
    original = next(others, None)
    if original is None:
        return
    for path in (subject / original / "betas" / "c" / "0").iterdir():
        own = subject / session / "betas" / "c" / "0" / path.name
        if not filecmp.cmp(path, own, shallow=False):
            raise AssertionError(f"{own} differs from {path}, which was built from the same file")
        link = own.with_name(f".{own.name}")
        os.link(path, link)
        link.replace(own)


# --- contenders -------------------------------------------------------------------------------------------------------


def build(bucket: str, store: str, sessions: Sequence[str], **options: Any) -> Figures:
    """Build some sessions into an empty folder."""
    imports(building=True)
    _empty(store)
    return _timed_build(store, bucket=bucket, sessions=sessions, **options)


def cluster_build(bucket: str, store: str, sessions: Sequence[str]) -> Figures:
    """Build some sessions on a cluster of two worker processes, which is there before the clock starts."""
    imports(building=True)
    from distributed import Client, LocalCluster

    _empty(store)
    with (
        tempfile.TemporaryDirectory(dir=BENCH) as folder,
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", local_directory=folder
        ) as cluster,
        Client(cluster) as client,
    ):
        figures = _timed_build(store, bucket=bucket, sessions=sessions, client=client)
        return figures | {"client": own_peak()}


def _empty(store: str) -> None:
    """Remove what an earlier contender has built, and let the disk come to rest."""
    shutil.rmtree(store, ignore_errors=True)
    os.sync()


def _timed_build(store: str, **arguments: Any) -> Figures:
    from intake_laion_fmri.remote.access import open_store
    from intake_laion_fmri.store import build_store
    from intake_laion_fmri.store.listing import read_sessions

    start = time.perf_counter()
    reports = build_store(store, **arguments)
    end = time.perf_counter()
    os.sync()
    flushed = time.perf_counter()
    assert all(report.status == "built" for report in reports), reports
    stored = list(read_sessions(open_store(store), SUBJECT, arguments["sessions"]).values())
    assert len(stored) == len(arguments["sessions"]), "a session that was built is not there"
    return {
        "job": end - start,
        "flush": flushed - end,
        "block": max(one.grid.n_trials * one.grid.n_voxels * 4 for one in stored),
        "stored": sum(one.n_bytes for one in stored),
        "objects": sum(one.grid.n_objects for one in stored),
    }


def read_store(
    store: str,
    session: str = "all",
    roi: str | None = None,
    store_options: Mapping[str, Any] | None = None,
) -> Figures:
    """Open a store and load the betas, as `read()` of a source does."""
    imports(remote=store_options is not None, store=True)
    from intake_laion_fmri import open_betas
    from intake_laion_fmri.reading.loading import load

    start = time.perf_counter()
    dataset = open_betas(SUBJECT, session=session, roi=roi, store=store, store_options=store_options)
    opened = time.perf_counter()
    read_before = bytes_read()
    begin = time.perf_counter()
    betas = load(dataset)["betas"]
    end = time.perf_counter()
    figures = {"open": opened - start, "job": end - begin, "all": opened - start + end - begin, "result": betas.nbytes}
    figures |= {"chunks": _chunk_bytes(dataset), "voxels": betas.sizes["voxel"]}
    if store_options is None:
        figures |= _read_since(read_before, figures["chunks"])
    return figures


def open_only(store: str, roi: str | None = None) -> Figures:
    """Open all sessions lazily."""
    imports(store=True)
    from intake_laion_fmri import open_betas

    start = time.perf_counter()
    dataset = open_betas(SUBJECT, roi=roi, store=store)
    opened = time.perf_counter()
    assert dataset["betas"].data.numblocks[0] == len(SESSIONS)
    needed = dataset["betas"].nbytes
    return {"open": opened - start, "needed": needed, "chunks": _chunk_bytes(dataset)}


def _chunk_bytes(dataset: xr.Dataset) -> int:
    """Return the bytes of the chunks that the graph of a Dataset names."""
    from intake_laion_fmri.reading.blocks import StoreBlock

    betas = dataset["betas"].data
    tasks = [task for task in dict(betas.dask).values() if isinstance(task, tuple)]
    blocks = [one for task in tasks for one in task if isinstance(one, StoreBlock)]
    assert len(blocks) == betas.numblocks[0], "a session without a block of a store"
    return sum(part.stop - part.start for block in blocks for part in block.parts)


def _read_since(before: float | None, expected: float) -> Figures:
    """Return what this process has read from files since, which cannot be much else than what was expected."""
    after = bytes_read()
    if before is None or after is None:
        return {}
    read = after - before
    if not expected <= read <= 1.02 * expected + MB:
        raise AssertionError(f"the graph names chunks of {expected:.0f} bytes, and {read:.0f} were read")
    return {"read": read}


def plain_xarray(store: str, roi: str) -> Figures:
    """Do without this package: open each session with xarray, and choose the ROI's voxels by the coordinate there."""
    imports(building=True)
    import numpy as np
    import xarray as xr

    start = time.perf_counter()
    sessions = [xr.open_zarr(f"{store}/{SUBJECT}/{session}", consolidated=True) for session in SESSIONS]
    places = np.flatnonzero(sessions[0]["in_roi"].sel(roi=roi).values)
    # Without the other coordinates, which concatenating would read and compare.
    chosen = [one["betas"].reset_coords(drop=True).isel(voxel=places) for one in sessions]
    lazy = xr.concat(chosen, "trial")
    opened = time.perf_counter()
    read_before = bytes_read()
    begin = time.perf_counter()
    betas = lazy.compute()
    end = time.perf_counter()
    read_after = bytes_read()
    figures = {"open": opened - start, "job": end - begin, "all": opened - start + end - begin, "result": betas.nbytes}
    if read_before is not None and read_after is not None:
        figures["read"] = read_after - read_before
    return figures


def read_rois(store: str, passes: int, store_options: Mapping[str, Any] | None = None) -> Figures:
    """Read several ROIs of one session, each by itself; the mean time of one."""
    imports(remote=store_options is not None, store=True)
    from intake_laion_fmri import open_betas

    every = [
        open_betas(SUBJECT, session=SESSION, roi=roi, store=store, store_options=store_options)["betas"] for roi in ROIS
    ]
    every[0].compute()  # so that connections and threads are there
    start = time.perf_counter()
    for _ in range(passes):
        for betas in every:
            betas.compute()
    return {"job": (time.perf_counter() - start) / (passes * len(ROIS))}


CONTENDERS = {
    function.__name__: function
    for function in (
        write_session,
        write_bucket,
        prepare,
        floor,
        best_buffer,
        imports,
        package,
        build,
        cluster_build,
        read_store,
        open_only,
        plain_xarray,
        read_rois,
    )
}
