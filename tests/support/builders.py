"""Builds of a store in processes that may be killed, and at which moment of their work.

Run as a script, this is the driver: it imports everything once and forks a process for each build, which costs next to
nothing. A thread does not survive a fork, so the driver itself never builds nor reads, lest zarr or fsspec start
theirs. Everything ends by itself: a build by an alarm, the driver with its input.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import selectors
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forking import Driver, begin, classes_of

__all__ = ["BEGIN", "CHUNK", "CLEAN", "PUBLISH", "READ", "WRITE", "Builders", "Moment", "Outcome"]

READ, BEGIN, WRITE, CHUNK, PUBLISH, CLEAN = "rbwkpc"
"""What a build on a local disk is about to do: open a file of the bucket; write, link or rename above the sessions;
write an object of a session; write one of its betas; rename a session; remove something."""

BUILD_SECONDS = 60
"""After so long a build is ended by an alarm."""


@dataclass(frozen=True)
class Moment:
    """A moment of a build on a local disk, on which a signal is sent to it."""

    kind: str
    """One of `READ` to `CLEAN`."""
    number: int = 1
    """Which of these, from 1 on."""
    published: int = 0
    """How many renames of sessions have to come before; counting begins there."""
    delay: float = 0.0
    """Seconds to wait from there on."""
    exact: bool = False
    """Whether the process sends it to itself on the spot, before the next system call; otherwise it comes from outside,
    as soon as may be."""
    signal: str = "SIGKILL"
    """Name of the signal."""


@dataclass(frozen=True)
class Outcome:
    """What became of a build."""

    killed: bool
    """Whether a SIGKILL ended it."""
    error: tuple[str, ...] = ()
    """Class of what it raised, and the classes above."""
    text: str = ""
    """The message."""
    reports: tuple[tuple[str, str, str], ...] = ()
    """Subject, session and status of each session."""
    events: Mapping[str, int] = field(default_factory=Counter)
    """How often it did what."""


class Builders:
    """The driver, seen from the tests."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @classmethod
    @contextmanager
    def running(cls, errors: Path, *, cache: Path) -> Iterator[Builders]:
        """Start the driver; what it complains of goes to a file."""
        own = {"LAION_FMRI_CACHE": str(cache)}
        with Driver.running(__file__, seconds=2 * BUILD_SECONDS, errors=errors, own=own) as driver:
            yield cls(driver)

    def build(self, to: object, moment: Moment | None = None, *, max_bytes: int | None = None, **given: Any) -> Outcome:
        """Build in a process of its own, at most until some moment; `max_bytes` is the largest file it may write."""
        self.start([{"to": str(to), **given}], [moment], max_bytes=max_bytes)
        (outcome,) = self.outcomes()
        return outcome

    def start(
        self,
        builds: Sequence[Mapping[str, Any]],
        moments: Sequence[Moment | None] | None = None,
        *,
        max_bytes: int | None = None,
    ) -> list[int]:
        """Start builds in processes of their own, all at once; return these."""
        asked = [asdict(moment) if moment else None for moment in moments or [None] * len(builds)]
        self._driver.ask({"builds": builds, "moments": asked, "max_bytes": max_bytes})
        pids: list[int] = self._driver.answer()
        return pids

    def outcomes(self) -> list[Outcome]:
        """Wait for the builds that were started."""
        every = self._driver.answer()
        return [
            Outcome(
                **{
                    **one,
                    "error": tuple(one["error"]),
                    "reports": tuple(map(tuple, one["reports"])),
                    "events": Counter(one["events"]),
                }
            )
            for one in every
        ]


_LOADED = (
    "dask.array",
    "distributed",
    "filelock",
    "google_crc32c",
    "intake_laion_fmri.building.build",
    "isal.igzip",
    "nibabel",
    "numcodecs.blosc",
    "numcodecs.vlen",
    "numcodecs.zstd",
    "pandas",
    "s3fs",
    "xarray.backends.zarr",
    "zarr.codecs",
    "zarr.storage",
)
"""What a build imports before it is done."""


# --- the driver -------------------------------------------------------------------------------------------------------


def main() -> None:
    """Fork builds as they are asked for."""
    for name in _LOADED:
        importlib.import_module(name)
    sys.modules["xarray"].backends.list_engines()  # searched for once in a process
    gc.freeze()  # what is collected no more is copied no more into each process
    for line in sys.stdin:
        assert threading.active_count() == 1
        command = json.loads(line)
        go_out, go_in = os.pipe()
        forked = [
            _Forked(build, moment and Moment(**moment), command["max_bytes"], (go_out, go_in))
            for build, moment in zip(command["builds"], command["moments"], strict=True)
        ]
        print(json.dumps([one.pid for one in forked]), flush=True)
        os.close(go_out)
        os.close(go_in)  # they are waiting for the end of this pipe
        _follow(forked)
        print(json.dumps([one.outcome() for one in forked]), flush=True)


class _Forked:
    """A build in a process of its own."""

    def __init__(
        self, build: dict[str, Any], moment: Moment | None, max_bytes: int | None, go: tuple[int, int]
    ) -> None:
        self._moment = moment
        self._events: Counter[str] = Counter()
        self._since = 0
        """Those that count for the moment."""
        self.events_out, events_in = os.pipe()
        self._result_out, result_in = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                _work(build, moment, max_bytes, go, events_in, result_in)
            finally:
                os._exit(1)
        os.close(events_in)
        os.close(result_in)

    def follow(self) -> bool:
        """Take note of some events, and send the signal when it is time; False where there will be no more."""
        moment = self._moment
        kinds = os.read(self.events_out, 4096).decode()
        for kind in kinds:
            if moment and not moment.exact and kind == moment.kind and self._events[PUBLISH] >= moment.published:
                self._since += 1
                if self._since == moment.number:
                    time.sleep(moment.delay)
                    os.kill(self.pid, signal.Signals[moment.signal])
            self._events[kind] += 1
        return bool(kinds)

    def outcome(self) -> dict[str, Any]:
        """Wait for the end."""
        _, status = os.waitpid(self.pid, 0)
        with open(self._result_out, encoding="utf-8") as file:
            told = file.read()
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        result = {"killed": killed, "error": (), "text": "", "reports": (), "events": self._events}
        if not killed:
            result |= json.loads(told) if told else {"error": ["no result"], "text": f"it ended with status {status}"}
        return result


def _follow(forked: Sequence[_Forked]) -> None:
    """Follow builds to their end."""
    with selectors.DefaultSelector() as selector:
        for one in forked:
            selector.register(one.events_out, selectors.EVENT_READ, one)
        while selector.get_map():
            for key, _ in selector.select():
                if not key.data.follow():
                    selector.unregister(key.fileobj)
                    os.close(key.fd)


def _work(
    build: dict[str, Any],
    moment: Moment | None,
    max_bytes: int | None,
    go: tuple[int, int],
    events: int,
    result: int,
) -> None:
    """Build, in the forked process, and tell of it."""
    from intake_laion_fmri.store import build_store

    begin(BUILD_SECONDS, max_bytes)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.close(go[1])
    os.read(go[0], 1)
    sys.addaudithook(_Watch(build, moment, events))
    try:
        reports = build_store(**build)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the test looks at it)
        told = {"error": classes_of(error), "text": str(error)}
    else:
        told = {"reports": [(one.subject, one.session, one.status) for one in reports]}
    os.write(result, json.dumps(told).encode())
    os._exit(0)


class _Watch:
    """An audit hook that tells what a build on a local disk is about to do."""

    def __init__(self, build: Mapping[str, Any], moment: Moment | None, pipe: int) -> None:
        store = Path(build["to"])
        self._store = f"{store}/"
        self._workshop = f"{store.parent}/.{store.name}.building/"
        self._bucket = f"{build['bucket']}/"  # the URL of a server is no such path, and nothing is told
        self._moment = moment if moment and moment.exact else None
        self._pipe = pipe
        self._published = self._since = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        kind = self._kind(event, arguments)
        if not kind:
            return
        os.write(self._pipe, kind.encode())
        if self._moment and self._published >= self._moment.published and kind == self._moment.kind:
            self._since += 1
            if self._since == self._moment.number:
                os.kill(os.getpid(), signal.Signals[self._moment.signal])
        self._published += kind == PUBLISH

    def _kind(self, event: str, arguments: tuple[Any, ...]) -> str:
        if event == "ctypes.dlsym" and arguments[1] == "renameat2":
            return PUBLISH
        if event not in _WATCHED or not isinstance(arguments[0], str | bytes | os.PathLike):
            return ""
        path = os.fsdecode(arguments[0])
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return READ if path.startswith(self._bucket) else ""
        if not f"{path}/".startswith((self._workshop, self._store)) or (path.endswith(".lock") and event == "open"):
            return ""
        if event == "open":
            of_session = path.startswith(self._workshop) and "/" in path.removeprefix(self._workshop)
            return (CHUNK if "/betas/c/" in path else WRITE) if of_session else BEGIN
        if event in ("os.rename", "os.link"):
            return BEGIN if os.fsdecode(arguments[1]).endswith("/zarr.json") else PUBLISH
        return CLEAN


_WATCHED = {"open", "os.rename", "os.link", "os.remove", "os.rmdir", "shutil.rmtree"}


if __name__ == "__main__":
    main()
