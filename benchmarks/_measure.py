"""Runs contenders by turns, each in a process of its own, and tells times, ratios and peak memory as markdown.

On a shared machine the same pass varies by a third within the hour. So contenders alternate (A B C, A B C, …), what is
compared is compared within a round, and of these ratios the median is told.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

__all__ = [
    "CPU",
    "LATENCY",
    "MB",
    "PEAK",
    "Contender",
    "Figures",
    "Target",
    "alternate",
    "become_contender",
    "bytes_read",
    "environment",
    "imports",
    "markdown",
    "own_peak",
    "ratio",
    "run",
    "spread",
    "targets",
    "typical",
    "warm_up",
]

MB = 1e6

LATENCY = 0.03
"""Seconds before each response of a remote bucket."""

_LOCAL_MODULES = ("dask.array", "isal.igzip", "nibabel", "pandas", "xarray", "intake_laion_fmri.reading.betas")
_REMOTE_MODULES = ("s3fs", "aiobotocore.session")
_STORE_MODULES = (
    "distributed",  # Dask imports it when something is first computed, wherever it is installed
    "fsspec.implementations.local",
    "google_crc32c",
    "numcodecs.vlen",
    "numcodecs.zstd",
    "intake_laion_fmri.reading.stored",
)
_BUILDING_MODULES = (
    *_STORE_MODULES,
    "distributed.cfexecutor",
    "filelock",
    "multiprocessing.popen_spawn_posix",
    "xarray.backends.zarr",
    "zarr.codecs",
    "zarr.storage",
    "intake_laion_fmri.building.build",
)

PEAK = "peak"
"""Figure that the harness adds: the largest resident memory of the contender's process, or of the largest of those that
it started and waited for, in bytes."""

CPU = "cpu"
"""Another: the seconds of processor time of that process, in all its threads, imports included."""

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

Figures = dict[str, float]
"""What a contender tells of one run: a name → seconds or bytes."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the job."""

    name: str
    """Key of its function in the script's table of contenders."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of that function; what JSON can hold."""
    rounds: int | None = None
    """At most so many rounds, for what takes a minute and does not need precision."""


@dataclass(frozen=True)
class Target:
    """A promise, and what was measured."""

    what: str
    """The promise in words."""
    measured: float | None
    """None where it was not measured."""
    limit: float
    """The limit, in the same unit."""
    at_least: bool = False
    """Whether the limit is the least, instead of the most, that is allowed."""
    unit: str = "x"
    """Printed after the numbers."""

    @property
    def met(self) -> bool | None:
        """Whether the promise is kept; None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def become_contender(contenders: Mapping[str, Callable[..., Figures]]) -> bool:
    """Run one contender and print its figures, if this process was started for that (see `run`).

    A contender imports what it needs before it looks at the clock: imports are not part of the job.
    """
    if sys.argv[1:2] != ["--contender"]:
        return False
    name, arguments = sys.argv[2:4]
    print(json.dumps(contenders[name](**json.loads(arguments))))
    return True


def run(script: str, contender: Contender) -> Figures:
    """Run a contender of a script once, in a new process.

    The caller's own process must be small: where a process is started by `vfork`, the kernel counts the parent's
    memory as the child's first peak. So nothing heavy is imported, or read whole, in the process that measures.

    Parameters
    ----------
    script : str
        The script's ``__file__``; it calls `become_contender` first.
    contender : Contender
        Which one.

    Returns
    -------
    dict
        Its figures, `PEAK` and `CPU`.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails; its own message is on standard error.
    """
    command = [sys.executable, script, "--contender", contender.name, json.dumps(dict(contender.arguments))]
    # What one round has kept of small files would spare the next ones their reading.
    environment = {**os.environ, "LAION_FMRI_CACHE_LIMIT": "0"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    with process.stdout as stdout:
        output = stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # so that `subprocess` does not wait for it again
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    figures: Figures = json.loads(output.splitlines()[-1])
    return figures | {PEAK: usage.ru_maxrss * _MAXRSS_UNIT, CPU: usage.ru_utime + usage.ru_stime}


def alternate(script: str, contenders: Mapping[str, Contender], rounds: int) -> dict[str, list[Figures]]:
    """Run contenders by turns.

    Parameters
    ----------
    script : str
        As for `run`.
    contenders : mapping
        Label → contender, in the order of their turns.
    rounds : int
        How often each has its turn.

    Returns
    -------
    dict
        Label → its figures, round by round.
    """
    results: dict[str, list[Figures]] = {label: [] for label in contenders}
    for number in range(rounds):
        for label, contender in contenders.items():
            if contender.rounds is None or number < contender.rounds:
                figures = run(script, contender)
                results[label].append(figures)
                told = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
                print(f"round {number + 1} of {rounds}: {label}: {told}", file=sys.stderr, flush=True)
    return results


def imports(remote: bool = False, store: bool = False, building: bool = False) -> Figures:
    """Import all that the package uses for a job, and nothing else: what others' memory is held against.

    Parameters
    ----------
    remote : bool, default False
        Whether something is on S3.
    store : bool, default False
        Whether a store is read.
    building : bool, default False
        Whether a store is built, or read by Zarr itself.
    """
    of_remote = _REMOTE_MODULES if remote else ()
    of_store = _BUILDING_MODULES if building else _STORE_MODULES if store else ()
    for name in (*_LOCAL_MODULES, *of_remote, *of_store):
        importlib.import_module(name)
    return {}


def own_peak() -> float:
    """Return the largest resident memory of this process alone, in bytes: `PEAK` covers those that it started."""
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT)


def bytes_read() -> float | None:
    """Return how many bytes this process has read from files so far; None where the system does not tell."""
    counters = Path("/proc/self/io")
    if not counters.exists():
        return None
    return float(dict(line.split(": ") for line in counters.read_text().splitlines())["rchar"])


def typical(runs: Sequence[Figures], figure: str) -> float:
    """Return the median of a figure."""
    return statistics.median(one[figure] for one in runs)


def ratio(runs: Sequence[Figures], others: Sequence[Figures], figure: str, other: str | None = None) -> float:
    """Return the median over the rounds of one contender's figure over another's (of the same name by default)."""
    pairs = zip(runs, others, strict=False)  # some contenders have fewer rounds
    return statistics.median(one[figure] / two[other or figure] for one, two in pairs)


def spread(runs: Sequence[Figures], figure: str) -> str:
    """Tell a figure's median and range."""
    values = [one[figure] for one in runs]
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; all columns but the first are aligned to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def targets(rows: Iterable[Target]) -> str:
    """Return the table of the promises."""
    answers = {True: "yes", False: "**no**", None: "not measured"}
    return markdown(
        ["target", "limit", "measured", "met"],
        [
            [
                row.what,
                f"{'≥' if row.at_least else '≤'} {row.limit:.4g}{row.unit}",
                "–" if row.measured is None else f"{row.measured:.3g}{row.unit}",
                answers[row.met],
            ]
            for row in rows
        ],
    )


def environment(*packages: str) -> str:
    """Name the machine, its load, Python and the versions of packages, in one line; to be asked before measuring."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    load = os.getloadavg()[0]  # others' work: contenders with two threads lose more by it than the floor does
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    return f"{cores} cores, load {load:.1f} before, {system}; {versions}."


def warm_up(path: Path) -> None:
    """Read a file once, so that it is in the page cache and the disk is not measured."""
    buffer = bytearray(1024 * 1024)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
