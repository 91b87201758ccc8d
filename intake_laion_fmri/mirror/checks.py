"""Checks of a file against its object: ETag, gzip stream, size."""

from __future__ import annotations

import gzip
import hashlib
import threading
from pathlib import Path
from typing import Any

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.formats.gunzip import open_gzip
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.partial import PIECE_BYTES, DamagedError, TransferStoppedError
from intake_laion_fmri.remote.proofs import crc32_of
from intake_laion_fmri.remote.stream import ReadableFile

UNPACKED_BYTES = 64 * 1024**3
"""A gzip stream that unpacks to more is not unpacked on: the largest of the data set has 12.2 GB."""

MD5, GZIP, SIZE = "md5", "gzip", "size"
"""How a file is checked: by its ETag, by its stream's own CRC-32 and length, or by its size alone."""


def check_file(path: Path, info: ObjectInfo, how: str, *, stop: threading.Event | None = None) -> int:
    """Verify a file and return its CRC-32.

    Raises DataIntegrityError if the file is not the object.

    It is checked by its ETag, by its gzip stream or by its size, as `how` says: `MD5`, `GZIP` or `SIZE`. Once `stop` is
    set, `TransferStoppedError` is raised.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return check_stream(file, info, how, stop or threading.Event())
    except DamagedError as error:
        raise DataIntegrityError(f"{path} {error}. Fetch it again.") from error


class _Summed(ReadableFile):
    """A file that counts and checksums the bytes read."""

    def __init__(self, file: Any, *, md5: bool) -> None:
        self._file = file
        self.count, self.crc32 = 0, 0
        self.md5 = hashlib.md5(usedforsecurity=False) if md5 else None

    def readinto(self, target: Any) -> int:
        view = memoryview(target).cast("B")
        count = int(self._file.readinto(view))
        self.count += count
        self.crc32 = crc32_of(view[:count], self.crc32)
        if self.md5:
            self.md5.update(view[:count])
        return count


def check_stream(file: Any, info: ObjectInfo, how: str, stop: threading.Event) -> int:
    """Verify a file object and return its CRC-32, or raise DamagedError."""
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
                raise TransferStoppedError(f"{info.key}: stopped on request")
    except corrupt as error:
        raise DamagedError(f"is not a valid gzip stream: {error}") from error
    if summed.count != info.size:
        raise DamagedError(f"has {summed.count} bytes, expected {info.size}")
    if summed.md5 and summed.md5.hexdigest() != info.etag:
        raise DamagedError(f"has the MD5 {summed.md5.hexdigest()}, expected {info.etag}")
    return summed.crc32
