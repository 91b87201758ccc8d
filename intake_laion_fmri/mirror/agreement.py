"""The access service for the images: manifest and temporary addresses.

The service is for users who have accepted the terms of the images.

A *request id* stands for an agreement: it is a secret, and so are the addresses that the service makes for it. Neither
is printed, kept, or put into an error.

Source: the documented protocol of the data set's access service, version 1. ``GET /api/v1/manifest`` tells name, size
and SHA-256 of each file to everybody; ``POST /api/v1/refresh`` takes a request id, and adds addresses.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from intake_laion_fmri import layout
from intake_laion_fmri.errors import BucketUnreachableError, DataIntegrityError, LicenseNotAcceptedError
from intake_laion_fmri.remote.retry import Attempts, network_policy

ACCESS_VARIABLE = "LAION_FMRI_ACCESS_URL"
"""Environment variable with another address of the service."""

ID_VARIABLE = "LAION_FMRI_REQUEST_ID"
"""Environment variable with a request id."""

_DATASET_VERSION = "v1"
_MOST_BYTES = 1024 * 1024
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_HOW = f"Request access to the images at {layout.REQUEST_URL}"


@dataclass(frozen=True)
class GatedFile:
    """A file of the access service."""

    name: str
    """``"task-images_stimuli.h5"``."""
    size: int
    """Bytes."""
    sha256: str
    """64 hexadecimal digits."""

    @property
    def key(self) -> str:
        """The file's key in a bucket."""
        return f"{layout.STIMULI.root}/{self.name}"


class UrlExpiredError(Exception):
    """A temporary address has expired."""


class AccessService:
    """The access service.

    Parameters
    ----------
    url : str, optional
        Its address. By default the environment variable `ACCESS_VARIABLE`, or the data set's.

    Raises
    ------
    ValueError
        If the address is not HTTPS, or HTTP on this machine: a request id is sent there.
    """

    def __init__(self, url: str | None = None) -> None:
        given = url or os.environ.get(ACCESS_VARIABLE) or layout.REQUEST_URL.rpartition("/")[0]
        self.url = _checked(given, f"the access service (server_url, or {ACCESS_VARIABLE})").rstrip("/")
        self._opener = urllib.request.build_opener(_NoRedirects)

    def manifest(self) -> dict[str, GatedFile]:
        """Return all files by name; needs no request id."""
        return {name: _file(entry) for name, entry in self._files("manifest", None).items()}

    def addresses(self, request_id: str) -> dict[str, str]:
        """Return an address for each file, valid for an hour.

        Raises
        ------
        AccessDeniedError
            If the service refuses: the terms have changed, the id is unknown or was revoked.
        BucketUnreachableError
            If it does not respond, or asks to be left alone for a while.
        DataIntegrityError
            If its answer cannot be understood.
        """
        entries = self._files("refresh", {"request_id": request_id, "dataset_version": _DATASET_VERSION})
        return {name: _checked(entry.get("url"), f"the address of {name}") for name, entry in entries.items()}

    def _files(self, what: str, question: Mapping[str, str] | None) -> dict[str, dict[str, Any]]:
        answer = self._asked(what, question)
        files = answer.get("files") if isinstance(answer, dict) else None
        named = {str(entry.get("name")): entry for entry in files or () if isinstance(entry, dict)}
        if not named:
            raise DataIntegrityError(f"{self.url}: expected a list of files in the answer to {what!r}, found none.")
        return named

    def _asked(self, what: str, question: Mapping[str, str] | None) -> Any:
        """Send a request until it is answered."""
        body = None if question is None else json.dumps(question).encode()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/api/v1/{what}", body, headers)
        attempts = Attempts(network_policy())
        while True:
            try:
                with self._opener.open(request, timeout=network_policy().read_seconds) as answer:
                    return _json(answer, self.url)
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    self._refuse(error)
                reason = f"HTTP {error.code}"
            except (OSError, http.client.HTTPException) as error:
                reason = _reason(error)
            if not attempts.again():
                raise self.unreachable(reason)

    def _refuse(self, error: urllib.error.HTTPError) -> NoReturn:
        """Raise the error of a refusal."""
        detail = _detail(error)
        answer = detail if isinstance(detail, dict) else {}
        if error.code == 429:
            wait = error.headers.get("Retry-After", "")
            when = f"in {wait} s" if wait.isdecimal() else "later"
            raise BucketUnreachableError(f"{self.url} received too many requests: try again {when}.") from None
        if error.code == 403 and answer.get("error") == "terms_outdated":
            version = str(answer.get("current_terms_version", "")) or "a newer version"
            where = str(answer.get("accept_url") or f"{self.url}/terms/accept")
            raise LicenseNotAcceptedError(
                f"The terms of use of the images have changed ({version[:50]}): accept them at {where[:500]} and run "
                "this again."
            ) from None
        if error.code == 403 and "revoked" in str(detail).lower():
            raise LicenseNotAcceptedError(
                f"Access to the images was revoked for this request id. Contact {layout.CONTACT}, or request access "
                f"again at {layout.REQUEST_URL}."
            ) from None
        if error.code in (400, 404, 422):
            raise LicenseNotAcceptedError(
                f"{self.url} does not know this request id: check it for a typo, or request access "
                f"again at {layout.REQUEST_URL}."
            ) from None
        raise LicenseNotAcceptedError(f"{self.url} refuses access to the images (HTTP {error.code}). {_HOW}.") from None

    def unreachable(self, reason: str) -> BucketUnreachableError:
        """Return the error for a silent service."""
        return BucketUnreachableError(
            f"The access service {self.url} does not respond ({reason}). Try again later; {ACCESS_VARIABLE} sets "
            "another address. What was received is kept."
        )


@contextmanager
def opened(url: str, start: int, stop: int, size: int, *, name: str) -> Iterator[IO[bytes]]:
    """Open a part of a file at a temporary address.

    Raises
    ------
    UrlExpiredError
        If the address is not valid any more.
    OSError, http.client.HTTPException
        If the connection fails; neither names the address.
    DataIntegrityError
        If the server gives something else.
    """
    part = {} if (start, stop) == (0, size) else {"Range": f"bytes={start}-{stop - 1}"}
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", **part})
    try:
        with urllib.request.urlopen(request, timeout=network_policy().read_seconds) as answer:
            expected = f"bytes {start}-{stop - 1}/{size}"
            if part and (answer.status != 206 or answer.headers.get("Content-Range") != expected):
                raise DataIntegrityError(f"{name}: expected a part of {size} bytes, found another file, or all of it.")
            yield answer
    except urllib.error.HTTPError as error:
        if error.code in (400, 401, 403):
            raise UrlExpiredError from None
        raise ConnectionError(f"HTTP {error.code}") from None
    except urllib.error.URLError as error:
        raise ConnectionError(_reason(error)) from None


def find_request_id(given: str | None = None) -> str:
    """Return the request id.

    It is the given one, that of `ID_VARIABLE`, or the one saved by the data set's own package, in this order.

    Raises
    ------
    AccessDeniedError
        If there is none: says where to ask.
    ValueError
        If it cannot be one.
    """
    found = given or os.environ.get(ID_VARIABLE) or _kept_id()
    if not found:
        raise LicenseNotAcceptedError(
            f"The images require a data use agreement. Request access at {layout.REQUEST_URL}: the answer has a "
            f"request id. Set it in the environment variable {ID_VARIABLE}, or pass --request-id; the one that the "
            f"data set's own package keeps in ~/.cache/laion-fmri/auth.json is found automatically."
        )
    if not re.fullmatch(r"[A-Za-z0-9_.-]{4,200}", found.strip()):
        raise ValueError(
            "The request id must consist of letters, digits, _, . and -, as issued by the service (lfm_…)."
        )
    return found.strip()


def _kept_id() -> str | None:
    try:
        with (Path.home() / ".cache" / "laion-fmri" / "auth.json").open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))["request_id"]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return found if isinstance(found, str) else None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Handler without redirects: a request id goes to the named service alone."""

    def redirect_request(self, *args: Any) -> None:
        """Refuse the redirect."""


def _checked(url: object, what: str) -> str:
    """Return an address that may receive secrets.

    Errors do not quote it, because it may contain a secret.
    """
    parts = urllib.parse.urlsplit(url) if isinstance(url, str) else None
    is_safe = parts and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK))
    if parts and parts.hostname and is_safe:
        return str(url)
    raise ValueError(f"Expected an address with https:// for {what}, found another.")


def _file(entry: Mapping[str, Any]) -> GatedFile:
    name, size, sha256 = entry.get("name"), entry.get("size"), entry.get("sha256")
    is_name = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}", name)
    is_sum = isinstance(sha256, str) and re.fullmatch(r"[0-9a-fA-F]{64}", sha256)
    if not (is_name and is_sum and type(size) is int and size > 0):
        raise DataIntegrityError(
            "The manifest of the images: expected name, size and sha256 of each file, found some missing."
        )
    return GatedFile(str(name), size, str(sha256).lower())


def _json(answer: IO[bytes], url: str) -> Any:
    try:
        return json.loads(answer.read(_MOST_BYTES))
    except (ValueError, RecursionError):
        raise DataIntegrityError(f"{url}: expected a JSON response, found something else.") from None


def _detail(error: urllib.error.HTTPError) -> Any:
    """Return the readable part of an answer."""
    try:
        content = json.loads(error.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError, http.client.HTTPException):
        return ""
    return content.get("detail", content) if isinstance(content, dict) else content


def _reason(error: BaseException) -> str:
    """Describe a failed connection without its address."""
    inner = getattr(error, "reason", error)
    return type(inner).__name__ if isinstance(inner, BaseException) else str(inner)[:100]
