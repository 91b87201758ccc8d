"""Reading through a mirror: what is there, complete and current, from there; the rest from the bucket."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from dask.base import tokenize
from tiers import full, sampled

from intake_laion_fmri import layout, open_betas, open_catalog, open_rois, open_trials
from intake_laion_fmri.config import dataset_initialize, set_network
from intake_laion_fmri.errors import BucketUnreachableError, DataIntegrityError, NotInBucketError, OfflineWarning
from intake_laion_fmri.mirror import mirror_bucket
from intake_laion_fmri.remote.access import MIRROR_ONLY_VARIABLE, MIRROR_VARIABLE, open_bucket
from intake_laion_fmri.subject import load_subject

NOWHERE = {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
BETAS = layout.key("betas", subject="sub-01", session="ses-01")
TRIALS = layout.key("trials", subject="sub-01", session="ses-01")


@pytest.fixture(scope="module")
def whole_mirror(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a part of the bucket: one session, all ROIs and maps; not to be written to."""
    folder = tmp_path_factory.mktemp("mirrors") / "mirror"
    mirror_bucket(folder, bucket=tiny, sessions=1)
    return folder


@pytest.fixture
def mirror(whole_mirror: Path, tmp_path: Path) -> Path:
    """The same, for one test."""
    return Path(shutil.copytree(whole_mirror, tmp_path / "mirror"))


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    """The same, made by other means."""
    folder = tmp_path / "copied"
    shutil.copytree(tiny, folder, ignore=shutil.ignore_patterns("*ses-02*", "*ses-03*", "*ses-31*"))
    return folder


@pytest.fixture
def elsewhere(tiny: Path, tmp_path: Path) -> Path:
    """The bucket, in another place than the copy was made from."""
    return Path(shutil.copytree(tiny, tmp_path / "bucket"))


def mirror_of(bucket: Path, **given: Any) -> Path | None:
    """Return the mirror that is read before a bucket."""
    mirror = open_bucket(bucket, **given).copies.mirror
    return mirror and mirror.path


def origins(dataset: xr.Dataset) -> dict[str, str]:
    return {one["key"]: one.get("origin") for one in json.loads(dataset.attrs["sources"])}


def without_origins(dataset: xr.Dataset) -> xr.Dataset:
    sources = [{key: one[key] for key in ("key", "size", "etag")} for one in json.loads(dataset.attrs["sources"])]
    return dataset.assign_attrs(sources=json.dumps(sources))


def test_what_is_there_is_read_from_there(elsewhere: Path, mirror: Path) -> None:
    """The same Dataset, which tells where each of its sources was read."""
    found = open_betas("sub-01", bucket=elsewhere, mirror=mirror)
    plain = open_betas("sub-01", bucket=elsewhere)
    assert set(origins(plain).values()) == {None}
    assert {key for key, origin in origins(found).items() if origin == "bucket"} == {
        key for key in origins(found) if "ses-02" in key or "ses-03" in key
    }
    (elsewhere / BETAS).rename(elsewhere / "away")  # nobody needs it: it is in the mirror
    session = found.isel(trial=(found["session"] == "ses-01").values)
    assert session["betas"].compute().sizes["trial"]
    (elsewhere / "away").rename(elsewhere / BETAS)
    xr.testing.assert_identical(without_origins(found.compute()), plain.compute())


@pytest.mark.parametrize("name", ["mirror", "copied"])
def test_from_a_server(s3: Any, name: str, request: pytest.FixtureRequest) -> None:
    """Only the listings and what the mirror lacks cross the network."""
    mirror: Path = request.getfixturevalue(name)
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    plain = open_betas("sub-01", session=1, roi="face", **where).compute()
    with s3.requests() as asked:
        found = open_betas("sub-01", session=1, roi="face", mirror=mirror, **where).compute()
    xr.testing.assert_identical(without_origins(found), plain)
    assert set(origins(found).values()) == {"mirror"}
    assert set(asked) == {"LIST"}


@pytest.mark.parametrize("change", sampled(["shorter", "another size in the bucket", "a folder"], keep=1))
def test_a_copy_that_is_not_current_is_not_read(elsewhere: Path, mirror: Path, change: str, tmp_path: Path) -> None:
    """A file that was cut, or that the bucket has replaced, comes from the bucket."""
    expected = open_trials("sub-01", session=1, bucket=elsewhere)
    if change == "shorter":
        (mirror / TRIALS).write_bytes((mirror / TRIALS).read_bytes()[:-1])
    elif change == "a folder":
        (mirror / TRIALS).unlink()
        (mirror / TRIALS).mkdir()
    else:
        (elsewhere / TRIALS).write_bytes((elsewhere / TRIALS).read_bytes().rstrip(b"\n"))
    assert open_trials("sub-01", session=1, bucket=elsewhere, mirror=mirror).equals(expected)


def test_a_server_that_is_off(s3: Any, mirror: Path, copied: Path) -> None:
    """A folder that others have filled is read as it lies, with a warning; with mirror_only there is none."""
    set_network(attempts=1)
    offline: dict[str, Any] = {"bucket": s3.url, "storage_options": NOWHERE}
    with pytest.warns(OfflineWarning, match="copied is read as it is, and its files may be outdated"):
        lying = open_betas("sub-01", roi="face", mirror=copied, **offline)
    assert set(origins(lying).values()) == {"folder"}
    found = open_betas("sub-01", roi="face", storage_options=NOWHERE, mirror=mirror, mirror_only=True)
    assert set(found["session"].values) == {"ses-01"}
    assert set(origins(found).values()) == {"mirror"}
    assert found.compute().sizes == open_betas("sub-01", session=1, roi="face", bucket=mirror).sizes
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lying)).betas.values, found.betas.values)
    (copied / BETAS).touch()
    with pytest.raises(BucketUnreachableError, match=r"ses-01.*mirror_only=True or bucket=FOLDER"):
        lying.compute()


def test_the_listing_of_the_last_time_stands_in(elsewhere: Path, mirror: Path) -> None:
    """Offline, all that the bucket held is known: what is not there is an error, never left out without a word."""
    set_network(attempts=1)
    online = open_bucket(elsewhere, mirror=mirror)
    assert online.copies.mirror is not None
    for folder in (layout.BETAS.folder("sub-01"), layout.ROIS.folder("sub-01")):
        online.copies.mirror.save_listing(folder, open_bucket(elsewhere).find(folder))
    offline = open_bucket("s3://laion-fmri", NOWHERE, mirror=mirror)
    with pytest.warns(OfflineWarning, match="does not respond"):
        found = open_betas("sub-01", session=1, roi="face", bucket=offline, splits=elsewhere / layout.SPLITS_ROOT)
    assert found["betas"].compute().sizes["trial"]
    with pytest.raises(BucketUnreachableError, match="ses-02"):  # and it is said once in a process
        open_betas("sub-01", roi="face", bucket=offline)


def test_the_environment_and_the_folder_of_this_process(
    elsewhere: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An argument goes before `dataset_initialize`, that before the environment."""
    assert mirror_of(elsewhere) is None
    (tmp_path / "of-the-environment").mkdir()
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "of-the-environment"))
    assert mirror_of(elsewhere) == tmp_path / "of-the-environment"
    (tmp_path / "of-this-process").mkdir()
    dataset_initialize(tmp_path / "of-this-process")
    assert mirror_of(elsewhere) == tmp_path / "of-this-process"
    assert mirror_of(elsewhere, mirror=mirror) == mirror
    monkeypatch.setenv(MIRROR_ONLY_VARIABLE, "1")
    assert open_bucket(elsewhere, mirror=mirror).url == mirror.as_posix()
    assert open_bucket(elsewhere, mirror=mirror, mirror_only=False).url == elsewhere.as_posix()


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        ({"mirror": 3}, TypeError, "mirror must be a local folder, found 3"),
        ({"mirror": "s3://x"}, ValueError, "mirror must be a local folder, found .s3://x"),
        ({"mirror": "/there/is/none", "mirror_only": True}, NotInBucketError, "There is no mirror '/there/is/none'"),
        ({"mirror": "/there/is/none"}, NotInBucketError, "There is no mirror '/there/is/none'"),
        ({"mirror": __file__}, NotADirectoryError, "is a file: expected a folder"),
        ({"mirror_only": True}, ValueError, "mirror_only=True needs a mirror"),
        ({"mirror": "/tmp", "mirror_only": "yes"}, TypeError, "mirror_only must be True or False"),
    ],
)
def test_what_cannot_be_a_mirror(arguments: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        open_betas("sub-01", **arguments)


def test_a_mirror_that_is_empty(elsewhere: Path, tmp_path: Path) -> None:
    """All is read from the bucket, and nothing is written by reading."""
    (tmp_path / "none").mkdir()
    found = open_rois("sub-01", bucket=elsewhere, mirror=tmp_path / "none")
    assert set(origins(found).values()) == {"bucket"}
    assert not list((tmp_path / "none").iterdir())


def test_a_mirror_that_the_environment_names_and_that_is_not_there(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error where it is to be read; filling it is what makes it."""
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path / "new"))
    with pytest.raises(NotInBucketError, match="There is no mirror"):
        open_rois("sub-01", bucket=elsewhere)
    mirror_bucket(tmp_path / "new", bucket=elsewhere, kinds="rois")
    assert set(origins(open_rois("sub-01", bucket=elsewhere)).values()) >= {"mirror"}


def test_a_read_only_mirror(elsewhere: Path, mirror: Path) -> None:
    """Reading writes nothing to it."""
    before = {path: path.stat().st_mtime_ns for path in mirror.rglob("*")}
    open_betas("sub-01", bucket=elsewhere, mirror=mirror).compute()
    assert {path: path.stat().st_mtime_ns for path in mirror.rglob("*")} == before


@full("processes, three seconds; pickling is in the fast tier")
def test_it_goes_to_workers(elsewhere: Path, mirror: Path) -> None:
    """A worker on a machine without the mirror reads the bucket; the tasks have the same keys."""
    place = open_bucket(elsewhere, mirror=mirror)
    assert pickle.loads(pickle.dumps(place)) == place
    assert tokenize(place) == tokenize(open_bucket(elsewhere))
    found = open_betas("sub-01", session=1, bucket=place)
    expected = found["betas"].compute()
    graph = pickle.dumps(found["betas"].data)
    os.rename(mirror, mirror.with_name("unmounted"))
    assert (pickle.loads(graph).compute() == expected.values).sum() == (expected == expected).sum()


def test_names_of_the_data_sets_own_package(s3: Any, copied: Path) -> None:
    """Its copies lack the hyphens inside ROIs' names."""
    renamed = 0
    for path in (copied / layout.ROIS.folder("sub-01")).rglob("*label-*-*_mask*"):
        head, _, rest = path.name.partition("label-")
        label, _, end = rest.partition("_")
        path.rename(path.with_name(f"{head}label-{layout.clean_label(label)}_{end}"))
        renamed += 1
    assert renamed
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    found = open_rois("sub-01", mirror=copied, **where)
    assert set(origins(found).values()) == {"mirror"}
    xr.testing.assert_identical(without_origins(found), open_rois("sub-01", **where))


@full("a slow line, three seconds; test_a_copy_that_is_not_current_is_not_read is in the fast tier")
def test_a_copy_that_is_replaced_while_it_is_read(elsewhere: Path, mirror: Path) -> None:
    """Noticed, as it is in the bucket."""
    place = open_bucket(elsewhere, mirror=mirror)
    info = place.find(layout.BETAS.folder("sub-01"))[BETAS]

    def read() -> None:
        with place.stream(info) as file:
            file.read(10)
            (mirror / BETAS).write_bytes(b"another")

    with pytest.raises(DataIntegrityError, match="was replaced"):
        read()


def test_a_catalog_and_the_subject(elsewhere: Path, mirror: Path) -> None:
    """Every way in takes a mirror."""
    catalog = open_catalog(bucket=str(elsewhere), mirror=str(mirror))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = catalog.betas(subject="sub-01", session=1, roi="face").to_dask()
        again = catalog["sub-01"]["ses-01"](roi="face").to_dask()
    assert set(origins(found).values()) == set(origins(again).values()) == {"mirror"}
    alone = open_catalog(mirror=str(mirror), mirror_only=True)
    assert set(alone.betas(subject="sub-01").to_dask()["session"].values) == {"ses-01"}
    subject = load_subject("sub-01", mirror=mirror, mirror_only=True)
    assert subject.get_sessions() == ["ses-01"]
    assert subject.get_betas(session="ses-01", roi="FFA1").size
