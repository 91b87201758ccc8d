"""A build of a store may be interrupted at any moment, in any way: what is there is whole, and the next run ends it."""

from __future__ import annotations

import contextlib
import errno
import functools
import gzip
import hashlib
import json
import multiprocessing
import os
import queue
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import xarray as xr
import zarr
from builders import BEGIN, CHUNK, CLEAN, PUBLISH, READ, WRITE, Builders, Moment, Outcome
from demo_files import betas_file
from faulty_proxy import Action, FaultyProxy, Request, answer, cut, drop, flip, lose_answer
from tiers import full, sampled

from intake_laion_fmri import open_betas
from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError, NotInStoreError
from intake_laion_fmri.store import SessionReport, build_store
from intake_laion_fmri.store.root import open_store

SESSIONS = [(subject, session) for subject in ("sub-01", "sub-03") for session in ("ses-01", "ses-02", "ses-03")]
THREE = SESSIONS[3:]
"""Those of one subject."""
OPTIONS = {"chunk_voxels": 64, "shard_voxels": 256}
"""The betas of each session are two objects."""
STORES = "faulty-stores"
"""Bucket for stores on the S3 server."""

Result = TypeVar("Result")


@pytest.fixture(scope="session")
def builders(_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builders]:
    """What builds in processes that may be killed."""
    with Builders.running(tmp_path_factory.mktemp("builders") / "errors", cache=_cache) as running:
        yield running


@pytest.fixture(scope="session")
def whole(builders: Builders, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an uninterrupted build; not to be written to."""
    folder = tmp_path_factory.mktemp("whole")
    outcome = builders.build(folder / "store", bucket=str(tiny), **OPTIONS)
    assert outcome.reports == tuple((*one, "built") for one in SESSIONS), outcome
    assert [path.name for path in folder.iterdir()] == ["store"]
    return folder / "store"


# --- what is there ----------------------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, and every folder with None."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: None if path.is_dir() else path.read_bytes() for name, path in paths.items()}


def files_of(store: Path, *sessions: tuple[str, str]) -> dict[str, bytes]:
    """The files of a store that holds some sessions of one subject, and these only."""
    groups = {"/".join(one) for one in sessions}
    above = {"zarr.json", f"{sessions[0][0]}/zarr.json"}
    return {
        name: content
        for name, content in tree(store).items()
        if content is not None and (name in above or (name.rpartition("/ses-")[0] and name[:13] in groups))
    }


@functools.cache
def from_bucket(bucket: Path, subject: str, session: str) -> xr.Dataset:
    """What a session is; for a bucket that nobody writes to."""
    return open_betas(subject, session=session, bucket=bucket).compute(scheduler="synchronous")


def from_store(store: str | Path, subject: str, session: str, **options: Any) -> xr.Dataset | None:
    """What a store shows of a session: every value, or None where it says that there is no such session."""
    try:
        ds = open_betas(subject, session=session, store=store, **options)
    except NotInStoreError:
        return None
    return ds.compute(scheduler="synchronous")


def whole_sessions(store: Path, tiny: Path, whole: Path) -> list[tuple[str, str]]:
    """Return the sessions of a store; each is as from the bucket and byte for byte as it should be, or not there."""
    found = []
    for subject, session in SESSIONS:
        ds = from_store(store, subject, session)
        if ds is None:
            assert not (store / subject / session).exists()
        else:
            xr.testing.assert_identical(ds, from_bucket(tiny, subject, session))
            assert tree(store / subject / session) == tree(whole / subject / session)
            found.append((subject, session))
    return found


def workshop(store: Path) -> Path:
    """The folder beside a store on a local disk in which sessions are written."""
    return store.with_name(f".{store.name}.building")


def staged(store: Path) -> list[str]:
    """The files that a build has left in the workshop."""
    return [name for name, content in tree(workshop(store)).items() if content is not None and "/" in name]


def expect_same(store: Path, other: Path) -> None:
    """A store must be byte for byte the other, with nothing beside it."""
    assert tree(store) == tree(other)
    assert not workshop(store).exists()


def statuses(reports: list[SessionReport]) -> dict[tuple[str, str], str]:
    return {(one.subject, one.session): one.status for one in reports}


def in_background(function: Callable[..., Result], *args: Any, **kwargs: Any) -> Future[Result]:
    """Call in a thread that nobody has to wait for."""
    future: Future[Result] = Future()

    def call() -> None:
        try:
            future.set_result(function(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  (for whoever asks for the result)
            future.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return future


def build(to: object, **given: Any) -> list[SessionReport]:
    """Build in this process, within a minute."""
    return in_background(build_store, to, **{"subjects": "sub-03", **OPTIONS, **given}).result(timeout=60)


# --- killed on a local disk -------------------------------------------------------------------------------------------


def random_moment(chance: random.Random, left: int, *, is_new: bool, workers: int) -> Moment:
    """A moment that a build with so many sessions left comes to: before its first session, or in one of them."""
    kind = chance.choice([READ, READ, WRITE, WRITE, CHUNK, CHUNK, PUBLISH, CLEAN, *([BEGIN] * 4 if is_new else [])])
    number = chance.randint(1, {READ: 55, WRITE: 55, CHUNK: 2}.get(kind, 1))
    # With two at a time, one that is begun may be past the moment: one that is not begun must be left.
    latest = 0 if kind == BEGIN else max(0, left - workers)
    published = min(chance.randint(0, latest), chance.randint(0, latest))
    return Moment(kind, number, published, delay=chance.choice([0, chance.uniform(0, 0.003)]))


@full("25 kills and the builds after them; test_killed_before_each_step… is in the fast tier")
def test_killed_at_25_random_moments(builders: Builders, tiny: Path, whole: Path, tmp_path: Path) -> None:
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
            after = whole_sessions(store, tiny, whole)
            assert set(before) <= set(after), moment
            if outcome.killed:
                kills.append((len(after), len(after) > len(before), staged(store)))
            else:
                assert outcome.reports, outcome
        if in_a_row == 7 or len(kills) == 25:
            outcome = builders.build(store, bucket=str(tiny), **OPTIONS)
            assert [one[:2] for one in outcome.reports] == SESSIONS, outcome
            expect_same(store, whole)
    assert len(kills) == 25
    # All over the build: before there was anything, between sessions, and in the midst of one.
    assert len({n_whole for n_whole, _, _ in kills}) >= 4
    assert sum(grown for _, grown, _ in kills) >= 5
    assert sum(not there for _, _, there in kills) >= 5
    assert sum(bool(there) for _, _, there in kills) >= 5
    assert any("/betas/c/0/" in name for _, _, there in kills for name in there)


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


def test_killed_while_a_session_is_renewed(builders: Builders, own_tiny: Path, whole: Path, tmp_path: Path) -> None:
    """Its readers see the one from before or the new one."""
    old = from_bucket(own_tiny, *THREE[1])
    negate(betas_file(own_tiny, *THREE[1]))
    new = open_betas("sub-03", session=2, bucket=own_tiny).compute()
    given = {"bucket": str(own_tiny), "subjects": "sub-03", "sessions": 2, **OPTIONS}
    renewed = Path(shutil.copytree(whole, tmp_path / "renewed"))
    shutil.rmtree(renewed.joinpath(*THREE[1]))
    builders.build(renewed, **given)

    def state(store: Path) -> str:
        found = from_store(store, *THREE[1])
        return "none" if found is None else "old" if found.identical(old) else "new" if found.identical(new) else "?"

    store = Path(shutil.copytree(whole, tmp_path / "store"))
    states = []
    for number in range(1, 10):
        outcome = builders.build(store, Moment(PUBLISH, number, exact=True), **given)
        if not outcome.killed:
            break
        states.append(state(store))
    assert states == ["old"]
    assert state(store) == "new"
    expect_same(store, renewed)

    other = Path(shutil.copytree(whole, tmp_path / "other"))
    assert builders.build(other, Moment(CLEAN, 1, published=len(states), exact=True), **given).killed
    assert state(other) == "new"
    builders.build(other, **given)
    expect_same(other, renewed)


def test_interrupted_by_the_user(builders: Builders, tiny: Path, whole: Path, tmp_path: Path) -> None:
    """Ctrl-C ends a build in threads long before all is done, and nothing is left half-written."""
    store = tmp_path / "store"
    for workers in (1, 2):
        before = len(whole_sessions(store, tiny, whole))
        moment = Moment(CHUNK, exact=True, signal="SIGINT")
        outcome = builders.build(store, moment, bucket=str(tiny), workers=workers, **OPTIONS)
        assert outcome.error[0] == "KeyboardInterrupt", outcome
        assert before <= len(whole_sessions(store, tiny, whole)) < len(SESSIONS)
        assert not workshop(store).exists()
    assert len(builders.build(store, bucket=str(tiny), **OPTIONS).reports) == len(SESSIONS)
    expect_same(store, whole)


# --- an object store --------------------------------------------------------------------------------------------------


class Stores:
    """Stores on the S3 server, behind a proxy that may do harm; the tests look at them past it."""

    def __init__(self, s3: Any, proxy: FaultyProxy, whole: Path, tiny: Path) -> None:
        self.proxy = proxy
        self._s3, self._whole, self._tiny = s3, whole, tiny

    def options(self, *, direct: bool = False) -> dict[str, Any]:
        """The options of a store's file system."""
        endpoint = self._s3.endpoint if direct else self.proxy.endpoint
        return {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": endpoint}}

    @property
    def source(self) -> dict[str, Any]:
        """The tiny bucket, read through the proxy."""
        return {"bucket": self._s3.url, "storage_options": {"client_kwargs": {"endpoint_url": self.proxy.endpoint}}}

    def begun(self, name: str, *sessions: tuple[str, str]) -> str:
        """Put a store there as if these sessions had been built; its URL."""
        for key, content in files_of(self._whole, *sessions).items():
            self._s3.client.put_object(Bucket=STORES, Key=f"{name}/{key}", Body=content)
        return f"s3://{STORES}/{name}"

    def sums(self, url: str) -> dict[str, str]:
        """The MD5 of every object of a store, which the server's ETag is."""
        prefix = f"{url.removeprefix(f's3://{STORES}/')}/"
        found = self._s3.client.list_objects_v2(Bucket=STORES, Prefix=prefix)
        assert not found["IsTruncated"]
        return {one["Key"].removeprefix(prefix): one["ETag"].strip('"') for one in found.get("Contents", [])}

    def content(self, url: str, key: str) -> bytes:
        """One object of a store."""
        key = f"{url.removeprefix(f's3://{STORES}/')}/{key}"
        return self._s3.client.get_object(Bucket=STORES, Key=key)["Body"].read()

    def expected(self, *sessions: tuple[str, str]) -> dict[str, str]:
        """The MD5 of what a store of these sessions consists of."""
        files = files_of(self._whole, *sessions)
        return {key: hashlib.md5(content).hexdigest() for key, content in files.items()}

    def whole_sessions(self, url: str) -> list[tuple[str, str]]:
        """As the function of this name, of the two sessions that are built here."""
        there, found = self.sums(url), []
        for subject, session in THREE[:2]:
            ds = from_store(url, subject, session, store_options=self.options(direct=True))
            group = f"{subject}/{session}/"
            if ds is None:
                assert f"{group}zarr.json" not in there
            else:
                xr.testing.assert_identical(ds, from_bucket(self._tiny, subject, session))
                expected = self.expected((subject, session)).items()
                assert {one for one in there.items() if one[0].startswith(group)} <= expected
                found.append((subject, session))
        return found

    def expect_same(self, url: str, *sessions: tuple[str, str]) -> None:
        """A store must be byte for byte the uninterrupted one, of these sessions."""
        assert self.sums(url) == self.expected(*sessions)

    def build(self, url: str, **given: Any) -> list[SessionReport]:
        """Build in this process, through the proxy."""
        return build(url, **{"bucket": self._tiny, "store_options": self.options(), **given})


@pytest.fixture(scope="session")
def proxy(s3: Any) -> Iterator[FaultyProxy]:
    with FaultyProxy.before(s3.endpoint) as running:
        yield running


@pytest.fixture(scope="session")
def stores(s3: Any, proxy: FaultyProxy, whole: Path, tiny: Path) -> Stores:
    s3.client.create_bucket(Bucket=STORES, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    return Stores(s3, proxy, whole, tiny)


TWO = r"/sub-03/ses-02/"
FAULTS: list[tuple[str, Action, int, type[Exception], str]] = [
    (rf"PUT .*{TWO}", answer(500, "InternalError"), 2, BucketUnreachableError, "could not be reached"),
    (rf"PUT .*{TWO}", drop, 6, BucketUnreachableError, "could not be reached"),
    (rf"PUT .*{TWO}", answer(403, "AccessDenied"), 4, AccessDeniedError, "the server refuses it"),
    (rf"GET .*{TWO}in_roi/", flip, 0, DataIntegrityError, "what was read back is not what was written"),
    (rf"PUT .*{TWO}betas/c/0/0", flip, 0, DataIntegrityError, "what was read back is not what was written"),
    (rf"PUT .*{TWO}zarr.json", answer(503, "SlowDown"), 0, BucketUnreachableError, "could not be reached"),
]
"""Requests of a build; what befalls all of them but the first few; the error, and what it says."""


@full("six builds that fail after all attempts; test_killed_before_each_step… is in the fast tier")
def test_a_server_that_fails(stores: Stores) -> None:
    """Whatever goes wrong in the writing of a session: it is named and stays unseen, and those before are whole."""
    url = stores.begun("failing", THREE[0])
    for pattern, action, skip, kind, text in FAULTS:
        with stores.proxy.rule(pattern, action, skip=skip), pytest.raises(kind, match=text) as caught:
            stores.build(url, sessions=[1, 2])
        assert str(caught.value).startswith("sub-03/ses-02 was not stored: "), pattern
        assert stores.whole_sessions(url) == THREE[:1], pattern
    # Neither does plain Zarr see it, although nearly all of it is there.
    assert stores.sums(url).keys() == stores.expected(*THREE[:2]).keys() - {"sub-03/ses-02/zarr.json"}
    plain = zarr.storage.FsspecStore.from_url(url, storage_options=stores.options(direct=True), read_only=True)
    assert zarr.open_group(plain, path="sub-03/ses-01", mode="r")["betas"].ndim == 2
    with pytest.raises(zarr.errors.GroupNotFoundError):
        zarr.open_group(plain, path="sub-03/ses-02", mode="r")
    # A build may not learn that it was successful in the end.
    with stores.proxy.rule(rf"PUT .*{TWO}zarr.json", lose_answer), pytest.raises(BucketUnreachableError, match=TWO[1:]):
        stores.build(url, sessions=2)
    assert stores.whole_sessions(url) == THREE[:2]
    assert statuses(stores.build(url, sessions=[1, 2])) == dict.fromkeys(THREE[:2], "complete")
    stores.expect_same(url, *THREE[:2])


def test_faults_that_pass(stores: Stores) -> None:
    """What is tried once more does no harm, whether it had been done before or not."""
    url = stores.begun("passing", THREE[0])
    rules = [
        (rf"PUT .*{TWO}", answer(503, "SlowDown"), 4),
        (rf"PUT .*{TWO}", answer(500, "InternalError"), 9),
        (rf"PUT .*{TWO}betas/c/0/0", drop, 0),
        (rf"PUT .*{TWO}betas/c/0/1", lose_answer, 0),
        (rf"GET .*{TWO}betas/c/0/1", drop, 0),
        (rf"PUT .*{TWO}zarr.json", lose_answer, 0),
    ]
    with contextlib.ExitStack() as stack:
        for pattern, action, skip in rules:
            stack.enter_context(stores.proxy.rule(pattern, action, skip=skip, times=1))
        assert statuses(stores.build(url, sessions=2)) == {THREE[1]: "built"}
        assert stores.proxy.unused == []
    stores.expect_same(url, *THREE[:2])


@full("builds on a server, ten seconds; test_killed_before_each_step… is in the fast tier")
def test_killed_while_writing_to_a_server(stores: Stores, builders: Builders, tiny: Path) -> None:
    """At five requests, done by the server all the same; the last of them makes the session visible."""
    url = stores.begun("killed", THREE[0])
    given = {
        "to": url,
        "bucket": str(tiny),
        "store_options": stores.options(),
        "subjects": "sub-03",
        "sessions": [1, 2],
    }
    chance = random.Random(4)
    moments = [(rf"PUT .*{TWO}", chance.randrange(60)) for _ in range(4)]
    for pattern, skip in [*moments, (rf"PUT .*{TWO}zarr.json", 0)]:
        pids: queue.Queue[int] = queue.Queue()

        def kill(request: Request, pids: queue.Queue[int] = pids) -> None:
            request.ask(request.body())
            os.kill(pids.get(timeout=60), signal.SIGKILL)
            request.hang_up()

        assert stores.whole_sessions(url) == THREE[:1]
        with stores.proxy.rule(pattern, kill, skip=skip, times=1):
            (pid,) = builders.start([given | OPTIONS])
            pids.put(pid)
            (outcome,) = builders.outcomes()
        assert outcome.killed, outcome
    assert statuses(stores.build(url, sessions=[1, 2])) == dict.fromkeys(THREE[:2], "complete")
    stores.expect_same(url, *THREE[:2])


# --- two at once ------------------------------------------------------------------------------------------------------


def all_of(outcomes: list[Outcome]) -> dict[tuple[str, str], list[str]]:
    """What several builders that succeeded say of each session."""
    assert [one.text for one in outcomes if one.error] == []
    every: dict[tuple[str, str], list[str]] = {}
    for subject, session, status in sorted(report for one in outcomes for report in one.reports):
        every.setdefault((subject, session), []).append(status)
    return every


def test_two_builders_on_a_disk(builders: Builders, tiny: Path, whole: Path, tmp_path: Path) -> None:
    """No session is built twice, and the store is that of one builder."""
    one = {"to": str(tmp_path / "store"), "bucket": str(tiny), **OPTIONS}
    builders.start([one | {"workers": 2}, one])
    outcomes = builders.outcomes()
    assert all_of(outcomes) == {session: ["built", "complete"] for session in SESSIONS}
    assert sum(outcome.events[PUBLISH] for outcome in outcomes) == len(SESSIONS)
    expect_same(tmp_path / "store", whole)


@full("thousands of locks, five seconds; test_locks takes single ones")
def test_writers_that_come_and_go(tmp_path: Path) -> None:
    """Whoever is done removes the folder beside the store, which others are about to use."""
    root = open_store(tmp_path / "store")

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


def test_two_builders_of_one_session(builders: Builders, tiny: Path, whole: Path, tmp_path: Path) -> None:
    """One waits until the other is done, and finds nothing to do."""
    one = {"to": str(tmp_path / "store"), "bucket": str(tiny), "subjects": "sub-03", "sessions": 1, **OPTIONS}
    builders.start([one, one])
    assert all_of(builders.outcomes()) == {THREE[0]: ["built", "complete"]}
    assert files_of(tmp_path / "store", THREE[0]) == files_of(whole, THREE[0])
    assert not workshop(tmp_path / "store").exists()


@full("builders beside each other, ten seconds; test_killed_before_each_step… is in the fast tier")
def test_two_builders_of_which_one_is_killed(builders: Builders, tiny: Path, whole: Path, tmp_path: Path) -> None:
    """Who waits for a session of the other's builds it in his place."""
    store = tmp_path / "store"
    one = {"to": str(store), "bucket": str(tiny), **OPTIONS}
    builders.start([one, one], [Moment(CHUNK, 2, exact=True), None])
    killed, other = builders.outcomes()
    assert killed.killed
    assert other.reports == tuple((*session, "built") for session in SESSIONS), other
    expect_same(store, whole)


@full("processes, three seconds; test_killed_before_each_step… is in the fast tier")
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


def test_another_builder_comes_first_on_a_disk(tiny: Path, whole: Path, tmp_path: Path) -> None:
    """What has been completed since it was looked for is left alone."""
    store = Path(shutil.copytree(whole, tmp_path / "store"))
    group, ready = store.joinpath(*THREE[1]), tmp_path / "ready"
    group.rename(ready)
    inode = ready.stat().st_ino
    meanwhile = once(lambda: ready.rename(group))
    assert statuses(build(store, bucket=tiny, sessions=2, progress=meanwhile)) == {THREE[1]: "complete"}
    assert group.stat().st_ino == inode
    expect_same(store, whole)


@full("processes, three seconds; test_killed_before_each_step… is in the fast tier")
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
    assert "another place" in loser.text or "another store" in loser.text
    expect_of_one(tree(store), ["lz4", "zstd"][winner])
    for session in THREE[:2]:
        xr.testing.assert_identical(from_store(store, *session), from_bucket(tiny, *session))
    assert not workshop(store).exists()


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


# --- a full disk ------------------------------------------------------------------------------------------------------


@contextmanager
def small_disk(folder: Path, n_bytes: int) -> Iterator[Callable[[int], None]]:
    """Mount a disk of a size; yields what gives it another."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={n_bytes}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("no mount here")
    if done.returncode:
        pytest.skip("only root may mount a small disk")

    def resize(n_bytes: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={n_bytes}", str(folder)], check=True, timeout=30)

    try:
        yield resize
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=30)


def pages(files: dict[str, bytes]) -> int:
    """Bytes that files take on such a disk."""
    return sum(-(-len(content) // 4096) * 4096 for content in files.values())


def test_a_full_disk(tiny: Path, whole: Path, tmp_path: Path) -> None:
    """The session that did not fit is named, those before are whole, and with more room the build ends."""
    size = pages(files_of(whole, *THREE[:2])) + pages(files_of(whole, THREE[2])) // 2
    store = tmp_path / "disk/store"
    with small_disk(store.parent, size) as resize:
        with pytest.raises(OSError, match=r"sub-03/ses-03 was not stored: .*No space left") as caught:
            build(store, bucket=tiny)
        assert caught.value.errno == errno.ENOSPC
        assert whole_sessions(store, tiny, whole) == THREE[:2]
        assert not workshop(store).exists()
        resize(4 * size)
        assert list(statuses(build(store, bucket=tiny)).values()) == ["complete", "complete", "built"]
        assert {name: content for name, content in tree(store).items() if content} == files_of(whole, *THREE)
        assert not workshop(store).exists()


def test_a_file_that_grows_too_large(builders: Builders, tiny: Path, whole: Path, tmp_path: Path) -> None:
    """The same where the system bounds files instead: what was written of it in part is gone."""
    store = tmp_path / "store"
    given = {"bucket": str(tiny), "subjects": "sub-03", **OPTIONS}
    largest = [max(map(len, files_of(whole, session).values())) for session in THREE]
    assert largest[0] < largest[1] < largest[2]
    outcome = builders.build(store, max_bytes=largest[2] - 1, **given)
    assert "OSError" in outcome.error
    assert outcome.text.startswith(f"[Errno {errno.EFBIG}] sub-03/ses-03 was not stored")
    assert whole_sessions(store, tiny, whole) == THREE[:2]
    assert not workshop(store).exists()
    assert len(builders.build(store, **given).reports) == 3
    assert {name: content for name, content in tree(store).items() if content} == files_of(whole, *THREE)


# --- a dead worker ----------------------------------------------------------------------------------------------------


@full("processes, ten seconds; test_killed_before_each_step… is in the fast tier")
def test_a_worker_process_that_dies(stores: Stores, whole: Path, tiny: Path, tmp_path: Path) -> None:
    """In the middle of a session: the error names it, and the next run ends the store."""
    store = tmp_path / "store"
    given = {"subjects": "sub-03", "sessions": [1, 2], **stores.source}
    others = set(multiprocessing.active_children())

    def kill(_: Request) -> None:
        (worker,) = set(multiprocessing.active_children()) - others
        os.kill(worker.pid, signal.SIGKILL)

    with (
        stores.proxy.rule(f"GET .*{TWO}.*SingletrialBetas_statmap.nii.gz", kill, times=1),
        pytest.raises(RuntimeError, match=r"^sub-03/ses-02 was not stored: .*process") as caught,
    ):
        build(store, scheduler="processes", **given)
    assert "ses-01" not in str(caught.value)
    found = [session for session in THREE if from_store(store, *session)]
    assert found == THREE[:1]
    assert list(statuses(build(store, **given)).values()) == ["complete", "built"]
    assert not workshop(store).exists()


@full("a cluster, fifteen seconds; test_killed_before_each_step… is in the fast tier")
def test_a_worker_of_a_cluster_that_dies(stores: Stores, tmp_path: Path) -> None:
    """Dask gives the session to another worker, as often as it is told to; then the error names the session."""
    from distributed import Client, LocalCluster

    given = {"subjects": "sub-03", **stores.source}
    store = tmp_path / "store"
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster,
        Client(cluster) as client,
    ):

        def kill(_: Request) -> None:
            (worker,) = cluster.workers.values()
            os.kill(worker.pid, signal.SIGKILL)

        def build_and_kill(session: int) -> list[SessionReport]:
            pattern = f"GET .*/ses-0{session}/.*SingletrialBetas_statmap.nii.gz"
            with stores.proxy.rule(pattern, kill, times=1):
                reports = build(store, client=client, sessions=session, **given)
                assert stores.proxy.unused == []
            return reports

        assert statuses(build_and_kill(1)) == {THREE[0]: "built"}
        cluster.scheduler.allowed_failures = 0
        with pytest.raises(RuntimeError, match=r"^sub-03/ses-02 was not stored: "):
            build_and_kill(2)
    assert [session for session in THREE if from_store(store, *session)] == THREE[:1]
    assert statuses(build(store, sessions=[1, 2], **given)) == {THREE[0]: "complete", THREE[1]: "built"}
    assert not workshop(store).exists()


# --- sources ----------------------------------------------------------------------------------------------------------


def negate(path: Path) -> None:
    """Write a file of betas again with other values, as valid as before."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    for place in range(352 + 3, len(content), 4):  # the sign of each float32
        content[place] ^= 0x80
    path.write_bytes(gzip.compress(bytes(content), mtime=0))


def touch(path: Path) -> None:
    """Give a file another time, and with that another ETag."""
    os.utime(path, (0, 0))


@pytest.mark.parametrize("change", [negate, touch])
def test_a_source_that_was_replaced(
    own_tiny: Path, whole: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Its session is renewed, and no other is touched."""
    store = Path(shutil.copytree(whole, tmp_path / "store"))
    old = from_store(store, *THREE[1])
    change(betas_file(own_tiny, *THREE[1]))
    xr.testing.assert_identical(from_store(store, *THREE[1]), old)
    said = statuses(build(store, bucket=own_tiny))
    assert said == {THREE[0]: "complete", THREE[1]: "renewed", THREE[2]: "complete"}
    new = open_betas("sub-03", session=2, bucket=own_tiny).compute()
    assert not new.identical(old)
    xr.testing.assert_identical(from_store(store, *THREE[1]), new)
    group = f"{'/'.join(THREE[1])}/"
    before, after = ({one for one in tree(path).items() if not one[0].startswith(group)} for path in (whole, store))
    assert before == after
    assert not workshop(store).exists()


@full("a server, five seconds; test_a_source_that_was_replaced is in the fast tier")
def test_a_source_that_was_replaced_and_a_server(stores: Stores, own_tiny: Path) -> None:
    """There the session from before is gone while it is renewed, and is never mixed with the new one."""
    url, options = stores.begun("renewed", *THREE[:2]), {"store_options": stores.options(direct=True)}
    negate(betas_file(own_tiny, *THREE[1]))
    with (
        stores.proxy.rule(rf"PUT .*{TWO}betas/c/0/1", answer(403, "AccessDenied")),
        pytest.raises(AccessDeniedError, match=r"^sub-03/ses-02 was not stored"),
    ):
        stores.build(url, bucket=own_tiny, sessions=[1, 2])
    assert from_store(url, *THREE[1], **options) is None
    stores.begun("renewed", THREE[1])
    stores.proxy.seen.clear()
    said = statuses(stores.build(url, bucket=own_tiny, sessions=[1, 2]))
    assert said == {THREE[0]: "complete", THREE[1]: "renewed"}
    new = open_betas("sub-03", session=2, bucket=own_tiny).compute()
    xr.testing.assert_identical(from_store(url, *THREE[1], **options), new)
    assert [line for line in stores.proxy.seen if line.startswith(("PUT", "DELETE")) and TWO not in line] == []


def test_sources_that_are_replaced_during_the_build(own_tiny: Path, tmp_path: Path) -> None:
    """A session is of what the bucket held when it was begun, whatever was there before and comes after."""
    store = tmp_path / "store"
    old = from_bucket(own_tiny, *THREE[0])
    told: list[Any] = []

    def replace(progress: Any) -> None:
        if not told:
            negate(betas_file(own_tiny, *THREE[1]))
        if progress.finished and progress.finished.session == "ses-01":
            negate(betas_file(own_tiny, *THREE[0]))
        told.append(progress)

    build(store, bucket=own_tiny, sessions=[1, 2], progress=replace)
    xr.testing.assert_identical(from_store(store, *THREE[0]), old)
    new = open_betas("sub-03", session=2, bucket=own_tiny).compute()
    xr.testing.assert_identical(from_store(store, *THREE[1]), new)
    said = statuses(build(store, bucket=own_tiny, sessions=[1, 2]))
    assert said == {THREE[0]: "renewed", THREE[1]: "complete"}


def at(place: int) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[place] ^= 1
        return bytes(changed)

    return change


@pytest.mark.parametrize("roi", sampled([None, "FFA1"], keep=1))
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: content[:-8],
        at(30_000),
        at(-5),
        at(-1),
    ],
    ids=["half", "a byte less", "no trailer", "a bit", "the checksum", "the length"],
)
def test_a_broken_source(own_tiny: Path, tmp_path: Path, damage: Callable[[bytes], bytes], roi: str | None) -> None:
    """It is never stored, not even where all that is kept comes before the damage; the other sessions are."""
    path = betas_file(own_tiny, *THREE[1])
    content = path.read_bytes()
    path.write_bytes(damage(content))
    store = tmp_path / "store"
    with pytest.raises(DataIntegrityError, match=r"^sub-03/ses-02 was not stored: .*SingletrialBetas"):
        build(store, bucket=own_tiny, sessions=[2, 3], roi=roi)
    assert [session for session in THREE if from_store(store, *session, roi=roi) is not None] == [THREE[2]]
    assert not workshop(store).exists()
    path.write_bytes(content)
    assert statuses(build(store, bucket=own_tiny, sessions=[2, 3])) == {THREE[1]: "built", THREE[2]: "complete"}


@full("a server, five seconds; test_a_broken_source is in the fast tier")
def test_a_source_that_breaks_on_its_way(s3: Any, stores: Stores, tiny: Path, tmp_path: Path) -> None:
    """What a server sends is checked to its end; also whether it was all of one object."""
    path = betas_file(tiny, *THREE[1])
    key = path.relative_to(tiny).as_posix()
    store = tmp_path / "store"

    def put(content: bytes) -> None:
        s3.client.put_object(Bucket="laion-fmri", Key=key, Body=content)

    def replace(request: Request) -> None:
        request.forward()
        put(path.read_bytes() + b"\0")

    faults: list[tuple[Action, type[Exception], str]] = [
        (flip, DataIntegrityError, "SingletrialBetas"),
        (cut, DataIntegrityError, r"expected \d+ bytes"),
        (drop, BucketUnreachableError, "could not be reached"),
        (replace, DataIntegrityError, "was replaced"),
    ]
    try:
        for action, kind, text in faults:
            with (
                stores.proxy.rule(f"GET .*{key}", action),
                pytest.raises(kind, match=f"^sub-03/ses-02 was not stored: .*{text}"),
            ):
                build(store, sessions=2, **stores.source)
            assert from_store(store, *THREE[1]) is None
            assert not workshop(store).exists()
    finally:
        put(path.read_bytes())
    assert statuses(build(store, sessions=2, **stores.source)) == {THREE[1]: "built"}
    xr.testing.assert_equal(from_store(store, *THREE[1]), from_bucket(tiny, *THREE[1]))
