"""Reads one full-size session in every way that matters, and holds the times and the memory against the targets.

    python benchmarks/read_session.py [--rounds 3] [--bucket FOLDER]

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Mapping
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
    imports,
    markdown,
    ratio,
    run,
    spread,
    targets,
    typical,
    warm_up,
)
from slow_s3 import serve

from intake_laion_fmri import layout

BUCKET = Path(__file__).parents[1] / ".bench" / "session"
SUBJECT, SESSION = "sub-01", "ses-01"
BETAS = layout.key("betas", subject=SUBJECT, session=SESSION)

FLOOR_BUFFERS = [64 * 1024 << doubling for doubling in range(5)]
FLOOR_SAMPLE_BYTES = 1.5e9
"""Unpacked with each buffer size in order to choose one."""

FAST, SLOW = 100e6, 30e6
"""Bytes per second and connection of the two networks."""

NIBABEL_NEEDS = 16e9
"""Free memory without which the contender that holds the whole session is left out."""

MEMORY_LIMIT = 150 * MB


def write_session(bucket: str) -> Figures:
    """Write the demo bucket."""
    from intake_laion_fmri.demo import write_demo

    write_demo(bucket, scale="session")
    return {}


def floor(path: str, buffer: int, limit: float = math.inf) -> Figures:
    """Unpack a file and throw the bytes away: no reader can be faster in one thread."""
    from isal import igzip

    target = memoryview(bytearray(buffer))
    done, start, used = 0, time.perf_counter(), time.thread_time()
    with open(path, "rb", buffering=0) as file, igzip.IGzipFile(fileobj=file, mode="rb") as stream:
        while done < limit and (count := stream.readinto(target)):
            done += count
        return {"job": time.perf_counter() - start, "thread": time.thread_time() - used, "unpacked": done}


def best_buffer(path: str) -> Figures:
    """Find the size of buffer with which the floor is lowest."""
    fastest: dict[int, float] = {}
    for _ in range(3):
        for size in FLOOR_BUFFERS:
            fastest[size] = min(fastest.get(size, math.inf), floor(path, size, FLOOR_SAMPLE_BYTES)["job"])
    return {"buffer": min(fastest, key=fastest.__getitem__)}


def package(bucket: str, roi: str | None = None, storage_options: Mapping[str, Any] | None = None) -> Figures:
    """Open a session and load it, as `read()` of a source does."""
    imports(remote=storage_options is not None)
    from intake_laion_fmri import open_betas
    from intake_laion_fmri.reading.loading import load

    start = time.perf_counter()
    dataset = open_betas(SUBJECT, session=SESSION, roi=roi, bucket=bucket, storage_options=storage_options)
    opened = time.perf_counter()
    betas = load(dataset)["betas"]
    end = time.perf_counter()
    return {
        "open": opened - start,
        "job": end - opened,
        "all": end - start,
        "result": betas.nbytes,
        "voxels": betas.sizes["voxel"],
        "trials": betas.sizes["trial"],
    }


def whole_nibabel(bucket: str) -> Figures:
    """Load the whole file and mask it, as the data set's own package does.

    Left to itself, nibabel unpacks into one copy of the session and reads that into a second one, 24.4 GB, because
    `gzip.GzipFile` has no `readinto` of its own. The reader below it has one: that spares nibabel the second copy.
    """
    import gzip
    import io

    import nibabel
    import numpy as np

    r2_mean = np.asarray(nibabel.load(f"{bucket}/{layout.key('r2_mean', subject=SUBJECT)}").dataobj)
    mask = np.isfinite(r2_mean) & (r2_mean > 0)
    start = time.perf_counter()
    with open(f"{bucket}/{BETAS}", "rb") as packed, io.BufferedReader(gzip._GzipReader(packed)) as stream:
        values = np.asarray(nibabel.Nifti1Image.from_stream(stream).dataobj, dtype=np.float32)[mask].T
    return {"job": time.perf_counter() - start, "result": values.nbytes}


CONTENDERS = {
    function.__name__: function for function in (write_session, floor, best_buffer, imports, package, whole_nibabel)
}


def main() -> None:
    """Measure and print."""
    if become_contender(CONTENDERS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bucket", type=Path, default=BUCKET, help="session-scale demo bucket (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--nibabel-rounds", type=int, default=1, help="turns of nibabel: a minute, 13 GB (default: 1)")
    parser.add_argument("--roi", default="face", help="the ROI to read (default: %(default)s)")
    options = parser.parse_args()

    bucket: Path = options.bucket.resolve()
    if not (bucket / BETAS).exists():
        print(f"Writing {bucket}: 1.2 GB, once, in a minute or two.", file=sys.stderr, flush=True)
        run(__file__, Contender("write_session", {"bucket": os.fspath(bucket)}))
    warm_up(bucket / BETAS)
    machine = environment("numpy", "isal", "nibabel", "dask", "xarray", "fsspec", "s3fs")
    path = os.fspath(bucket / BETAS)
    size = os.path.getsize(path)
    buffer = int(run(__file__, Contender("best_buffer", {"path": path}))["buffer"])
    results = _measured(bucket, options, buffer)
    whole, roi, unpacked = results["whole brain"][0], results["one ROI"][0], results["floor"][0]["unpacked"]
    summary = [
        f"Session: {size / MB:.0f} MB packed, {unpacked / MB:.0f} MB unpacked, {whole['trials']:.0f} trials;",
        f"whole brain {whole['voxels']:.0f} voxels, ROI {options.roi!r} {roi['voxels']:.0f}.",
        f"The floor's buffer: {buffer // 1024} KiB. {options.rounds} rounds.",
    ]
    print(f"\n{machine}", " ".join(summary), sep="\n", end="\n\n")
    print(_table(results), end="\n\n")
    print(targets(_targets(results, size)))


def _measured(bucket: Path, options: argparse.Namespace, buffer: int) -> dict[str, list[Figures]]:
    """Return the figures of each contender."""
    nibabel_rounds = options.nibabel_rounds if free_memory() >= NIBABEL_NEEDS else 0
    with (
        serve(bucket, rate=FAST, latency=LATENCY) as fast,
        serve(bucket, rate=SLOW, latency=LATENCY) as slow,
    ):
        local = {"bucket": os.fspath(bucket)}
        via_fast = {"bucket": fast.url, "storage_options": fast.storage_options}
        via_slow = {"bucket": slow.url, "storage_options": slow.storage_options}
        return alternate(
            __file__,
            {
                "floor": Contender("floor", {"path": os.fspath(bucket / BETAS), "buffer": buffer}),
                "whole brain": Contender("package", local),
                "one ROI": Contender("package", local | {"roi": options.roi}),
                "one ROI, 100 MB/s": Contender("package", via_fast | {"roi": options.roi}),
                "one ROI, 30 MB/s": Contender("package", via_slow | {"roi": options.roi}),
                "imports": Contender("imports"),
                "imports with s3fs": Contender("imports", {"remote": True}),
                "nibabel, whole brain": Contender("whole_nibabel", local, rounds=nibabel_rounds),
            },
            options.rounds,
        )


def _table(results: Mapping[str, list[Figures]]) -> str:
    rows = []
    for label, runs in results.items():
        if not runs:
            rows.append([label, "", "left out: no round, or too little memory", *[""] * 5])
            continue
        base = _imports_of(label, results)
        extra = typical(runs, PEAK) - base - runs[0].get("result", 0)
        timed = "job" in runs[0]
        rows.append(
            [
                label,
                f"{typical(runs, 'open'):.2f}" if "open" in runs[0] else "",
                spread(runs, "job") if timed else "",
                f"{ratio(runs, results['floor'], 'job'):.2f}" if timed else "",
                f"{ratio(runs, results['floor'], 'all', 'job'):.2f}" if "all" in runs[0] else "",
                f"{typical(runs, CPU):.1f}",
                f"{typical(runs, PEAK) / MB:.0f}",
                f"{extra / MB:.0f}" if "result" in runs[0] else "",
            ]
        )
    head = ["contender", "open s", "read s: median (range)", "read / floor", "open + read / floor", "CPU s", "peak MB"]
    return markdown([*head, "peak − imports − result, MB"], rows)


def _targets(results: Mapping[str, list[Figures]], size: int) -> list[Target]:
    base, whole, roi = results["floor"], results["whole brain"], results["one ROI"]
    nibabel, fast, slow = results["nibabel, whole brain"], results["one ROI, 100 MB/s"], results["one ROI, 30 MB/s"]
    speed_up = size / SLOW / typical(slow, "job")

    def memory(label: str) -> float:
        runs = results[label]
        return (typical(runs, PEAK) - _imports_of(label, results) - runs[0]["result"]) / MB

    limit = MEMORY_LIMIT / MB
    return [
        Target("whole brain / floor", ratio(whole, base, "job"), 1.25),
        Target("whole brain, open + read / floor", ratio(whole, base, "all", "job"), 1.25),
        Target("one ROI / floor", ratio(roi, base, "job"), 1.15),
        Target("one ROI, open + read / floor", ratio(roi, base, "all", "job"), 1.15),
        Target("nibabel / whole brain", ratio(nibabel, whole, "job") if nibabel else None, 5, at_least=True),
        Target("whole brain: peak − imports − result", memory("whole brain"), limit, unit=" MB"),
        Target("one ROI: peak − imports − result", memory("one ROI"), limit, unit=" MB"),
        Target("one ROI, 100 MB/s and 30 ms / local", ratio(fast, roi, "job"), 1.2),
        Target("one ROI, 30 MB/s and 30 ms: one connection / this", speed_up, 2, at_least=True),
    ]


def _imports_of(label: str, results: Mapping[str, list[Figures]]) -> float:
    return typical(results["imports with s3fs" if "MB/s" in label else "imports"], PEAK)


def free_memory() -> float:
    """Return the bytes that can be had without swapping; no limit where the system does not tell."""
    meminfo = Path("/proc/meminfo")
    match = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    return float(match[1]) * 1024 if match else math.inf


if __name__ == "__main__":
    main()
