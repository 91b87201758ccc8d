"""What `results.py` measures: from the betas of a store to results, each by a process of its own."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import Figures, imports, own_peak
from _results_data import FOUR, write_results_bucket, write_results_store
from _store_contenders import BENCH
from read_session import SUBJECT, write_session

from intake_laion_fmri import layout

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

__all__ = ["CONTENDERS"]

SLAB = 4096
"""Voxels at a time, in the loop by hand."""


def package(store: str, pushed: bool) -> Figures:
    """Scale within sessions and average per image in blocks of voxels; `pushed`: scaled while chunks are read."""
    imports(store=True)
    start = time.perf_counter()
    lazy = _averaged(store, FOUR, zscore="session" if pushed else None, chunks="voxel")
    tasks = _tasks(lazy)
    result = lazy["betas"].laion.load(progress=False).values
    return _told(start, result) | {"tasks": tasks}


def slab_loop(store: str) -> Figures:
    """Do without this package, carefully: slabs of voxels read by Zarr, two threads, sums by `reduceat`, float32."""
    imports(building=True)
    import numpy as np
    import zarr

    start = time.perf_counter()
    sessions: list[Any] = [zarr.open_group(f"{store}/{SUBJECT}/{session}", mode="r") for session in FOUR]
    labels = np.concatenate([session["label"][:] for session in sessions])
    names, codes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = np.argsort(codes, kind="stable")
    first = np.cumsum([0, *counts[:-1]])
    arrays = [session["betas"] for session in sessions]
    n_voxels = arrays[0].shape[1]
    result = np.empty((len(names), n_voxels), dtype=np.float32)

    def average(at: int) -> None:
        scaled = []
        for array in arrays:
            values = np.asarray(array[:, at : at + SLAB])
            values -= values.mean(axis=0)
            values /= values.std(axis=0)
            scaled.append(values)
        sums = np.add.reduceat(np.concatenate(scaled)[order], first, axis=0)
        result[:, at : at + SLAB] = sums / counts[:, None]

    with np.errstate(invalid="ignore"), ThreadPoolExecutor(2) as threads:
        list(threads.map(average, range(0, n_voxels, SLAB)))
    return _told(start, result)


def groupby(store: str) -> Figures:
    """Let xarray group the betas of the Dataset that `open_betas` gives, a block a session."""
    imports(store=True)
    from intake_laion_fmri import open_betas

    start = time.perf_counter()
    betas = open_betas(SUBJECT, session=FOUR, store=store)["betas"]
    betas = betas.reset_coords(drop=True).assign_coords({name: betas[name] for name in ("session", "label")})
    by_session = betas.groupby("session")
    scaled = (by_session - by_session.mean("trial")).groupby("session") / by_session.std("trial")
    lazy = scaled.groupby("label").mean("trial", skipna=False)
    tasks = len(dict(lazy.data.dask))
    return _told(start, lazy.values) | {"tasks": tasks}


def nibabel_by_hand(bucket: str) -> Figures:
    """Read one of the four sessions with nibabel, whole, then mask, scale and average it; three more would follow."""
    import gzip
    import io

    import nibabel
    import numpy as np
    import pandas as pd

    start = time.perf_counter()
    keys = {kind: Path(bucket, layout.key(kind, subject=SUBJECT, session=FOUR[0])) for kind in ("betas", "trials")}
    r2_mean = np.asarray(nibabel.load(Path(bucket, layout.key("r2_mean", subject=SUBJECT))).dataobj)
    mask = np.isfinite(r2_mean) & (r2_mean != 0)
    # As in read_session.py: this reader spares nibabel a second copy.
    with keys["betas"].open("rb") as packed, io.BufferedReader(gzip._GzipReader(packed)) as stream:
        betas = np.asarray(nibabel.Nifti1Image.from_stream(stream).dataobj, dtype=np.float32)[mask].T
    with np.errstate(invalid="ignore"):
        betas = (betas - betas.mean(axis=0)) / betas.std(axis=0)
    labels = pd.read_csv(keys["trials"], sep="\t")["label"]
    result = np.array([betas[rows].mean(axis=0) for rows in labels.groupby(labels).indices.values()])
    return {"job": time.perf_counter() - start, "result": result.nbytes}


def roi(store: str, roi: str, chunks: str) -> Figures:
    """From opening 30 sessions of an ROI to the images' means."""
    imports(store=True)
    from intake_laion_fmri.analysis import average  # noqa: F401  # what ds.laion imports on first use

    start = time.perf_counter()
    lazy = _averaged(store, "all", roi=roi, zscore="session", chunks=chunks)
    opened = time.perf_counter()
    result = lazy["betas"].laion.load(progress=False).values
    return _told(start, result) | {"open": opened - start, "voxels": result.shape[1]}


def graph(store: str, pushed: bool) -> Figures:
    """Plan scaling and averaging of 30 whole-brain sessions, after opening."""
    imports(store=True)
    from intake_laion_fmri import open_betas

    _averaged(store, FOUR[:1])  # what is imported on first use
    start = time.perf_counter()
    dataset = open_betas(SUBJECT, store=store, chunks="voxel", zscore="session" if pushed else None)
    opened = time.perf_counter()
    lazy = (dataset if pushed else dataset.laion.zscore()).laion.average()
    built = time.perf_counter()
    return {
        "open": opened - start,
        "job": built - opened,
        "tasks": _tasks(lazy),
        "blocks": dataset.betas.data.npartitions,
    }


def load_four(store: str, one_by_one: bool) -> Figures:
    """Load four whole-brain sessions, at once or one after the other."""
    imports(store=True)
    from intake_laion_fmri import open_betas

    start = time.perf_counter()
    wanted = [[session] for session in FOUR] if one_by_one else [FOUR]
    loaded = [open_betas(SUBJECT, session=some, store=store)["betas"].laion.load(progress=False) for some in wanted]
    return {"job": time.perf_counter() - start, "result": sum(betas.nbytes for betas in loaded)}


def cluster(store: str, workers: int) -> Figures:
    """Scale and average on worker processes with a thread each, which are there before the clock starts."""
    imports(store=True)
    from distributed import Client, LocalCluster

    with (
        tempfile.TemporaryDirectory(dir=BENCH) as folder,
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0", local_directory=folder
        ) as running,
        Client(running) as client,
    ):
        client.run(imports, store=True)
        start = time.perf_counter()
        lazy = _averaged(store, FOUR, zscore="session", chunks="voxel")
        result = lazy["betas"].laion.load(progress=False).values
        figures = _told(start, result)
        return figures | {"worker": max(client.run(own_peak).values())}


def ceilings(store: str) -> Figures:
    """Recompute the noise ceilings of a subject from all its betas."""
    imports(store=True)
    from intake_laion_fmri import open_betas

    start = time.perf_counter()
    dataset = open_betas(SUBJECT, store=store, chunks="voxel", zscore="session")
    lazy = dataset.laion.noise_ceiling(within=None)
    tasks = _tasks(lazy, "ncsnr")
    result = lazy["ncsnr"].laion.load(progress=False).values
    return _told(start, result) | {"tasks": tasks, "read": dataset["betas"].nbytes}


def _averaged(store: str, session: Any, **options: Any) -> xr.Dataset:
    from intake_laion_fmri import open_betas

    dataset = open_betas(SUBJECT, session=session, store=store, **options)
    if not options.get("zscore"):
        dataset = dataset.laion.zscore()
    averaged: xr.Dataset = dataset.laion.average()
    return averaged


def _tasks(lazy: xr.Dataset, name: str = "betas") -> int:
    """Return the number of tasks that are run."""
    from dask.base import optimize

    (optimized,) = optimize(lazy[name].data)
    return len(dict(optimized.dask))


def _told(start: float, result: NDArray[np.float32]) -> Figures:
    """Return the seconds, the size of a result, and its mean size, which all contenders must share."""
    import numpy as np

    seconds = time.perf_counter() - start
    step = 1024 * 1024
    flat = result.reshape(-1)
    size = sum(float(np.nansum(np.abs(flat[at : at + step]), dtype=np.float64)) for at in range(0, len(flat), step))
    return {"job": seconds, "result": result.nbytes, "check": size / len(flat)}


CONTENDERS = {
    function.__name__: function
    for function in (
        write_session,
        write_results_bucket,
        write_results_store,
        imports,
        package,
        slab_loop,
        groupby,
        nibabel_by_hand,
        roi,
        graph,
        load_four,
        cluster,
        ceilings,
    )
}
