"""Fetching one object: resumable, in ranges, verified, moved whole to its key.

What arrives lies in ``.laion-fmri/partial``: the data at their offsets, and beside them the sum of each piece that is
complete, so that a run that was killed is continued by any other. A thread follows the front of what is complete and
checks it (MD5, or the gzip stream to its end) while the rest arrives. Only then the record is written and the file
moved to its place. One process at a time works on an object, of however many that mirror into one folder.

A file at the key that was not written by this project stays there. If it proves to be the object, a record is made
of it; else it is reported.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, field, replace
from pathlib import Path

from intake_laion_fmri.errors import BucketUnreachableError, DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.checks import GZIP, MD5, SIZE, check_file, check_stream
from intake_laion_fmri.mirror.partial import PIECE_BYTES, DamagedError, Front, PartialFile, PieceWriter, part_of
from intake_laion_fmri.mirror.streams import BlockStream, Pace, ReplacedError, S3Stream, Stream, shared_line
from intake_laion_fmri.mirror.targets import (
    LeftAloneError,
    errors_of_writing,
    forget,
    is_part,
    locked,
    make_room,
    put_in_place,
)
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.remote.backend import WrongAnswerError
from intake_laion_fmri.remote.copy import Copy, MirrorFolder, Target
from intake_laion_fmri.remote.records import OTHER, MirrorRecord, name_of, now
from intake_laion_fmri.remote.retry import Attempts
from intake_laion_fmri.remote.s3 import S3Objects

REQUEST_BYTES = 8 * 1024 * 1024
"""Asked for at a time."""


@dataclass(frozen=True)
class Fetched:
    """Result of fetching an object."""

    info: ObjectInfo
    """As it is now: newer than asked for where it was replaced meanwhile."""
    status: str
    """``"fetched"``; ``"adopted"``, a file that was there without a record and proved sound; or ``"complete"``."""
    replaced: bool = False
    """Whether an older file, or a damaged one, was in its place."""


@dataclass(frozen=True)
class Transfers:
    """Fetches objects into a mirror, from any thread."""

    bucket: Bucket
    """Where they come from."""
    folder: MirrorFolder
    """The mirror."""
    requests: int = 4
    """Requests under way at a time for an object."""
    piece_bytes: int = PIECE_BYTES
    """Whole pieces of this size outlive the process."""
    request_bytes: int = REQUEST_BYTES
    """Asked for at a time."""
    received: Callable[[int], None] = lambda _: None
    """Called with the number of bytes received, from several threads."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Once it is set, transfers end within a fraction of a second."""

    def fetch(self, info: ObjectInfo, wait_seconds: float = 0.0) -> Fetched:
        """Fetch an object, unless a complete copy exists.

        If another process is fetching the object, wait up to `wait_seconds` for it.

        Raises
        ------
        ObjectBusyError
            If another process is fetching the object.
        TransferStoppedError
            If `stop` was set. What was received is kept.
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read. What was received is kept.
        LeftAloneError
            If a file that this project did not write, and that is not the object, has its name.
        DataIntegrityError
            If it is damaged, or replaced, twice; or its key cannot be a file's. Nothing is kept.
        OSError
            If it cannot be written: names the object. What was received is kept.
        """
        copy = self.folder.copy_of(info.key)
        # An existing copy keeps its name; two are possible.
        target = self.folder.target((copy and self.folder.file_of(info.key, copy.path)) or info.key)
        with errors_of_writing(info.key, target.path):
            if copy and copy.is_complete(info):
                return Fetched(info, "complete")
            with locked(self.folder, name_of(info.key), wait_seconds):
                copy = self.folder.copy_of(info.key)
                if copy and copy.is_complete(info):  # another process has fetched it
                    return Fetched(info, "complete")
                if copy and self._adopt(info, copy):
                    return Fetched(info, "adopted")
                make_room(self.folder, info, target, copy)
                return self._fetch(info, target)

    def _how(self, info: ObjectInfo) -> str:
        if self.bucket.requests.is_md5(info):
            return MD5
        return GZIP if info.key.endswith(".gz") else SIZE

    def _adopt(self, info: ObjectInfo, copy: Copy) -> bool:
        """Record an existing file that is proved to be the object."""
        if copy.state.st_size != info.size or self.folder.proves(info) is None:
            return False
        how = self._how(info)
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

    def _fetch(self, info: ObjectInfo, target: Target) -> Fetched:
        """Fetch an object, and once more if it is damaged or was replaced.

        Each of the two reasons allows one more attempt.
        """
        excuses = [ReplacedError, DamagedError]
        while True:
            self._remove_partials(info.key, but=part_of(self.folder, info).stem)
            try:
                return self._fetch_once(info, target)
            except (ReplacedError, DamagedError) as error:
                self._remove_partials(info.key)
                if type(error) not in excuses:
                    raise DataIntegrityError(
                        f"{self.bucket.locate(info.key)} {error}, twice. It was discarded: try again later, or "
                        f"report it to the bucket's owner."
                    ) from error
                excuses.remove(type(error))
                if isinstance(error, ReplacedError):
                    info = self.bucket.state(info.key)

    def _fetch_once(self, info: ObjectInfo, target: Target) -> Fetched:
        part = part_of(self.folder, info)
        given, backend = (self.bucket, info, self.stop), self.bucket.backend
        stream = S3Stream(*given, backend) if isinstance(backend, S3Objects) else BlockStream(*given)
        with PartialFile(part, self.folder.path, info, self.piece_bytes, self.stop) as partial:
            if partial.n_pieces * self.piece_bytes > self.request_bytes:
                crc32, how = self._in_parallel(partial, stream)
            else:
                self._receive(partial, stream)
                crc32, how = self._checked(partial, stream)
            if not self.bucket.is_s3 and self.bucket.state(info.key) != info:  # answers of S3 tell their version
                raise ReplacedError("was replaced while being read")
            partial.sync()
        copy = self.folder.copy_of(info.key)
        if copy and not self.folder.is_own(copy):
            self._compare(info, copy, part, how, crc32)
            return Fetched(info, "adopted")
        mtime_ns, file = part.stat().st_mtime_ns, self.folder.file_of(info.key, target.path)
        record = MirrorRecord(info.key, info.size, info.etag, mtime_ns, how, crc32, now(), file=file)
        self._put_in_place(part, target, record, copy)
        forget(part, self.folder)  # all else was removed before
        return Fetched(info, "fetched", copy is not None)

    def _put_in_place(self, part: Path, target: Target, record: MirrorRecord, copy: Copy | None) -> None:
        """Write the record, then move the file.

        After a crash between the two steps, the earlier file remains; the record holds its fingerprint.
        """
        before = copy.known.fingerprint if copy and copy.known else ""
        self.folder.write_record(replace(record, replaces=before))
        if copy is None and os.path.lexists(target.path):
            raise LeftAloneError("something that has just appeared there")
        copied = put_in_place(part, target, self.folder)
        moved = replace(record, mtime_ns=target.path.stat().st_mtime_ns) if copied else record
        if before or moved != record:
            self.folder.write_record(moved)

    def _compare(self, info: ObjectInfo, copy: Copy, part: Path, how: str, crc32: int) -> None:
        """Record an existing file that equals the fetched object.

        Files that differ are left alone.
        """
        same = _same_content(part, copy.path)
        self._remove_partials(info.key)
        if same:
            self._record(info, copy, how, crc32)
            return
        self._record(info, copy, OTHER, 0)  # it is not fetched again only to be compared
        raise LeftAloneError(f"another file of {info.size} bytes")

    def _in_parallel(self, partial: PartialFile, stream: Stream) -> tuple[int, str]:
        """Receive in several requests, and verify complete pieces meanwhile."""
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

    def _receive(self, partial: PartialFile, stream: Stream) -> None:
        """Receive runs of missing pieces until none are missing."""
        try:
            while run := partial.take(self.request_bytes):
                self._receive_run(partial, stream, *run)
        except BaseException as error:
            partial.fail(error)
            raise

    def _receive_run(self, partial: PartialFile, stream: Stream, start: int, stop: int) -> None:
        attempts = Attempts(self.bucket.network, min(stop - start, PIECE_BYTES))
        writer = PieceWriter(partial, start, stop)
        while writer.offset < stop:
            pace = Pace(self.bucket.network)
            try:
                with (
                    shared_line.get().request(),
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

    def _answer(self, stream: Stream, start: int, stop: int, attempts: Attempts, pace: Pace) -> Generator[bytes]:
        """Yield the bytes of an answer.

        Errors of the server are mapped to this package's classes; errors of writing are not.
        """
        key = stream.info.key
        with self.bucket.requests.errors_of(key, attempts):
            for data in stream.read(start, stop, attempts):
                start += len(data)
                yield data
                pace.received(len(data))
            if start < stop:
                raise ConnectionError(f"the response ended {stop - start} bytes early")

    def _checked(self, partial: PartialFile, stream: Stream) -> tuple[int, str]:
        """Verify an object as its pieces arrive.

        The result is its CRC-32 and the kind of check.
        """
        info, how = partial.info, self._how(partial.info)
        try:
            return check_stream(Front(partial), info, how, self.stop), how
        except DamagedError:
            if not (how == MD5 and stream.encrypted):
                raise
        how = GZIP if info.key.endswith(".gz") else SIZE  # with a key of its own, S3's ETag is no MD5
        return check_stream(Front(partial), info, how, self.stop), how

    def _remove_partials(self, key: str, *, but: str = "") -> None:
        folder, beginning = self.folder.workplace("partial"), f"{name_of(key)}."
        for name in os.listdir(folder):
            if name.startswith(beginning) and is_part(name) and name.rpartition(".")[0] != but:
                atomic.remove(folder / name, within=self.folder.path)


def _same_content(path: Path, other: Path) -> bool:
    try:
        with path.open("rb") as first, other.open("rb") as second:
            while data := first.read(PIECE_BYTES):
                if second.read(len(data)) != data:
                    return False
            return not second.read(1)
    except OSError:
        return False
