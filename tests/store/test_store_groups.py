"""A session that is being written: taken over by others, put back after a kill, and on the disk before it is seen."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from builders import CHUNK, Builders, Moment
from demo_files import betas_file
from tiers import full

from intake_laion_fmri import build_store, open_betas
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.access import open_store
from intake_laion_fmri.remote.locks import HeldError, locked
from intake_laion_fmri.store.groups import GroupBusyError
from intake_laion_fmri.store.writing import store_writer

GIVEN: dict[str, Any] = {"subjects": "sub-01", "sessions": 1, "roi": "face"}


@pytest.fixture(scope="module")
def builders(_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with Builders.running(tmp_path_factory.mktemp("builders") / "errors", cache=_cache) as running:
        yield running


@full("waits for 20 s; test_a_lock_of_a_process_that_is_stopped_is_taken_over is in the fast tier")
def test_a_builder_that_is_stopped(builders: Builders, tiny: Path, tmp_path: Path) -> None:
    """Another one takes its session over; when it goes on, it finds that done."""
    store = tmp_path / "store"
    (pid,) = builders.start(
        [{"to": str(store), "bucket": str(tiny), **GIVEN}], [Moment(CHUNK, 1, exact=True, signal="SIGSTOP")]
    )
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.01)
    try:
        assert [one.status for one in build_store(store, bucket=tiny, **GIVEN)] == ["built"]
    finally:
        os.kill(pid, signal.SIGCONT)
    (outcome,) = builders.outcomes()
    assert outcome.reports == (("sub-01", "ses-01", "complete"),), outcome
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
    assert open_betas("sub-01", session=1, roi="face", store=store).load().sizes["trial"]


def test_a_group_that_was_taken_over_is_not_published_in_part(tmp_path: Path) -> None:
    root = store_writer(open_store(tmp_path / "store"))
    with root.writing("sub-01/ses-01") as writer:
        writer.begin(lambda key: True)
        writer.put("label/c/0", [b"content"])
        (staging,) = (path for path in (tmp_path / ".store.building").iterdir() if path.is_dir())
        shutil.rmtree(staging)
        writer.put("run/c/0", [b"content"])
        with pytest.raises(GroupBusyError, match="sub-01/ses-01: another builder has taken it over"):
            writer.publish(b"{}")
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / ".store.building").exists()


def test_a_group_that_was_taken_over_by_a_builder_that_is_done(tmp_path: Path) -> None:
    """That one has removed the folder beside the store, too."""

    def write() -> None:
        with store_writer(open_store(tmp_path / "store")).writing("sub-01/ses-01") as writer:
            writer.begin(lambda key: True)
            writer.put("label/c/0", [b"content"])
            shutil.rmtree(tmp_path / ".store.building")
            writer.holds("label/c/0", [b"content"])

    with pytest.raises(GroupBusyError, match="another builder has taken it over"):
        write()
    assert not (tmp_path / "store").exists()


def test_the_error_of_a_wait_in_vain_names_the_other(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intake_laion_fmri.store.writing.WAIT_SECONDS", 0.1)
    store = tmp_path / "store"
    lock = tmp_path / ".store.building" / "sub-01_ses-01.lock"
    with (
        locked(lock, wait_seconds=0, what="being slow"),
        pytest.raises(
            OSError, match=rf"sub-01/ses-01 was not stored: .*process {os.getpid()} on .*did not finish within"
        ),
    ):
        build_store(store, bucket=tiny, **GIVEN)
    with (
        locked(lock.with_name("root.lock"), wait_seconds=0, what="being slow"),
        pytest.raises(HeldError, match=rf"process {os.getpid()} on .* is writing root"),
    ):
        build_store(store, bucket=tiny, **GIVEN)


def test_a_session_that_a_killed_builder_had_moved_away_is_put_back(tiny: Path, tmp_path: Path) -> None:
    """Where two folders cannot be exchanged, there is a moment in which neither is in its place."""
    store = tmp_path / "store"
    build_store(store, bucket=tiny, **GIVEN)
    inode = (store / "sub-01" / "ses-01").stat().st_ino
    building = tmp_path / ".store.building"
    building.mkdir()
    shutil.move(store / "sub-01" / "ses-01", building / f"sub-01_ses-01.{'0' * 32}.outdated")
    (building / f"sub-01_ses-01.{'0' * 32}").mkdir()
    assert [one.status for one in build_store(store, bucket=tiny, **GIVEN)] == ["complete"]
    assert (store / "sub-01" / "ses-01").stat().st_ino == inode
    assert not building.exists()


@pytest.mark.parametrize("can_exchange", [True, False])
def test_everything_is_on_the_disk_before_it_is_seen(
    own_tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """A power failure after it can leave nothing empty."""
    synced: set[int] = set()
    seen: list[set[int]] = []
    fsync, put_in_place = os.fsync, atomic.put_in_place

    def note(number: int) -> None:
        synced.add(os.fstat(number).st_ino)
        fsync(number)

    def check(new: Path, target: Path, **given: Any) -> Path | None:
        below = {path.stat().st_ino for path in [new, *new.rglob("*")]}
        seen.append(below - synced)
        replaced = put_in_place(new, target, **given)
        assert {path.stat().st_ino for path in (target, target.parent)} <= synced
        return replaced

    monkeypatch.setattr(os, "fsync", note)
    monkeypatch.setattr(atomic, "put_in_place", check)
    if not can_exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    store = tmp_path / "store"
    for status in ("built", "renewed"):
        assert [one.status for one in build_store(store, bucket=own_tiny, **GIVEN)] == [status]
        betas_file(own_tiny, "sub-01", "ses-01").touch()
    assert seen == [set(), set()]
    assert {path.stat().st_ino for path in (store / "zarr.json", store / "sub-01" / "zarr.json", store)} <= synced
