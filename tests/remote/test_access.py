"""Bytes from a root: order, bounds, pinning, and one class of error for each thing that goes wrong."""

from __future__ import annotations

import functools
import http.server
import os
import pickle
import shutil
import socket
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from dask.base import tokenize
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from tiers import full

from intake_laion_fmri.errors import AccessDeniedError, BucketUnreachableError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.remote import access, stream
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Bucket]:
    """A root that is not local, in this process: what a stream does from a remote root."""
    root = f"memory://{tmp_path.name}"
    yield open_bucket(root)
    fsspec.filesystem("memory").store.clear()


def put(bucket: Bucket, key: str, content: bytes) -> ObjectInfo:
    bucket.file_system.pipe_file(bucket.path(key), content)
    folder = key.rpartition("/")[0]
    return bucket.find(folder)[key]


def read_all(bucket: Bucket, info: ObjectInfo, size: int = 1000) -> bytes:
    content = b""
    with bucket.stream(info) as file:
        while block := file.read(size):
            content += block
    return content


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 50))
def test_a_stream_delivers_the_bytes_in_order(content: bytes, block: int, size: int) -> None:
    """Whatever the sizes of object, blocks and reads."""
    before = stream.BLOCK_BYTES
    stream.BLOCK_BYTES = block
    try:
        bucket = open_bucket("memory://order")
        assert read_all(bucket, put(bucket, "a/b", content), size) == content
    finally:
        stream.BLOCK_BYTES = before
        fsspec.filesystem("memory").store.clear()


class SlowFileSystem(MemoryFileSystem):
    """Answers ranged requests late and out of order, and counts those under way."""

    protocol = "slow"
    cachable = False
    under_way = 0
    most = 0
    requests: ClassVar[list[tuple[int, int]]] = []
    lock = threading.Lock()
    crowd = threading.Barrier(stream.BLOCKS_IN_FLIGHT)

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("slow://", "memory://"))

    def cat_file(self, path: str, start: Any = None, end: Any = None, **kwargs: Any) -> bytes:
        cls = type(self)
        with cls.lock:
            cls.under_way += 1
            cls.most = max(cls.most, cls.under_way)
            cls.requests.append((start, end))
            is_first = len(cls.requests) <= stream.BLOCKS_IN_FLIGHT
        if is_first:
            cls.crowd.wait(timeout=30)  # none of the first is answered before all of them are under way
        time.sleep(0.02 if (start // 10) % 2 else 0.002)
        with cls.lock:
            cls.under_way -= 1
        return super().cat_file(path, start=start, end=end, **kwargs)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    fsspec.register_implementation("slow", SlowFileSystem, clobber=True)
    monkeypatch.setattr(SlowFileSystem, "most", 0)
    monkeypatch.setattr(SlowFileSystem, "requests", [])
    monkeypatch.setattr(stream, "BLOCK_BYTES", 10)
    yield open_bucket("slow://root")
    fsspec.filesystem("memory").store.clear()


def test_several_requests_are_under_way_and_never_more(slow: Bucket) -> None:
    """Four at a time, each byte asked for once, delivered in order though they answer out of order."""
    content = bytes(range(200))
    info = put(slow, "a/b", content)
    assert read_all(slow, info, 7) == content
    assert SlowFileSystem.most == stream.BLOCKS_IN_FLIGHT
    assert sorted(SlowFileSystem.requests) == [(start, start + 10) for start in range(0, 200, 10)]


def test_a_stream_that_is_left_early_stops_asking(slow: Bucket) -> None:
    info = put(slow, "a/b", bytes(2000))
    with slow.stream(info) as file:
        file.read(5)
    time.sleep(0.1)
    assert len(SlowFileSystem.requests) <= stream.BLOCKS_IN_FLIGHT + 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("laion-stream")]


def test_an_object_replaced_before_it_is_opened(own_tiny: Path) -> None:
    bucket = open_bucket(own_tiny)
    info = bucket.find("")["README"]
    (own_tiny / "README").write_text("something else")
    with pytest.raises(DataIntegrityError, match=r"README was replaced: expected \d+ bytes"), bucket.stream(info):
        pass


def test_an_object_replaced_while_it_is_read(own_tiny: Path) -> None:
    """Also where the size stays the same."""
    bucket = open_bucket(own_tiny)
    info = bucket.find("")["README"]

    def read_and_replace() -> None:
        with bucket.stream(info) as file:
            file.read(3)
            (own_tiny / "README").write_bytes(b"x" * info.size)

    with pytest.raises(DataIntegrityError, match="README was replaced"):
        read_and_replace()


def test_an_object_that_seems_broken_because_it_was_replaced(own_tiny: Path) -> None:
    """The reader finds nonsense; the user is told why. Where nothing was replaced, the nonsense it is."""
    bucket = open_bucket(own_tiny)
    info = bucket.find("")["README"]

    def fail(replace: bool) -> None:
        with bucket.stream(info):
            if replace:
                (own_tiny / "README").write_text("another")
            raise DataIntegrityError("nonsense")

    with pytest.raises(DataIntegrityError, match="nonsense"):
        fail(replace=False)
    with pytest.raises(DataIntegrityError, match="README was replaced"):
        fail(replace=True)


def test_an_object_that_vanished(own_tiny: Path) -> None:
    bucket = open_bucket(own_tiny)
    info = bucket.find("")["README"]
    (own_tiny / "README").unlink()
    with pytest.raises(NotInBucketError, match="README does not exist"):
        bucket.fetch([info])
    with pytest.raises(NotInBucketError, match="README does not exist"), bucket.stream(info):
        pass


def test_a_small_object_of_another_size_than_listed(memory: Bucket) -> None:
    info = put(memory, "a/b", b"four")
    put(memory, "a/b", b"two")
    with pytest.raises(DataIntegrityError, match="was replaced: expected 4 bytes with ETag , found 3 bytes"):
        memory.fetch([info])


def test_small_objects_come_whole(tiny: Path) -> None:
    """Many at a time, an empty one among them."""
    bucket = open_bucket(tiny)
    infos = bucket.find("derivatives/rois/sub-01")
    assert len(infos) > 40
    contents = bucket.fetch(infos.values())
    assert contents == {key: (tiny / key).read_bytes() for key in infos}
    assert bucket.fetch([]) == {}
    memory = open_bucket("memory://empty")
    assert memory.fetch([put(memory, "a/none", b"")]) == {"a/none": b""}


def test_a_listing(tiny: Path) -> None:
    bucket = open_bucket(tiny)
    found = bucket.find("derivatives/rois")
    expected = {
        path.relative_to(tiny).as_posix(): path.stat().st_size
        for path in (tiny / "derivatives/rois").rglob("*")
        if path.is_file()
    }
    assert {key: info.size for key, info in found.items()} == expected
    assert bucket.find("no/such/folder") == {}
    assert bucket.folders("derivatives/rois") == ["sub-01", "sub-03"]
    assert bucket.folders("no/such/folder") == []


def test_a_listing_is_never_remembered(own_tiny: Path) -> None:
    bucket = open_bucket(own_tiny)
    before = bucket.find("")
    (own_tiny / "new").write_text("new")
    assert bucket.find("").keys() - before.keys() == {"new"}


@pytest.fixture
def forbidden(tiny: Path) -> Iterator[Path]:
    """A bucket with a file and a folder that this process may not read, also where the tests run as root."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        bucket = Path(shutil.copytree(tiny, Path(folder) / "bucket"))
        open_bucket(bucket).fetch(open_bucket(bucket).find("derivatives/rois/sub-01/face").values())  # imports, as root
        (bucket / "README").chmod(0)
        (bucket / "derivatives/rois/sub-01/face").chmod(0)
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            yield bucket
        finally:
            if is_root:
                os.seteuid(0)
            (bucket / "derivatives/rois/sub-01/face").chmod(0o755)


def test_a_file_without_permission(forbidden: Path) -> None:
    info = ObjectInfo("README", 10, "")
    with pytest.raises(AccessDeniedError, match="permissions forbid it"):
        open_bucket(forbidden).fetch([info])


def test_a_folder_that_cannot_be_listed(forbidden: Path) -> None:
    """A listing is whole or an error: fsspec's own leaves out what it cannot list."""
    assert open_bucket(forbidden).find("derivatives/rois/sub-03")
    with pytest.raises(AccessDeniedError):
        open_bucket(forbidden).find("derivatives/rois/sub-01")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, "s3://laion-fmri"),
        ("", "s3://laion-fmri"),
        ("s3://other/", "s3://other"),
        ("s3://other//inner//", "s3://other/inner"),
        ("/data/bucket/", "/data/bucket"),
        (Path("/data/../data/bucket"), "/data/bucket"),
        ("file:///data/bucket", "/data/bucket"),
        ("~/bucket", os.path.expanduser("~/bucket")),
        ("bucket", os.path.abspath("bucket")),
        ("memory://root/", "memory://root"),
        ("simplecache::memory://root", "simplecache::memory://root"),
    ],
)
def test_where_the_data_are(given: Any, url: str) -> None:
    """A relative folder becomes an absolute one: a worker has another working folder."""
    assert open_bucket(given).url == url


def test_the_environment_tells_the_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_FMRI_BUCKET", "/from/the/environment")
    assert open_bucket().url == "/from/the/environment"
    assert open_bucket("/given").url == "/given"


def test_options_are_added_to_the_defaults() -> None:
    """Anonymous, with the region and time-outs, until the user says otherwise."""
    assert open_bucket().storage_options == access.S3_DEFAULTS
    options = open_bucket("s3://x", {"client_kwargs": {"endpoint_url": "http://x"}}).storage_options
    assert options["anon"] is True
    assert options["client_kwargs"] == {"region_name": "us-west-2", "endpoint_url": "http://x"}
    assert open_bucket("s3://x", {"key": "k", "secret": "s"}).storage_options["anon"] is False
    assert open_bucket("s3://x", {"key": "k", "anon": True}).storage_options["anon"] is True
    assert open_bucket("/x").storage_options == {}


def test_a_secret_is_not_shown() -> None:
    assert "hush" not in repr(open_bucket("s3://x", {"key": "k", "secret": "hush"}))


@pytest.mark.parametrize("bucket", [3, b"s3://x", ["s3://x"]])
def test_a_bucket_of_the_wrong_type(bucket: Any) -> None:
    with pytest.raises(TypeError, match="bucket must be a URL or a folder"):
        open_bucket(bucket)


def test_options_of_the_wrong_type() -> None:
    with pytest.raises(TypeError, match="storage_options must be a mapping"):
        open_bucket("s3://x", "anon")  # type: ignore[arg-type]


def test_an_unknown_protocol() -> None:
    with pytest.raises(ValueError, match="not know the protocol 'foo'"):
        open_bucket("foo://x")


def test_a_root_pickles_without_its_connection(tiny: Path) -> None:
    bucket = open_bucket(tiny)
    assert bucket.find("")
    again = pickle.loads(pickle.dumps(bucket))
    assert again == bucket
    assert "_connection" not in vars(again)
    assert tokenize(again) == tokenize(bucket) != tokenize(open_bucket("/elsewhere"))


FAST = {"connect_timeout": 1, "read_timeout": 1}


def test_a_closed_port_fails_at_once() -> None:
    """Nobody listens there: one error that names the endpoint and the way out."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    bucket = open_bucket("s3://laion-fmri", {"client_kwargs": {"endpoint_url": endpoint}})
    with pytest.raises(BucketUnreachableError, match=endpoint) as caught:
        bucket.find("derivatives")
    assert "local copy" in str(caught.value)


@full("six seconds of waiting; the policy of waiting is tested by itself")
def test_a_server_that_never_answers_is_given_up() -> None:
    """It accepts connections and stays silent: given up after the attempts and time-outs that `access` states."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = {"client_kwargs": {"endpoint_url": endpoint}, "config_kwargs": FAST}
        bucket = open_bucket("s3://laion-fmri", options)
        failed: list[BaseException] = []

        def ask() -> None:
            try:
                bucket.find("derivatives")
            except BaseException as error:  # noqa: BLE001  # whatever it is, the test looks at it
                failed.append(error)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        # Two attempts of s3fs, of two of its client each, a second of silence each, and the waits between them.
        thread.join(timeout=60)
    assert failed, "still waiting after a minute"
    assert isinstance(failed[0], BucketUnreachableError)
    assert endpoint in str(failed[0])


def test_a_host_that_does_not_exist() -> None:
    options = {"client_kwargs": {"endpoint_url": "http://no-such-host.invalid"}, "config_kwargs": FAST}
    with pytest.raises(BucketUnreachableError, match=r"no-such-host\.invalid"):
        open_bucket("s3://laion-fmri", options).find("derivatives")


def test_an_http_root_that_is_not_there() -> None:
    """fsspec itself would give an empty listing."""
    with pytest.raises(BucketUnreachableError, match=r"http://127\.0\.0\.1:9"):
        open_bucket("http://127.0.0.1:9/bucket").find("derivatives")


def test_an_http_root(tiny: Path) -> None:
    """A folder behind a plain web server: its listings tell no sizes."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tiny))
    handler.func.log_message = lambda *args: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bucket = open_bucket(f"http://127.0.0.1:{server.server_port}")
        local = open_bucket(tiny).find("derivatives/rois/sub-01/face")
        remote = bucket.find("derivatives/rois/sub-01/face")
        assert {key: info.size for key, info in remote.items()} == {key: info.size for key, info in local.items()}
        assert bucket.fetch(remote.values()) == open_bucket(tiny).fetch(local.values())
        assert bucket.find("no/such/folder") == {}
        server.shutdown()


def test_an_impossible_bucket_name() -> None:
    with pytest.raises(ValueError, match="Invalid bucket name"):
        open_bucket("s3://No such bucket!").find("derivatives")


def test_tracebacks_without_a_network_are_short() -> None:
    """The tries of a client have some 90 lines, and say no more than the message."""
    options = {"client_kwargs": {"endpoint_url": "http://no-such-host.invalid"}, "config_kwargs": FAST}
    for bucket in (open_bucket("s3://laion-fmri", options), open_bucket("http://127.0.0.1:9/x")):
        with pytest.raises(BucketUnreachableError) as caught:
            bucket.find("derivatives")
        lines = "".join(traceback.format_exception(caught.value)).splitlines()
        assert len(lines) < 60
        assert not any("The above exception" in line or "During handling" in line for line in lines)
