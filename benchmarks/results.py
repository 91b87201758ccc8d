"""From betas to results at full size: scaled, averaged, loaded, with noise ceilings, from a store of the whole brain.

    python benchmarks/results.py [--rounds 3] [--quick]

See README.md, in this folder, for what each number means.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence

from _measure import (
    CPU,
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
from _results_contenders import CONTENDERS
from _results_data import BUCKET, FOUR, ROI, STORE
from read_session import BETAS, NIBABEL_NEEDS, SUBJECT, free_memory
from read_session import BUCKET as SESSION_BUCKET

GROUPBY_NEEDS = 18e9
"""Free memory without which xarray's groupby is left out."""

PULLED, PUSHED, LOOP = "open, zscore, average", "open with zscore=, average", "slab loop by hand"
ONE, TWO = "cluster of one process", "cluster of two processes"
ROI_NAME = f"30 sessions, {ROI}"
LOADED, ONE_BY_ONE = "load four sessions", "load four, one by one"
PLANNED = "30 sessions, planned"

WHOLE = (LOOP, PULLED, PUSHED, ONE, TWO, "xarray groupby")
"""Contenders with the same result."""

TOLERANCE = 1e-4
"""By which the mean sizes of results may differ: contenders by hand scale in float32."""


def main() -> None:
    """Measure and print."""
    if become_contender(CONTENDERS):
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each contender (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="one round, without those that take a minute")
    options = parser.parse_args()
    _prepare()
    for session in FOUR:
        for path in (STORE / SUBJECT / session / "betas").rglob("*"):
            if path.is_file():
                warm_up(path)
    machine = environment("numpy", "dask", "distributed", "xarray", "zarr", "nibabel")
    results = _measured(1 if options.quick else options.rounds, options.quick)
    whole, of_roi = results[PUSHED][0], results[ROI_NAME][0]
    summary = (
        f"Four sessions: {results[LOADED][0]['result'] / 1e9:.2f} GB, averaged {whole['result'] / 1e9:.2f} GB; "
        f"ROI {ROI!r}: {of_roi['voxels']:.0f} voxels."
    )
    print(f"\n{machine} {summary}", _table(results), targets(_targets(results)), sep="\n\n")
    _compare({label: runs for label, runs in results.items() if label in WHOLE})


def _prepare() -> None:
    """Write what is not there yet."""
    session, bucket, store = map(os.fspath, (SESSION_BUCKET, BUCKET, STORE))
    if not (SESSION_BUCKET / BETAS).exists():
        print(f"Writing {session}: 1.2 GB, once, in a minute or two.", file=sys.stderr, flush=True)
        run(__file__, Contender("write_session", {"bucket": session}))
    if not BUCKET.exists():
        run(__file__, Contender("write_results_bucket", {"session_bucket": session, "bucket": bucket}))
    if not STORE.exists():
        print(f"Building {store}: 8 GB, once, in five minutes.", file=sys.stderr, flush=True)
    run(__file__, Contender("write_results_store", {"bucket": bucket, "store": store}))


def _measured(rounds: int, quick: bool) -> dict[str, list[Figures]]:
    store = {"store": os.fspath(STORE)}
    small = {
        ROI_NAME: Contender("roi", store | {"roi": ROI, "chunks": "session"}),
        f"{ROI_NAME}, voxel blocks": Contender("roi", store | {"roi": ROI, "chunks": "voxel"}),
        PLANNED: Contender("graph", store | {"pushed": True}),
        f"{PLANNED}, zscore() afterwards": Contender("graph", store | {"pushed": False}),
    }
    large = {
        LOOP: Contender("slab_loop", store),
        PULLED: Contender("package", store | {"pushed": False}),
        PUSHED: Contender("package", store | {"pushed": True}),
        ONE: Contender("cluster", store | {"workers": 1}),
        TWO: Contender("cluster", store | {"workers": 2}),
        LOADED: Contender("load_four", store | {"one_by_one": False}),
        ONE_BY_ONE: Contender("load_four", store | {"one_by_one": True}),
        "imports": Contender("imports", {"store": True}),
        "imports of the loop": Contender("imports", {"building": True}),
    }
    free = free_memory()
    if not quick:
        large["noise ceilings of 30 sessions"] = Contender("ceilings", store, rounds=1)
        if free >= GROUPBY_NEEDS:
            large["xarray groupby"] = Contender("groupby", store, rounds=1)
        if free >= NIBABEL_NEEDS:
            large["nibabel by hand, one session"] = Contender(
                "nibabel_by_hand", {"bucket": os.fspath(BUCKET)}, rounds=1
            )
    run(__file__, small[ROI_NAME])  # what it reads is in the page cache from here on
    return alternate(__file__, small, 3 * rounds) | alternate(__file__, large, rounds)


def _compare(results: Mapping[str, Sequence[Figures]]) -> None:
    """Raise AssertionError unless all have the same result."""
    expected = results[PULLED][0]["check"]
    for label, runs in results.items():
        for one in runs:
            if not math.isclose(one["check"], expected, rel_tol=TOLERANCE):
                raise AssertionError(f"{label}: the mean size of the result is {one['check']}, not {expected}")


def _table(results: Mapping[str, Sequence[Figures]]) -> str:
    rows = []
    for label, runs in results.items():
        one, is_of_loop = runs[0], label == LOOP
        base = typical(results["imports of the loop" if is_of_loop else "imports"], PEAK)
        rows.append(
            [
                label,
                f"{typical(runs, 'open'):.2f}" if "open" in one else "",
                spread(runs, "job") if "job" in one else "",
                f"{ratio(runs, results[LOOP], 'job'):.2f}" if label in WHOLE else "",
                f"{typical(runs, CPU):.1f}",
                f"{one['tasks']:.0f}" if "tasks" in one else "",
                f"{typical(runs, 'worker' if 'worker' in one else PEAK) / MB:.0f}",
                f"{(typical(runs, PEAK) - base - one['result']) / MB:.0f}" if "result" in one else "",
                f"{one['read'] / typical(runs, 'job') / 1e9:.2f}" if "read" in one else "",
            ]
        )
    head = ["contender", "open s", "job s: median (range)", "job / loop", "CPU s", "tasks", "peak MB"]
    return markdown([*head, "peak − imports − result, MB", "GB/s"], rows)


def _targets(results: Mapping[str, Sequence[Figures]]) -> list[Target]:
    loop, pulled, pushed = results[LOOP], results[PULLED], results[PUSHED]
    four, one_by_one = results[LOADED], results[ONE_BY_ONE]
    # `peak` counts all that Python has imported, which is no part of what is loaded.
    held = typical(four, PEAK) - typical(results["imports"], PEAK)
    planned, worker = results[PLANNED], max(typical(results[name], "worker") for name in (ONE, TWO))
    return [
        Target("z-score and average four sessions / loop by hand", ratio(pushed, loop, "job"), 0.8),
        Target("the same by zscore()", ratio(pulled, loop, "job"), 0.8),
        Target("peak", max(typical(pulled, PEAK), typical(pushed, PEAK)) / 1e9, 1.4, unit=" GB"),
        Target("tasks", max(pulled[0]["tasks"], pushed[0]["tasks"]), 400, unit=""),
        Target(
            "30 sessions of an ROI: from opening to image x voxel", typical(results[ROI_NAME], "job"), 0.6, unit=" s"
        ),
        Target("30 sessions: tasks", planned[0]["tasks"], 1000, unit=""),
        Target("30 sessions: build the graph", typical(planned, "job"), 0.2, unit=" s"),
        Target("load four sessions: beyond 1.05x their size", (held - 1.05 * four[0]["result"]) / MB, 150, unit=" MB"),
        Target("load four sessions / one by one", ratio(four, one_by_one, "job"), 1.0),
        Target("one process / two", ratio(results[ONE], results[TWO], "job"), 1.7, at_least=True),
        Target("a worker's peak", worker / 1e9, 2, unit=" GB"),
    ]


if __name__ == "__main__":
    main()
