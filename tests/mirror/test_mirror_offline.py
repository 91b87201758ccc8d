"""A mirror alone: no connection to anybody, and splits all the same; what was copied is seen at once."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from intake_laion_fmri import discovery, layout, open_betas
from intake_laion_fmri.errors import MissingFileWarning, NotInBucketError
from intake_laion_fmri.mirror import mirror_bucket, splits
from intake_laion_fmri.mirror.splits import bring_splits
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.records import METADATA_FOLDER
from intake_laion_fmri.splits import load_split, sources
from intake_laion_fmri.splits.sources import REVISION, SPLITS_VARIABLE, find_source
from intake_laion_fmri.subject import load_subject

CHOICE: dict[str, Any] = {"subjects": "sub-01", "sessions": 1}


@pytest.fixture
def without_splits(tiny: Path, tmp_path: Path) -> Path:
    """A bucket that holds no splits of its own, as the published one."""
    return Path(shutil.copytree(tiny, tmp_path / "bucket", ignore=shutil.ignore_patterns("splits", "sub-03")))


@pytest.fixture
def published(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of split files that pass for the published ones."""
    folder = Path(shutil.copytree(tiny / layout.SPLITS_ROOT, tmp_path / "published"))
    sums = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.json")
    }
    assert {key.partition("/")[0] for key in sums} >= {"shared", "sub-01"}
    for module in (sources, splits):
        monkeypatch.setattr(module, "published_sums", lambda: sums)
    return folder


@pytest.fixture
def mirror(without_splits: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with these split files."""
    with monkeypatch.context() as patch:
        patch.setenv(SPLITS_VARIABLE, str(published))
        report = mirror_bucket(tmp_path / "mirror", bucket=without_splits, **CHOICE)
    assert report.notes == ()
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path / "no-cache"))
    return tmp_path / "mirror"


@pytest.mark.parametrize("way", ["mirror_only", "mirror", "bucket"])
def test_splits_offline(mirror: Path, without_splits: Path, published: Path, way: str) -> None:
    """By every way to a mirror, with the revision and the sums that are told online."""
    given: dict[str, Any] = {
        "mirror_only": {"mirror": mirror, "mirror_only": True},
        "mirror": {"mirror": mirror, "bucket": without_splits},
        "bucket": {"bucket": mirror},
    }[way]
    found = open_betas("sub-01", roi="face", session=1, split="tau", **given)
    assert found.sizes["trial"] > 0
    assert found["split_role"].attrs["revision"] == REVISION
    sums = json.loads(found["split_role"].attrs["sha256"])
    content = (published / "shared" / "tau.json").read_bytes()
    assert sums["shared/tau"] == hashlib.sha256(content).hexdigest()
    split = load_split("tau", **given)
    assert list(split.variants[0].train_ids) == json.loads(content)["variants"][0]["train_ids"]


def test_a_split_file_that_was_changed(mirror: Path, without_splits: Path, published: Path) -> None:
    """It is not read, and the next run brings the right one."""
    path = mirror / METADATA_FOLDER / "splits" / REVISION / "shared" / "tau.json"
    path.write_bytes(path.read_bytes().replace(b"_p01", b"_p02") + b" ")
    with pytest.raises(NotInBucketError, match=r"shared/tau\.json is not in the mirror.*'intake-laion-fmri mirror"):
        load_split("tau", mirror=mirror, mirror_only=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SPLITS_VARIABLE, str(published))
        mirror_bucket(mirror, bucket=without_splits, **CHOICE)
    assert load_split("tau", mirror=mirror, mirror_only=True).revision == REVISION


def test_split_files_that_cannot_be_fetched(without_splits: Path, published: Path, tmp_path: Path) -> None:
    """All of the bucket is copied, and what is missing is said."""
    report = mirror_bucket(tmp_path / "new", bucket=without_splits, **CHOICE)
    assert report.fetched == report.n_files > 0
    assert "without them splits are unavailable offline" in report.notes[0]
    assert bring_splits(MirrorFolder(tmp_path / "new"), ()) == ()
    with pytest.warns(MissingFileWarning, match="split_role"):
        found = open_betas("sub-01", roi="face", mirror=tmp_path / "new", mirror_only=True)
    assert "split_role" not in found.coords


def test_kept_split_files_are_no_others(mirror: Path) -> None:
    """What the user's cache holds is not fetched anew; a mirror alone has no address to fetch from."""
    source = find_source(mirror=mirror, mirror_only=True)
    assert source.is_offline
    assert source.copies[0] == mirror / METADATA_FOLDER / "splits" / REVISION


COUNTING = """
import socket, sys, warnings
asked = []
def refuse(self, address, *rest):
    asked.append(address)
    raise OSError("no network")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
socket.getaddrinfo = lambda *given, **rest: (asked.append(given), (_ for _ in ()).throw(socket.gaierror("no network")))
warnings.simplefilter("ignore")
from intake_laion_fmri import open_betas, open_rois, open_trials
from intake_laion_fmri.splits import load_split
from intake_laion_fmri.subject import load_subject
given = {"mirror": sys.argv[1], "mirror_only": True}
open_betas("sub-01", roi="face", **given).compute(scheduler="synchronous")
open_rois("sub-01", **given)
open_trials("sub-01", split="ood", **given)
load_subject("sub-01", **given).get_sessions()
for split in ("tau", "random_0"):
    try:
        load_split(split, **given)
    except OSError as error:
        assert "not in the mirror" in str(error), error
assert not asked, asked
"""


def test_a_mirror_alone_connects_to_nobody(
    without_splits: Path, tmp_path: Path, python_environment: dict[str, str]
) -> None:
    """Not even where split files are missing."""
    mirror_bucket(tmp_path / "new", bucket=without_splits, kinds=["betas", "trials", "rois", "r2", "noise_ceilings"])
    own = {**python_environment, "LAION_FMRI_CACHE": str(tmp_path / "no-cache")}
    own.pop(SPLITS_VARIABLE, None)
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, str(tmp_path / "new")], env=own, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_what_was_copied_is_seen_at_once(tiny: Path, tmp_path: Path) -> None:
    """By the functions that list, in the process that has listed before."""
    mirror_bucket(tmp_path, bucket=tiny, subjects="sub-01", sessions=1)
    given: dict[str, Any] = {"mirror": tmp_path, "mirror_only": True}
    subject = load_subject("sub-01", **given)
    assert subject.get_sessions() == ["ses-01"]
    mirror_bucket(tmp_path, bucket=tiny, subjects=["sub-01", "sub-03"], sessions=[1, 2])
    assert subject.get_sessions() == ["ses-01", "ses-02"]
    assert discovery.get_subjects(**given) == ["sub-01", "sub-03"]
    assert load_subject("sub-03", **given).get_sessions() == ["ses-01", "ses-02"]
