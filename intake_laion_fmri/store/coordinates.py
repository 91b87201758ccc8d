"""Coordinates of a store, decoded in bounded memory, even if damaged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TEXT = "string"
TYPES = frozenset(
    {_TEXT, "bool", "float16", "float32", "float64"}
    | {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
)
"""Types of Zarr that arrays of a store may have; NumPy takes memory by what others say."""

_MOST_BYTES = 256 * 1024 * 1024
"""Most that the only chunk of a coordinate may unpack to; the largest is that of ROIs: 25 MB."""


def decode(metadata: Mapping[str, Any], content: bytes) -> NDArray[Any]:
    """Decode an array's only chunk.

    Raises
    ------
    ValueError, KeyError, TypeError
        If it is not what the metadata say.
    """
    from numcodecs.vlen import VLenUTF8

    shape, kind = metadata["shape"], metadata["data_type"]
    if kind not in TYPES:
        raise ValueError(f"values of the type {kind!r}")
    for codec in reversed(metadata["codecs"]):
        if codec["name"] == "crc32c":
            content = content[:-4]
        elif codec["name"] == "zstd":
            content = _unpacked(content)
    count = math.prod(shape)
    if kind != _TEXT:
        expected = count * np.dtype(kind).itemsize
        if len(content) != expected:
            raise ValueError(f"expected {expected} bytes, found {len(content)}")
        values: NDArray[Any] = np.frombuffer(content, dtype=np.dtype(kind).newbyteorder("<")).astype(kind)
        # xarray before 2026.9 writes booleans as integers, with an attribute.
        is_truth = metadata.get("attributes", {}).get("dtype") == "bool"
        return (values.astype(bool) if is_truth else values).reshape(shape)
    # The header holds the number of strings, each of which takes at least four bytes.
    if int.from_bytes(content[:4], "little") != count or 4 * count > len(content):
        raise ValueError(f"expected {count} texts, found {int.from_bytes(content[:4], 'little')}")
    return np.asarray(VLenUTF8().decode(content)).reshape(shape)


def _unpacked(content: bytes) -> bytes:
    from numcodecs.zstd import Zstd

    size = _size_of_frame(content)
    if size > _MOST_BYTES:
        raise ValueError(f"{size} bytes, more than {_MOST_BYTES}")
    try:
        return bytes(Zstd().decode(content))
    except RuntimeError as error:
        raise ValueError(str(error)) from error


def _size_of_frame(content: bytes) -> int:
    """Return a Zstandard frame's declared size (RFC 8878).

    Decompression takes that much memory.
    """
    if content[:4] != b"\x28\xb5\x2f\xfd":
        raise ValueError("not a Zstandard frame")
    descriptor = content[4]
    flag, single, dictionary = descriptor >> 6, descriptor >> 5 & 1, (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[flag]
    start = 5 + (1 - single) + dictionary
    if not width or len(content) < start + width:
        raise ValueError("a Zstandard frame without its size")
    return int.from_bytes(content[start : start + width], "little") + (256 if width == 2 else 0)
