"""A mirror's folder: where objects belong, which files count, and what is known of the bucket without it."""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo, key
from intake_laion_fmri.remote.copy import MirrorFolder, Target, rejection
from intake_laion_fmri.remote.records import MARK, METADATA_FOLDER, MirrorRecord, name_of, now

ROI = key("roi", subject="sub-01", category="face", label="FFA-1")
ALIAS = key("roi", subject="sub-01", category="face", label="FFA1")


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def put(folder: MirrorFolder, name: str, content: bytes, *, etag: str | None = None, replaces: str = "") -> Path:
    """Write a file and, for an ETag, its record."""
    path = folder.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if etag is not None:
        mtime_ns = path.stat().st_mtime_ns
        crc32 = zlib.crc32(content)
        folder.write_record(MirrorRecord(name, len(content), etag, mtime_ns, "size", crc32, now(), replaces))
    return path


def is_own(folder: MirrorFolder, name: str) -> bool:
    copy = folder.copy_of(name)
    return copy is not None and folder.is_own(copy)


@pytest.mark.parametrize(
    "bad",
    [
        *("", "/etc/passwd", "..", "../x", "a/../../x", "a/..", "a//b", "a/", "./a", "a/./b"),
        *("a\\b", "..\\x", "C:/x", "c:x", "a\x00b", "a\nb", "a\x7fb", "a\x85b", "a\u200bb", "a\u202eb", "a\u2028b"),
        *("\ud800", METADATA_FOLDER, f"{METADATA_FOLDER}/records/x", ".LAION-FMRI/x", "．laion-fmri/x", "é" * 200),
    ],
)
def test_keys_that_leave_the_folder(tmp_path: Path, bad: str) -> None:
    """Or that no file should have for a name: refused, naming the key; nothing is held of it."""
    folder = MirrorFolder(tmp_path / "mirror")
    for place in (folder.path_of, folder.target):
        with pytest.raises(DataIntegrityError, match="The key"):
            place(bad)
    assert folder.holds(ObjectInfo(bad, 1, "etag")) is None


@pytest.mark.parametrize(
    "good", ["a", "a/b.nii.gz", "é/ö", "e\u0301", "日本/x", "-x", "...", "a..b/c", ".hidden", "a b+c"]
)
def test_unusual_keys(tmp_path: Path, good: str) -> None:
    target = MirrorFolder(tmp_path).target(good)
    assert (target.path, target.within) == (tmp_path.joinpath(*good.split("/")), tmp_path)


@given(
    st.text(max_size=40)
    | st.lists(st.sampled_from(["..", ".", "", "a", "/", "\\", "é", METADATA_FOLDER])).map("/".join)
)
def test_no_key_leaves_the_folder(text: str) -> None:
    """Whatever a listing may hold."""
    if rejection(text) is None:
        root = os.path.abspath("/nowhere/mirror")
        place = os.path.normpath(MirrorFolder(Path(root)).path_of(text))
        assert place.startswith(root + os.sep)
        assert not place.startswith(os.path.join(root, METADATA_FOLDER) + os.sep)


def test_links_on_the_way(tmp_path: Path) -> None:
    """One's own are followed, also to another disk; those of others are not, and none to where the records are."""
    outside, real = tmp_path / "outside", tmp_path / "real"
    outside.mkdir()
    (real / "inside").mkdir(parents=True)
    (tmp_path / "mirror").symlink_to(real)
    folder = MirrorFolder(tmp_path / "mirror")
    (real / "away").symlink_to(outside)
    (real / "near").symlink_to(real / "inside")
    assert folder.target("near/file").path == real / "inside" / "file"
    assert folder.target("away/deeper/file") == Target(outside / "deeper" / "file", outside)
    (real / METADATA_FOLDER).symlink_to(outside)
    with pytest.raises(DataIntegrityError, match="is a link"):
        folder.workplace("partial")
    (real / METADATA_FOLDER).unlink()
    folder.workplace("records")
    (real / METADATA_FOLDER / "partial").symlink_to(outside)
    with pytest.raises(DataIntegrityError, match="is a link"):
        folder.workplace("partial")
    assert not list(outside.iterdir())


def test_a_link_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernel has it for folders like /tmp (protected_symlinks): not followed, unless it is root's."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "mirror").mkdir()
    link = tmp_path / "mirror" / "away"
    link.symlink_to(tmp_path / "outside")
    folder, owner = MirrorFolder(tmp_path / "mirror"), link.lstat().st_uid
    if os.geteuid() == 0:
        os.lchown(link, 12345, 12345)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(DataIntegrityError, match="a link of another user"):
        folder.target("away/deeper/file")


def test_which_files_count(tmp_path: Path) -> None:
    """By record: ETag, size and modification time; without one: size and, where it can be told, MD5."""
    folder = MirrorFolder(tmp_path)
    path = put(folder, "a/file", b"content", etag="1-2")
    assert folder.holds(ObjectInfo("a/file", 7, "1-2")) == path
    assert folder.holds(ObjectInfo("a/file", 7, "1-3")) is None
    assert folder.holds(ObjectInfo("a/file", 8, "1-2")) is None
    assert folder.holds(ObjectInfo("a/other", 7, "1-2")) is None
    assert folder.holds(ObjectInfo("a", 7, "1-2")) is None  # a folder
    copied = put(folder, "copied", b"content")
    assert folder.holds(ObjectInfo("copied", 7, "1-3")) is None  # nothing tells
    assert folder.holds(ObjectInfo("copied", 7, md5(b"content"))) == copied
    assert folder.holds(ObjectInfo("copied", 7, md5(b"CONTENT"))) is None
    copied.write_bytes(b"CONTENT")
    assert folder.holds(ObjectInfo("copied", 7, md5(b"CONTENT"))) == copied


def test_a_mirror_that_was_copied(tmp_path: Path) -> None:
    """Without its modification times it still counts by its recorded sum, and is this project's own."""
    folder = MirrorFolder(tmp_path)
    path = put(folder, "file", b"content", etag="1-2")
    os.utime(path, ns=(1, 1))
    assert folder.holds(ObjectInfo("file", 7, "1-2")) == path
    assert folder.holds(ObjectInfo("file", 7, "1-3")) is None
    assert is_own(folder, "file")
    path.write_bytes(b"CONTENT")
    assert folder.holds(ObjectInfo("file", 7, "1-2")) is None
    assert not is_own(folder, "file")


def test_a_crash_between_record_and_file(tmp_path: Path) -> None:
    """The record of the new file lies beside the old one: that is not taken for the new one, and is known as ours."""
    folder = MirrorFolder(tmp_path)
    path = put(folder, "file", b"content", etag="old")
    before = folder.record("file")
    assert before
    folder.write_record(MirrorRecord("file", 7, "new", 5, "size", 9, now(), replaces=before.fingerprint))
    assert folder.holds(ObjectInfo("file", 7, "new")) is None
    assert folder.holds(ObjectInfo("file", 7, "old")) is None
    assert is_own(folder, "file")
    path.write_bytes(b"CONTENT")
    assert not is_own(folder, "file")


def test_copies_without_hyphens(tmp_path: Path) -> None:
    """The data set's own package drops them inside the labels of ROIs."""
    folder = MirrorFolder(tmp_path)
    path = put(folder, ALIAS, b"content")
    assert folder.holds(ObjectInfo(ROI, 7, md5(b"content"))) == path
    assert folder.holds(ObjectInfo(ROI, 7, md5(b"others!"))) is None
    assert folder.holds(ObjectInfo(ROI, 8, md5(b"content"))) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": 1}', b"\xff\x00", b"null"])
def test_broken_records(tmp_path: Path, content: bytes) -> None:
    """Count as none, and keep nobody from reading."""
    folder = MirrorFolder(tmp_path)
    path = put(folder, "file", b"content", etag="1-2")
    (folder.metadata / "records" / f"{name_of('file')}.json").write_bytes(content)
    assert folder.record("file") is None
    assert list(folder.records()) == []
    assert folder.holds(ObjectInfo("file", 7, md5(b"content"))) == path


def test_the_listings(tmp_path: Path) -> None:
    """The newest of a folder or of one above it, and those of folders below it."""
    folder = MirrorFolder(tmp_path)
    assert folder.listing("tree/one") is None

    def infos(*keys: str, etag: str) -> dict[str, ObjectInfo]:
        return {one: ObjectInfo(one, 1, etag) for one in keys}

    def etags(below: str) -> dict[str, str]:
        return {one: info.etag for one, info in (folder.listing(below) or {}).items()}

    folder.save_listing("tree", infos("tree/one/a", "tree/one/b", "tree/two/a", etag="1"))
    folder.save_listing("", infos("README", etag="1"))
    assert etags("tree/one") == {"tree/one/a": "1", "tree/one/b": "1"}
    folder.save_listing("tree/one", infos("tree/one/a", etag="2"))
    assert etags("tree/one") == {"tree/one/a": "2"}
    assert etags("tree") == {"tree/one/a": "2", "tree/two/a": "1"}
    assert etags("") == {"README": "1", "tree/one/a": "2", "tree/two/a": "1"}
    folder.save_listing("tree", infos("tree/three/a", etag="3"))
    assert etags("tree/one") == {}
    assert folder.listing("tree/one") == {}
    assert folder.listing("other") is None
    for path in (folder.metadata / "listings").iterdir():
        path.write_text(json.dumps({"folder": "tree"}))
    assert folder.listing("tree") is None


def test_a_mirror_that_may_not_be_written_to(tmp_path: Path) -> None:
    """Is read as any other, and nothing is written to it."""
    folder = MirrorFolder(tmp_path)
    path = put(folder, "a/file", b"content", etag="1-2")
    before = sorted(one for one in tmp_path.rglob("*"))
    for one in [tmp_path, *tmp_path.rglob("*")]:
        one.chmod(0o555 if one.is_dir() else 0o444)
    try:
        assert folder.holds(ObjectInfo("a/file", 7, "1-2")) == path
        assert folder.listing("a") is None
        assert [one for one, _ in folder.files()] == ["a/file"]
        assert sorted(tmp_path.rglob("*")) == before
    finally:
        for one in [tmp_path, *tmp_path.rglob("*")]:
            one.chmod(0o755)


def test_a_folder_that_is_being_made_a_mirror(tmp_path: Path) -> None:
    """Its mark is under way, as another process began a moment before, or was killed: it is a mirror's."""
    folder = MirrorFolder(tmp_path)
    folder.metadata.mkdir()
    (folder.metadata / f"{MARK.name}.{'0' * 32}.tmp").touch()
    assert folder.workplace("locks").is_dir()
    assert MARK.is_on(folder.metadata)
