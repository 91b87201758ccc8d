"""Fills mirrors in processes that may be killed.

Run as a script, this is their driver; see `forking`.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forking import Driver, begin, classes_of

__all__ = ["Filling", "Mirrorers", "serve"]

RUN_SECONDS = 60
"""After so long a run is ended by an alarm."""


@dataclass(frozen=True)
class Filling:
    """What became of a run."""

    signal: int
    """The signal that ended it, or 0."""
    error: tuple[str, ...] = ()
    """Class of what it raised, and the classes above."""
    text: str = ""
    """The message."""
    errno: int | None = None
    """Of an OSError."""
    report: Mapping[str, int] | None = None
    """Numbers of its report."""


class Mirrorers:
    """The driver, seen from the tests."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @classmethod
    @contextmanager
    def running(cls, errors: Path, *, cache: Path) -> Iterator[Mirrorers]:
        """Start the driver; what it complains of goes to a file."""
        own = {"LAION_FMRI_CACHE": str(cache), "LAION_FMRI_SPLITS": str(cache / "no-splits")}  # nor the network's
        with Driver.running(__file__, seconds=2 * RUN_SECONDS, errors=errors, own=own) as driver:
            yield cls(driver)

    def fill(self, to: Path, *, max_bytes: int | None = None, network: str = "", **given: Any) -> Filling:
        """Fill a mirror; `max_bytes` is the largest file it may write."""
        self.start([{"to": str(to), **given}], max_bytes=max_bytes, network=network)
        (outcome,) = self.outcomes()
        return outcome

    def start(self, runs: Sequence[Mapping[str, Any]], *, max_bytes: int | None = None, network: str = "") -> list[int]:
        """Start runs in processes of their own, all at once; return these."""
        self._driver.ask({"runs": runs, "max_bytes": max_bytes, "network": network})
        pids: list[int] = self._driver.answer()
        return pids

    def outcomes(self) -> list[Filling]:
        """Wait for the runs that were started."""
        return [Filling(**{**one, "error": tuple(one["error"])}) for one in self._driver.answer()]


def serve(folder: Path, **given: Any) -> Any:
    """Serve a folder as a bucket, by the server of the benchmarks: as fast as asked, and with a log of requests."""
    if "slow_s3" not in sys.modules:
        path = Path(__file__).parents[2] / "benchmarks" / "slow_s3.py"
        spec = importlib.util.spec_from_file_location("slow_s3", path)
        sys.modules["slow_s3"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["slow_s3"].serve(folder, **given)


# --- the driver -------------------------------------------------------------------------------------------------------

_LOADED = ("intake_laion_fmri.mirror.run", "s3fs", "filelock", "isal.igzip", "isal.isal_zlib", "pandas", "xarray")
"""What a run imports before it is done."""


def main() -> None:
    """Fork runs as they are asked for."""
    for name in _LOADED:
        importlib.import_module(name)
    gc.freeze()  # what is collected no more is copied no more into each process
    for line in sys.stdin:
        assert threading.active_count() == 1
        command = json.loads(line)
        forked = [_fork(run, command["max_bytes"], command["network"]) for run in command["runs"]]
        print(json.dumps([pid for pid, _ in forked]), flush=True)
        print(json.dumps([_outcome(*one) for one in forked]), flush=True)


def _fork(run: dict[str, Any], max_bytes: int | None, network: str) -> tuple[int, int]:
    out, into = os.pipe()
    pid = os.fork()
    if pid:
        os.close(into)
        return pid, out
    try:
        begin(RUN_SECONDS, max_bytes)
        if network:
            os.environ["LAION_FMRI_NETWORK"] = network
        os.write(into, json.dumps(_fill(**run)).encode())
    finally:
        os._exit(0)


def _fill(to: str, jobs: int = 2, sizes: Sequence[int] = (), **choice: Any) -> dict[str, Any]:
    from intake_laion_fmri.mirror import fill_mirror, plan_mirror

    own = dict(zip(("piece_bytes", "request_bytes"), sizes, strict=True)) if sizes else {}
    try:
        report = fill_mirror(plan_mirror(to, **choice), jobs=jobs, **own)
    except BaseException as error:  # noqa: BLE001  (told to the test, whatever it is)
        return {"error": classes_of(error), "text": str(error), "errno": getattr(error, "errno", None)}
    names = ("n_files", "fetched", "adopted", "replaced", "bytes_received")
    return {"report": {name: getattr(report, name) for name in names}}


def _outcome(pid: int, out: int) -> dict[str, Any]:
    with open(out, encoding="utf-8") as file:
        told = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return {"signal": os.WTERMSIG(status), "error": ()}
    found = json.loads(told) if told else {"error": ["no result"], "text": f"it ended with status {status}"}
    return {"signal": 0, "error": (), **found}


if __name__ == "__main__":
    main()
