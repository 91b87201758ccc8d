"""What the metadata of a store say, there and back; what is damaged is refused, and never read as something else."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import xarray as xr
import zarr
from demo_files import betas_file, trials_file
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from intake_laion_fmri.axes.rois import RoiMembership
from intake_laion_fmri.axes.voxels import MASKS
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.remote.access import ObjectInfo
from intake_laion_fmri.store import build_store
from intake_laion_fmri.store import format as store_format
from intake_laion_fmri.store.chunks import CODECS, DTYPES, ChunkTable, Rounding
from intake_laion_fmri.store.format import (
    BETAS,
    LeftOut,
    Record,
    StoredSession,
    StoreOptions,
    coordinate_key,
    group_metadata,
    metadata_key,
    read_root,
    read_subject,
    root_metadata,
    session_group,
    subject_metadata,
    sum_of_inputs,
)

STORE, CHECKSUM = store_format.STORE, store_format.CHECKSUM
NAME = "s3://mine/store/zarr.json"
"""Where the metadata are from, for errors."""

# --- options ----------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    """All that is no option of its own is None in the call, and the default in the store."""
    expected = StoreOptions(None, "rsquare", "float32", None, "none", 128, 4096)
    assert StoreOptions.of({}) == expected
    assert StoreOptions.of(dict.fromkeys(expected.to_json())) == expected
    assert StoreOptions.of({"dtype": "bitround"}) == dataclasses.replace(expected, dtype="bitround", keep_bits=10)
    assert StoreOptions.of({"dtype": "bitround", "keep_bits": 3}).keep_bits == 3
    assert StoreOptions.of({"shard_voxels": 0}) == dataclasses.replace(expected, shard_voxels=None)
    assert str(expected) == "the default options"
    assert str(StoreOptions.of({"roi": "face", "shard_voxels": 0})) == "roi='face', shard_voxels=None"


def test_whole_numbers_of_numpy_become_plain_ones() -> None:
    """They are written as JSON, and compared with what was written."""
    given_ = {"keep_bits": np.int8(7), "chunk_voxels": np.uint32(64), "shard_voxels": np.int64(640)}
    options = StoreOptions.of({"dtype": "bitround", **given_})
    assert {type(getattr(options, name)) for name in given_} == {int}
    assert (options.keep_bits, options.chunk_voxels, options.shard_voxels) == (7, 64, 640)
    assert type(StoreOptions.of({"shard_voxels": np.int64(0)}).shard_voxels) is type(None)


@pytest.mark.parametrize(
    ("given_", "kind", "message"),
    [
        ({"roi": "FFA1 |"}, ValueError, r"roi='FFA1 \|' cannot be read: it ends where a name is expected"),
        ({"roi": []}, ValueError, r"roi=\[\] names no ROI"),
        ({"roi": 3}, TypeError, "roi must be a text, a list of texts, or None; found 3"),
        ({"roi": ["FFA1", 3]}, TypeError, "roi must be a text"),
        ({"mask": "rsquared"}, ValueError, "Unknown mask: 'rsquared'. Did you mean 'rsquare'?"),
        ({"mask": True}, ValueError, "Unknown mask: True"),
        ({"dtype": "float64"}, ValueError, r"Unknown dtype: 'float64'\. Did you mean 'float"),
        ({"dtype": np.float32}, ValueError, "Unknown dtype: <class 'numpy.float32'>"),
        ({"codec": "gzip"}, ValueError, r"Unknown codec: 'gzip'\..* Valid: none, lz4, zstd\."),
        *(
            (
                {"dtype": "bitround", "keep_bits": bits},
                ValueError,
                r"^keep_bits must be a whole number from 1 to 23, found",
            )
            for bits in (0, 24, -1, 10.0, "10", True, np.True_)
        ),
        *(
            ({"chunk_voxels": width}, ValueError, r"^chunk_voxels must be a whole number from 1 to 1048576, found")
            for width in (0, -128, 2**20 + 1, 128.0, "128", True)
        ),
        *(
            ({"shard_voxels": width}, ValueError, r"^shard_voxels must be a whole number from 0 to 16777216, found")
            for width in (-128, 2**24 + 1, 4096.0, "4096", True, False, np.False_)
        ),
        ({"keep_bits": 10}, ValueError, "^keep_bits=10 goes with dtype='bitround', found 'float32'.$"),
        (
            {"keep_bits": 10, "dtype": "float16"},
            ValueError,
            "^keep_bits=10 goes with dtype='bitround', found 'float16'.$",
        ),
        (
            {"chunk_voxels": 100, "shard_voxels": 250},
            ValueError,
            "^shard_voxels=250 is no multiple of chunk_voxels=100: expected one, such as 200, or 0 for",
        ),
        ({"chunk_voxels": 100}, ValueError, "shard_voxels=4096 is no multiple of chunk_voxels=100: .* such as 4100"),
        ({"shard_voxels": 100}, ValueError, "shard_voxels=100 is no multiple of chunk_voxels=128: .* such as 128"),
    ],
    ids=repr,
)
def test_what_cannot_be_right_is_refused(given_: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        StoreOptions.of(given_)
    assert type(caught.value) is kind
    if message.endswith("found"):
        (value,) = [value for name, value in given_.items() if name != "dtype"]
        assert str(caught.value).endswith(f"found {value!r}.")


STORED = StoreOptions("face", "anatomical", "bitround", 7, "lz4", 64, 640)
"""Options of a store that is there, none of them the default."""


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("roi", "FFA1"),
        ("mask", "rsquare"),
        ("dtype", "float32"),
        ("keep_bits", 8),
        ("codec", "none"),
        ("chunk_voxels", 128),
        ("shard_voxels", 4096),
        ("shard_voxels", 0),
    ],
)
def test_a_store_that_is_there_decides(name: str, other: Any) -> None:
    """What is left out is as it has it, what is the same is no matter, and what differs is refused."""
    own = getattr(STORED, name)
    assert StoreOptions.of({}, STORED) is STORED
    assert StoreOptions.of({name: own}, STORED) is STORED
    with pytest.raises(ValueError, match=f"^The store was built with {name}={own!r}, found {name}={other or None!r}. "):
        StoreOptions.of({name: other}, STORED)


def test_everything_that_differs_from_a_store_is_told() -> None:
    with pytest.raises(ValueError, match=r"built with dtype='bitround', codec='lz4', found dtype='float16', codec='z"):
        StoreOptions.of({"dtype": "float16", "mask": "anatomical", "codec": "zstd"}, STORED)
    with pytest.raises(ValueError, match="built with roi=None, found roi='face'"):
        StoreOptions.of({"roi": "face"}, StoreOptions())
    with pytest.raises(ValueError, match="keep_bits=10 goes with dtype='bitround', found 'float32'"):
        StoreOptions.of({"keep_bits": 10}, StoreOptions())
    with pytest.raises(ValueError, match="keep_bits=10 goes with dtype='bitround', found 'float32'"):
        StoreOptions.of({"keep_bits": 10, "dtype": "float32"}, STORED)
    # The default of a new store is none of this one's.
    assert StoreOptions.of({"dtype": "bitround"}, STORED) is STORED


@st.composite
def every_options(draw: st.DrawFn) -> StoreOptions:
    """Any options, as a user can ask for them."""
    rois = st.sampled_from(["face", "FFA-1", "all", "laionventral - (V1v | V1d)"])
    dtype, width = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 2**20))
    return StoreOptions.of(
        {
            "roi": draw(st.one_of(st.none(), rois, st.lists(rois, min_size=1, max_size=3))),
            "mask": draw(st.sampled_from(list(MASKS))),
            "dtype": dtype,
            "keep_bits": draw(st.one_of(st.none(), st.integers(1, 23))) if dtype == "bitround" else None,
            "codec": draw(st.sampled_from(list(CODECS))),
            "chunk_voxels": width,
            "shard_voxels": width * draw(st.integers(0, 2**24 // width)),
        }
    )


@given(options=every_options())
def test_options_come_back_from_json_and_from_a_root(options: StoreOptions) -> None:
    """The same in every type: a list of ROIs is a tuple again, so that options can be compared and hashed."""
    for back in (
        StoreOptions.from_json(json.loads(json.dumps(options.to_json()))),
        read_root(root_metadata(options), name=NAME),
        pickle.loads(pickle.dumps(options)),
    ):
        assert back == options
        assert hash(back) == hash(options)
    assert isinstance(options.roi, str | tuple | None)
    assert StoreOptions.of(options.to_json(), options) is options


def test_options_say_how_betas_are_rounded_and_cut() -> None:
    grid = STORED.grid(40, 1000)
    assert (grid.n_trials, grid.n_voxels, grid.width, grid.shard_width) == (40, 1000, 64, 640)
    assert (grid.item, grid.codec) == ("float32", "lz4")
    assert STORED.rounding == Rounding("bitround", 7)
    assert StoreOptions(dtype="float16").grid(4, 9).item == "float16"
    assert StoreOptions(shard_voxels=None).grid(4, 900).shard_width is None


# --- keys and sums ----------------------------------------------------------------------------------------------------


def test_keys() -> None:
    assert session_group("sub-01", "ses-03") == "sub-01/ses-03"
    assert metadata_key("") == "zarr.json"
    assert metadata_key("sub-01/ses-03") == "sub-01/ses-03/zarr.json"
    assert coordinate_key("subject", {"shape": []}) == "subject/c"
    assert coordinate_key("split_role", {"shape": [2, 12, 40]}) == "split_role/c/0/0/0"


INPUTS = [ObjectInfo("a.nii.gz", 12, "e1"), ObjectInfo("b.tsv", 12, "e1"), ObjectInfo("a.nii.gz.json", 1, "e")]


def test_the_sum_of_inputs_is_of_the_set_of_them() -> None:
    """In any order, each once: what two builders list alike gives one sum."""
    assert sum_of_inputs(INPUTS) == sum_of_inputs(iter(INPUTS[::-1])) == sum_of_inputs([*INPUTS, *INPUTS])
    listed = [["a.nii.gz", 12, "e1"], ["a.nii.gz.json", 1, "e"], ["b.tsv", 12, "e1"]]
    assert sum_of_inputs(INPUTS) == hashlib.sha256(json.dumps(listed).encode()).hexdigest()


@pytest.mark.parametrize(
    "change", [{"key": "c.tsv"}, {"size": 13}, {"etag": "e2"}, {"key": "b.tsv1", "size": 2}], ids=repr
)
def test_the_sum_of_inputs_tells_a_replaced_one(change: dict[str, Any]) -> None:
    replaced = [INPUTS[0], dataclasses.replace(INPUTS[1], **change), INPUTS[2]]
    assert len({sum_of_inputs(one) for one in (INPUTS, replaced, INPUTS[:2], [])}) == 4


# --- a session that was built -----------------------------------------------------------------------------------------

SUBJECT, SESSION = "sub-03", "ses-01"
GROUP = f"{SUBJECT}/{SESSION}"

BUILDS: Mapping[str, dict[str, Any]] = {
    "whole": {},
    "face": {"roi": "face", "dtype": "bitround", "codec": "zstd", "chunk_voxels": 8, "shard_voxels": 16},
}
"""Name → options of `build_store`."""


@functools.cache
def _build(bucket: Path, name: str) -> Path:
    """Build once for all tests of this process, but from within one, where the user's own settings are shut out."""
    folder = bucket.with_name(f"{bucket.name}-{name}-store")
    build_store(folder, bucket=bucket, subjects=SUBJECT, sessions=SESSION, **BUILDS[name])
    return folder


@dataclasses.dataclass(frozen=True)
class Built:
    """A store with a session on disk; not to be written to."""

    folder: Path
    metadata: bytes
    contents: Mapping[str, bytes]
    """Key below the root → content, of every object of the session."""
    session: StoredSession


@pytest.fixture(params=BUILDS)
def built(request: pytest.FixtureRequest, tiny: Path) -> Built:
    return _read(_build(tiny, request.param))


@pytest.fixture
def face(tiny: Path) -> Built:
    """The smaller of the two stores, with voxels that are not kept."""
    return _read(_build(tiny, "face"))


def _read(folder: Path) -> Built:
    files = [path for path in (folder / GROUP).rglob("*") if path.is_file()]
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    metadata = contents.pop(metadata_key(GROUP))
    return Built(folder, metadata, contents, StoredSession.parse(metadata, group=GROUP, name=NAME))


def test_a_copy_under_another_name_is_refused(face: Built) -> None:
    """It is not that session."""
    with pytest.raises(DataIntegrityError, match=f"^{NAME}: .*they are those of '{GROUP}'"):
        StoredSession.parse(face.metadata, group="sub-03/ses-02", name=NAME)


def test_every_coordinate_is_what_plain_xarray_reads(built: Built) -> None:
    """Its type too; texts are xarray's in another form."""
    ds = xr.open_zarr(built.folder / GROUP)
    assert set(built.session.arrays) == set(ds.variables)
    assert len(ds.coords) >= 20
    for name, expected in ds.coords.items():
        found = built.session.value(name, built.contents, where="the store")
        if built.session.arrays[name]["data_type"] == "string":
            assert found.dtype == object
            assert found.tolist() == expected.values.tolist()
            assert {type(text) for text in found.reshape(-1)} == {str}
        else:
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected.values)
            assert found.flags.writeable
        assert found.shape == expected.shape


def test_what_is_said_of_a_session(built: Built, tiny: Path) -> None:
    """Against the files of the bucket, those of the store, and nibabel."""
    one = built.session
    assert (one.group, one.subject, one.session) == (GROUP, SUBJECT, SESSION)
    header = nibabel.load(betas_file(tiny, SUBJECT, SESSION)).header
    assert one.voxel_grid.shape == header.get_data_shape()[:3]
    np.testing.assert_allclose(one.voxel_grid.matrix(), header.get_best_affine(), atol=1e-6)
    assert (one.grid.n_trials, one.grid.n_voxels) == xr.open_zarr(built.folder / GROUP)[BETAS].shape
    assert {info.key: info.size for info in one.sources} == {
        info.key: (tiny / info.key).stat().st_size for info in one.sources
    }
    own = {path.relative_to(tiny).as_posix() for path in (f(tiny, SUBJECT, SESSION) for f in (betas_file, trials_file))}
    assert {info.key for info in one.session_sources} == own
    assert len(one.sources) > 30

    assert sorted(f"{GROUP}/{key}" for key in one.keys) == sorted(built.contents)
    assert {one.key(name) for name in one.arrays if name != BETAS} == {
        key for key in built.contents if not key.endswith("zarr.json") and f"/{BETAS}/" not in key
    }
    betas = [len(content) for key, content in built.contents.items() if f"/{BETAS}/c/" in key]
    assert len(betas) == one.grid.n_objects
    assert one.n_bytes == sum(betas) - one.grid.n_objects * (16 * one.grid.per_object + 4)
    assert all(json.loads(built.contents[f"{GROUP}/{name}/zarr.json"]) == one.arrays[name] for name in one.arrays)


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def expect_object_refused(one: StoredSession, name: str, contents: Mapping[str, bytes], found: str) -> None:
    """Read a coordinate whose object is not the recorded one; the error names it, and both sums."""
    key = one.key(name)
    expected = one.record.objects[key.removeprefix(f"{GROUP}/")]
    with pytest.raises(DataIntegrityError, match=rf"^s3://mine/{key}: expected .* {expected}, found {found}\."):
        one.value(name, contents, where="s3://mine")


def test_a_coordinate_with_a_flipped_bit_is_refused(face: Built) -> None:
    """Or cut off, or longer, or gone."""
    one, contents = face.session, face.contents
    for name in one.arrays.keys() - {BETAS}:
        key = one.key(name)
        right = contents[key]
        damaged = [flipped(right, bit) for bit in range(0, 8 * len(right), 7)]
        for content in [*damaged, right[:-1], right[: len(right) // 2], right + b"\0", b""]:
            expect_object_refused(one, name, {**contents, key: content}, "[0-9a-f]+")
        without = {there: content for there, content in contents.items() if there != key}
        expect_object_refused(one, name, without, "nothing")


def test_the_object_of_another_coordinate_is_refused(face: Built) -> None:
    """It is right in itself, and of the right length."""
    one, contents = face.session, face.contents
    for name, other in [("i", "j"), ("x", "y"), ("nc_12rep", "nc_all"), ("roi", "roi_category"), ("label", "dataset")]:
        expect_object_refused(one, name, {**contents, one.key(name): contents[one.key(other)]}, "[0-9a-f]+")


def test_the_same_coordinate_of_another_build_is_refused(face: Built, tiny: Path) -> None:
    """What an object store may still serve after a session was built again."""
    others = _read(_build(tiny, "whole")).contents
    one, contents = face.session, face.contents
    for name in ("voxel", "nc_4rep", "in_roi", "z"):
        expect_object_refused(one, name, {**contents, one.key(name): others[one.key(name)]}, "[0-9a-f]+")


def test_what_is_recorded_of_objects_tells_them_apart(face: Built) -> None:
    """A CRC over bytes that end with their own CRC is the same number for all of them."""
    recorded = face.session.record.objects
    contents = {key: face.contents[f"{GROUP}/{key}"] for key in recorded}
    assert len(set(contents.values())) > 40
    assert len(set(recorded.values())) == len(set(contents.values()))


def test_a_coordinate_that_is_not_recorded_is_refused(face: Built) -> None:
    one = face.session
    objects = {key: value for key, value in one.record.objects.items() if key != "i/c/0"}
    forgetful = dataclasses.replace(one, record=dataclasses.replace(one.record, objects=objects))
    for contents in (face.contents, {}):
        with pytest.raises(DataIntegrityError, match="/i/c/0: expected an object"):
            forgetful.value("i", contents, where="s3://mine")


# --- groups there and back --------------------------------------------------------------------------------------------


def test_the_sessions_of_a_subject_come_back() -> None:
    for sessions in ([], ["ses-01"], [f"ses-{number:02d}" for number in range(1, 31)]):
        assert read_subject(subject_metadata("sub-01", sessions), subject="sub-01", name=NAME) == tuple(sessions)


def test_plain_zarr_reads_the_groups(tmp_path: Path) -> None:
    """With every attribute where others look for it."""
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "zarr.json").write_bytes(root_metadata(STORED))
    (tmp_path / "sub-01/zarr.json").write_bytes(subject_metadata("sub-01", ["ses-01"]))
    root = zarr.open_group(tmp_path, mode="r")
    assert json.loads(root.attrs[STORE])["options"] == STORED.to_json()
    assert root["sub-01"].attrs["subject"] == "sub-01"
    assert {"license", "references", CHECKSUM} <= set(root.attrs) & set(root["sub-01"].attrs)


def test_metadata_do_not_change_what_they_are_made_of() -> None:
    attributes: dict[str, Any] = {"x": [1.5, None], STORE: json.dumps({"format": 1})}
    before = json.dumps(attributes)
    assert group_metadata(attributes) == group_metadata(attributes)
    assert json.dumps(attributes) == before


def record_of(session: StoredSession) -> dict[str, Any]:
    return {one.name: getattr(session.record, one.name) for one in dataclasses.fields(Record)}


def test_a_record_comes_back() -> None:
    record = Record(
        group=GROUP,
        options=STORED,
        inputs="a" * 64,
        axis="b" * 64,
        objects={"i/c/0": "00000000", "i/zarr.json": "deadbeef"},
        chunks=ChunkTable((1, 2**32 - 1), (3, 4)),
        left_out=LeftOut((("0180", 7, (None, 20.299999237060547)),), ("nc_12rep", "nc_4rep")),
    )
    attribute = record.attribute()
    assert attribute.keys() == {STORE}
    assert Record.from_json(json.loads(attribute[STORE])) == record


def test_what_is_left_out_of_a_store_is_recorded(face: Built, tiny: Path) -> None:
    """Kept and left out make up the mask: a store of the whole mask leaves out nothing."""
    whole = _read(_build(tiny, "whole")).session
    assert whole.record.left_out.sets == ()
    n_left_out = sum(count for _, count, _ in face.session.record.left_out.sets)
    assert n_left_out + face.session.grid.n_voxels == whole.grid.n_voxels
    assert 0 < n_left_out < whole.grid.n_voxels


# --- damage -----------------------------------------------------------------------------------------------------------


def read_session(content: bytes, *, name: str) -> tuple[Any, ...]:
    """What `StoredSession.parse` returns, in a form that can be compared."""
    one = StoredSession.parse(content, group=GROUP, name=name)
    return (one.attributes, one.arrays, record_of(one), one.grid)


Reader = Callable[..., Any]

KINDS: Mapping[str, Reader] = {
    "root": read_root,
    "subject": functools.partial(read_subject, subject=SUBJECT),
    "session": read_session,
}


@pytest.fixture(params=KINDS)
def group(request: pytest.FixtureRequest, face: Built) -> tuple[bytes, Reader]:
    """The metadata of a group and their reader, of each kind that there is."""
    contents = {
        "root": (face.folder / "zarr.json").read_bytes(),
        "subject": (face.folder / SUBJECT / "zarr.json").read_bytes(),
        "session": face.metadata,
    }
    return contents[request.param], KINDS[request.param]


def json_of(content: bytes) -> str | None:
    """What JSON says, with the types; None where it is none."""
    try:
        return repr(json.loads(content))
    except ValueError:
        return None


def read_or_refusal(content: bytes, read: Reader) -> Any:
    try:
        return read(content, name=NAME)
    except DataIntegrityError as error:
        return error


def expect_refused(contents: Iterable[bytes], right: bytes, read: Reader) -> int:
    """Read damaged metadata: an error of the contract's class that names them, else they say the same as before.

    Returns how many were refused.
    """
    value, said, refused = read(right, name=NAME), json_of(right), 0
    for content in contents:
        found = read_or_refusal(content, read)
        if isinstance(found, DataIntegrityError):
            assert str(found).startswith(f"{NAME}: expected ")
            refused += 1
        else:
            assert json_of(content) == said, "something else was read"
            assert found == value
    return refused


def test_flipped_bits_are_refused(group: tuple[bytes, Reader]) -> None:
    """Anywhere; in a session's long metadata at places spread over all of it, with each bit of a byte in turn."""
    content, read = group
    step = max(1, 8 * len(content) // 2500) | 1  # odd, so that it meets every bit
    bits = range(0, 8 * len(content), step)
    refused = expect_refused((flipped(content, bit) for bit in bits), content, read)
    # The last digit of a number can be another spelling of the same.
    assert refused >= 0.99 * len(bits)


@settings(max_examples=60)
@given(data=st.data())
def test_other_bytes_are_refused(data: st.DataObject) -> None:
    """A run of them replaced by others, by none, or by more."""
    right = root_metadata(STORED)
    start = data.draw(st.integers(0, len(right)))
    stop = data.draw(st.integers(start, min(len(right), start + 40)))
    other = data.draw(st.one_of(st.binary(max_size=40), st.sampled_from([b" ", b"\n", b"\0", b'"', b"}", b"null"])))
    expect_refused([right[:start] + other + right[stop:]], right, read_root)


def test_metadata_that_are_cut_off_are_refused(group: tuple[bytes, Reader]) -> None:
    """As a disk leaves them: short, or with zeros where the rest should be."""
    content, read = group
    sizes = [*range(0, len(content), max(1, len(content) // 300)), len(content) - 1]
    assert expect_refused((content[:size] for size in sizes), content, read) == len(sizes)
    assert expect_refused((content[:size].ljust(len(content), b"\0") for size in sizes), content, read) == len(sizes)
    assert expect_refused([content + b"}", content * 2], content, read) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"\xff\xfe",
        b"<html>503 Slow Down</html>",
        b"{",
        b"null",
        b"true",
        b"1",
        b"NaN",
        b'"a text"',
        b"[]",
        b"[1]",
        b"{}",
        b'{"attributes": null}',
        b'{"attributes": []}',
        b'{"attributes": "a text"}',
        b'{"attributes": {}}',
        b'{"attributes": {"%b": 1}}' % CHECKSUM.encode(),
        b'{"zarr_format": 3, "node_type": "group", "attributes": {"created_with": "something else"}}',
        b'{"zarr_format": 3, "node_type": "array", "shape": [1]}',
        b"9" * 5000,
        pytest.param(b"[" * 100_000, id="nested too deep"),
    ],
)
@pytest.mark.parametrize("read", KINDS.values(), ids=KINDS.keys())
def test_what_is_no_metadata_of_a_store_is_refused(content: bytes, read: Reader) -> None:
    """Whatever stands where they should, a plain Zarr group too."""
    with pytest.raises(DataIntegrityError, match=f"^{NAME}: expected the metadata of a store") as caught:
        read(content, name=NAME)
    assert "build the store again" in str(caught.value)


def with_right_checksum(content: dict[str, Any]) -> bytes:
    """Metadata with the checksum that goes with them: `CHECKSUM` computed from its description."""
    attributes = {name: value for name, value in content["attributes"].items() if name != CHECKSUM}
    bare = json.dumps({**content, "attributes": attributes}, sort_keys=True, separators=(",", ":"))
    attributes[CHECKSUM] = hashlib.sha256(bare.encode()).hexdigest()
    return json.dumps({**content, "attributes": attributes}).encode()


def changed(right: bytes, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> bytes:
    """Metadata with something changed in the group, or in what `STORE` says, and the checksum made good."""
    content = json.loads(right)
    told = json.loads(content["attributes"][STORE])
    change(content, told)
    if STORE in content["attributes"]:
        content["attributes"][STORE] = json.dumps(told)
    return with_right_checksum(content)


def test_the_checksum_is_made_good(group: tuple[bytes, Reader]) -> None:
    """Or the tests below would refuse for another reason than the one they name."""
    content, read = group
    assert read(changed(content, lambda *_: None), name=NAME) == read(content, name=NAME)
    assert json_of(changed(content, lambda *_: None)) == json_of(content)


@pytest.mark.parametrize("attribute", [STORE, CHECKSUM])
def test_a_missing_attribute_is_refused(group: tuple[bytes, Reader], attribute: str) -> None:
    right, read = group
    content = json.loads(changed(right, lambda content, _: content["attributes"].pop(attribute)))
    if attribute == CHECKSUM:
        del content["attributes"][CHECKSUM]
    with pytest.raises(
        DataIntegrityError, match=f"^{NAME}: expected the metadata of a store .*KeyError: '{attribute}'"
    ):
        read(json.dumps(content).encode(), name=NAME)


def test_any_attribute_gone_without_a_new_checksum_is_refused(group: tuple[bytes, Reader]) -> None:
    right, read = group
    for name in json.loads(right)["attributes"]:
        content = json.loads(right)
        del content["attributes"][name]
        with pytest.raises(DataIntegrityError, match=f"^{NAME}: expected the metadata of a store"):
            read(json.dumps(content).encode(), name=NAME)


@pytest.mark.parametrize("version", [0, 2, 17, "1", None, [1]], ids=repr)
def test_another_version_of_the_layout_is_refused(group: tuple[bytes, Reader], version: Any) -> None:
    """And the user told what can read it."""
    right, read = group
    content = changed(right, lambda _, told: told.update(format=version))
    with pytest.raises(DataIntegrityError) as caught:
        read(content, name=NAME)
    assert str(caught.value).startswith(f"{NAME}: expected a store of format 1, found {version}. Read it with the ver")


def _without(*names: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Remove something from what `STORE` says."""

    def change(_: dict[str, Any], told: dict[str, Any]) -> None:
        *parents, last = names
        del functools.reduce(lambda one, name: one[name], parents, told)[last]

    return change


def _with(value: Any, *names: str) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Put something else into what `STORE` says."""

    def change(_: dict[str, Any], told: dict[str, Any]) -> None:
        *parents, last = names
        functools.reduce(lambda one, name: one[name], parents, told)[last] = value

    return change


def _of_betas(change: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """Change the metadata of the betas."""
    return lambda content, _: change(content["consolidated_metadata"]["metadata"][BETAS])


WRONG = {
    "no options": ("root", _without("options")),
    "no ROI among the options": ("root", _without("options", "roi")),
    "an option of another version": ("root", _with(1, "options", "compression")),
    "options that are a list": ("root", _with([], "options")),
    "options that are none": ("root", _with(None, "options")),
    "no sessions": ("subject", _without("sessions")),
    "sessions that are a number": ("subject", _with(3, "sessions")),
    **{
        f"no {name} in the record": ("session", _without(name))
        for name in ("group", "options", "inputs", "axis", "objects", "chunks", "left_out")
    },
    "another group": ("session", _with(f"{SUBJECT}/ses-02", "group")),
    "no sets left out": ("session", _without("left_out", "sets")),
    "no maps left out": ("session", _without("left_out", "maps")),
    "sets of another form": ("session", _with([["00", 1]], "left_out", "sets")),
    "a table that is no Base64": ("session", _with("?", "chunks")),
    "a table that is a number": ("session", _with(7, "chunks")),
    "a table of no chunks": ("session", _with("", "chunks")),
    "a table of another array": ("session", _with(ChunkTable((1,) * 99, (1,) * 99).to_text(), "chunks")),
    "a table with half a row": ("session", _with(base64.b64encode(bytes(12)).decode(), "chunks")),
    "no arrays": ("session", lambda content, _: content.pop("consolidated_metadata")),
    "arrays that are none": ("session", lambda content, _: content.update(consolidated_metadata=None)),
    "no betas": ("session", lambda content, _: content["consolidated_metadata"]["metadata"].pop(BETAS)),
    "betas without a shape": ("session", _of_betas(lambda betas: betas.pop("shape"))),
    "betas in other codecs": ("session", _of_betas(lambda betas: betas.update(codecs=[{"name": "gzip"}]))),
    "betas with fewer voxels": ("session", _of_betas(lambda betas: betas.update(shape=[betas["shape"][0], 1]))),
}
"""What is wrong → in which group, and how it comes about; with a right checksum, so by another program's doing."""


@pytest.mark.parametrize(("kind", "change"), WRONG.values(), ids=WRONG.keys())
def test_a_record_that_cannot_be_understood_is_refused(
    kind: str, change: Callable[[dict[str, Any], dict[str, Any]], None], face: Built
) -> None:
    right = {"root": root_metadata(STORED), "subject": subject_metadata(SUBJECT, [SESSION]), "session": face.metadata}
    with pytest.raises(DataIntegrityError, match=f"^{NAME}: expected ") as caught:
        KINDS[kind](changed(right[kind], change), name=NAME)
    assert caught.value.__cause__ is not None
    assert "uild the store again" in str(caught.value)


# --- what is left out -------------------------------------------------------------------------------------------------

NAMES = tuple(f"R{number}" for number in range(11))
"""More than eight, so that memberships take two bytes."""
CATEGORIES = ("face", "face", "place", *("early",) * 8)
N_VOXELS = 14
MAPS = ("nc_12rep", "nc_all")

CEILINGS = [np.nan, 0.0, 20.0, 20.3, 33.1, 33.3, 50.0, 99.9, 100.0]
"""Some of them no float32: as thresholds they are compared with what float32 makes of them."""

ATOMS = st.sampled_from([*NAMES, "face", "place", "early", "all"])


@st.composite
def expressions(draw: st.DrawFn) -> str:
    """Texts that mean the same to Python over sets."""
    operator = st.sampled_from("|&-")
    one, two, three = draw(ATOMS), draw(ATOMS), draw(ATOMS)
    forms = [one, f"{one} {draw(operator)} {two}", f"{one} {draw(operator)} ({two} {draw(operator)} {three})"]
    return draw(st.sampled_from(forms))


def chosen_by(selection: str | list[str] | None, inside: np.ndarray) -> set[int]:
    """What a selection chooses, by Python's own sets."""
    if selection is None:
        return set(range(inside.shape[1]))
    rows = {name: [row] for row, name in enumerate(NAMES)} | {"all": list(range(len(NAMES)))}
    rows |= {name: [row for row, one in enumerate(CATEGORIES) if one == name] for name in CATEGORIES}
    sets = {name: set(np.flatnonzero(inside[of].any(axis=0)).tolist()) for name, of in rows.items()}
    expressions = [selection] if isinstance(selection, str) else selection
    return set().union(*(eval(one, {"__builtins__": {}}, sets) for one in expressions))


def reaches(value: np.float32, least: float) -> bool:
    """Whether a voxel reaches a threshold, as `open_betas` has it: an array of float32, compared with a number."""
    return bool((np.array([value], dtype=np.float32) >= least)[0])


def through_json(left_out: LeftOut) -> LeftOut:
    record = Record(
        group=GROUP,
        options=StoreOptions(),
        inputs="",
        axis="",
        objects={},
        chunks=ChunkTable((), ()),
        left_out=left_out,
    )
    return Record.from_json(json.loads(record.attribute()[STORE])).left_out


@settings(max_examples=400)
@given(
    inside=hnp.arrays(bool, (len(NAMES), N_VOXELS), elements=st.sampled_from([False, False, False, True])),
    ceilings=hnp.arrays(np.float32, (len(MAPS), N_VOXELS), elements=st.sampled_from(CEILINGS).map(np.float32)),
    n_voxels=st.integers(0, N_VOXELS),
    selection=st.one_of(st.none(), expressions(), st.lists(expressions(), min_size=1, max_size=3)),
    threshold=st.one_of(
        st.none(), st.tuples(st.sampled_from([*MAPS, "nc_4rep"]), st.sampled_from([c for c in CEILINGS if c >= 0]))
    ),
)
def test_a_selection_wants_what_is_left_out_just_where_it_chooses_some_of_it(
    inside: np.ndarray,
    ceilings: np.ndarray,
    n_voxels: int,
    selection: str | list[str] | None,
    threshold: tuple[str, float] | None,
) -> None:
    """Against every voxel looked at by itself. Of a map that there is not no voxel reaches anything."""
    inside, ceilings = inside[:, :n_voxels], ceilings[:, :n_voxels]
    left_out = LeftOut.of(n_voxels, inside, dict(zip(MAPS, ceilings, strict=True)))
    rois = RoiMembership(NAMES, CATEGORIES, np.zeros((len(NAMES), 1), dtype=bool))
    name, least = threshold or (None, None)
    expected = chosen_by(selection, inside)
    if threshold is not None:
        values = ceilings[MAPS.index(name)] if name in MAPS else np.full(n_voxels, np.nan)
        expected = {voxel for voxel in expected if reaches(values[voxel], least)}

    assert sum(count for _, count, _ in left_out.sets) == n_voxels
    for one in (left_out, through_json(left_out)):
        wanted = one.wanted(rois, selection, name, least)
        assert (wanted > 0) == bool(expected)
        assert wanted >= len(expected)
        if threshold is None:
            assert wanted == len(expected)
    assert through_json(left_out) == left_out


def test_a_voxel_reaches_the_threshold_that_it_has_as_float32() -> None:
    """20.3 as float32 is less than 20.3, and `open_betas` takes the voxel all the same: the store must not hide it."""
    ceilings = np.full(3, 20.3, dtype=np.float32)
    assert float(ceilings[0]) < 20.3
    assert (ceilings >= 20.3).all()
    assert LeftOut.of(3, None, {"nc_12rep": ceilings}).wanted(None, None, "nc_12rep", 20.3) == 3


def test_sets_are_written_as_the_format_says() -> None:
    """The first ROI is the highest bit of the first byte; then their number, and the largest value of each map."""
    inside = np.zeros((len(NAMES), 3), dtype=bool)
    inside[0, 0] = inside[9, 0] = inside[0, 2] = inside[9, 2] = True
    left_out = LeftOut.of(3, inside, {"nc_12rep": np.float32([5, 6, np.nan]), "nc_all": np.float32([1, np.nan, 2])})
    assert {digits: rest for digits, *rest in left_out.sets} == {
        "0000": [1, (6.0, None)],
        "8040": [2, (5.0, 2.0)],
    }
    assert left_out.maps == MAPS


def test_without_rois_every_voxel_is_of_one_set() -> None:
    left_out = LeftOut.of(3, None, {"nc_all": np.float32([np.nan, 5, 7])})
    assert [(count, largest) for _, count, largest in left_out.sets] == [(3, (7.0,))]
    assert left_out.wanted(None, None, None, None) == 3
    assert left_out.wanted(None, None, "nc_all", 7.0) == 3
    assert left_out.wanted(None, None, "nc_all", 7.5) == 0
    assert left_out.wanted(None, None, "nc_12rep", 0.0) == 0
    lowest = LeftOut.of(2, None, {"nc_all": np.float32([0, np.nan])})
    assert lowest.wanted(None, None, "nc_all", 0.0) == 2
    unknown = LeftOut.of(2, None, {"nc_all": np.float32([np.nan, np.nan])})
    assert unknown.wanted(None, None, "nc_all", 0.0) == 0
    assert unknown.wanted(None, None, None, None) == 2
    assert LeftOut.of(0, None, {}).wanted(None, None, None, None) == 0
