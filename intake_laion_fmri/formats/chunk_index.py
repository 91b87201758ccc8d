"""Index of an HDF5 data set's chunks, for concurrent reads without HDF5."""

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
"""The built-in filters of HDF5; others would be plugin code chosen by a file."""

REFERENCE = np.dtype([("length", "<u4"), ("address", "<u8"), ("index", "<u4")])
"""A stored variable-length element: its items are in the heap at the address."""


@dataclass(frozen=True, eq=False)
class ChunkIndex:
    """Positions of a data set's chunks in its file."""

    shape: tuple[int, ...]
    """Shape of the data set."""
    chunk: tuple[int, ...]
    """Shape of a chunk; chunks at the upper borders are padded to it."""
    dtype: np.dtype[Any]
    """Stored type; `REFERENCE` for elements of variable length."""
    filters: tuple[int, ...]
    """Filters in the order in which they were applied."""
    starts: NDArray[np.int64]
    """Shape (chunk,), C order of the chunks' grid: first byte in the file."""
    sizes: NDArray[np.int64]
    """Shape (chunk,): bytes in the file."""
    left_out: NDArray[np.int64]
    """Shape (chunk,): bit k is set if filter k was skipped because it saved nothing."""

    @property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each dimension."""
        return grid_of(self.shape, self.chunk)

    def to_bytes(self) -> bytes:
        """Serialise the index for `from_bytes`: 100 kB for 24,011 chunks."""
        file = io.BytesIO()
        about = {"shape": self.shape, "chunk": self.chunk, "dtype": self.dtype.str, "filters": self.filters}
        gaps = np.diff(self.starts, prepend=0)
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        np.savez_compressed(file, about=text, gaps=gaps, sizes=self.sizes, left_out=self.left_out)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> ChunkIndex:
        """Parse the bytes of `to_bytes`, without pickle."""
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
            Stored bytes of the chunks that `chunks_of` lists.
        name : str
            Name of the file for errors.

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
    found = unpacking.decompress(content, n_bytes + 4 + 1)  # a checksum may follow the packed bytes
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("expected a complete zlib stream, found a longer or broken one")
    return found


def _unshuffle(content: bytes, n_bytes: int, item: int) -> bytes:
    n = len(content) // item
    rest = content[n * item :]
    return np.frombuffer(content, np.uint8, n * item).reshape(item, n).T.tobytes() + rest


def _strip_checksum(content: bytes, n_bytes: int, item: int) -> bytes:
    if len(content) < 4:
        raise ValueError(f"expected a checksum of 4 bytes, found {len(content)} bytes")
    return content[:-4]


_UNDO = {GZIP: _unpack_gzip, SHUFFLE: _unshuffle, FLETCHER32: _strip_checksum}
