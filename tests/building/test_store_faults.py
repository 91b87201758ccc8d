"""A build of a store may be interrupted at any moment, in any way: what is there is whole, and the next run ends it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import multiprocessing
import os
import queue
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import s3fs
import xarray as xr
import zarr
from builders import Builders
from built_stores import (
    OPTIONS,
    THREE,
    TWO,
    Stores,
    build,
    files_of,
    from_bucket,
    from_store,
    negate,
    statuses,
    tree,
    whole_sessions,
    workshop,
)
from demo_files import betas_file
from faulty_proxy import Action, Request, answer, cut, drop, flip, lose_answer
from tiers import full, sampled

from intake_laion_fmri import open_betas
from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError
from intake_laion_fmri.store import SessionReport

pytest_plugins = ["built_stores_fixtures"]


# --- an object store --------------------------------------------------------------------------------------------------


FAULTS: list[tuple[str, Action, int, type[Exception], str]] = [
    (rf"PUT .*{TWO}", answer(500, "InternalError"), 2, BucketUnreachableError, "could not be reached"),
    (rf"PUT .*{TWO}", drop, 6, BucketUnreachableError, "could not be reached"),
    (rf"PUT .*{TWO}", answer(403, "AccessDenied"), 4, AccessDeniedError, "the server denies access"),
    (rf"GET .*{TWO}in_roi/", flip, 0, DataIntegrityError, "the data read back differ from those written"),
    (rf"PUT .*{TWO}betas/c/0/0", flip, 0, DataIntegrityError, "the data read back differ from those written"),
    (rf"PUT .*{TWO}zarr.json", answer(503, "SlowDown"), 0, BucketUnreachableError, "could not be reached"),
]
"""Requests of a build; what befalls all of them but the first few; the error, and what it says."""


async def expect_plain_zarr_to_see_one_session(url: str, options: dict[str, Any]) -> None:
    """Zarr's store of a URL makes a client that nothing closes; this one is closed here."""
    file_system = s3fs.S3FileSystem(asynchronous=True, skip_instance_cache=True, **options)
    client = await file_system.set_session()
    try:
        plain = zarr.storage.FsspecStore(file_system, path=url.removeprefix("s3://"), read_only=True)
        group = await zarr.api.asynchronous.open_group(plain, path="sub-03/ses-01", mode="r")
        assert (await group.getitem("betas")).ndim == 2
        with pytest.raises(zarr.errors.GroupNotFoundError):
            await zarr.api.asynchronous.open_group(plain, path="sub-03/ses-02", mode="r")
    finally:
        await client.close()


@full("six builds that fail after all attempts; faults that pass are in the fast tier")
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
    asyncio.run(expect_plain_zarr_to_see_one_session(url, stores.options(direct=True)))
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


@full("builds on a server, ten seconds; test_killed_while_a_session_is_renewed is in the fast tier")
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


def test_a_full_disk(tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """The session that did not fit is named, those before are whole, and with more room the build ends."""
    size = pages(files_of(whole_store, *THREE[:2])) + pages(files_of(whole_store, THREE[2])) // 2
    store = tmp_path / "disk/store"
    with small_disk(store.parent, size) as resize:
        with pytest.raises(OSError, match=r"sub-03/ses-03 was not stored: .*No space left") as caught:
            build(store, bucket=tiny)
        assert caught.value.errno == errno.ENOSPC
        assert whole_sessions(store, tiny, whole_store) == THREE[:2]
        assert not workshop(store).exists()
        resize(4 * size)
        assert list(statuses(build(store, bucket=tiny)).values()) == ["complete", "complete", "built"]
        assert {name: content for name, content in tree(store).items() if content} == files_of(whole_store, *THREE)
        assert not workshop(store).exists()


def test_a_file_that_grows_too_large(builders: Builders, tiny: Path, whole_store: Path, tmp_path: Path) -> None:
    """The same where the system bounds files instead: what was written of it in part is gone."""
    store = tmp_path / "store"
    given = {"bucket": str(tiny), "subjects": "sub-03", **OPTIONS}
    largest = [max(map(len, files_of(whole_store, session).values())) for session in THREE]
    assert largest[0] < largest[1] < largest[2]
    outcome = builders.build(store, max_bytes=largest[2] - 1, **given)
    assert "OSError" in outcome.error
    assert outcome.text.startswith(f"[Errno {errno.EFBIG}] sub-03/ses-03 was not stored")
    assert whole_sessions(store, tiny, whole_store) == THREE[:2]
    assert not workshop(store).exists()
    assert len(builders.build(store, **given).reports) == 3
    assert {name: content for name, content in tree(store).items() if content} == files_of(whole_store, *THREE)


# --- a dead worker ----------------------------------------------------------------------------------------------------


@full("processes, ten seconds; test_killed_while_a_session_is_renewed is in the fast tier")
def test_a_worker_process_that_dies(stores: Stores, whole_store: Path, tiny: Path, tmp_path: Path) -> None:
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


@full("a cluster, fifteen seconds; test_killed_while_a_session_is_renewed is in the fast tier")
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


def touch(path: Path) -> None:
    """Give a file another time, and with that another ETag."""
    os.utime(path, (0, 0))


@pytest.mark.parametrize("change", [negate, touch])
def test_a_source_that_was_replaced(
    own_tiny: Path, whole_store: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Its session is renewed, and no other is touched."""
    store = Path(shutil.copytree(whole_store, tmp_path / "store"))
    old = from_store(store, *THREE[1])
    change(betas_file(own_tiny, *THREE[1]))
    xr.testing.assert_identical(from_store(store, *THREE[1]), old)
    said = statuses(build(store, bucket=own_tiny))
    assert said == {THREE[0]: "complete", THREE[1]: "renewed", THREE[2]: "complete"}
    new = open_betas("sub-03", session=2, bucket=own_tiny).compute()
    assert not new.identical(old)
    xr.testing.assert_identical(from_store(store, *THREE[1]), new)
    group = f"{'/'.join(THREE[1])}/"
    before, after = (
        {one for one in tree(path).items() if not one[0].startswith(group)} for path in (whole_store, store)
    )
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
    sampled(
        [
            lambda content: content[: len(content) // 2],
            lambda content: content[:-1],
            lambda content: content[:-8],
            at(30_000),
            at(-5),
            at(-1),
        ],
        keep=3,
    ),
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
