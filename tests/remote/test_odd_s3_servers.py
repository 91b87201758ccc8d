"""Servers that resemble S3: what is refused, encoded, left out, sent without end, or of another version."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiers import sampled
from web_servers import S3Handler, WebServer

from intake_laion_fmri import mirror_bucket, open_betas, open_trials
from intake_laion_fmri.config import set_network
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.remote.access import open_bucket

CHOICE = {"roi": "face", "session": 1}


@pytest.fixture(autouse=True)
def _nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAION_FMRI_CACHE_LIMIT", "0")
    set_network(attempts=2, total_seconds=10)


@contextlib.contextmanager
def served(tiny: Path, folder: Path, kind: type[S3Handler]) -> Any:
    """The tiny bucket on a server with a fault: the server, and arguments that open it."""
    (folder / "laion-fmri").symlink_to(tiny)
    with WebServer(folder, kind) as server:
        yield server, {"bucket": "s3://laion-fmri", "storage_options": {"endpoint_url": server.url}}


class OnlySlash(S3Handler):
    """Refuses every delimiter but the usual one, and every condition."""

    def give_listing(self, folder: Path, query: dict[str, str]) -> None:
        if query.get("delimiter", "/") != "/":
            self.give(HTTPStatus.NOT_IMPLEMENTED, b"<Error><Code>NotImplemented</Code></Error>")
        else:
            super().give_listing(folder, query)

    def give_file(self, path: Path) -> None:
        if any(name.lower().startswith("if-") for name in self.headers):
            self.give(HTTPStatus.NOT_IMPLEMENTED, b"<Error><Code>NotImplemented</Code></Error>")
        else:
            super().give_file(path)


class Encoding(S3Handler):
    """Says of packed files that they are encoded, as who uploads them with a web server's table of types."""

    encoding = "gzip"


class Chunked(S3Handler):
    """Does not tell lengths."""

    def send_body(self, body: bytes) -> None:
        if self.command == "HEAD":
            super().send_body(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for start in range(0, len(body), 50_000):
            piece = body[start : start + 50_000]
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


@pytest.mark.parametrize("kind", sampled([S3Handler, OnlySlash, Encoding, Chunked], keep=2))
def test_same_values(tiny: Path, tmp_path: Path, kind: type[S3Handler]) -> None:
    expected = open_betas("sub-01", bucket=tiny, **CHOICE).betas.values
    with served(tiny, tmp_path, kind) as (_, given):
        np.testing.assert_array_equal(open_betas("sub-01", **given, **CHOICE).betas.values, expected)


@pytest.mark.parametrize("kind", sampled([S3Handler, OnlySlash, Encoding, Chunked], keep=2))
def test_same_mirror(tiny: Path, tmp_path: Path, kind: type[S3Handler]) -> None:
    """No condition is sent: the ETag of each answer tells whether an object is still the one that was listed."""
    mirror = tmp_path / "mirror"
    choice = {"subjects": "sub-01", "sessions": 1, "kinds": ["betas", "trials"]}
    (tmp_path / "served").mkdir()
    with served(tiny, tmp_path / "served", kind) as (server, given):
        report = mirror_bucket(mirror, **given, **choice)
        assert not [headers for *_, headers in server.log if any(name.lower().startswith("if-") for name in headers)]
    copies = [path for path in (mirror / "derivatives").rglob("*") if path.is_file()]
    assert report.fetched == len(copies) > 1
    for copy in copies:
        assert copy.read_bytes() == (tiny / copy.relative_to(mirror)).read_bytes()


class SamePage(S3Handler):
    """Gives the first page of a listing, whichever is asked for."""

    def give_page(self, rows: list[str], token: str = "") -> None:
        super().give_page(rows, "cm9vdA==")


class OtherPages(S3Handler):
    """Gives pages without end."""

    def give_page(self, rows: list[str], token: str = "") -> None:
        number = len(self.server.log)  # type: ignore[attr-defined]
        rows = [
            f"<Contents><Key>derivatives/{number}-{one}</Key><Size>1</Size><ETag>x</ETag></Contents>"
            for one in range(1000)
        ]
        super().give_page(rows, str(number))


@pytest.mark.parametrize(("kind", "said"), [(SamePage, "same page of the listing"), (OtherPages, "does not end after")])
def test_listing_without_end(
    tiny: Path, tmp_path: Path, kind: type[S3Handler], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intake_laion_fmri.remote.s3.MOST_OBJECTS", 5000)
    with served(tiny, tmp_path, kind) as (server, given), pytest.raises(DataIntegrityError, match=said):
        open_bucket(**given).find("derivatives")
    assert len(server.log) <= 2 * 6


class EndlessBodies(S3Handler):
    """Sends tables without end, and says nothing of their length."""

    sent = 0

    def give_file(self, path: Path) -> None:
        if path.suffix != ".tsv" or self.command == "HEAD":
            super().give_file(path)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("ETag", f'"{self.etag_of(path, path.read_bytes())}"')
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            while type(self).sent < 400_000_000:
                type(self).sent += self.wfile.write(bytes(100_000))


def test_body_without_end(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a table, a byte more than the listing told of is read, and no other; buffers of the system aside."""
    with served(tiny, tmp_path, EndlessBodies) as (_, given):
        with pytest.raises(DataIntegrityError, match="found more"):
            open_trials("sub-01", session=1, **given)
        (key,) = [
            key for key in open_bucket(**given).find("") if "sub-01_ses-01_" in key and key.endswith("_trials.tsv")
        ]
        monkeypatch.setattr("intake_laion_fmri.remote.bucket.LARGEST_BYTES", 1_000_000)
        with pytest.raises(DataIntegrityError, match="at most 1000000 bytes"):
            open_bucket(**given).read(key)
    assert EndlessBodies.sent < 100_000_000


class Outdated(S3Handler):
    """A proxy that kept an older version of the betas, and lists and heads the new one."""

    def etag_of(self, path: Path, content: bytes) -> str:
        old = (
            "0" * 32 if self.command == "GET" and "list-type" not in self.path and "betas" in self.path.lower() else ""
        )
        return old if old and path.suffix == ".gz" else super().etag_of(path, content)


def test_outdated_version_under_a_new_etag(tiny: Path, tmp_path: Path) -> None:
    with served(tiny, tmp_path, Outdated) as (_, given):
        ds = open_betas("sub-01", **given, **CHOICE)
        with pytest.raises(DataIntegrityError, match=r"expected the ETag .* found 00000"):
            ds.load()


class EndlessPage(S3Handler):
    """Sends a page of a listing, or an error, that never ends."""

    sent = 0
    status = HTTPStatus.OK

    def give_page(self, rows: list[str], token: str = "") -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"<?xml version='1.0'?><ListBucketResult>")
            while type(self).sent < 1_000_000_000:
                type(self).sent += self.wfile.write(b"<Contents>" * 10_000)


class EndlessError(EndlessPage):
    """The same as an error."""

    status = HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("kind", sampled([EndlessPage, EndlessError], keep=1))
def test_page_without_end(tiny: Path, tmp_path: Path, kind: type[EndlessPage]) -> None:
    kind.sent = 0
    with served(tiny, tmp_path, kind) as (_, given), pytest.raises(DataIntegrityError, match="too many for a listing"):
        open_bucket(**given).find("derivatives")
    assert kind.sent < 200_000_000
