"""A mirror and what is not its own: files of users and of other programs, links of other people, odd objects."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiers import sampled

from intake_laion_fmri import layout, open_betas, open_rois, open_trials
from intake_laion_fmri.errors import DataIntegrityError, LeftAloneWarning
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror import MirrorReport, copying, mirror_bucket, plan_mirror
from intake_laion_fmri.mirror.partial import part_of
from intake_laion_fmri.mirror.verify import verify_mirror
from intake_laion_fmri.remote import copy, locks
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.proofs import content_is, file_is
from intake_laion_fmri.remote.records import METADATA_FOLDER, name_of

TRIALS = layout.key("trials", subject="sub-01", session="ses-01")
CHOICE: dict[str, Any] = {"subjects": "sub-01", "sessions": 1, "kinds": ["trials", "rois"]}


def fill(to: Path, bucket: object, **given: Any) -> MirrorReport:
    return mirror_bucket(to, bucket=bucket, **CHOICE | given)


def fill_around(to: Path, bucket: object, what: str) -> MirrorReport:
    """Fill a mirror in which something is in the place of the trial table; all the rest is copied."""
    with pytest.warns(LeftAloneWarning, match=r"^1 of the bucket's objects .*trials\.tsv' \(" + what):
        report = fill(to, bucket)
    assert [key for key, _ in report.left_alone] == [TRIALS]
    assert report.n_files == len(plan_mirror(to, bucket=bucket, **CHOICE).objects) - 1
    return report


def tree(folder: Path) -> dict[str, object]:
    """What a folder holds: contents of files, where links lead, and folders."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        found[name] = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


# --- what this project did not write ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("put", "what"),
    sampled(
        [
            (lambda path, size: path.write_bytes(b"mine"), "another file, of 4 bytes"),
            (lambda path, size: path.write_bytes(bytes(size)), "another file of"),
            (lambda path, size: path.mkdir(), "a folder of that name"),
            (lambda path, size: (path.mkdir(), (path / "mine").write_text("x")), "a folder of that name"),
            (lambda path, size: path.symlink_to("nowhere"), "not a regular file"),
            (lambda path, size: os.mkfifo(path), "not a regular file"),
        ],
        keep=3,
    ),
    ids=["of another size", "of the same size", "an empty folder", "a folder", "a dangling link", "a pipe"],
)
@pytest.mark.parametrize("server", sampled([False, True], keep=1))
def test_what_is_in_the_place_of_a_file(
    tiny: Path, s3: Any, tmp_path: Path, put: Callable[[Path, int], object], what: str, server: bool
) -> None:
    """It stays as it is, also in further runs; everything else is copied."""
    where: dict[str, Any] = {"bucket": s3.url, "storage_options": s3.storage_options} if server else {"bucket": tiny}
    path = tmp_path / TRIALS
    path.parent.mkdir(parents=True)
    put(path, (tiny / TRIALS).stat().st_size)
    before = path.lstat()
    for _ in range(2):
        with pytest.warns(LeftAloneWarning, match=r"^1 of the bucket's objects .*trials\.tsv' \(" + what):
            report = mirror_bucket(tmp_path, **where | CHOICE)
        assert [key for key, _ in report.left_alone] == [TRIALS]
        assert any("left alone" in line for line in report.left_out)
        after = path.lstat()
        assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    there = [one for one in layout_files(tiny) if one.startswith("derivatives/rois/sub-01/")]
    assert all((tmp_path / one).read_bytes() == (tiny / one).read_bytes() for one in there)


def layout_files(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def test_a_file_where_a_folder_should_be(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "derivatives").mkdir()
    (tmp_path / layout.ROIS_ROOT).write_text("not a folder")
    with pytest.warns(LeftAloneWarning, match="a file instead of the folder"):
        report = fill(tmp_path, tiny)
    assert (tmp_path / layout.ROIS_ROOT).read_text() == "not a folder"
    assert (tmp_path / TRIALS).is_file()
    assert report.left_alone


def test_a_file_that_was_changed_since(own_tiny: Path, tmp_path: Path) -> None:
    """The user's correction stays, also once the bucket has another version, and after `verify` has complained."""
    mirror = tmp_path / "mirror"
    fill(mirror, own_tiny)
    mine = (mirror / TRIALS).read_bytes().replace(b"ses-01", b"ses-11")
    (mirror / TRIALS).write_bytes(mine)
    assert fill_around(mirror, own_tiny, "a file that was changed").fetched == 0
    assert {one.key for one in verify_mirror(mirror) if not one.is_good} == {TRIALS}
    (own_tiny / TRIALS).write_bytes((own_tiny / TRIALS).read_bytes() + b"\n")
    fill_around(mirror, own_tiny, "a file that was changed")
    assert (mirror / TRIALS).read_bytes() == mine


def test_an_older_version_of_ones_own_is_replaced(own_tiny: Path, tmp_path: Path) -> None:
    """Also if the mirror was copied since, and has lost its times."""
    mirror = tmp_path / "mirror"
    fill(mirror, own_tiny)
    os.utime(mirror / TRIALS, ns=(1, 1))
    newer = (own_tiny / TRIALS).read_bytes() + b"\n"
    (own_tiny / TRIALS).write_bytes(newer)
    report = fill(mirror, own_tiny)
    assert (report.fetched, report.replaced, report.left_alone) == (1, 1, ())
    assert (mirror / TRIALS).read_bytes() == newer


def test_a_folder_of_that_name_that_is_the_users(tiny: Path, tmp_path: Path) -> None:
    """Records go nowhere but to a folder of this project's own; nothing is copied then."""
    own = tmp_path / METADATA_FOLDER
    (own / "partial").mkdir(parents=True)
    (own / "partial" / "thesis.part").write_text("mine")
    (own / "locks").mkdir()
    (own / "locks" / "a.lock").write_text("mine")
    before = tree(tmp_path)
    with pytest.raises(
        FileExistsError, match=r"is not the internal folder of a mirror \(it holds 'locks', 'partial'\)"
    ):
        fill(tmp_path, tiny)
    assert tree(tmp_path) == before


def test_files_of_users_beside_the_records(tiny: Path, tmp_path: Path) -> None:
    """Whatever they are called: only what runs leave by their own names is removed."""
    fill(tmp_path, tiny)
    own = MirrorFolder(tmp_path)
    mine = []
    for place in ("partial/thesis.part", "partial/thesis.state", "records/notes.tmp", "listings/a.tmp", "locks/a.lock"):
        own.workplace(place.split("/")[0])
        (own.metadata / place).write_text("mine")
        mine.append(own.metadata / place)
    left = own.metadata / "partial" / f"{name_of('x')}.{name_of('x', 'y')[:16]}.part"
    left.write_bytes(b"of a run that was killed")
    # What filelock calls a lock while it breaks it: of a living process for a moment, or left by a kill.
    lock = own.workplace("locks") / f"{name_of('x')}.lock"
    fresh, old = (lock.with_name(f"{lock.name}.break.{number}.{'0' * 32}") for number in (1, 2))
    fresh.touch()
    old.touch()
    os.utime(old, (0, 0))
    fill(tmp_path, tiny)
    assert [path.read_text() for path in mine] == ["mine"] * len(mine)
    assert (left.exists(), fresh.exists(), old.exists()) == (False, True, False)


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A folder that is nobody else's business."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "thesis").write_text("four years of work")
    return folder


def info_of(tiny: Path, key: str) -> ObjectInfo:
    return next(one for one in plan_mirror(tiny.parent / "none", bucket=tiny, **CHOICE).objects if one.key == key)


@pytest.mark.parametrize(
    ("name", "kind"),
    sampled(
        [
            (name, kind)
            for name in ("part", "state", "lock", "record", "listing", "notice", "mark", "file")
            for kind in ("symbolic", "hard")
        ],
        keep=5,
    ),
)
def test_planted_links_to_a_file(
    tiny: Path, tmp_path: Path, victim: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each name that a run writes: what they lead to stays as it is.

    A second name of a file, in place of a lock, is a lock without a holder: it is taken over, and the file keeps its
    first name.
    """
    mirror = MirrorFolder(tmp_path / "mirror")
    info = info_of(tiny, TRIALS)
    for place in ("records", "listings", "partial", "locks"):
        mirror.workplace(place)
    part = part_of(mirror, info)
    places = {
        "part": part,
        "state": part.with_suffix(".state"),
        "lock": mirror.metadata / "locks" / f"{name_of(TRIALS)}.lock",
        "record": mirror.metadata / "records" / f"{name_of(TRIALS)}.json",
        "listing": mirror.metadata / "listings" / ".list.json",
        "notice": mirror.metadata / "notice",
        "mark": mirror.metadata / "mirror.json",
        "file": mirror.path / TRIALS,
    }
    places[name].unlink(missing_ok=True)
    places[name].parent.mkdir(parents=True, exist_ok=True)
    if kind == "symbolic":
        places[name].symlink_to(victim / "thesis")
    else:
        os.link(victim / "thesis", places[name])
    before, mode = tree(victim), (victim / "thesis").stat().st_mode
    monkeypatch.setattr(copying, "STALE_SECONDS", 0.5)
    outcome: Any = contextlib.nullcontext()
    if name in ("part", "mark") or (name, kind) == ("lock", "symbolic"):
        outcome = pytest.raises((OSError, DataIntegrityError))
    elif name == "file":
        outcome = pytest.warns(LeftAloneWarning)
    with outcome:
        fill(mirror.path, tiny)
    assert (tree(victim), (victim / "thesis").stat().st_mode) == (before, mode)
    assert name == "mark" or (mirror.holds(info) is not None) == isinstance(outcome, contextlib.nullcontext)
    assert name in ("lock", "mark") or [one for one in layout_files(mirror.path) if "/rois/" in one]


@pytest.mark.parametrize("name", ["", "records", "listings", "partial", "locks"])
def test_planted_links_to_a_folder(tiny: Path, tmp_path: Path, victim: Path, name: str) -> None:
    """In place of those that records are kept in: refused, and said."""
    mirror = tmp_path / "mirror"
    (mirror / METADATA_FOLDER).mkdir(parents=True)
    place = mirror / METADATA_FOLDER / name
    if not name:
        place.rmdir()
    place.symlink_to(victim)
    before = tree(victim)
    with pytest.raises((DataIntegrityError, FileExistsError), match=r"is a link to|is not the internal folder"):
        fill(mirror, tiny)
    assert tree(victim) == before


def test_a_folder_behind_another_users_link(
    tiny: Path, tmp_path: Path, victim: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written through it; the rest is copied, and the run is an error."""
    (tmp_path / "mirror/derivatives").mkdir(parents=True)
    link = tmp_path / "mirror" / layout.ROIS_ROOT
    link.symlink_to(victim)
    if os.geteuid() == 0:
        os.lchown(link, 12345, 12345)
    else:
        owner = os.geteuid()
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    before = tree(victim)
    with pytest.raises(DataIntegrityError, match=r"is a link of another user.*The same applies to"):
        fill(tmp_path / "mirror", tiny)
    assert tree(victim) == before
    assert (tmp_path / "mirror" / TRIALS).is_file()


def test_a_folder_behind_ones_own_link(own_tiny: Path, tmp_path: Path, victim: Path) -> None:
    """It may be on another disk: files are written, replaced and read there; strangers' files there are left alone."""
    disk = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    other = disk / f"laion-{os.getpid()}-{tmp_path.name}"
    other.mkdir()
    try:
        (tmp_path / "mirror/derivatives").mkdir(parents=True)
        (tmp_path / "mirror" / layout.ROIS_ROOT).symlink_to(other)
        (other / "notes").write_text("mine")
        fill(tmp_path / "mirror", own_tiny)
        assert fill(tmp_path / "mirror", own_tiny).fetched == 0
        rois = [one for one in layout_files(own_tiny) if one.startswith(f"{layout.ROIS_ROOT}/sub-01/")]
        assert [(tmp_path / "mirror" / one).read_bytes() for one in rois] == [
            (own_tiny / one).read_bytes() for one in rois
        ]
        (own_tiny / rois[0]).write_bytes(gzip.compress(b"newer"))
        report = fill(tmp_path / "mirror", own_tiny)
        assert (report.fetched, report.replaced) == (1, 1)
        assert gzip.decompress((tmp_path / "mirror" / rois[0]).read_bytes()) == b"newer"
        assert (other / "notes").read_text() == "mine"
    finally:
        shutil.rmtree(other)


def test_pipes_among_the_records(tiny: Path, tmp_path: Path) -> None:
    """Are not waited for."""
    fill(tmp_path, tiny)
    own = MirrorFolder(tmp_path)
    record = own.metadata / "records" / f"{name_of(TRIALS)}.json"
    record.unlink()
    os.mkfifo(record)
    state = part_of(own, info_of(tiny, TRIALS)).with_suffix(".state")
    os.mkfifo(state)
    assert own.record(TRIALS) is None
    assert open_trials("sub-01", session=1, bucket=tiny, mirror=tmp_path).equals(
        open_trials("sub-01", session=1, bucket=tiny)
    )
    assert stat.S_ISFIFO(state.lstat().st_mode)


# --- the content is what counts ---------------------------------------------------------------------------------------


def swapped(path: Path) -> None:
    """Give a table other labels, and leave its size and time as they were."""
    state, content = path.stat(), path.read_bytes()
    lines = content.splitlines(keepends=True)
    (first, one), (second, other) = (line.rsplit(b"\t", 1) for line in lines[1:3])
    lines[1:3] = [first + b"\t" + other, second + b"\t" + one]
    path.write_bytes(b"".join(lines))
    assert path.read_bytes() != content
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)


@pytest.mark.parametrize("recorded", [True, False])
def test_other_labels_of_the_same_size_and_time(s3: Any, tiny: Path, tmp_path: Path, recorded: bool) -> None:
    """The copy is not read: the bucket is asked, or it is an error; also in a process that has read the copy before."""
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    if recorded:
        mirror_bucket(tmp_path, **where, **CHOICE | {"kinds": ["trials", "betas"]})
    else:
        shutil.copytree(tiny, tmp_path, dirs_exist_ok=True)
    expected = open_trials("sub-01", session=1, mirror=tmp_path, **where)
    swapped(tmp_path / TRIALS)
    assert open_trials("sub-01", session=1, mirror=tmp_path, **where).equals(expected)
    if recorded:
        with pytest.raises(DataIntegrityError, match="has changed since it was copied"):
            open_trials("sub-01", session=1, mirror=tmp_path, mirror_only=True)
    as_it_is = open_trials("sub-01", session=1, bucket=tmp_path)
    assert as_it_is.label.tolist() == [expected.label.iloc[1], expected.label.iloc[0], *expected.label.iloc[2:]]


PARTED = "parted-objects"


@pytest.fixture
def parted(s3: Any, tiny: Path) -> dict[str, Any]:
    """A bucket whose objects were uploaded in parts of an odd length: no ETag tells what they hold."""
    names = [one["Name"] for one in s3.client.list_buckets()["Buckets"]]
    if PARTED not in names:
        s3.client.create_bucket(
            Bucket=PARTED, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}, ACL="public-read"
        )
        for key in layout_files(tiny):
            if key == TRIALS or key.startswith(f"{layout.BETAS_ROOT}/sub-01/sub-01"):
                in_parts(s3.client, key, (tiny / key).read_bytes())
    return {"bucket": f"s3://{PARTED}", "storage_options": s3.storage_options}


def in_parts(client: Any, key: str, body: bytes) -> None:
    target = {"Bucket": PARTED, "Key": key}
    upload = client.create_multipart_upload(**target, ACL="public-read")["UploadId"]
    padded = [body]
    parts = [
        {"ETag": client.upload_part(**target, UploadId=upload, PartNumber=number + 1, Body=one)["ETag"]}
        | {"PartNumber": number + 1}
        for number, one in enumerate(padded)
    ]
    client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload={"Parts": parts})


def test_an_etag_of_parts(parted: dict[str, Any], tiny: Path, tmp_path: Path) -> None:
    """Tells of the content all the same: a copy by other means is read and adopted; an older one is neither."""
    path = tmp_path / TRIALS
    path.parent.mkdir(parents=True)
    shutil.copy2(tiny / TRIALS, path)
    choice = {"subjects": "sub-01", "kinds": "trials"}
    (info,) = plan_mirror(tmp_path, **parted, **choice).unrecorded
    assert info.etag.endswith("-1")
    assert MirrorFolder(tmp_path).holds(info) == path
    assert mirror_bucket(tmp_path, **parted, **choice).adopted == 1
    shutil.rmtree(tmp_path / METADATA_FOLDER)
    swapped(path)
    older = path.read_bytes()
    assert MirrorFolder(tmp_path).holds(info) is None
    with pytest.warns(LeftAloneWarning, match="another file of"):
        mirror_bucket(tmp_path, **parted, **choice)
    assert path.read_bytes() == older
    assert MirrorFolder(tmp_path).holds(info) is None


@pytest.mark.parametrize("length", [5, 8, 17_179_870])
def test_etags_of_common_parts(tmp_path: Path, length: int) -> None:
    """Of AWS's tools, of others, and of its web page."""
    length *= 1024 * 1024 if length < 100 else 1
    content = os.urandom(1024) * (2 * length // 1024 + 3)
    sums = b"".join(hashlib.md5(content[start : start + length]).digest() for start in range(0, len(content), length))
    info = ObjectInfo("x", len(content), f"{hashlib.md5(sums).hexdigest()}-3")
    (tmp_path / "x").write_bytes(content)
    assert content_is(content, info)
    assert file_is(tmp_path / "x", (tmp_path / "x").stat(), info)
    changed = b"\0" + content[1:]
    assert not content_is(changed, info)
    (tmp_path / "x").write_bytes(changed)
    assert not file_is(tmp_path / "x", (tmp_path / "x").stat(), info)


def test_a_copy_that_nothing_tells_of(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server whose ETags tell nothing: not read, with one warning; the next run compares it."""
    import fsspec
    from fsspec.implementations.local import LocalFileSystem

    class Remote(LocalFileSystem):  # type: ignore[misc]
        protocol = "remote"

    fsspec.register_implementation("remote", Remote, clobber=True)
    path = tmp_path / "mirror" / TRIALS
    path.parent.mkdir(parents=True)
    shutil.copy2(tiny / TRIALS, path)
    swapped(path)
    where = {"bucket": f"remote://{tiny}"}
    expected = open_trials("sub-01", session=1, bucket=tiny)
    with pytest.warns(LeftAloneWarning, match="never verified"):
        assert open_trials("sub-01", session=1, mirror=tmp_path / "mirror", **where).equals(expected)
    shutil.copy2(tiny / TRIALS, path)
    assert mirror_bucket(tmp_path / "mirror", **where, **CHOICE).adopted == 1
    assert open_trials("sub-01", session=1, mirror=tmp_path / "mirror", **where).equals(expected)


# --- the data set's own package, and odd objects ----------------------------------------------------------------------


def test_no_second_spelling(s3: Any, tiny: Path, tmp_path: Path) -> None:
    """A folder that the data set's own package filled keeps its names, is complete, and opens in every way."""
    for name in layout_files(tiny):
        left_out = ("ses-31", "/localizers/", "/freesurfer/", "/tedana/")
        if "/sub-01/" in name and not any(part in name for part in left_out):
            head, label, rest = name.partition("_label-")
            alias = (
                f"{head}{label}{rest.partition('_')[0].replace('-', '')}_{rest.partition('_')[2]}" if label else name
            )
            (tmp_path / alias).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(tiny / name, tmp_path / alias)
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    before = {name for name in layout_files(tmp_path) if "/rois/" in name}
    report = mirror_bucket(tmp_path, subjects="sub-01", **where)
    assert {name for name in layout_files(tmp_path) if "/rois/" in name} == before
    assert report.adopted > 0
    assert not report.left_alone
    assert mirror_bucket(tmp_path, subjects="sub-01", **where).adopted == 0
    assert {one.status for one in verify_mirror(tmp_path)} == {"complete"}
    expected = open_rois("sub-01", bucket=tiny).in_roi
    assert open_rois("sub-01", bucket=tmp_path).in_roi.equals(expected)
    assert open_rois("sub-01", mirror=tmp_path, mirror_only=True).in_roi.equals(expected)
    assert open_rois("sub-01", mirror=tmp_path, **where).in_roi.equals(expected)


def test_an_object_named_like_a_folder(s3: Any, tiny: Path, tmp_path: Path) -> None:
    """It is left out and named, and so are markers of folders; all the rest is copied, each time."""
    s3.client.create_bucket(
        Bucket="odd-names", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}, ACL="public-read"
    )
    folder = f"{layout.BETAS_ROOT}/sub-01/ses-01/func"
    bodies = {
        TRIALS: (tiny / TRIALS).read_bytes(),
        folder: b"an object",
        f"{folder}/": b"",
        f"{layout.BETAS_ROOT}/sub-01": b"",
        f"{layout.BETAS_ROOT}/sub-01/x/": b"not empty",
    }
    for key, body in bodies.items():
        s3.client.put_object(Bucket="odd-names", Key=key, Body=body, ACL="public-read")
    for fetched in (1, 0):
        report = mirror_bucket(tmp_path, bucket="s3://odd-names", storage_options=s3.storage_options)
        assert report.fetched == fetched
        assert folder in dict(report.plan.refused)
        assert "is also the name of the folder that holds" in dict(report.plan.refused)[folder]
    assert (tmp_path / TRIALS).read_bytes() == bodies[TRIALS]


def test_a_small_file_is_checked_at_no_cost(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file is read once, and summed by its CRC-32 as it comes."""
    mirror_bucket(tmp_path, bucket=tiny, subjects="sub-01")
    read: list[Path] = []
    once = copy._content

    def counted(path: Path, size: int) -> bytes | None:
        read.append(path)
        return once(path, size)

    monkeypatch.setattr(copy, "_content", counted)
    open_betas("sub-01", roi="face", bucket=tiny, mirror=tmp_path)
    assert read
    assert len(read) == len(set(read))


def test_a_lock_of_a_process_that_died_elsewhere(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expires while it is waited for; a living holder is named after the stated time, and the rest is copied."""
    monkeypatch.setattr(locks, "LEASE_SECONDS", 1.5)
    monkeypatch.setattr(locks, "_HEARTBEAT_SECONDS", 0.3)
    monkeypatch.setattr(copying, "STALE_SECONDS", 0.5)
    path = MirrorFolder(tmp_path).workplace("locks") / f"{name_of(TRIALS)}.lock"
    with locks.locked(path, wait_seconds=0, what="fetching an object"):
        left = path.read_text().replace(socket.gethostname(), "another-node")
        monkeypatch.setattr(copying, "PATIENT_SECONDS", 0.5)
        with pytest.raises(
            OSError, match=rf"received no data of .*trials\.tsv for 0 s: .*process {os.getpid()} on"
        ) as told:
            fill(tmp_path, tiny)
        assert told.value.errno == errno.EBUSY
        assert not (tmp_path / TRIALS).exists()
        assert [one for one in layout_files(tmp_path) if "/rois/" in one]
    monkeypatch.setattr(copying, "PATIENT_SECONDS", 6.0)
    path.write_text(left)
    assert fill(tmp_path, tiny).fetched == 1
    assert (tmp_path / TRIALS).read_bytes() == (tiny / TRIALS).read_bytes()
