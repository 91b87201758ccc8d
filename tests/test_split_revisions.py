"""An installed package may bring split files of another revision under the same names: that is recorded and told."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from types import MappingProxyType

import pytest

from intake_laion_fmri import open_betas, splits
from intake_laion_fmri.errors import NotInBucketError, OtherSplitsWarning
from intake_laion_fmri.splits import sources

CHANGED = "random_0"


@pytest.fixture
def bucket(own_tiny: Path) -> Path:
    """A bucket without split files of its own, as the published one is."""
    shutil.rmtree(own_tiny / "derivatives/splits")
    return own_tiny


@pytest.fixture
def installed(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package with the files whose sums are pinned."""
    folder = tmp_path / "site/laion_fmri/splits/data"
    shutil.copytree(tiny / "derivatives/splits", folder)
    sums = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.json")
    }
    monkeypatch.setattr(sources, "published_sums", lambda: MappingProxyType(sums))
    monkeypatch.syspath_prepend(tmp_path / "site")
    return folder


def revise(folder: Path, pool: str = "shared", name: str = CHANGED) -> str:
    """Move an image to the other side; return the sum of the file."""
    path = folder / pool / f"{name}.json"
    fields = json.loads(path.read_bytes())
    variant = fields["variants"][0]
    variant["test_ids"].append(variant["train_ids"].pop())
    fields |= {"n_train": fields["n_train"] - 1, "n_test": fields["n_test"] + 1}
    path.write_text(json.dumps(fields))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_installed_package_of_the_pinned_revision(bucket: Path, installed: Path) -> None:
    """Nothing is said, and nothing of the machine is recorded: the same Dataset as from the published address."""
    ds = open_betas("sub-01", bucket=bucket, session=1, roi="face", split=CHANGED)
    assert ds.split_role.attrs["revision"] == sources.REVISION
    assert splits.load_split(CHANGED).revision == sources.REVISION


def test_an_installed_package_of_another_revision(bucket: Path, installed: Path) -> None:
    """Once, with its files and the ways out; the sums are those of the files that were used."""
    digest = revise(installed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        ds = open_betas("sub-01", bucket=bucket, session=1, roi="face")
    (warning,) = caught
    assert warning.category is OtherSplitsWarning
    text = str(warning.message)
    assert "shared/random_0.json differs from the revision cd9f1412a0" in text
    assert f"splits={str(installed)!r} keeps these" in text
    assert ds.split_role.attrs["revision"] == f"laion_fmri package in {installed.parents[1]}"
    assert json.loads(ds.split_role.attrs["sha256"])["shared/random_0"] == digest


def test_files_that_are_not_used_are_not_warned_of(bucket: Path, installed: Path) -> None:
    """tau did not change when random did."""
    revise(installed)
    assert splits.load_split("tau", bucket=bucket).revision == sources.REVISION
    with pytest.warns(OtherSplitsWarning, match=r"shared/random_0\.json"):
        assert "laion_fmri package" in splits.load_split(CHANGED, bucket=bucket).revision
    with pytest.warns(OtherSplitsWarning, match=r"shared/random_0\.json"):
        assert len(splits.load_all_splits(bucket=bucket)) == len(splits.SPLITS)


def test_files_that_were_named_are_the_users_choice(bucket: Path, installed: Path) -> None:
    digest = revise(installed)
    for source in (installed, installed.as_uri()):
        split = splits.load_split(CHANGED, bucket=bucket, splits=source)
        assert (split.revision, split.sha256) == (str(installed), digest)


@pytest.mark.parametrize("given", [3, ["a"], b"x"])
def test_splits_that_are_no_place(given: object, tiny: Path) -> None:
    with pytest.raises(TypeError, match="splits must be a URL or a folder, found"):
        open_betas("sub-01", bucket=tiny, splits=given)  # type: ignore[arg-type]


def test_a_variable_is_named_in_errors(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    """Whoever set it is far away."""
    monkeypatch.setenv("LAION_FMRI_SPLITS", "s4://x")
    with pytest.raises(ValueError, match="LAION_FMRI_SPLITS='s4://x'"):
        sources.find_source(bucket=tiny)
    monkeypatch.setenv("LAION_FMRI_BUCKET", "s4://x")
    with pytest.raises(ValueError, match="LAION_FMRI_BUCKET='s4://x'"):
        open_betas("sub-01")


def test_revisions_have_names(bucket: Path, installed: Path) -> None:
    """The pinned one, whatever is installed; and that of an installed package, if it is the one that is meant."""
    for pool in ("sub-01", "sub-03"):
        path = installed / pool / f"{CHANGED}.json"
        fields = json.loads(path.read_bytes())
        path.write_text(json.dumps({**fields, "params": {**fields["params"], "revision": 2}}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = splits.load_split(CHANGED, splits="2026-09")
        ds = open_betas("sub-01", bucket=bucket, session=1, roi="face", splits="2026-09")
    assert (split.revision, ds.split_role.attrs["revision"]) == ("2026-09", "2026-09")
    assert sources.find_source("2026-05", bucket=bucket).revision == sources.REVISION
    assert sources.find_source("2026-05", bucket=bucket).pinned


def test_a_revision_that_is_not_there(bucket: Path, installed: Path) -> None:
    """No other one stands in for it."""
    with pytest.raises(NotInBucketError, match=r"has another revision.*Install laion_fmri of September 2026"):
        splits.load_split(CHANGED, splits="2026-09")
    shutil.rmtree(installed)
    with pytest.raises(NotInBucketError, match=r"no package laion_fmri is installed.*splits='2026-05'"):
        open_betas("sub-01", bucket=bucket, session=1, roi="face", splits="2026-09")
