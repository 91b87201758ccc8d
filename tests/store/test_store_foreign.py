"""A store is never built over what this package has not written, and never inside its own bucket."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from demo_files import betas_file
from tiers import sampled

from intake_laion_fmri import build_store
from intake_laion_fmri.remote.access import open_store
from intake_laion_fmri.store.format import ARRAYS
from intake_laion_fmri.store.writing import store_writer

GIVEN: dict[str, Any] = {"subjects": "sub-01", "sessions": 1, "roi": "face"}


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: path.read_bytes() if path.is_file() else None for name, path in paths.items()}


def precious(path: Path) -> None:
    """Write a user's file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("precious")


@pytest.mark.parametrize("name", ["sub-01/ses-01/func/bold.nii.gz", "notes.txt", "sub-01/zarr.json", ".hidden"])
def test_a_folder_with_something_in_it_is_not_built_over(tiny: Path, tmp_path: Path, name: str) -> None:
    precious(tmp_path / "data" / name)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r"data is not a store of this package.*Give a path"):
        build_store(tmp_path / "data", bucket=tiny, **GIVEN)
    assert contents(tmp_path) == before


def test_a_file_or_a_dangling_link_is_no_place_for_a_store(tiny: Path, tmp_path: Path) -> None:
    precious(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "dangling"):
        with pytest.raises(FileExistsError, match=name):
            build_store(tmp_path / name, bucket=tiny, **GIVEN)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file"]


def test_an_empty_folder_and_a_link_to_one_are_built_in(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for status in ("built", "complete"):
        assert [one.status for one in build_store(tmp_path / "link", bucket=tiny, **GIVEN)] == [status]
    assert (tmp_path / "empty" / "zarr.json").is_file()
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "link"]


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a second file system")
def test_a_link_to_another_disk_is_built_behind(tiny: Path, tmp_path: Path) -> None:
    """A folder is moved within one file system only."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        (tmp_path / "link").symlink_to(Path(other, "store"))
        Path(other, "store").mkdir()
        assert [one.status for one in build_store(tmp_path / "link", bucket=tiny, **GIVEN)] == ["built"]
        assert os.listdir(other) == ["store"]
    assert [path.name for path in tmp_path.iterdir()] == ["link"]


def test_a_folder_beside_the_store_that_is_a_users(tiny: Path, tmp_path: Path) -> None:
    """It may have the name of the one in which sessions are written."""
    for name in ("mine.txt", "sub-01_ses-01.notes/mine.txt", "root.old"):
        folder = tmp_path / name.replace("/", "-")
        precious(folder / ".store.building" / name)
        before = contents(folder)
        with pytest.raises(FileExistsError, match=r"\.store\.building holds"):
            build_store(folder / "store", bucket=tiny, **GIVEN)
        assert contents(folder) == before


FOREIGN = ["notes.txt", "func/bold.nii.gz", "mine/zarr.json", "mine/c/0/0", "betas/notes.txt", ".DS_Store"]


@pytest.mark.parametrize("name", sampled(FOREIGN, keep=1))
def test_a_users_file_in_a_session_is_never_lost(own_tiny: Path, tmp_path: Path, name: str) -> None:
    """Neither where the session is renewed, nor where it is built in a folder that is there."""
    store = tmp_path / "store"
    build_store(store, bucket=own_tiny, **GIVEN)
    precious(store / "sub-01" / "ses-01" / name)
    assert [one.status for one in build_store(store, bucket=own_tiny, **GIVEN)] == ["complete"]
    betas_file(own_tiny, "sub-01", "ses-01").touch()
    metadata = store / "sub-01" / "ses-01" / "zarr.json"
    for spoil in (lambda: None, metadata.unlink, metadata.touch):
        spoil()
        before = contents(tmp_path)
        with pytest.raises(FileExistsError, match=rf"sub-01/ses-01 was not stored.*ses-01 holds {name}.*Move it away"):
            build_store(store, bucket=own_tiny, **GIVEN)
        assert contents(tmp_path) == before
    shutil.move(store / "sub-01" / "ses-01" / name, tmp_path / "elsewhere")
    assert [one.status for one in build_store(store, bucket=own_tiny, **GIVEN)] == ["renewed"]


def test_a_users_folders_in_a_store_are_left_alone(tiny: Path, tmp_path: Path) -> None:
    """Where sessions would be, they are an error; elsewhere they stay."""
    store = tmp_path / "store"
    build_store(store, bucket=tiny, **GIVEN)
    for name in ("notes/a.txt", "sub-01/notes.txt", "sub-01/ses-02/func/bold.nii.gz", "sub-03/zarr.json"):
        precious(store / name)
    (store / "sub-03" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    before = contents(store)
    with pytest.raises(FileExistsError, match=r"sub-01/ses-02 was not stored.*func/bold\.nii\.gz"):
        build_store(store, bucket=tiny, subjects="sub-01", sessions=2)
    with pytest.raises(FileExistsError, match=r"sub-03 holds zarr\.json"):
        build_store(store, bucket=tiny, subjects="sub-03", sessions=1)
    after = contents(store)
    assert {name: after[name] for name in before} == before
    assert not (store / "sub-03" / "ses-01").exists()
    (store / "sub-01" / "ses-03").symlink_to(tmp_path)
    with pytest.raises(FileExistsError, match="sub-01 holds ses-03"):
        build_store(store, bucket=tiny, subjects="sub-01", sessions=3)


def test_what_comes_while_a_session_is_renewed_is_kept(own_tiny: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    build_store(store, bucket=own_tiny, **GIVEN)
    root = store_writer(open_store(store))
    with root.writing("sub-01/ses-01") as writer:
        writer.begin(lambda key: key != "notes.txt")
        writer.put("label/c/0", [b"new"])
        precious(store / "sub-01" / "ses-01" / "notes.txt")
        with pytest.raises(FileExistsError, match=r"\.store\.building/.* holds notes\.txt"):
            writer.publish(b"{}")
    (left,) = (tmp_path / ".store.building").rglob("notes.txt")
    assert left.read_text() == "precious"


def test_what_killed_builders_left_is_removed_and_nothing_else(tiny: Path, tmp_path: Path) -> None:
    left = tmp_path / ".store.building" / f"sub-01_ses-02.{'0' * 32}"
    for name in ("betas/c/0/0", "label/zarr.json", "zarr.json"):
        precious(left / name)
    (tmp_path / ".store.building" / "sub-01_ses-02.lock").write_bytes(b"garbage")
    build_store(tmp_path / "store", bucket=tiny, **{**GIVEN, "sessions": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_a_store_does_not_lie_inside_its_bucket(own_tiny: Path, tmp_path: Path) -> None:
    inside = own_tiny / "derivatives" / "store"
    (tmp_path / "link").symlink_to(own_tiny)
    before = contents(own_tiny)
    for store, bucket in {
        inside: own_tiny,
        own_tiny: own_tiny,
        tmp_path / "link" / "store": own_tiny,
        own_tiny / "derivatives" / ".." / "store": tmp_path / "link",
        f"file://{inside}": own_tiny,
        own_tiny.parent: own_tiny,
    }.items():
        with pytest.raises(ValueError, match="must not contain each other"):
            build_store(store, bucket=bucket, **GIVEN)
    assert contents(own_tiny) == before


def test_a_store_does_not_lie_inside_the_mirror(s3: Any, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    given = {"bucket": s3.url, "storage_options": s3.storage_options, "mirror": mirror}
    for store in (mirror / "store", tmp_path):
        with pytest.raises(ValueError, match=r"the mirror .* must not contain each other"):
            build_store(store, **given, **GIVEN)
    with pytest.raises(ValueError, match=r"the bucket .* must not contain each other"):
        build_store(f"{s3.url}//store/", store_options=s3.store_options, **given, **GIVEN)
    assert [*mirror.iterdir()] == []


def test_a_prefix_with_something_in_it_is_not_built_over(s3: Any, own_tiny: Path) -> None:
    s3.client.create_bucket(Bucket="foreign", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})

    def put(key: str) -> None:
        s3.client.put_object(Bucket="foreign", Key=key, Body=b"precious")

    def keys() -> set[str]:
        return {one["Key"] for one in s3.client.list_objects_v2(Bucket="foreign").get("Contents", ())}

    def build(url: str) -> list[str]:
        return [one.status for one in build_store(url, bucket=own_tiny, store_options=s3.store_options, **GIVEN)]

    put("data/sub-01/ses-01/func/bold.nii.gz")
    with pytest.raises(FileExistsError, match="s3://foreign/data holds sub-01, which this package did not write"):
        build("s3://foreign/data")
    assert keys() == {"data/sub-01/ses-01/func/bold.nii.gz"}
    assert build("s3://foreign/store") == ["built"]
    put("store/sub-01/ses-01/notes.txt")
    put("store/sub-01/ses-01/mine/c/0")
    assert build("s3://foreign/store") == ["complete"]
    betas_file(own_tiny, "sub-01", "ses-01").touch()
    before = keys()
    with pytest.raises(FileExistsError, match=r"ses-01 holds mine/c/0, notes\.txt"):
        build("s3://foreign/store")
    assert keys() == before


def test_every_array_of_a_session_is_known(tiny: Path, tiny_store: Path) -> None:
    """What is not known is taken for a user's."""
    for session in tiny_store.glob("sub-*/ses-*"):
        assert {path.name for path in session.iterdir() if path.is_dir()} <= ARRAYS
