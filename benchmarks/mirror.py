"""Fills a mirror from a server with a known bandwidth, and fills it again when there is nothing to do.

    python benchmarks/mirror.py [--rounds 3]

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
)
from slow_s3 import ServedBucket, serve

from intake_laion_fmri import layout

BENCH = Path(__file__).parents[1] / ".bench"
LARGE, MANY = BENCH / "mirror-large", BENCH / "mirror-many"

SESSIONS, SESSION_BYTES = 12, 64_000_000
"""Betas: noise, which does not pack."""

OBJECTS, SUBJECTS = 5000, 5

LINE = 60e6
"""Bytes per second of all connections."""
CONNECTION = 15e6
"""Bytes per second of a connection, where these set the pace."""
JOBS = 4
CONNECTIONS = 16
"""Most requests under way of four large files."""

ALONE, SHARED = "mirror, 60 MB/s", "mirror, 60 MB/s, 15 MB/s a connection"
AGAIN = "mirror again, 5,000 objects"
"""Contenders that a target is about."""


def write_buckets(large: str, many: str) -> Figures:
    """Write a bucket of a few large files, and one of many small ones."""
    chance = random.Random(0)
    for number in range(1, SESSIONS + 1):
        session = f"ses-{number:02d}"
        betas = gzip.compress(chance.randbytes(SESSION_BYTES), 1)
        _write(Path(large), layout.key("betas", subject="sub-01", session=session), betas)
        _write(Path(large), layout.key("trials", subject="sub-01", session=session), chance.randbytes(50_000))
    for number in range(OBJECTS):
        subject = f"sub-{number % SUBJECTS + 1:02d}"
        key = layout.key("roi", subject=subject, category="face", label=f"area{number}")
        _write(Path(many), key, gzip.compress(b"%d" % number, 1))
    return {}


def plain(folder: str, url: str, endpoint: str) -> Figures:
    """Fetch the same objects with Python's own HTTP client, each in one request, several at a time; keep nothing."""
    import http.client
    from concurrent.futures import ThreadPoolExecutor

    bucket, server = urlsplit(url).netloc, urlsplit(endpoint).netloc
    keys = [path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file()]

    def fetch(key: str) -> int:
        connection = http.client.HTTPConnection(server, timeout=60)
        connection.request("GET", f"/{bucket}/{key}")
        answer, count, buffer = connection.getresponse(), 0, bytearray(1024 * 1024)
        while received := answer.readinto(buffer):
            count += received
        connection.close()
        return count

    start = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        received = sum(pool.map(fetch, keys))
    return {"job": time.perf_counter() - start, "received": received}


def mirror(to: str, bucket: str, storage_options: Mapping[str, Any]) -> Figures:
    """Fill a mirror, as a user would."""
    imports(remote=True)
    from intake_laion_fmri.mirror import mirror_bucket

    start = time.perf_counter()
    report = mirror_bucket(to, bucket=bucket, storage_options=storage_options, jobs=JOBS)
    return {
        "job": time.perf_counter() - start,
        "files": report.n_files,
        "fetched": report.fetched,
        "received": report.bytes_received,
    }


def mirror_anew(to: str, **where: Any) -> Figures:
    """Fill a mirror that is empty."""
    shutil.rmtree(to, ignore_errors=True)
    return mirror(to, **where)


CONTENDERS = {function.__name__: function for function in (write_buckets, plain, mirror, mirror_anew)}


def main() -> None:
    """Measure and print."""
    if become_contender(CONTENDERS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default: %(default)s)")
    options = parser.parse_args()
    if not (LARGE.exists() and MANY.exists()):
        print(f"Writing {LARGE} and {MANY}: once, in half a minute.", file=sys.stderr, flush=True)
        run(__file__, Contender("write_buckets", {"large": os.fspath(LARGE), "many": os.fspath(MANY)}))
    machine = environment("aiobotocore", "aiohttp", "isal", "fsspec", "s3fs")
    size = sum(path.stat().st_size for path in LARGE.rglob("*") if path.is_file())
    results, requests = _measured(options.rounds)
    bandwidth = [{"job": size / LINE}] * options.rounds
    assert all(run["files"] == OBJECTS and not run["fetched"] for run in results[AGAIN])
    assert all(run["received"] == size for label, runs in results.items() if label != AGAIN for run in runs)
    summary = (
        f"{size / MB:.0f} MB in {SESSIONS} large files and as many small ones: {size / LINE:.2f} s at "
        f"{LINE / MB:.0f} MB/s. {options.rounds} rounds."
    )
    print(f"\n{machine}", summary, sep="\n", end="\n\n")
    head = ["contender", "s: median (range)", "over the bandwidth", "CPU s", "peak MB"]
    print(markdown(head, [_row(label, runs, bandwidth) for label, runs in results.items()]), end="\n\n")
    print(targets(_targets(results, requests, bandwidth)))


def _measured(rounds: int) -> tuple[dict[str, list[Figures]], list[str]]:
    """Return the figures of each contender, and the paths requested from the bucket of small objects."""
    with tempfile.TemporaryDirectory(dir=BENCH) as folder:
        log = Path(folder, "log")
        with (
            serve(LARGE, total_rate=LINE, latency=LATENCY) as line,
            serve(LARGE, rate=CONNECTION, total_rate=LINE, latency=LATENCY) as slow,
            serve(MANY, log=log) as many,
        ):
            run(__file__, Contender("mirror", _arguments(folder, "many", many)))
            before = len(log.read_text().splitlines())
            contenders = {
                "http.client, 60 MB/s": Contender("plain", _plain(line)),
                ALONE: Contender("mirror_anew", _arguments(folder, "line", line)),
                SHARED: Contender("mirror_anew", _arguments(folder, "slow", slow)),
                AGAIN: Contender("mirror", _arguments(folder, "many", many)),
            }
            results = alternate(__file__, contenders, rounds)
        return results, [entry.split()[1] for entry in log.read_text().splitlines()[before:]]


def _targets(
    results: Mapping[str, list[Figures]], requests: Sequence[str], bandwidth: Sequence[Figures]
) -> list[Target]:
    listed = sum("list-type=2" in request for request in requests)
    of_alone, of_shared = (ratio(results[label], bandwidth, "job") for label in (ALONE, SHARED))
    again = typical(results[AGAIN], "job")
    return [
        Target("mirroring over the bandwidth, 60 MB/s", of_alone, 1.15),
        Target("the same, 15 MB/s a connection", of_shared, 1.15),
        Target("a run with nothing to do, 5,000 objects, after the imports", again, 5, unit=" s"),
        Target("its requests other than of listings", len(requests) - listed, 0, unit=""),
        Target("its pages of listings", listed / len(bandwidth), OBJECTS / 1000 + 2, unit=""),
    ]


def _plain(server: ServedBucket) -> dict[str, Any]:
    return {"folder": os.fspath(LARGE), "url": server.url, "endpoint": server.endpoint}


def _arguments(folder: str, name: str, server: ServedBucket) -> dict[str, Any]:
    return {"to": os.path.join(folder, name), "bucket": server.url, "storage_options": server.storage_options}


def _row(label: str, runs: Sequence[Figures], bandwidth: Sequence[Figures]) -> list[str]:
    over = "" if label == AGAIN else f"{ratio(runs, bandwidth, 'job'):.3f}"
    return [label, spread(runs, "job"), over, f"{typical(runs, CPU):.1f}", f"{typical(runs, PEAK) / MB:.0f}"]


def _write(bucket: Path, key: str, content: bytes) -> None:
    path = bucket / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


if __name__ == "__main__":
    main()
