"""Many threads and processes that open at once, and share a cache: each gets the same Dataset; nothing is left."""

from __future__ import annotations

import hashlib
import os
import queue
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import FaultyProxy, Request
from network_kinds import Stage
from openers import Job, Outcome, left_behind
from tiers import full

from intake_laion_fmri.remote.cache import SmallFileCache

pytest_plugins = ["network_stage"]

SMALL_FILES = 10
"""Those that an opening here reads."""


def job(stage: Stage, proxy: FaultyProxy, folder: Path, number: int, **given: Any) -> Job:
    """What one of many processes does; all have the cache of one folder."""
    environment = {"LAION_FMRI_CACHE": str(folder / "cache"), **given.pop("environment", {})}
    options = {"client_kwargs": {"endpoint_url": proxy.endpoint}}
    return stage.job(
        folder / f"process-{number}", **{"options": options, "network": {}, "environment": environment, **given}
    )


def at_once(stage: Stage, jobs: list[Job]) -> list[Outcome]:
    """Run processes, all at once."""
    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(stage.openers.run, jobs))


def expect(stage: Stage, outcomes: list[Outcome], each: int) -> None:
    """All must have gone well and silently, and each Dataset be the one that is on disk."""
    for outcome in outcomes:
        assert outcome.errors == ()
        assert outcome.digests == (stage.expected,) * each
        assert (outcome.ended, outcome.warnings, outcome.noise) == (True, (), "")


def copies(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "cache/laion-fmri-cache/objects").rglob("*") if path.is_file())


def expect_intact(folder: Path) -> None:
    """Each copy must carry its own sum, and nothing else be there."""
    for path in copies(folder):
        content = path.read_bytes()
        assert hashlib.sha256(bytes.fromhex(path.name) + content[32:]).digest() == content[:32], path
    assert left_behind(folder) == []
    for place in folder.glob("process-*"):
        assert left_behind(place) == []


@full("a cache under load, six seconds; test_processes_with_one_empty_cache is in the fast tier")
def test_threads_of_one_process(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Eight threads open and compute the same with an empty cache."""
    outcome = stage.openers.run(job(stage, proxy, tmp_path, 0, threads=8, times=2))
    expect(stage, [outcome], 16)
    assert len(copies(tmp_path)) == SMALL_FILES
    expect_intact(tmp_path)


def test_processes_with_one_empty_cache(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Six processes open and compute the same; after that, another one requests only listings and betas."""
    expect(stage, at_once(stage, [job(stage, proxy, tmp_path, number) for number in range(6)]), 1)
    assert len(copies(tmp_path)) == SMALL_FILES
    expect_intact(tmp_path)
    proxy.seen.clear()
    expect(stage, [stage.openers.run(job(stage, proxy, tmp_path, 6))], 1)
    assert [line for line in proxy.seen if "list-type" not in line and "Betas_statmap" not in line] == []


@full("the same cache under another load, five to ten seconds; two kinds are in the fast tier")
def test_threads_of_processes_with_a_cache_that_is_too_small(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """Three processes with two threads each fill and clear the same folder all the time."""
    limit = 9000  # about half of what they need
    given = {"times": 5, "threads": 2, "environment": {"LAION_FMRI_CACHE_LIMIT": str(limit)}}
    expect(stage, at_once(stage, [job(stage, proxy, tmp_path, number, **given) for number in range(3)]), 10)
    expect_intact(tmp_path)
    # The last to finish has looked through it after its last file.
    assert 0 < sum(path.stat().st_size for path in copies(tmp_path)) <= limit


@full("the same cache under another load, five to ten seconds; two kinds are in the fast tier")
def test_a_cache_that_is_cleared_meanwhile(
    stage: Stage, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process clears the cache repeatedly while others open: neither of them fails."""
    from intake_laion_fmri.remote.cache import clear_cache

    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path / "cache"))
    over = threading.Event()

    def clear() -> int:
        removed = 0
        while not over.is_set():
            removed += clear_cache().n_files
            time.sleep(0.01)
        return removed

    with ThreadPoolExecutor(1) as pool:
        clearing = pool.submit(clear)
        try:
            outcomes = at_once(stage, [job(stage, proxy, tmp_path, number, times=5) for number in range(3)])
        finally:
            over.set()
        assert clearing.result(timeout=30) > 0
    expect(stage, outcomes, 5)
    expect_intact(tmp_path)


@full("the same cache under another load, five to ten seconds; two kinds are in the fast tier")
def test_killed_while_files_are_kept(stage: Stage, proxy: FaultyProxy, tmp_path: Path) -> None:
    """A process is killed at twelve moments of filling a cache: all copies are whole, and the next process works."""
    chance = random.Random(7)
    killed = 0
    for number in range(12):
        pids: queue.Queue[int] = queue.Queue()
        delay = chance.uniform(0, 0.02)

        def kill(request: Request, pids: queue.Queue[int] = pids, delay: float = delay) -> None:
            request.forward()
            time.sleep(delay)
            os.kill(pids.get(timeout=30), signal.SIGKILL)

        for path in copies(tmp_path):
            if chance.random() < 0.5:
                path.unlink()
        with proxy.rule("^GET .*(trials|Noiseceiling|R2mean|label)", kill, skip=chance.randrange(4), times=1) as rule:
            opener = stage.openers.start(job(stage, proxy, tmp_path, number))
            pids.put(opener.pid)
            outcome = opener.outcome()
        killed += rule.hits and not outcome.ended
        assert outcome.errors == ()
        for path in copies(tmp_path):
            if not path.name.endswith(".tmp"):
                content = path.read_bytes()
                assert hashlib.sha256(bytes.fromhex(path.name) + content[32:]).digest() == content[:32], path
    assert killed >= 8
    for path in copies(tmp_path):
        os.utime(path, (1e9, 1e9))  # as if it had been long ago
    for path in copies(tmp_path)[:1]:
        path.unlink()  # so that there is something to keep, and the folder is looked through
    expect(stage, [stage.openers.run(job(stage, proxy, tmp_path, 99))], 1)
    expect_intact(tmp_path)
    assert len(copies(tmp_path)) == SMALL_FILES


def test_a_cache_under_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads write, read and trim the same names: every copy that is read is whole, or absent."""
    contents = {str(number): bytes([number]) * (100 + number) for number in range(40)}
    monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path))
    folder = tmp_path / "laion-fmri-cache/objects"
    cache = SmallFileCache(folder, 3000)
    found = []

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(300):
            name = chance.choice(list(contents))
            got = cache.get(name)
            assert got in (None, contents[name])
            found.append(got is not None)
            if got is None:
                cache.put(name, contents[name])
            if chance.random() < 0.1:
                cache.trim()

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(work, seed) for seed in range(8)]:
            future.result(timeout=60)
    assert 0.05 < sum(found) / len(found) < 0.95
    cache.trim()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= cache.limit
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp"]


@full("the same cache under another load, five to ten seconds; two kinds are in the fast tier")
def test_processes_behind_a_proxy_that_drops_every_third_connection(
    stage: Stage, proxy: FaultyProxy, tmp_path: Path
) -> None:
    """Four processes share a cache, and a third of their connections break when they are made."""
    proxy.drop_every = 3

    def alone(request: Request) -> None:
        request.forward()
        request.close_connection = True

    network = {"attempts": 10, "total_seconds": 30.0}
    with proxy.rule("", alone):
        expect(stage, at_once(stage, [job(stage, proxy, tmp_path, n, network=network) for n in range(4)]), 1)
    assert proxy.n_dropped > 10
    expect_intact(tmp_path)
