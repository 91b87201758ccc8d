"""The chunks of a store: arrays to bytes and back, in standard Zarr v3, with a checksum on each.

Zarr describes an array by its metadata; which bytes that means for a block of betas is known here, so that blocks are
packed and unpacked without Zarr's machinery between, which costs more than the reading. What is written is read by
zarr-python in the tests, and the other way round. This module takes arrays and bytes and opens nothing.
"""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CODECS",
    "DTYPES",
    "ChunkGrid",
    "ChunkTable",
    "Codec",
    "Dtype",
    "Part",
    "Rounding",
    "crc32c",
]

Buffer = bytes | memoryview

Codec = Literal["none", "lz4", "zstd"]
"""Name of a codec; `CODECS` has its configuration."""

CODECS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "none": MappingProxyType({}),
        "lz4": MappingProxyType({"cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0}),
        "zstd": MappingProxyType({"cname": "zstd", "clevel": 1, "shuffle": "bitshuffle", "blocksize": 0}),
    }
)
"""Name of a codec → the configuration of Zarr's ``blosc`` codec, without the size of items; ``none`` packs nothing."""

Dtype = Literal["float32", "bitround", "float16"]
"""How betas are stored: as they are; float32 with rounded mantissas; half precision."""

DTYPES: tuple[Dtype, ...] = get_args(Dtype)

_CRC_BYTES = 4
_BLOSC_HEADER = 16
_PACKING_BYTES = _BLOSC_HEADER + _CRC_BYTES
_MOST_TRIALS = 100_000
_MOST_CHUNK = 2**31
"""Most bytes of a chunk, which is Blosc's own bound, and more than a session of a whole brain has."""
_MOST_CHUNKS = 2**24
"""Most chunks of an object: as many voxels as it may have."""
_INDEX_ENTRY = np.dtype([("offset", "<u8"), ("nbytes", "<u8")])
_ABSENT = 2**64 - 1
"""What a shard's index says of a chunk that is not there."""


def crc32c(content: bytes) -> int:
    """Return the CRC32C of some bytes, as Zarr's codec of that name computes it."""
    import google_crc32c

    value: int = google_crc32c.value(content)
    return value


@dataclass(frozen=True)
class Rounding:
    """How values are changed before they are stored."""

    dtype: str
    """One of `DTYPES`."""
    keep_bits: int | None = None
    """For ``bitround``: the bits of the mantissa that are kept, 1 to 23."""

    @property
    def item(self) -> str:
        """Type of the stored values, as NumPy spells it."""
        return "float16" if self.dtype == "float16" else "float32"

    @property
    def attrs(self) -> dict[str, Any]:
        """What the betas say of it; empty where nothing is changed."""
        if self.dtype == "bitround":
            bits = self.keep_bits or 0
            return {
                "quantization": "BitRound",
                "quantization_nsb": bits,
                "quantization_maximum_relative_error": 2.0 ** -(bits + 1),
            }
        if self.dtype == "float16":
            return {
                "quantization": "half precision",
                "quantization_maximum_relative_error": 2.0**-11,
                "quantization_comment": "the relative error holds from 6.2e-5 on; smaller values are off by up to "
                "3e-8, which can be all of them",
            }
        return {}

    def apply(self, values: NDArray[np.float32]) -> NDArray[Any]:
        """Return values as they are stored; NaN and infinite ones stay what they are.

        Raises
        ------
        OverflowError
            If a finite value would become infinite; names it.
        """
        if self.dtype == "float32":
            return values
        finite = np.isfinite(values)
        rounded: NDArray[Any]
        if self.dtype == "bitround":
            from numcodecs.bitround import BitRound

            bits = np.asarray(BitRound(self.keep_bits).encode(np.ascontiguousarray(values)))
            # It rounds the payload of a NaN too, which can carry over into what is none.
            rounded = np.where(finite, bits.view(np.float32).reshape(values.shape), values)
        else:
            with np.errstate(over="ignore"):
                rounded = values.astype(np.float16)
        lost = finite & ~np.isfinite(rounded)
        if lost.any():
            raise OverflowError(f"{values[lost][0]:g} is more than {self.dtype} can hold")
        return rounded


@dataclass(frozen=True)
class ChunkTable:
    """What is recorded of each chunk of an array, so that nothing else is ever taken for it."""

    sums: tuple[int, ...]
    """CRC32C of each chunk."""
    sizes: tuple[int, ...]
    """Stored bytes of each chunk."""

    def to_text(self) -> str:
        """Return the table as a text: Base64 of the sums, then the sizes, as little-endian 32-bit numbers."""
        return base64.b64encode(np.array([*self.sums, *self.sizes], dtype="<u4").tobytes()).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> ChunkTable:
        """Return the table of such a text; ValueError where it is none."""
        numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<u4").tolist()
        if len(numbers) % 2:
            raise ValueError("a table of chunks with a sum more or a size less")
        return cls(tuple(numbers[: len(numbers) // 2]), tuple(numbers[len(numbers) // 2 :]))


@dataclass(frozen=True)
class Part:
    """Some chunks that lie side by side in one object."""

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
        """Byte after the last; the object may go on."""
        return self.start + sum(self.sizes)


@dataclass(frozen=True)
class ChunkGrid:
    """How an array of betas is cut, and how its pieces are packed."""

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
    def of(
        cls, n_trials: int, n_voxels: int, *, item: str, width: int, shard_width: int | None, codec: str
    ) -> ChunkGrid:
        """Cut an array as asked for, but no chunk or object wider than it needs."""
        width = min(width, n_voxels)
        if shard_width is not None:
            shard_width = width * max(1, min(shard_width // width, math.ceil(n_voxels / width)))
        return cls(n_trials, n_voxels, item, width, shard_width, codec)

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> ChunkGrid:
        """Return what the metadata of a Zarr array describe.

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
                next((one["configuration"]["cname"] for one in packing if one["name"] == "blosc"), "none"),
            )
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"its metadata have no {error}") from error
        whole = all(type(one) is int and one > 0 for one in (n_trials, n_voxels, grid.width, outer))
        if not whole or grid.item not in ("float32", "float16") or grid.codec not in list(CODECS):
            raise ValueError(f"it is {grid}")
        for name, expected in grid.metadata().items():
            if metadata.get(name) != expected:
                raise ValueError(f"its {name} is {metadata.get(name)!r}, not {expected!r}")
        return grid

    def metadata(self) -> dict[str, Any]:
        """Return what the metadata of a Zarr array say of this."""
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
        """Return the size of an object."""
        first = number * self.per_object
        return self._head + sum(table.sizes[first : first + self.per_object])

    def expect_sound(self, table: ChunkTable) -> None:
        """Raise ValueError where these cannot be the chunks of an array, or would take more memory than they can."""
        if not self.n_chunks == len(table.sums) == len(table.sizes):
            raise ValueError(f"{self.n_chunks} chunks and {len(table.sums)} checksums")
        most = self.n_trials * self.width * self._dtype.itemsize
        if self.n_trials > _MOST_TRIALS or most > _MOST_CHUNK or self.per_object > _MOST_CHUNKS:
            raise ValueError(f"chunks of {self.n_trials} trials and {most} bytes, {self.per_object} in an object")
        if not all(_CRC_BYTES < size <= most + _PACKING_BYTES for size in table.sizes):
            raise ValueError(f"a chunk of {max(table.sizes)} bytes, where it has {most}")

    def key(self, number: int) -> str:
        """Return the key of an object, below the array's."""
        return f"c/0/{number}"

    def codecs(self) -> list[dict[str, Any]]:
        """Return Zarr's description of how chunks are packed."""
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
        """Return the same as xarray's ``to_zarr`` takes it."""
        from zarr.codecs import BloscCodec, Crc32cCodec

        packing = CODECS[self.codec]
        blosc = [BloscCodec(typesize=self._dtype.itemsize, **packing)] if packing else []
        encoding: dict[str, Any] = {"chunks": (self.n_trials, self.width), "compressors": (*blosc, Crc32cCodec())}
        if self.shard_width is not None:
            encoding["shards"] = {"shape": (self.n_trials, self.shard_width), "index_location": "start"}
        return encoding

    def voxels_of(self, number: int) -> slice:
        """Return the voxels that an object holds."""
        start = number * self.per_object * self.width
        return slice(start, min(start + self.per_object * self.width, self.n_voxels))

    def pack(self, values: NDArray[Any]) -> tuple[list[bytes], ChunkTable]:
        """Pack the voxels of one object.

        Parameters
        ----------
        values : array, shape (trial, voxel)
            The voxels of `voxels_of`, in the type of the grid.

        Returns
        -------
        content : list of bytes
            The object, in pieces.
        table : ChunkTable
            Of its chunks.
        """
        packed = [self._pack_chunk(values[:, at : at + self.width]) for at in range(0, values.shape[1], self.width)]
        table = ChunkTable(tuple(map(crc32c, packed)), tuple(len(chunk) + _CRC_BYTES for chunk in packed))
        content = self._index(table.sizes)
        for chunk in packed:
            content += _with_sum(chunk)
        return content, table

    def parts(self, chunks: Sequence[int] | NDArray[np.integer[Any]], table: ChunkTable) -> list[Part]:
        """Say what to read for some chunks of an array of which everything is recorded.

        Parameters
        ----------
        chunks : sequence of int
            Numbers, ascending.
        table : ChunkTable
            Of all chunks.

        Returns
        -------
        list of Part
            Chunks that lie side by side in an object are read together.
        """
        numbers = np.asarray(chunks, dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(table.sizes)])
        begins = (np.diff(numbers) != 1) | (np.diff(numbers // self.per_object) != 0)
        parts = []
        for run in np.split(numbers, np.flatnonzero(begins) + 1) if len(numbers) else []:
            first, last = int(run[0]), int(run[-1])
            place = first // self.per_object
            start = self._head + int(offsets[first] - offsets[place * self.per_object])
            of_run = slice(first, last + 1)
            parts.append(
                Part(self.key(place), start, tuple(range(first, last + 1)), table.sums[of_run], table.sizes[of_run])
            )
        return parts

    def unpack(self, part: Part, content: bytes) -> Iterator[NDArray[Any]]:
        """Unpack the chunks of a part.

        Parameters
        ----------
        part : Part
            From `parts`.
        content : bytes
            What was read of it.

        Yields
        ------
        array, shape (trial, voxel)
            The chunks, in order; the last one of the array is padded with NaN.

        Raises
        ------
        ValueError
            If these are not the bytes that were recorded; names the chunk.
        """
        view = memoryview(content)
        if len(view) != sum(part.sizes):
            raise ValueError(f"expected {sum(part.sizes)} bytes from byte {part.start} on, found {len(view)}")
        start = 0
        for chunk, expected, size in zip(part.chunks, part.sums, part.sizes, strict=True):
            packed = view[start : start + size - _CRC_BYTES]
            stored = int.from_bytes(view[start + size - _CRC_BYTES : start + size], "little")
            start += size
            found = crc32c(packed.tobytes())
            if not expected == stored == found:
                raise ValueError(f"chunk {chunk}: expected the CRC32C {expected:08x}, found {found:08x} ({stored:08x})")
            data = self._unblosced(packed) if CODECS[self.codec] else packed
            if len(data) != self.n_trials * self.width * self._dtype.itemsize:
                raise ValueError(f"chunk {chunk}: {len(data)} bytes are not {self.n_trials} x {self.width} values")
            yield np.frombuffer(data, dtype=self._dtype).reshape(self.n_trials, self.width)

    def check_object(self, number: int, content: bytes, table: ChunkTable) -> None:
        """Check all of an object against what is recorded; ValueError tells what is wrong.

        Parameters
        ----------
        number : int
            Number of the object.
        content : bytes
            All of it.
        table : ChunkTable
            Of all chunks of the array.
        """
        first = number * self.per_object
        (part,) = self.parts(range(first, min(first + self.per_object, self.n_chunks)), table)
        if len(content) != part.stop:
            raise ValueError(f"expected {part.stop} bytes, found {len(content)}")
        if content[: part.start] != b"".join(self._index(part.sizes)):
            raise ValueError("the index of its chunks is not the one that was written")
        for _ in self.unpack(part, content[part.start :]):
            pass

    def _unblosced(self, packed: memoryview) -> bytes:
        # Blosc takes as much memory as its header says.
        told = int.from_bytes(packed[4:8], "little")
        if len(packed) < _BLOSC_HEADER or told != self.n_trials * self.width * self._dtype.itemsize:
            raise ValueError(f"a chunk that unpacks to {told} bytes")
        try:
            return bytes(_blosc(self.codec, self._dtype.itemsize).decode(packed))
        except RuntimeError as error:
            raise ValueError(f"a chunk that cannot be unpacked ({error})") from error

    def _index(self, sizes: Sequence[int]) -> list[bytes]:
        """Return what an object begins with: of a shard the places of its chunks."""
        if self.shard_width is None:
            return []
        index = np.full(self.per_object, _ABSENT, dtype="<u8").repeat(2).view(_INDEX_ENTRY)
        index["nbytes"][: len(sizes)] = sizes
        index["offset"][: len(sizes)] = self._head + np.cumsum([0, *sizes[:-1]])
        return _with_sum(index.tobytes())

    @property
    def _dtype(self) -> np.dtype[Any]:
        return np.dtype(self.item).newbyteorder("<")

    @property
    def _head(self) -> int:
        """Bytes of an object before its first chunk: of a shard's index."""
        return 0 if self.shard_width is None else self.per_object * _INDEX_ENTRY.itemsize + _CRC_BYTES

    def _pack_chunk(self, values: NDArray[Any]) -> bytes:
        if values.shape[1] < self.width:
            padded = np.full((self.n_trials, self.width), np.nan, dtype=values.dtype)
            padded[:, : values.shape[1]] = values
            values = padded
        block = values.astype(self._dtype, copy=False).tobytes()
        if not CODECS[self.codec]:
            return block
        packed: bytes = _blosc(self.codec, self._dtype.itemsize).encode(block)
        return packed


def _with_sum(content: bytes) -> list[bytes]:
    return [content, crc32c(content).to_bytes(_CRC_BYTES, "little")]


@functools.cache
def _blosc(codec: str, itemsize: int) -> Any:
    from numcodecs.blosc import BITSHUFFLE, Blosc

    packing = {**CODECS[codec], "shuffle": BITSHUFFLE}
    return Blosc(**packing, typesize=itemsize)
