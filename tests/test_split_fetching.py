"""Split files that are fetched: from nobody, and from a web server that fails in every way it can."""

from __future__ import annotations

import errno
import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd
import pytest
import xarray as xr
from split_files import NAMES, POOLS, own, write_all_splits, write_split

from intake_laion_fmri import open_betas, open_trials, splits
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    MissingFileWarning,
    NotInBucketError,
)
from intake_laion_fmri.remote import access, atomic, cache, patience
from intake_laion_fmri.splits import sources

# --- neither files nor a network --------------------------------------------------------------------------------------


@pytest.fixture
def offline(own_tiny: Path) -> Path:
    """A bucket without splits; the published address is a closed port."""
    shutil.rmtree(own(own_tiny))
    return own_tiny


def test_offline_the_ways_out_are_named(offline: Path) -> None:
    ways = r"Connect to the network once, .*LAION_FMRI_SPLITS.*install .*laion_fmri"
    for _ in range(2):
        with pytest.raises(BucketUnreachableError, match=ways) as caught:
            splits.load_split("tau", bucket=offline)
    assert "127.0.0.1:9" in str(caught.value)
    assert os.environ["LAION_FMRI_CACHE"] in str(caught.value)
    with pytest.raises(BucketUnreachableError, match=ways):
        open_betas("sub-01", split="tau", bucket=offline)
    with pytest.raises(BucketUnreachableError, match=ways):
        open_trials("sub-01", split="tau", bucket=offline)
    with pytest.raises(BucketUnreachableError, match=ways):
        splits.get_train_test_ids("ood", bucket=offline)


def test_offline_a_dataset_opens_without_roles(offline: Path, tiny: Path) -> None:
    """With one warning, at the caller's line."""
    with pytest.warns(MissingFileWarning, match="Left out: split_role .*Connect to the network once") as caught:
        ds = open_betas("sub-01", bucket=offline)
    assert [warning.filename for warning in caught] == [__file__]
    complete = open_betas("sub-01", bucket=tiny)
    assert set(complete.coords) - set(ds.coords) == {"split_role", "pool", "split"}
    xr.testing.assert_equal(ds.compute(), complete.drop_vars(["split_role", "pool", "split"]).compute())


def test_offline_trials_need_no_file(offline: Path, tiny: Path) -> None:
    pd.testing.assert_frame_equal(open_trials("sub-01", bucket=offline), open_trials("sub-01", bucket=tiny))


@pytest.mark.parametrize("role", ["train", "test", "both"])
@pytest.mark.parametrize("pool", ["shared", "subject"])
def test_offline_ood_works(offline: Path, tiny: Path, pool: str, role: str) -> None:
    arguments: dict[str, Any] = {"split": "ood", "pool": pool, "role": role}
    expected = open_trials("sub-01", bucket=tiny, **arguments)
    pd.testing.assert_frame_equal(open_trials("sub-01", bucket=offline, **arguments), expected)
    with pytest.warns(MissingFileWarning):
        ds = open_betas("sub-01", bucket=offline, **arguments)
    assert ds["label"].values.tolist() == expected["label"].tolist()
    train, test = splits.get_split_masks(expected["label"], "ood", "sub-01", bucket=offline)
    assert (train | test).all()


# --- a web server -----------------------------------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves split files of the pinned revision from a folder, and notes each request; `fail` may spoil an answer."""

    daemon_threads = True
    request_queue_size = 64  # as many come at once: who finds no room waits for a second

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.requests: list[str] = []
        self.fail: Callable[[http.server.BaseHTTPRequestHandler, bytes], None] | None = None
        self.stopped = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/repository"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    prefix = f"/repository/{sources.REVISION}/laion_fmri/splits/data/"

    def do_GET(self) -> None:
        path = re.sub(r"^http://[^/]+", "", self.path)  # a proxy is asked for whole URLs
        assert path.startswith(self.prefix), path
        key = path.removeprefix(self.prefix)
        self.server.requests.append(key)
        file = self.server.folder / key
        content = file.read_bytes() if file.is_file() else b""
        if not file.is_file():
            answer(self, b"no listings here", 404)
        elif self.server.fail:
            self.server.fail(self, content)
        else:
            answer(self, content)

    def log_message(self, *args: Any) -> None:
        pass


def answer(handler: http.server.BaseHTTPRequestHandler, content: bytes, status: int = 200) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Small files of the shared pool and of sub-01 with sums of their own, as if these were the published ones."""
    folder, cache = tmp_path / "served", tmp_path / "cache"
    write_all_splits(folder)
    sums = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*.json")
    }
    monkeypatch.setattr(sources, "published_sums", lambda: sums)
    monkeypatch.setenv("LAION_FMRI_CACHE", str(cache))
    with Server(folder) as running:
        monkeypatch.setattr(sources, "ADDRESS", running.address)
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield running
        running.stopped.set()
        running.shutdown()


def kept(cache: Path | None = None) -> dict[str, bytes]:
    """Everything below the cache folder."""
    folder = (cache or Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache") / "splits" / sources.REVISION
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def next_run() -> None:
    """Forget what a process remembers of servers that failed."""
    patience._failures.clear()


def test_the_published_files_are_fetched_once(reference: Path, tmp_path: Path) -> None:
    """All 72 from a server, against the sums that ship; then never again, though the server is gone."""
    with Server(reference) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        source = sources.upstream(running.address, tmp_path)
        first = {(pool, name): source.read(pool, name) for pool in POOLS for name in NAMES}
        assert sorted(running.requests) == sorted(sources.published_sums())
        running.shutdown()
    again = sources.upstream(running.address, tmp_path)
    assert {(pool, name): again.read(pool, name) for pool in POOLS for name in NAMES} == first
    expected = {path.relative_to(reference).as_posix(): path.read_bytes() for path in reference.rglob("*.json")}
    assert kept(tmp_path) == expected


def test_opening_fetches_once(server: Server, offline: Path) -> None:
    """Twenty-two files for a subject, silently; then the cache, silently."""
    for _ in range(3):
        ds = open_betas("sub-01", bucket=offline)
        assert ds["split_role"].attrs["revision"] == sources.REVISION
    asked = list(server.requests)
    assert sorted(asked) == sorted(kept())
    assert len(asked) == 22
    assert kept() == {key: (server.folder / key).read_bytes() for key in kept()}
    open_trials("sub-01", split="tau", pool="subject", bucket=offline)
    splits.load_split("tau")
    assert server.requests == asked


def test_a_web_server_of_ones_own(server: Server, tiny: Path) -> None:
    """It needs to serve files only, no listings; they are not cached, since nobody knows their sums."""
    address = f"{server.address}/{sources.REVISION}/laion_fmri/splits/data/"
    for _ in range(2):
        assert splits.load_split("tau", "sub-01", splits=address).revision == address.rstrip("/")
    assert server.requests == ["sub-01/tau.json"] * 2
    assert kept() == {}
    (server.folder / "sub-01/random_0.json").unlink()
    with pytest.raises(NotInBucketError, match=r"data/sub-01/random_0\.json does not exist\. Nothing is listed"):
        splits.load_split("random_0", "sub-01", splits=address)
    write_split(server.folder, "sub-01", "random_0")
    assert "split_role" in open_betas("sub-01", splits=address, bucket=tiny).coords
    assert patience._failures == {}


def change(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, content.replace(b"c.jpg", b"d.jpg", 1))


def cut(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, content[:-1])


def login_page(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    answer(handler, b"<html>Welcome to the conference network</html>")


@pytest.mark.parametrize("fail", [change, cut, login_page])
def test_another_content_is_refused_and_not_kept(
    server: Server, fail: Callable[[http.server.BaseHTTPRequestHandler, bytes], None]
) -> None:
    """One changed byte is enough; a good server is asked again and believed, in the same process."""
    server.fail = fail
    with pytest.raises(DataIntegrityError, match=r"shared/tau\.json: expected the SHA-256 [0-9a-f]{64}, found"):
        splits.load_split("tau")
    assert kept() == {}
    server.fail = None
    assert splits.load_split("tau").variants[0].test_ids == ("c.jpg",)
    assert list(kept()) == ["shared/tau.json"]


@pytest.mark.parametrize("content", [b"", b"{}", "flipped", "shorter"])
def test_a_cached_file_that_was_changed(server: Server, content: Any) -> None:
    """Noticed by its sum, fetched again, and whole again on the disk."""
    good = splits.load_split("tau")
    path = Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache/splits" / sources.REVISION / "shared/tau.json"
    whole = path.read_bytes()
    path.write_bytes({"flipped": bytes([whole[0] ^ 1]) + whole[1:], "shorter": whole[:-1]}.get(content, content))
    assert splits.load_split("tau") == good
    assert path.read_bytes() == whole
    assert server.requests == ["shared/tau.json"] * 2


def drip(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    """A byte now and then: no wait between two of them is ever long."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    for byte in content:
        if handler.server.stopped.wait(0.05):  # type: ignore[attr-defined]
            return
        try:
            handler.wfile.write(bytes([byte]))
        except OSError:
            return


def keep_silent(handler: http.server.BaseHTTPRequestHandler, content: bytes) -> None:
    handler.server.stopped.wait(30)  # type: ignore[attr-defined]


@pytest.mark.parametrize("fail", [drip, keep_silent])
def test_a_slow_server_is_given_up(
    server: Server,
    offline: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[http.server.BaseHTTPRequestHandler, bytes], None],
) -> None:
    """Within a bound for all files together, once in a process; the next run finds a better server."""
    usual = patience.PINNED_SECONDS
    monkeypatch.setattr(patience, "PINNED_SECONDS", 0.4)
    server.fail = fail
    with pytest.raises(BucketUnreachableError, match=r"could not be downloaded from http://127\.0\.0\.1:.*Timeout"):
        splits.load_split("tau")
    with pytest.warns(MissingFileWarning, match="split_role"):
        open_betas("sub-01", bucket=offline)
    assert server.requests == ["shared/tau.json"]
    assert kept() == {}
    next_run()
    with pytest.warns(MissingFileWarning, match="split_role"):
        open_betas("sub-01", bucket=offline)
    assert len(server.requests) <= 1 + sources.FILES_IN_FLIGHT
    next_run()
    server.fail = None
    monkeypatch.setattr(patience, "PINNED_SECONDS", usual)
    assert "split_role" in open_betas("sub-01", bucket=offline).coords


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_server_that_refuses(server: Server, offline: Path, status: int) -> None:
    """A proxy that forbids the address, for instance: the ways out are named, the Dataset opens."""
    server.fail = lambda handler, content: answer(handler, b"no", status)
    with pytest.raises(BucketUnreachableError, match="Connect to the network once") as caught:
        splits.load_split("tau")
    assert str(status) in str(caught.value)
    next_run()
    with pytest.warns(MissingFileWarning, match=f"split_role .*{status}"):
        open_betas("sub-01", bucket=offline)
    assert kept() == {}


def test_a_refusal_is_told_from_a_failure(server: Server, tmp_path: Path) -> None:
    """Below the splits, as the contract says: 403 is no broken network."""
    root = sources.upstream().root
    for status, error in {403: AccessDeniedError, 404: NotInBucketError, 500: BucketUnreachableError}.items():
        server.fail = lambda handler, content, status=status: answer(handler, b"no", status)  # type: ignore[misc]
        with pytest.raises(error):
            access.read_pinned(root, "shared/tau.json", sha256="", cache=tmp_path / "other")


def test_a_server_without_the_file(server: Server, offline: Path) -> None:
    """The repository may move: the ways out are named."""
    server.fail = lambda handler, content: answer(handler, b"", 404)
    with pytest.raises(NotInBucketError, match=r"there is no shared/tau\.json\. Connect to the network once"):
        splits.load_split("tau")
    with pytest.warns(MissingFileWarning, match="split_role"):
        open_betas("sub-01", bucket=offline)
    server.fail = None
    assert "split_role" in open_betas("sub-01", bucket=offline).coords, "at once: the server did answer"


def test_a_hiccup_is_not_noticed(server: Server) -> None:
    """One failure is asked again, and the server is not given up for it."""
    bad = iter([503])
    server.fail = lambda handler, content: answer(handler, content, next(bad, 200))
    assert splits.load_split("tau").n_train == 2
    assert server.requests == ["shared/tau.json"] * 2
    assert splits.load_split("random_0").n_train == 2


def test_a_server_that_is_given_up_is_asked_again_later(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fail = lambda handler, content: answer(handler, b"", 500)
    for _ in range(3):
        with pytest.raises(BucketUnreachableError):
            splits.load_split("tau")
    assert len(server.requests) == patience.PINNED_ATTEMPTS
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.0)
    server.fail = None
    assert splits.load_split("tau").n_train == 2


def test_the_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many institutes have no other way out."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(sources, "ADDRESS", "http://files.invalid/repository")
    assert splits.load_split("tau").n_train == 2


@pytest.mark.parametrize("what", ["file", "below a file", "no space"])
def test_a_cache_that_cannot_be_written(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The files are used all the same, without a word."""
    (tmp_path / "file").write_text("in the way")
    if what == "no space":

        def full(file: BinaryIO, content: bytes, **_: object) -> None:
            file.write(content[:3])
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(atomic, "_fill", full)
    else:
        monkeypatch.setenv("LAION_FMRI_CACHE", str(tmp_path / ("file" if what == "file" else "file/below")))
    for _ in range(2):
        assert splits.load_split("tau").n_train == 2
    assert server.requests == ["shared/tau.json"] * 2
    assert kept() == {}
    assert (tmp_path / "file").read_text() == "in the way"


def test_an_interrupted_write_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what a killed process left ever read."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            splits.load_split("tau")
    assert kept() == {}
    folder = Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache/splits" / sources.REVISION / "shared"
    (folder / f"tau.json.{'0' * 32}.tmp").write_bytes(b"half of")
    assert splits.load_split("tau").n_train == 2
    assert (folder / "tau.json").read_bytes() == (server.folder / "shared/tau.json").read_bytes()


def test_a_cache_that_is_shared_can_be_read_by_all(server: Server) -> None:
    """A file has the rights that the user's mask gives, not those of a private temporary file."""
    before = os.umask(0o022)
    try:
        splits.load_split("tau")
    finally:
        os.umask(before)
    path = Path(os.environ["LAION_FMRI_CACHE"]) / "laion-fmri-cache/splits" / sources.REVISION / "shared/tau.json"
    assert path.stat().st_mode & 0o777 == 0o644


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LAION_FMRI_CACHE", "~/kept")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.cache_folder() == tmp_path / "kept"
    monkeypatch.delenv("LAION_FMRI_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert "intake-laion-fmri" in str(cache.cache_folder())


FETCH_ALL = """
import json, sys
from intake_laion_fmri.splits import sources
address, cache, sums = sys.argv[1:]
sums = json.loads(sums)
sources.published_sums = lambda: sums
source = sources.upstream(address, __import__("pathlib").Path(cache))
for _ in range(3):
    read = [sources.read_split(source, *key.removesuffix(".json").split("/")).n_train for key in sums]
print(read == [2] * len(sums))
"""


def test_two_processes_at_once(server: Server, tmp_path: Path, python_environment: dict[str, str]) -> None:
    """Both get whole files, and so does the cache."""
    sums = sources.published_sums()
    command = [sys.executable, "-W", "error", "-c", FETCH_ALL, server.address, str(tmp_path / "both"), json.dumps(sums)]
    processes = [
        subprocess.Popen(command, env=python_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (output.strip(), errors) == ("True", "")
    assert kept(tmp_path / "both") == {key: (server.folder / key).read_bytes() for key in sums}
    assert len(sums) <= len(server.requests) <= 2 * len(sums)
