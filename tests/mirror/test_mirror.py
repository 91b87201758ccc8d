"""Copying a part of the bucket: what is chosen, what it costs, what is left out, and what can be read afterwards."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FaultyProxy
from mirrorers import serve
from tiers import full

from intake_laion_fmri import config, layout, open_betas
from intake_laion_fmri.download import download
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    LeftAloneWarning,
    NoMatchingDataError,
    NotInBucketError,
    OfflineWarning,
)
from intake_laion_fmri.mirror import MirrorPlan, MirrorProgress, mirror_bucket, plan_mirror
from intake_laion_fmri.mirror.verify import mirror_status, verify_mirror
from intake_laion_fmri.remote.access import MIRROR_VARIABLE
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.records import METADATA_FOLDER

TREE = "derivatives/glmsingle-tedana"


def groups(plan: MirrorPlan) -> dict[str, int]:
    return dict(sorted(Counter(layout.group_of(info.key) for info in plan.objects).items()))


def names(plan: MirrorPlan) -> list[str]:
    return [info.key.rpartition("/")[2] for info in plan.objects]


def files(folder: Path) -> dict[str, bytes]:
    """What a folder holds, without what is the mirror's own."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(METADATA_FOLDER)}


def public(folder: Path) -> dict[str, bytes]:
    """What of a bucket is to be copied."""
    return {
        name: content
        for name, content in files(folder).items()
        if layout.is_of_public(name) and layout.group_of(name) not in layout.LARGE_GROUPS
    }


# --- what is chosen ---------------------------------------------------------------------------------------------------


def test_everything(tiny: Path, tmp_path: Path) -> None:
    """All that this package can read, but for held-out sessions; nothing is written by planning."""
    plan = plan_mirror(tmp_path / "new", bucket=tiny)
    assert {info.key for info in plan.objects} == set(public(tiny))
    assert plan.fetch == plan.objects
    assert (plan.complete, plan.unrecorded, plan.refused, plan.gated) == ((), (), (), 0)
    assert plan.bytes_to_fetch == plan.n_bytes == sum(map(len, public(tiny).values()))
    assert plan.held_out == sum(1 for name in files(tiny) if "/ses-31/" in name and "glmsingle" in name)
    assert plan.free_bytes > 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("key", "group", "session", "entities"),
    [
        (layout.key("betas", subject="sub-01", session="ses-01"), "betas", "ses-01", {"stat": "effect"}),
        (f"{TREE}/sub-01/ses-02/func/sub-01_ses-02_task-images_desc-GLMsingle_summary.json", "other", "ses-02", {}),
        (
            layout.key("trials", subject="sub-01", session="ses-31").replace(".tsv", ".json"),
            "trials",
            "ses-31",
            {"suffix": "trials", "extension": ".json"},
        ),
        (
            layout.key("noise_ceiling", subject="sub-01", map="4rep"),
            "noise_ceilings",
            None,
            {"desc": "Noiseceiling4rep"},
        ),
        (
            "derivatives/rois/sub-01/face/sub-01_space-T1w_res-1pt5_label-FFA-1_mask.nii.gz",
            "rois",
            None,
            {"label": "FFA-1", "suffix": "mask", "extension": ".nii.gz"},
        ),
        (
            layout.key("brain_mask", subject="sub-01"),
            "anatomy",
            "ses-PrismaAnat",
            {"desc": "brain", "suffix": "mask", "ses": "PrismaAnat"},
        ),
        ("derivatives/splits/sub-01/tau.json", "splits", None, {"extension": ".json"}),
        (
            layout.STIMULUS_METADATA,
            "stimulus_table",
            None,
            {"task": "images", "suffix": "metadata", "extension": ".csv"},
        ),
        ("dataset_description.json", "other", None, {"extension": ".json"}),
        ("README", "other", None, {}),
    ],
)
def test_what_a_key_says(key: str, group: str, session: str | None, entities: dict[str, str]) -> None:
    """Its group, its session and the entities in its name; of a name without entities only the extension."""
    assert layout.group_of(key) == group
    assert layout.session_of(key) == session
    assert layout.is_of_public(key) is (session != "ses-31")
    found = layout.name_entities(key)
    assert entities.items() <= found.items()
    if "_" not in key.rpartition("/")[2] or key == "dataset_description.json":
        assert found == entities


@pytest.mark.parametrize("session", ["ses-01", "01", 1, ["ses-01"]])
def test_a_session(tiny: Path, tmp_path: Path, session: Any) -> None:
    """With what reading it needs: subject-level maps, ROIs, the brain mask; and with what belongs to nobody."""
    plan = plan_mirror(tmp_path, bucket=tiny, subjects="01", sessions=session)
    chosen = {info.key for info in plan.objects}
    assert not [one for one in chosen if "sub-03/" in one or "ses-02" in one or "ses-31" in one]
    for kind in ("betas", "trials", "session_noise_ceiling", "session_r2", "hrf_index", "ridge_fraction"):
        assert layout.key(kind, subject="sub-01", session="ses-01") in chosen
    assert layout.key("r2_mean", subject="sub-01") in chosen
    assert layout.key("noise_ceiling", subject="sub-01", map="4rep") in chosen
    assert layout.key("brain_mask", subject="sub-01") in chosen
    assert layout.key("t1w", subject="sub-01") in chosen
    assert {one for one in chosen if "/rois/" in one} == {
        one for one in files(tiny) if one.startswith("derivatives/rois/sub-01/")
    }
    assert plan.held_out == 0


def test_averages(tiny: Path, tmp_path: Path) -> None:
    """The files of the betas' tree that are of no session, and these only; or besides sessions."""
    expected = {one for one in files(tiny) if re.fullmatch(f"{TREE}/sub-01/[^/]+", one)}
    plan = plan_mirror(tmp_path, bucket=tiny, subjects="sub-01", sessions="averages")
    assert {info.key for info in plan.objects} == expected
    both = plan_mirror(tmp_path, bucket=tiny, subjects="sub-01", sessions=["averages", 2])
    assert {info.key for info in both.objects} > expected
    assert any("ses-02" in name for name in names(both))


def test_kinds(tiny: Path, tmp_path: Path) -> None:
    """A JSON file goes with the file that it describes."""
    plan = plan_mirror(tmp_path, bucket=tiny, subjects="sub-01", sessions=1, kinds=["trials", "betas"])
    assert groups(plan) == {"betas": 2, "trials": 2}
    assert {Path(name).suffix for name in names(plan)} == {".tsv", ".json", ".gz"}
    assert set(groups(plan_mirror(tmp_path, bucket=tiny, kinds="rois"))) == {"rois"}
    assert set(groups(plan_mirror(tmp_path, bucket=tiny))) <= set(layout.GROUPS)


@pytest.mark.parametrize(
    ("entities", "expected"),
    [
        ({"desc": "desc-R2"}, {"R2"}),
        ({"desc": "R2", "extension": "nii.gz"}, {"R2"}),
        ({"desc": ["R2", "Fracridge"]}, {"R2", "Fracridge"}),
        ({"stat": "rsquare"}, {"R2", "HRFindex", "Noiseceiling", "SingletrialBetas", "Fracridge", "GLMsingle"}),
        ({"suffix": "trials"}, {"SingletrialBetas"}),
        ({"task": "images", "space": None}, None),
    ],
)
def test_entities(tiny: Path, tmp_path: Path, entities: Any, expected: set[str] | None) -> None:
    """What a filter's entity does not occur in is kept."""
    plan = plan_mirror(tmp_path, bucket=tiny, subjects="sub-01", sessions=1, entities=entities)
    of_session = [layout.name_entities(info.key) for info in plan.objects if "/ses-01/func/" in info.key]
    if expected is not None:
        assert {one["desc"] for one in of_session} == expected
    filters_suffix = entities.get("suffix") is not None
    assert any("/rois/" in info.key for info in plan.objects) is not filters_suffix


def test_the_masks_come_with_a_session_whatever_its_files_are_chosen_by(tiny: Path, tmp_path: Path) -> None:
    """No session can be read without them; they are no answer to a choice that nothing else fits."""
    chosen = {"bucket": tiny, "subjects": "sub-01", "sessions": 1}
    plan = plan_mirror(tmp_path, **chosen, entities={"desc": "SingletrialBetas", "extension": "nii.gz"})
    masks = {layout.key(kind, subject="sub-01") for kind in ("r2_mean", "brain_mask")}
    assert masks < {info.key for info in plan.objects}
    with pytest.raises(NotInBucketError, match="none of the chosen objects"):
        plan_mirror(tmp_path, **chosen, kinds=["r2", "trials"], entities={"suffix": "trials", "extension": "nii.gz"})


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"subjects": "sub-02"}, r"Unknown subject of .*'sub-02'.*Did you mean 'sub-0[13]'"),
        ({"subjects": "sub 1"}, "Not a subject"),
        ({"subjects": []}, r"subjects=\[\] is empty"),
        ({"sessions": "ses-09"}, r"Unknown session of .*'ses-09'.*Valid: ses-01, ses-02, ses-03\."),
        ({"sessions": "first"}, "Not a session: 'first'"),
        ({"kinds": "beta"}, "Unknown kind: 'beta'.*'betas'"),
        ({"kinds": []}, r"kinds=\[\] is empty"),
        ({"entities": {"desc": "R3"}}, "Unknown desc of .*'R3'.*'R2'"),
        ({"entities": {"dsc": "R2"}}, "Unknown entity: 'dsc'.*'desc'"),
        ({"entities": {"desc": ""}}, "expected a string"),
    ],
)
def test_unknown_names(tiny: Path, tmp_path: Path, choice: Any, message: str) -> None:
    """Each with the nearest ones."""
    with pytest.raises(ValueError, match=message):
        plan_mirror(tmp_path, bucket=tiny, **choice)


def test_what_may_not_be_read(tiny: Path, own_tiny: Path, tmp_path: Path) -> None:
    """A held-out session, and the images: where to ask. The table of stimuli comes along, the others when asked for."""
    for session in (31, ["ses-01", "ses-34"]):
        with pytest.raises(AccessDeniedError, match=r"held out.*github"):
            plan_mirror(tmp_path, bucket=tiny, sessions=session)
    shutil.rmtree(own_tiny / "stimuli")
    assert plan_mirror(tmp_path, bucket=own_tiny, include_stimuli=True).notes == (f"{own_tiny} has no stimuli/ yet.",)
    (own_tiny / "stimuli").mkdir()
    (own_tiny / layout.GATED).write_bytes(b"images")
    captions = layout.key("captions")
    (own_tiny / layout.STIMULUS_METADATA).write_bytes(b"image_name\n")
    (own_tiny / captions).write_bytes(b"image_name\n")
    plan = plan_mirror(tmp_path, bucket=own_tiny)
    assert [info.key for info in plan.objects if info.key.startswith("stimuli")] == [layout.STIMULUS_METADATA]
    assert plan.gated == 0
    assert groups(plan_mirror(tmp_path, bucket=own_tiny, kinds="captions")) == {"captions": 1}
    plan = plan_mirror(tmp_path, bucket=own_tiny, include_stimuli=True)
    assert [info.key for info in plan.objects if info.key.startswith("stimuli")] == [layout.STIMULUS_METADATA]
    assert plan.gated == 1
    assert layout.REQUEST_URL in plan.notes[0]
    assert groups(plan_mirror(tmp_path, bucket=own_tiny, kinds="stimuli")) == {}
    with pytest.raises(AccessDeniedError, match=r"data use agreement.*/request"):
        plan_mirror(tmp_path, bucket=own_tiny, include_stimuli=True, entities={"suffix": "stimuli"})


def test_places_that_are_none(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(NotInBucketError, match="no bucket or folder"):
        plan_mirror(tmp_path, bucket=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotInBucketError, match="expected the root of a bucket"):
        plan_mirror(tmp_path, bucket=tmp_path / "empty")
    with pytest.raises(ValueError, match="local folder"):
        plan_mirror("s3://mirror", bucket=tiny)
    with pytest.raises(TypeError, match="local folder"):
        plan_mirror(3, bucket=tiny)
    with pytest.raises(ValueError, match="is both the bucket and the mirror"):
        plan_mirror(tiny, bucket=tiny)
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        mirror_bucket(tmp_path / "mirror", bucket=tiny, jobs=0)


# --- copying ----------------------------------------------------------------------------------------------------------


def test_from_a_folder(own_tiny: Path, tmp_path: Path) -> None:
    """All of it; then nothing; then what was replaced, by its ETag, or is damaged or gone."""
    seen: list[MirrorProgress] = []
    report = mirror_bucket(tmp_path, bucket=own_tiny, progress=seen.append)
    copied = public(own_tiny)
    assert files(tmp_path / "") | {} == files(tmp_path)
    mirror = {name: content for name, content in files(tmp_path).items() if not name.startswith("bucket/")}
    assert mirror == copied
    assert (report.fetched, report.n_files, report.n_bytes) == (
        len(copied),
        len(copied),
        sum(map(len, copied.values())),
    )
    assert (seen[0].files, seen[0].n_files, seen[0].bytes) == (0, len(copied), 0)
    assert (seen[-1].files, seen[-1].bytes, seen[-1].seconds_left) == (len(copied), report.n_bytes, 0)
    assert {one.finished for one in seen} - {None} == set(copied)
    again = mirror_bucket(tmp_path, bucket=own_tiny)
    assert (again.fetched, again.bytes_received, again.n_files) == (0, 0, len(copied))
    key = layout.key("trials", subject="sub-01", session="ses-01")
    (own_tiny / key).write_bytes((own_tiny / key).read_bytes().replace(b"ses-01", b"ses-99"))
    gone = layout.key("r2_mean", subject="sub-01")
    (tmp_path / gone).unlink()
    third = mirror_bucket(tmp_path, bucket=own_tiny)
    assert (third.fetched, third.replaced) == (2, 1)
    assert (tmp_path / key).read_bytes() == (own_tiny / key).read_bytes()


def test_from_s3(s3: Any, tiny: Path, tmp_path: Path) -> None:
    """One GET for each small file, no HEAD; each tree listed once; a second run lists, and does nothing else."""
    where = {"bucket": s3.url, "storage_options": s3.storage_options}
    with s3.requests() as asked:
        report = mirror_bucket(tmp_path, **where)
    assert files(tmp_path) == public(tiny)
    assert report.plan.held_out > 0
    assert asked["HEAD"] == 0
    assert asked["GET"] == sum(1 for content in public(tiny).values() if content)
    assert asked["LIST"] <= 7
    assert {record.checked for record in MirrorFolder(tmp_path).records()} == {"md5"}
    with s3.requests() as asked:
        again = mirror_bucket(tmp_path, **where)
    assert (again.fetched, again.bytes_received) == (0, 0)
    assert asked.keys() == {"LIST"}
    assert asked["LIST"] <= 7


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A bucket of 5,000 objects."""
    folder = tmp_path / "many-objects"
    for number in range(5000):
        subject = f"sub-{number % 5 + 1:02d}"
        path = folder / layout.key("roi", subject=subject, category="face", label=f"area{number}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(b"%d" % number, 1))
    return folder


@full("writes 5,000 files; the number of pages and requests is counted in smaller runs too")
def test_5000_objects(many: Path, tmp_path: Path) -> None:
    """A run that has nothing to do takes the pages of one listing; how long, benchmarks/mirror.py shows."""
    log = tmp_path / "log"
    with serve(many, log=log) as bucket:
        where = {"bucket": bucket.url, "storage_options": bucket.storage_options}
        shutil.copytree(many, tmp_path / "mirror", copy_function=os.link)
        assert mirror_bucket(tmp_path / "mirror", **where).adopted == 5000
        log.write_text("")
        report = mirror_bucket(tmp_path / "mirror", **where)
    requests = log.read_text().splitlines()
    assert (report.n_files, report.fetched) == (5000, 0)
    assert all("list-type=2" in one for one in requests)
    assert sum("prefix=derivatives/rois/&" in one.replace("%2F", "/") for one in requests) == 5
    assert len(requests) <= 8


def test_reading_what_was_copied(tiny: Path, s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session, as if it were the bucket's, without the bucket."""
    mirror_bucket(tmp_path, bucket=s3.url, storage_options=s3.storage_options, subjects="sub-01", sessions=1)
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    found = open_betas("sub-01", session=1, roi="face", mirror_only=True).compute()
    expected = open_betas("sub-01", session=1, roi="face", bucket=tiny, mirror="").compute()
    assert found.betas.equals(expected.betas)


def test_files_that_are_there(own_tiny: Path, tmp_path: Path) -> None:
    """Copied by other means: kept if they are the bucket's, under either name of an ROI; others are left alone."""
    there = public(own_tiny)
    mirror = Path(
        shutil.copytree(own_tiny, tmp_path / "mirror", ignore=shutil.ignore_patterns("ses-31*", "localizers"))
    )
    with_hyphen = [name for name in there if "-" in name.rpartition("_label-")[2] and "/rois/" in name]
    assert with_hyphen
    for name in with_hyphen:
        head, _, tail = name.rpartition("_label-")
        (mirror / name).rename(mirror / f"{head}_label-{layout.clean_label(tail)}")
    damaged = layout.key("betas", subject="sub-01", session="ses-01")
    content = bytearray((mirror / damaged).read_bytes())
    content[len(content) // 2] ^= 1
    (mirror / damaged).write_bytes(content)
    before = files(mirror)
    for again in (False, True):
        with pytest.warns(LeftAloneWarning, match=f"1 of the bucket's objects .*{re.escape(damaged)}.*Move it away"):
            report = mirror_bucket(mirror, bucket=own_tiny)
        assert (report.fetched, report.replaced) == (0, 0)
        assert report.adopted == (0 if again else len(there) - 1)
        assert report.bytes_received == (0 if again else sum(map(len, there.values())))
        assert [key for key, _ in report.left_alone] == [damaged]
        assert files(mirror) == before
    (mirror / damaged).unlink()
    assert mirror_bucket(mirror, bucket=own_tiny).fetched == 1
    assert (mirror / damaged).read_bytes() == there[damaged]


def test_hostile_keys(s3: Any, tmp_path: Path) -> None:
    """What would leave the folder is left out and told; the rest is copied, and nothing lies outside."""
    tree = f"{TREE}/sub-01"
    good = f"{tree}/sub-01_task-images_desc-GLMsingle_summary.json"
    bad = [f"{tree}/../../../../outside", f"{tree}/a\\b", f"{tree}/\u202etxt.exe", f"{tree}/x/./y"]
    s3.client.create_bucket(
        Bucket="hostile", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}, ACL="public-read"
    )
    for name in [good, f"{tree}/é\u0301 ö.json", *bad]:
        s3.client.put_object(Bucket="hostile", Key=name, Body=b"{}", ACL="public-read")
    report = mirror_bucket(tmp_path / "a" / "mirror", bucket="s3://hostile", storage_options=s3.storage_options)
    assert {name for name, _ in report.plan.refused} == set(bad)
    assert set(files(tmp_path)) == {f"a/mirror/{good}", f"a/mirror/{tree}/é\u0301 ö.json"} | {
        name for name in files(tmp_path) if f"/{METADATA_FOLDER}/" in name
    }
    assert sum("was left out: it" in line for line in report.left_out) == len(bad)


def test_too_little_room(tiny: Path, tmp_path: Path) -> None:
    """Told before anything is copied: what is needed, and what there is."""
    plan = plan_mirror(tmp_path, bucket=tiny)
    from dataclasses import replace

    with pytest.raises(OSError, match=r"needs \d+ bytes .* free") as caught:
        mirror_bucket(replace(plan, bytes_to_fetch=10**18))
    assert caught.value.errno == 28
    assert not files(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_mirror_that_may_not_be_written_to(tiny: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match="writable folder"):
            mirror_bucket(tmp_path, bucket=tiny)
    finally:
        tmp_path.chmod(0o755)


# --- what is there ----------------------------------------------------------------------------------------------------


def test_verify_and_repair(own_tiny: Path, tmp_path: Path) -> None:
    """A file that changed without a trace is found; it is no longer read, and the next run replaces it."""
    mirror = tmp_path / "mirror"
    mirror_bucket(mirror, bucket=own_tiny)
    assert Counter(check.status for check in verify_mirror(mirror)) == {"complete": len(public(own_tiny))}
    damaged = layout.key("betas", subject="sub-01", session="ses-01")
    state = (mirror / damaged).stat()
    content = bytearray((mirror / damaged).read_bytes())
    content[-9] ^= 1
    (mirror / damaged).write_bytes(content)
    os.utime(mirror / damaged, ns=(state.st_atime_ns, state.st_mtime_ns))
    gone = layout.key("trials", subject="sub-03", session="ses-01")
    (mirror / gone).unlink()
    (mirror / "notes.txt").write_text("mine")
    info = next(one for one in plan_mirror(mirror, bucket=own_tiny).complete if one.key == damaged)
    assert MirrorFolder(mirror).holds(info)
    found = {check.key: check.status for check in verify_mirror(mirror) if not check.is_good}
    assert found == {damaged: "damaged", gone: "missing"}
    assert MirrorFolder(mirror).holds(info) is None
    assert {check.key: check.status for check in verify_mirror(mirror)}["notes.txt"] == "unrecorded"
    assert [check.key for check in verify_mirror(mirror, subjects="sub-01", kinds="betas") if not check.is_good] == [
        damaged
    ]
    report = mirror_bucket(mirror, bucket=own_tiny)
    assert (report.fetched, report.replaced) == (2, 1)
    assert all(check.is_good for check in verify_mirror(mirror))


def test_status(tiny: Path, tmp_path: Path) -> None:
    """By subject: sessions, groups, files, bytes; and what does not belong there."""
    mirror_bucket(tmp_path, bucket=tiny, subjects="sub-01", sessions=[1, 3])
    (tmp_path / "derivatives" / "mine.txt").write_text("mine")
    status = mirror_status(tmp_path)
    one = status.subjects[0]
    assert (one.subject, one.sessions) == ("sub-01", ("ses-01", "ses-03"))
    assert one.groups["betas"] == 4
    assert status.unknown == ("derivatives/mine.txt",)
    assert (status.partial, status.missing, status.unrecorded) == ((), (), 0)
    assert status.files == sum(one.files for one in status.subjects)
    assert status.to_json()["to"] == str(tmp_path)
    (tmp_path / layout.key("r2_mean", subject="sub-01")).unlink()
    assert mirror_status(tmp_path).missing == (layout.key("r2_mean", subject="sub-01"),)
    with pytest.raises(NotInBucketError, match="no mirror"):
        mirror_status(tmp_path / "nowhere")
    with pytest.raises(NotInBucketError, match="no mirror"):
        list(verify_mirror(tmp_path / "nowhere"))


# --- the data set's own function --------------------------------------------------------------------------------------


def test_download(tiny: Path, own_tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tells the licence once for each folder, then in a line what was copied; asks nothing."""
    with pytest.raises(RuntimeError, match="dataset_initialize"):
        download(subject="sub-01", ses="ses-01")
    (tmp_path / "new").mkdir()
    config.dataset_initialize(tmp_path / "new")
    assert config.get_data_dir() == str(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        config.dataset_initialize(tmp_path / "file")
    for arguments, message in (
        ({"ses": "first"}, "Not a session: 'first'"),
        ({"subject": ["sub-01", "sub 2"]}, "Not a subject"),
        ({"n_jobs": 0}, "n_jobs"),
    ):
        with pytest.raises(ValueError, match=message):
            download(**{"subject": "sub-01", **arguments}, bucket=tiny)
    for tree in ("derivatives/freesurfer", "sub-01", "stimuli"):
        shutil.rmtree(own_tiny / tree, ignore_errors=True)
    for tree in ("embeddings", "freesurfer", "raw"):
        with pytest.raises(NotInBucketError, match="has none of the chosen objects"):
            download(subject="sub-01", bucket=own_tiny, **{f"include_{tree}": True})
    with pytest.raises(NoMatchingDataError, match="'evnts'"):
        download(subject="sub-01", suffix="evnts", include_raw=True, bucket=tiny)
    assert not list((tmp_path / "new").glob("[!.]*"))
    download(subject="sub-01", ses="ses-01", bucket=tiny)
    first = capsys.readouterr().out.splitlines()
    assert "CC0-1.0" in first.pop(0)
    assert re.fullmatch(r"Copied (\d+) of \1 files \(\d+\.\d MB\) to .*new\.", first[0])
    download(subject="sub-01", ses="averages", desc="R2mean", bucket=tiny)
    (second,) = capsys.readouterr().out.splitlines()
    assert second.startswith("Copied 0 of ")
    assert second.endswith("the others were already there.")
    download(subject="sub-01", include_stimuli=True, include_anatomical=True, n_jobs=2, bucket=tiny)
    assert "require a data use agreement" in capsys.readouterr().out
    expected = {name for name in public(tiny) if "sub-03/" not in name}
    assert set(files(tmp_path / "new")) == expected
    (tmp_path / "events").mkdir()
    config.dataset_initialize(tmp_path / "events")
    download(subject="sub-01", suffix="events", include_raw=True, bucket=tiny)  # of the raw data alone
    found = {name for name in files(tmp_path / "events") if name.startswith("sub-01/")}
    events = {name for name in files(tiny) if name.startswith("sub-01/") and "_events." in name}
    assert found == set(filter(layout.is_of_public, events)) != set()


@full("the page's download again, four seconds; test_page is in the fast tier")
def test_download_without_a_network(s3: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is there by the last listing is not asked for again; what is not makes the error that it is."""
    config.set_network(attempts=1)
    config.dataset_initialize(tmp_path)
    choice = {"subject": "sub-01", "ses": "ses-01"}
    with FaultyProxy.before(s3.endpoint) as server:
        where = {"bucket": s3.url, "storage_options": {"client_kwargs": {"endpoint_url": server.endpoint}}}
        download(**choice, **where)
    capsys.readouterr()
    with pytest.warns(OfflineWarning, match="does not respond: nothing was copied"):
        download(**choice, **where)
    assert re.fullmatch(r"All \d+ files are in .*\n", capsys.readouterr().out)
    for other in ({"subject": "sub-01", "ses": "ses-02"}, {"subject": "sub-03"}, {}):
        with pytest.raises(BucketUnreachableError, match=re.escape(server.endpoint)):
            download(**other, **where)
    (tmp_path / layout.key("trials", subject="sub-01", session="ses-01")).unlink()
    with pytest.raises(BucketUnreachableError):
        download(**choice, **where)
    (tmp_path / "empty").mkdir()
    config.dataset_initialize(tmp_path / "empty")
    with pytest.raises(BucketUnreachableError):
        download(**choice, **where)
