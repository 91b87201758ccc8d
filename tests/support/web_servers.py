"""Plain web servers over a folder, on loopback, with the ways that such servers have."""

from __future__ import annotations

import email.utils
import functools
import hashlib
import http.server
import re
import threading
import urllib.parse
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

__all__ = ["Handler", "S3Handler", "WebServer"]


class Handler(http.server.SimpleHTTPRequestHandler):
    """Answers with files, or parts of them; subclasses have faults."""

    protocol_version = "HTTP/1.1"
    ranges = True
    """Whether it gives parts of files."""
    etags = True
    """Whether it tells ETags."""
    dates = True
    """Whether it tells when a file was changed."""
    dates_of_parts = True
    """Whether it does with parts of files too."""
    encoding = ""
    """What it says of the encoding of names that end with .gz."""

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with a file, a part of it, or a list of a folder."""
        self.server.log.append((self.command, self.path, dict(self.headers)))  # type: ignore[attr-defined]
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            self.give_folder(path)
        elif path.is_file():
            self.give_file(path)
        else:
            self.give(HTTPStatus.NOT_FOUND, b"nothing here")

    def give_folder(self, path: Path) -> None:
        """Answer with links."""
        names = [one.name + "/" * one.is_dir() for one in sorted(path.iterdir())]
        page = "".join(f'<li><a href="{name}">{name}</a></li>\n' for name in names)
        self.give(HTTPStatus.OK, f"<html><body>{page}</body></html>".encode(), {"Content-Type": "text/html"})

    def give_file(self, path: Path) -> None:
        """Answer with a file."""
        content, headers = path.read_bytes(), {"Content-Type": "application/octet-stream"}
        if self.etags:
            headers["ETag"] = f'"{self.etag_of(path, content)}"'
            if self.headers.get("If-Match", headers["ETag"]) != headers["ETag"]:
                self.give(HTTPStatus.PRECONDITION_FAILED, b"another one")
                return
        if self.dates:
            headers["Last-Modified"] = email.utils.formatdate(path.stat().st_mtime, usegmt=True)
        if self.encoding and path.suffix == ".gz":
            headers["Content-Encoding"] = self.encoding
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not (self.ranges and asked):
            self.give(HTTPStatus.OK, content, headers)
            return
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(content))
        if not self.dates_of_parts:
            headers.pop("Last-Modified", None)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        self.give(HTTPStatus.PARTIAL_CONTENT, content[start:stop], headers)

    def etag_of(self, path: Path, content: bytes) -> str:
        """Return a file's ETag."""
        return hashlib.sha1(content).hexdigest()

    def give(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_body(body)

    def send_body(self, body: bytes) -> None:
        """Send the last header and the body."""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64  # as many come at once: who finds no room waits for a second


class WebServer:
    """A server of a folder, as a context.

    Parameters
    ----------
    folder : Path
        What it serves.
    kind : type of Handler, optional
        How it answers.
    """

    def __init__(self, folder: Path, kind: Callable[..., Handler] = Handler) -> None:
        handler = functools.partial(kind, directory=str(folder))
        self._server = _Server(("127.0.0.1", 0), handler)
        self.log: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of each request."""
        self._server.log = self.log  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> WebServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class S3Handler(Handler):
    """Answers as S3 does, where the folders of what it serves are buckets; subclasses have faults."""

    def do_GET(self) -> None:
        """Answer with an object, a part of it, or a listing."""
        address = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
        self.key = urllib.parse.unquote(address.path).lstrip("/").partition("/")[2]
        if "list-type" not in query:
            super().do_GET()
            return
        self.server.log.append((self.command, self.path, dict(self.headers)))  # type: ignore[attr-defined]
        self.give_listing(Path(self.translate_path(address.path)), query)

    def etag_of(self, path: Path, content: bytes) -> str:
        """Return a file's ETag."""
        return hashlib.md5(content).hexdigest()

    def give_listing(self, folder: Path, query: dict[str, str]) -> None:
        """Answer with the objects of a bucket."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        rows, starts = [], set()
        for path in sorted(folder.rglob("*")):
            key = path.relative_to(folder).as_posix()
            if path.is_file() and key.startswith(prefix):
                end = key.find(delimiter, len(prefix)) if delimiter else -1
                if end >= 0:
                    starts.add(key[: end + len(delimiter)])
                else:
                    etag = self.etag_of(path, path.read_bytes())
                    rows.append(
                        f"<Contents><Key>{escape(key)}</Key><Size>{path.stat().st_size}</Size>"
                        f"<ETag>&quot;{etag}&quot;</ETag></Contents>"
                    )
        rows += [f"<CommonPrefixes><Prefix>{escape(start)}</Prefix></CommonPrefixes>" for start in sorted(starts)]
        self.give_page(rows)

    def give_page(self, rows: list[str], token: str = "") -> None:
        """Answer with a page of a listing; the token is of the next one."""
        more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        page = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>laion-fmri</Name>'
            f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>{more}{''.join(rows)}</ListBucketResult>"
        )
        self.give(HTTPStatus.OK, page.encode(), {"Content-Type": "application/xml"})
