"""The whole path from a real S3 server, anonymously, through Dask's threads and processes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import xarray as xr
from mirrorers import serve
from tiers import full

from intake_laion_fmri import open_betas, open_catalog, open_trials
from intake_laion_fmri.discovery import get_subjects
from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.remote.access import Bucket, open_bucket

HELD_OUT = "derivatives/glmsingle-tedana/sub-01/ses-31/func"


def without_etags(ds: xr.Dataset) -> xr.Dataset:
    """The same files have other ETags on a disk than on S3."""
    sources = [{**entry, "etag": ""} for entry in json.loads(ds.attrs["sources"])]
    return ds.assign_attrs(sources=json.dumps(sources))


@pytest.mark.parametrize(
    "selection", [{}, {"roi": "face", "session": [1, 3]}, {"stimuli": "ood", "mask": "anatomical"}]
)
def test_the_dataset_is_that_of_the_disk(s3: Any, tiny: Path, selection: dict[str, Any]) -> None:
    ds = open_betas("sub-03", bucket=s3.url, storage_options=s3.storage_options, **selection)
    local = open_betas("sub-03", bucket=tiny, **selection)
    xr.testing.assert_identical(without_etags(ds).compute(), without_etags(local).compute())


def test_the_etags_are_those_of_the_server(s3: Any) -> None:
    ds = open_betas("sub-01", session=1, bucket=s3.url, storage_options=s3.storage_options)
    for entry in json.loads(ds.attrs["sources"]):
        head = s3.client.head_object(Bucket="laion-fmri", Key=entry["key"])
        assert (entry["size"], f'"{entry["etag"]}"') == (head["ContentLength"], head["ETag"])


def test_a_catalog_for_the_server(s3: Any, tiny: Path) -> None:
    cat = open_catalog(bucket=s3.url, storage_options=s3.storage_options)
    assert cat.trials(subject="sub-03").read().equals(open_trials("sub-03", bucket=tiny))
    found = cat.betas(roi="FFA1", session=2).read()
    np.testing.assert_array_equal(found.betas, open_betas("sub-01", roi="FFA1", session=2, bucket=tiny).betas)


def test_threads(s3: Any, tiny: Path) -> None:
    ds = open_betas("sub-01", roi="face", bucket=s3.url, storage_options=s3.storage_options)
    with dask.config.set(scheduler="threads", num_workers=3):
        found = ds.betas.mean("trial").compute()
    expected = open_betas("sub-01", roi="face", bucket=tiny).betas.mean("trial").compute()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@full("a cluster of processes, ten seconds; test_threads and the pickling tests are in the fast tier")
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_cluster_of_processes(s3: Any, tiny: Path, where: str) -> None:
    """Workers open their own connections; only results come back."""
    from distributed import Client, LocalCluster

    place = {"bucket": tiny} if where == "disk" else {"bucket": s3.url, "storage_options": s3.storage_options}
    ds = open_betas("sub-01", roi="face", **place)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster),
    ):
        found = ds.compute()
    xr.testing.assert_identical(found, ds.compute(scheduler="synchronous"))


def test_an_error_comes_back_from_a_cluster(own_tiny: Path) -> None:
    """Of the contract's class, with its message."""
    from distributed import Client, LocalCluster

    (path,) = own_tiny.rglob("sub-01_ses-02_*SingletrialBetas_statmap.nii.gz")
    path.write_bytes(path.read_bytes()[:-9])
    ds = open_betas("sub-01", roi="face", bucket=own_tiny)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster),
        pytest.raises(DataIntegrityError, match="truncated"),
    ):
        ds.compute()


def test_a_held_out_session_is_listed_and_refused(s3: Any) -> None:
    """By the rule where it is asked for, and by the server's 403 where it is read all the same."""
    bucket = open_bucket(s3.url, s3.storage_options)
    listed = bucket.find(HELD_OUT)
    assert listed
    (betas,) = [info for key, info in listed.items() if key.endswith("SingletrialBetas_statmap.nii.gz")]
    with pytest.raises(AccessDeniedError, match="ses-31 is held out by the data set's authors"):
        bucket.fetch([betas])
    with pytest.raises(AccessDeniedError, match="ses-31 is held out"), bucket.stream(betas):
        pass
    with pytest.raises(AccessDeniedError, match="ses-31 of sub-01 is held out"):
        open_betas("sub-01", session="ses-31", bucket=s3.url, storage_options=s3.storage_options)


def test_no_such_bucket(s3: Any) -> None:
    with pytest.raises(NotInBucketError, match="There is no bucket or folder 's3://no-such-bucket'"):
        open_betas("sub-01", bucket="s3://no-such-bucket", storage_options=s3.storage_options)


def test_no_such_subject(s3: Any) -> None:
    with pytest.raises(ValueError, match="Unknown subject of s3://laion-fmri: 'sub-02'"):
        open_betas("sub-02", bucket=s3.url, storage_options=s3.storage_options)


def test_a_part_of_a_bucket_as_root(s3: Any, tiny: Path) -> None:
    """A copy below a prefix, the URL with slashes doubled as templates leave them."""
    for path in [*(tiny / "derivatives").rglob("*"), tiny / "stimuli/task-images_metadata.csv"]:
        if path.is_file() and ("sub-03" in str(path) or path.parent.name in ("shared", "stimuli")):
            key = f"copies/one/{path.relative_to(tiny).as_posix()}"
            s3.client.put_object(Bucket="laion-fmri", Key=key, Body=path.read_bytes())
    found = open_betas("sub-03", roi="face", bucket="s3://laion-fmri//copies/one//", storage_options=s3.storage_options)
    expected = open_betas("sub-03", roi="face", bucket=tiny)
    xr.testing.assert_identical(without_etags(found).compute(), without_etags(expected).compute())


def test_a_root_that_is_not_there(s3: Any) -> None:
    """Neither a bucket nor a folder of one."""
    place = {"storage_options": s3.storage_options}
    assert open_bucket(s3.url, **place).exists()
    for url in ("s3://laion-fmri/nowhere", "s3://nowhere", "s3://nowhere/else"):
        assert not open_bucket(url, **place).exists()
        with pytest.raises(NotInBucketError, match=f"no bucket or folder '{url}'"):
            get_subjects(bucket=url, **place)


NAMES = ["one/b_/a_/c", "one/b_/c", "one/b/a_", "one/a_1/x", "one/ä ö+%/x", "onetwo", "two/x_y/z"]


def write_names(folder: Path, names: Iterable[str]) -> Bucket:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return open_bucket(folder)


def expect_same_listings(there: Bucket, here: Bucket) -> None:
    """What is found on a server must be what is found on a disk, whatever is chosen of it."""
    for folder in ("one", "", "one/b_", "three"):
        assert there.find(folder).keys() == here.find(folder).keys(), folder
        assert there.folders(folder) == here.folders(folder)


def test_listings(s3: Any, tmp_path: Path) -> None:
    """Of names that differ little, and beside what consoles make for empty folders."""
    s3.client.create_bucket(Bucket="names", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for name in NAMES:
        s3.client.put_object(Bucket="names", Key=name, Body=b"x")
    for name in ("one/", "one/b/", "two/"):
        s3.client.put_object(Bucket="names", Key=name, Body=b"")
    there = open_bucket("s3://names", s3.storage_options)
    expect_same_listings(there, write_names(tmp_path, NAMES))
    with pytest.raises(NotInBucketError, match=r"names/three does not exist"):
        there.list_folder("three")


def test_listings_of_several_pages(tmp_path: Path) -> None:
    """A thousand names are told at a time."""
    many = [*(f"one/{number:04d}.txt" for number in range(1030)), *(f"one/a_{number:04d}/x" for number in range(1030))]
    here = write_names(tmp_path / "pages", [*NAMES, *many])
    with serve(tmp_path / "pages", log=tmp_path / "log") as server:
        there = open_bucket(server.url, server.storage_options)
        assert there.find("one").keys() == here.find("one").keys()
        assert len((tmp_path / "log").read_text().splitlines()) == 3
        assert there.folders("one") == here.folders("one")
        listing = there.list_folder("one")
        assert len(listing.files) + len(listing.folders) == 2060 + 4


def test_an_object_replaced_since_it_was_listed(s3: Any, tiny: Path) -> None:
    """The betas' ETag is pinned when they are opened."""
    (path,) = tiny.rglob("sub-01_ses-02_*SingletrialBetas_statmap.nii.gz")
    key = path.relative_to(tiny).as_posix()
    ds = open_betas("sub-01", session=2, roi="face", bucket=s3.url, storage_options=s3.storage_options)
    try:
        s3.client.put_object(Bucket="laion-fmri", Key=key, Body=path.read_bytes() + b"\0")
        with pytest.raises(DataIntegrityError, match=r"was replaced: expected \d+ bytes with ETag"):
            ds.compute()
    finally:
        s3.client.put_object(Bucket="laion-fmri", Key=key, Body=path.read_bytes())
    ds.compute()


def test_credentials_that_are_not_there(s3: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Asked to sign, with nothing to sign with."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    options = copy.deepcopy(s3.storage_options) | {"anon": False}
    with pytest.raises(ValueError, match=r"credentials.*'anon': True"):
        open_betas("sub-01", bucket=s3.url, storage_options=options)


def test_a_server_that_went_away(s3: Any) -> None:
    options = {"client_kwargs": {"endpoint_url": "http://127.0.0.1:9"}}
    with pytest.raises(BucketUnreachableError, match=r"http://127\.0\.0\.1:9"):
        open_betas("sub-01", bucket=s3.url, storage_options=options)
