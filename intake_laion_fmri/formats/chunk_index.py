"""Index of an HDF5 data set's chunks, which are then read without HDF5.

HDF5 reads one chunk at a time.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.formats.masks import Broken

GZIP, SHUFFLE, FLETCHER32 = 1, 2, 3
"""The filters that HDF5 brings along; others are code that a file could choose."""

REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""An element of variable length, as it is stored: its items are elsewhere, in the heap at the address."""


@dataclass(frozen=True, eq=False)
class ChunkIndex:
    """Positions of a data set's chunks in its file.

    With it, chunks are read without HDF5, and many at a time.
    """

    shape: tuple[int, ...]
    """Of the data set."""
    chunk: tuple[int, ...]
    """Shape of a chunk; those at the upper borders are as large, and padded."""
    dtype: np.dtype[Any]
    """As stored; `REFERENCE` where elements have a variable length."""
    filters: tuple[int, ...]
    """In the order in which they were applied."""
    starts: NDArray[np.int64]
    """Shape (chunk,), C order of the chunks' grid: first byte in the file."""
    sizes: NDArray[np.int64]
    """Shape (chunk,): bytes in the file."""
    left_out: NDArray[np.int64]
    """Shape (chunk,): bit k is set where filter k was not applied, as it gained nothing."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each dimension."""
        return grid_of(self.shape, self.chunk)

    def to_bytes(self) -> bytes:
        """Serialise the index: 100 kB for 24,011 chunks.

        `from_bytes` is the inverse.
        """
        file = io.BytesIO()
        about = {"shape": self.shape, "chunk": self.chunk, "dtype": self.dtype.str, "filters": self.filters}
        gaps = np.diff(self.starts, prepend=0)
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        np.savez_compressed(file, about=text, gaps=gaps, sizes=self.sizes, left_out=self.left_out)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> ChunkIndex:
        """Parse the bytes of `to_bytes`, which hold numbers only."""
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            about = json.loads(kept["about"].tobytes())
            starts = np.cumsum(kept["gaps"])
            shape, chunk, filters = (tuple(about[name]) for name in ("shape", "chunk", "filters"))
            return cls(shape, chunk, np.dtype(about["dtype"]), filters, starts, kept["sizes"], kept["left_out"])

    def chunks_of(self, row: int) -> range:
        """List the chunks of a row along the first dimension."""
        n = int(np.prod(self.grid[1:]))
        first = row // self.chunk[0] * n
        return range(first, first + n)

    def row(self, row: int, contents: Sequence[bytes], *, name: str) -> NDArray[Any]:
        """Assemble a row from its chunks.

        Parameters
        ----------
        row : int
            Index along the first dimension.
        contents : sequence of bytes
            Of its chunks, as they are in the file: see `chunks_of`.
        name : str
            What to call the file in errors.

        Returns
        -------
        array
            Shape of the data set without its first dimension.

        Raises
        ------
        DataIntegrityError
            If a chunk cannot be unpacked to its size.
        """
        result = np.empty(self.shape[1:], dtype=self.dtype)
        for number, content in zip(self.chunks_of(row), contents, strict=True):
            where = np.unravel_index(number, self.grid)[1:]
            at = [slice(int(k) * n, int(k) * n + n) for k, n in zip(where, self.chunk[1:], strict=True)]
            block = self.unpack(number, content, name=name)[row % self.chunk[0]]
            target = result[tuple(at)]
            target[...] = block[tuple(slice(n) for n in target.shape)]
        return result

    def unpack(self, number: int, content: bytes, *, name: str) -> NDArray[Any]:
        """Reverse a chunk's filters; errors as in `row`."""
        broken, n_bytes = Broken(name), int(np.prod(self.chunk)) * self.dtype.itemsize
        if len(content) != self.sizes[number]:
            raise broken(f"chunk {number}: expected {self.sizes[number]} bytes, found {len(content)}")
        for k, kind in reversed(list(enumerate(self.filters))):
            if self.left_out[number] >> k & 1:
                continue
            try:
                content = _UNDO[kind](content, n_bytes, self.dtype.itemsize)
            except (zlib.error, ValueError) as error:
                raise broken(f"chunk {number}: {error}") from error
        if len(content) != n_bytes:
            raise broken(f"chunk {number}: expected {n_bytes} bytes once unpacked, found {len(content)}")
        return np.frombuffer(content, dtype=self.dtype).reshape(self.chunk)


def grid_of(shape: tuple[int, ...], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """Return the number of chunks along each dimension."""
    return tuple(-(-n // step) for n, step in zip(shape, chunk, strict=True))


def _unpack_gzip(content: bytes, n_bytes: int, item: int) -> bytes:
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(content, n_bytes + 4 + 1)  # a checksum may follow what is packed
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("expected a complete zlib stream, found a longer or a broken one")
    return found


def _unshuffle(content: bytes, n_bytes: int, item: int) -> bytes:
    n = len(content) // item
    rest = content[n * item :]
    return np.frombuffer(content, np.uint8, n * item).reshape(item, n).T.tobytes() + rest


def _strip_checksum(content: bytes, n_bytes: int, item: int) -> bytes:
    if len(content) < 4:
        raise ValueError("expected a checksum, found less")
    return content[:-4]


_UNDO = {GZIP: _unpack_gzip, SHUFFLE: _unshuffle, FLETCHER32: _strip_checksum}
