"""Requests for a root's objects: attempts, errors and checks over a back-end."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import BinaryIO, TypeVar

from intake_laion_fmri.errors import BucketUnreachableError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import failures, patience
from intake_laion_fmri.remote.backend import Answer, Backend, Listing, WrongAnswerError
from intake_laion_fmri.remote.cache import LARGEST_BYTES as KEPT_BYTES
from intake_laion_fmri.remote.connect import connected
from intake_laion_fmri.remote.messages import Messages
from intake_laion_fmri.remote.proofs import is_whole_md5
from intake_laion_fmri.remote.retry import Attempts, NetworkPolicy
from intake_laion_fmri.remote.s3 import NoSuchBucketError
from intake_laion_fmri.remote.stream import BLOCKS_IN_FLIGHT, BlockReader
from intake_laion_fmri.running.forks import PerProcess, concurrently

SMALL_FILES_IN_FLIGHT = 16

WHOLE_IN_FLIGHT = 8
"""Ranged requests under way for a whole object: with eight 54 MB took 0.34 s, with one 0.76 s (100 MB/s each)."""

LEAST_PART_BYTES = 4 * 1024 * 1024
"""Bytes that a request of its own is worth."""

LISTING_BYTES = 5_000_000
"""What a listing may come to, for the time that it is given: some 15,000 objects."""

T = TypeVar("T")


class Requests:
    """Requests for one root; each process connects on first use.

    With `impatient`, a root that has not answered lately fails at once. `known` returns the state of an object in the
    bucket for that of its copy.
    """

    def __init__(
        self,
        messages: Messages,
        network: NetworkPolicy,
        *,
        impatient: bool = False,
        known: Callable[[ObjectInfo], ObjectInfo] = lambda info: info,
    ) -> None:
        self.messages, self._network, self._impatient, self._known = messages, network, impatient, known
        self._backends = PerProcess(lambda: connected(messages, network))

    @property
    def backend(self) -> Backend:
        """Back-end of this process."""
        return self._backends.get()

    def find(self, folder: str) -> dict[str, ObjectInfo]:
        """List all objects below a folder."""
        backend = self.backend
        if not backend.lists_deep:
            return self._walk(folder)
        return self._request(folder, lambda seconds: backend.find(folder, seconds), size=LISTING_BYTES)

    def _walk(self, folder: str) -> dict[str, ObjectInfo]:
        """List a tree folder by folder."""
        found: dict[str, ObjectInfo | None] = {}
        pending = [folder]
        while pending:
            below = pending.pop()
            try:
                listing = self.list_folder(below)
            except NotInBucketError:
                if below == folder:
                    return {}
                raise
            pending += listing.folders
            found |= listing.files
        known = {key: info for key, info in found.items() if info is not None}
        unknown = [key for key in found if key not in known]  # a listing over HTTP tells names only
        if unknown:
            known |= dict(zip(unknown, concurrently(self.state, unknown, SMALL_FILES_IN_FLIGHT), strict=True))
        return known

    def list_folder(self, folder: str) -> Listing:
        """List a folder's direct content."""
        backend = self.backend
        return self._request(folder, lambda seconds: backend.list_folder(folder, seconds), size=LISTING_BYTES)

    def folders(self, folder: str) -> list[str]:
        """List a folder's direct folders, sorted; empty if it is absent."""
        try:
            keys = self.list_folder(folder).folders
        except NotInBucketError:
            return []
        names = [key.rpartition("/")[2] for key in keys]
        return sorted(name for name in names if not name.startswith("."))

    def state(self, key: str) -> ObjectInfo:
        """Return an object's present size and ETag."""
        backend = self.backend
        return self._known(self._request(key, lambda seconds: backend.state(key, seconds)))

    def read(self, key: str, start: int | None, stop: int | None, *, most: int, size: int) -> bytes:
        """Read an object or a range of it, at most `most` bytes.

        `size` is the expected number of bytes and determines the time limit.
        """
        return self.ask(key, lambda seconds: self._get_within(seconds, key, start, stop, most=most), size=size)

    def read_within(self, key: str, *, most: int) -> bytes:
        """Read a small object within `patience.PINNED_SECONDS`."""
        network = self._network
        attempts = min(network.attempts, patience.PINNED_ATTEMPTS)
        seconds = min(network.total_seconds, patience.PINNED_SECONDS)
        policy = dataclasses.replace(network, attempts=attempts, total_seconds=seconds)
        hasty = Requests(self.messages, policy, impatient=True)
        try:
            return hasty.ask(key, lambda left: hasty._get_within(left, key, None, None, most=most))
        except BucketUnreachableError as error:
            patience.remember_silent(self.messages, error)
            raise

    def _get_within(self, seconds: float, key: str, start: int | None, stop: int | None, *, most: int) -> bytes:
        content = self._get(seconds, key, start, stop, most=most).content
        if len(content) > most:
            raise WrongAnswerError(
                f"{self.messages.locate(key)}: expected at most {most} bytes, but the server sends more. Check the "
                "address."
            )
        return content

    def _get(self, seconds: float, key: str, start: int | None, stop: int | None, *, most: int) -> Answer:
        """Request an object or a range.

        Reading stops one byte after `most`.
        """
        with self._named(key):
            return self.backend.get(key, start, stop, seconds, most=most)

    def read_whole(self, info: ObjectInfo) -> bytes:
        """Read a whole listed object.

        Large objects are read in `WHOLE_IN_FLIGHT` concurrent parts.
        """
        n_bytes = max(LEAST_PART_BYTES, -(-info.size // WHOLE_IN_FLIGHT))
        backend = self.backend
        if not backend.is_remote or info.size <= n_bytes:
            return self.read_part(info, 0, info.size)
        if not self._request(info.key, lambda seconds: backend.probe(info.key, seconds))[1]:
            return self.read_part(info, 0, info.size)
        starts = range(0, info.size, n_bytes)
        parts = concurrently(
            lambda start: self.read_part(info, start, min(start + n_bytes, info.size)), starts, WHOLE_IN_FLIGHT
        )
        content = b"".join(parts)
        self._expect_bytes(info, content, 0, info.size)
        return content

    def read_part(self, info: ObjectInfo, start: int, stop: int) -> bytes:
        """Read a range of a listed object, complete or not at all."""
        if start == stop:
            return b""
        is_whole = stop - start == info.size

        def cat(seconds: float) -> bytes:
            answer = self._get(seconds, info.key, *((None, None) if is_whole else (start, stop)), most=stop - start)
            if self._has_version(info, answer):
                self._expect_bytes(info, answer.content, start, stop)
            return answer.content

        # Concurrent requests share the line.
        sharing = SMALL_FILES_IN_FLIGHT if is_whole else max(BLOCKS_IN_FLIGHT, WHOLE_IN_FLIGHT)
        return self.ask(info.key, cat, size=(stop - start) * sharing)

    def _has_version(self, info: ObjectInfo, answer: Answer) -> bool:
        """Return True if the answer has the listed ETag.

        Returns False for the ETag of a local copy and raises WrongAnswerError for any other.
        """
        if not (answer.etag and info.etag and answer.etag != info.etag):
            return True
        self.expect_unchanged(info)
        if self.messages.is_local and info.origin == "mirror":
            return False  # its ETag is the bucket's
        raise WrongAnswerError(
            f"{self.messages.locate(info.key)}: expected the ETag {info.etag} of the server's listing, found "
            f"{answer.etag}: a proxy or cache in between returns another version. "
            "Open the data again."
        )

    def _expect_bytes(self, info: ObjectInfo, content: bytes, start: int, stop: int) -> None:
        if len(content) != stop - start:
            self.expect_unchanged(info)
            found = len(content) if len(content) < stop - start else "more"
            raise WrongAnswerError(
                f"{self.messages.locate(info.key)}: expected {stop - start} bytes from byte {start}, found {found}. "
                f"The object was replaced, or the server does not support range requests: open the data "
                "again, or copy them."
            )
        is_whole = len(content) == info.size
        if is_whole and info.size <= KEPT_BYTES and self.is_md5(info) and not self._has_md5(info, content):
            self.expect_unchanged(info)
            raise WrongAnswerError(
                f"{self.messages.locate(info.key)}: the received bytes do not have the MD5 {info.etag} that the "
                "server reports. Open the data again; if it persists, report it."
            )

    def _has_md5(self, info: ObjectInfo, content: bytes) -> bool:
        if hashlib.md5(content, usedforsecurity=False).hexdigest() == info.etag:
            return True
        return self.ask(info.key, lambda seconds: self.backend.is_encrypted(info.key, seconds))

    def is_md5(self, info: ObjectInfo) -> bool:
        """Return True if an ETag is the content's MD5.

        This holds for S3 uploads in one piece without encryption by a key.
        """
        return self.backend.has_md5_etags and is_whole_md5(info.etag)

    @contextmanager
    def open(self, info: ObjectInfo) -> Iterator[BinaryIO]:
        """Open an object, and verify that it is unchanged since listing."""
        backend, key = self.backend, info.key
        state, in_parts = self._request(key, lambda seconds: backend.probe(key, seconds))
        if state:
            # Some servers send a date with whole files only.
            self.expect_unchanged(info, state if state.etag else None)
        file: BinaryIO
        if in_parts:
            # The first requests are sent while the object is inspected.
            file = BlockReader(functools.partial(self.read_part, info), info.size)  # type: ignore[assignment]
        else:
            errors = functools.partial(self.errors_of, key)
            file = self._request(key, lambda seconds: backend.open(key, seconds, errors))
        with file:
            if state is None:
                self.expect_unchanged(info)
            yield file

    def expect_unchanged(self, info: ObjectInfo, now: ObjectInfo | None = None) -> None:
        """Raise DataIntegrityError if an object has changed since listing."""
        now = now or self.state(info.key)
        if now != info:
            raise DataIntegrityError(
                f"{self.messages.locate(info.key)} was replaced: expected {info.size} bytes with ETag {info.etag}, "
                f"found {now.size} bytes with ETag {now.etag}. Open the data again."
            )

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Add subject and advice to a wrong answer's error."""
        try:
            yield
        except NoSuchBucketError as error:
            raise self.messages.no_such_bucket() from error
        except WrongAnswerError as error:
            advice = f"Check the network and the endpoint{self.messages.wording.elsewhere}."
            raise WrongAnswerError(f"{self.messages.locate(key)}: {error}. {advice}") from error.__cause__

    def _request(self, key: str, action: Callable[[float], T], *, size: int = 0) -> T:
        """Call the back-end."""

        def named(seconds: float) -> T:
            with self._named(key):
                return action(seconds)

        return self.ask(key, named, size=size)

    def ask(self, key: str, action: Callable[[float], T], *, size: int = 0) -> T:
        """Call the file system, with retries if it is remote.

        This is the only place that retries. `action` is called with its time limit in seconds; `key` names the object
        in errors, and `size` is its number of bytes.
        """
        if self._impatient:
            patience.raise_if_silent(self.messages, key)
        attempts = Attempts(self._network, size)
        while True:
            try:
                with self.errors_of(key, attempts):
                    return action(attempts.seconds_left)
            except BucketUnreachableError:
                if not (self.backend.is_remote and attempts.again()):
                    raise
            except WrongAnswerError as error:
                if not (self.backend.is_remote and attempts.again()):
                    tried = f"{attempts.count} attempts over {attempts.seconds:.1f} s at {self.messages.endpoint()}"
                    raise DataIntegrityError(f"{error} (In {tried}.)") from error.__cause__

    def errors_of(self, key: str, attempts: Attempts | None = None) -> AbstractContextManager[None]:
        """Map errors of the file system; see `failures.errors_of`."""
        return failures.errors_of(self.messages, key, attempts)
