"""What the metadata of a store say, there and back; what is damaged is refused, and never read as something else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from collections.abc import Mapping
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
from stored_metadata import (
    BUILDS,
    CHECKSUM,
    GROUP,
    NAME,
    SESSION,
    STORE,
    STORED,
    SUBJECT,
    Built,
    _build,
    _read,
    flipped,
)

from intake_laion_fmri.axes.rois import RoiExpression, RoiMembership
from intake_laion_fmri.axes.voxels import MASKS
from intake_laion_fmri.errors import DataIntegrityError, UnknownValueError
from intake_laion_fmri.remote.access import ObjectInfo
from intake_laion_fmri.store.chunks import ChunkTable
from intake_laion_fmri.store.codecs import CODECS
from intake_laion_fmri.store.format import BETAS, Record, StoredSession, coordinate_key
from intake_laion_fmri.store.left_out import LeftOut
from intake_laion_fmri.store.metadata import (
    group_metadata,
    metadata_key,
    read_root,
    read_subject,
    root_metadata,
    session_group,
    subject_metadata,
    sum_of_inputs,
)
from intake_laion_fmri.store.options import StoreOptions
from intake_laion_fmri.store.rounding import DTYPES, Rounding

pytest_plugins = ["stored_metadata_fixtures"]


# --- options ----------------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    """All that is no option of its own is None in the call, and the default in the store."""
    expected = StoreOptions(None, "rsquare", "float32", None, "none", 128, 4096)
    assert StoreOptions.from_arguments({}) == expected
    assert StoreOptions.from_arguments(dict.fromkeys(expected.to_json())) == expected
    assert StoreOptions.from_arguments({"dtype": "bitround"}) == dataclasses.replace(
        expected, dtype="bitround", keep_bits=10
    )
    assert StoreOptions.from_arguments({"dtype": "bitround", "keep_bits": 3}).keep_bits == 3
    assert StoreOptions.from_arguments({"shard_voxels": 0}) == dataclasses.replace(expected, shard_voxels=None)
    assert str(expected) == "the default options"
    assert str(StoreOptions.from_arguments({"roi": "face", "shard_voxels": 0})) == "roi='face', shard_voxels=None"


def test_whole_numbers_of_numpy_become_plain_ones() -> None:
    """They are written as JSON, and compared with what was written."""
    given_ = {"keep_bits": np.int8(7), "chunk_voxels": np.uint32(64), "shard_voxels": np.int64(640)}
    options = StoreOptions.from_arguments({"dtype": "bitround", **given_})
    assert {type(getattr(options, name)) for name in given_} == {int}
    assert (options.keep_bits, options.chunk_voxels, options.shard_voxels) == (7, 64, 640)
    assert type(StoreOptions.from_arguments({"shard_voxels": np.int64(0)}).shard_voxels) is type(None)


@pytest.mark.parametrize(
    ("given_", "kind", "message"),
    [
        ({"roi": "FFA1 |"}, ValueError, r"roi='FFA1 \|' cannot be read: it ends before a name"),
        ({"roi": []}, ValueError, r"roi=\[\] is empty"),
        ({"roi": 3}, TypeError, "roi must be a string, a list of strings, or None; found 3"),
        ({"roi": ["FFA1", 3]}, TypeError, "roi must be a string"),
        ({"mask": "rsquared"}, ValueError, "Unknown mask: 'rsquared'. Did you mean 'rsquare'?"),
        ({"mask": True}, ValueError, "Unknown mask: True"),
        ({"dtype": "float64"}, ValueError, r"Unknown dtype: 'float64'\. Did you mean 'float"),
        ({"dtype": np.float32}, ValueError, "Unknown dtype: <class 'numpy.float32'>"),
        ({"codec": "gzip"}, ValueError, r"Unknown codec: 'gzip'\..* Valid: none, lz4, zstd\."),
        *(
            (
                {"dtype": "bitround", "keep_bits": bits},
                ValueError,
                r"^keep_bits must be an integer from 1 to 23, found",
            )
            for bits in (0, 24, -1, 10.0, "10", True, np.True_)
        ),
        *(
            ({"chunk_voxels": width}, ValueError, r"^chunk_voxels must be an integer from 1 to 1048576, found")
            for width in (0, -128, 2**20 + 1, 128.0, "128", True)
        ),
        *(
            ({"shard_voxels": width}, ValueError, r"^shard_voxels must be an integer from 0 to 16777216, found")
            for width in (-128, 2**24 + 1, 4096.0, "4096", True, False, np.False_)
        ),
        ({"keep_bits": 10}, ValueError, "^keep_bits=10 requires dtype='bitround', found 'float32'.$"),
        (
            {"keep_bits": 10, "dtype": "float16"},
            ValueError,
            "^keep_bits=10 requires dtype='bitround', found 'float16'.$",
        ),
        (
            {"chunk_voxels": 100, "shard_voxels": 250},
            ValueError,
            "^shard_voxels=250 is not a multiple of chunk_voxels=100: expected a multiple, such as 200, or 0 for",
        ),
        ({"chunk_voxels": 100}, ValueError, "shard_voxels=4096 is not a multiple of chunk_voxels=100: .* such as 4100"),
        ({"shard_voxels": 100}, ValueError, "shard_voxels=100 is not a multiple of chunk_voxels=128: .* such as 128"),
    ],
    ids=repr,
)
def test_what_cannot_be_right_is_refused(given_: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        StoreOptions.from_arguments(given_)
    assert type(caught.value) in (kind, UnknownValueError)
    if message.endswith("found"):
        (value,) = [value for name, value in given_.items() if name != "dtype"]
        assert str(caught.value).endswith(f"found {value!r}.")


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
    assert StoreOptions.from_arguments({}, STORED) is STORED
    assert StoreOptions.from_arguments({name: own}, STORED) is STORED
    with pytest.raises(ValueError, match=f"^The store was built with {name}={own!r}, found {name}={other or None!r}. "):
        StoreOptions.from_arguments({name: other}, STORED)


def test_everything_that_differs_from_a_store_is_told() -> None:
    with pytest.raises(ValueError, match=r"built with dtype='bitround', codec='lz4', found dtype='float16', codec='z"):
        StoreOptions.from_arguments({"dtype": "float16", "mask": "anatomical", "codec": "zstd"}, STORED)
    with pytest.raises(ValueError, match="built with roi=None, found roi='face'"):
        StoreOptions.from_arguments({"roi": "face"}, StoreOptions())
    with pytest.raises(ValueError, match="keep_bits=10 requires dtype='bitround', found 'float32'"):
        StoreOptions.from_arguments({"keep_bits": 10}, StoreOptions())
    with pytest.raises(ValueError, match="keep_bits=10 requires dtype='bitround', found 'float32'"):
        StoreOptions.from_arguments({"keep_bits": 10, "dtype": "float32"}, STORED)
    # The default of a new store is none of this one's.
    assert StoreOptions.from_arguments({"dtype": "bitround"}, STORED) is STORED


@st.composite
def every_options(draw: st.DrawFn) -> StoreOptions:
    """Any options, as a user can ask for them."""
    rois = st.sampled_from(["face", "FFA-1", "all", "laionventral - (V1v | V1d)"])
    dtype, width = draw(st.sampled_from(DTYPES)), draw(st.integers(1, 2**20))
    return StoreOptions.from_arguments(
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
    assert StoreOptions.from_arguments(options.to_json(), options) is options


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


@pytest.fixture(params=BUILDS)
def built(request: pytest.FixtureRequest, tiny: Path) -> Built:
    return _read(_build(tiny, request.param))


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


def test_a_record_comes_back() -> None:
    record = Record(
        group=GROUP,
        options=STORED,
        inputs="a" * 64,
        axis="b" * 64,
        objects={"i/c/0": "00000000", "i/zarr.json": "deadbeef"},
        chunks=ChunkTable((1, 2**32 - 1), (3, 4)),
        left_out=LeftOut((("0180", 7, (None, 20.299999237060547)),), ("nc_12rep", "nc_4rep")),
        tables={"ses-01": "c" * 32},
        sizes={"i/c/0": 3, "i/zarr.json": 4},
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
        tables={},
        sizes={},
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
    left_out = LeftOut.from_voxels(n_voxels, inside, dict(zip(MAPS, ceilings, strict=True)))
    rois = RoiMembership(NAMES, CATEGORIES, np.zeros((len(NAMES), 1), dtype=bool))
    name, least = threshold or (None, None)
    expected = chosen_by(selection, inside)
    if threshold is not None:
        values = ceilings[MAPS.index(name)] if name in MAPS else np.full(n_voxels, np.nan)
        expected = {voxel for voxel in expected if reaches(values[voxel], least)}

    assert sum(count for _, count, _ in left_out.sets) == n_voxels
    for one in (left_out, through_json(left_out)):
        wanted = one.wanted(rois, None if selection is None else RoiExpression.parse(selection), name, least)
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
    assert LeftOut.from_voxels(3, None, {"nc_12rep": ceilings}).wanted(None, None, "nc_12rep", 20.3) == 3


def test_sets_are_written_as_the_format_says() -> None:
    """The first ROI is the highest bit of the first byte; then their number, and the largest value of each map."""
    inside = np.zeros((len(NAMES), 3), dtype=bool)
    inside[0, 0] = inside[9, 0] = inside[0, 2] = inside[9, 2] = True
    left_out = LeftOut.from_voxels(
        3, inside, {"nc_12rep": np.float32([5, 6, np.nan]), "nc_all": np.float32([1, np.nan, 2])}
    )
    assert {digits: rest for digits, *rest in left_out.sets} == {
        "0000": [1, (6.0, None)],
        "8040": [2, (5.0, 2.0)],
    }
    assert left_out.maps == MAPS


def test_without_rois_every_voxel_is_of_one_set() -> None:
    left_out = LeftOut.from_voxels(3, None, {"nc_all": np.float32([np.nan, 5, 7])})
    assert [(count, largest) for _, count, largest in left_out.sets] == [(3, (7.0,))]
    assert left_out.wanted(None, None, None, None) == 3
    assert left_out.wanted(None, None, "nc_all", 7.0) == 3
    assert left_out.wanted(None, None, "nc_all", 7.5) == 0
    assert left_out.wanted(None, None, "nc_12rep", 0.0) == 0
    lowest = LeftOut.from_voxels(2, None, {"nc_all": np.float32([0, np.nan])})
    assert lowest.wanted(None, None, "nc_all", 0.0) == 2
    unknown = LeftOut.from_voxels(2, None, {"nc_all": np.float32([np.nan, np.nan])})
    assert unknown.wanted(None, None, "nc_all", 0.0) == 0
    assert unknown.wanted(None, None, None, None) == 2
    assert LeftOut.from_voxels(0, None, {}).wanted(None, None, None, None) == 0
