"""Stores that hold less than the bucket, and stores that are not what they were."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from counting import CountingFileSystem
from demo_files import betas_file, map_file, trials_file
from store_files import assert_same, store_blocks

from intake_laion_fmri import build_store, open_betas
from intake_laion_fmri.errors import (
    AccessDeniedError,
    DataIntegrityError,
    MissingFileWarning,
    NotInBucketError,
    NotInStoreError,
)
from intake_laion_fmri.store.groups import METADATA

# --- stores that hold less --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sessions of one subject, the voxels of two categories."""
    folder = tmp_path_factory.mktemp("stores") / "faces.zarr"
    build_store(folder, bucket=tiny, subjects="sub-01", sessions=[1, 2], roi=["face", "body"])
    return folder


def test_within_what_it_holds(tiny: Path, faces: Path) -> None:
    for roi in ("face", "FFA1", ["FFA1", "EBA"], "face - OFA", "body & face", "laionventral & FFA1"):
        assert_same(faces, tiny, session=[1, 2], roi=roi)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        ({"roi": "face"}, r"has no complete ses-03 of sub-01; it holds ses-01, ses-02\..*fallback=True"),
        ({"session": 1}, r"holds the voxels of roi=\('face', 'body'\) only.*fallback=True"),
        ({"session": 1, "roi": "place"}, r"holds the voxels of roi=\('face', 'body'\) only; the selection has up to"),
        ({"session": 1, "roi": "all - face"}, "holds the voxels of roi="),
        ({"session": 1, "roi": "face", "mask": "anatomical"}, r"the mask 'rsquare', not 'anatomical'"),
    ],
    ids=str,
)
def test_more_than_it_holds(tiny: Path, faces: Path, selection: dict[str, Any], message: str) -> None:
    """An error says what is missing; where it is allowed, what is missing is streamed, and the Dataset is the same."""
    with pytest.raises(NotInStoreError, match=message):
        open_betas("sub-01", store=faces, bucket=tiny, **selection)
    expected = open_betas("sub-01", bucket=tiny, **selection)
    found = open_betas("sub-01", store=faces, bucket=tiny, fallback=True, **selection)
    xr.testing.assert_identical(found.compute(), expected.compute())


def test_a_threshold_that_only_kept_voxels_reach(tiny: Path, faces: Path) -> None:
    """What is left out is known by the largest ceiling of each set of ROIs, so this is no error."""
    whole = open_betas("sub-01", session=1, bucket=tiny)
    kept = np.isin(whole.roi_category, ["face", "body"])
    inside = whole.in_roi.values[kept].any(axis=0)
    threshold = float(np.nanmax(whole.nc_12rep.values[~inside]))
    above = np.nextafter(np.float32(threshold), np.float32(100))
    if (whole.nc_12rep.values[inside] >= above).any():
        assert_same(faces, tiny, session=1, min_noise_ceiling=float(above))
    with pytest.raises(NotInStoreError):
        open_betas("sub-01", store=faces, session=1, min_noise_ceiling=threshold)


def test_what_is_there_is_not_streamed(counted: str, faces: Path) -> None:
    """Falling back reads the missing session's stream, and no other."""
    ds = open_betas("sub-01", store=faces, bucket=counted, roi="face", fallback=True)
    CountingFileSystem.read.clear()
    ds.compute()
    (name,) = CountingFileSystem.read
    assert "ses-03" in name
    assert len(store_blocks(ds)) == 2


def test_a_stale_session_is_not_used_instead_of_the_bucket(own_tiny: Path, tmp_path: Path) -> None:
    """Falling back, a session comes from the store only if it was built from what the bucket holds now."""
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", sessions=[1, 2])
    shutil.copy(betas_file(own_tiny, "sub-01", "ses-01"), tmp_path / "kept")
    os.utime(betas_file(own_tiny, "sub-01", "ses-01"), (1, 1))
    ds = open_betas("sub-01", store=tmp_path / "store", bucket=own_tiny, roi="face", fallback=True)
    assert [block.array for block in store_blocks(ds)] == ["sub-01/ses-02/betas"]


def test_subjects_and_sessions_that_are_not_there(tiny: Path, faces: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Unknown subject of .*faces\.zarr: 'sub-03'.*'sub-01'"):
        open_betas("sub-03", store=faces)
    with pytest.raises(ValueError, match=r"Unknown session of sub-01 in .*faces\.zarr: 'ses-07'"):
        open_betas("sub-01", session=7, store=faces)
    with pytest.raises(AccessDeniedError, match="ses-31 of sub-01 is held out"):
        open_betas("sub-01", session=31, store=faces)
    with pytest.raises(ValueError, match=r"Unknown ROI of sub-01 in .*faces\.zarr: 'FFA7'.*FFA1"):
        open_betas("sub-01", session=1, roi="FFA7", store=faces)
    with pytest.raises(NotInStoreError, match=r"There is no store at .*nothing.*store build"):
        open_betas("sub-01", store=tmp_path / "nothing")
    for subject, store in (("sub-03", faces), ("sub-01", tmp_path / "nothing")):
        found = open_betas(subject, session=1, roi="FFA1", store=store, bucket=tiny, fallback=True)
        xr.testing.assert_identical(found.compute(), open_betas(subject, session=1, roi="FFA1", bucket=tiny).compute())


# --- what the bucket had not ------------------------------------------------------------------------------------------


def test_coordinates_that_the_bucket_has_not(own_tiny: Path, tmp_path: Path) -> None:
    """Left out with one warning, when it is built and when it is opened, as from the bucket."""
    map_file(own_tiny, "sub-01", "desc-Noiseceiling4rep").unlink()
    shutil.rmtree(own_tiny / "derivatives/rois/sub-01")
    trials_file(own_tiny, "sub-01", "ses-01").unlink()
    betas_file(own_tiny, "sub-01", "ses-01").unlink()
    with pytest.warns(MissingFileWarning, match=r"repetition.*nc_4rep.*in_roi") as built:
        build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01")
    with pytest.warns(MissingFileWarning, match=r"nc_4rep.*in_roi.*repetition") as opened:
        found = open_betas("sub-01", store=tmp_path / "store").compute()
    with pytest.warns(MissingFileWarning, match="Left out"):
        expected = open_betas("sub-01", bucket=own_tiny).compute()
    assert (len(built), len(opened)) == (1, 1)
    assert not {"nc_4rep", "in_roi", "repetition"} & set(found.coords)
    xr.testing.assert_identical(found, expected)
    with pytest.raises(NotInBucketError, match=r"holds no nc_4rep of sub-01: the bucket had no such map"):
        open_betas("sub-01", store=tmp_path / "store", noise_ceiling="4rep", min_noise_ceiling=10)
    with pytest.raises(NotInBucketError, match=r"holds no ROI of sub-01"):
        open_betas("sub-01", store=tmp_path / "store", roi="FFA1")


def test_splits_of_ones_own(own_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found when it was built is stored; a folder that is named, or a variable, is read instead."""
    own = Path(shutil.copytree(own_tiny / "derivatives/splits", tmp_path / "splits"))
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01")
    shutil.rmtree(own_tiny / "derivatives/splits")
    stored = open_betas("sub-01", store=tmp_path / "store", bucket=own_tiny)
    assert stored.split_role.attrs["revision"] == "derivatives/splits of the bucket"
    named = open_betas("sub-01", store=tmp_path / "store", bucket=own_tiny, splits=own)
    assert named.split_role.attrs["revision"] == str(own)
    np.testing.assert_array_equal(named.split_role, stored.split_role)
    monkeypatch.setenv("LAION_FMRI_SPLITS", str(own))
    assert open_betas("sub-01", store=tmp_path / "store").split_role.attrs["revision"] == str(own)


def test_sessions_with_roles_of_different_files(own_tiny: Path, tmp_path: Path) -> None:
    """Roles of two revisions are not mixed: the files in use now are read, or the roles left out with a warning."""
    first, other = (
        Path(shutil.copytree(own_tiny / "derivatives/splits", tmp_path / name)) for name in ("one", "other")
    )
    content = json.loads((other / "shared/tau.json").read_text())
    (other / "shared/tau.json").write_text(json.dumps(content, indent=3))
    shutil.rmtree(own_tiny / "derivatives/splits")
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", sessions=[1, 2], splits=first)
    build_store(tmp_path / "store", bucket=own_tiny, subjects="sub-01", sessions=3, splits=other)
    assert open_betas("sub-01", store=tmp_path / "store", session=[1, 2]).split_role.attrs["revision"] == str(first)
    found = open_betas("sub-01", store=tmp_path / "store", splits=other)
    assert found.split_role.attrs["revision"] == str(other)
    with pytest.warns(MissingFileWarning, match="split_role"):
        assert "split_role" not in open_betas("sub-01", store=tmp_path / "store", bucket=own_tiny).coords


# --- a store that is not what it was ----------------------------------------------------------------------------------


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["label", "run", "repetition", "split_role", "voxel", "in_roi", "nc_all", "roi"])
def test_a_damaged_coordinate(own_store: Path, name: str) -> None:
    (path,) = (path for path in (own_store / "sub-01/ses-01" / name / "c").rglob("*") if path.is_file())
    flip(path, path.stat().st_size // 2)
    with pytest.raises(DataIntegrityError, match=rf"ses-01/{name}/c.*: expected an object with the SHA-256"):
        open_betas("sub-01", store=own_store)
    path.unlink()
    with pytest.raises(DataIntegrityError, match=rf"ses-01/{name}/c.*found nothing"):
        open_betas("sub-01", store=own_store)


@pytest.mark.parametrize("place", [60, 5_000, -1])
def test_a_damaged_chunk(own_store: Path, place: int) -> None:
    """Found when it is read; what does not lie in it is read all the same."""
    flip(own_store / "sub-01/ses-02/betas/c/0/0", place)
    ds = open_betas("sub-01", store=own_store)
    with pytest.raises(DataIntegrityError, match=r"sub-01/ses-02/betas/c/0/0: chunk \d: expected the CRC32C"):
        ds.compute()
    assert open_betas("sub-01", store=own_store, session=[1, 3]).compute().betas.notnull().any()


def test_a_chunk_that_is_gone_or_cut(own_store: Path) -> None:
    """Zarr takes a missing chunk for one of fill values; here it is an error."""
    path = own_store / "sub-01/ses-02/betas/c/0/0"
    ds = open_betas("sub-01", session=2, store=own_store)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataIntegrityError, match=r"expected \d+ bytes from byte \d+, found \d+"):
        ds.compute()
    path.unlink()
    with pytest.raises(DataIntegrityError, match=r"ses-02/betas/c/0/0.*does not exist.*store verify"):
        ds.compute()


def test_a_session_that_was_built_anew_since_it_was_opened(own_tiny: Path, tmp_path: Path) -> None:
    """No values of two builds are mixed, whose chunks are all intact."""
    folder = tmp_path / "store"
    build_store(folder, bucket=own_tiny, subjects="sub-01")
    ds = open_betas("sub-01", store=folder)
    path = betas_file(own_tiny, "sub-01", "ses-02")
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content[:352] + (2 * np.frombuffer(content[352:], "<f4")).tobytes()))
    build_store(folder, bucket=own_tiny, subjects="sub-01")
    with pytest.raises(DataIntegrityError, match=r"ses-02/betas/.*rebuilt or removed since the store was opened"):
        ds.compute()
    assert_same(folder, own_tiny)


def test_metadata_that_were_changed(own_store: Path) -> None:
    for group in ("", "sub-01", "sub-01/ses-02"):
        path = own_store / group / METADATA
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b"LAION-fMRI,", b"LAION-fMRI;"))
        assert path.read_bytes() != kept
        with pytest.raises(DataIntegrityError, match=r"zarr\.json: expected metadata as written by"):
            open_betas("sub-01", store=own_store)
        path.write_bytes(kept)
    open_betas("sub-01", store=own_store)
