"""Fixtures of the tests that use `hostile`: a plugin, named by each."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from hostile import own_copy


@pytest.fixture(scope="session")
def one_session(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bucket of one subject, one session and two ROIs; not to be written to."""
    bucket = tmp_path_factory.mktemp("buckets") / "one"

    def wanted(path: Path) -> bool:
        key = path.relative_to(tiny).as_posix()
        if key.startswith("derivatives/rois/"):
            return re.search(r"sub-01/.*label-(PPA|OPA)_", key) is not None
        if "splits" in key:
            return "/shared/" in key or "/sub-01/" in key
        return "/sub-01/" in key and not re.search("ses-(02|03|31)", key)

    for path in sorted(tiny.rglob("*")):
        if path.is_file() and wanted(path):
            target = bucket / path.relative_to(tiny)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return bucket


@pytest.fixture
def hostile_bucket(one_session: Path, tmp_path: Path) -> Path:
    """A copy of it that the test may break."""
    return own_copy(one_session, tmp_path / "bucket")
