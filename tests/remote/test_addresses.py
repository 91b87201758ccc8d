"""What a text or a path names: a local path is a path whatever its name, and a URL is one in one form."""

from __future__ import annotations

import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiers import full

from intake_laion_fmri import build_store, open_betas, open_catalog, open_trials
from intake_laion_fmri.config import dataset_initialize, get_data_dir
from intake_laion_fmri.demo import write_demo
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.mirror import mirror_bucket
from intake_laion_fmri.remote import addresses
from intake_laion_fmri.remote.access import open_bucket, open_root

NAMES = (
    "a::b", "zip::x", "co:lon", "with blank", " lead and trail ", "ha#sh", "que?stion", "per%20cent", "per%cent", "a*b",
    "a[1]b", "{curly}", "semi;colon", "quo'te\"s", "ünïcödé", "u\u0308", "日本", "new\nline", "back\\slash", "~tilde",
    "$HOME", "a.zip", "s3:", os.fsdecode(b"latin\xe9"),
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_local_folder_whatever_its_name(
    name: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a path, a text, a URL encoded or not, and relative."""
    folder = tmp_path / name / "b"
    folder.mkdir(parents=True)
    (folder / "README").write_bytes(b"here")
    for given in (folder, str(folder), f"{folder}/", f"file://{folder}", folder.as_uri(), f"file:{folder}"):
        bucket = open_bucket(given)
        assert (bucket.address, bucket.is_local) == (str(folder), True)
        assert list(bucket.find("")) == ["README"]
        assert bucket.read("README") == b"here"
    monkeypatch.chdir(tmp_path)
    assert open_bucket(Path(name) / "b").address == str(folder)
    monkeypatch.chdir(folder)
    assert open_bucket(".").find("").keys() == {"README"}


@full("writes one of everything, four seconds")
def test_everything_that_is_written_is_where_it_was_named(tiny: Path, tmp_path: Path) -> None:
    """To fsspec `results::v2` is a chain: a store was built in `results`."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/mine.txt").write_text("precious")
    named = tmp_path / "results::v2"
    bucket = write_demo(named / "demo", scale="tiny")
    build_store(named / "store.zarr", bucket=bucket, subjects="sub-01", sessions=1, roi="face")
    mirror_bucket(named / "mirror", bucket=bucket, subjects="sub-01", sessions=1)
    assert os.listdir(tmp_path / "results") == ["mine.txt"]
    wanted = open_betas("sub-01", bucket=tiny, session=1, roi="face").betas.values
    other: list[dict[str, Any]] = [
        {"bucket": bucket},
        {"store": named / "store.zarr"},
        {"bucket": tiny, "mirror": named / "mirror", "mirror_only": True},
        {"bucket": tiny, "splits": bucket / "derivatives/splits"},
    ]
    for arguments in other:
        np.testing.assert_array_equal(open_betas("sub-01", session=1, roi="face", **arguments).betas, wanted)
    np.testing.assert_array_equal(open_catalog(bucket=bucket).betas(session=1, roi="face").read().betas, wanted)


def test_a_file_url_that_could_be_two_folders(tmp_path: Path) -> None:
    """fsspec's file URLs are not encoded, those of `Path.as_uri` are: what is there decides, or the standard."""
    url = f"file://{tmp_path}/a%20b/c%20d"
    assert open_bucket(url).address == f"{tmp_path}/a b/c d"
    (tmp_path / "a%20b").mkdir()
    assert open_bucket(url).address == f"{tmp_path}/a%20b/c%20d"
    (tmp_path / "a b").mkdir()
    with pytest.raises(ValueError, match="and both exist"):
        open_bucket(url)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://laion-fmri/", "s3://laion-fmri"),
        ("S3://laion-fmri//x//", "s3://laion-fmri/x"),
        ("s3a://laion-fmri", "s3a://laion-fmri"),
        ("s3://arn:aws:s3:::laion-fmri/x", "s3://laion-fmri/x"),
        ("arn:aws:s3:::laion-fmri", "s3://laion-fmri"),
        (
            "arn:aws:s3::123456789012:accesspoint/m1.mrap/x",
            "s3://arn:aws:s3::123456789012:accesspoint/m1.mrap/x",
        ),
        ("https://laion-fmri.s3.us-west-2.amazonaws.com", "s3://laion-fmri"),
        ("https://s3.us-west-2.amazonaws.com/laion-fmri/x/", "s3://laion-fmri/x"),
        ("http://[::1]:80/x/", "http://[::1]:80/x"),
        ("HTTP://host/a::b/index.html", "http://host/a::b"),
        ("memory://", "memory://"),
        ("memory://bk/", "memory://bk"),
        ("file://localhost/x", "/x"),
        ("local:///x/", "/x"),
        ("zip://::/x/b.zip", "zip://::/x/b.zip"),
        ("zip://top::file:///x/b%20c.zip", "zip://top::/x/b c.zip"),
        ("simplecache::S3://laion-fmri/", "simplecache::s3://laion-fmri"),
        ("dir://sub::/x", "/x/sub"),
        ("github://org:repo@main/x", "github://org:repo@main/x"),
    ],
)
def test_a_url_in_its_one_form(given: str, url: str) -> None:
    assert open_bucket(given).address == url
    assert open_bucket(url).address == url


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3:/laion-fmri", "Pass the string 's3://laion-fmri'"),
        (Path("s3://laion-fmri"), "Pass the string 's3://laion-fmri'"),
        ("s3://", "has no bucket name"),
        ("http://", "has no host name"),
        ("file://", "has no path of a folder"),
        ("s3://laion-fmri\r", r"'s3://laion-fmri\\r': expected a URL without surrounding blanks"),
        ("s4://laion-fmri", r"not know the protocol 's4'. Did you mean 's3'"),
        ("zipp://::/x/b.zip", r"not know the protocol 'zipp'. Did you mean 'zip'"),
        ("zip://::/x::y/b.zip", "'/x::y/b.zip' cannot be part of a chain"),
        ("zip://::http://[::1]/b.zip", "cannot be part of a chain"),
        ("https://host/x#y", "'https://host/x' is followed by '#' and more"),
        ("a\0b", "is empty"),
    ],
)
def test_an_address_that_cannot_be_one(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        open_bucket(given)  # type: ignore[arg-type]


def test_a_query_is_no_part_of_a_root_and_not_shown() -> None:
    with pytest.raises(ValueError, match="followed by") as caught:
        open_bucket("https://host/x?X-Amz-Signature=SECRET")
    assert "SECRET" not in str(caught.value)


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder named '~' is nowhere made."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(ValueError, match="store='~/x': this home folder is unknown"):
        addresses.resolved("~/x", "store")


@pytest.mark.parametrize("given", ["s3://laion-fmri", "https://host/x"])
def test_what_must_be_a_local_folder(given: str) -> None:
    for use in (lambda: open_bucket(mirror=given), lambda: dataset_initialize(given)):
        with pytest.raises(ValueError, match=f"must be a local folder, found '{given}'"):
            use()


def test_a_data_folder_by_its_url(tmp_path: Path) -> None:
    """It was looked for in the working directory, below `file:`."""
    (tmp_path / "with blank").mkdir()
    dataset_initialize((tmp_path / "with blank").as_uri())
    assert get_data_dir() == str(tmp_path / "with blank")


def test_paths_as_bytes_are_paths(tmp_path: Path) -> None:
    with os.scandir(os.fsencode(tmp_path.parent)) as entries:
        entry = next(entry for entry in entries if entry.name == os.fsencode(tmp_path.name))
    assert open_bucket(entry).address == str(tmp_path)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def archives(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bucket in files: at the top, and below a folder."""
    folder = tmp_path_factory.mktemp("archives")
    shutil.make_archive(str(folder / "b"), "zip", tiny)
    shutil.make_archive(str(folder / "b"), "tar", tiny)
    with zipfile.ZipFile(folder / "top.zip", "w") as file:
        for path in sorted(tiny.rglob("*")):
            file.write(path, f"top/{path.relative_to(tiny)}")
    return folder


@pytest.mark.parametrize("url", ["zip://::{}/b.zip", "tar://::{}/b.tar", "zip://top::{}/top.zip", "dir://x::{}/.."])
def test_a_bucket_in_an_archive(url: str, archives: Path, tiny: Path) -> None:
    """Also splits and what lies at its top; read by many threads at once."""
    if url.startswith("dir"):
        shutil.copytree(tiny, archives.parent / "x")
    address = url.format(archives)
    ours, other = (open_betas("sub-01", bucket=bucket, session=1, roi="face") for bucket in (address, tiny))
    assert ours.drop_attrs().identical(other.drop_attrs())
    assert "split_role" in ours.coords


@full("a race, many times over; archives are read in the fast tier")
def test_threads_see_the_whole_of_an_archive(archives: Path) -> None:
    """fsspec makes its list of an archive at the first question, and answers another thread from half of it."""
    bucket = open_bucket(f"zip://::{archives}/b.zip", {"skip_instance_cache": True})
    wanted = bucket.find("").keys()
    for _ in range(20):
        one = open_bucket(f"zip://::{archives}/b.zip", {"skip_instance_cache": True})
        with ThreadPoolExecutor(8) as pool:
            assert {frozenset(found) for found in pool.map(lambda _: one.find(""), range(8))} == {frozenset(wanted)}  # noqa: B023


def test_a_chain_over_s3_has_the_options_of_s3(s3: Any, tmp_path: Path) -> None:
    """Anonymous, and in the bucket's region, as without a cache before it."""
    options = {"s3": s3.storage_options, "simplecache": {"cache_storage": str(tmp_path)}}
    bucket = open_root(f"simplecache::{s3.url}", options)
    assert bucket.storage_options["s3"]["anon"] is True
    assert len(open_trials("sub-01", bucket=bucket, session=1)) == 40


def test_nothing_at_an_address_names_it(tmp_path: Path) -> None:
    with pytest.raises(NotInBucketError, match="a::b"):
        open_trials("sub-01", bucket=tmp_path / "a::b")


def test_roots_that_cannot_be_opened(tmp_path: Path) -> None:
    """No archive, half of one, none at all, a package that is not there, options of another file system."""
    (tmp_path / "x.zip").write_bytes(b"no archive")
    (tmp_path / "x.tar").write_bytes(b"no archive" * 100)
    for kind in ("zip", "tar"):
        with pytest.raises(DataIntegrityError, match="is not such an archive, or is incomplete"):
            open_trials("sub-01", bucket=f"{kind}://::{tmp_path}/x.{kind}")
    with pytest.raises(NotInBucketError, match=r"none\.zip does not exist"):
        open_trials("sub-01", bucket=f"zip://::{tmp_path}/none.zip")
    with pytest.raises(ImportError, match="bucket='gs://x' needs a package that is not installed"):
        open_trials("sub-01", bucket="gs://x")
    with pytest.raises(ValueError, match="storage_options: one of anon is not an option of http"):
        open_trials("sub-01", bucket="http://127.0.0.1:9", storage_options={"anon": True})


@pytest.mark.parametrize("url", ["zip://s.zarr::{}/new.zip", "simplecache::file://{}/s.zarr"])
def test_no_store_is_built_in_an_archive_or_a_cache(url: str, tiny: Path, tmp_path: Path) -> None:
    """Neither can replace a part of itself; nothing is made."""
    with pytest.raises(ValueError, match="is an archive or a cache, in which no store can be built"):
        build_store(url.format(tmp_path), bucket=tiny)
    assert os.listdir(tmp_path) == []
