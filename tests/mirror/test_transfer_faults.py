"""Mirroring may be interrupted at any moment, by anything: the next run goes on from there, and no byte is wrong."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_proxy import (
    Action,
    FaultyProxy,
    Request,
    answer,
    claim,
    cut,
    drip,
    drop,
    flip,
    page,
    raw,
    reset,
    reset_at_once,
    shift,
    silence,
    stall,
    unranged,
)
from mirrorers import Filling, Mirrorers, serve
from tiers import full, sampled

from intake_laion_fmri.config import NetworkPolicy
from intake_laion_fmri.mirror.partial import partial_objects
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.records import METADATA_FOLDER

BUCKET = "large-files"
PIECE, REQUEST = 64 * 1024, 512 * 1024
JOBS, REQUESTS = 2, 4
IN_FLIGHT = JOBS * REQUESTS * REQUEST
"""Most bytes under way, but for small files."""


@pytest.fixture(scope="session")
def mirrorers(_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrorers]:
    """What fills mirrors in processes that may be killed."""
    with Mirrorers.running(tmp_path_factory.mktemp("mirrorers") / "errors", cache=_cache) as running:
        yield running


@pytest.fixture(scope="session")
def content() -> dict[str, bytes]:
    """The objects of a bucket: betas of 1 to 6 MB that do not pack, and small files."""
    chance = random.Random(5)
    objects = {}
    for number in range(1, 7):
        name = f"derivatives/glmsingle-tedana/sub-01/ses-{number:02d}/func/sub-01_ses-{number:02d}_task-images_"
        betas = gzip.compress(chance.randbytes(number * 1_000_000 + chance.randrange(100_000)), 1)
        objects[f"{name}space-T1w_stat-effect_desc-SingletrialBetas_statmap.nii.gz"] = betas
        objects[f"{name}desc-SingletrialBetas_trials.tsv"] = chance.randbytes(40_000)
    for label in ("FFA-1", "OFA", "EBA"):
        key = f"derivatives/rois/sub-01/face/sub-01_space-T1w_res-1pt8_label-{label}_mask.nii.gz"
        objects[key] = gzip.compress(chance.randbytes(20_000))
    return objects


@pytest.fixture(scope="session")
def server(s3: Any, content: dict[str, bytes]) -> Iterator[FaultyProxy]:
    """A proxy before a server with that bucket; half of the betas have no MD5 for an ETag."""
    s3.client.create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"}, ACL="public-read"
    )
    for number, (key, body) in enumerate(sorted(content.items())):
        put(s3.client, key, body, in_parts=number % 4 == 0)
    with FaultyProxy.before(s3.endpoint) as proxy:
        yield proxy


def put(client: Any, key: str, body: bytes, *, in_parts: bool = False) -> None:
    """Write an object; in parts its ETag is no MD5."""
    target = {"Bucket": BUCKET, "Key": key}
    if not in_parts:
        client.put_object(**target, Body=body, ACL="public-read")
        return
    upload = client.create_multipart_upload(**target, ACL="public-read")["UploadId"]
    part = client.upload_part(**target, UploadId=upload, PartNumber=1, Body=body)
    parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
    client.complete_multipart_upload(**target, UploadId=upload, MultipartUpload=parts)


def arguments(server: FaultyProxy) -> dict[str, Any]:
    options = {"client_kwargs": {"endpoint_url": server.endpoint}}
    return {"bucket": f"s3://{BUCKET}", "storage_options": options, "jobs": JOBS, "sizes": (PIECE, REQUEST)}


def files(folder: Path) -> dict[str, bytes]:
    """What a mirror holds, without what is its own."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in names.items() if not name.startswith(f"{METADATA_FOLDER}/")}


def left_over(folder: Path) -> list[str]:
    """Temporary files: everything but records, listings and the mark."""
    own = folder / METADATA_FOLDER
    paths = (path.relative_to(own).as_posix() for path in own.rglob("*") if path.is_file())
    kept = ("records", "listings", "mirror.json")
    return [name for name in paths if name.split("/")[0] not in kept or name.endswith(".tmp")]


def expect_whole(folder: Path, content: dict[str, bytes], outcome: Filling) -> None:
    """A run was completed: every file is the bucket's, has its record, and nothing else is left."""
    assert outcome.error == (), outcome
    assert files(folder) == content
    assert {record.key for record in MirrorFolder(folder).records()} == set(content)
    assert left_over(folder) == []


def expect_nothing_wrong(folder: Path, content: dict[str, bytes]) -> None:
    """Whatever is in its place is whole."""
    found = files(folder) if folder.exists() else {}
    assert {name: found[name] == content[name] for name in found} == dict.fromkeys(found, True)


def test_a_run_from_a_good_server(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """Each byte is transferred once, and a second run transfers none."""
    before, connections = server.n_bytes, server.n_connections
    expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))
    total = sum(map(len, content.values()))
    assert total <= server.n_bytes - before < total + 100_000  # the listings
    assert server.n_connections - connections <= JOBS * (REQUESTS + 4)  # they are used again
    asked = len(server.seen)
    again = mirrorers.fill(tmp_path, **arguments(server))
    assert (again.report["fetched"], again.report["bytes_received"]) == (0, 0)
    assert not [line for line in server.seen[asked:] if "list-type" not in line]


@full("half a minute of kills and resumptions; test_several_processes and test_wrong_answers resume too")
def test_25_kills(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """Killed at 25 random moments, then ended: identical, and hardly a byte transferred twice."""
    chance = random.Random(1)
    before, total = server.n_bytes, sum(map(len, content.values()))
    kills, mirrors = 0, 1
    for attempt in range(100):
        target = server.n_bytes + chance.random() * total / 20
        (pid,) = mirrorers.start([{"to": str(tmp_path / str(mirrors)), **arguments(server)}])
        until = time.monotonic() + 20
        while server.n_bytes < target and time.monotonic() < until and attempt % 5:
            time.sleep(0.001)
        time.sleep(chance.random() * 0.05)
        with contextlib.suppress(ProcessLookupError):  # it was done before
            os.kill(pid, signal.SIGKILL)
        (outcome,) = mirrorers.outcomes()
        assert outcome.signal == signal.SIGKILL or outcome.report, outcome
        expect_nothing_wrong(tmp_path / str(mirrors), content)
        kills += outcome.signal == signal.SIGKILL
        if kills == 25:
            break
        mirrors += outcome.signal != signal.SIGKILL  # there is nothing left to be killed at: another one
    assert kills == 25
    # Killed while it took over the lock of one that was killed: the name that filelock uses meanwhile is removed later.
    for path in (tmp_path / str(mirrors)).rglob("*.lock.break.*"):
        os.utime(path, (0, 0))
    expect_whole(tmp_path / str(mirrors), content, mirrorers.fill(tmp_path / str(mirrors), **arguments(server)))
    transferred, total = server.n_bytes - before, mirrors * total
    print(f"{transferred} bytes for {total}, {(transferred - total) / 25 / 1e6:.2f} MB per kill")
    assert transferred <= 1.1 * total + 25 * IN_FLIGHT


def every(number: int, action: Action) -> Action:
    """Do something with every so many-th request, and forward the others."""
    count, lock = [0], threading.Lock()

    def act(request: Request) -> None:
        with lock:
            count[0] += 1
            chosen = count[0] % number == 0
        action(request) if chosen else request.forward()

    return act


@full("a poor line, three seconds; test_wrong_answers is in the fast tier")
def test_every_third_connection_is_dropped(
    mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path
) -> None:
    """In the middle of an answer: what was received before is kept."""
    before, total = server.n_bytes, sum(map(len, content.values()))
    with server.rule("GET", every(3, drop)) as rule:
        outcome = mirrorers.fill(tmp_path, **arguments(server))
    assert rule.hits > 60
    expect_whole(tmp_path, content, outcome)
    transferred = server.n_bytes - before
    print(f"{transferred} bytes for {total}: {transferred / total:.3f}; {rule.hits // 3} dropped")
    assert transferred <= 1.1 * total
    assert outcome.report["bytes_received"] <= 1.1 * total


@pytest.mark.parametrize(
    "action",
    sampled(
        [
            pytest.param(cut, id="half the body, as if it were all"),
            pytest.param(claim(0.5), id="a length of half the body"),
            pytest.param(claim(2), id="a length of twice the body"),
            pytest.param(shift, id="as many bytes of another place"),
            pytest.param(unranged, id="the whole object instead of a part"),
            pytest.param(reset, id="a reset in the middle of the body"),
            pytest.param(reset_at_once, id="a reset instead of an answer"),
            pytest.param(page(200), id="a page, as a hotel has"),
            pytest.param(page(502), id="a gateway's page"),
            pytest.param(raw(b"SSH-2.0-OpenSSH_9.6\r\n"), id="no HTTP at all"),
            pytest.param(answer(500, "InternalError"), id="500"),
            pytest.param(answer(503, "SlowDown"), id="503"),
        ],
        keep=3,
    ),
)
def test_wrong_answers(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path, action: Action) -> None:
    """Asked again, and nothing of them is kept."""
    large = max(content, key=lambda one: len(content[one]))
    small = min(content, key=lambda one: len(content[one]))
    with (
        server.rule(f"GET /{BUCKET}/{large}", action, skip=2, times=3) as first,
        server.rule(f"GET /{BUCKET}/{small}", action, times=2) as second,
    ):
        outcome = mirrorers.fill(tmp_path, **arguments(server))
    assert first.hits == 3
    assert second.hits >= 1  # of a whole object some of these are good answers
    expect_whole(tmp_path, content, outcome)


def test_connections_are_refused(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """Every third one as soon as it is made."""
    server.drop_every = 3
    try:
        expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))
    finally:
        server.drop_every = None


@full("every copy again, five seconds; test_wrong_answers is in the fast tier")
def test_a_bit_is_flipped(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """It is noticed, by MD5 or by the gzip stream, and the object is fetched anew; nothing wrong is moved in."""
    for key in [*list(content)[:8:2], *list(content)[-2:]]:
        (tmp_path / "mirror" / key).unlink(missing_ok=True)
        with server.rule(f"GET /{BUCKET}/{key}", flip, times=1) as rule:
            outcome = mirrorers.fill(tmp_path / "mirror", **arguments(server))
        assert rule.hits == 1
        expect_whole(tmp_path / "mirror", content, outcome)


def test_bits_are_always_flipped(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """Given up after the second time, with nothing kept; the others are there."""
    key = max(content, key=lambda one: len(content[one]))
    with server.rule(f"GET /{BUCKET}/{key}", flip):
        outcome = mirrorers.fill(tmp_path, **arguments(server))
    assert "DataIntegrityError" in outcome.error
    assert key in outcome.text
    expect_nothing_wrong(tmp_path, content)
    assert files(tmp_path).keys() == content.keys() - {key}
    assert left_over(tmp_path) == []


def test_an_object_may_not_be_read(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """It is named; the others are copied."""
    key = max(content, key=lambda one: len(content[one]))
    with server.rule(f"GET /{BUCKET}/{key}", answer(403, "AccessDenied")):
        outcome = mirrorers.fill(tmp_path, **arguments(server))
    assert "AccessDeniedError" in outcome.error
    assert key in outcome.text
    assert files(tmp_path).keys() == content.keys() - {key}
    expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))


@full("waits, three seconds; test_wrong_answers is in the fast tier")
def test_the_server_is_away(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """Given up in the time that is stated; the next run goes on."""
    with server.rule(f"GET /{BUCKET}/deriv", answer(503, "SlowDown")):
        start = time.monotonic()
        outcome = mirrorers.fill(tmp_path, network="attempts=3,total_seconds=4", **arguments(server))
        assert time.monotonic() - start < 20
    assert "BucketUnreachableError" in outcome.error
    assert server.endpoint in outcome.text
    assert "3 attempts" in outcome.text
    expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))


WAITS = full("four seconds of waiting; the fast tier gives up silent servers of listings and small files")


@pytest.mark.parametrize(
    ("action", "network"),
    [
        pytest.param(silence, "attempts=2,read_seconds=1,total_seconds=4", id="silence", marks=WAITS),
        pytest.param(stall, "attempts=2,read_seconds=1,total_seconds=4", id="stall", marks=WAITS),
        pytest.param(drip(0.3, 1000), "attempts=2,total_seconds=2,slowest=400000", id="drip", marks=WAITS),
    ],
)
def test_a_server_that_does_not_get_on(
    mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path, action: Action, network: str
) -> None:
    """Silent from the start, or in the middle, or as good as that: given up within the policy's time."""
    key = max(content, key=lambda one: len(content[one]))
    with server.rule(f"GET /{BUCKET}/{key}", action) as rule:
        start = time.monotonic()
        outcome = mirrorers.fill(tmp_path, network=network, **arguments(server))
        seconds = time.monotonic() - start
    assert "BucketUnreachableError" in outcome.error, outcome
    assert key in outcome.text
    assert rule.hits >= 2
    assert seconds < NetworkPolicy().total_seconds
    expect_nothing_wrong(tmp_path, content)
    expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))


@full("eight seconds at a slow pace")
def test_a_slow_line(mirrorers: Mirrorers, tmp_path: Path) -> None:
    """Each request has a share of it only: that is no reason to give up, as long as all of them together move."""
    key = "derivatives/rois/sub-01/face/sub-01_space-T1w_res-1pt8_label-OFA_mask.nii.gz"
    body = gzip.compress(random.Random(3).randbytes(6_000_000), 1)
    (tmp_path / "slow-line" / key).parent.mkdir(parents=True)
    (tmp_path / "slow-line" / key).write_bytes(body)
    with serve(tmp_path / "slow-line", total_rate=1_500_000) as bucket:
        outcome = mirrorers.fill(
            tmp_path / "mirror",
            bucket=bucket.url,
            storage_options=bucket.storage_options,
            sizes=(PIECE, 2_000_000),
            network="attempts=2,total_seconds=1,slowest=900000",
        )
    expect_whole(tmp_path / "mirror", {key: body}, outcome)


@pytest.mark.parametrize("count", sampled([2, 4], keep=1))
def test_several_processes(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path, count: int) -> None:
    """Into one folder at once: all of them succeed, and each object is transferred once."""
    before = server.n_bytes
    mirrorers.start([{"to": str(tmp_path), **arguments(server)}] * count)
    outcomes = mirrorers.outcomes()
    for outcome in outcomes:
        expect_whole(tmp_path, content, outcome)
    assert sum(one.report["fetched"] for one in outcomes) == len(content)
    total = sum(map(len, content.values()))
    assert server.n_bytes - before < total + count * 100_000


def test_killed_among_several(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """The others take over what a killed one had begun."""
    pids = mirrorers.start([{"to": str(tmp_path), **arguments(server)}] * 3)
    wait_until(lambda: len(files(tmp_path)) > 4)
    os.kill(pids[0], signal.SIGKILL)
    outcomes = mirrorers.outcomes()
    for outcome in outcomes[1:]:
        expect_whole(tmp_path, content, outcome)


def test_ctrl_c(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """Ends soon, keeps what was received, and the next run goes on."""
    before = server.n_bytes
    (pid,) = mirrorers.start([{"to": str(tmp_path), **arguments(server)}])
    wait_until(lambda: server.n_bytes > before + 4_000_000)
    start = time.monotonic()
    os.kill(pid, signal.SIGINT)
    (outcome,) = mirrorers.outcomes()
    assert time.monotonic() - start < 10
    assert outcome.error[0] == "KeyboardInterrupt", outcome
    expect_nothing_wrong(tmp_path, content)
    expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))
    total = sum(map(len, content.values()))
    assert server.n_bytes - before <= 1.1 * total + IN_FLIGHT


def test_a_part_is_damaged(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """Between two runs: a piece that is not what was received is fetched again, and no other; nor is a lost file."""
    key = max(content, key=lambda one: len(content[one]))
    with server.rule(f"GET /{BUCKET}/{key}", answer(503, "SlowDown"), skip=8):
        outcome = mirrorers.fill(tmp_path, network="attempts=2,total_seconds=2", **arguments(server))
    assert "BucketUnreachableError" in outcome.error, outcome
    ((info, received),) = partial_objects(MirrorFolder(tmp_path))
    assert (info.key, info.size) == (key, len(content[key]))
    assert 0 < received < info.size
    (part,) = (tmp_path / METADATA_FOLDER / "partial").glob("*.part")
    found = bytearray(part.read_bytes())
    assert found[:PIECE] == content[key][:PIECE]
    found[99] ^= 1
    part.write_bytes(found)
    before, missing = server.n_bytes, sum(len(content[name]) for name in content.keys() - files(tmp_path).keys())
    expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))
    assert 0 <= server.n_bytes - before - (missing - received + PIECE) < 100_000  # the listings


def test_the_disk_is_full(mirrorers: Mirrorers, server: FaultyProxy, content: Any, tmp_path: Path) -> None:
    """An OSError names the object; what was received is kept."""
    before = server.n_bytes
    outcome = mirrorers.fill(tmp_path, max_bytes=3_000_000, **arguments(server))
    assert outcome.error[0] == "OSError", outcome
    assert outcome.errno == errno.EFBIG
    assert "Free some space" in outcome.text
    expect_nothing_wrong(tmp_path, content)
    expect_whole(tmp_path, content, mirrorers.fill(tmp_path, **arguments(server)))
    assert server.n_bytes - before <= 1.1 * sum(map(len, content.values())) + IN_FLIGHT


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 28 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=28m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_the_disk_is_filled_by_others(
    mirrorers: Mirrorers, server: FaultyProxy, content: Any, small_disk: Path
) -> None:
    """While copying; the run ends at once, and the next one goes on when there is room."""
    before = server.n_bytes
    mirrorers.start([{"to": str(small_disk / "mirror"), **arguments(server)}])
    wait_until(lambda: server.n_bytes > before + 2_000_000)
    with pytest.raises(OSError, match="space"):
        (small_disk / "others").write_bytes(bytes(30_000_000))
    (outcome,) = mirrorers.outcomes()
    assert outcome.errno == errno.ENOSPC, outcome
    assert "derivatives/" in outcome.text
    assert "Free some space" in outcome.text
    expect_nothing_wrong(small_disk / "mirror", content)
    again = mirrorers.fill(small_disk / "mirror", **arguments(server))
    assert again.errno == errno.ENOSPC  # before anything is asked for
    assert "Free some space, or choose less" in again.text
    (small_disk / "others").unlink()
    expect_whole(small_disk / "mirror", content, mirrorers.fill(small_disk / "mirror", **arguments(server)))
    assert server.n_bytes - before <= 1.1 * sum(map(len, content.values())) + IN_FLIGHT


def test_a_disk_that_may_not_be_written_to(
    mirrorers: Mirrorers, server: FaultyProxy, content: Any, small_disk: Path
) -> None:
    """A complete mirror needs no writing; where something is missing, that is named."""
    expect_whole(small_disk, content, mirrorers.fill(small_disk, **arguments(server)))
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(remount, check=True)
    outcome = mirrorers.fill(small_disk, **arguments(server))
    assert (outcome.error, outcome.report["fetched"]) == ((), 0)
    subprocess.run([*remount[:2], "remount,rw", str(small_disk)], check=True)
    (small_disk / next(iter(content))).unlink()
    subprocess.run(remount, check=True)
    outcome = mirrorers.fill(small_disk, **arguments(server))
    assert outcome.errno == errno.EROFS, outcome
    assert str(small_disk) in outcome.text


def test_an_object_is_replaced_meanwhile(
    mirrorers: Mirrorers, server: FaultyProxy, s3: Any, content: Any, tmp_path: Path
) -> None:
    """The new one is fetched as a whole, and its ETag recorded."""
    key = max(content, key=lambda one: len(content[one]))
    newer = gzip.compress(random.Random(9).randbytes(3_000_000), 1)
    replaced = threading.Event()

    def replace(request: Request) -> None:
        if not replaced.is_set():
            replaced.set()
            put(s3.client, key, newer)
        request.forward()

    try:
        with server.rule(f"GET /{BUCKET}/{key}", replace, skip=3):
            outcome = mirrorers.fill(tmp_path, **arguments(server))
        assert replaced.is_set()
        expect_whole(tmp_path, content | {key: newer}, outcome)
    finally:
        put(s3.client, key, content[key])
    outcome = mirrorers.fill(tmp_path, **arguments(server))
    assert (outcome.report["fetched"], outcome.report["replaced"]) == (1, 1)
    expect_whole(tmp_path, content, outcome)


def wait_until(is_so: Callable[[], bool], seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)
