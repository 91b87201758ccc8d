"""Builds and reads stores at full size, and holds the times, the bytes and the memory against the targets.

    python benchmarks/store.py [--rounds 3] [--brain]
    python benchmarks/store.py --orders     # which order of voxels an ROI costs least in
    python benchmarks/store.py --layouts    # what codec, type, chunks and shards cost

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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
    environment,
    markdown,
    ratio,
    run,
    spread,
    targets,
    typical,
    warm_up,
)
from _store_contenders import BENCH, BUCKET, CONTENDERS, ROI, SCRATCH, SESSIONS
from _store_layouts import compare_layouts, compare_orders
from read_session import BETAS, FAST, SESSION
from read_session import BUCKET as SESSION_BUCKET
from slow_s3 import serve

FOUR = SESSIONS[:4]

MEMORY_LIMIT = 300 * MB

BRAIN_BYTES = 40e9
"""Free disk that ``--brain`` needs."""


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
        print(compare_orders(BUCKET))
        return
    warm_up(BUCKET / BETAS)
    machine = environment("numpy", "isal", "dask", "distributed", "xarray", "zarr", "numcodecs", "fsspec", "s3fs")
    try:
        if options.layouts:
            summary = compare_layouts(__file__, options.rounds)
        else:
            stores = {"whole": whole, "rois": whole if options.brain else BENCH / "store-roi"}
            summary = _hold_promises(options.rounds, options.read_rounds, options.roi, **stores)
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
    print(f"\n{machine} {summary}")


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
    small, requests = _measured_opening(read_rounds, roi, whole=whole, rois=rois)
    large = _measured_building(rounds, buffer, whole)
    first = small[f"30 sessions, {roi}"][0]
    summary = [
        f"Session: {os.path.getsize(path) / MB:.0f} MB packed, {large['build'][0]['stored'] / MB:.0f} MB stored.",
        f"ROI {roi!r}: {first['voxels']:.0f} voxels, {first['result'] / MB:.1f} MB in 30 sessions, from {rois.name};",
        f"{requests:.0f} requests from S3 to open and read it.",
        f"The floor's buffer: {buffer // 1024} KiB. {rounds} rounds, {read_rounds} of reading an ROI.",
    ]
    tables = [_large_table(large), _small_table(small, large), targets(_targets(large, small, roi))]
    return "\n\n".join([" ".join(summary), *tables])


def _measured_opening(rounds: int, roi: str, *, whole: Path, rois: Path) -> tuple[dict[str, list[Figures]], float]:
    """Return the figures of opening stores and of reading an ROI, and the requests of one round from S3."""
    with (
        tempfile.TemporaryDirectory(dir=BENCH) as folder,
        serve(rois, rate=FAST, latency=LATENCY, log=Path(folder, "log")) as server,
    ):
        assert server.log is not None
        # Read by a user without credentials, who says so: a store is no public bucket to the package.
        remote = {"store": server.url, "store_options": server.storage_options | {"anon": True}, "roi": roi}
        local = {"store": os.fspath(rois), "roi": roi}
        of_whole = {"store": os.fspath(whole)}
        reads = {
            f"30 sessions, {roi}": Contender("read_store", local),
            f"30 sessions, {roi}, plain xarray": Contender("plain_xarray", local),
            f"30 sessions, {roi}, S3": Contender("read_store", remote),
            "30 sessions, whole brain, opened": Contender("open_only", of_whole),
            f"30 sessions, {roi} of the whole brain, opened": Contender("open_only", local | of_whole),
        }
        for contender in reads.values():
            run(__file__, contender)  # what it reads is in the page cache from here on
        server.log.write_text("")
        results = alternate(__file__, reads, rounds)
        return results, len(server.log.read_text().splitlines()) / rounds


def _measured_building(rounds: int, buffer: int, whole: Path) -> dict[str, list[Figures]]:
    """Return the figures of building sessions, and of reading one whole."""
    from_bucket = {"bucket": os.fspath(BUCKET)}
    building = from_bucket | {"store": os.fspath(SCRATCH)}
    four = building | {"sessions": FOUR, "scheduler": "processes"}
    contenders = {
        "floor": Contender("floor", {"path": os.fspath(BUCKET / BETAS), "buffer": buffer}),
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
    }
    return alternate(__file__, contenders, rounds)


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


if __name__ == "__main__":
    main()
