"""Small files are kept once and asked for no more; a cache that is damaged, full or forbidden changes no value."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FaultyProxy
from network_kinds import Stage, trials_of_session
from openers import Outcome, left_behind

from intake_laion_fmri.remote.cache import SmallFileCache, cache_info, clear_cache

pytest_plugins = ["network_stage"]

SMALL_FILES = 10
"""Those that the opening here reads: two trial tables, four maps, four ROIs."""


def opened(stage: Stage, proxy: FaultyProxy, folder: Path, *, expected: str | None = None, **given: Any) -> list[str]:
    """Open in a new process, whose cache is in a folder; return the small files that were asked for."""
    before = len(proxy.seen)
    options = {"client_kwargs": {"endpoint_url": proxy.endpoint}}
    outcome = stage.openers.run(stage.job(folder, **{"options": options, "network": {}, "compute": False, **given}))
    expect(outcome, expected or stage.expected_but_betas)
    assert left_behind(folder) == []
    return small_files(proxy.seen[before:])


def small_files(seen: list[str]) -> list[str]:
    return [line for line in seen if line.startswith("GET") and "list-type" not in line and "Betas_statmap" not in line]


def expect(outcome: Outcome, digest: str) -> None:
    """It must have gone well and silently, and be the Dataset that is on disk."""
    assert outcome.ended
    assert outcome.errors == ()
    assert set(outcome.digests) == {digest}
    assert (outcome.warnings, outcome.noise) == ((), "")


def copies(folder: Path) -> list[Path]:
    """The files of a cache."""
    return sorted(path for path in (folder / "cache/laion-fmri-cache/objects").rglob("*") if path.is_file())


def expect_intact(folder: Path) -> None:
    """Each copy must carry the sum of its content and of the name that its file is called by."""
    for path in copies(folder):
        content = path.read_bytes()
        assert hashlib.sha256(bytes.fromhex(path.name) + content[32:]).digest() == content[:32], path


# --- what it is for ---------------------------------------------------------------------------------------------------


def test_a_second_process_asks_for_listings_only(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Opening again in a new process requests three listings and nothing else."""
    assert len(opened(stage, proxy, tmp_path)) == SMALL_FILES
    assert len(copies(tmp_path)) == SMALL_FILES
    expect_intact(tmp_path)
    proxy.seen.clear()
    proxy.n_bytes = 0
    assert opened(stage, proxy, tmp_path) == []
    assert len(proxy.seen) == 3
    assert all("list-type=2" in line for line in proxy.seen)
    assert proxy.n_bytes < 100_000


def test_a_whole_subject_of_the_demo_bucket(s3: Any, tiny: Path, stage: Stage, tmp_path: Path) -> None:
    """The same for a subject with all its ROIs and the split files of the bucket: one more listing."""
    with FaultyProxy.before(s3.endpoint) as proxy:
        given = {
            "bucket": s3.url,
            "selection": {"subject": "sub-01"},
            "environment": {"LAION_FMRI_SPLITS": ""},
        }
        given["expected"] = stage.digest(
            tiny, compute=False, **{name: given[name] for name in ("selection", "environment")}
        )
        first = opened(stage, proxy, tmp_path, **given)
        assert len(first) > 40
        proxy.seen.clear()
        proxy.n_bytes = 0
        assert opened(stage, proxy, tmp_path, **given) == []
        assert {line.split()[0] for line in proxy.seen} == {"GET"}
        assert all("list-type=2" in line for line in proxy.seen)
        assert len(proxy.seen) <= 4
        assert proxy.n_bytes < 100_000


def test_an_object_that_changes_is_fetched_again(stage: Stage, tmp_path: Path) -> None:
    """A copy belongs to one ETag: if an object changes, its new content is read, and nothing else is fetched."""
    own = stage.own("cached-and-changed")
    changed = Path(shutil.copytree(stage.local, tmp_path / "bucket"))
    table = trials_of_session(changed)
    head, first, second, *rest = table.read_text().splitlines(keepends=True)
    label = head.strip().split("\t").index("label")
    one, other = first.strip("\n").split("\t"), second.strip("\n").split("\t")
    one[label], other[label] = other[label], one[label]
    assert one[label] != other[label]
    table.write_text("".join([head, "\t".join(one) + "\n", "\t".join(other) + "\n", *rest]))
    assert table.stat().st_size == trials_of_session(stage.local).stat().st_size
    expected = stage.digest(changed, compute=False)
    assert expected != stage.expected_but_betas
    with FaultyProxy.before(stage.server) as proxy:
        given = {"bucket": f"s3://{own.bucket}"}
        assert len(opened(stage, proxy, tmp_path, **given)) == SMALL_FILES
        key = table.relative_to(changed).as_posix()
        stage.client.put_object(Bucket=own.bucket, Key=key, Body=table.read_bytes())
        (asked,) = opened(stage, proxy, tmp_path, expected=expected, **given)
        assert key in asked
        assert opened(stage, proxy, tmp_path, expected=expected, **given) == []


def test_another_server_has_other_files(stage: Stage, tmp_path: Path) -> None:
    """Copies from one server are not used for another, even if bucket, key, size and ETag are the same."""
    for _ in range(2):
        with FaultyProxy.before(stage.server) as proxy:
            assert len(opened(stage, proxy, tmp_path)) == SMALL_FILES


# --- damage -----------------------------------------------------------------------------------------------------------


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flipped_sum(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def shorter_than_its_sum(path: Path) -> None:
    os.truncate(path, 7)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def another_file(path: Path) -> None:
    """An intact copy of something else."""
    content = b"something else"
    path.write_bytes(hashlib.sha256(content).digest() + content)


def anothers_copy(path: Path) -> None:
    """An intact copy of another object, under this one's name."""
    other = next(one for one in path.parent.iterdir() if one != path and one.is_file())
    shutil.copyfile(other, path)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def gone(path: Path) -> None:
    path.unlink()


DAMAGES: list[Callable[[Path], None]] = [
    flipped,
    flipped_sum,
    truncated,
    shorter_than_its_sum,
    empty,
    longer,
    another_file,
    anothers_copy,
    a_folder,
    a_link_to_nothing,
    a_pipe,
    gone,
]
MENDED = {a_folder: False}
"""What cannot be replaced by a copy; it is fetched each time."""


@pytest.fixture(scope="module")
def filled(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, FaultyProxy]]:
    """A folder with a filled cache, not to be changed, and the proxy that it was filled from."""
    folder = tmp_path_factory.mktemp("filled")
    with FaultyProxy.before(stage.server) as proxy:
        opened(stage, proxy, folder)
        yield folder, proxy


def test_damaged_copies(stage: Stage, filled: tuple[Path, FaultyProxy], tmp_path: Path) -> None:
    """Copies that are flipped, cut, empty, of another file, a folder or a link are fetched again and never used."""
    source, proxy = filled
    folder = tmp_path / "all"
    shutil.copytree(source, folder)
    damaged = dict(zip(copies(folder), DAMAGES, strict=False))
    for path, damage in damaged.items():
        damage(path)
    assert len(opened(stage, proxy, folder)) == len(damaged) == SMALL_FILES
    expect_intact(folder)
    again = opened(stage, proxy, folder)
    assert len(again) == sum(not MENDED.get(damage, True) for damage in damaged.values())


@pytest.mark.parametrize("damage", [one for one in DAMAGES if one in (flipped, another_file, gone)])
def test_every_copy_is_damaged(
    stage: Stage, filled: tuple[Path, FaultyProxy], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """The same holds for every file, including tables, which have no checksum of their own."""
    source, proxy = filled
    folder = Path(shutil.copytree(source, tmp_path / "all"))
    for path in copies(folder):
        damage(path)
    assert len(opened(stage, proxy, folder)) == SMALL_FILES
    assert opened(stage, proxy, folder) == []
    expect_intact(folder)


# --- places that cannot be used ---------------------------------------------------------------------------------------


@contextmanager
def no_rights(*paths: Path) -> Iterator[None]:
    """Take all rights to write, and to read files."""
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(0o555 if stat.S_ISDIR(mode) else 0)
    try:
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))


def test_a_cache_that_may_not_be_written(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """A read-only cache is used; files that are not in it are fetched each time."""
    (tmp_path / "cache").mkdir()
    for _ in range(2):
        with no_rights(tmp_path / "cache"):
            assert len(opened(stage, proxy, tmp_path, powerless=True)) == SMALL_FILES
    assert copies(tmp_path) == []
    opened(stage, proxy, tmp_path)
    objects = tmp_path / "cache/laion-fmri-cache/objects"
    with no_rights(tmp_path / "cache", objects.parent, objects):
        assert opened(stage, proxy, tmp_path, powerless=True) == []
    with no_rights(tmp_path / "cache", objects, *copies(tmp_path)):
        assert len(opened(stage, proxy, tmp_path, powerless=True)) == SMALL_FILES
    with no_rights(*copies(tmp_path)):  # unreadable, and replaced
        assert len(opened(stage, proxy, tmp_path, powerless=True)) == SMALL_FILES
        assert opened(stage, proxy, tmp_path, powerless=True) == []
    expect_intact(tmp_path)


@pytest.mark.parametrize("kind", ["a file", "a link to nothing", "below a file"])
def test_a_cache_that_is_no_folder(stage: Stage, proxy: FaultyProxy, tmp_path: Path, kind: str) -> None:
    """If the cache is not a folder, opening works without it."""
    place = tmp_path / "place"
    if kind == "a link to nothing":
        place.symlink_to(tmp_path / "none" / "such")
    else:
        place.write_text("mine")
    environment = {"LAION_FMRI_CACHE": str(place / "cache" if kind == "below a file" else place)}
    assert len(opened(stage, proxy, tmp_path / "job", environment=environment)) == SMALL_FILES
    assert place.is_symlink() or place.read_text() == "mine"


@contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[None]:
    """Mount a disk of a size."""
    folder.mkdir()
    try:
        command = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


@pytest.mark.parametrize("pages", [0, 4])
def test_a_full_disk(stage: Stage, proxy: FaultyProxy, tmp_path: Path, pages: int) -> None:
    """On a full disk, files that fit are kept whole; the others are fetched each time."""
    with small_disk(tmp_path / "cache", 8192 + 4096 * pages):
        with (tmp_path / "cache/filling").open("wb") as file, contextlib.suppress(OSError):
            file.write(bytes(4096 if pages else 65536))
        assert len(opened(stage, proxy, tmp_path)) == SMALL_FILES
        kept = len(copies(tmp_path))
        assert kept == 0 if not pages else 0 < kept < SMALL_FILES
        expect_intact(tmp_path)
        assert len(opened(stage, proxy, tmp_path)) == SMALL_FILES - kept


# --- its size ---------------------------------------------------------------------------------------------------------


def test_no_cache_is_wanted(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """A limit of 0 keeps nothing."""
    for _ in range(2):
        environment = {"LAION_FMRI_CACHE_LIMIT": "0"}
        assert len(opened(stage, proxy, tmp_path, environment=environment)) == SMALL_FILES
        assert copies(tmp_path) == []


def test_a_limit(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """The limit is enforced after each opening; the least recently used files are removed first."""
    opened(stage, proxy, tmp_path)
    sizes = {path: path.stat().st_size for path in copies(tmp_path)}
    for number, path in enumerate(sizes):
        os.utime(path, (number, number))
    limit = sum(sizes.values()) - 1
    environment = {"LAION_FMRI_CACHE_LIMIT": str(limit)}
    first, *_, last = sizes
    last.unlink()
    assert len(opened(stage, proxy, tmp_path, environment=environment)) == 1
    assert sum(path.stat().st_size for path in copies(tmp_path)) <= limit
    assert 0 < len(copies(tmp_path)) < SMALL_FILES
    assert first.exists() is False or first.stat().st_mtime > SMALL_FILES  # it was used by that opening


def test_the_least_recently_used_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a copy marks it as recently used."""
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path))
    cache = SmallFileCache(tmp_path / "laion-fmri-cache/objects", 10 * 132)
    for number in range(10):
        cache.put(str(number), bytes([number]) * 100)
    for number, path in enumerate(sorted(cache.folder.iterdir(), key=lambda path: path.read_bytes()[-1])):
        os.utime(path, (1000 + number, 1000 + number))
    assert cache.get("0") == bytes(100)
    cache.trim()
    assert len(list(cache.folder.iterdir())) == 10  # as many as may be
    cache.put("10", b"\x0a" * 100)
    cache.trim()
    kept = {number for number in range(11) if cache.get(str(number))}
    assert {0, 9, 10} <= kept
    assert 1 not in kept
    assert 6 <= len(kept) <= 10


@pytest.mark.parametrize("given", ["-1", "much", "1e999", "nan"])
def test_a_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """An invalid limit is an error that names the variable and its value."""
    monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", given)
    with pytest.raises(ValueError, match=f"LAION_FMRI_CACHE_LIMIT='{given}'"):
        cache_info()


def test_telling_and_clearing(
    stage: Stage, filled: tuple[Path, FaultyProxy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache can be listed and cleared; files of other programs in the same folder stay."""
    folder = Path(shutil.copytree(filled[0] / "cache", tmp_path / "cache"))
    (folder / "notes").write_text("mine")
    monkeypatch.setenv("LAION_FMRI_CACHE", str(folder))
    told = cache_info()
    assert (told.folder, told.n_files) == (folder, SMALL_FILES)
    assert told.n_bytes == sum(path.stat().st_size for path in (folder / "laion-fmri-cache/objects").rglob("*"))
    assert clear_cache() == told
    assert [path.name for path in folder.iterdir()] == ["notes"]
    assert cache_info().n_files == 0
    assert clear_cache().n_files == 0


def test_what_a_killed_process_left_goes_when_it_is_old(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """A recent temporary file stays, because its process may be alive; one that is an hour old is removed."""
    objects = tmp_path / "cache/laion-fmri-cache/objects"
    objects.mkdir(parents=True)
    (objects.parent / "CACHEDIR.TAG").write_text("# created by intake-laion-fmri")
    young, old = (objects / f"{letter * 64}.{letter * 32}.tmp" for letter in "ab")
    others = objects / "c.tmp"
    for path in (young, old, others):
        path.write_bytes(b"half")
        os.utime(path, (1e9, 1e9))
    os.utime(young)
    options = {"client_kwargs": {"endpoint_url": proxy.endpoint}}
    expect(stage.openers.run(stage.job(tmp_path, options=options)), stage.expected)
    assert young.exists()
    assert others.exists()
    assert not old.exists()
