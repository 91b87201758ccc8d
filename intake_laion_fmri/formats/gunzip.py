"""Gzip decompression by isal, whose fastest reader has a private name."""

from __future__ import annotations

import io
from typing import Any

READ_BYTES = 512 * 1024
"""Packed bytes that are read at a time: isal is no faster with more."""


def open_gzip(file: Any, read_bytes: int = READ_BYTES) -> io.RawIOBase:
    """Return a file's decompressed stream; only `readinto` is used.

    The file is read forward only, `read_bytes` packed bytes at a time; closing it is up to the caller.
    ``isal_zlib._GzipReader`` is what `isal.igzip.IGzipFile` itself reads through. The public class reads and then
    copies, which costs 5 % of a session. It is the fallback for releases of isal without that reader.
    """
    # Imported late: this module is loaded in workers that may never unpack a stream.
    from isal import igzip, isal_zlib

    reader: Any = getattr(isal_zlib, "_GzipReader", None)
    stream: io.RawIOBase = reader(file, read_bytes) if reader else igzip.IGzipFile(fileobj=file, mode="rb")
    return stream
