"""Partial files: received bytes of an object that is not yet complete.

The data lie at their offsets in a file as long as the object; beside it lies the sum of each piece that is complete,
so that a run that was killed is continued by any other, and damage of the disk is noticed. One process at a time works
on a partial file; see `transfer`.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.proofs import crc32_of
from intake_laion_fmri.remote.records import name_of, read_own
from intake_laion_fmri.remote.stream import ReadableFile

PIECE_BYTES = 1024 * 1024
"""What is kept of a transfer that is killed: whole pieces of this size."""

LOOK_SECONDS = 0.2
"""Seconds within which a transfer notices that it is to stop."""

_ENTRY = struct.Struct("<Q")
"""Sum of a piece plus 2**32; 0 where it has not been received."""


class TransferStoppedError(Exception):
    """The transfer was stopped; received bytes are kept."""


class DamagedError(Exception):
    """A file is damaged; the message continues the file's name."""


class PartialFile:
    """The received part of one version of an object, on disk.

    Runs of pieces are assigned in ascending order, and pieces are written in any order.
    """

    def __init__(
        self,
        path: Path,
        within: Path,
        info: ObjectInfo,
        piece_bytes: int,
        stop: threading.Event,
        *,
        private: bool = False,
    ) -> None:
        self.info = info
        self.piece_bytes = piece_bytes
        self.n_pieces = -(-info.size // piece_bytes)
        self.error: BaseException | None = None
        self._path, self._within, self._stop = path, within, stop
        self._changed = threading.Condition()
        self._front = 0
        with contextlib.ExitStack() as opened:
            self.data = opened.enter_context(atomic.open_in_place(path, within=within, private=private))
            self.data.truncate(info.size)
            # An object of one piece is never partially complete.
            self._state = opened.enter_context(self._open_state()) if self.n_pieces > 1 else None
            self._header_bytes = self._state.tell() if self._state else 0
            self._done = self._restore()
            self._open = opened.pop_all()
        self._taken = list(self._done)
        self._advance()

    def __enter__(self) -> PartialFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def length(self, number: int) -> int:
        """Return the length of a piece in bytes."""
        return min(self.piece_bytes, self.info.size - number * self.piece_bytes)

    def take(self, limit: int) -> tuple[int, int] | None:
        """Return start and stop of the next bytes to request.

        None if all are received, or the transfer has failed.
        """
        # Idea: the first run of pieces that nobody has taken, as long as a request may be; pieces of earlier runs are
        # skipped. Cost: O(pieces) a request; a full-size session has 1,200 of them.
        with self._changed:
            if self.error or False not in self._taken:
                return None
            first = self._taken.index(False)
            stop = first
            while stop < self.n_pieces and not self._taken[stop] and (stop + 1 - first) * self.piece_bytes <= limit:
                self._taken[stop] = True
                stop += 1
            if stop == first:  # a piece may be longer than a request should be
                self._taken[first] = True
                stop += 1
            return first * self.piece_bytes, min(stop * self.piece_bytes, self.info.size)

    def put(self, number: int, content: bytes | bytearray) -> None:
        """Write a piece, then its checksum.

        A recorded checksum thus implies written data.
        """
        with self._changed:
            self.data.seek(number * self.piece_bytes)
            _write_all(self.data, content)
            if self._state:
                self._state.seek(self._header_bytes + number * _ENTRY.size)
                _write_all(self._state, _ENTRY.pack(2**32 + crc32_of(content)))
            self._done[number] = True
            self._advance()
            self._changed.notify_all()

    def fail(self, error: BaseException | None) -> None:
        """End the transfer with the first error."""
        if error is not None:
            with self._changed:
                self.error = self.error or error
                self._changed.notify_all()

    def expect_going_on(self) -> None:
        """Raise if the transfer has failed or was stopped."""
        if self._stop.is_set() or self.error:
            raise TransferStoppedError(f"{self.info.key}: stopped on request")

    def wait_beyond(self, offset: int) -> int:
        """Wait until bytes beyond an offset are received; return their end."""
        with self._changed:
            while self._front <= offset < self.info.size:
                self.expect_going_on()
                self._changed.wait(LOOK_SECONDS)
            return self._front

    def read_into(self, offset: int, target: memoryview) -> None:
        """Read received bytes."""
        with self._changed:
            self.data.seek(offset)
            count = self.data.readinto(target)
        if count != len(target):
            raise DamagedError(f"lost bytes in {self._path}: expected {len(target)} at {offset}, found {count}")

    def sync(self) -> None:
        """Flush the data to disk before the file gets its name."""
        atomic.sync(self.data)

    def _advance(self) -> None:
        number = -(-self._front // self.piece_bytes)
        while number < self.n_pieces and self._done[number]:
            number += 1
        self._front = min(number * self.piece_bytes, self.info.size)

    def _open_state(self) -> io.FileIO:
        """Open the checksums of pieces, behind their header.

        New and empty unless they belong to this transfer.
        """
        path, info = self._path.with_suffix(".state"), self.info
        header = {"key": info.key, "etag": info.etag, "size": info.size, "piece": self.piece_bytes}
        line = json.dumps(header).encode() + b"\n"
        found = read_state(path)
        if found is None or found[0] != header or len(found[1]) != self.n_pieces:
            atomic.write_whole(path, line + bytes(_ENTRY.size * self.n_pieces), within=self._within)
        state = atomic.open_in_place(path, within=self._within)
        state.seek(len(line))
        return state

    def _restore(self) -> list[bool]:
        """Return flags of the pieces on disk with a valid checksum."""
        if not self._state:
            return [False] * self.n_pieces
        sums = [crc32 for (crc32,) in _ENTRY.iter_unpack(self._state.read(_ENTRY.size * self.n_pieces))]
        buffer = memoryview(bytearray(self.piece_bytes))
        done = []
        for number, expected in enumerate(sums):
            if expected:
                self.expect_going_on()
                self.data.seek(number * self.piece_bytes)
                piece = buffer[: self.length(number)]
                done.append(self.data.readinto(piece) == len(piece) and 2**32 + crc32_of(piece) == expected)
            else:
                done.append(False)
        return done


class PieceWriter:
    """Writes a run of bytes into a partial file, piece by piece.

    Arriving bytes need not end at a piece's end.
    """

    def __init__(self, partial: PartialFile, start: int, stop: int) -> None:
        self.offset = start
        self._partial, self._stop = partial, stop
        self._piece = bytearray()

    def write(self, data: bytes) -> None:
        """Take the next bytes of the run."""
        view = memoryview(data)
        if self.offset + len(view) > self._stop:
            raise DataIntegrityError(f"{self._partial.info.key}: the response is longer than requested.")
        while view:
            number = (self.offset - len(self._piece)) // self._partial.piece_bytes
            part = view[: self._partial.length(number) - len(self._piece)]
            self._piece += part
            self.offset += len(part)
            view = view[len(part) :]
            if len(self._piece) == self._partial.length(number):
                self._partial.put(number, self._piece)
                self._piece = bytearray()


class Front(ReadableFile):
    """Received bytes of an object, as a file that waits for more."""

    def __init__(self, partial: PartialFile) -> None:
        self._partial, self._offset = partial, 0

    def readinto(self, target: Any) -> int:
        """Read available bytes into `target`; wait while there are none."""
        view = memoryview(target).cast("B")
        count = min(len(view), self._partial.wait_beyond(self._offset) - self._offset)
        if count:
            self._partial.read_into(self._offset, view[:count])
        self._offset += count
        return count


def received_before(folder: MirrorFolder, info: ObjectInfo) -> int:
    """Return the number of bytes kept from earlier runs."""
    found = read_state(part_of(folder, info).with_suffix(".state"))
    if found is None:
        return 0
    header, sums = found
    whole = sum(map(bool, sums)) * header["piece"]
    return min(whole, info.size) if header["etag"] == info.etag and header["size"] == info.size else 0


def partial_objects(folder: MirrorFolder) -> Iterator[tuple[ObjectInfo, int]]:
    """Yield partially received objects and their received bytes."""
    for path in sorted((folder.metadata / "partial").glob("*.state")):
        found = read_state(path)
        if found:
            header, _ = found
            info = ObjectInfo(str(header["key"]), header["size"], str(header["etag"]))
            yield info, received_before(folder, info)


def part_of(folder: MirrorFolder, info: ObjectInfo) -> Path:
    """Return the path of the partial data of an object's version."""
    return folder.metadata / "partial" / f"{name_of(info.key)}.{name_of(info.key, info.etag)[:16]}.part"


def read_state(path: Path) -> tuple[dict[str, Any], list[int]] | None:
    """Return header and checksums of a partial file, or None."""
    try:
        line, _, entries = read_own(path).partition(b"\n")
        header = json.loads(line)
        size, piece = int(header["size"]), int(header["piece"])
        sums = [crc32 for (crc32,) in _ENTRY.iter_unpack(entries)]
        sound = isinstance(header["key"], str) and isinstance(header["etag"], str) and size >= 0 and piece > 0
    except (OSError, ValueError, TypeError, KeyError, struct.error):
        return None
    return (header, sums) if sound and len(sums) == -(-size // piece) else None


def _write_all(file: io.FileIO, content: bytes | bytearray) -> None:
    """Write all bytes to an unbuffered file.

    On a nearly full disk it may take fewer at a time.
    """
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]
