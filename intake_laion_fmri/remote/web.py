"""Web servers: one request per method, two after a partial answer.

Requests go through fsspec's own session: its proxies, headers and credentials are the user's. Answers are read here,
up to a bound and as they are on the server: a client that unpacks what is called ``Content-Encoding: gzip`` would
unpack every ``.nii.gz`` of many a server.
"""

from __future__ import annotations

import html.parser
import json
import urllib.parse
import zlib
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.backend import (
    LARGEST_BYTES,
    Answer,
    FileSystemBackend,
    Listing,
    WrongAnswerError,
    bounded,
)
from intake_laion_fmri.remote.retry import NetworkPolicy
from intake_laion_fmri.remote.stream import ReadableFile

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection
    from contextlib import AbstractContextManager

    from fsspec import AbstractFileSystem

PAGE_BYTES = 16 * 1024 * 1024
"""Largest list of a folder."""

_PIECE_BYTES = 1024 * 1024
_WITHOUT_HEAD = {400, 403, 405, 501}
"""What servers answer that know no HEAD, or forbid it."""


class WebFiles(FileSystemBackend):
    """Files below a web server's URL, escaped or not.

    fsspec's HTTP file system provides the session.
    """

    def __init__(self, file_system: AbstractFileSystem, root: str) -> None:
        super().__init__(file_system, root)
        self._root = str(file_system.encode_url(root)).rstrip("/")

    def list_folder(self, folder: str, seconds: float) -> Listing:
        """List a folder by its page's links; other pages are empty."""

        async def receive() -> tuple[str, str, bytes]:
            async with self._answer("get", self._url(folder) + "/") as answer:
                kind = answer.headers.get("Content-Type", "text/html").partition(";")[0].strip().lower()
                body = await _body(answer, PAGE_BYTES)
                return str(answer.url), kind, _decoded(body, answer.headers, PAGE_BYTES)

        address, kind, page = self._run(receive, seconds)
        if len(page) > PAGE_BYTES:
            raise WrongAnswerError(f"the folder listing has more than {PAGE_BYTES} bytes")
        if b"<ListBucketResult" in page[:1000]:
            raise WrongAnswerError(
                "this is an S3 server: give the bucket as s3://NAME, with endpoint_url in the options"
            )
        names = _names_in_json(page) if kind == "application/json" else _names_in_html(page, address)
        keys = {f"{folder}/{name}" if folder else name for name in names}
        files = sorted(key for key in keys if key[-1] != "/")
        return Listing(dict.fromkeys(files), sorted(key[:-1] for key in keys if key[-1] == "/"))

    def get(self, key: str, start: int | None, stop: int | None, seconds: float, *, most: int) -> Answer:
        """Read a file, or bytes of it."""
        is_part = not (start is stop is None)
        first = start or 0
        part = {"Range": f"bytes={first}-{'' if stop is None else stop - 1}"} if is_part else {}

        async def receive() -> Answer:
            async with self._answer("get", self._url(key), part) as answer:
                if answer.status == 416:  # the file ends before
                    return Answer(b"", _etag(answer.headers))
                if is_part and answer.status != 206 and first:
                    raise WrongAnswerError("the server does not support range requests: copy the files")
                if _is_encoded(key, answer.headers) and answer.status == 206:
                    raise WrongAnswerError("the server sends ranges of a compressed file instead of the file")
                content = await _body(answer, most)
            if _is_encoded(key, answer.headers):
                content = _decoded(content, answer.headers, most)
            if is_part and answer.status != 206 and stop is not None:
                content = content[: stop - first]
            return Answer(content, _etag(answer.headers))

        return self._run(receive, seconds)  # type: ignore[no-any-return]

    def state(self, key: str, seconds: float) -> ObjectInfo:
        """Return a file's size and ETag, or its date."""

        async def head() -> tuple[int, Any]:
            async with self._answer("head", self._url(key), passing=_WITHOUT_HEAD) as answer:
                return answer.status, answer.headers

        status, headers = self._run(head, seconds)
        if status not in _WITHOUT_HEAD and "Content-Length" in headers and not _is_encoded(key, headers):
            return ObjectInfo(key, int(headers["Content-Length"]), _etag(headers))
        return self.probe(key, seconds)[0]

    def probe(self, key: str, seconds: float) -> tuple[ObjectInfo, bool]:
        """Return size, ETag, and whether the server sends ranges."""

        async def receive() -> tuple[ObjectInfo | None, bool]:
            async with self._answer("get", self._url(key), {"Range": "bytes=0-0"}) as answer:
                total = answer.headers.get("Content-Range", "").rpartition("/")[2]
                if answer.status == 206 and total.isdigit() and not _is_encoded(key, answer.headers):
                    return ObjectInfo(key, int(total), _etag(answer.headers)), True
                if answer.status == 200 and "Content-Length" in answer.headers and not _is_encoded(key, answer.headers):
                    return ObjectInfo(key, int(answer.headers["Content-Length"]), _etag(answer.headers)), False
                if answer.status == 416:  # an empty file has no first byte
                    return ObjectInfo(key, 0, _etag(answer.headers)), True
                return None, False

        found, gives_parts = self._run(receive, seconds)
        if found is None:  # nothing tells the length but the end
            whole = self.get(key, None, None, seconds, most=LARGEST_BYTES)
            if len(whole.content) > LARGEST_BYTES:
                raise WrongAnswerError("the server does not report the file's size")
            found = ObjectInfo(key, len(whole.content), whole.etag)
        return found, gives_parts

    def open(self, key: str, seconds: float, errors: Callable[[], AbstractContextManager[None]]) -> BinaryIO:
        """Open a file by one request, for servers without ranges."""

        async def begin() -> Any:
            session = await self.file_system.set_session()
            answer = await session.get(_escaped(self._url(key)), **self._request({}))
            self._raise_for(answer)
            return answer

        return WebBody(self._run(begin, seconds), self.file_system.loop, seconds, errors)  # type: ignore[return-value]

    def _url(self, key: str) -> str:
        return f"{self._root}/{urllib.parse.quote(key)}" if key else self._root

    def _request(self, headers: Mapping[str, str]) -> dict[str, Any]:
        given = dict(self.file_system.kwargs)
        given["headers"] = {"Accept-Encoding": "identity", **(given.get("headers") or {}), **headers}
        return given

    @asynccontextmanager
    async def _answer(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, *, passing: Collection[int] = ()
    ) -> AsyncIterator[Any]:
        session = await self.file_system.set_session()
        request = getattr(session, method)
        async with request(_escaped(url), allow_redirects=True, **self._request(headers or {})) as answer:
            if answer.status not in passing and answer.status != 416:
                self._raise_for(answer)
            yield answer

    @staticmethod
    def _raise_for(answer: Any) -> None:
        if answer.status in (404, 410):
            answer.release()  # as the other statuses' method does
            raise FileNotFoundError(str(answer.url))
        answer.raise_for_status()

    def _run(self, coroutine: Any, seconds: float) -> Any:
        return bounded(self.file_system.loop, coroutine, seconds)


class WebBody(ReadableFile):
    """An answer's body as a file that is read once."""

    def __init__(
        self, answer: Any, loop: Any, seconds: float, errors: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._answer, self._loop, self._seconds, self._errors = answer, loop, seconds, errors

    def readinto(self, target: Any) -> int:
        """Read received bytes into `target`."""
        from fsspec.asyn import sync

        view = memoryview(target).cast("B")
        with self._errors():
            data = sync(self._loop, self._answer.content.read, len(view), timeout=self._seconds)
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Release the connection."""
        if not self.closed:
            self._loop.call_soon_threadsafe(self._answer.close)
        super().close()


def web_options(options: Mapping[str, Any], network: NetworkPolicy) -> dict[str, Any]:
    """Return web options, with this package's defaults.

    Proxies are taken from the environment.
    """
    import aiohttp

    patience = aiohttp.ClientTimeout(total=None, sock_connect=network.connect_seconds, sock_read=network.read_seconds)
    own = {"trust_env": True, "timeout": patience, **(options.get("client_kwargs") or {}), "auto_decompress": False}
    return {**options, "client_kwargs": own}


async def _body(answer: Any, most: int) -> bytes:
    """Read a body.

    Reading stops one byte after `most`.
    """
    pieces, left = [], most + 1
    while left > 0 and (piece := await answer.content.read(min(left, _PIECE_BYTES))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _etag(headers: Mapping[str, str]) -> str:
    return headers.get("ETag", "").removeprefix("W/").strip('"') or headers.get("Last-Modified", "")


def _is_encoded(key: str, headers: Mapping[str, str]) -> bool:
    """Return True if a body must be decompressed to be the file.

    Some servers declare compressed files as encoded.
    """
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    return encoding not in ("", "identity") and not (encoding in ("gzip", "x-gzip") and key.endswith((".gz", ".tgz")))


def _decoded(content: bytes, headers: Mapping[str, str], most: int) -> bytes:
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise WrongAnswerError(f"the server sent the content encoding {encoding!r}, which was not requested")
    try:
        return zlib.decompressobj(47).decompress(content, most + 1)  # gzip or zlib, by its header
    except zlib.error as error:
        raise WrongAnswerError(f"the response is not a valid {encoding} stream") from error


def _escaped(url: str) -> Any:
    import yarl

    return yarl.URL(url, encoded=True)


class _Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for name, value in attrs if name == "href" and value]


def _names_in_html(page: bytes, address: str) -> set[str]:
    """Return the direct files and folders that a page links to.

    Names of folders end in a slash.
    """
    links = _Links()
    links.feed(page.decode("utf-8", errors="replace"))
    base = urllib.parse.urlsplit(address).path
    base = urllib.parse.unquote(base if base.endswith("/") else base.rpartition("/")[0] + "/")
    names = set()
    for link in links.found:
        target = urllib.parse.urlsplit(urllib.parse.urljoin(address, link))
        path = urllib.parse.unquote(target.path)
        name = path.removeprefix(base)
        # Links with a query sort the list, and links to other folders or hosts are not files of this one.
        if path.startswith(base) and not target.query and name.strip("/") and "/" not in name.rstrip("/"):
            names.add(name.rstrip("/") + "/" * name.endswith("/"))
    return names


def _names_in_json(page: bytes) -> set[str]:
    """Return these names from nginx's JSON list."""
    try:
        found = [(str(entry["name"]).strip("/"), entry.get("type") == "directory") for entry in json.loads(page)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise WrongAnswerError("the folder listing is JSON of an unknown form") from error
    return {name + "/" * is_folder for name, is_folder in found if name and "/" not in name}
