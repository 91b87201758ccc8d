"""Builds and reads stores at full size, and holds the times, the bytes and the memory against the targets.

    python benchmarks/store.py [--rounds 3] [--brain]
    python benchmarks/store.py --orders     # which order of voxels an ROI costs least in
    python benchmarks/store.py --layouts    # what codec, type, chunks and shards cost

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _measure import (
    CPU,
    LATENCY,
    MB,
    PEAK,
    Contender,
    Figures,
    Target,
    alternate,
    become_contender,
    bytes_read,
    environment,
    imports,
    markdown,
    own_peak,
    ratio,
    run,
    spread,
    targets,
    typical,
    warm_up,
)
from open_subject import planned_labels, trial_table
from read_session import BETAS, FAST, SESSION, SUBJECT, best_buffer, floor, package, write_session
from read_session import BUCKET as SESSION_BUCKET
from slow_s3 import serve

from intake_laion_fmri import layout

if TYPE_CHECKING:
    import numpy as np
    import xarray as xr
    from numpy.typing import NDArray

BENCH = SESSION_BUCKET.parent
BUCKET = BENCH / "store-bucket"
SCRATCH = BENCH / "store-scratch"
"""Where contenders build; removed at the end."""

SESSIONS = [f"ses-{number:02d}" for number in range(1, 31)]
FOUR = SESSIONS[:4]

ROI = "hV4"
ROIS = ("FFA1", "MT", "PPA", "hV4", "V3v", "V1v", "EBA")
"""160 to 700 voxels: what is read, and averaged over, to compare layouts."""
PASSES = 5

MEMORY_LIMIT = 300 * MB
MIDDLING = (300, 500)
"""Voxels of the ROIs that a target is about."""

BRAIN_BYTES = 40e9
"""Free disk that ``--brain`` needs."""

DEFAULT = "default"
LAYOUTS: Mapping[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "codec lz4": {"codec": "lz4"},
    "codec zstd": {"codec": "zstd"},
    "bitround 10": {"dtype": "bitround", "keep_bits": 10},
    "bitround 10, codec zstd": {"dtype": "bitround", "keep_bits": 10, "codec": "zstd"},
    "float16": {"dtype": "float16"},
    "chunk_voxels 64": {"chunk_voxels": 64},
    "chunk_voxels 256": {"chunk_voxels": 256},
    "chunk_voxels 512": {"chunk_voxels": 512},
    "shard_voxels 0": {"shard_voxels": 0},
    "shard_voxels 1024": {"shard_voxels": 1024},
    "shard_voxels 16384": {"shard_voxels": 16384},
}
"""Options that differ from the defaults: one at a time, but rounded values also with the codec that they are for."""

WIDTHS = (64, 128, 256, 512)


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
    from intake_laion_fmri.store import build_store
    from intake_laion_fmri.store.listing import read_sessions
    from intake_laion_fmri.store.root import open_store

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
    from intake_laion_fmri.reading.assembly import loaded

    start = time.perf_counter()
    dataset = open_betas(SUBJECT, session=session, roi=roi, store=store, store_options=store_options)
    opened = time.perf_counter()
    read_before = bytes_read()
    begin = time.perf_counter()
    betas = loaded(dataset)["betas"]
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


# --- the promises -----------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print."""
    if become_contender(CONTENDERS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--read-rounds", type=int, default=9, help="of those that read an ROI (default: %(default)s)")
    parser.add_argument("--roi", default=ROI, help="the ROI to read of 30 sessions (default: %(default)s)")
    parser.add_argument(
        "--brain", action="store_true", help="read 30 sessions from a store of the whole brain, 34 GB, not of all ROIs"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--orders", action="store_true", help="only compare orders of voxels")
    choice.add_argument("--layouts", action="store_true", help="only compare codecs, types, chunks and shards")
    options = parser.parse_args()
    whole = BENCH / ("store-brain" if options.brain else "store-linked")
    if options.brain and not whole.exists() and shutil.disk_usage(BENCH.parent).free < BRAIN_BYTES:
        parser.error(f"--brain needs {BRAIN_BYTES / 1e9:.0f} GB on the disk of {BENCH}")

    _write_buckets()
    if options.orders:
        print(_orders(BUCKET))
        return
    warm_up(BUCKET / BETAS)
    machine = environment("numpy", "isal", "dask", "distributed", "xarray", "zarr", "numcodecs", "fsspec", "s3fs")
    try:
        if options.layouts:
            told = _compare_layouts(options.rounds)
        else:
            stores = {"whole": whole, "rois": whole if options.brain else BENCH / "store-roi"}
            told = _hold_promises(options.rounds, options.read_rounds, options.roi, **stores)
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    print(f"\n{machine} {told}")


def _write_buckets() -> None:
    if not (SESSION_BUCKET / BETAS).exists():
        print(f"Writing {SESSION_BUCKET}: 1.2 GB, once, in a minute or two.", file=sys.stderr, flush=True)
        run(__file__, Contender("write_session", {"bucket": os.fspath(SESSION_BUCKET)}))
    if not BUCKET.exists():
        arguments = {"session_bucket": os.fspath(SESSION_BUCKET), "bucket": os.fspath(BUCKET)}
        run(__file__, Contender("write_bucket", arguments))


def _prepare(store: Path, **arguments: Any) -> None:
    """Complete a store; sessions that the package of today would build otherwise are built again."""
    if not store.exists():
        print(f"Building {store}: once, in several minutes.", file=sys.stderr, flush=True)
    places = {"bucket": os.fspath(BUCKET), "store": os.fspath(store)}
    run(__file__, Contender("prepare", places | arguments))


def _hold_promises(rounds: int, read_rounds: int, roi: str, *, whole: Path, rois: Path) -> str:
    _prepare(whole, linked=whole != rois)
    if rois != whole:
        _prepare(rois, roi="all")
    path = os.fspath(BUCKET / BETAS)
    buffer = int(run(__file__, Contender("best_buffer", {"path": path}))["buffer"])

    with (
        tempfile.TemporaryDirectory(dir=BENCH) as folder,
        serve(rois, rate=FAST, latency=LATENCY, log=Path(folder, "log")) as server,
    ):
        # Read by a user without credentials, who says so: a store is no public bucket to the package.
        remote = {"store": server.url, "store_options": server.storage_options | {"anon": True}, "roi": roi}
        local = {"store": os.fspath(rois), "roi": roi}
        reads = {
            f"30 sessions, {roi}": Contender("read_store", local),
            f"30 sessions, {roi}, plain xarray": Contender("plain_xarray", local),
            f"30 sessions, {roi}, S3": Contender("read_store", remote),
            "30 sessions, whole brain, opened": Contender("open_only", {"store": os.fspath(whole)}),
            f"30 sessions, {roi} of the whole brain, opened": Contender(
                "open_only", local | {"store": os.fspath(whole)}
            ),
        }
        for contender in reads.values():
            run(__file__, contender)  # what it reads is in the page cache from here on
        assert server.log is not None
        server.log.write_text("")
        small = alternate(__file__, reads, read_rounds)
        requests = len(server.log.read_text().splitlines()) / read_rounds

    from_bucket = {"bucket": os.fspath(BUCKET)}
    building = from_bucket | {"store": os.fspath(SCRATCH)}
    four = building | {"sessions": FOUR, "scheduler": "processes"}
    large = alternate(
        __file__,
        {
            "floor": Contender("floor", {"path": path, "buffer": buffer}),
            "build": Contender("build", building | {"sessions": [SESSION]}),
            "build four, one worker process": Contender("build", four | {"workers": 1}),
            "build four, two worker processes": Contender("build", four | {"workers": 2}),
            "build four, cluster of two": Contender("cluster_build", building | {"sessions": FOUR}),
            "whole session, stream": Contender("package", from_bucket),
            "whole session, store": Contender("read_store", {"store": os.fspath(whole), "session": SESSION}),
            "imports to stream": Contender("imports"),
            "imports to read": Contender("imports", {"store": True}),
            "imports to read from S3": Contender("imports", {"store": True, "remote": True}),
            "imports to build": Contender("imports", {"building": True}),
        },
        rounds,
    )
    first = small[f"30 sessions, {roi}"][0]
    told = [
        f"Session: {os.path.getsize(path) / MB:.0f} MB packed, {large['build'][0]['stored'] / MB:.0f} MB stored.",
        f"ROI {roi!r}: {first['voxels']:.0f} voxels, {first['result'] / MB:.1f} MB in 30 sessions, from {rois.name};",
        f"{requests:.0f} requests from S3 to open and read it.",
        f"The floor's buffer: {buffer // 1024} KiB. {rounds} rounds, {read_rounds} of reading an ROI.",
    ]
    tables = [_large_table(large), _small_table(small, large), targets(_targets(large, small, roi))]
    return "\n\n".join([" ".join(told), *tables])


_BASES = {
    "floor": "",
    "whole session, stream": "imports to stream",
    "whole session, store": "imports to read",
    "build": "imports to build",
}
"""Contender → the imports that its memory is held against; the empty text for none."""


def _large_table(results: Mapping[str, list[Figures]]) -> str:
    rows = []
    for label, runs in results.items():
        one = runs[0]
        timed = "job" in one
        held = one.get("block", one.get("result"))
        base = _BASES.get(label, "imports to build")
        extra = None if held is None or not base else typical(runs, PEAK) - typical(results[base], PEAK) - held
        rows.append(
            [
                label,
                f"{typical(runs, 'open'):.2f}" if "open" in one else "",
                spread(runs, "job") if timed else "",
                f"{ratio(runs, results['floor'], 'job'):.2f}" if timed else "",
                f"{typical(runs, 'flush'):.2f}" if "flush" in one else "",
                f"{typical(runs, CPU):.1f}",
                f"{typical(runs, PEAK) / MB:.0f}",
                "" if extra is None else f"{extra / MB:.0f}",
                _client(runs, results["imports to build"]) if "client" in one else "",
            ]
        )
    head = ["contender", "open s", "job s: median (range)", "job / floor", "flush s", "CPU s", "peak MB"]
    return markdown([*head, "peak − imports − block, MB", "client's peak (− imports), MB"], rows)


def _client(runs: Sequence[Figures], base: Sequence[Figures]) -> str:
    peak = typical(runs, "client")
    return f"{peak / MB:.0f} ({round((peak - typical(base, PEAK)) / MB)})"


def _small_table(results: Mapping[str, list[Figures]], others: Mapping[str, list[Figures]]) -> str:
    rows = []
    for label, runs in results.items():
        one = runs[0]
        needed = one.get("result", one.get("needed", 0.0))
        chunks = one.get("chunks")
        base = "imports to read from S3" if label.endswith("S3") else "imports to read"
        base = "imports to build" if label.endswith("xarray") else base
        extra = typical(runs, PEAK) - typical(others[base], PEAK) - one.get("result", 0.0)
        rows.append(
            [
                label,
                spread(runs, "open"),
                spread(runs, "job") if "job" in one else "",
                f"{needed / MB:.1f}",
                "" if chunks is None else f"{chunks / MB:.1f}",
                f"{typical(runs, 'read') / MB:.1f}" if "read" in one else "",
                "" if chunks is None else f"{chunks / needed:.2f}",
                f"{typical(runs, CPU):.1f}",
                f"{extra / MB:.0f}",
            ]
        )
    head = ["contender", "open s: median (range)", "read s: median (range)", "needed MB", "chunks MB", "read MB"]
    return markdown([*head, "chunks / needed", "CPU s", "peak − imports − result, MB"], rows)


def _targets(large: Mapping[str, list[Figures]], small: Mapping[str, list[Figures]], roi: str) -> list[Target]:
    built, two = large["build"], large["build four, two worker processes"]
    stream, stored = large["whole session, stream"], large["whole session, store"]
    read, planned = small[f"30 sessions, {roi}"], small[f"30 sessions, {roi} of the whole brain, opened"]
    beyond = typical(built, PEAK) - typical(large["imports to build"], PEAK) - built[0]["block"]
    limit = MEMORY_LIMIT / MB
    return [
        Target("build / floor", ratio(built, large["floor"], "job"), 1.6),
        Target("whole session, open + read: stream / store", ratio(stream, stored, "all"), 5, at_least=True),
        Target(f"30 sessions, {roi}: read", typical(read, "job"), 0.5, unit=" s"),
        Target(f"30 sessions, {roi}: bytes of chunks / needed", read[0]["chunks"] / read[0]["result"], 4),
        Target("the same, of the whole brain", planned[0]["chunks"] / planned[0]["needed"], 4),
        Target(
            "30 sessions, whole brain: open", typical(small["30 sessions, whole brain, opened"], "open"), 0.5, unit=" s"
        ),
        Target(f"30 sessions, {roi}: open", typical(read, "open"), 0.5, unit=" s"),
        Target(
            "build four: one worker process / two",
            ratio(large["build four, one worker process"], two, "job"),
            1.4,
            at_least=True,
        ),
        Target(
            "cluster build: the client's peak",
            typical(large["build four, cluster of two"], "client") / MB,
            limit,
            unit=" MB",
        ),
        Target("build: peak − imports − block", beyond / MB, limit, unit=" MB"),
    ]


# --- layouts ----------------------------------------------------------------------------------------------------------


def _compare_layouts(rounds: int) -> str:
    SCRATCH.mkdir(exist_ok=True)
    store = {"store": os.fspath(SCRATCH)}
    building = store | {"bucket": os.fspath(BUCKET), "sessions": [SESSION]}
    with serve(SCRATCH, rate=FAST, latency=LATENCY) as server:
        remote = {"store": server.url, "store_options": server.storage_options | {"anon": True}}
        contenders = {}
        for name, options in LAYOUTS.items():
            # Each is built where the one before was, and read before the next one is built.
            contenders[f"{name}: build"] = Contender("build", {**building, **options})
            contenders[f"{name}: ROIs"] = Contender("read_rois", store | {"passes": PASSES})
            contenders[f"{name}: ROIs, S3"] = Contender("read_rois", remote | {"passes": 1})
            contenders[f"{name}: whole"] = Contender("read_store", store | {"session": SESSION})
            contenders[f"{name}: one"] = Contender("read_store", store | {"session": SESSION, "roi": ROI})
        results = alternate(__file__, contenders, rounds)
    rows = []
    for name in LAYOUTS:
        built, rois, far, whole, one = (
            results[f"{name}: {what}"] for what in ("build", "ROIs", "ROIs, S3", "whole", "one")
        )
        rows.append(
            [
                name,
                spread(built, "job"),
                f"{ratio(built, results[f'{DEFAULT}: build'], 'job'):.2f}",
                f"{built[0]['stored'] / MB:.0f}",
                f"{built[0]['objects']:.0f}",
                f"{typical(rois, 'job') * 1e3:.1f}",
                f"{typical(far, 'job') * 1e3:.0f}",
                f"{one[0]['chunks'] / one[0]['result']:.2f}",
                spread(whole, "job"),
            ]
        )
    head = ["layout", "build s: median (range)", "build / default", "stored MB", "objects", "ROI ms", "ROI, S3 ms"]
    table = markdown([*head, f"{ROI}: bytes read / needed", "whole session s: median (range)"], rows)
    return f"ROIs: {', '.join(ROIS)}. {rounds} rounds.\n\n{table}"


# --- orders -----------------------------------------------------------------------------------------------------------


def _orders(bucket: Path) -> str:
    """Tell what ROIs cost in several orders of voxels; nothing is timed here, so it is done in this process."""
    import numpy as np

    from intake_laion_fmri import open_rois

    rois = open_rois(SUBJECT, bucket=bucket)
    ijk = np.stack([rois[axis].values for axis in "ijk"]).astype(np.int64)
    inside = rois["in_roi"].values
    sizes = inside.sum(axis=1)
    middling = (sizes >= MIDDLING[0]) & (sizes <= MIDDLING[1])
    rows = []
    for name, order in _candidates(ijk, inside).items():
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        cells = []
        for width in WIDTHS:
            costs = [len(np.unique(place[row] // width)) * width / row.sum() for row in inside]
            of_middling = [cost for cost, is_one in zip(costs, middling, strict=True) if is_one]
            cells.append(f"{statistics.median(costs):.2f} / {max(costs):.2f} / {max(of_middling):.2f}")
        rows.append([name, *cells])
    names = ", ".join(
        f"{name} {size}" for name, size in zip(rois["roi"].values[middling], sizes[middling], strict=True)
    )
    told = (
        f"Bytes of chunks over bytes needed: median / worst of {len(sizes)} ROIs / worst of those with {MIDDLING[0]} "
        f"to {MIDDLING[1]} voxels ({names}); {inside.shape[1]} voxels."
    )
    return f"{told}\n\n{markdown(['stored order', *(f'{width} voxels per chunk' for width in WIDTHS)], rows)}"


def _candidates(ijk: NDArray[np.int64], inside: NDArray[np.bool_]) -> dict[str, NDArray[np.intp]]:
    """Return orders of voxels: name → the place in the input of the first stored voxel, of the second, and so on."""
    import numpy as np

    from intake_laion_fmri.store.order import hilbert_index, stored_order

    hilbert = hilbert_index(ijk)
    first = np.where(inside.any(axis=0), inside.argmax(axis=0), -1)
    _, of_set = np.unique(inside, axis=1, return_inverse=True)
    return {
        "C": np.arange(ijk.shape[1]),
        "Morton": np.argsort(_morton_index(ijk)),
        "Hilbert": np.argsort(hilbert),
        "first ROI, then Hilbert": np.lexsort([hilbert, first]),
        "set of ROIs, then Hilbert": np.lexsort([hilbert, of_set.reshape(-1)]),
        "the package's: set of ROIs, the smallest deciding first, then Hilbert": stored_order(ijk, inside),
    }


def _morton_index(ijk: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places of cells along a Morton curve: their indices' bits by turns."""
    import numpy as np

    place = np.zeros(ijk.shape[1], dtype=np.int64)
    for bit in reversed(range(int(ijk.max()).bit_length())):
        for axis in ijk:
            place = (place << 1) | ((axis >> bit) & 1)
    return place


if __name__ == "__main__":
    main()
