"""Byte streams of an object, abandoned below a minimum speed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import wait as wait_for
from typing import Any, TypeVar

from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.partial import LOOK_SECONDS, PIECE_BYTES, TransferStoppedError
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.remote.backend import WrongAnswerError
from intake_laion_fmri.remote.retry import Attempts, NetworkPolicy
from intake_laion_fmri.remote.s3 import S3Objects, is_encrypted, unread
from intake_laion_fmri.running.forks import PerProcess

MOMENT_SECONDS = 0.5
"""What arrives within so long is handed on together."""

Result = TypeVar("Result")


class ReplacedError(Exception):
    """The object is not the listed version."""


class Stream:
    """Source of an object's bytes."""

    encrypted = False
    """Whether the server has said so; see `is_encrypted`."""

    def __init__(self, bucket: Bucket, info: ObjectInfo, stop: threading.Event) -> None:
        self.info = info
        self._bucket, self._stop = bucket, stop

    def read(self, start: int, stop: int, attempts: Attempts) -> Iterator[bytes]:
        """Yield the bytes from `start` to before `stop`, or fewer."""
        raise NotImplementedError


class BlockStream(Stream):
    """Reads blocks from a disk or any file system with ranges."""

    def read(self, start: int, stop: int, attempts: Attempts) -> Iterator[bytes]:
        """Yield the bytes of a range, block by block."""
        step = PIECE_BYTES if self._bucket.is_local else stop - start
        for offset in range(start, stop, step):
            data = self._bucket.read(self.info.key, offset, min(offset + step, stop))
            if not data:
                raise ReplacedError(f"ends at byte {offset} instead of {self.info.size}")
            yield data


class S3Stream(Stream):
    """Reads the body of an S3 response as it arrives.

    Bytes already received survive a broken connection.
    """

    def __init__(self, bucket: Bucket, info: ObjectInfo, stop: threading.Event, objects: S3Objects) -> None:
        super().__init__(bucket, info, stop)
        self._objects = objects

    def read(self, start: int, stop: int, attempts: Attempts) -> Iterator[bytes]:
        """Yield the bytes of a range as they arrive."""
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
            self._objects.file_system.loop.call_soon_threadsafe(held.close)

    async def _open(self, start: int, stop: int, held: contextlib.ExitStack) -> Any:
        """Request bytes.

        The body is kept so that it can be closed although nobody waits for it.
        """
        response = await self._objects.begin(self.info.key, start, stop)
        held.callback(response["Body"].close)
        return response

    async def _next(self, body: Any, count: int) -> tuple[bytes, Exception | None]:
        """Return the bytes that arrive within a moment, and any final error."""
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
            found += unread(body)
            return bytes(found[:count]), error
        return bytes(found), None

    def _expect_range(self, response: Any, start: int, stop: int) -> None:
        self.encrypted |= is_encrypted(response)
        etag = str(response.get("ETag", "")).strip('"')
        if etag and self.info.etag and etag != self.info.etag:
            raise ReplacedError(f"was replaced: expected the ETag {self.info.etag}, found {etag}")
        found = str(response.get("ContentRange", ""))
        whole = start == 0 and response.get("ContentLength") == stop == self.info.size
        if not found.startswith(f"bytes {start}-") and not whole:
            raise WrongAnswerError(
                f"{self._bucket.locate(self.info.key)}: asked for the bytes from {start} to {stop}, the server gave "
                f"{found or 'all of them'}. Mirroring needs a server that supports range requests."
            )

    def _run(self, coroutine: Coroutine[Any, Any, Result], seconds: float | None) -> Result:
        """Await a coroutine in the file system's loop, unless stopped."""

        async def bounded() -> Result:
            async with asyncio.timeout(seconds):
                return await coroutine

        future = asyncio.run_coroutine_threadsafe(bounded(), self._objects.file_system.loop)
        try:
            while not future.done():
                wait_for([future], timeout=LOOK_SECONDS)
                if self._stop.is_set():
                    raise TransferStoppedError(f"{self.info.key}: stopped on request")
            return future.result()
        except OSError as error:
            if _status(error) == 416:  # it has become shorter
                raise ReplacedError("was replaced while being read") from error
            raise
        finally:
            future.cancel()


def _status(error: BaseException) -> int | None:
    """Return the HTTP status behind an error of s3fs."""
    cause: BaseException | None = error
    while cause is not None:
        response = getattr(cause, "response", None)
        if isinstance(response, dict):
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        cause = cause.__cause__
    return None


class _Line:
    """The network line shared by all requests of this process."""

    def __init__(self) -> None:
        self._count, self._seconds, self._since = 0, 0.0, time.monotonic()
        self._lock = threading.Lock()

    @property
    def seconds(self) -> float:
        """Seconds for which a single request would have occupied the line.

        Idea: time is divided by the number of requests under way, so that each of n answers may be n times slower.
        Cost: O(1) under a lock, at the beginning and end of each request.
        """
        return self._add(0)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Count a request during a ``with`` block."""
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


shared_line = PerProcess(_Line)


class Pace:
    """Speed of an answer, with a lower bound.

    Without the bound, a server that trickles bytes could keep a transfer alive for days.
    """

    def __init__(self, policy: NetworkPolicy) -> None:
        self._policy, self._count = policy, 0
        self._began, self._of_line = time.monotonic(), shared_line.get().seconds

    @property
    def is_slow(self) -> bool:
        """True if the answer is slower than its share of the minimum."""
        return self._count <= self._policy.slowest * (shared_line.get().seconds - self._of_line)

    def received(self, count: int) -> None:
        """Count bytes; raise TimeoutError if they were too slow."""
        self._count += count
        seconds = time.monotonic() - self._began
        if seconds > self._policy.total_seconds and self.is_slow:
            raise TimeoutError(f"{self._count} bytes in {seconds:.0f} s is too slow to continue")
