"""One object → its place in a mirror: resumable, in ranges, checked, moved there whole.

What arrives lies in ``.laion-fmri/partial``: the data at their offsets, and beside them the sum of each piece that is
complete, so that a run that was killed is continued by any other. A thread follows the front of what is complete and
checks it (MD5, or the gzip stream to its end) while the rest arrives. Only then the record is written and the file
moved to its place. One process at a time works on an object, of however many that mirror into one folder.

What lies in that place and was not written by this project stays there. If it proves to be the object, a record is made
of it; else it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import hashlib
import io
import os
import re
import threading
import time
from collections.abc import Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    NotInBucketError,
)
from intake_laion_fmri.forks import PerProcess
from intake_laion_fmri.formats.gunzip import open_gzip
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.partial import (
    LOOK_SECONDS,
    PIECE_BYTES,
    DamagedError,
    Front,
    PartialFile,
    PieceWriter,
    TransferStoppedError,
    part_of,
    read_state,
)
from intake_laion_fmri.remote import atomic, locks
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.remote.answers import WrongAnswerError
from intake_laion_fmri.remote.copy import OTHER, Copy, MirrorFolder, MirrorRecord, Target, name_of, now
from intake_laion_fmri.remote.proofs import crc32_of, is_whole_md5
from intake_laion_fmri.remote.retry import Attempts, NetworkPolicy
from intake_laion_fmri.remote.s3 import is_encrypted

__all__ = [
    "REQUEST_BYTES",
    "STALE_SECONDS",
    "Fetched",
    "LeftAloneError",
    "ObjectBusyError",
    "check_file",
    "errors_of_writing",
    "fetch_object",
    "locked",
    "tidy",
    "what_is_in_the_way",
]

REQUEST_BYTES = 8 * 1024 * 1024
"""Asked for at a time."""

MOMENT_SECONDS = 0.5
"""What arrives within so long is handed on together."""

UNPACKED_BYTES = 64 * 1024**3
"""A gzip stream that unpacks to more is not unpacked on: the largest of the data set has 12.2 GB."""

MD5, GZIP, SIZE = "md5", "gzip", "size"
"""How a file is checked: by its ETag, by its stream's own CRC-32 and length, or by its size alone."""

STALE_SECONDS = 180.0
"""How long another process may hold an object without receiving anything before one stops waiting for it."""

Result = TypeVar("Result")


class ObjectBusyError(Exception):
    """Another process on this file system is fetching the object."""


class LeftAloneError(Exception):
    """Something is in an object's place that this project did not write; the message says what."""


class _ReplacedError(Exception):
    """The object is another one than the listing said."""


@dataclass(frozen=True)
class Fetched:
    """What became of one object."""

    info: ObjectInfo
    """As it is now: newer than asked for where it was replaced meanwhile."""
    status: str
    """``"fetched"``; ``"adopted"``, a file that was there without a record and proved sound; or ``"complete"``."""
    replaced: bool = False
    """Whether an older file, or a damaged one, was in its place."""


def fetch_object(
    bucket: Bucket,
    info: ObjectInfo,
    folder: MirrorFolder,
    *,
    requests: int = 4,
    piece_bytes: int = PIECE_BYTES,
    request_bytes: int = REQUEST_BYTES,
    received: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
    wait_seconds: float = 0.0,
) -> Fetched:
    """Bring an object to its place in a mirror.

    Parameters
    ----------
    bucket : Bucket
        Where it is; a remote root or a folder.
    info : ObjectInfo
        From a listing.
    folder : MirrorFolder
        The mirror.
    requests : int, default 4
        Ranged requests under way at a time.
    piece_bytes, request_bytes : int, optional
        What is kept of a transfer that is killed, and what is asked for at a time.
    received : callable, optional
        Is told the number of bytes whenever some have arrived, from several threads.
    stop : threading.Event, optional
        Once it is set, the transfer ends within a fraction of a second.
    wait_seconds : float, default 0
        How long to wait for another process that is fetching the object.

    Returns
    -------
    Fetched

    Raises
    ------
    ObjectBusyError
        If another process is fetching the object.
    TransferStoppedError
        If `stop` was set. What was received is kept.
    NotInBucketError, AccessDeniedError, BucketUnreachableError
        If it cannot be read. What was received is kept.
    LeftAloneError
        If something is in its place that this project did not write, and that is not the object.
    DataIntegrityError
        If it is damaged, or replaced, twice; or its key cannot be a file's. Nothing is kept.
    OSError
        If it cannot be written: names the object. What was received is kept.
    """
    target = folder.target(folder.name_for(info.key))
    job = _Job(bucket, folder, requests, piece_bytes, request_bytes, received or _nobody, stop or threading.Event())
    with errors_of_writing(info.key, target.path):
        if folder.is_complete(info):
            return Fetched(info, "complete")
        with locked(folder, name_of(info.key), wait_seconds):
            if folder.is_complete(info):  # whoever had the lock has fetched it
                return Fetched(info, "complete")
            if job.adopt(info):
                return Fetched(info, "adopted")
            _expect_room(folder, info, target)
            return job.fetch(info, target)


def what_is_in_the_way(folder: MirrorFolder, info: ObjectInfo) -> str | None:
    """Say what keeps an object from its place, as far as names, sizes and times tell; None if nothing does."""
    place = folder.path
    for part in Path(info.key).parts[:-1]:
        place /= part
        if os.path.lexists(place) and not place.is_dir():
            return f"a file instead of the folder {place}"
    copy = folder.copy_of(info.key)
    if copy is None:
        path = folder.path / info.key
        return None if not os.path.lexists(path) else "a folder of that name" if path.is_dir() else "no regular file"
    if copy.known:
        return None
    if copy.state.st_size != info.size:
        return f"another file, of {copy.state.st_size} bytes instead of {info.size}"
    return f"another file of {info.size} bytes" if folder.is_known_other(info, copy) else None


def check_file(path: Path, info: ObjectInfo, how: str, *, stop: threading.Event | None = None) -> int:
    """Read a file to its end and check that it is an object.

    Parameters
    ----------
    path : Path
        The file.
    info : ObjectInfo
        The object.
    how : {"md5", "gzip", "size"}
        By its ETag, by its gzip stream, or by its size.
    stop : threading.Event, optional
        Once it is set, `TransferStoppedError` is raised.

    Returns
    -------
    int
        Its CRC-32, as it lies there.

    Raises
    ------
    DataIntegrityError
        If it is damaged.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return _check(file, info, how, stop or threading.Event())
    except DamagedError as error:
        raise DataIntegrityError(f"{path} {error}. Fetch it again.") from error


def tidy(folder: MirrorFolder, objects: Iterable[ObjectInfo]) -> None:
    """Remove what runs that were killed have left, and parts of versions that are outdated.

    Parameters
    ----------
    folder : MirrorFolder
        The mirror.
    objects : iterable of ObjectInfo
        What this run was for, as it is now. Parts of other objects may still be of use, and stay.
    """
    current = {info.key: info for info in objects}
    by_lock: dict[str, list[Path]] = {}
    for name, is_own in _OWN_FILES.items():
        for path in folder.workplace(name).glob("*"):
            left = name == "locks" or path.suffix == atomic.TEMPORARY or name == "partial"
            if left and is_own(path.name) and (name != "partial" or _is_useless(folder, path, current)):
                by_lock.setdefault("listings" if name == "listings" else path.name.split(".")[0], []).append(path)
    for name, paths in by_lock.items():
        with contextlib.suppress(ObjectBusyError), locked(folder, name):
            for path in paths:
                if path.suffix != ".lock":
                    atomic.remove(path, within=folder.path)


@contextmanager
def locked(folder: MirrorFolder, name: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Keep other processes on this file system from what has this name; the lock ends with the process at the latest.

    Raises
    ------
    ObjectBusyError
        If another process has the lock.
    """
    path = folder.workplace("locks") / f"{name}.lock"
    if path.is_symlink():
        raise DataIntegrityError(f"{path} is a link to {os.path.realpath(path)}, and no lock. Remove the link.")
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locks.locked(path, wait_seconds=wait_seconds, what="fetching an object"))
        except locks.HeldError as error:
            raise ObjectBusyError(str(error)) from error
        except PermissionError as error:
            if not path.exists():
                raise
            raise ObjectBusyError(f"{path} belongs to another user's process") from error
        yield


@dataclass(frozen=True)
class _Job:
    """How objects are fetched."""

    bucket: Bucket
    folder: MirrorFolder
    requests: int
    piece_bytes: int
    request_bytes: int
    received: Callable[[int], None]
    stop: threading.Event

    def how(self, info: ObjectInfo) -> str:
        if self.bucket.is_md5(info):
            return MD5
        return GZIP if info.key.endswith(".gz") else SIZE

    def adopt(self, info: ObjectInfo) -> bool:
        """Write the record of a file that is there and is proved to be the object, if there is one."""
        copy = self.folder.copy_of(info.key)
        if copy is None or copy.state.st_size != info.size or self.folder.proves(info) is None:
            return False
        how = self.how(info)
        try:
            crc32 = check_file(copy.path, info, SIZE, stop=self.stop)
        except DataIntegrityError:
            return False
        self._record(info, copy, how, crc32)
        return True

    def _record(self, info: ObjectInfo, copy: Copy, checked: str, crc32: int) -> None:
        mtime_ns, file = copy.state.st_mtime_ns, self.folder.file_of(info.key, copy.path)
        self.folder.write_record(
            MirrorRecord(info.key, info.size, info.etag, mtime_ns, checked, crc32, now(), file=file)
        )

    def fetch(self, info: ObjectInfo, target: Target) -> Fetched:
        """Fetch an object; once more where it is damaged, and once more where it was replaced."""
        excuses = [_ReplacedError, DamagedError]
        while True:
            self._remove_partials(info.key, but=part_of(self.folder, info).stem)
            try:
                return self._fetch_once(info, target)
            except (_ReplacedError, DamagedError) as error:
                self._remove_partials(info.key)
                if type(error) not in excuses:
                    raise DataIntegrityError(
                        f"{self.bucket.locate(info.key)} {error}, twice. Nothing of it was kept: try again later, or "
                        "report it to whoever keeps the bucket."
                    ) from error
                excuses.remove(type(error))
                if isinstance(error, _ReplacedError):
                    info = self.bucket.state(info.key)

    def _fetch_once(self, info: ObjectInfo, target: Target) -> Fetched:
        part = part_of(self.folder, info)
        stream = _S3Stream(self, info) if self.bucket.is_s3 else _BlockStream(self, info)
        with PartialFile(part, self.folder.path, info, self.piece_bytes, self.stop) as partial:
            if partial.n_pieces * self.piece_bytes > self.request_bytes:
                crc32, how = self._in_parallel(partial, stream)
            else:
                self._receive(partial, stream)
                crc32, how = self._checked(partial, stream)
            if not self.bucket.is_s3 and self.bucket.state(info.key) != info:  # answers of S3 tell their version
                raise _ReplacedError("was replaced while it was read")
            partial.sync()
        copy = self.folder.copy_of(info.key)
        if copy and not self.folder.is_own(copy):
            self._compare(info, copy, part, how, crc32)
            return Fetched(info, "adopted")
        mtime_ns, file = part.stat().st_mtime_ns, self.folder.file_of(info.key, target.path)
        record = MirrorRecord(info.key, info.size, info.etag, mtime_ns, how, crc32, now(), file=file)
        self._put_in_place(part, target, record, copy)
        self._remove_partials(info.key)
        return Fetched(info, "fetched", copy is not None)

    def _put_in_place(self, part: Path, target: Target, record: MirrorRecord, copy: Copy | None) -> None:
        """Write the record, then move the file; a crash between them leaves the file of before, which it tells of."""
        before = copy.known.fingerprint if copy and copy.known else ""
        self.folder.write_record(replace(record, replaces=before))
        if copy is None and os.path.lexists(target.path):
            raise LeftAloneError("something that was put there a moment ago")
        if target.within == self.folder.path:
            atomic.move(part, target.path, within=target.within)
            moved = record
        else:  # behind a link there may be another disk
            with part.open("rb") as file:
                content = iter(lambda: file.read(PIECE_BYTES), b"")
                atomic.write_whole(target.path, content, durable=True, within=target.within)
            moved = replace(record, mtime_ns=target.path.stat().st_mtime_ns)
        if before or moved != record:
            self.folder.write_record(moved)

    def _compare(self, info: ObjectInfo, copy: Copy, part: Path, how: str, crc32: int) -> None:
        """Make a record of a file that is there and that no ETag told of: it is what was fetched, or is left alone."""
        same = _same_content(part, copy.path)
        self._remove_partials(info.key)
        if same:
            self._record(info, copy, how, crc32)
            return
        self._record(info, copy, OTHER, 0)  # it is not fetched again only to be compared
        raise LeftAloneError(f"another file of {info.size} bytes")

    def _in_parallel(self, partial: PartialFile, stream: _Stream) -> tuple[int, str]:
        """Receive in several requests at a time, and check what is complete meanwhile."""
        with ThreadPoolExecutor(self.requests + 1, thread_name_prefix="laion-mirror") as pool:
            try:
                check = pool.submit(self._checked, partial, stream)
                receivers = [pool.submit(self._receive, partial, stream) for _ in range(self.requests)]
                check.add_done_callback(lambda done: partial.fail(done.exception()))
                wait_for(receivers)
                wait_for([check])
            except BaseException as error:
                partial.fail(error)
                raise
        if partial.error:
            raise partial.error
        return check.result()

    def _receive(self, partial: PartialFile, stream: _Stream) -> None:
        """Receive run after run of the missing pieces, until there are none."""
        try:
            while run := partial.take(self.request_bytes):
                self._receive_run(partial, stream, *run)
        except BaseException as error:
            partial.fail(error)
            raise

    def _receive_run(self, partial: PartialFile, stream: _Stream, start: int, stop: int) -> None:
        attempts = Attempts(self.bucket.network, min(stop - start, PIECE_BYTES))
        writer = PieceWriter(partial, start, stop)
        while writer.offset < stop:
            pace = _Pace(self.bucket.network)
            try:
                with (
                    _line.get().request(),
                    contextlib.closing(self._answer(stream, writer.offset, stop, attempts, pace)) as answer,
                ):
                    for data in answer:
                        writer.write(data)
                        self.received(len(data))
                        partial.expect_going_on()
            except (BucketUnreachableError, WrongAnswerError):
                if not pace.is_slow:
                    attempts.progressed()
                partial.expect_going_on()
                if not attempts.again(self.stop.wait):
                    raise

    def _answer(self, stream: _Stream, start: int, stop: int, attempts: Attempts, pace: _Pace) -> Generator[bytes]:
        """Yield what a server answers. Only its errors are turned into the contract's, not those of writing."""
        key = stream.info.key
        with self.bucket.errors_of(key, attempts):
            for data in stream.read(start, stop, attempts):
                start += len(data)
                yield data
                pace.received(len(data))
            if start < stop:
                raise ConnectionError(f"the answer ended {stop - start} bytes early")

    def _checked(self, partial: PartialFile, stream: _Stream) -> tuple[int, str]:
        """Check an object as its pieces arrive; return its CRC-32 and how it was checked."""
        info, how = partial.info, self.how(partial.info)
        try:
            return _check(Front(partial), info, how, self.stop), how
        except DamagedError:
            if not (how == MD5 and stream.encrypted):
                raise
        how = GZIP if info.key.endswith(".gz") else SIZE  # with a key of its own, S3's ETag is no MD5
        return _check(Front(partial), info, how, self.stop), how

    def _remove_partials(self, key: str, *, but: str = "") -> None:
        folder, beginning = self.folder.workplace("partial"), f"{name_of(key)}."
        for name in os.listdir(folder):
            if name.startswith(beginning) and _is_part(name) and name.rpartition(".")[0] != but:
                atomic.remove(folder / name, within=self.folder.path)


class _Line:
    """What the requests that this process has under way share."""

    def __init__(self) -> None:
        self._count, self._seconds, self._since = 0, 0.0, time.monotonic()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds so far for which a request has had all of the line: those of two requests count by half."""
        return self._add(0)

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request for the time of a ``with`` block."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    def _add(self, count: int) -> float:
        with self._lock:
            now = time.monotonic()
            self._seconds += (now - self._since) / max(1, self._count)
            self._since = now
            self._count += count
            return self._seconds


_line = PerProcess(_Line)


class _Pace:
    """How fast the bytes of one answer come. Those that trickle are no progress: a transfer could last for days."""

    def __init__(self, policy: NetworkPolicy) -> None:
        self._policy, self._count = policy, 0
        self._began, self._of_line = time.monotonic(), _line.get().seconds

    @property
    def is_slow(self) -> bool:
        """Whether it is no more than its share of the slowest line that is worth while."""
        return self._count <= self._policy.slowest * (_line.get().seconds - self._of_line)

    def received(self, count: int) -> None:
        """Take note of bytes; raise where they have been too few for as long as a request is waited for."""
        self._count += count
        seconds = time.monotonic() - self._began
        if seconds > self._policy.total_seconds and self.is_slow:
            raise TimeoutError(f"{self._count} bytes in {seconds:.0f} s are too few to go on")


class _Summed(io.RawIOBase):
    """A file that sums up what is read of it."""

    def __init__(self, file: Any, *, md5: bool) -> None:
        self._file = file
        self.count, self.crc32 = 0, 0
        self.md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        count = int(self._file.readinto(view))
        self.count += count
        self.crc32 = crc32_of(view[:count], self.crc32)
        if self.md5:
            self.md5.update(view[:count])
        return count


class _Stream:
    """Where the bytes of one object come from."""

    encrypted = False
    """Whether the server has said so; see `is_encrypted`."""

    def __init__(self, job: _Job, info: ObjectInfo) -> None:
        self.info = info
        self._bucket, self._stop = job.bucket, job.stop

    def read(self, start: int, stop: int, attempts: Attempts) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `stop`, of which there may be fewer."""
        raise NotImplementedError


class _BlockStream(_Stream):
    """Of a disk, or of any file system that gives ranges: piece by piece."""

    def read(self, start: int, stop: int, attempts: Attempts) -> Iterator[bytes]:
        step = PIECE_BYTES if self._bucket.is_local else stop - start
        for offset in range(start, stop, step):
            data = self._bucket.read(self.info.key, offset, min(offset + step, stop))
            if not data:
                raise _ReplacedError(f"ends at byte {offset} instead of {self.info.size}")
            yield data


class _S3Stream(_Stream):
    """Of S3: a body is handed on as it arrives, so that nothing is lost with a connection."""

    def read(self, start: int, stop: int, attempts: Attempts) -> Iterator[bytes]:
        held = contextlib.ExitStack()
        try:
            response = self._run(self._open(start, stop, held), attempts.seconds_left)
            self._expect_range(response, start, stop)
            while start < stop:
                data, error = self._run(self._next(response["Body"], min(PIECE_BYTES, stop - start)), None)
                start += len(data)
                if data:
                    yield data
                if error is not None:
                    raise error
                if not data:
                    return
        finally:
            self._bucket.file_system.loop.call_soon_threadsafe(held.close)

    async def _open(self, start: int, stop: int, held: contextlib.ExitStack) -> Any:
        """Ask for bytes; the body is held where it can be closed even if nobody waits for the answer any more."""
        file_system = self._bucket.file_system
        name, key, _ = file_system.split_path(self._bucket.path(self.info.key))
        part = f"bytes={start}-{stop - 1}"
        response = await file_system._call_s3("get_object", Bucket=name, Key=key, Range=part)
        held.callback(response["Body"].close)
        return response

    async def _next(self, body: Any, count: int) -> tuple[bytes, Exception | None]:
        """Return the next bytes of a body, of a moment; and, behind the last ones, what ended it."""
        found, began = bytearray(), time.monotonic()
        try:
            while len(found) < count and time.monotonic() - began < MOMENT_SECONDS:
                async with asyncio.timeout(MOMENT_SECONDS if found else self._bucket.network.read_seconds):
                    data = await body.read(count - len(found))
                if not data:
                    break
                found += data
        except TimeoutError as error:
            return bytes(found), None if found else error
        except Exception as error:  # noqa: BLE001  (raised by the caller, once the bytes before it are safe)
            found += _unread(body)
            return bytes(found[:count]), error
        return bytes(found), None

    def _expect_range(self, response: Any, start: int, stop: int) -> None:
        self.encrypted |= is_encrypted(response)
        etag = str(response.get("ETag", "")).strip('"')
        if etag and self.info.etag and etag != self.info.etag:
            raise _ReplacedError(f"was replaced: expected the ETag {self.info.etag}, found {etag}")
        found = str(response.get("ContentRange", ""))
        whole = start == 0 and response.get("ContentLength") == stop == self.info.size
        if not found.startswith(f"bytes {start}-") and not whole:
            raise WrongAnswerError(
                f"{self._bucket.locate(self.info.key)}: asked for the bytes from {start} to {stop}, the server gave "
                f"{found or 'all of them'}. Mirroring needs a server that gives parts of objects."
            )

    def _run(self, coroutine: Coroutine[Any, Any, Result], seconds: float | None) -> Result:
        """Wait for a coroutine in the file system's loop, but not when told to stop."""

        async def bounded() -> Result:
            async with asyncio.timeout(seconds):
                return await coroutine

        future = asyncio.run_coroutine_threadsafe(bounded(), self._bucket.file_system.loop)
        try:
            while not future.done():
                wait_for([future], timeout=LOOK_SECONDS)
                if self._stop.is_set():
                    raise TransferStoppedError(f"{self.info.key}: told to stop")
            return future.result()
        except OSError as error:
            if _status(error) == 416:  # it has become shorter
                raise _ReplacedError("was replaced while it was read") from error
            raise
        finally:
            future.cancel()


def _check(file: Any, info: ObjectInfo, how: str, stop: threading.Event) -> int:
    """Read a file to its end; return its CRC-32, or raise DamagedError."""
    from isal import igzip_lib

    corrupt: Any = (gzip.BadGzipFile, igzip_lib.IsalError, EOFError)
    summed = _Summed(file, md5=how == MD5)
    size = max(4096, min(PIECE_BYTES, info.size))
    stream: Any = open_gzip(summed, size) if how == GZIP else summed
    buffer, unpacked = bytearray(size), 0
    try:
        while count := stream.readinto(buffer):
            unpacked += count
            if unpacked > UNPACKED_BYTES:
                raise DamagedError(f"unpacks to more than {UNPACKED_BYTES} bytes")
            if stop.is_set():
                raise TransferStoppedError(f"{info.key}: told to stop")
    except corrupt as error:
        raise DamagedError(f"is no sound gzip stream: {error}") from error
    if summed.count != info.size:
        raise DamagedError(f"has {summed.count} bytes, expected {info.size}")
    if summed.md5 and summed.md5.hexdigest() != info.etag:
        raise DamagedError(f"has the MD5 {summed.md5.hexdigest()}, expected {info.etag}")
    return summed.crc32


def _is_useless(folder: MirrorFolder, path: Path, current: Mapping[str, ObjectInfo]) -> bool:
    """Whether a partial file cannot be gone on with, or need not be."""
    found = read_state(path.with_suffix(".state"))
    if found is None or not path.with_suffix(".part").exists():
        return True
    info = current.get(str(found[0]["key"]))
    return info is not None and (part_of(folder, info).stem != path.stem or folder.is_complete(info))


_is_part = re.compile(rf"[0-9a-f]{{40}}\.[0-9a-f]{{16}}\.(part|state(\.[0-9a-f]{{32}}{atomic.TEMPORARY})?)").fullmatch
"""Names of what is received in part."""

_OWN_FILES: Mapping[str, Callable[[str], object]] = {
    "partial": _is_part,
    "records": re.compile(rf"[0-9a-f]{{40}}\.json\.[0-9a-f]{{32}}{atomic.TEMPORARY}").fullmatch,
    "listings": re.compile(rf".*\.list\.json\.[0-9a-f]{{32}}{atomic.TEMPORARY}").fullmatch,
    "locks": re.compile(r"([0-9a-f]{40}|listings)\.lock").fullmatch,
}
"""Folder below the mirror's own → names of what runs leave there that were killed."""


def _same_content(one: Path, other: Path) -> bool:
    try:
        with one.open("rb") as first, other.open("rb") as second:
            while data := first.read(PIECE_BYTES):
                if second.read(len(data)) != data:
                    return False
            return not second.read(1)
    except OSError:
        return False


def _expect_room(folder: MirrorFolder, info: ObjectInfo, target: Target) -> None:
    """Raise LeftAloneError where something is in an object's place that is not to be replaced; make its folders."""
    reason = what_is_in_the_way(folder, info)
    if reason:
        raise LeftAloneError(reason)
    copy = folder.copy_of(info.key)
    if copy and not folder.is_own(copy):
        _expect_comparable(info, copy)
    atomic.make_folder(target.path.parent, within=target.within)


def _expect_comparable(info: ObjectInfo, copy: Copy) -> None:
    """Raise LeftAloneError for a file that is not the object, unless it has to be fetched to be compared."""
    if copy.known:
        raise LeftAloneError("a file that was changed since it was copied")
    if is_whole_md5(info.etag):
        raise LeftAloneError(f"another file of {info.size} bytes")


@contextmanager
def errors_of_writing(key: str, target: Path) -> Iterator[None]:
    """Name the object where a disk refuses."""
    try:
        yield
    except (NotInBucketError, AccessDeniedError, BucketUnreachableError):
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(
            error.errno, f"{key} cannot be copied to {target}: {os.strerror(error.errno)}. {_advice(error.errno)}"
        ) from error


def _advice(number: int) -> str:
    if number in (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return "Make room: what was received is kept, and the next run goes on from there."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Mirror to a folder that you may write to; this one can still be read from."
    if number in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return "A file is where a folder should be, or a folder where a file should be: move it away."
    return "What was received is kept, and the next run goes on from there."


def _unread(body: Any) -> bytes:
    """Return what has arrived of a body and was not handed over, as aiohttp prefers the error that followed.

    It is up to a quarter of a megabyte for each connection that breaks, and has no public name; without it these bytes
    are asked for again.
    """
    content = getattr(getattr(body, "raw_stream", None), "content", None)
    return b"".join(getattr(content, "_buffer", ()))[getattr(content, "_buffer_offset", 0) :]


def _status(error: BaseException) -> int | None:
    """Return the status of a server's answer behind an error of s3fs."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        cause = cause.__cause__
    return None


def _nobody(count: int) -> None:
    """Take no notice."""
