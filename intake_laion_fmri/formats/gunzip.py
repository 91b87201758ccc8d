"""Gzip decompression by isal, whose fastest reader has a private name."""

from __future__ import annotations

import io
from typing import Any

READ_BYTES = 512 * 1024
"""Packed bytes per read; larger reads are not faster."""


def open_gzip(file: Any, read_bytes: int = READ_BYTES) -> io.RawIOBase:
    """Return a file's decompressed stream; only `readinto` is used.

    The file is read forward only, `read_bytes` packed bytes at a time, and not closed. The reader is
    ``isal_zlib._GzipReader``, on which the public `isal.igzip.IGzipFile` is based: the latter also copies, which costs
    5 % of a session, and is the fallback for releases of isal without that reader.
    """
    # Imported late, as workers may load this module without decompressing a stream.
    from isal import igzip, isal_zlib

    reader: Any = getattr(isal_zlib, "_GzipReader", None)
    stream: io.RawIOBase = reader(file, read_bytes) if reader else igzip.IGzipFile(fileobj=file, mode="rb")
    return stream
