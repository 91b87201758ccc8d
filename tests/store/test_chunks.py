"""Packed chunks, against zarr-python and xarray as writers and as readers of the same bytes, and NumPy for rounding."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from bit_patterns import bits
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import sampled
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

from intake_laion_fmri.store.chunks import ChunkGrid, ChunkTable, Part
from intake_laion_fmri.store.codecs import CODECS, crc32c

ITEMS = ("float32", "float16")

SHAPES = {
    # Name → trials, voxels, voxels per chunk.
    "widths that divide": (5, 24, 4),
    "a chunk that is cut off": (5, 23, 4),
    "one voxel": (3, 1, 4),
    "fewer voxels than a chunk": (3, 5, 8),
    "just a chunk": (4, 6, 6),
    "a voxel per chunk": (2, 7, 1),
    "one trial": (1, 11, 3),
    "a size at which codecs pack": (64, 300, 128),
}

PER_OBJECT = (None, 1, 3)
"""Chunks per object; None without shards."""

EVERY_GRID = [
    pytest.param(
        ChunkGrid.from_options(
            n_trials, n_voxels, item=item, width=width, shard_width=None if per is None else per * width, codec=codec
        ),
        id=f"{codec}, {item}, {f'{per} per object' if per else 'no shards'}, {name}",
    )
    for codec, item, per, (name, (n_trials, n_voxels, width)) in itertools.product(
        CODECS, ITEMS, PER_OBJECT, SHAPES.items()
    )
]


def numbers(n_trials: int, n_voxels: int, item: str, seed: int = 0) -> np.ndarray:
    """Betas, with every kind of number that a float has, and a run of voxels that have none."""
    rng = np.random.default_rng(seed)
    values = rng.normal(scale=3, size=(n_trials, n_voxels)).astype(item)
    special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 6e-8, -65504], dtype=item)
    flat = values.reshape(-1)
    flat[:: max(1, flat.size // len(special))] = np.resize(special, len(flat[:: max(1, flat.size // len(special))]))
    values[:, n_voxels // 3 : n_voxels // 3 + 5] = np.nan
    return values


def values_of(grid: ChunkGrid) -> np.ndarray:
    return numbers(grid.n_trials, grid.n_voxels, grid.item)


def packed(grid: ChunkGrid, values: np.ndarray) -> tuple[dict[str, bytes], ChunkTable]:
    """Every object of an array, by key, and the table of its chunks."""
    objects, tables = {}, []
    for number in range(grid.n_objects):
        content, table = grid.pack(values[:, grid.voxels_of(number)])
        objects[grid.key(number)] = b"".join(content)
        tables.append(table)
    sums = tuple(one for table in tables for one in table.sums)
    return objects, ChunkTable(sums, tuple(one for table in tables for one in table.sizes))


def written(values: np.ndarray, encoding: Mapping[str, Any]) -> dict[str, bytes]:
    """What xarray and zarr-python write for an array: key below it → object."""
    memory: dict[str, Any] = {}
    ds = xr.Dataset({"betas": (("trial", "voxel"), values)})
    ds.to_zarr(
        MemoryStore(memory), zarr_format=3, consolidated=False, encoding={"betas": encoding}, write_empty_chunks=True
    )
    below = "betas/"
    return {key[len(below) :]: buffer.to_bytes() for key, buffer in memory.items() if key.startswith(below)}


def metadata_of(grid: ChunkGrid) -> dict[str, Any]:
    """What zarr-python says of an array of this grid."""
    values = np.zeros((grid.n_trials, grid.n_voxels), dtype=grid.item)
    metadata: dict[str, Any] = json.loads(written(values, grid.encoding())["zarr.json"])
    return metadata


def padded(grid: ChunkGrid, values: np.ndarray, chunk: int) -> np.ndarray:
    """A chunk as it is stored."""
    whole = np.full((grid.n_trials, grid.width), np.nan, dtype=grid.item)
    inside = values[:, chunk * grid.width : (chunk + 1) * grid.width]
    whole[:, : inside.shape[1]] = inside
    return whole


# --- packing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", EVERY_GRID)
def test_an_array_is_packed_as_xarray_writes_it(grid: ChunkGrid) -> None:
    """Byte for byte, each object; and the metadata that go with them give the grid back."""
    values = values_of(grid)
    expected = written(values, grid.encoding())
    metadata = json.loads(expected.pop("zarr.json"))
    assert packed(grid, values)[0] == expected
    assert metadata["codecs"] == grid.codecs()
    assert ChunkGrid.from_metadata(metadata) == grid


@pytest.mark.parametrize("grid", EVERY_GRID)
def test_zarr_reads_what_is_packed(grid: ChunkGrid) -> None:
    """All of it, and a few voxels across chunks, which it finds by the index of a shard."""
    values = values_of(grid)
    objects = packed(grid, values)[0] | {"zarr.json": json.dumps(metadata_of(grid)).encode()}
    memory = {key: Buffer.from_bytes(content) for key, content in objects.items()}
    array = zarr.open_array(MemoryStore(memory), mode="r")
    np.testing.assert_array_equal(bits(array[:]), bits(values))
    start, stop = grid.n_voxels // 3, grid.n_voxels // 3 + grid.width + 1
    np.testing.assert_array_equal(bits(array[-1:, start:stop]), bits(values[-1:, start:stop]))


def test_any_layout_in_memory_gives_the_same_bytes() -> None:
    grid = ChunkGrid.from_options(6, 20, item="float32", width=8, shard_width=16, codec="lz4")
    values = values_of(grid)
    wider = np.zeros((12, 40), dtype="float32")
    wider[::2, ::2] = values
    expected = packed(grid, values)
    for other in (np.asfortranarray(values), wider[::2, ::2], values.astype(">f4").astype("<f4", order="F")):
        assert packed(grid, other) == expected


def test_packing_leaves_the_values_as_they_are() -> None:
    for codec in CODECS:
        grid = ChunkGrid.from_options(6, 20, item="float32", width=8, shard_width=None, codec=codec)
        values = values_of(grid)
        before = bits(values).copy()
        packed(grid, values)
        np.testing.assert_array_equal(bits(values), before)


def test_codecs_are_those_of_the_format() -> None:
    """Another level would give other bytes for the same inputs and options, and refuse the stores that there are."""
    packing = {"shuffle": "bitshuffle", "blocksize": 0}
    assert {
        "none": {},
        "lz4": {"cname": "lz4", "clevel": 5, **packing},
        "zstd": {"cname": "zstd", "clevel": 1, **packing},
    } == CODECS


def test_an_array_is_cut_no_wider_than_it_is() -> None:
    """Else a small session would be padded to a chunk, or its shard would have an index for chunks that are not."""
    cut = functools.partial(ChunkGrid.from_options, 4, item="float32", codec="none")
    narrow = cut(10, width=128, shard_width=4096)
    assert (narrow.width, narrow.shard_width, narrow.n_chunks, narrow.n_objects) == (10, 10, 1, 1)
    few = cut(300, width=128, shard_width=4096)
    assert (few.width, few.shard_width, few.per_object, few.n_chunks, few.n_objects) == (128, 384, 3, 3, 1)
    many = cut(5000, width=128, shard_width=4096)
    assert (many.width, many.shard_width, many.per_object, many.n_chunks, many.n_objects) == (128, 4096, 32, 40, 2)
    single = cut(300, width=128, shard_width=None)
    assert (single.width, single.shard_width, single.per_object, single.n_objects) == (128, None, 1, 3)


def test_objects_hold_every_voxel_once_in_order() -> None:
    grid = ChunkGrid.from_options(4, 45, item="float32", width=4, shard_width=12, codec="none")
    voxels = np.arange(grid.n_voxels)
    held = [voxels[grid.voxels_of(number)] for number in range(grid.n_objects)]
    np.testing.assert_array_equal(np.concatenate(held), voxels)
    assert [len(one) for one in held] == [12, 12, 12, 9]


def test_the_checksum_is_the_one_of_the_standard() -> None:
    """RFC 3720, B.4, and the usual check value."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"") == 0


# --- metadata ---------------------------------------------------------------------------------------------------------


def other_array(encoding: Mapping[str, Any], *, dtype: Any = "float32", n_trials: int = 6) -> dict[str, Any]:
    """Metadata, by zarr-python, of an array like ours apart from some of its encoding."""
    ours = ChunkGrid.from_options(6, 12, item="float32", width=4, shard_width=None, codec="none").encoding()
    values = np.zeros((n_trials, 12), dtype=dtype)
    metadata: dict[str, Any] = json.loads(written(values, {**ours, **encoding})["zarr.json"])
    return metadata


def made(**arguments: Any) -> dict[str, Any]:
    """Metadata of an array as zarr-python makes it, for what xarray cannot ask for."""
    memory: dict[str, Any] = {}
    given: dict[str, Any] = {"shape": (6, 12), "chunks": (6, 4), "dtype": "float32", "compressors": [Crc32cCodec()]}
    zarr.create_array(MemoryStore(memory), zarr_format=3, **{**given, **arguments})
    metadata: dict[str, Any] = json.loads(memory["zarr.json"].to_bytes())
    return metadata


def packing(**changed: Any) -> tuple[Any, ...]:
    return (BloscCodec(**{"typesize": 4, **CODECS["lz4"], **changed}), Crc32cCodec())


SHARDS = {"shape": (6, 8), "index_location": "start"}

OTHERS: Mapping[str, Callable[[], Any]] = {
    "trials in two chunks": lambda: other_array({"chunks": (3, 4)}),
    "trials in two shards": lambda: other_array({"chunks": (3, 4), "shards": {**SHARDS, "shape": (3, 8)}}),
    "trials in two chunks of a shard": lambda: other_array({"chunks": (3, 4), "shards": SHARDS}),
    "a shard for twice the trials": lambda: other_array({"shards": {**SHARDS, "shape": (12, 8)}}),
    "chunks of twice the trials": lambda: made(chunks=(12, 4)),
    "an index at the end": lambda: other_array({"shards": {**SHARDS, "index_location": "end"}}),
    "gzip": lambda: other_array({"compressors": (GzipCodec(), Crc32cCodec())}),
    "zstd of its own": lambda: other_array({"compressors": (ZstdCodec(), Crc32cCodec())}),
    "no checksum": lambda: other_array({"compressors": ()}),
    "two checksums": lambda: other_array({"compressors": (Crc32cCodec(), Crc32cCodec())}),
    "a checksum before the packing": lambda: other_array({"compressors": packing()[::-1]}),
    "packed without a checksum": lambda: other_array({"compressors": packing()[:1]}),
    "Blosc with zlib": lambda: other_array({"compressors": packing(cname="zlib")}),
    "Blosc with bytes shuffled": lambda: other_array({"compressors": packing(shuffle="shuffle")}),
    "Blosc with nothing shuffled": lambda: other_array({"compressors": packing(shuffle="noshuffle")}),
    "Blosc at another level": lambda: other_array({"compressors": packing(clevel=9)}),
    "Blosc with blocks": lambda: other_array({"compressors": packing(blocksize=256)}),
    "Blosc for other items": lambda: other_array({"compressors": packing(typesize=2)}),
    "float64": lambda: other_array({}, dtype="float64"),
    "int32": lambda: other_array({}, dtype="int32"),
    "int16": lambda: other_array({}, dtype="int16"),
    "texts": lambda: made(dtype=str),
    "big-endian": lambda: made(serializer=BytesCodec(endian="big")),
    "turned round": lambda: made(filters=[TransposeCodec(order=(1, 0))]),
    "keys with dots": lambda: made(chunk_key_encoding={"name": "default", "separator": "."}),
    "keys of Zarr v2": lambda: made(chunk_key_encoding={"name": "v2", "separator": "/"}),
    "one dimension": lambda: made(shape=(12,), chunks=(4,)),
    "three dimensions": lambda: made(shape=(6, 12, 1), chunks=(6, 4, 1)),
    "nothing": dict,
    "a list": list,
    "a text": lambda: "betas",
    "a group": lambda: {"attributes": {}, "zarr_format": 3, "node_type": "group"},
}
"""Name of what differs → metadata, by zarr-python where there are such."""


def is_refused(metadata: Any) -> bool:
    """With ValueError, that is; every other error is one of the test."""
    try:
        ChunkGrid.from_metadata(metadata)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("name", OTHERS)
def test_another_array_is_refused(name: str) -> None:
    """Its bytes would be taken for something else."""
    assert is_refused(OTHERS[name]())


def test_what_zarr_makes_of_the_same_is_not_refused() -> None:
    """Or the test above would refuse for another reason than the one that it names."""
    assert ChunkGrid.from_metadata(made()) == ChunkGrid.from_metadata(other_array({}))
    lz4, sharded = other_array({"compressors": packing()}), other_array({"shards": SHARDS})
    assert [ChunkGrid.from_metadata(one) for one in (lz4, sharded)] == [
        ChunkGrid(6, 12, "float32", 4, None, "lz4"),
        ChunkGrid(6, 12, "float32", 4, 8, "none"),
    ]


PLAIN = ChunkGrid.from_options(6, 12, item="float32", width=4, shard_width=None, codec="zstd")
SHARDED = dataclasses.replace(PLAIN, shard_width=8)


def paths_of(content: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where anything stands in JSON."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [one for name, value in items for one in ((*path, name), *paths_of(value, (*path, name)))]


def taken_when(metadata: Mapping[str, Any], change: Callable[[Any, Any], None]) -> list[tuple[Any, ...]]:
    """Where a change to the metadata is not refused: all places that say how bytes are laid out, at any depth."""
    layout = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs")
    places = [path for path in paths_of(metadata) if path[0] in layout]
    assert {("codecs", 0, "configuration"), ("chunk_grid", "configuration", "chunk_shape", 1)} <= set(places)
    taken = []
    for *parents, name in places:
        broken = json.loads(json.dumps(metadata))
        change(functools.reduce(lambda one, key: one[key], parents, broken), name)
        if not is_refused(broken):
            taken.append((*parents, name))
    return taken


@pytest.mark.parametrize(
    ("grid", "blosc"),
    [(PLAIN, ("codecs", 1)), (SHARDED, ("codecs", 0, "configuration", "codecs", 1))],
    ids=["plain", "sharded"],
)
def test_metadata_that_lack_something_are_refused(grid: ChunkGrid, blosc: tuple[Any, ...]) -> None:
    """Apart from Blosc as a whole: without it they are those of an array that is not packed."""
    assert taken_when(metadata_of(grid), lambda parent, name: parent.pop(name)) == [blosc]


@pytest.mark.parametrize("grid", [PLAIN, SHARDED], ids=["plain", "sharded"])
@pytest.mark.parametrize("other", [None, "other", 7.5, [], {}, [[]], {"name": []}], ids=repr)
def test_metadata_with_something_else_in_a_place_are_refused(grid: ChunkGrid, other: Any) -> None:
    """Whatever stands there."""
    assert taken_when(metadata_of(grid), lambda parent, name: parent.__setitem__(name, other)) == []


def test_what_is_refused_is_told() -> None:
    with pytest.raises(ValueError, match="gzip"):
        ChunkGrid.from_metadata(OTHERS["gzip"]())
    with pytest.raises(ValueError, match="its metadata lack 'shape'"):
        ChunkGrid.from_metadata({})


# --- parts ------------------------------------------------------------------------------------------------------------


@st.composite
def grids(draw: st.DrawFn) -> ChunkGrid:
    width = draw(st.integers(1, 9))
    per = draw(st.one_of(st.none(), st.integers(1, 5)))
    return ChunkGrid.from_options(
        draw(st.integers(1, 4)),
        draw(st.integers(1, 70)),
        item=draw(st.sampled_from(ITEMS)),
        width=width,
        shard_width=None if per is None else per * width,
        codec=draw(st.sampled_from(list(CODECS))),
    )


def shard_index(grid: ChunkGrid, content: bytes) -> list[tuple[int, int]]:
    """First byte and number of bytes of each chunk, by Zarr's specification of shards."""
    if grid.shard_width is None:
        return [(0, len(content))]
    numbers = np.frombuffer(content, dtype="<u8", count=2 * grid.per_object).reshape(-1, 2)
    return [(int(start), int(size)) for start, size in numbers]


@settings(max_examples=150)
@given(grid=grids(), data=st.data())
def test_parts_are_just_the_wanted_chunks(grid: ChunkGrid, data: st.DataObject) -> None:
    """What is read of their bytes is the chunks asked for, each once, in order, and nothing beside."""
    values = numbers(grid.n_trials, grid.n_voxels, grid.item, seed=data.draw(st.integers(0, 99)))
    objects, table = packed(grid, values)
    assert len(table.sums) == len(table.sizes) == grid.n_chunks
    wanted = sorted(data.draw(st.sets(st.integers(0, grid.n_chunks - 1))))

    parts = grid.parts(wanted, table)
    assert [chunk for part in parts for chunk in part.chunks] == wanted
    for part in parts:
        object_ = objects[part.key]
        places = shard_index(grid, object_)
        own = [places[chunk % grid.per_object] for chunk in part.chunks]
        assert {grid.key(chunk // grid.per_object) for chunk in part.chunks} == {part.key}
        assert (part.start, part.stop) == (own[0][0], sum(own[-1])), "the index of the shard says otherwise"
        assert part.sizes == tuple(size for _, size in own)
        found = list(grid.unpack(part, object_[part.start : part.stop]))
        assert len(found) == len(part.chunks)
        for chunk, one in zip(part.chunks, found, strict=True):
            assert one.dtype == np.dtype(grid.item)
            np.testing.assert_array_equal(bits(one), bits(padded(grid, values, chunk)))
    # Whatever lies side by side is one request.
    for before, after in itertools.pairwise(parts):
        assert before.key != after.key or before.stop < after.start


def test_parts_of_neighbours_and_of_several_objects() -> None:
    """Chunks 0 to 3 lie in one object, 4 to 7 in the next."""
    grid = ChunkGrid.from_options(2, 40, item="float32", width=4, shard_width=16, codec="none")
    table = packed(grid, values_of(grid))[1]
    parts = grid.parts([0, 1, 3, 4, 5, 9], table)
    assert [(part.key, part.chunks) for part in parts] == [
        ("c/0/0", (0, 1)),
        ("c/0/0", (3,)),
        ("c/0/1", (4, 5)),
        ("c/0/2", (9,)),
    ]
    head, size = 4 * 16 + 4, 2 * 4 * 4 + 4
    assert [(part.start, part.stop) for part in parts] == [
        (head, head + 2 * size),
        (head + 3 * size, head + 4 * size),
        (head, head + 2 * size),
        (head + size, head + 2 * size),
    ]
    assert grid.parts([], table) == []
    assert [part.key for part in dataclasses.replace(grid, shard_width=None).parts([0, 1, 2], table)] == [
        "c/0/0",
        "c/0/1",
        "c/0/2",
    ]


def test_grids_and_parts_go_to_workers() -> None:
    grid = ChunkGrid.from_options(2, 40, item="float16", width=4, shard_width=16, codec="zstd")
    table = packed(grid, values_of(grid))[1]
    task = (grid, grid.parts([1, 2, 7], table), table)
    assert pickle.loads(pickle.dumps(task)) == task


# --- damage -----------------------------------------------------------------------------------------------------------


def noise(grid: ChunkGrid) -> np.ndarray:
    """Values that no codec packs, so that all chunks have the same size."""
    content = np.random.default_rng(7).bytes(grid.n_trials * grid.n_voxels * np.dtype(grid.item).itemsize)
    return np.frombuffer(content, dtype=grid.item).reshape(grid.n_trials, grid.n_voxels)


def some_part(codec: str, item: str = "float32") -> tuple[ChunkGrid, Part, bytes, bytes]:
    """A grid, chunks 1 to 3 of its only object, their bytes and the whole object."""
    grid = ChunkGrid.from_options(4, 40, item=item, width=8, shard_width=40, codec=codec)
    objects, table = packed(grid, noise(grid))
    (part,) = grid.parts([1, 2, 3], table)
    assert len(set(part.sizes)) == 1
    return grid, part, objects[part.key][part.start : part.stop], objects[part.key]


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize(("codec", "item"), sampled(itertools.product(CODECS, ITEMS), keep=1))
def test_any_flipped_bit_is_found_in_its_chunk(codec: str, item: str) -> None:
    """Every single one, those of the checksums too; the chunks before it are still right."""
    grid, part, content, _ = some_part(codec, item)
    assert len(list(grid.unpack(part, content))) == len(part.chunks)
    for bit in range(8 * len(content)):
        place = bit // 8 // part.sizes[0]
        chunks = grid.unpack(part, flipped(content, bit))
        for chunk in part.chunks[:place]:
            np.testing.assert_array_equal(bits(next(chunks)), bits(padded(grid, noise(grid), chunk)))
        with pytest.raises(ValueError, match=rf"^chunk {part.chunks[place]}: expected the CRC32C [0-9a-f]{{8}}, found"):
            next(chunks)


@pytest.mark.parametrize("codec", CODECS)
def test_any_other_length_is_refused(codec: str) -> None:
    """Before anything is yielded; the first byte asked for is told."""
    grid, part, content, _ = some_part(codec)
    for size in range(len(content)):
        with pytest.raises(ValueError, match=f"^expected {len(content)} bytes from byte {part.start}, found {size}$"):
            next(grid.unpack(part, content[:size]))
    with pytest.raises(ValueError, match=f"found {len(content) + 1}$"):
        next(grid.unpack(part, content + b"\0"))


@pytest.mark.parametrize("codec", CODECS)
def test_another_chunk_of_the_array_is_not_taken_for_the_wanted_one(codec: str) -> None:
    """Its own checksum is right: only what is recorded tells them apart."""
    grid, part, content, _ = some_part(codec)
    size = part.sizes[0]
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    for here, there in itertools.permutations(range(len(chunks)), 2):
        with pytest.raises(ValueError, match=f"^chunk {part.chunks[here]}: expected the CRC32C"):
            list(grid.unpack(part, b"".join(chunks[there if one == here else one] for one in range(len(chunks)))))
    # The same chunk of another build: right in itself, and not the one that was recorded.
    other = packed(grid, noise(grid)[::-1])[0][part.key]
    with pytest.raises(ValueError, match=f"^chunk {part.chunks[0]}: expected the CRC32C"):
        list(grid.unpack(part, other[part.start : part.stop]))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("shard_width", [None, 16])
def test_a_whole_object_is_checked_to_its_last_bit(codec: str, shard_width: int | None) -> None:
    """The index of a shard, which this package never reads, is others' way to the chunks."""
    grid = ChunkGrid.from_options(3, 44, item="float16", width=8, shard_width=shard_width, codec=codec)
    objects, table = packed(grid, values_of(grid))
    last = grid.n_objects - 1
    for number in (0, last):
        content = objects[grid.key(number)]
        grid.check_object(number, content, table)
        for bit in range(0, 8 * len(content), 3):
            with pytest.raises(ValueError, match=r"^chunk \d+: |^its chunk index"):
                grid.check_object(number, flipped(content, bit), table)
        for other in (content[:-1], content + b"\0", b""):
            with pytest.raises(ValueError, match=f"^expected {len(content)} bytes, found {len(other)}$"):
                grid.check_object(number, other, table)
    with pytest.raises(ValueError, match="expected"):
        grid.check_object(last, objects[grid.key(0)], table)
