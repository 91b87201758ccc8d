"""Buckets for the tests: a folder on disk, and the same behind a real S3 server on loopback."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pytest
import tiers
from counting import CountingFileSystem
from fsspec.asyn import AsyncFileSystem
from hypothesis import settings

from intake_laion_fmri.demo import write_demo
from intake_laion_fmri.remote import data_folder, mirrored, patience, retry
from intake_laion_fmri.splits import sources
from intake_laion_fmri.store import build_store

# A shell's background jobs ignore it, and their children with them; what is interrupted here must notice.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The examples read files; their time says nothing about the code. They are the same in every run: a suite that is red
# by chance tells nothing of a change; fuzz/ looks for others.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile("suite")

BUCKET = "laion-fmri"


def pytest_configure(config: pytest.Config) -> None:
    tiers.FAST = "not full" in config.option.markexpr


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nothing is left out of the fast tier without a reason."""
    for item in items:
        for mark in item.iter_markers("full"):
            if not mark.kwargs.get("reason"):
                raise pytest.UsageError(
                    f"{item.nodeid}: say why it is in the full tier only: full('…') of tests/support/tiers.py"
                )


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache for all tests; a developer's own bucket, settings, split files and cache are read by no fixture."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LAION_FMRI_") and "REFERENCE" not in name]:
            patch.delenv(name)
        patch.setenv("LAION_FMRI_CACHE", str(cache))
        patch.setenv("LAION_FMRI_CONFIG", str(cache.parent / "settings"))
        yield cache


@pytest.fixture(autouse=True)
def _nothing_of_the_users_own(_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has settings of its own, no memory of other tests, and no public network."""
    monkeypatch.setenv("LAION_FMRI_CONFIG", str(_cache.parent / f"settings-{uuid.uuid4().hex}"))
    monkeypatch.setenv("LAION_FMRI_ACCESS_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(sources, "ADDRESS", "http://127.0.0.1:9/nobody")
    monkeypatch.setattr(patience, "_failures", {})
    monkeypatch.setattr(mirrored, "_warned", set())
    monkeypatch.setattr(data_folder, "_data_dir", None)
    monkeypatch.setattr(retry, "_network", None)
    # Waits between attempts are what test_network_faults is about, in processes of their own.
    monkeypatch.setattr(retry, "FIRST_PAUSE_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def _no_client_left_open() -> Iterator[None]:
    """fsspec closes its file systems, but not those of asynchronous programs, as plain Zarr's.

    One that stays in fsspec's cache is reported as unclosed in whichever test drops it.
    """
    before = _asynchronous_file_systems()
    yield
    assert _asynchronous_file_systems() <= before, "a client is left open: close its session"


def _asynchronous_file_systems() -> set[str]:
    kinds = AsyncFileSystem.__subclasses__()
    return {token for kind in kinds for token, one in kind._cache.items() if one.asynchronous}


@pytest.fixture(scope="session")
def reference() -> Path:
    """The published split files, which the project never contains."""
    given = os.environ.get("LAION_FMRI_REFERENCE_SPLITS")
    folder = Path(given) if given else Path(__file__).parents[2] / "shared/reference/splits"
    if not folder.is_dir():
        pytest.skip(f"no published split files in {folder}; LAION_FMRI_REFERENCE_SPLITS may name another folder")
    return folder


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bucket of scale tiny, on disk; not to be written to."""
    return write_demo(tmp_path_factory.mktemp("buckets") / "tiny", scale="tiny")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo bucket of scale small, on disk; not to be written to."""
    return write_demo(tmp_path_factory.mktemp("buckets") / "small", scale="small")


@pytest.fixture(scope="session")
def tiny_store(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the whole tiny bucket, on disk; not to be written to."""
    folder = tmp_path_factory.mktemp("stores") / "tiny.zarr"
    build_store(folder, bucket=tiny)
    return folder


@pytest.fixture
def own_store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of that store that the test may break."""
    return Path(shutil.copytree(tiny_store, tmp_path / "store.zarr"))


@pytest.fixture
def own_tiny(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bucket that the test may break."""
    return Path(shutil.copytree(tiny, tmp_path / "bucket"))


@dataclass(frozen=True)
class S3:
    """A running S3 server with a copy of the tiny bucket, readable by anyone but for held-out sessions and images."""

    endpoint: str
    client: Any
    log: Path

    @contextmanager
    def requests(self) -> Iterator[Counter[str]]:
        """Count what is asked of the server, by its own log: LIST, GET and HEAD."""
        start, counts = self.log.stat().st_size, Counter[str]()
        yield counts
        colour = rb"(?:\x1b\[[0-9;]*m)*"
        lines = re.findall(rb'"' + colour + rb"((?:GET|HEAD) /laion-fmri\S*)", self.log.read_bytes()[start:])
        counts.update("LIST" if b"list-type" in line else line.split()[0].decode() for line in lines)

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}"

    @property
    def storage_options(self) -> dict[str, Any]:
        return {"client_kwargs": {"endpoint_url": self.endpoint}}

    @property
    def store_options(self) -> dict[str, Any]:
        """Options with which a store of one's own can be written."""
        return {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": self.endpoint}}


@contextmanager
def moto_server(folder: Path, log: Path) -> Iterator[S3]:
    """Run moto's server, as a process of its own, with a copy of a bucket."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=output, stderr=output
        )
    try:
        endpoint = _wait_for_address(server, log)
        yield S3(endpoint, _with_bucket(endpoint, folder), log)
    finally:
        server.terminate()
        server.wait(timeout=10)


@pytest.fixture(scope="session")
def s3(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server with the tiny bucket."""
    with moto_server(tiny, tmp_path_factory.mktemp("moto") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def s3_store(s3: S3, tiny: Path) -> str:
    """A store of the first subject on that server; not to be written to."""
    s3.client.create_bucket(Bucket="stores", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    build_store("s3://stores/some/where.zarr", bucket=tiny, subjects="sub-01", store_options=s3.store_options)
    return "s3://stores/some/where.zarr"


@pytest.fixture
def closed() -> Iterator[str]:
    """The address of an S3 server that allows nothing."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
            self.send_response(403)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _wait_for_address(server: subprocess.Popen[bytes], log: Path) -> str:
    import time

    for _ in range(600):
        match = re.search(rb"Running on (http://127\.0\.0\.1:\d+)", log.read_bytes())
        if match:
            return match[1].decode()
        if server.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"moto's server did not start: {log.read_text()}")


def _with_bucket(endpoint: str, folder: Path) -> Any:
    import boto3

    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-west-2", aws_access_key_id="test", aws_secret_access_key="test"
    )
    client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})

    def put(path: Path) -> None:
        client.put_object(Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, (path for path in sorted(folder.rglob("*")) if path.is_file())))
    everything = f"arn:aws:s3:::{BUCKET}"
    denied = [f"{everything}/derivatives/glmsingle-tedana/*/ses-31/*", f"{everything}/stimuli/task-images_stimuli.h5"]
    read = ["s3:GetObject", "s3:HeadObject"]  # the second is moto's own; S3 takes the first for both
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": ["s3:ListBucket"], "Resource": everything},
            {"Effect": "Allow", "Principal": "*", "Action": read, "Resource": f"{everything}/*"},
            {"Effect": "Deny", "Principal": "*", "Action": read, "Resource": denied},
        ],
    }
    client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(policy))
    return client


@pytest.fixture
def python_environment() -> dict[str, str]:
    """An environment for other Python processes, that see no bucket but the one they are given."""
    return dict(os.environ)


@pytest.fixture
def counted(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The tiny bucket, with every read counted in `CountingFileSystem.read`, and no cache before it."""
    monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", "0")
    fsspec.register_implementation("counted", CountingFileSystem, clobber=True)
    CountingFileSystem.read.clear()
    return f"counted://{tiny}"
