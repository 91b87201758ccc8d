"""S3 objects: one request per method, or one per page of a listing.

No delimiter but ``/`` is ever sent and no conditional header: servers that only resemble S3 refuse others, each in its
own way. Pages and bodies are read up to a bound, whatever a server sends.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.backend import Answer, FileSystemBackend, Listing, WrongAnswerError, bounded
from intake_laion_fmri.remote.retry import NetworkPolicy

CONNECTIONS = 32
"""Most connections to a server."""

MOST_OBJECTS = 1_000_000
"""Most objects of a listing; the data set has some ten thousand."""

_PIECE_BYTES = 1024 * 1024


class NoSuchBucketError(FileNotFoundError):
    """The server has no bucket of this name."""


class S3Objects(FileSystemBackend):
    """Objects below a bucket or access point and a prefix."""

    lists_deep = True
    lists_what_is_there = True
    has_md5_etags = True

    @property
    def server(self) -> str:
        """Endpoint; AWS's settings may name another than the options."""
        return str(self.file_system.s3.meta.endpoint_url)

    def split(self, key: str) -> tuple[str, str]:
        """Split a path into bucket, or access point, and key."""
        bucket, name, _ = self.file_system.split_path(f"{self.root}/{key}" if key else self.root)
        return bucket, name

    def list_folder(self, folder: str, seconds: float) -> Listing:
        """List a folder's direct content, a thousand objects per request."""
        objects, folders = self._pages(folder, seconds, deep=False)
        if self.split(folder)[1] and not (objects or folders):
            raise FileNotFoundError(folder)
        return Listing(objects, folders)

    def find(self, folder: str, seconds: float) -> dict[str, ObjectInfo]:
        """List all objects below a folder, a thousand per request."""
        return self._pages(folder, seconds, deep=True)[0]

    def _pages(self, folder: str, seconds: float, *, deep: bool) -> tuple[dict[str, ObjectInfo], set[str]]:
        """List objects below a folder, recursively or not.

        The second value lists the direct subfolders.

        NoSuchBucketError if the bucket does not exist; to S3, an absent folder is an empty listing. WrongAnswerError if
        an answer is no listing: XML of something else, as of a hotel's network, would look like an empty one. `seconds`
        are for all pages.
        """
        end = time.monotonic() + seconds
        bucket, path = self.split(folder)
        start = f"{path.rstrip('/')}/" if path else ""
        cut = len(self.split("")[1].rstrip("/") + "/") if self.split("")[1] else 0
        request = {"Bucket": bucket, "Prefix": start, **({} if deep else {"Delimiter": "/"}), **self.file_system.req_kw}
        objects: dict[str, ObjectInfo] = {}
        folders: set[str] = set()
        tokens: set[str] = set()
        while True:
            try:
                page = self._call(end - time.monotonic(), "list_objects_v2", **request)
            except FileNotFoundError as error:
                raise NoSuchBucketError(bucket) from error
            try:
                for entry in page.get("Contents", ()):
                    if entry["Key"].startswith(start) and not (entry["Key"].endswith("/") and not entry["Size"]):
                        key = entry["Key"][cut:]
                        objects[key] = ObjectInfo(key, int(entry["Size"]), entry.get("ETag", "").strip('"'))
                folders.update(entry["Prefix"][cut:].rstrip("/") for entry in page.get("CommonPrefixes", ()))
                if not page["IsTruncated"]:
                    return objects, folders
                token = page["NextContinuationToken"]
            except KeyError as error:
                raise WrongAnswerError("the response is not the listing of an S3 server") from error
            if token in tokens:
                raise WrongAnswerError("the server repeats the same page of the listing")
            if len(objects) + len(folders) > MOST_OBJECTS:
                raise WrongAnswerError(f"the listing does not end after {len(objects)} objects")
            tokens.add(token)
            request["ContinuationToken"] = token

    def get(self, key: str, start: int | None, stop: int | None, seconds: float, *, most: int) -> Answer:
        """Read an object, or bytes of it."""

        async def receive() -> Answer:
            answer = await self.begin(key, start, stop)
            body, pieces, left = answer["Body"], [], most + 1
            try:
                while left > 0 and (piece := await body.read(min(left, _PIECE_BYTES))):
                    pieces.append(piece)
                    left -= len(piece)
            finally:
                # A body read to its end returns its connection; the rest of any other body is not awaited.
                body.close()
            return Answer(b"".join(pieces), str(answer.get("ETag", "")).strip('"'))

        return bounded(self.file_system.loop, receive, seconds)  # type: ignore[no-any-return]

    async def begin(self, key: str, start: int | None, stop: int | None) -> Any:
        """Request an object and return the answer with its open body."""
        bucket, name = self.split(key)
        part = {} if start is stop is None else {"Range": f"bytes={start or 0}-{'' if stop is None else stop - 1}"}
        return await self.file_system._call_s3("get_object", Bucket=bucket, Key=name, **part)

    def state(self, key: str, seconds: float) -> ObjectInfo:
        """Return an object's size and ETag."""
        bucket, name = self.split(key)
        answer = self._call(seconds, "head_object", Bucket=bucket, Key=name, **self.file_system.req_kw)
        if not answer.get("ETag") or answer.get("ContentLength") is None:
            raise WrongAnswerError("the response is not from an S3 server: it lacks an ETag or a length")
        return ObjectInfo(key, int(answer["ContentLength"]), str(answer["ETag"]).strip('"'))

    def is_encrypted(self, key: str, seconds: float) -> bool:
        """Return True if an object is encrypted; see `is_encrypted`."""
        bucket, name = self.split(key)
        return is_encrypted(self._call(seconds, "head_object", Bucket=bucket, Key=name))

    def _call(self, seconds: float, method: str, **request: Any) -> Any:
        return bounded(self.file_system.loop, self.file_system._call_s3, seconds, method, **request)


def is_encrypted(answer: Mapping[str, Any]) -> bool:
    """Return True if S3 encrypts an object by a key.

    The ETag of such an object only looks like an MD5.

    Parameters
    ----------
    answer : mapping
        To a GET or HEAD request.
    """
    return answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer


def unread(body: Any) -> bytes:
    """Return received bytes that aiohttp withholds after an error.

    It is up to a quarter of a megabyte for each connection that breaks, and has no public name; without it these bytes
    are asked for again.
    """
    content = getattr(getattr(body, "raw_stream", None), "content", None)
    return b"".join(getattr(content, "_buffer", ()))[getattr(content, "_buffer_offset", 0) :]


def s3_options(options: Mapping[str, Any], network: NetworkPolicy) -> dict[str, Any]:
    """Return S3 options, with this package's bounds as defaults."""
    from intake_laion_fmri.remote.s3_session import BoundedSession

    return {
        # For single objects: parts of large ones are requested here, and small ones without a HEAD.
        "max_concurrency": 1,
        **options,
        "config_kwargs": {
            "connect_timeout": network.connect_seconds,
            "read_timeout": network.read_seconds,
            # `Bucket` retries; AWS_RETRY_MODE is overridden, so that a wrong value does no harm.
            "retries": {"total_max_attempts": 1, "mode": "legacy"},
            "request_checksum_calculation": "when_required",  # servers that resemble S3 refuse the newer sums
            "max_pool_connections": CONNECTIONS,
            "http_session_cls": BoundedSession,
            **(options.get("config_kwargs") or {}),
        },
    }
