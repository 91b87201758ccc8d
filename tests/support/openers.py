"""Processes that open data as users do, each of them new, and what becomes of them.

Run as a script, this is the driver: it imports everything once and forks a process for each job that comes over a
socket, which costs next to nothing. A thread does not survive a fork, so the driver itself never opens anything, lest
fsspec start its own. A job ends like any program, by itself, or by an alarm: that is a hang.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import hashlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forking import Driver, begin, classes_of, environment

__all__ = ["JOB_SECONDS", "Job", "Opener", "Openers", "Outcome", "digest", "left_behind"]

JOB_SECONDS = 40
"""After so long an alarm ends a job that was not given another time."""


@dataclass(frozen=True)
class Job:
    """What a process does."""

    bucket: str
    """URL or folder."""
    folder: str
    """A folder of its own: the cache is in `cache`, temporary files are in `tmp`, unless `environment` says else."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """``storage_options``."""
    selection: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `open_betas`, and the subject."""
    network: Mapping[str, Any] = field(default_factory=dict)
    """Given to ``set_network``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables."""
    compute: bool = True
    """Whether to compute the betas; otherwise all else is compared."""
    times: int = 1
    """How often to open, one after the other."""
    threads: int = 1
    """How many threads do so, all at once."""
    seconds: int = JOB_SECONDS
    """After so long an alarm ends it."""
    powerless: bool = False
    """Whether root gives up its powers first, so that permissions stop it as they stop everybody."""
    swallow_dns: bool = False
    """Whether to take the port of the name server first, and never answer there."""


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    digests: tuple[str, ...] = ()
    """Of each Dataset that was opened."""
    errors: tuple[tuple[tuple[str, ...], str], ...] = ()
    """Of each opening that failed: the class of what it raised with the classes above, and its text."""
    seconds: float = 0.0
    """From the beginning of the work to its end."""
    warnings: tuple[str, ...] = ()
    """What it warned of."""
    ended: bool = False
    """Whether the process ended by itself, its threads included."""
    seconds_to_end: float = 0.0
    """How long that took after the work."""
    noise: str = ""
    """What was written to standard error."""
    cpu: float = 0.0
    """Seconds of processor time."""

    @property
    def error(self) -> tuple[tuple[str, ...], str]:
        """The only error."""
        (only,) = self.errors
        return only


class Opener:
    """A job under way."""

    def __init__(self, job: Job, connection: socket.socket) -> None:
        self._job = job
        self._file = connection.makefile("rw", encoding="utf-8")
        connection.settimeout(job.seconds + 30)
        connection.close()  # when the file is
        self._file.write(json.dumps(dataclasses.asdict(job)) + "\n")
        self._file.flush()
        self.pid = int(self._file.readline())
        """Number of its process."""

    def outcome(self) -> Outcome:
        """Wait for the end, of which the alarm is the latest."""
        with self._file as file:
            try:
                told = file.readline()
                start = time.monotonic()
                ended = file.readline() == "end\n"
            except ConnectionError:  # it was killed
                told, ended, start = "", False, time.monotonic()
        noise = Path(self._job.folder, "noise")
        heard = noise.read_text(encoding="utf-8", errors="replace") if noise.exists() else ""
        noise.unlink(missing_ok=True)
        if not told:
            return Outcome(noise=heard)
        result = json.loads(told)
        return Outcome(
            tuple(result["digests"]),
            tuple((tuple(classes), text) for classes, text in result["errors"]),
            result["seconds"],
            tuple(result["warnings"]),
            ended,
            time.monotonic() - start,
            heard,
            result["cpu"],
        )


class Openers:
    """The driver, seen from the tests."""

    def __init__(self, port: int) -> None:
        self._port = port

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Openers]:
        """Start the driver."""
        with Driver.running(__file__, seconds=60) as driver:
            yield cls(driver.answer())

    def start(self, job: Job) -> Opener:
        """Start a process."""
        Path(job.folder).mkdir(parents=True, exist_ok=True)
        return Opener(job, socket.create_connection(("127.0.0.1", self._port), timeout=30))

    def run(self, job: Job) -> Outcome:
        """Start a process, and wait for its end."""
        return self.start(job).outcome()


def run_where_no_name_resolves(job: Job) -> Outcome | None:
    """Run a job where the name server takes every question and answers none; None where this cannot be had."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    # A network and a file system of its own: others keep their name server.
    script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
    command = ["unshare", "-rmn", "sh", "-c", script, "sh", str(resolver), sys.executable, __file__, "--alone"]
    asked = json.dumps(dataclasses.asdict(dataclasses.replace(job, swallow_dns=True)))
    try:
        can = subprocess.run([*command[:6], str(resolver), "true"], capture_output=True, timeout=30).returncode == 0
    except FileNotFoundError:
        can = False
    if not can:
        return None
    done = subprocess.run(
        command, input=asked, capture_output=True, text=True, timeout=job.seconds + 60, env=environment()
    )
    if done.returncode or not done.stdout:
        return Outcome(noise=done.stderr)
    result = json.loads(done.stdout)
    errors = tuple((tuple(classes), text) for classes, text in result["errors"])
    return Outcome(tuple(result["digests"]), errors, result["seconds"], tuple(result["warnings"]), True, 0, done.stderr)


def left_behind(folder: str | Path) -> list[str]:
    """Return the temporary files that a job has left: all in its place for them, and unfinished ones of the cache."""
    root = Path(folder)
    files = [path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()]
    return sorted(
        name
        for name in files
        if name.startswith("tmp/") or (name.startswith("cache/") and is_unfinished(name.rpartition("/")[2]))
    )


def is_unfinished(name: str) -> bool:
    """Whether this is the name of a file that is being written."""
    return name.startswith(".") or name.endswith((".tmp", ".part", ".partial"))


def digest(dataset: Any) -> str:
    """Return a sum over all that a Dataset says, but for where its files lie."""
    total = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        variable = dataset.variables[name]
        values = variable.values
        content = repr(values.tolist()).encode() if values.dtype.kind in "OU" else values.tobytes()
        told = (name, variable.dims, values.dtype.str, values.shape, sorted(map(repr, variable.attrs.items())))
        total.update(repr(told).encode() + content)
    attributes = dict(dataset.attrs)
    attributes["sources"] = [(entry["key"], entry["size"]) for entry in json.loads(attributes["sources"])]
    total.update(repr(sorted(attributes.items())).encode())
    return total.hexdigest()[:16]


# --- the driver -------------------------------------------------------------------------------------------------------

_LOADED = (
    "aiobotocore.session",
    "dask.array",
    "distributed",
    "intake_laion_fmri.reading.betas",
    "isal.igzip",
    "nibabel",
    "pandas",
    "platformdirs",
    "s3fs",
    "xarray",
    "zarr",
)
"""What a job imports before it is done."""


def main() -> None:
    """Fork a process for each job."""
    alone = sys.argv[1:] == ["--alone"]
    job = Job(**json.loads(sys.stdin.readline())) if alone else None
    for name in _LOADED:
        importlib.import_module(name)
    if job:
        sys.stdout.write(json.dumps(_prepared(job)()))
        return
    gc.freeze()  # what is collected no more is copied no more into each process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            ready, _, _ = select.select([server, sys.stdin], [], [])
            if sys.stdin in ready:
                return
            connection, _ = server.accept()
            assert threading.active_count() == 1
            if not os.fork():
                server.close()
                break
            connection.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _serve(connection)


def _serve(connection: socket.socket) -> None:
    import atexit

    file = connection.makefile("rw", encoding="utf-8")
    job = Job(**json.loads(file.readline()))

    def say(text: str) -> None:
        with contextlib.suppress(ConnectionError):  # nobody waits any more
            file.write(f"{text}\n")
            file.flush()

    say(str(os.getpid()))
    work = _prepared(job)
    atexit.register(say, "end")  # called when all threads have ended that a program has to wait for
    say(json.dumps(work()))


def _prepared(job: Job) -> Callable[[], dict[str, Any]]:
    """Make the process what the job wants it to be; return the work itself."""
    begin(job.seconds)
    folder = Path(job.folder)
    noise = os.open(folder / "noise", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)
    os.dup2(noise, 2)
    os.close(noise)
    for name in ("tmp", "cache"):
        (folder / name).mkdir(exist_ok=True)
    os.environ.update({"TMPDIR": str(folder / "tmp"), "LAION_FMRI_CACHE": str(folder / "cache"), **job.environment})
    tempfile.tempdir = None
    if job.swallow_dns:
        _swallow_dns()
    if job.powerless:
        _give_up_powers()

    def work() -> dict[str, Any]:
        return _work(job)

    return work


def _work(job: Job) -> dict[str, Any]:
    from intake_laion_fmri import open_betas
    from intake_laion_fmri.config import set_network

    if job.network:
        set_network(**job.network)
    digests: list[str] = []
    errors: list[tuple[list[str], str]] = []

    def work() -> None:
        for _ in range(job.times):
            try:
                ds = open_betas(bucket=job.bucket, storage_options=dict(job.options) or None, **job.selection)
                opened = ds if job.compute else ds.drop_vars("betas")
                digests.append(digest(opened.compute(scheduler="threads", num_workers=2)))
            except Exception as error:  # noqa: BLE001  (whatever it is, the test looks at it)
                errors.append((classes_of(error), str(error)))

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        start = time.monotonic()
        if job.threads == 1:
            work()
        else:
            with ThreadPoolExecutor(job.threads) as pool:
                for future in [pool.submit(work) for _ in range(job.threads)]:
                    future.result()
        seconds = time.monotonic() - start
        gc.collect()
    told = sorted({f"{one.category.__name__}: {one.message}" for one in warned})
    return {"digests": digests, "errors": errors, "seconds": seconds, "warnings": told, "cpu": time.process_time()}


def _give_up_powers() -> None:
    """Clear the capabilities of this process, where the system has such."""
    import ctypes
    import struct

    if sys.platform == "linux" and os.geteuid() == 0:
        header = struct.pack("Ii", 0x20080522, 0)  # the third version, this process
        if ctypes.CDLL(None, use_errno=True).capset(header, bytes(24)):
            raise OSError(ctypes.get_errno(), "capset")


_SWALLOWING: list[socket.socket] = []


def _swallow_dns() -> None:
    """Bring the loopback device of this network up, and take the port of the name server."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        up = struct.pack("16sh14x", b"lo", 0x1 | 0x40)  # IFF_UP, IFF_RUNNING
        fcntl.ioctl(any_socket, 0x8914, up)  # SIOCSIFFLAGS
    swallowing = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    swallowing.bind(("127.0.0.1", 53))
    _SWALLOWING.append(swallowing)


if __name__ == "__main__":
    main()
