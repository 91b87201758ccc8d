"""The user's cache folder may be anything: nothing in it that is not ours is counted, read as ours, or removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import platformdirs
import pytest

from intake_laion_fmri.remote import cache
from intake_laion_fmri.remote.cache import SmallFileCache, cache_info, clear_cache, keep, own_folder, read_kept

OWN = "laion-fmri-cache"


def below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that a user may have, under the names that this package once used, or uses."""
    folder = tmp_path / "mine"
    for name in (
        "objects/" + "a" * 64,  # as in a repository of git, whose objects have such names
        "objects/ab/" + "c" * 62,
        "splits/" + "d" * 40 + "/shared/tau.json",
        "notes.tmp",
        f"{OWN}.txt",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"precious")
        os.utime(path, (1e9, 1e9))
    monkeypatch.setenv("LAION_FMRI_CACHE", str(folder))
    return folder


def test_a_folder_of_the_users_own(others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither filling nor trimming nor clearing touches what was there."""
    before = below(others)
    assert cache_info().n_files == 0
    monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", "200")
    kept = SmallFileCache.of_user()
    for name in "abcdef":
        kept.put(name, b"x" * 60)
        kept.trim()
    assert 0 < cache_info().n_files < 6
    assert (others / OWN / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    assert {name: content for name, content in below(others).items() if not name.startswith(f"{OWN}/")} == before
    clear_cache()
    assert below(others) == before
    assert not (others / OWN).exists()


def test_a_folder_that_is_being_made_ours(others: Path) -> None:
    """Its mark is under way, or its writer was killed: files are kept in it, and clearing leaves nothing behind."""
    before = below(others)
    (others / OWN).mkdir()
    (others / OWN / f"CACHEDIR.TAG.{'0' * 32}.tmp").touch()
    kept = SmallFileCache.of_user()
    kept.put("a", b"x")
    assert kept.get("a") == b"x"
    clear_cache()
    assert below(others) == before
    assert not (others / OWN).exists()


@pytest.mark.parametrize("name", ["objects/" + "a" * 64, "thesis.tex", "splits/x"])
def test_a_folder_that_has_the_name_of_ours(name: str, others: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the mark nothing is written to it, and nothing removed."""
    path = others / OWN / name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious")
    before = below(others)
    monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", "200")
    kept = SmallFileCache.of_user()
    kept.put("a", b"x" * 60)
    kept.trim()
    assert kept.get("a") is None
    assert (cache_info().n_files, clear_cache().n_files) == (0, 0)
    assert below(others) == before


def test_what_others_put_into_ours_stays(others: Path) -> None:
    """With the mark: names that this package never gives."""
    SmallFileCache.of_user().put("a", b"x")
    strange = {f"{OWN}/objects/notes.txt", f"{OWN}/objects/{'a' * 63}", f"{OWN}/splits/mine/shared/tau.json"}
    for name in strange:
        (others / name).parent.mkdir(parents=True, exist_ok=True)
        (others / name).write_bytes(b"precious")
    SmallFileCache(others / OWN / "objects", 0).trim()
    clear_cache()
    assert {name for name in below(others) if name.startswith(f"{OWN}/")} == {*strange, f"{OWN}/CACHEDIR.TAG"}


def test_a_copy_is_bound_to_what_it_is_a_copy_of(others: Path) -> None:
    """Renamed, copied or planted: under another name it is none."""
    kept = SmallFileCache.of_user()
    kept.put("s3://x/a.tsv\netag", b"labels of a")
    kept.put("s3://x/b.tsv\netag", b"labels of b")
    one, other = sorted((others / OWN / "objects").iterdir())
    other.write_bytes(one.read_bytes())
    found = {kept.get("s3://x/a.tsv\netag"), kept.get("s3://x/b.tsv\netag")}
    assert None in found
    assert found < {None, b"labels of a", b"labels of b"}


@pytest.mark.parametrize("kind", ["pipe", "link", "huge"])
def test_what_is_no_file_of_a_cache_is_not_opened(kind: str, tmp_path: Path) -> None:
    """A pipe would be waited for, and a file of terabytes read."""
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "y").write_bytes(b"content")
        path.symlink_to(tmp_path / "y")
    else:
        path.touch()
        os.truncate(path, 2**40)
    assert read_kept(path) is None


def test_no_link_leads_a_copy_elsewhere(others: Path, tmp_path: Path) -> None:
    """Planted in a cache that others may write to."""
    SmallFileCache.of_user().put("a", b"x")
    clear_cache()
    keep(own_folder() / "splits" / ("0" * 40) / "shared/tau.json", b"{}")  # type: ignore[operator]
    (tmp_path / "victim").mkdir()
    (others / OWN / "objects").symlink_to(tmp_path / "victim")
    SmallFileCache.of_user().put("a", b"x")
    assert os.listdir(tmp_path / "victim") == []


def test_no_home_and_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder named '~' is made where the program runs."""
    monkeypatch.delenv("LAION_FMRI_CACHE")
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_: "~/.cache/intake-laion-fmri")
    assert cache.cache_folder() is None
    kept = SmallFileCache.of_user()
    kept.put("a", b"x")
    kept.trim()
    assert kept.get("a") is None
    assert (cache_info().folder, clear_cache().n_files) == (None, 0)


def test_a_cache_that_is_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_FMRI_CACHE", "s3://x")
    with pytest.raises(ValueError, match="LAION_FMRI_CACHE must be a local folder, found 's3://x'"):
        cache_info()


def test_a_process_without_a_home() -> None:
    """A container's user whose number is in no table: what is asked for a home raises, each in its way."""
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_CACHE_HOME")}
    environment |= {"LAION_FMRI_CACHE": ""}
    code = (
        "import pwd\ndef nobody(uid): raise KeyError(uid)\npwd.getpwuid = nobody\n"
        "from intake_laion_fmri.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "cache", "info"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("No home folder is known, so nothing is cached")
