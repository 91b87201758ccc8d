"""Files over ranged requests, independent of file systems and buckets."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, BinaryIO

from intake_laion_fmri.running.forks import submitted

BLOCK_BYTES = 8 * 1024 * 1024
FIRST_BLOCK_BYTES = 512 * 1024
BLOCKS_IN_FLIGHT = 4
"""Ranged requests under way for one stream: four of 8 MiB hide the latency and fill the line (see benchmarks)."""


class ReadableFile(io.RawIOBase):
    """A file to be read, by the `readinto` of its subclass."""

    def readable(self) -> bool:
        """Return True."""
        return True


class Counted(ReadableFile):
    """A file that reports the bytes read.

    The owner of the inner file closes it.
    """

    def __init__(self, file: BinaryIO, received: Callable[[int], None]) -> None:
        self._file, self._received = file, received

    def readinto(self, target: Any) -> int:
        """Read bytes and report their number."""
        count = self._file.readinto(target)  # type: ignore[attr-defined]
        self._received(count)
        return int(count)


class BlockReader(ReadableFile):
    """A forward-only file over several concurrent ranged requests.

    The blocks are delivered in order. A request is only made when one before it has been taken, which bounds both
    the requests and the memory.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._next = 0
        self._block = memoryview(b"")
        self._pending: deque[Future[bytes]] = deque()
        self._pool = ThreadPoolExecutor(BLOCKS_IN_FLIGHT, thread_name_prefix="laion-stream")
        self._request()

    def readinto(self, target: Any) -> int:
        """Return bytes of the present block; request another when it ends."""
        if not self._block and self._pending:
            self._block = memoryview(self._pending.popleft().result())
            self._request()
        view = memoryview(target).cast("B")
        count = min(len(view), len(self._block))
        view[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def close(self) -> None:
        """Stop requesting."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._block = memoryview(b"")
        super().close()

    def _request(self) -> None:
        while self._next < self._size and len(self._pending) < BLOCKS_IN_FLIGHT:
            # Blocks start small and grow, so that decompression begins with the first bytes.
            length = min(BLOCK_BYTES, max(FIRST_BLOCK_BYTES, self._next))
            stop = min(self._next + length, self._size)
            self._pending.append(submitted(self._pool, self._fetch, self._next, stop))
            self._next = stop


class RangedFile(ReadableFile):
    """A seekable file over ranged requests, each kept.

    It is meant for reading the head of a large file.

    Parameters
    ----------
    fetch : callable
        Returns the bytes from one position to before another.
    size : int
        Of the file.
    piece_bytes : int
        Of a request.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int, piece_bytes: int = 64 * 1024) -> None:
        self._fetch, self._size, self._at, self._piece_bytes = fetch, size, 0, piece_bytes
        self._pieces: dict[int, bytes] = {}

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the position, which may be behind the end."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, target: Any) -> int:
        """Read from the present piece, requested if necessary."""
        number, skipped = divmod(self._at, self._piece_bytes)
        if self._at >= self._size:
            return 0
        if number not in self._pieces:
            start = number * self._piece_bytes
            self._pieces[number] = self._fetch(start, min(start + self._piece_bytes, self._size))
        view = memoryview(target).cast("B")
        found = self._pieces[number][skipped : skipped + len(view)]
        view[: len(found)] = found
        self._at += len(found)
        return len(found)
