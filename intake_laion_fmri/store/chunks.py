"""Chunks of a store: arrays to bytes and back, in Zarr v3.

Each chunk carries a checksum.

Zarr describes an array by its metadata; which bytes that means for a block of betas is known here, so that blocks are
packed and unpacked without Zarr's machinery between, which costs more than the reading. What is written is read by
zarr-python in the tests, and the other way round. This module takes arrays and bytes and opens nothing.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri.store.codecs import CODECS, CRC_BYTES, PACKING_BYTES, crc32c, packed, unpacked, with_sum

_MOST_TRIALS = 100_000
_MOST_CHUNK = 2**31
"""Most bytes of a chunk, which is Blosc's own bound, and more than a session of a whole brain has."""
_MOST_CHUNKS = 2**24
"""Most chunks of an object: as many voxels as it may have."""
_INDEX_ENTRY = np.dtype([("offset", "<u8"), ("nbytes", "<u8")])
_ABSENT = 2**64 - 1
"""What a shard's index says of a chunk that is not there."""


@dataclass(frozen=True)
class ChunkTable:
    """Checksums and sizes of an array's chunks."""

    sums: tuple[int, ...]
    """CRC32C of each chunk."""
    sizes: tuple[int, ...]
    """Stored bytes of each chunk."""

    def to_text(self) -> str:
        """Encode the table: Base64 of sums, then sizes, little-endian 32-bit."""
        return base64.b64encode(np.array([*self.sums, *self.sizes], dtype="<u4").tobytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> ChunkTable:
        """Parse the text of `to_text`; ValueError if it is invalid."""
        numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<u4").tolist()
        if len(numbers) % 2:
            raise ValueError("a chunk table with different numbers of checksums and sizes")
        return cls(tuple(numbers[: len(numbers) // 2]), tuple(numbers[len(numbers) // 2 :]))


@dataclass(frozen=True)
class Part:
    """Adjacent chunks of one object."""

    key: str
    """Key of the object, below the array's."""
    start: int
    """First byte."""
    chunks: tuple[int, ...]
    """Numbers of the chunks, ascending."""
    sums: tuple[int, ...]
    """CRC32C of each."""
    sizes: tuple[int, ...]
    """Stored bytes of each."""

    @property
    def stop(self) -> int:
        """Byte after the last chunk; the object may continue."""
        return self.start + sum(self.sizes)


@dataclass(frozen=True)
class ChunkGrid:
    """Chunk shape and packing of an array of betas."""

    n_trials: int
    """Number of trials, all of them in every chunk."""
    n_voxels: int
    """Number of voxels."""
    item: str
    """Type of the values, ``"float32"`` or ``"float16"``."""
    width: int
    """Voxels per chunk."""
    shard_width: int | None
    """Voxels per object, a multiple of `width`; None for an object per chunk."""
    codec: str
    """One of `CODECS`."""

    @classmethod
    def from_options(
        cls, n_trials: int, n_voxels: int, *, item: str, width: int, shard_width: int | None, codec: str
    ) -> ChunkGrid:
        """Create the grid of the given options.

        Chunks and objects are at most as wide as the array.
        """
        width = min(width, n_voxels)
        if shard_width is not None:
            shard_width = width * max(1, min(shard_width // width, math.ceil(n_voxels / width)))
        return cls(n_trials, n_voxels, item, width, shard_width, codec)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> ChunkGrid:
        """Parse the grid of a Zarr array's metadata.

        Raises
        ------
        ValueError
            If it is no array that this class describes.
        """
        try:
            n_trials, n_voxels = metadata["shape"]
            _, outer = metadata["chunk_grid"]["configuration"]["chunk_shape"]
            configuration = metadata["codecs"][0]["configuration"]
            is_sharded = "chunk_shape" in configuration
            packing = configuration["codecs"] if is_sharded else metadata["codecs"]
            grid = cls(
                n_trials,
                n_voxels,
                metadata["data_type"],
                configuration["chunk_shape"][1] if is_sharded else outer,
                outer if is_sharded else None,
                next((codec["configuration"]["cname"] for codec in packing if codec["name"] == "blosc"), "none"),
            )
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"its metadata lack {error}") from error
        whole = all(type(number) is int and number > 0 for number in (n_trials, n_voxels, grid.width, outer))
        if not whole or grid.item not in ("float32", "float16") or grid.codec not in list(CODECS):
            raise ValueError(f"it is {grid}")
        for name, expected in grid.metadata().items():
            if metadata.get(name) != expected:
                raise ValueError(f"its {name} is {metadata.get(name)!r}, not {expected!r}")
        return grid

    def metadata(self) -> dict[str, Any]:
        """Return entries of a Zarr array's metadata."""
        outer = self.width if self.shard_width is None else self.shard_width
        return {
            "shape": [self.n_trials, self.n_voxels],
            "data_type": self.item,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self.n_trials, outer]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": self.codecs(),
        }

    @property
    def n_chunks(self) -> int:
        """Number of chunks."""
        return math.ceil(self.n_voxels / self.width)

    @property
    def per_object(self) -> int:
        """Chunks per object."""
        return 1 if self.shard_width is None else self.shard_width // self.width

    @property
    def n_objects(self) -> int:
        """Number of objects."""
        return math.ceil(self.n_chunks / self.per_object)

    def object_bytes(self, number: int, table: ChunkTable) -> int:
        """Return an object's size."""
        first = number * self.per_object
        return self._head + sum(table.sizes[first : first + self.per_object])

    def expect_sound(self, table: ChunkTable) -> None:
        """Raise ValueError unless the table fits array and memory."""
        if not self.n_chunks == len(table.sums) == len(table.sizes):
            raise ValueError(f"{self.n_chunks} chunks and {len(table.sums)} checksums")
        most = self.n_trials * self.width * self._dtype.itemsize
        if self.n_trials > _MOST_TRIALS or most > _MOST_CHUNK or self.per_object > _MOST_CHUNKS:
            raise ValueError(f"chunks of {self.n_trials} trials and {most} bytes, {self.per_object} per object")
        if not all(CRC_BYTES < size <= most + PACKING_BYTES for size in table.sizes):
            raise ValueError(f"a chunk of {max(table.sizes)} bytes, where at most {most} are possible")

    def key(self, number: int) -> str:
        """Return an object's key below the array's."""
        return f"c/0/{number}"

    def codecs(self) -> list[dict[str, Any]]:
        """Return Zarr's description of the chunks' codecs."""
        to_bytes = {"name": "bytes", "configuration": {"endian": "little"}}
        packing = CODECS.get(self.codec)
        blosc = [{"name": "blosc", "configuration": {"typesize": self._dtype.itemsize, **packing}}] if packing else []
        inner: list[dict[str, Any]] = [to_bytes, *blosc, {"name": "crc32c"}]
        if self.shard_width is None:
            return inner
        shard = {
            "chunk_shape": [self.n_trials, self.width],
            "codecs": inner,
            "index_codecs": [to_bytes, {"name": "crc32c"}],
            "index_location": "start",  # where it is found without the object's size
        }
        return [{"name": "sharding_indexed", "configuration": shard}]

    def encoding(self) -> dict[str, Any]:
        """Return the encoding for xarray's ``to_zarr``."""
        from zarr.codecs import BloscCodec, Crc32cCodec

        packing = CODECS[self.codec]
        blosc = [BloscCodec(typesize=self._dtype.itemsize, **packing)] if packing else []
        encoding: dict[str, Any] = {"chunks": (self.n_trials, self.width), "compressors": (*blosc, Crc32cCodec())}
        if self.shard_width is not None:
            encoding["shards"] = {"shape": (self.n_trials, self.shard_width), "index_location": "start"}
        return encoding

    def voxels_of(self, number: int) -> slice:
        """Return the voxels of an object."""
        start = number * self.per_object * self.width
        return slice(start, min(start + self.per_object * self.width, self.n_voxels))

    def pack(self, values: NDArray[Any]) -> tuple[list[bytes], ChunkTable]:
        """Encode the voxels of one object, shape (trial, voxel).

        The result is the object, in pieces, and the table of its chunks.
        """
        chunks = [self._pack_chunk(values[:, at : at + self.width]) for at in range(0, values.shape[1], self.width)]
        table = ChunkTable(tuple(map(crc32c, chunks)), tuple(len(chunk) + CRC_BYTES for chunk in chunks))
        content = self._index(table.sizes)
        for chunk in chunks:
            content += with_sum(chunk)
        return content, table

    def parts(self, chunks: Sequence[int] | NDArray[np.integer[Any]], table: ChunkTable) -> list[Part]:
        """List the byte ranges of ascending chunks.

        `table` is of all chunks.

        Chunks that lie side by side in an object are read together.
        """
        # Idea: runs of consecutive chunks within an object are one range; cumulated sizes give where each begins.
        # Reference: docs/store-format.md, "sharding_indexed" of the Zarr v3 specification with the index at the start.
        # Cost: O(chunks of the array) for the sums of sizes, and a slice per range; no index is read.
        numbers = np.asarray(chunks, dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(table.sizes)])
        begins = (np.diff(numbers) != 1) | (np.diff(numbers // self.per_object) != 0)
        parts = []
        for run in np.split(numbers, np.flatnonzero(begins) + 1) if len(numbers) else []:
            first, last = int(run[0]), int(run[-1])
            number = first // self.per_object
            start = self._head + int(offsets[first] - offsets[number * self.per_object])
            of_run = slice(first, last + 1)
            parts.append(
                Part(self.key(number), start, tuple(range(first, last + 1)), table.sums[of_run], table.sizes[of_run])
            )
        return parts

    def unpack(self, part: Part, content: bytes) -> Iterator[NDArray[Any]]:
        """Yield a part's decoded chunks, in order.

        Each has the shape (trial, voxel); the last chunk of the array is padded with NaN. Raises ValueError, naming the
        chunk, if the bytes differ from their checksum.
        """
        view = memoryview(content)
        if len(view) != sum(part.sizes):
            raise ValueError(f"expected {sum(part.sizes)} bytes from byte {part.start}, found {len(view)}")
        start = 0
        for chunk, expected, size in zip(part.chunks, part.sums, part.sizes, strict=True):
            stored_chunk = view[start : start + size - CRC_BYTES]
            stored = int.from_bytes(view[start + size - CRC_BYTES : start + size], "little")
            start += size
            found = crc32c(np.frombuffer(stored_chunk, dtype=np.uint8))
            if not expected == stored == found:
                raise ValueError(f"chunk {chunk}: expected the CRC32C {expected:08x}, found {found:08x} ({stored:08x})")
            data = unpacked(stored_chunk, self.codec, self._dtype.itemsize, self.n_trials * self.width)
            if len(data) != self.n_trials * self.width * self._dtype.itemsize:
                raise ValueError(f"chunk {chunk}: {len(data)} bytes are not {self.n_trials} x {self.width} values")
            yield np.frombuffer(data, dtype=self._dtype).reshape(self.n_trials, self.width)

    def check_object(self, number: int, content: bytes, table: ChunkTable) -> None:
        """Raise ValueError unless a whole object matches its record.

        `table` is of all chunks of the array.
        """
        first = number * self.per_object
        (part,) = self.parts(range(first, min(first + self.per_object, self.n_chunks)), table)
        if len(content) != part.stop:
            raise ValueError(f"expected {part.stop} bytes, found {len(content)}")
        if content[: part.start] != b"".join(self._index(part.sizes)):
            raise ValueError("its chunk index is not the one that was written")
        for _ in self.unpack(part, content[part.start :]):
            pass

    def _index(self, sizes: Sequence[int]) -> list[bytes]:
        """Return a shard's leading index: each chunk's position and size."""
        if self.shard_width is None:
            return []
        index = np.full(self.per_object, _ABSENT, dtype="<u8").repeat(2).view(_INDEX_ENTRY)
        index["nbytes"][: len(sizes)] = sizes
        index["offset"][: len(sizes)] = self._head + np.cumsum([0, *sizes[:-1]])
        return with_sum(index.tobytes())

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(self.item).newbyteorder("<")

    @property
    def _head(self) -> int:
        """Bytes of an object before its first chunk."""
        return 0 if self.shard_width is None else self.per_object * _INDEX_ENTRY.itemsize + CRC_BYTES

    def _pack_chunk(self, values: NDArray[Any]) -> bytes:
        if values.shape[1] < self.width:
            padded = np.full((self.n_trials, self.width), np.nan, dtype=values.dtype)
            padded[:, : values.shape[1]] = values
            values = padded
        return packed(values.astype(self._dtype, copy=False).tobytes(), self.codec, self._dtype.itemsize)
