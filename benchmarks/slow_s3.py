"""Serves a folder as an anonymous, read-only S3 bucket, as slowly as asked: throughput cannot be measured without.

Enough of S3 for s3fs and botocore with path-style addresses: GET and HEAD of objects with ``Range`` and ``If-Match``,
ListObjectsV2, and errors in S3's XML. Each response waits for the latency, then flows at the rate; both count per
connection, as they do far from a large store, where more connections carry more. A total rate is what a line at home
has, however many the connections. Sending is left to the kernel, since server and client share the processor.

    python benchmarks/slow_s3.py demo-bucket --rate 30e6 --latency 0.03
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BLOCK_BYTES = 128 * 1024
"""Sent at a time between two looks at the clock: a millisecond's worth at 100 MB/s, so the flow is smooth."""

CATCH_UP_SECONDS = 0.02
"""How much lost time a connection may make up for, above its rate: oversleeping, but not a client that paused."""

LISTED_AT_ONCE = 1000
QUOTES = {'"': "&quot;"}
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


@dataclass(frozen=True)
class ServedBucket:
    """A bucket served by a process of its own."""

    url: str
    """``s3://NAME``, for ``bucket=``."""
    endpoint: str
    """``http://127.0.0.1:PORT``."""
    log: Path | None
    """File, where asked for, with a line per request: method, path with query, ``Range`` or -, length of the answer."""

    @property
    def storage_options(self) -> dict[str, Any]:
        """What s3fs needs to find it; the package reads anonymously by itself."""
        return {"client_kwargs": {"endpoint_url": self.endpoint}}


@contextlib.contextmanager
def serve(
    folder: Path,
    *,
    rate: float | None = None,
    total_rate: float | None = None,
    latency: float = 0.0,
    log: Path | None = None,
) -> Iterator[ServedBucket]:
    """Serve a folder for the time of a ``with`` block, from another process; yield how it is found.

    Parameters
    ----------
    folder : Path
        Root of the bucket; the bucket takes its name.
    rate : float, optional
        Bytes per second and connection; as fast as possible by default.
    total_rate : float, optional
        Bytes per second of all connections together.
    latency : float, default 0
        Seconds before each response.
    log : Path, optional
        File to append a line to for each request.
    """
    command = [sys.executable, __file__, os.fspath(folder)]
    for option, value in (("--rate", rate), ("--total-rate", total_rate), ("--latency", latency), ("--log", log)):
        command += [option, str(value)] if value else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            endpoint = process.stdout.readline().strip()
            if not endpoint:
                raise RuntimeError(f"no server for {folder}: it ended with {process.wait()}")
            yield ServedBucket(f"s3://{_bucket_name(folder)}", endpoint, log)
        finally:
            process.terminate()


class S3Error(Exception):
    """A refusal, answered in S3's XML."""

    def __init__(self, status: HTTPStatus, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Pace:
    """Spreads one response, or all of them together, over time."""

    rate: float | None
    """Bytes per second, or None for no limit."""
    due: float = field(default_factory=time.monotonic)
    """When all that was sent should have been, at this rate."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sent(self, count: int) -> None:
        """Sleep until so many more bytes would have passed."""
        if self.rate is None:
            return
        now = time.monotonic()
        with self.lock:
            due = self.due = max(self.due, now - CATCH_UP_SECONDS) + count / self.rate
        if due > now:
            time.sleep(due - now)


class SlowS3(ThreadingHTTPServer):
    """The server; one thread per connection, which sleeps or sends in the kernel nearly all of its time."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", options.port), Handler)
        self.folder: Path = options.folder
        self.bucket = _bucket_name(self.folder)
        self.rate, self.latency, self.line = options.rate, options.latency, Pace(options.total_rate)
        # Line-buffered, so that the reader of the log sees every request that was answered.
        self.log = options.log.open("a", buffering=1, encoding="utf-8") if options.log else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that hung up: readers that stop early do."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"  # keeps connections open
    disable_nagle_algorithm = True
    server: SlowS3

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent; `SlowS3.log` is the log."""

    def do_GET(self) -> None:
        """Answer a request for an object or a listing."""
        time.sleep(self.server.latency)
        target = urlsplit(self.path)
        bucket, _, key = unquote(target.path).removeprefix("/").partition("/")
        try:
            if bucket != self.server.bucket:
                raise S3Error(HTTPStatus.NOT_FOUND, "NoSuchBucket", f"The only bucket here is {self.server.bucket!r}")
            if key:
                self._send_object(key)
            else:
                self._send_listing({name: values[0] for name, values in parse_qs(target.query, True).items()})
        except S3Error as error:
            told = {"Code": error.code, "Message": str(error), "Resource": f"/{bucket}/{key}", "RequestId": "slow-s3"}
            self._send_xml(error.status, _element("Error", **told))

    do_HEAD = do_GET  # noqa: N815  (as the standard library calls it)

    def _send_object(self, key: str) -> None:
        try:
            file = _open_object(self.server.folder, key)
        except (OSError, ValueError) as error:
            raise S3Error(HTTPStatus.NOT_FOUND, "NoSuchKey", f"The specified key does not exist: {key}") from error
        with file:
            state = os.fstat(file.fileno())
            etag = _etag(state)
            wanted = self.headers.get("If-Match", etag)
            if wanted not in ("*", etag, etag.strip('"')):
                raise S3Error(HTTPStatus.PRECONDITION_FAILED, "PreconditionFailed", f"If-Match: the ETag is {etag}")
            span = _span(self.headers.get("Range"), state.st_size)
            first, stop = span or (0, state.st_size)
            headers = {"Content-Range": f"bytes {first}-{stop - 1}/{state.st_size}"} if span else {}
            headers |= {"Content-Type": "binary/octet-stream", "ETag": etag, "Accept-Ranges": "bytes"}
            headers["Last-Modified"] = formatdate(state.st_mtime, usegmt=True)
            self._begin(HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK, stop - first, headers)
            if self.command == "GET":
                self._send_range(file, first, stop)

    def _send_range(self, file: BinaryIO, first: int, stop: int) -> None:
        pace = Pace(self.server.rate)
        while first < stop:
            count = os.sendfile(self.connection.fileno(), file.fileno(), first, min(BLOCK_BYTES, stop - first))
            if not count:  # the file became shorter: hanging up is all that can still be said
                self.close_connection = True
                return
            first += count
            pace.sent(count)
            self.server.line.sent(count)

    def _send_listing(self, query: dict[str, str]) -> None:
        if query.get("list-type") != "2":
            raise S3Error(HTTPStatus.NOT_IMPLEMENTED, "NotImplemented", "Of buckets only ListObjectsV2 is served here")
        self._send_xml(HTTPStatus.OK, _listing(self.server.folder, self.server.bucket, query))

    def _send_xml(self, status: HTTPStatus, body: str) -> None:
        content = f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()
        self._begin(status, len(content), {"Content-Type": "application/xml"})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _begin(self, status: HTTPStatus, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        if self.server.log:
            self.server.log.write(f"{self.command} {self.path} {self.headers.get('Range', '-')} {length}\n")
        self.end_headers()


def _bucket_name(folder: Path) -> str:
    """Name a bucket after its folder, within S3's rules."""
    return re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower()).strip("-").ljust(3, "0")


def _open_object(folder: Path, key: str) -> BinaryIO:
    if not {"", ".", ".."}.isdisjoint(key.split("/")):  # S3 knows no such steps, and they could leave the folder
        raise FileNotFoundError(key)
    return open(folder / key, "rb", buffering=0)


def _etag(state: os.stat_result) -> str:
    """Return an ETag as long as one of an upload in parts, which is no MD5."""
    return f'"{hashlib.md5(f"{state.st_mtime_ns}-{state.st_size}".encode(), usedforsecurity=False).hexdigest()}-120"'


def _span(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first and stop of a ``Range``, or None where the whole object is asked for."""
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", header or "")
    if not match or match[0] == "bytes=-":
        return None
    first = int(match[1]) if match[1] else max(0, size - int(match[2]))
    stop = min(int(match[2]) + 1, size) if match[1] and match[2] else size
    if first >= stop:
        raise S3Error(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "InvalidRange", f"{header}: the object has {size} B")
    return first, stop


def _listing(folder: Path, bucket: str, query: dict[str, str]) -> str:
    """Return a page of ListObjectsV2; the continuation token is the last name of the page before."""
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = query.get("continuation-token") or query.get("start-after", "")
    limit = min(int(query.get("max-keys", LISTED_AT_ONCE)), LISTED_AT_ONCE)
    # Keys with the delimiter after the prefix are told as their common beginning, once.
    names = sorted({_common(key, prefix, delimiter) for key in _keys(folder, prefix)})
    rest = [name for name in names if name > after]
    page = rest[:limit]
    encode = quote if query.get("encoding-type") == "url" else str
    told = {
        "Name": bucket,
        "Prefix": encode(prefix),
        "MaxKeys": str(limit),
        "KeyCount": str(len(page)),
        "IsTruncated": "true" if len(rest) > limit else "false",
    }
    told |= {"Delimiter": encode(delimiter)} if delimiter else {}
    told |= {"EncodingType": "url"} if encode is quote else {}
    told |= {"NextContinuationToken": page[-1]} if page and len(rest) > limit else {}
    entries = [
        _element("CommonPrefixes", Prefix=encode(name))
        if delimiter and name.endswith(delimiter)
        else _contents(encode(name), (folder / name).stat())
        for name in page
    ]
    return f'<ListBucketResult xmlns="{NAMESPACE}">{_elements(told)}{"".join(entries)}</ListBucketResult>'


def _keys(folder: Path, prefix: str) -> Iterator[str]:
    """Yield the keys that begin with a prefix."""
    start = prefix.rpartition("/")[0]
    if start and not {"", ".", ".."}.isdisjoint(start.split("/")):
        return
    for parent, _, files in os.walk(folder / start):
        within = Path(parent).relative_to(folder).as_posix()
        for name in files:
            key = name if within == "." else f"{within}/{name}"
            if key.startswith(prefix):
                yield key


def _common(key: str, prefix: str, delimiter: str) -> str:
    end = key.find(delimiter, len(prefix)) if delimiter else -1
    return key if end < 0 else key[: end + len(delimiter)]


def _contents(name: str, state: os.stat_result) -> str:
    return _element(
        "Contents",
        Key=name,
        LastModified=time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(state.st_mtime)),
        ETag=_etag(state),
        ChecksumAlgorithm="CRC64NVME",
        ChecksumType="FULL_OBJECT",
        Size=str(state.st_size),
        StorageClass="STANDARD",
    )


def _element(name: str, **children: str) -> str:
    return f"<{name}>{_elements(children)}</{name}>"


def _elements(children: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{escape(text, QUOTES)}</{name}>" for name, text in children.items())


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="root of the bucket, which takes the folder's name")
    parser.add_argument("--rate", type=float, metavar="BYTES", help="most bytes per second and connection")
    parser.add_argument("--total-rate", type=float, metavar="BYTES", help="most bytes per second of all connections")
    parser.add_argument("--latency", type=float, default=0.0, metavar="SECONDS", help="before each response")
    parser.add_argument("--port", type=int, default=0, help="by default a free one; the first line printed is the URL")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append a line per request")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is no folder")
    with contextlib.suppress(KeyboardInterrupt), SlowS3(options) as server:
        print(f"http://127.0.0.1:{server.server_address[1]}\ns3://{server.bucket}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
