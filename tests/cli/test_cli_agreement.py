"""Inventory, `ls`, `info`, `mirror status` and `catalog check` count the same objects in the same groups."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from intake_laion_fmri import layout
from intake_laion_fmri.cli.main import main
from intake_laion_fmri.discovery import inventory

ONE_OF_EVERY_TREE = [f"{tree.folder('sub-01')}/notes_of_somebody.txt".lstrip("/") for tree in layout.TREES]
OTHERS = {
    **dict.fromkeys(("side",), "lh"),
    **dict.fromkeys(("surface", "atlas", "area", "image", "transform", "task", "contrast", "stat", "model"), "new"),
    **dict.fromkeys(("run", "echo"), "1"),
    "part": "mag",
    "res": "1pt8",
    "version": "v1",
}
ONE_OF_EVERY_KIND = [
    layout.key(kind, subject="sub-01", session="ses-04", category="face", label="NEW", map="99rep", hemi="L", **OTHERS)
    for kind in layout.KINDS
]
SIDECARS = [f"{layout.key('betas', subject='sub-01', session='ses-01').partition('.')[0]}.json"]


def as_json(*args: object) -> Any:
    result = CliRunner().invoke(main, [*map(str, args), "--json"])
    assert result.exit_code in (0, 5), result.stderr  # 5: there is no such object
    return json.loads(result.stdout)


@pytest.fixture(params=[[], ONE_OF_EVERY_TREE, ONE_OF_EVERY_KIND, SIDECARS], ids=["demo", "trees", "kinds", "sidecars"])
def bucket(request: pytest.FixtureRequest, own_tiny: Path) -> Path:
    for key in request.param:
        path = own_tiny / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return own_tiny


def test_the_same_objects_in_the_same_groups(bucket: Path) -> None:
    listed = as_json("ls", "--bucket", bucket)["objects"]
    table = inventory(bucket=bucket)
    columns = ["key", "group", "kind", "subject", "session", "roi", "category", "bytes", "held_out"]
    known = [tuple(one[name] for name in columns) for one in listed if one["kind"]]
    assert known == list(table[columns].itertuples(index=False, name=None))

    groups = {
        subject: Counter(one["group"] for one in listed if one["subject"] == subject)
        for subject in ("sub-01", "sub-03")
    }
    of_nobody = Counter(one["group"] for one in listed if not one["subject"])
    info = as_json("info", "--bucket", bucket)
    told = {one["subject"]: one for one in info["subjects"]}
    assert {name: {group: n["objects"] for group, n in one["groups"].items()} for name, one in told.items()} == groups
    assert {group: n["objects"] for group, n in info["dataset"].items()} == of_nobody
    at_the_root = {path.name for path in bucket.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert at_the_root == {one["key"] for one in listed if "/" not in one["key"]}

    # A bucket's folder is a mirror too.
    status = {one["subject"]: one["groups"] for one in as_json("mirror", "status", bucket)["subjects"]}
    assert {name: Counter(one) for name, one in status.items()} == groups | {"": of_nobody}

    written = bucket.parent / "catalog"
    result = CliRunner().invoke(main, ["catalog", "write", "--bucket", str(bucket), "--out", str(written)])
    assert result.exit_code == 0, result.stderr
    assert as_json("catalog", "check", "--catalog", written, "--bucket", bucket)["changes"] == []
    subjects = json.loads((written / "inventory.json").read_text())["subjects"]
    for name, one in told.items():
        assert {roi["roi"] for roi in subjects[name]["rois"]} == {roi["roi"] for roi in one["rois"]}
        public = [record["session"] for record in subjects[name]["sessions"] if not record.get("held_out")]
        assert public == [record["session"] for record in one["sessions"] if record["access"] == "public"]
