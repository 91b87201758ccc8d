"""Proofs that a file is an object, by the object's ETag.

The ETag of what was uploaded to S3 in one piece is the MD5 of its content; of what was uploaded in parts it is the MD5
of the parts' MD5s, with the number of parts behind it. The length of the parts is not recorded, but nearly all
programs use one of a few lengths. Any other ETag, such as that of a web server or of a file on a disk, proves nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import re
from pathlib import Path
from typing import Any

from intake_laion_fmri.layout import ObjectInfo

_MIB = 1024 * 1024
PART_BYTES = tuple(
    number * _MIB for number in (8, 5, 16, 50, 64, 100, 15, 10, 32, 20, 25, 128, 256, 512, 1024, 5 * 1024)
)
"""Lengths of parts: of AWS's tools, s3fs, rclone, s3cmd, MinIO's, and of users' own settings."""
_CONSOLE_PART_BYTES = 17_179_870
"""That of AWS's web page."""

_READ_BYTES = 1024 * 1024

_Identity = tuple[str, int, int, int, int, int]


def is_whole_md5(etag: str) -> bool:
    """Return True if an ETag resembles an MD5 of the content."""
    return re.fullmatch("[0-9a-f]{32}", etag) is not None


def can_tell(info: ObjectInfo) -> bool:
    """Return True if an ETag may prove the content."""
    return bool(_part_lengths(info))


def content_is(content: bytes, info: ObjectInfo) -> bool:
    """Return True if the ETag proves the content."""
    return len(content) == info.size and _proved(io.BytesIO(content), info)


def file_is(path: Path, state: os.stat_result, info: ObjectInfo) -> bool:
    """Return True if the ETag proves the file.

    A file is read once for each of its states.
    """
    if state.st_size != info.size or not can_tell(info):
        return False
    with contextlib.suppress(OSError):
        return _file_is(_identity(path, state), info.size, info.etag)
    return False


def crc32_of_file(path: Path, state: os.stat_result) -> int | None:
    """Return a file's CRC-32, or None if it cannot be read.

    A file is read once for each of its states.
    """
    with contextlib.suppress(OSError):
        return _crc32_of_file(_identity(path, state))
    return None


def crc32_of(content: bytes | bytearray | memoryview, start: int = 0) -> int:
    """Update a CRC-32 with further bytes."""
    from isal import isal_zlib

    return int(isal_zlib.crc32(content, start))


@functools.cache
def _file_is(identity: _Identity, size: int, etag: str) -> bool:
    with open(identity[0], "rb") as file:
        return _proved(file, ObjectInfo("", size, etag))


@functools.cache
def _crc32_of_file(identity: _Identity) -> int:
    crc32 = 0
    with open(identity[0], "rb", buffering=0) as file:
        while data := file.read(_READ_BYTES):
            crc32 = crc32_of(data, crc32)
    return crc32


def _identity(path: Path, state: os.stat_result) -> _Identity:
    """Return a file's path and state, which changes with its content.

    The state includes ``ctime``, which programs cannot reset.
    """
    return os.fspath(path), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _part_lengths(info: ObjectInfo) -> list[int]:
    """Return the possible part lengths of an upload.

    0 means an upload in one piece.
    """
    # Idea: the ETag of an upload in parts ends with their number, which few of the usual part lengths can give.
    # Reference: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html, multipart.
    # Cost: the file is read and hashed once per matching length; mostly one.
    if is_whole_md5(info.etag):
        return [0]
    match = re.fullmatch("[0-9a-f]{32}-([0-9]{1,5})", info.etag)
    if not match:
        return []
    count = int(match[1])
    if count == 1:
        return [max(info.size, 1)]
    return [size for size in (*PART_BYTES, _CONSOLE_PART_BYTES) if -(-info.size // size) == count]


def _proved(file: Any, info: ObjectInfo) -> bool:
    for length in _part_lengths(info):
        file.seek(0)
        if (_md5_of_parts(file, length) if length else hashlib.file_digest(file, _md5).hexdigest()) == info.etag:
            return True
    return False


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _md5_of_parts(file: Any, length: int) -> str:
    """Return the ETag of an upload in parts.

    It is the MD5 of the parts' MD5s, followed by the number of parts.
    """
    whole, count = _md5(), 0
    while part := _md5_of_part(file, length):
        whole.update(part)
        count += 1
    return f"{whole.hexdigest()}-{count}"


def _md5_of_part(file: Any, length: int) -> bytes:
    """Return the MD5 of a file's next bytes; empty at its end."""
    found, left = _md5(), length
    while left and (data := file.read(min(left, _READ_BYTES))):
        found.update(data)
        left -= len(data)
    return found.digest() if left < length else b""
