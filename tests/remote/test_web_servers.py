"""Buckets behind plain web servers: their lists, names, encodings, lengths, parts, versions and proxies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.parse
from http import HTTPStatus
from pathlib import Path

import numpy as np
import pytest
from tiers import full, sampled
from web_servers import Handler, WebServer

from intake_laion_fmri import layout, open_betas, open_trials
from intake_laion_fmri.config import set_network
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.remote.access import open_bucket

CHOICE = {"roi": "face", "session": 1}
TABLE = layout.key("trials", subject="sub-01", session="ses-01")
BETAS = layout.key("betas", subject="sub-01", session="ses-01")


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", "0")
    set_network(attempts=2, total_seconds=10)


class NoParts(Handler):
    """Gives whole files only."""

    ranges = False


class NoHead(Handler):
    """Knows GET only."""

    def do_HEAD(self) -> None:  # noqa: N802
        self.give(HTTPStatus.NOT_IMPLEMENTED, b"")


class NoLengths(NoParts):
    """Ends an answer by hanging up."""

    def send_body(self, body: bytes) -> None:
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command != "HEAD":
            self.wfile.write(body)


class Chunked(Handler):
    """Tells lengths of pieces only."""

    def send_body(self, body: bytes) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n" if body else b"0\r\n\r\n")


class PackedByType(Handler):
    """Apache with AddEncoding: says that packed files are encoded, and gives them as they are."""

    encoding = "x-gzip"


class PacksTexts(Handler):
    """Packs what is text on its way, asked or not."""

    def give(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        import gzip

        if body and not self.path.endswith(".gz"):
            body, headers = gzip.compress(body), {**(headers or {}), "Content-Encoding": "gzip"}
        super().give(status, body, headers)


class NoEtags(Handler):
    """Tells dates only."""

    etags = False


class NoStateOfParts(NoEtags):
    """Tells dates of whole files only."""

    dates_of_parts = False


class Caddy(Handler):
    """Links by './name', and to itself, its parent, its orders and other places."""

    def give_folder(self, path: Path) -> None:
        names = [urllib.parse.quote(one.name) + "/" * one.is_dir() for one in sorted(path.iterdir())]
        links = [
            "../",
            "./",
            "/",
            "?C=N;O=D",
            "#top",
            "https://example.org/x",
            "mailto:a@b",
            *(f"./{n}" for n in names),
        ]
        page = "".join(f"<tr><td><A title=x HREF='{link}'>{link[:5]}..</A></td></tr>" for link in links)
        self.give(HTTPStatus.OK, page.encode(), {"Content-Type": "text/html; charset=utf-8"})


class AbsoluteLinks(Handler):
    """Links by whole paths."""

    def give_folder(self, path: Path) -> None:
        base = urllib.parse.urlsplit(self.path).path
        names = [base + urllib.parse.quote(one.name) + "/" * one.is_dir() for one in sorted(path.iterdir())]
        self.give(
            HTTPStatus.OK, "".join(f'<a href="{name}">' for name in names).encode(), {"Content-Type": "text/html"}
        )


class JsonLists(Handler):
    """Lists as nginx does in JSON."""

    def give_folder(self, path: Path) -> None:
        rows = [{"name": one.name, "type": "directory" if one.is_dir() else "file"} for one in path.iterdir()]
        self.give(HTTPStatus.OK, json.dumps(rows).encode(), {"Content-Type": "application/json"})


KINDS = [
    Handler,
    NoParts,
    NoHead,
    NoLengths,
    Chunked,
    PackedByType,
    PacksTexts,
    NoEtags,
    NoStateOfParts,
    Caddy,
    AbsoluteLinks,
    JsonLists,
]


@pytest.mark.parametrize("kind", sampled(KINDS, keep=2))
def test_same_values(tiny: Path, kind: type[Handler]) -> None:
    expected = open_betas("sub-01", bucket=tiny, **CHOICE).betas.values
    with WebServer(tiny, kind) as server:
        ds = open_betas("sub-01", bucket=server.url, **CHOICE)
        np.testing.assert_array_equal(ds.betas.values, expected)


def test_body_without_parts_is_asked_for_once(tiny: Path) -> None:
    with WebServer(tiny, NoParts) as server:
        ds = open_betas("sub-01", bucket=server.url, **CHOICE)
        server.log.clear()
        ds.load()
        assert len([one for one in server.log if one[0] == "GET"]) <= 2


@pytest.mark.parametrize(
    "name", sampled(["my data", "50%", "a#b", "q?x", "ünï", "a+b", "a&b", "~user", "a;b", "a%20b"], keep=2)
)
def test_names_in_the_address(tiny: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "bucket").symlink_to(tiny)
    with WebServer(tmp_path) as server:
        address = f"{server.url}/{urllib.parse.quote(name)}/bucket"
        assert len(open_trials("sub-01", bucket=address, session=1)) == 40


def test_names_of_files(tmp_path: Path) -> None:
    """What a link escapes is a key as it is on the disk."""
    names = ["a b", "50%", "a#b", "q?x", "ü", "a%20b", "x&amp;y", "plus+", "a;b", "'quote'"]
    (tmp_path / "folder").mkdir()
    for name in names:
        (tmp_path / "folder" / name).write_text(name)
    with WebServer(tmp_path, Caddy) as server:
        bucket = open_bucket(server.url)
        found = bucket.find("folder")
        assert found.keys() == {f"folder/{name}" for name in names}
        assert bucket.fetch(found.values()) == {f"folder/{name}": name.encode() for name in names}


@pytest.mark.parametrize("kind", [Handler, NoEtags])
def test_replaced_since_it_was_listed(own_tiny: Path, kind: type[Handler]) -> None:
    """The same size, another content: by the ETag, or by the date where there is none."""
    with WebServer(own_tiny, kind) as server:
        bucket = open_bucket(server.url)
        infos = bucket.find(layout.BETAS.folder("sub-01"))
        for key in (TABLE, BETAS):
            content = (own_tiny / key).read_bytes()
            (own_tiny / key).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            os.utime(own_tiny / key, (1e9, 1e9))
        with pytest.raises(DataIntegrityError, match="was replaced: expected"):
            bucket.fetch([infos[TABLE]])
        with pytest.raises(DataIntegrityError, match="was replaced: expected"), bucket.stream(infos[BETAS]) as file:
            file.read()


class Outdated(Handler):
    """A proxy whose GET gives an older version than its HEAD tells of."""

    def etag_of(self, path: Path, content: bytes) -> str:
        return "old" if self.command == "GET" else super().etag_of(path, content)


def test_outdated_version(tiny: Path) -> None:
    with WebServer(tiny, Outdated) as server:
        bucket = open_bucket(server.url)
        infos = bucket.find(layout.BETAS.folder("sub-01"))
        with pytest.raises(DataIntegrityError, match="found old: a proxy"):
            bucket.fetch([infos[TABLE]])


class Endless(Handler):
    """Sends tables without end."""

    sent = 0

    def give_file(self, path: Path) -> None:
        if path.suffix != ".tsv" or self.command == "HEAD":
            super().give_file(path)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while type(self).sent < 400_000_000:
                type(self).sent += self.wfile.write(bytes(100_000))
        except OSError:
            pass


def test_body_without_end(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with WebServer(tiny, Endless) as server:
        bucket = open_bucket(server.url)
        info = bucket.find(layout.BETAS.folder("sub-01"))[TABLE]
        with pytest.raises(DataIntegrityError, match="found more"):
            bucket.fetch([info])
        monkeypatch.setattr("intake_laion_fmri.remote.bucket.LARGEST_BYTES", 1_000_000)
        for read in (bucket.read, bucket.read_within, lambda key: bucket.read_present([key])):
            with pytest.raises(DataIntegrityError, match="at most 1000000 bytes"):
                read(TABLE)
    assert Endless.sent < 200_000_000


class EndlessList(Handler):
    """Lists folders without end."""

    def give_folder(self, path: Path) -> None:
        self.give(HTTPStatus.OK, b'<a href="x">' * 1000, {"Content-Type": "text/html"})


def test_list_without_end(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intake_laion_fmri.remote.web.PAGE_BYTES", 1000)
    with WebServer(tiny, EndlessList) as server, pytest.raises(DataIntegrityError, match="more than 1000 bytes"):
        open_bucket(server.url).find("derivatives")


class Proxy(Handler):
    """Answers for any host, as a proxy is asked: by whole addresses."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(urllib.parse.urlsplit(path).path)


READ = """
import sys
from intake_laion_fmri import config, open_trials
config.set_network(attempts=1, total_seconds=6)
print(len(open_trials("sub-01", bucket=sys.argv[1], session=1)))
"""


@full("processes, four seconds; test_same_values is in the fast tier")
def test_proxy_of_the_environment(tiny: Path) -> None:
    """What HTTP_PROXY names is asked, but not for the hosts of NO_PROXY."""
    with WebServer(tiny, Proxy) as proxy, WebServer(tiny) as server:
        ours = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        ours |= {"HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        for address in ("http://copy.invalid", server.url):
            done = subprocess.run([sys.executable, "-c", READ, address], env=ours, capture_output=True, text=True)
            assert (done.stdout, done.stderr) == ("40\n", "")
        assert proxy.log
        assert all(path.startswith("http://copy.invalid/") for _, path, _ in proxy.log)
