"""A store gives the identical Dataset: to this package, to plain xarray and to Intake."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import intake
import numpy as np
import pytest
import xarray as xr
from demo_files import betas_file, map_file, trials_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_files import NOWHERE, assert_same, store_blocks
from tiers import examples, full, sampled

from intake_laion_fmri import build_store, open_betas
from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.readers import BetasReader
from intake_laion_fmri.remote.access import open_store
from intake_laion_fmri.store import BuildProgress

SUBJECTS = ("sub-01", "sub-03")
SESSIONS = ("ses-01", "ses-02", "ses-03")


def files(folder: Path) -> dict[str, bytes]:
    """Return everything below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the identical Dataset --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", SUBJECTS)
@pytest.mark.parametrize(
    "selection",
    sampled(
        [
            {},
            {"session": 2},
            {"session": ["ses-03", 1], "roi": "face"},
            {"roi": "FFA-1"},
            {"roi": "laionventral - (V1v | V1d | hV4)", "min_noise_ceiling": 20},
            {"roi": ["PPA", "face & laion", "MT"], "stimuli": "shared"},
            {"min_noise_ceiling": 30.0, "noise_ceiling": "4rep"},
            {"min_noise_ceiling": 100, "noise_ceiling": "all"},
            {"stimuli": "ood", "split": "ood", "role": "test"},
            {"split": "tau", "role": "train", "roi": "place"},
            {"split": "random_3", "pool": "subject", "role": "test", "session": 3},
            {"split": "cluster_k5_1", "stimuli": "unique"},
        ],
        keep=4,
    ),
    ids=str,
)
def test_identical_from_a_disk(tiny: Path, tiny_store: Path, subject: str, selection: dict[str, Any]) -> None:
    assert_same(tiny_store, tiny, subject, **selection)


def test_identical_where_nothing_is_selected(tiny: Path, tiny_store: Path) -> None:
    assert assert_same(tiny_store, tiny, roi="FFA1 - face").sizes["voxel"] == 0
    assert assert_same(tiny_store, tiny, split="tau", stimuli="ood").sizes["trial"] == 0


_NAMES = ["FFA1", "FFA2", "OFA", "PPA", "V1v", "V1d", "hV4", "MT", "EBA", "laionventral", "laiongeneral", "lobjects"]
_OPERANDS = st.sampled_from([*_NAMES, "face", "place", "retinotopy", "laion", "all"])
EXPRESSIONS = st.recursive(
    _OPERANDS,
    lambda inner: st.builds(lambda a, op, b: f"({a} {op} {b})", inner, st.sampled_from("|&-"), inner),
    max_leaves=5,
)
SELECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "session": st.one_of(st.just("all"), st.sets(st.sampled_from(SESSIONS), min_size=1).map(sorted)),
        "roi": st.one_of(st.none(), EXPRESSIONS, st.lists(EXPRESSIONS, min_size=1, max_size=3)),
        "min_noise_ceiling": st.one_of(st.none(), st.floats(1, 100), st.just(0)),
        "noise_ceiling": st.sampled_from(["12rep", "4rep", "all"]),
        "stimuli": st.sampled_from([None, "shared", "unique", "ood"]),
    },
)
SPLIT_SELECTIONS = st.fixed_dictionaries(
    {
        "split": st.sampled_from(["random_0", "random_4", "cluster_k5_2", "tau", "ood"]),
        "pool": st.sampled_from(["shared", "subject"]),
        "role": st.sampled_from(["train", "test", "both"]),
    }
)


@given(selection=SELECTIONS, split=st.one_of(st.just({}), SPLIT_SELECTIONS), subject=st.sampled_from(SUBJECTS))
@settings(max_examples=examples(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_identical_for_any_selection(
    tiny: Path, tiny_store: Path, selection: dict[str, Any], split: dict[str, Any], subject: str
) -> None:
    assert_same(tiny_store, tiny, subject, **selection, **split)


@pytest.mark.parametrize(
    "options",
    sampled(
        [
            {"codec": "lz4"},
            {"codec": "zstd", "shard_voxels": 0},
            {"chunk_voxels": 7, "shard_voxels": 21},
            {"chunk_voxels": 1, "shard_voxels": 0, "roi": "face"},
            {"chunk_voxels": 4096, "shard_voxels": 4096},
            {"mask": "anatomical", "chunk_voxels": 50, "shard_voxels": 100},
        ],
        keep=2,
    ),
    ids=str,
)
def test_identical_whatever_the_lossless_options(tiny: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Also read by plain xarray: what Zarr says of the array is true."""
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-03", sessions=[1, 3], **options)
    mask = options.get("mask", "rsquare")
    for roi in ("face", "OFA | FFA1"):
        expected = assert_same(tmp_path / "store", tiny, "sub-03", session=[1, 3], roi=roi, mask=mask)
    plain = xr.open_zarr(tmp_path / "store" / "sub-03" / "ses-03").sortby("voxel")
    expected = expected.isel(trial=(expected.session == "ses-03").values)
    np.testing.assert_array_equal(plain.betas.sel(voxel=expected.voxel), expected.betas)


@full("every selection again from a server, fifteen seconds; test_identical_from_a_disk is in the fast tier")
def test_identical_from_s3(tiny: Path, tiny_store: Path, s3: Any, s3_store: str) -> None:
    """Built on the server, read from it: the objects are those of the store on disk."""
    listing = s3.client.get_paginator("list_objects_v2").paginate(Bucket="stores", Prefix="some/where.zarr/")
    keys = [entry["Key"] for page in listing for entry in page["Contents"]]
    objects = {key: s3.client.get_object(Bucket="stores", Key=key)["Body"].read() for key in keys}
    on_disk = {key: content for key, content in files(tiny_store).items() if not key.startswith("sub-03")}
    assert {key.removeprefix("some/where.zarr/"): content for key, content in objects.items()} == on_disk
    for selection in ({}, {"roi": "face", "session": [1, 3]}, {"split": "tau", "role": "test"}):
        expected = open_betas("sub-01", bucket=tiny, **selection).compute()
        found = open_betas("sub-01", store=s3_store, store_options=s3.store_options, bucket=NOWHERE, **selection)
        xr.testing.assert_identical(found.compute(), expected)
    xr.testing.assert_identical(found.compute(scheduler="processes", num_workers=1), expected)


def test_few_requests_to_a_server(s3: Any, s3_store: str) -> None:
    """Metadata in three steps, then what is chosen: no listing, no look at an object before it is read."""
    start = s3.log.stat().st_size
    ds = open_betas("sub-01", store=s3_store, store_options=s3.store_options, roi="FFA1")
    opened = re.findall(rb"(GET|HEAD|PUT) (/stores\S*)", s3.log.read_bytes()[start:])
    assert {method for method, _ in opened} == {b"GET"}
    assert not [path for _, path in opened if b"list-type" in path or b"/betas/" in path]
    # Root, subject, three sessions; five arrays of each; ten along voxels, ROIs, pools and splits.
    assert len(opened) == 2 + 3 + 3 * 5 + 10
    chunks = sum(len(block.parts) for block in store_blocks(ds))
    start = s3.log.stat().st_size
    ds.load()
    read = re.findall(rb"(GET|HEAD|PUT) (/stores\S*)", s3.log.read_bytes()[start:])
    assert [method for method, _ in read] == [b"GET"] * chunks
    assert chunks >= 3


def test_chunks_are_chosen_when_it_is_opened(tiny: Path, tmp_path: Path) -> None:
    """One task per session, which reads the chunks of the ROI and no others."""
    folder = tmp_path / "store"
    build_store(folder, bucket=tiny, subjects="sub-01", chunk_voxels=16, shard_voxels=64)
    ds = open_betas("sub-01", store=folder, roi="FFA1")
    assert len(ds.betas.data.dask) <= 3 + 1
    stored = xr.open_zarr(folder / "sub-01" / "ses-01").voxel.values
    wanted = sorted({int(place) // 16 for place in np.flatnonzero(np.isin(stored, ds.voxel.values))})
    assert len(wanted) < len(stored) / 16 / 2
    for block in store_blocks(ds):
        assert [chunk for part in block.parts for chunk in part.chunks] == wanted
    needed = ds.betas.nbytes
    assert sum(sum(part.sizes) for block in store_blocks(ds) for part in block.parts) <= 16 * needed


def test_a_session_without_a_chosen_trial_is_not_read(tiny: Path, own_store: Path) -> None:
    label = open_betas("sub-01", session=1, bucket=tiny)
    assert "train" in label.split_role.attrs["flag_meanings"]
    everything = open_betas("sub-01", store=own_store, roi="face")
    chosen = open_betas("sub-01", store=own_store, roi="face", split="tau", role="test")
    without = set(everything.session.values) - set(chosen.session.values)
    assert len(store_blocks(chosen)) == 3 - len(without)


def test_small_and_the_same_in_every_process(tiny_store: Path) -> None:
    """The Dataset pickles small, and its keys depend on the store alone."""
    ds = open_betas("sub-01", store=tiny_store, roi="face")
    again = open_betas("sub-01", store=tiny_store, roi="face")
    assert ds.betas.data.name == again.betas.data.name
    assert open_betas("sub-01", store=tiny_store, roi="body").betas.data.name != ds.betas.data.name
    assert len(pickle.dumps(ds.betas.data)) < 10_000
    xr.testing.assert_identical(pickle.loads(pickle.dumps(ds)).compute(), ds.compute())


# --- other readers ----------------------------------------------------------------------------------------------------


def test_plain_xarray(tiny: Path, tiny_store: Path) -> None:
    """Every value and coordinate of the contract, without this package's reader and without a warning.

    The grid is in the attributes alone, as docs/store-format.md says.
    """
    expected = open_betas("sub-01", session=2, bucket=tiny).compute()
    assert expected.attrs["affine"] == expected.grid.attrs["affine"]
    expected = expected.drop_vars("grid")
    del expected.betas.attrs["grid_mapping"], expected.attrs["project"], expected.attrs["publisher_url"]
    for plain in (
        xr.open_zarr(tiny_store / "sub-01" / "ses-02"),
        xr.open_zarr(tiny_store, group="sub-01/ses-02", consolidated=False),
        xr.open_datatree(tiny_store, engine="zarr", consolidated=False)["sub-01/ses-02"].to_dataset(),
    ):
        found = plain.compute().sortby("voxel")
        assert set(found.coords) == set(expected.coords)
        for name, coordinate in expected.variables.items():
            stored = found[name].variable
            assert stored.dims == coordinate.dims
            np.testing.assert_array_equal(stored.values.astype(coordinate.dtype), coordinate.values)
            assert {key: value for key, value in stored.attrs.items() if key in coordinate.attrs} == coordinate.attrs
        assert {key: found.attrs[key] for key in expected.attrs} == expected.attrs


def test_the_root_lists_every_session(tiny_store: Path) -> None:
    tree = xr.open_datatree(tiny_store, engine="zarr", consolidated=False)
    groups = {f"/{subject}/{session}" for subject in SUBJECTS for session in SESSIONS}
    assert set(tree.groups) == {"/", *(f"/{subject}" for subject in SUBJECTS), *groups}


def test_from_the_catalogs(tiny: Path, tiny_store: Path) -> None:
    """`store=` is an argument of every entry of betas, in both generations of Intake."""
    expected = open_betas("sub-01", roi="face", bucket=tiny).compute()
    source = intake.cat.laion_fmri.betas(roi="face", store=str(tiny_store), bucket=NOWHERE)
    xr.testing.assert_identical(source.read(), expected)
    session = intake.cat.laion_fmri["sub-01"]["ses-02"](roi="face", store=str(tiny_store), bucket=NOWHERE).read()
    assert set(session.session.values) == {"ses-02"}
    reader = BetasReader(bucket=NOWHERE, subject="sub-01", roi="face", store=tiny_store)
    xr.testing.assert_identical(reader.read().compute(), expected)
    with pytest.raises(TypeError, match="store must be a URL or a folder, found 3"):
        intake.cat.laion_fmri.betas(store=3)
    with pytest.raises(TypeError, match="store_options must be a mapping"):
        intake.cat.laion_fmri.betas(store="x", store_options="anon")
    with pytest.raises(TypeError, match="fallback must be True or False, found 'yes'"):
        intake.cat.laion_fmri.betas(store="x", fallback="yes")


# --- building ---------------------------------------------------------------------------------------------------------


@full("processes and a cluster, seven seconds; test_identical_from_a_disk is in the fast tier")
def test_the_same_bytes_whoever_builds(tiny: Path, tiny_store: Path, tmp_path: Path) -> None:
    """In pieces, backwards, by processes: every file is the same."""
    folder = tmp_path / "other" / "place.zarr"
    build_store(folder, bucket=tiny, subjects=["03"], sessions=3)
    build_store(folder, bucket=tiny, subjects=["sub-03", "01"], scheduler="processes", workers=2)
    assert files(folder) == files(tiny_store)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_second_run_writes_nothing(tiny: Path, own_store: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in own_store.rglob("*")}
    reports = build_store(own_store, bucket=tiny)
    assert [(report.subject, report.session, report.status) for report in reports] == [
        (subject, session, "complete") for subject in SUBJECTS for session in SESSIONS
    ]
    assert {path: path.stat().st_mtime_ns for path in own_store.rglob("*")} == before


@pytest.mark.parametrize("lost", ["zarr.json", "betas/c/0/0", "label/c/0", "betas/zarr.json"])
def test_what_is_not_complete_is_built_again(tiny: Path, tiny_store: Path, own_store: Path, lost: str) -> None:
    (own_store / "sub-03" / "ses-02" / lost).unlink()
    statuses = {(one.subject, one.session): one.status for one in build_store(own_store, bucket=tiny)}
    assert statuses.pop(("sub-03", "ses-02")) == ("built" if lost == "zarr.json" else "renewed")
    assert set(statuses.values()) == {"complete"}
    assert files(own_store) == files(tiny_store)


@full("builds again and again, four seconds; test_a_source_that_was_replaced is in the fast tier")
def test_a_source_that_was_replaced_is_noticed(own_tiny: Path, tmp_path: Path) -> None:
    """Betas: that session. The table of a session: it and the later ones, because repetitions are counted."""
    folder = tmp_path / "store"
    build_store(folder, bucket=own_tiny, subjects="sub-01")
    os.utime(betas_file(own_tiny, "sub-01", "ses-02"), (1, 1))
    statuses = [report.status for report in build_store(folder, bucket=own_tiny, subjects="sub-01")]
    assert statuses == ["complete", "renewed", "complete"]
    os.utime(trials_file(own_tiny, "sub-01", "ses-02"), (1, 1))
    statuses = [report.status for report in build_store(folder, bucket=own_tiny, subjects="sub-01")]
    assert statuses == ["complete", "renewed", "renewed"]
    os.utime(map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep"), (1, 1))
    statuses = [report.status for report in build_store(folder, bucket=own_tiny, subjects="sub-01", sessions=[1, 2])]
    assert statuses == ["renewed", "renewed"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(folder, own_tiny, session=[1, 2])


def test_sessions_of_other_maps_are_not_joined(own_tiny: Path, tmp_path: Path) -> None:
    """Coordinates along voxels are those of one session: others must have the same."""
    folder = tmp_path / "store"
    build_store(folder, bucket=own_tiny, subjects="sub-01", sessions=[1, 2])
    shutil.copy(
        map_file(own_tiny, "sub-01", "desc-NoiseceilingAllrep"), map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep")
    )
    build_store(folder, bucket=own_tiny, subjects="sub-01", sessions=3)
    with pytest.raises(
        DataIntegrityError, match=r"sub-01/ses-03 was built from other maps or ROIs than ses-01.*store build"
    ):
        open_betas("sub-01", store=folder)
    assert open_betas("sub-01", store=folder, session=[1, 2]).sizes["trial"]
    build_store(folder, bucket=own_tiny, subjects="sub-01")
    assert_same(folder, own_tiny)


@full("a server, four seconds; sessions on a disk are renewed in the fast tier")
def test_renewing_a_session_on_a_server(s3: Any, own_tiny: Path) -> None:
    """What is complete stays as it is; what is renewed is complete again, without an object of the old one."""
    s3.client.create_bucket(Bucket="renewed", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})

    def build() -> list[str]:
        reports = build_store("s3://renewed/x", bucket=own_tiny, subjects="sub-01", store_options=s3.store_options)
        return [report.status for report in reports]

    def written() -> dict[str, Any]:
        listing = s3.client.list_objects_v2(Bucket="renewed", Prefix="x/sub-01/")["Contents"]
        return {entry["Key"]: entry["LastModified"] for entry in listing}

    assert build() == ["built"] * 3
    before = written()
    s3.client.put_object(Bucket="renewed", Key="x/sub-01/ses-02/betas/c/0/99", Body=b"of an older layout")
    os.utime(betas_file(own_tiny, "sub-01", "ses-02"), (1, 1))
    assert build() == ["complete", "renewed", "complete"]
    after = written()
    assert set(after) == set(before)
    assert [key for key in after if after[key] != before[key] and "ses-02" not in key] == []
    s3.client.delete_object(Bucket="renewed", Key="x/sub-01/ses-03/label/c/0")
    assert build() == ["complete", "complete", "renewed"]


def test_progress_and_reports(tiny: Path, tmp_path: Path) -> None:
    told: list[BuildProgress] = []
    reports = build_store(tmp_path / "store", bucket=tiny, subjects="sub-01", progress=told.append)
    sizes = [betas_file(tiny, "sub-01", session).stat().st_size for session in SESSIONS]
    assert [report.bytes_read for report in reports] == sizes
    assert [(one.sessions, one.n_sessions) for one in (told[0], told[-1])] == [(0, 3), (3, 3)]
    assert [one.bytes for one in told] == sorted(one.bytes for one in told)
    assert (told[0].bytes, told[-1].bytes, told[-1].n_bytes) == (0, sum(sizes), sum(sizes))
    assert [one.finished for one in told if one.finished] == reports
    assert told[0].seconds_left is None
    assert told[-1].seconds_left == 0
    half = BuildProgress(1, 2, 100, 300, 5.0)
    assert half.seconds_left == 10


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"subjects": "sub-02"}, ValueError, r"Unknown subject.*'sub-02'.*sub-01"),
        ({"subjects": []}, ValueError, r"subjects=\[\] is empty"),
        ({"sessions": 4}, ValueError, r"Unknown session.*'ses-04'.*ses-03"),
        ({"sessions": 31}, AccessDeniedError, "ses-31 of sub-01 is held out"),
        ({"roi": "FFA9"}, ValueError, r"Unknown ROI.*'FFA9'.*FFA1"),
        ({"roi": "(FFA1"}, ValueError, r"\(FFA1"),
        ({"roi": "FFA1 - face"}, ValueError, r"sub-01/ses-01 was not stored: roi='FFA1 - face' has no voxel"),
        ({"mask": "brain"}, ValueError, r"Unknown mask: 'brain'.*rsquare"),
        ({"dtype": "int8"}, ValueError, r"Unknown dtype: 'int8'.*float32"),
        ({"codec": "gzip"}, ValueError, r"Unknown codec: 'gzip'.*zstd"),
        ({"keep_bits": 3}, ValueError, "keep_bits=3 requires dtype='bitround', found 'float32'"),
        ({"dtype": "bitround", "keep_bits": 24}, ValueError, "keep_bits must be an integer from 1 to 23, found 24"),
        ({"chunk_voxels": 0}, ValueError, "chunk_voxels must be an integer from 1 to"),
        ({"shard_voxels": 100}, ValueError, "shard_voxels=100 is not a multiple of chunk_voxels=128.*128"),
        ({"workers": 0}, ValueError, "workers must be an integer of at least 1, found 0"),
        ({"scheduler": "gpu"}, ValueError, r"Unknown scheduler: 'gpu'.*threads, processes"),
        ({"bucket": NOWHERE}, NotInBucketError, "There is no bucket or folder '/nonexistent/bucket'"),
    ],
    ids=str,
)
def test_what_cannot_be_built(
    tiny: Path, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Refused with a reason, and no session is left behind."""
    folder = tmp_path / "store"
    with pytest.raises(error, match=message):
        build_store(folder, **{"bucket": tiny, **arguments})
    assert not list(tmp_path.rglob("ses-*"))
    assert [path for path in tmp_path.iterdir() if path != folder] == []


def test_a_store_keeps_its_options(tiny: Path, own_store: Path) -> None:
    with pytest.raises(ValueError, match=r"built with roi=None, dtype='float32', found roi='face', dtype='float16'"):
        build_store(own_store, bucket=tiny, roi="face", dtype="float16")
    assert {one.status for one in build_store(own_store, bucket=tiny, dtype="float32", codec="none")} == {"complete"}


def test_a_folder_that_is_no_store(tiny: Path, tmp_path: Path) -> None:
    """Another Zarr group is neither read nor written to."""
    xr.Dataset({"x": ("y", [1, 2])}).to_zarr(tmp_path / "other", zarr_format=3, consolidated=False)
    before = files(tmp_path / "other")
    for call in (
        lambda: build_store(tmp_path / "other", bucket=tiny),
        lambda: open_betas("sub-01", store=tmp_path / "other"),
    ):
        with pytest.raises(DataIntegrityError, match=r"other/zarr\.json: expected metadata as written by"):
            call()
    assert files(tmp_path / "other") == before


# --- rounded values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [None, 4])
def test_rounded_mantissas(tiny: Path, tmp_path: Path, bits: int | None) -> None:
    """Every value is as close as the betas' attributes say, and everything else is identical."""
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-01", dtype="bitround", keep_bits=bits, codec="zstd")
    found = open_betas("sub-01", store=tmp_path / "store").compute()
    expected = open_betas("sub-01", bucket=tiny).compute()
    bound = found.betas.attrs["quantization_maximum_relative_error"]
    assert bound == 2.0 ** -((bits or 10) + 1)
    assert found.betas.attrs["quantization_nsb"] == (bits or 10)
    assert found.betas.dtype == np.float32
    values, exact = found.betas.values, expected.betas.values
    np.testing.assert_array_equal(np.isnan(values), np.isnan(exact))
    assert (np.abs(values - exact) <= bound * np.abs(exact))[~np.isnan(exact)].all()
    assert (values != exact)[~np.isnan(exact)].any()
    xr.testing.assert_identical(found.drop_vars("betas"), expected.drop_vars("betas"))


def test_half_precision(tiny: Path, tmp_path: Path) -> None:
    """NumPy's own rounding, read back as float32, with the hole for small values told."""
    build_store(tmp_path / "store", bucket=tiny, subjects="sub-01", sessions=1, dtype="float16")
    found = open_betas("sub-01", session=1, store=tmp_path / "store").compute()
    exact = open_betas("sub-01", session=1, bucket=tiny).compute().betas.values
    assert found.betas.dtype == np.float32
    np.testing.assert_array_equal(found.betas.values, exact.astype(np.float16).astype(np.float32))
    assert "smaller values" in found.betas.attrs["quantization_comment"]
    plain = xr.open_zarr(tmp_path / "store" / "sub-01" / "ses-01")
    assert plain.betas.dtype == np.float16
    assert plain.betas.attrs["quantization"] == "half precision"


# --- where it lies ----------------------------------------------------------------------------------------------------


@pytest.fixture
def memory() -> Iterator[str]:
    """A store on a file system that knows neither moving nor anything of S3."""
    import fsspec

    yield "memory://stores/one.zarr"
    file_system = fsspec.filesystem("memory")
    file_system.rm("/stores", recursive=True)


def test_on_any_file_system(tiny: Path, tiny_store: Path, memory: str) -> None:
    build_store(memory, bucket=tiny)
    root = open_store(memory)
    assert {key: root.read(key) for key in root.find("")} == files(tiny_store)
    assert_same(memory, tiny, roi="face")


def test_places_that_cannot_be_written_to(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        build_store(tmp_path / "file" / "store", bucket=tiny)
    with pytest.raises(ValueError, match="store='nix://x': fsspec does not know the protocol 'nix'"):
        build_store("nix://x", bucket=tiny)


def test_a_server_without_credentials_or_at_all(tiny: Path, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(ValueError, match=r"credentials.*store_options"):
        build_store("s3://laion-fmri/x", bucket=tiny, store_options=s3.storage_options)
    nobody = {"anon": True, "client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9"):
        open_betas("sub-01", store="s3://x/y", store_options=nobody)
