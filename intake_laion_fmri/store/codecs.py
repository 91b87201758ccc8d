"""Codecs of a chunk: optional Blosc, then a CRC32C."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Codec = Literal["none", "lz4", "zstd"]
"""Name of a codec; `CODECS` has its configuration."""

CODECS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "lz4": {"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0},
    "zstd": {"cname": "zstd", "clevel": 1, "shuffle": "bitshuffle", "blocksize": 0},
}
"""Name of a codec → the configuration of Zarr's ``blosc`` codec, without the size of items; ``none`` packs nothing."""

CRC_BYTES = 4
_BLOSC_HEADER = 16
PACKING_BYTES = _BLOSC_HEADER + CRC_BYTES


def crc32c(content: bytes | NDArray[np.uint8]) -> int:
    """Return the CRC32C of bytes, as Zarr's codec computes it.

    A part of other bytes need not be copied: the library refuses a memoryview, and takes an array of it.
    """
    import google_crc32c

    if google_crc32c.implementation != "c":  # written in Python it takes bytes
        content = bytes(content)
    value: int = google_crc32c.value(content)
    return value


def with_sum(content: bytes) -> list[bytes]:
    """Return content and its CRC32C as two pieces."""
    return [content, crc32c(content).to_bytes(CRC_BYTES, "little")]


def packed(block: bytes, codec: str, itemsize: int) -> bytes:
    """Encode a chunk's values, without the checksum."""
    if not CODECS[codec]:
        return block
    content: bytes = _blosc(codec, itemsize).encode(block)
    return content


def unpacked(content: memoryview, codec: str, itemsize: int, n_values: int) -> bytes | memoryview:
    """Decode a chunk's values.

    Raises ValueError if Blosc does not decode it to the expected number of bytes.
    """
    if not CODECS[codec]:
        return content
    # Blosc allocates the size given in the header.
    n_bytes = int.from_bytes(content[4:8], "little")
    if len(content) < _BLOSC_HEADER or n_bytes != n_values * itemsize:
        raise ValueError(f"a chunk that unpacks to {n_bytes} bytes")
    try:
        return bytes(_blosc(codec, itemsize).decode(content))
    except RuntimeError as error:
        raise ValueError(f"a chunk that cannot be unpacked ({error})") from error


@functools.cache
def _blosc(codec: str, itemsize: int) -> Any:
    from numcodecs.blosc import BITSHUFFLE, Blosc

    packing = {**CODECS[codec], "shuffle": BITSHUFFLE}
    return Blosc(**packing, typesize=itemsize)
