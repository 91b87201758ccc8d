"""Opens a full-size subject lazily: 30 sessions, 40 ROIs, 143³ voxels, and not one byte of betas.

    python benchmarks/open_subject.py [--rounds 5] [--profile]

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from _measure import (
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
    run,
    spread,
    targets,
    typical,
    warm_up,
)
from slow_s3 import serve

from intake_laion_fmri import layout

BUCKET = Path(__file__).parents[1] / ".bench" / "subject"
SUBJECT = "sub-01"
SESSIONS = [f"ses-{number:02d}" for number in range(1, 31)]
LONG_SESSIONS = 24
"""Sessions of 1066 trials; the others have 1044. That uses up all but 16 of the planned presentations."""

IMAGES: Mapping[str, tuple[int, int]] = {
    "shared_12rep_LAION_{}_i0.jpg": (641, 12),
    "shared_12rep_THINGS+_{}_balloon.jpg": (240, 12),
    "shared_4rep_NSD_{}.png": (240, 4),
    "shared_4rep_OOD_shape_{} blob.round.png": (371, 4),
    "unique_LAION_{}_i0_p01.jpg": (4246, 4),
    "unique_THINGS+_{}_air_p01.jpg": (322, 4),
    "unique_THINGS_{}_acorn_p01.jpg": (144, 4),
}
"""Template of labels → number of images and of presentations, as the data set plans them for a subject."""

HELD_OUT = [f"ses-{number}" for number in range(31, 35)]
"""Sessions that are listed, and may not be read."""

READ_KINDS = ("trials", "r2_mean", "noise_ceiling", "roi")
"""What opening a subject reads."""

PLACEHOLDER = b"placeholder: must not be read\n"
"""Neither gzip nor a table: whoever reads it fails."""

TOP = 10
PROTOCOL = "counted"


def planned_labels() -> list[str]:
    """Return the labels of all presentations of a subject, shuffled; always the same."""
    labels = [
        template.format(n) for template, (images, times) in IMAGES.items() for n in range(images) for _ in range(times)
    ]
    random.Random(0).shuffle(labels)
    return labels


def trial_table(session: str, labels: Sequence[str]) -> str:
    """Return the trial table of a session that shows some images."""
    rows = [f"{session}\t{1 + row * 12 // len(labels)}\t{row}\t{label}\n" for row, label in enumerate(labels)]
    return "session\trun\tbeta_index\tlabel\n" + "".join(rows)


def write_subject(bucket: str) -> Figures:
    """Write the subject: full-size maps and trial tables, and placeholders where nothing may be read."""
    from intake_laion_fmri.demo import SCALES, Scale, write_demo

    full = SCALES["session"]
    # One trial: the demo writes maps, mask and ROIs at full size, and the sessions are added here.
    one_trial = Scale(**{**vars(full), "subjects": (SUBJECT,), "sessions": (SESSIONS[0],), "n_trials": 1})
    target = Path(bucket)
    partial = target.with_name(f".{target.name}.partial")
    with warnings.catch_warnings():
        # A single trial has no repetitions, and its session's noise ceilings, which nobody reads, are NaN.
        warnings.simplefilter("ignore", RuntimeWarning)
        write_demo(partial, scale=one_trial)
    first = partial / layout.BETAS.folder(SUBJECT) / SESSIONS[0]
    files = [path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()]
    for session in [*SESSIONS, *HELD_OUT]:
        for name in files:
            path = first.parent / session / name.replace(SESSIONS[0], session)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PLACEHOLDER)
    labels = planned_labels()
    for number, session in enumerate(SESSIONS):
        shown = [labels.pop() for _ in range(1066 if number < LONG_SESSIONS else 1044)]
        trials = partial / layout.key("trials", subject=SUBJECT, session=session)
        trials.write_text(trial_table(session, shown), encoding="utf-8")
    partial.rename(target)
    return {}


def unpack(bucket: str) -> Figures:
    """Read and unpack what opening has to read, and throw it away: what opening cannot do without, in one thread."""
    from isal import igzip

    buffer = memoryview(bytearray(256 * 1024))
    packed = unpacked = 0
    start = time.perf_counter()
    for path in _read_files(Path(bucket)):
        packed += path.stat().st_size
        with path.open("rb", buffering=0) as file:
            stream = igzip.IGzipFile(fileobj=file, mode="rb") if path.suffix == ".gz" else file
            while count := stream.readinto(buffer):
                unpacked += count
    return {"open": time.perf_counter() - start, "packed": packed, "unpacked": unpacked}


def open_subject(bucket: str, storage_options: Mapping[str, Any] | None = None, **selection: Any) -> Figures:
    """Open all sessions; then look at the Dataset and its graph."""
    imports(remote=storage_options is not None)
    from intake_laion_fmri import open_betas

    start = time.perf_counter()
    dataset = open_betas(SUBJECT, bucket=bucket, storage_options=storage_options, **selection)
    opened = time.perf_counter()
    repr(dataset)
    told = time.perf_counter()
    dataset._repr_html_()
    drawn = time.perf_counter()
    return {
        "open": opened - start,
        "repr": told - opened,
        "html": drawn - told,
        "tasks": len(dataset["betas"].data.dask) / len(SESSIONS),
        "trials": dataset.sizes["trial"],
        "voxels": dataset.sizes["voxel"],
        "rois": dataset.sizes["roi"],
    }


def open_again(cache: str, **arguments: Any) -> Figures:
    """Open all sessions with what an earlier process has kept of small files."""
    os.environ["LAION_FMRI_CACHE"] = cache
    del os.environ["LAION_FMRI_CACHE_LIMIT"]
    return open_subject(**arguments)


def count_reads(bucket: str) -> Figures:
    """Open through a file system that counts what is opened."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    from intake_laion_fmri import open_betas

    opened: list[str] = []

    class CountingFileSystem(LocalFileSystem):  # type: ignore[misc]  # fsspec has no types
        protocol = PROTOCOL

        def _open(self, path: str, *args: Any, **kwargs: Any) -> Any:
            opened.append(path)
            return super()._open(path, *args, **kwargs)

    fsspec.register_implementation(PROTOCOL, CountingFileSystem)
    dataset = open_betas(SUBJECT, bucket=f"{PROTOCOL}://{bucket}")
    assert dataset["betas"].data.numblocks[0] == len(SESSIONS)
    return {"reads": len(opened), "betas": _beta_reads(opened)}


def profile(bucket: str) -> Figures:
    """Print where the time of opening goes, on standard error."""
    import cProfile
    import pstats

    imports()
    from intake_laion_fmri import open_betas

    with cProfile.Profile() as profiler:
        open_betas(SUBJECT, bucket=bucket)
    pstats.Stats(profiler, stream=sys.stderr).strip_dirs().sort_stats("cumulative").print_stats(TOP)
    pstats.Stats(profiler, stream=sys.stderr).strip_dirs().sort_stats("tottime").print_stats(TOP)
    return {}


CONTENDERS = {
    function.__name__: function
    for function in (write_subject, unpack, imports, open_subject, open_again, count_reads, profile)
}


def main() -> None:
    """Measure and print."""
    if become_contender(CONTENDERS):
        return
    options = _options()

    bucket = BUCKET.resolve()
    local = {"bucket": os.fspath(bucket)}
    if not bucket.exists():
        print(f"Writing {bucket}: once, in half a minute.", file=sys.stderr, flush=True)
        run(__file__, Contender("write_subject", local))
    for path in _read_files(bucket):
        warm_up(path)
    machine = environment("numpy", "isal", "pandas", "dask", "xarray", "fsspec", "s3fs")
    if options.profile:
        run(__file__, Contender("profile", local))
        return

    results, requests, asked_again = _measured(bucket, options.rounds)
    counted = run(__file__, Contender("count_reads", local))
    others = [path for _, path, *_ in asked_again if "list-type=2" not in path]
    received = sum(int(n_bytes) for *_, n_bytes in asked_again) / options.rounds / 1e3
    files, opened = results["unpacking alone"][0], results["open"][0]
    summary = [
        f"Subject: {opened['trials']:.0f} trials, {opened['voxels']:.0f} voxels, {opened['rois']:.0f} ROIs;",
        f"opening reads {files['packed'] / MB:.1f} MB, {files['unpacked'] / MB:.0f} MB unpacked,",
        f"in {counted['reads']:.0f} reads; {len(requests) // options.rounds} requests from S3,",
        f"{len(asked_again) // options.rounds} and {received:.0f} kB where the small files are kept.",
        f"{options.rounds} rounds.",
    ]
    print(f"\n{machine}", " ".join(summary), sep="\n", end="\n\n")
    head = ["contender", "open s: median (range)", "repr ms", "HTML ms", "peak MB"]
    print(markdown(head, [_row(label, runs) for label, runs in results.items()]), end="\n\n")
    betas = counted["betas"] + _beta_reads(requests)
    promises = [
        Target("open, after the imports", typical(results["open"], "open"), 1.0, unit=" s"),
        Target("tasks in the graph per session", opened["tasks"], 3, unit=""),
        Target("opening again: requests that are no listings", len(others), 0, unit=""),
        Target("betas read while opening (counting file system, S3's log)", betas, 0, unit=""),
    ]
    print(targets(promises))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--profile", action="store_true", help=f"only show where the time goes: top {TOP}")
    return parser.parse_args()


def _measured(bucket: Path, rounds: int) -> tuple[dict[str, list[Figures]], list[str], list[list[str]]]:
    """Return the figures of each contender, the paths requested from S3, and the requests with a cache."""
    local = {"bucket": os.fspath(bucket)}
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(bucket, latency=LATENCY, log=Path(folder, "log")) as server,
        serve(bucket, latency=LATENCY, log=Path(folder, "log of the second")) as second,
    ):
        assert server.log is not None
        assert second.log is not None
        remote = {"bucket": server.url, "storage_options": server.storage_options}
        again = {"bucket": second.url, "storage_options": second.storage_options}
        again["cache"] = os.path.join(folder, "cache")
        run(__file__, Contender("open_again", again))
        second.log.write_text("")
        contenders = {
            "unpacking alone": Contender("unpack", local),
            "open": Contender("open_subject", local),
            "open one category": Contender("open_subject", local | {"roi": "face"}),
            "open, S3 with 30 ms": Contender("open_subject", remote),
            "open again, S3 with 30 ms": Contender("open_again", again),
            "imports": Contender("imports"),
            "imports with s3fs": Contender("imports", {"remote": True}),
        }
        results = alternate(__file__, contenders, rounds)
        requests = [line.split(" ")[1] for line in server.log.read_text().splitlines()]
        return results, requests, [line.split(" ") for line in second.log.read_text().splitlines()]


def _row(label: str, runs: Sequence[Figures]) -> list[str]:
    def milliseconds(figure: str) -> str:
        return f"{typical(runs, figure) * 1e3:.0f}" if figure in runs[0] else ""

    timed = spread(runs, "open") if "open" in runs[0] else ""
    return [label, timed, milliseconds("repr"), milliseconds("html"), f"{typical(runs, PEAK) / MB:.0f}"]


def _beta_reads(paths: Sequence[str]) -> int:
    """Count the betas among paths or requests."""
    kinds = Counter(map(_kind, paths))
    assert kinds["trials"] >= len(SESSIONS), "a counter that misses the trial tables would miss the betas too"
    return kinds["betas"]


def _kind(path: str) -> str | None:
    """Return the kind of object that a path or a request leads to."""
    parsed = layout.parse_key(path[path.find("derivatives/") :]) if "derivatives/" in path else None
    return parsed.kind if parsed else None


def _read_files(bucket: Path) -> list[Path]:
    """List the files that opening reads."""
    found = [path for path in bucket.rglob("*") if _kind(path.as_posix()) in READ_KINDS]
    return sorted(path for path in found if "ses-31" not in path.parts)  # held out


if __name__ == "__main__":
    main()
