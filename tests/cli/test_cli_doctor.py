"""A first look at a bucket: good ones, odd ones, and none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest
from click.testing import CliRunner, Result
from counting import CountingFileSystem

from intake_laion_fmri import layout, open_betas
from intake_laion_fmri.catalog.doctor import look
from intake_laion_fmri.catalog.inventory import take_inventory
from intake_laion_fmri.cli.exits import DENIED, FAILED, NOT_FOUND, UNREACHABLE
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.errors import AccessDeniedError
from intake_laion_fmri.remote.access import open_bucket
from intake_laion_fmri.sources import SOURCES

ODD = {
    "participants.tsv": b"\x00\xff",
    f"{layout.ANATOMY.folder('sub-01')}/ses-PrismaAnat/anat/sub-01_ses-PrismaAnat_space-T1w_res-1pt8_T1w.nii.gz": b"?",
    "derivatives/rois/sub-01/face/nothing_like_it.nii.gz": b"",
    "derivatives/glmsingle-tedana/sub-01/ses-xx/func/sub-01_ses-xx_other.nii.gz": b"",
    "derivatives/rois/sub-01/new/sub-01_space-T1w_res-1pt8_label-NEW_mask.nii.gz": b"broken",
    "sub-01/notes | of nobody.txt": b"",
    "derivatives/FreeSurfer/sub-01/surf/lh.white": b"",
    "code/readme.txt": b"",
}
"""Files that contradict what is expected, of every tree that has a folder for each subject."""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["doctor", *map(str, arguments)], prog_name="intake-laion-fmri")


def as_json(*arguments: object, code: int = 0) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def results(report: Any) -> dict[str, str]:
    return {one["source"]: one["result"] for one in report["opened"]}


def test_a_bucket_as_expected(tiny: Path) -> None:
    """Every source opens, without a warning; the sizes are those of what is opened."""
    report = as_json("--bucket", tiny)
    assert results(report) == dict.fromkeys(SOURCES, "opened")
    assert report["subject"] == "sub-01"
    assert report["unknown"] == report["unlisted"] == []
    assert not [one["warnings"] for one in report["opened"] if one["warnings"]]
    ds = open_betas("sub-01", bucket=tiny)
    assert f"{ds.sizes['trial']:,} trial x {ds.sizes['voxel']:,} voxel" in report["opened"][0]["detail"]
    n, size = report["groups"]["betas"]
    files = list(tiny.glob("derivatives/glmsingle-tedana/sub-01/*/func/*SingletrialBetas_statmap.nii.gz"))
    assert (n, size) >= (len(files), sum(path.stat().st_size for path in files))
    assert any("27 sessions" in change and change.startswith("gone") for change in report["changes"])


def test_no_session_is_read(tiny: Path) -> None:
    """Not one byte of betas, unless a session is named."""
    fsspec.register_implementation("counted", CountingFileSystem, clobber=True)
    bucket = open_bucket(f"counted://{tiny}")
    CountingFileSystem.read.clear()
    assert not look(bucket).failed
    betas = [name for name in CountingFileSystem.read if name.endswith("SingletrialBetas_statmap.nii.gz")]
    assert CountingFileSystem.read
    assert not betas


def test_a_session_that_is_asked_for(tiny: Path) -> None:
    (*_, last) = as_json("--bucket", tiny, "--session", "1")["opened"]
    ds = open_betas("sub-01", session=1, roi="all", bucket=tiny)
    assert last["source"] == "betas, 1 read"
    assert f"{ds.sizes['trial']:,} trial x {ds.sizes['voxel']:,} voxel" in last["detail"]
    assert f"{float(ds.betas.isnull().mean()):.2%} NaN" in last["detail"]
    assert results(as_json("--bucket", tiny, "--session", "99", code=FAILED))["betas, 99 read"] == "failed"


@pytest.fixture
def odd(tiny: Path, tmp_path: Path) -> Path:
    bucket = tmp_path / "odd"
    shutil.copytree(tiny, bucket)
    shutil.rmtree(bucket / "derivatives/localizers")
    (bucket / layout.GATED).unlink()
    for key, content in ODD.items():
        path = bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return bucket


def test_an_odd_bucket(odd: Path) -> None:
    """Each source is told of by itself, and the others go on."""
    report = as_json("--bucket", odd, code=FAILED)
    found = results(report)
    assert found["localizers"] == "not there"
    assert found["stimuli"] in ("on request", "not there")
    failed = {name for name, result in found.items() if result == "failed"}
    assert {"participants", "anatomy"} <= failed
    assert found["trials"] == found["events"] == found["embeddings"] == "opened"
    assert {"derivatives/rois/sub-01/face/nothing_like_it.nii.gz", "sub-01/notes | of nobody.txt"} <= set(
        report["unread"]
    )
    assert any(change.startswith("new") and "NEW" in change for change in report["changes"])
    assert report["unknown"] == ["code", "derivatives/FreeSurfer"]


def test_the_report_is_markdown(odd: Path) -> None:
    """Every row of a table has its cells, whatever a key holds."""
    shown = run("--bucket", odd).stdout
    for table in shown.split("\n\n"):
        rows = [line for line in table.splitlines() if line.startswith("|")]
        assert len({row.replace("\\|", "").count("|") for row in rows}) <= 1, table
    assert shown.startswith(f"## {odd}")
    assert "- `sub-01/notes | of nobody.txt`" in shown


def test_from_a_server(s3: Any) -> None:
    arguments = ["--bucket", s3.url, "--endpoint-url", s3.endpoint]
    assert results(as_json(*arguments, "--subject", "03")).keys() == SOURCES.keys()


def test_what_cannot_be_looked_at(tiny: Path, tmp_path: Path, closed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and an exit code that tells the cases apart; no secret."""
    monkeypatch.setenv("LAION_FMRI_NETWORK", "attempts=1,total_seconds=2")
    server = ("--bucket", "s3://laion-fmri", "--endpoint-url")
    cases = [
        ((*server, "http://127.0.0.1:9", "--storage-option", "secret=hunter2"), UNREACHABLE, "could not be reached"),
        ((*server, closed), DENIED, "cannot be read"),
        (("--bucket", tmp_path), NOT_FOUND, "holds no"),
        (("--bucket", tiny, "--subject", "sub-99"), 2, "Unknown subject"),
        (("--bucket", tiny, "--subject", "../x"), 2, "'../x'"),
    ]
    for arguments, code, told in cases:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert told.lower() in result.stderr.lower()
        assert "hunter2" not in result.output
        assert result.stdout == ""


def test_each_tree_is_listed_once(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Main trees for the inventory, each other tree and the root once: nothing is asked twice before sources open."""
    bucket = open_bucket(s3.url, s3.storage_options)
    with s3.requests() as inventory:
        take_inventory(bucket)
    monkeypatch.setattr("intake_laion_fmri.catalog.doctor.SOURCES", {})
    with s3.requests() as whole:
        assert look(bucket).groups
    others = [tree for tree in layout.TREES if tree not in layout.MAIN_TREES]  # that of participants is the root
    parents = 2  # the root and derivatives, whose folders are looked at for unknown ones
    assert whole["LIST"] == inventory["LIST"] + len(others) + parents


def test_a_folder_that_may_not_be_listed(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named with its error, and the report goes on."""
    bucket = open_bucket(tiny)
    whole = type(bucket).find

    def find(self: Any, folder: str) -> Any:
        if folder.startswith("derivatives/tedana"):
            raise AccessDeniedError(f"{folder} may not be listed")
        return whole(self, folder)

    monkeypatch.setattr(type(bucket), "find", find)
    report = look(bucket)
    folder = "derivatives/tedana/sub-01"
    assert report.unlisted == [f"`{folder}`: AccessDeniedError: {folder} may not be listed"]
    assert report.unlisted[0] in report.markdown()
    assert len(report.opened) == len(SOURCES)
