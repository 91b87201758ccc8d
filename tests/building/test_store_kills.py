"""Builds that are killed on a local disk, at every moment, and two builds at once."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from builders import BEGIN, CHUNK, CLEAN, PUBLISH, READ, WRITE, Builders, Moment, Outcome
from built_stores import (
    OPTIONS,
    SESSIONS,
    STORES,
    THREE,
    TWO,
    Stores,
    build,
    files_of,
    from_bucket,
    from_store,
    in_background,
    negate,
    statuses,
    tree,
    whole_sessions,
    workshop,
)
from demo_files import betas_file
from faulty_proxy import Request
from tiers import full

from intake_laion_fmri import open_betas
from intake_laion_fmri.remote.access import open_store
from intake_laion_fmri.store.writing import store_writer

pytest_plugins = ["built_stores_fixtures"]


# --- what is there ----------------------------------------------------------------------------------------------------


def staged(store: Path) -> list[str]:
    """The files that a build has left in the workshop."""
    return [name for name, content in tree(workshop(store)).items() if content is not None and "/" in name]


def expect_same(store: Path, other: Path) -> None:
    """A store must be byte for byte the other, with nothing beside it."""
    assert tree(store) == tree(other)
    assert not workshop(store).exists()


# --- killed on a local disk -------------------------------------------------------------------------------------------


def random_moment(chance: random.Random, left: int, *, is_new: bool, workers: int) -> Moment:
    """A moment that a build with so many sessions left comes to: before its first session, or in one of them."""
    kind = chance.choice([READ, READ, WRITE, WRITE, CHUNK, CHUNK, PUBLISH, CLEAN, *([BEGIN] * 4 if is_new else [])])
    number = chance.randint(1, {READ: 55, WRITE: 55, CHUNK: 2}.get(kind, 1))
    # With two at a time, one that is begun may be past the moment: one that is not begun must be left.
    latest = 0 if kind == BEGIN else max(0, left - workers)
    published = min(chance.randint(0, latest), chance.randint(0, latest))
    return Moment(kind, number, published, delay=chance.choice([0, chance.uniform(0, 0.003)]))


@full("25 kills and the builds after them; test_killed_while_a_session_is_renewed is in the fast tier")
def test_killed_at_25_random_moments(builders: Builders, tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """Of every session a reader sees all or nothing; the next build ends what several killed ones have begun."""
    chance = random.Random(20250704)
    kills: list[tuple[int, bool, list[str]]] = []
    """Whole sessions; whether there was one more than before; what lay in the workshop."""
    after: list[tuple[str, str]] = []
    for attempt in range(80):  # a signal that comes when the build is over is no kill
        if len(kills) == 25:
            break
        in_a_row = attempt % 8
        store = tmp_path / f"store-{attempt // 8}"
        workers = 1 + attempt // 8 % 2
        before = after if in_a_row else []
        left = len(SESSIONS) - len(before)
        if left:
            moment = random_moment(chance, left, is_new=not in_a_row, workers=workers)
            outcome = builders.build(store, moment, bucket=str(tiny), workers=workers, **OPTIONS)
            after = whole_sessions(store, tiny, whole_store)
            assert set(before) <= set(after), moment
            if outcome.killed:
                kills.append((len(after), len(after) > len(before), staged(store)))
            else:
                assert outcome.reports, outcome
        if in_a_row == 7 or len(kills) == 25:
            outcome = builders.build(store, bucket=str(tiny), **OPTIONS)
            assert [one[:2] for one in outcome.reports] == SESSIONS, outcome
            expect_same(store, whole_store)
    assert len(kills) == 25
    # All over the build: before there was anything, between sessions, and in the midst of one.
    assert len({n_whole for n_whole, _, _ in kills}) >= 4
    assert sum(grown for _, grown, _ in kills) >= 5
    assert sum(not there for _, _, there in kills) >= 5
    assert sum(bool(there) for _, _, there in kills) >= 5
    assert any("/betas/c/0/" in name for _, _, there in kills for name in there)


@full("some twenty builds, twelve seconds; the fast tier kills builders that renew a session or work side by side")
def test_killed_before_each_step_of_beginning_and_publishing(builders: Builders, tiny: Path, tmp_path: Path) -> None:
    """Between any two system calls that make something visible, or clean up after it."""
    given = {"bucket": str(tiny), "subjects": "sub-03", **OPTIONS}
    once = tmp_path / "once"
    assert builders.build(once, **given).events[PUBLISH] == 3
    store = tmp_path / "store"

    def kill(kind: str, number: int) -> list[tuple[str, str]]:
        outcome = builders.build(store, Moment(kind, number, exact=True), **given)
        assert outcome.killed, (kind, number, outcome)
        return whole_sessions(store, tiny, once)

    assert kill(CLEAN, 1) == []
    for number in range(1, 40):  # as far as the first session; how many there are is the affair of locks too
        outcome = builders.build(store, Moment(BEGIN, number, exact=True), **given)
        begun = whole_sessions(store, tiny, once)
        shutil.rmtree(store, ignore_errors=True)  # what was left beside it stays
        if begun:
            break
        assert outcome.killed, (number, outcome)
    assert begun
    assert number > 4
    for kind, number in [(WRITE, 1), (CHUNK, 1), (CHUNK, 2), (PUBLISH, 1)]:
        assert kill(kind, number) == []
        assert workshop(store).is_dir()
    for n_steps in range(20):  # of what is cleaned up after a session has become visible
        one = THREE[n_steps % 3]
        shutil.rmtree(store.joinpath(*one), ignore_errors=True)
        outcome = builders.build(store, Moment(CLEAN, n_steps + 1, published=1, exact=True), **given, sessions=one[1])
        assert one in whole_sessions(store, tiny, once)
        if not outcome.killed:
            break
    assert n_steps >= 2
    assert len(builders.build(store, **given).reports) == 3
    expect_same(store, once)


def test_killed_while_a_session_is_renewed(
    builders: Builders, own_tiny: Path, whole_store: Path, tmp_path: Path
) -> None:
    """Its readers see the one from before or the new one."""
    old = from_bucket(own_tiny, *THREE[1])
    negate(betas_file(own_tiny, *THREE[1]))
    new = open_betas("sub-03", session=2, bucket=own_tiny).compute()
    given = {"bucket": str(own_tiny), "subjects": "sub-03", "sessions": 2, **OPTIONS}
    renewed = Path(shutil.copytree(whole_store, tmp_path / "renewed"))
    shutil.rmtree(renewed.joinpath(*THREE[1]))
    builders.build(renewed, **given)

    def state(store: Path) -> str:
        found = from_store(store, *THREE[1])
        return "none" if found is None else "old" if found.identical(old) else "new" if found.identical(new) else "?"

    store = Path(shutil.copytree(whole_store, tmp_path / "store"))
    states = []
    for number in range(1, 10):
        outcome = builders.build(store, Moment(PUBLISH, number, exact=True), **given)
        if not outcome.killed:
            break
        states.append(state(store))
    assert states == ["old"]
    assert state(store) == "new"
    expect_same(store, renewed)

    other = Path(shutil.copytree(whole_store, tmp_path / "other"))
    assert builders.build(other, Moment(CLEAN, 1, published=len(states), exact=True), **given).killed
    assert state(other) == "new"
    builders.build(other, **given)
    expect_same(other, renewed)


def test_what_a_killed_builder_has_left(builders: Builders, tiny: Path, tmp_path: Path) -> None:
    """At whichever step of its cleaning it is killed: `tidy` leaves nothing beside the store, not even the folder."""
    store = tmp_path / "store"
    given = {"bucket": str(tiny), "subjects": "sub-03", "sessions": 1, **OPTIONS}
    left = []
    for number in range(1, 20):
        shutil.rmtree(store, ignore_errors=True)
        if not builders.build(store, Moment(CLEAN, number, exact=True), **given).killed:
            break
        left.append([path.suffix for path in workshop(store).iterdir()] if workshop(store).exists() else None)
        store_writer(open_store(store)).tidy()
        assert not workshop(store).exists(), number
    assert [".lock"] in left
    assert [] in left


@full("processes, three seconds; test_what_a_killed_builder_has_left is in the fast tier")
def test_interrupted_in_a_script(tiny: Path, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Ctrl-C kills the processes of a build, and the script that started it leaves nothing of theirs."""
    code = f"""
if __name__ == "__main__":
    import os, signal, time
    from intake_laion_fmri import build_store

    def interrupt(progress):
        if progress.sessions:
            os.killpg(0, signal.SIGINT)
            time.sleep(5)

    try:
        build_store("store", bucket={str(tiny)!r}, scheduler="processes", workers=2, progress=interrupt)
    except KeyboardInterrupt:
        print(*os.listdir())
"""
    (tmp_path / "script.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=python_environment,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert sorted(done.stdout.split()) == ["script.py", "store"], done.stderr


def test_interrupted_by_the_user(builders: Builders, tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """Ctrl-C ends a build in threads long before all is done, and nothing is left half-written."""
    store = tmp_path / "store"
    for workers in (1, 2):
        before = len(whole_sessions(store, tiny, whole_store))
        moment = Moment(CHUNK, exact=True, signal="SIGINT")
        outcome = builders.build(store, moment, bucket=str(tiny), workers=workers, **OPTIONS)
        assert outcome.error[0] == "KeyboardInterrupt", outcome
        assert before <= len(whole_sessions(store, tiny, whole_store)) < len(SESSIONS)
        assert not workshop(store).exists()
    assert len(builders.build(store, bucket=str(tiny), **OPTIONS).reports) == len(SESSIONS)
    expect_same(store, whole_store)


# --- two at once ------------------------------------------------------------------------------------------------------


def all_of(outcomes: list[Outcome]) -> dict[tuple[str, str], list[str]]:
    """What several builders that succeeded say of each session."""
    assert [one.text for one in outcomes if one.error] == []
    every: dict[tuple[str, str], list[str]] = {}
    for subject, session, status in sorted(report for one in outcomes for report in one.reports):
        every.setdefault((subject, session), []).append(status)
    return every


def test_two_builders_on_a_disk(builders: Builders, tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """No session is built twice, and the store is that of one builder."""
    one = {"to": str(tmp_path / "store"), "bucket": str(tiny), **OPTIONS}
    builders.start([one | {"workers": 2}, one])
    outcomes = builders.outcomes()
    assert all_of(outcomes) == {session: ["built", "complete"] for session in SESSIONS}
    assert sum(outcome.events[PUBLISH] for outcome in outcomes) == len(SESSIONS)
    expect_same(tmp_path / "store", whole_store)


@full("thousands of locks, five seconds; test_locks takes single ones")
def test_writers_that_come_and_go(tmp_path: Path) -> None:
    """Whoever is done removes the folder beside the store, which others are about to use."""
    root = store_writer(open_store(tmp_path / "store"))

    def write(group: str) -> None:
        for number in range(400):
            with root.writing(group, wait=True) as writer:
                writer.put(f"label/c/{number}", [b"content"])

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(write, ["sub-01/ses-01", "sub-01/ses-02", "sub-03/ses-01", "sub-03/ses-02"])) == [None] * 4
    assert not workshop(tmp_path / "store").exists()


@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_no_folder_where_sessions_are_written(tiny: Path, tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(workshop(tmp_path / "store"))
    with pytest.raises(FileExistsError, match=r"\.store\.building"):
        build(tmp_path / "store", bucket=str(tiny))


def test_two_builders_of_one_session(builders: Builders, tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """One waits until the other is done, and finds nothing to do."""
    one = {"to": str(tmp_path / "store"), "bucket": str(tiny), "subjects": "sub-03", "sessions": 1, **OPTIONS}
    builders.start([one, one])
    assert all_of(builders.outcomes()) == {THREE[0]: ["built", "complete"]}
    assert files_of(tmp_path / "store", THREE[0]) == files_of(whole_store, THREE[0])
    assert not workshop(tmp_path / "store").exists()


@full("builders beside each other, ten seconds; test_killed_while_a_session_is_renewed is in the fast tier")
def test_two_builders_of_which_one_is_killed(builders: Builders, tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """Who waits for a session of the other's builds it in his place."""
    store = tmp_path / "store"
    one = {"to": str(store), "bucket": str(tiny), **OPTIONS}
    builders.start([one, one], [Moment(CHUNK, 2, exact=True), None])
    killed, other = builders.outcomes()
    assert killed.killed
    assert other.reports == tuple((*session, "built") for session in SESSIONS), other
    expect_same(store, whole_store)


@full("processes, three seconds; test_killed_while_a_session_is_renewed is in the fast tier")
def test_two_builders_on_a_server(stores: Stores, builders: Builders, tiny: Path) -> None:
    """They cannot see each other, and what both write is the same."""
    url = stores.begun("raced", THREE[0])
    one = {"to": url, "bucket": str(tiny), "store_options": stores.options(), "subjects": "sub-03", "sessions": 2}
    builders.start([one | OPTIONS] * 2)
    said = all_of(builders.outcomes())
    assert said in ({THREE[1]: ["built", "built"]}, {THREE[1]: ["built", "complete"]})
    stores.expect_same(url, *THREE[:2])


def once(do: Callable[[], object]) -> Callable[[object], None]:
    """What does something when it is called first, and nothing from then on."""
    left = [do]

    def call(_: object) -> None:
        if left:
            left.pop()()

    return call


def test_another_builder_comes_first_on_a_disk(tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """What has been completed since it was looked for is left alone."""
    store = Path(shutil.copytree(whole_store, tmp_path / "store"))
    group, ready = store.joinpath(*THREE[1]), tmp_path / "ready"
    group.rename(ready)
    inode = ready.stat().st_ino
    meanwhile = once(lambda: ready.rename(group))
    assert statuses(build(store, bucket=tiny, sessions=2, progress=meanwhile)) == {THREE[1]: "complete"}
    assert group.stat().st_ino == inode
    expect_same(store, whole_store)


@full("processes, three seconds; test_killed_while_a_session_is_renewed is in the fast tier")
def test_another_builder_comes_first_on_a_server(stores: Stores) -> None:
    """It is left alone too, and no reader misses it for a moment, even if this builder was in the midst of it."""
    url = f"s3://{STORES}/late"
    stores.proxy.seen.clear()
    meanwhile = once(lambda: stores.begun("late", THREE[1]))
    assert statuses(stores.build(url, sessions=2, progress=meanwhile)) == {THREE[1]: "complete"}
    assert [line for line in stores.proxy.seen if line.startswith(("DELETE", "PUT")) and TWO in line] == []

    def finish(request: Request) -> None:
        stores.begun("overtaken", THREE[1])
        request.forward()

    url = f"s3://{STORES}/overtaken"
    with stores.proxy.rule(rf"PUT .*{TWO}betas/c/", finish, times=1):
        assert statuses(stores.build(url, sessions=2)) == {THREE[1]: "built"}
        assert stores.proxy.unused == []
    assert [line for line in stores.proxy.seen if line.startswith(("DELETE", "POST"))] == []
    stores.expect_same(url, THREE[1])


def test_two_builders_that_want_different_stores_on_a_disk(builders: Builders, tiny: Path, tmp_path: Path) -> None:
    """One wins, the other is told."""
    store = tmp_path / "store"
    one = {"to": str(store), "bucket": str(tiny), "subjects": "sub-03", "sessions": [1, 2]}
    builders.start([one | {"codec": "lz4"}, one | {"codec": "zstd"}])
    outcomes = builders.outcomes()
    (winner,) = [number for number, outcome in enumerate(outcomes) if not outcome.error]
    loser = outcomes[1 - winner]
    assert loser.error[0] == "ValueError"
    assert "another URL" in loser.text or "another store" in loser.text
    expect_of_one(tree(store), ["lz4", "zstd"][winner])
    for session in THREE[:2]:
        xr.testing.assert_identical(from_store(store, *session), from_bucket(tiny, *session))
    assert not workshop(store).exists()


@full("as on a disk, three seconds")
def test_two_builders_that_want_different_stores_on_a_server(stores: Stores) -> None:
    """Both see that there is none, both begin one, and the server lets one of them."""
    url = f"s3://{STORES}/contended"
    both, gone_on = threading.Barrier(2, timeout=30), threading.Event()

    def together(request: Request) -> None:
        if both.wait():  # one of the two goes first, and takes the store for its own before the other is let through
            gone_on.wait(timeout=30)
        request.forward()

    def go_on(request: Request) -> None:
        gone_on.set()
        request.forward()

    with (
        stores.proxy.rule(f"PUT /{STORES}/contended/zarr.json", together, times=2),
        stores.proxy.rule(f"PUT /{STORES}/contended/sub-03/zarr.json", go_on),
    ):
        futures = {codec: in_background(stores.build, url, sessions=1, codec=codec) for codec in ("lz4", "zstd")}
        errors = {codec: future.exception(timeout=60) for codec, future in futures.items()}
        assert stores.proxy.unused == []
    (winner,) = [codec for codec, error in errors.items() if error is None]
    (loser,) = [error for error in errors.values() if error is not None]
    assert type(loser) is ValueError
    assert "Another builder has just begun" in str(loser)
    expect_of_one({key: stores.content(url, key) for key in ("zarr.json", "sub-03/ses-01/betas/zarr.json")}, winner)


def expect_of_one(files: dict[str, Any], codec: str) -> None:
    """The root of a store and the betas of its sessions must be of one codec."""
    assert json.loads(json.loads(files["zarr.json"])["attributes"]["laion_fmri_store"])["options"]["codec"] == codec
    betas = [content.decode() for name, content in files.items() if name.endswith("betas/zarr.json")]
    assert betas
    assert all(f'"cname": "{codec}"' in text for text in betas)
