"""Bytes from a bucket: a URL and options give a file system, listings, small files and streams.

The only module that opens anything. Every failure leaves it as one of the contract's errors, naming the URL and what
to do. Nothing is cached: two calls see the bucket as it is at either time.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import math
import os
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

from intake_laion_fmri import layout
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    NotInBucketError,
)

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "BUCKET_VARIABLE",
    "CACHE_VARIABLE",
    "Bucket",
    "ObjectInfo",
    "cache_folder",
    "check_storage_options",
    "open_bucket",
    "open_root",
    "read_pinned",
]

BUCKET_VARIABLE = "LAION_FMRI_BUCKET"
"""Environment variable with the bucket's URL or folder, used where no ``bucket`` is given."""

BLOCK_BYTES = 8 * 1024 * 1024
FIRST_BLOCK_BYTES = 512 * 1024
BLOCKS_IN_FLIGHT = 4
"""Ranged requests under way for one stream: four of 8 MiB hide the latency and fill the line (see benchmarks)."""

SMALL_FILES_IN_FLIGHT = 16

CACHE_VARIABLE = "LAION_FMRI_CACHE"
"""Environment variable with the folder to keep fetched files in."""

PINNED_SECONDS = 20.0
"""Longest wait for a small file from a web server."""

PATIENCE_SECONDS = 60.0
"""How long a web server that failed is not asked again in this process."""

_failures: dict[str, tuple[float, BucketUnreachableError]] = {}
"""Root → when and how it failed."""

ATTEMPTS = 2
CONNECT_SECONDS = 5
READ_SECONDS = 10
"""A request waits so long for a connection, then for the next bytes; it is tried `ATTEMPTS` times by the S3 client and
each of these as often by s3fs, so that a server that accepts and never answers is given up after about 45 seconds, and
one that cannot be connected to after about 10."""

S3_DEFAULTS: Mapping[str, Any] = {
    "anon": True,
    "max_concurrency": 1,  # of one object: parts of large ones are asked for here, and a small one without a HEAD
    "client_kwargs": {"region_name": layout.REGION},
    "config_kwargs": {
        "connect_timeout": CONNECT_SECONDS,
        "read_timeout": READ_SECONDS,
        "retries": {"total_max_attempts": ATTEMPTS, "mode": "standard"},
        "max_pool_connections": 32,
    },
}
"""Options of s3fs where the user says nothing else: public data, read without an account."""

_CREDENTIALS = {"anon", "key", "secret", "token", "username", "password", "profile", "session"}


Root = TypeVar("Root", bound="Bucket")


@dataclass(frozen=True)
class ObjectInfo:
    """What a listing says of one object."""

    key: str
    """Path below the bucket's root."""
    size: int
    """Bytes."""
    etag: str
    """Changes when the content does: the store's ETag, or modification time and size of a local file."""


@dataclass(frozen=True)
class Bucket:
    """A root with the bucket's layout, on any file system that fsspec knows.

    Equal roots pickle to the same bytes and have the same Dask token; the connection is made on first use, once in
    each process.
    """

    url: str
    """URL without a trailing slash; a local folder is an absolute path."""
    storage_options: Mapping[str, Any] = field(default_factory=dict, hash=False, repr=False)
    """Options of the file system, complete; kept out of the repr, because they may hold a secret."""

    argument: ClassVar[str] = "bucket"
    """Name of the argument that users give it by."""
    options_argument: ClassVar[str] = "storage_options"
    """Name of the argument with the options of its file system."""
    _elsewhere: ClassVar[str] = (
        f", or read from a local copy: bucket='/folder/of/the/copy' or the environment variable {BUCKET_VARIABLE}"
    )
    """What else to try where it does not answer."""

    def __dask_tokenize__(self) -> object:
        return (f"intake_laion_fmri.{type(self).__name__}", self.url, _sorted(self.storage_options))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.storage_options)

    @functools.cached_property
    def _connection(self) -> tuple[AbstractFileSystem, str]:
        from fsspec.core import url_to_fs

        file_system, root = url_to_fs(self.url, **self.storage_options)
        if "s3" in _protocols(file_system):
            # fsspec shares instances between equal options; with the time-outs of `S3_DEFAULTS` among them, this one
            # is nobody else's.
            file_system.retries = ATTEMPTS
        return file_system, str(root).rstrip("/")

    @property
    def file_system(self) -> AbstractFileSystem:
        """The file system, connected on first use and kept."""
        return self._connection[0]

    @property
    def root(self) -> str:
        """The bucket's root as a path of the file system."""
        return self._connection[1]

    @property
    def is_local(self) -> bool:
        """Whether reading needs no network."""
        return "file" in _protocols(self.file_system)

    def path(self, key: str) -> str:
        """Return the path of an object on the file system."""
        return f"{self.root}/{key}" if key else self.root

    def locate(self, key: str) -> str:
        """Return the URL of an object, for messages."""
        return f"{self.url}/{key}" if key else self.url

    def below(self, folder: str) -> Bucket:
        """Return a folder of this root as a root of its own."""
        return Bucket(self.locate(folder), self.storage_options)

    def find(self, folder: str) -> dict[str, ObjectInfo]:
        """List every object below a folder: one request per thousand objects.

        Parameters
        ----------
        folder : str
            Path below the bucket's root.

        Returns
        -------
        dict
            Key → what the listing says. Empty where there is no such folder.

        Raises
        ------
        NotInBucketError
            If the bucket itself does not exist.
        BucketUnreachableError
            If it does not answer.
        """
        with self._errors(folder):
            self.file_system.invalidate_cache()
            if "s3" in _protocols(self.file_system):
                try:
                    found = self.file_system.find(self.path(folder), detail=True)
                except FileNotFoundError as error:
                    # To S3 an absent folder is an empty listing: what is not found can only be the bucket.
                    raise self.no_such_bucket() from error
            else:
                found = self._walk(folder)
        start = len(self.root) + 1
        infos = (_info(path[start:], entry) for path, entry in found.items() if entry["type"] == "file")
        return {info.key: info for info in infos}

    def _walk(self, folder: str) -> dict[str, Mapping[str, Any]]:
        """List folder by folder. fsspec's own `find` and `walk` leave out what they cannot list, without a word."""
        found: dict[str, Mapping[str, Any]] = {}
        pending = [self.path(folder)]
        while pending:
            path = pending.pop()
            try:
                entries = self.file_system.ls(path, detail=True)
            except FileNotFoundError:
                if path == self.path(folder):
                    return {}
                raise
            for entry in entries:
                if entry["type"] == "directory":
                    pending.append(entry["name"].rstrip("/"))
                else:
                    found[entry["name"]] = entry
        unknown = [path for path, entry in found.items() if entry.get("size") is None]
        if unknown:  # a listing over HTTP tells names only
            with ThreadPoolExecutor(SMALL_FILES_IN_FLIGHT) as pool:
                found |= dict(zip(unknown, pool.map(self.file_system.info, unknown), strict=True))
        return found

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly below one, sorted; empty where there is no such folder."""
        try:
            with self._errors(folder):
                self.file_system.invalidate_cache()
                entries = self.file_system.ls(self.path(folder), detail=True)
        except NotInBucketError:
            return []
        return sorted(entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries if entry["type"] == "directory")

    def exists(self) -> bool:
        """Tell whether there is such a bucket or folder at all."""
        try:
            with self._errors(""):
                self.file_system.invalidate_cache()
                self.file_system.ls(self.root, detail=False)
        except NotInBucketError:
            return False
        return True

    def fetch(self, objects: Iterable[ObjectInfo]) -> dict[str, bytes]:
        """Read whole small objects, many at a time, one GET each.

        Parameters
        ----------
        objects : iterable of ObjectInfo
            From a listing; the sizes spare a request each.

        Returns
        -------
        dict
            Key → content.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            Of the first object that cannot be read.
        DataIntegrityError
            If an object has not the size that the listing said.
        """
        wanted = list(objects)
        with ThreadPoolExecutor(SMALL_FILES_IN_FLIGHT, thread_name_prefix="laion-fetch") as pool:
            contents = pool.map(self._read_whole, wanted)
            return {info.key: content for info, content in zip(wanted, contents, strict=True)}

    def read_present(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Read whole small objects without a listing, many at a time, one GET each.

        Parameters
        ----------
        keys : iterable of str
            Paths below the root.

        Returns
        -------
        dict
            Key → content, of those that are there.

        Raises
        ------
        AccessDeniedError, BucketUnreachableError
            Of the first object that cannot be read.
        """

        def read(key: str) -> bytes | None:
            try:
                return self.read(key)
            except NotInBucketError:
                return None

        wanted = list(keys)
        with ThreadPoolExecutor(SMALL_FILES_IN_FLIGHT, thread_name_prefix="laion-fetch") as pool:
            contents = list(map(read, wanted)) if self.is_local else list(pool.map(read, wanted))
        return {key: content for key, content in zip(wanted, contents, strict=True) if content is not None}

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Read an object, or the bytes from `start` to before `stop`, of which there may be fewer.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        with self._errors(key):
            if self.is_local:
                with open(self.path(key), "rb", buffering=0) as file:
                    file.seek(start or 0)
                    return file.read(-1 if stop is None else stop - (start or 0))
            content: bytes = self.file_system.cat_file(self.path(key), start=start, end=stop)
            return content

    @contextmanager
    def stream(self, info: ObjectInfo, received: Callable[[int], None] | None = None) -> Iterator[BinaryIO]:
        """Open an object for reading once from its start.

        From a remote root several ranged requests are under way at any time and their blocks are delivered in order,
        so that the network works while the reader unpacks; at most `BLOCKS_IN_FLIGHT` + 1 blocks are in memory.

        Parameters
        ----------
        info : ObjectInfo
            From a listing. The object must still have this size and ETag when the stream is opened and, once the
            reader is done without an error of its own, when it is closed.
        received : callable, optional
            Is told the number of bytes whenever some are handed over.

        Yields
        ------
        binary file object
            Neither seekable nor shared.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        DataIntegrityError
            If the object was replaced since the listing.
        """
        with self._errors(info.key):
            if self.is_local:
                file: BinaryIO = open(self.path(info.key), "rb", buffering=0)  # noqa: SIM115
            else:
                # Its first requests are on their way while the object is looked at.
                file = _BlockReader(functools.partial(self._read_range, info.key), info.size)  # type: ignore[assignment]
        with file:
            self._expect_unchanged(info)
            try:
                yield file if received is None else _Counted(file, received)  # type: ignore[misc]
            except DataIntegrityError:
                self._expect_unchanged(info)  # what looks broken may be two objects in one
                raise
        self._expect_unchanged(info)

    def no_such_bucket(self) -> NotInBucketError:
        """Describe a root that does not exist."""
        return NotInBucketError(
            f"There is no bucket or folder {self.url!r}. Check the argument 'bucket' and the environment variable "
            f"{BUCKET_VARIABLE}, or make a demo bucket with 'intake-laion-fmri demo PATH'."
        )

    def missing(self, key: str, beside: Iterable[str]) -> NotInBucketError:
        """Describe an object that is needed and absent, naming what exists beside it.

        Parameters
        ----------
        key : str
            The absent object.
        beside : iterable of str
            Keys from the listing in which it was looked for.
        """
        folder, _, _ = key.rpartition("/")
        names = sorted(other[len(folder) + 1 :] for other in beside if other.startswith(f"{folder}/"))
        listing = (
            f"Beside it: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}."
            if names
            else "Its folder is empty."
        )
        return NotInBucketError(
            f"{self.locate(key)} is not in the bucket. {listing} "
            f"If this is a partial copy, fetch the object, or read from {layout.BUCKET_URL!r}."
        )

    def read_within(self, key: str) -> bytes:
        """Read a whole small object without a listing, in `PINNED_SECONDS` however slowly a server drips.

        A server that fails is asked `ATTEMPTS` times within that bound, and then not for `PATIENCE_SECONDS`: a machine
        without a network waits once, whatever the number of objects.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        failed, error = _failures.get(self.url, (-math.inf, None))
        if error is not None and time.monotonic() - failed < PATIENCE_SECONDS:
            raise BucketUnreachableError(str(error)) from error.__cause__
        deadline, attempts = time.monotonic() + PINNED_SECONDS, 0
        while True:
            try:
                with self._errors(key):
                    return self._cat_until(self.path(key), deadline)
            except BucketUnreachableError as unreachable:
                attempts += 1
                if attempts == ATTEMPTS or time.monotonic() >= deadline:
                    _failures[self.url] = (time.monotonic(), unreachable)
                    raise

    def _cat_until(self, path: str, deadline: float) -> bytes:
        from fsspec.asyn import AsyncFileSystem, sync

        file_system = self.file_system
        if isinstance(file_system, AsyncFileSystem):
            seconds = max(deadline - time.monotonic(), 0.001)  # fsspec takes 0 for no bound at all
            content: bytes = sync(file_system.loop, file_system._cat_file, path, timeout=seconds)
        else:
            content = file_system.cat_file(path)
        return content

    def _read_whole(self, info: ObjectInfo) -> bytes:
        return self._read_range(info.key, 0, info.size) if info.size else b""

    def _read_range(self, key: str, start: int, stop: int) -> bytes:
        content = self.read(key, start, stop)
        if len(content) != stop - start:
            raise DataIntegrityError(
                f"{self.locate(key)}: expected {stop - start} bytes from byte {start} on, found {len(content)}. "
                "The object was replaced, or the server gives no parts of objects: open the data again, or copy them."
            )
        return content

    def _expect_unchanged(self, info: ObjectInfo) -> None:
        with self._errors(info.key):
            self.file_system.invalidate_cache()
            now = _info(info.key, self.file_system.info(self.path(info.key)))
        if now != info:
            raise DataIntegrityError(
                f"{self.locate(info.key)} was replaced: expected {info.size} bytes with ETag {info.etag}, "
                f"found {now.size} bytes with ETag {now.etag}. Open the data again."
            )

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Turn what a file system raises into the contract's errors."""
        try:
            yield
        except (NotInBucketError, AccessDeniedError, BucketUnreachableError):
            raise
        except FileNotFoundError as error:
            raise NotInBucketError(
                f"{self.locate(key)} does not exist, or no longer. Open the data again, or fetch the object."
            ) from error
        except PermissionError as error:
            raise AccessDeniedError(self._denied(key)) from error
        except _client_errors() as error:
            raise ValueError(
                f"{self.locate(key)} cannot be asked for: {error}. Check the URL and {self.options_argument} "
                "(public data are read with {'anon': True})."
            ) from error
        except _transport_errors() as error:
            if getattr(error, "status", None) in (401, 403):  # of a web server's answer
                raise AccessDeniedError(self._denied(key)) from error
            raise BucketUnreachableError(self._unreachable(key, error)) from error
        except OSError as error:
            # s3fs gives the server's own failures (500, 503) these numbers; a local disk's errors stay as they are.
            if self.is_local or error.errno not in (errno.EBUSY, errno.EIO, getattr(errno, "EREMOTEIO", errno.EIO)):
                raise
            raise BucketUnreachableError(self._unreachable(key, error)) from error

    def _denied(self, key: str) -> str:
        if self.is_local:
            return (
                f"{self.locate(key)} may not be read: the file's permissions forbid it. Change them, or copy the file."
            )
        rule = "the bucket refuses it to this reader"
        parsed = layout.parse_key(key)
        if parsed and "session" in parsed.entities and layout.is_held_out(parsed.entities["session"]):
            rule = f"{parsed.entities['session']} is held out by the data set's authors"
        return f"{self.locate(key)} may not be read: {rule}. Ask {layout.CONTACT}."

    def _unreachable(self, key: str, error: BaseException) -> str:
        endpoint = self._endpoint()
        detail = str(error) or type(error).__name__
        return (
            f"{self.locate(key)} could not be reached at {endpoint} ({detail}). Check the network and the endpoint"
            f"{self._elsewhere}."
        )

    def _endpoint(self) -> str:
        options = self.storage_options
        url = options.get("endpoint_url") or options.get("client_kwargs", {}).get("endpoint_url")
        protocol, _, rest = self.url.partition("://")
        if protocol in ("http", "https"):
            url = f"{protocol}://{rest.split('/', 1)[0]}"
        return str(url) if url else f"the default endpoint of {protocol}"


def open_bucket(
    bucket: str | os.PathLike[str] | Bucket | None = None, storage_options: Mapping[str, Any] | None = None
) -> Bucket:
    """Say where the data are.

    Parameters
    ----------
    bucket : str or path, optional
        URL that fsspec knows, or a local folder, with the bucket's layout. By default the environment variable
        ``LAION_FMRI_BUCKET``, or ``s3://laion-fmri`` where it is not set.
    storage_options : mapping, optional
        Options of the file system. For S3 they are added to anonymous access, the region ``us-west-2`` and the
        time-outs of this module; any credentials switch the anonymous access off.

    Returns
    -------
    Bucket
        Nothing is contacted yet.

    Raises
    ------
    ValueError
        If fsspec knows no such protocol.
    TypeError
        If `bucket` is neither a text nor a path, or `storage_options` is no mapping.
    """
    if isinstance(bucket, Bucket):
        return bucket
    check_storage_options(storage_options)
    given = bucket if bucket not in (None, "") else os.environ.get(BUCKET_VARIABLE) or layout.BUCKET_URL
    return open_root(Bucket, given, storage_options, s3_defaults=S3_DEFAULTS)


def open_root(
    kind: type[Root], given: object, storage_options: Mapping[str, Any] | None, *, s3_defaults: Mapping[str, Any]
) -> Root:
    """Return a root of some kind, as `open_bucket` does for the bucket.

    Parameters
    ----------
    kind : type
        `Bucket` or a subclass.
    given : str or path
        URL or folder.
    storage_options : mapping or None
        Options of the file system.
    s3_defaults : mapping
        Options that are added for S3.
    """
    if not isinstance(given, str | os.PathLike):
        raise TypeError(f"{kind.argument} must be a URL or a folder, found {given!r}.")
    url, options = os.fspath(given), dict(storage_options or {})
    protocol, separator, rest = url.partition("://")
    if not separator or protocol in ("file", "local"):
        folder = os.path.abspath(os.path.expanduser(rest if separator else url))
        return kind(folder.replace(os.sep, "/"), options)
    _check_protocol(protocol, url, kind.argument)
    if protocol in ("s3", "s3a"):
        return kind(f"{protocol}://{_without_doubled_slashes(rest)}", _with_s3_defaults(options, s3_defaults))
    return kind(url.rstrip("/"), options)


def cache_folder() -> Path:
    """Return the user's cache folder: the environment variable ``LAION_FMRI_CACHE``, or the system's own place."""
    import platformdirs

    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("intake-laion-fmri"))


def read_pinned(root: Bucket, key: str, *, sha256: str, cache: Path) -> bytes:
    """Read a small file that is known by its sum: from the cache, or once from its root.

    Parameters
    ----------
    root : Bucket
        Where the file is served.
    key : str
        Its path below the root, and below the cache.
    sha256 : str
        Its sum. A cached file with another sum is fetched again.
    cache : path
        The folder to keep it in. A file appears there whole and checked, or not at all; several processes may fetch
        it at a time. Where the folder cannot be written to, the file is used without being kept.

    Returns
    -------
    bytes

    Raises
    ------
    NotInBucketError, AccessDeniedError, BucketUnreachableError
        If it cannot be fetched: within `PINNED_SECONDS`, however slow the server. After a failure a root is not asked
        again for `PATIENCE_SECONDS`.
    DataIntegrityError
        If what was fetched has another sum.
    """
    target = cache / key
    with contextlib.suppress(OSError):
        content = target.read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return content
    content = root.read_within(key)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataIntegrityError(
            f"{root.locate(key)}: expected the SHA-256 {sha256}, found {found}. It was not kept; try again."
        )
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return content


def check_storage_options(storage_options: object, argument: str = "storage_options") -> object:
    """Return the options of a file system, or raise TypeError if they are neither a mapping nor None."""
    if storage_options is not None and not isinstance(storage_options, Mapping):
        raise TypeError(f"{argument} must be a mapping of options, found {storage_options!r}.")
    return storage_options


def _check_protocol(protocol: str, url: str, argument: str) -> None:
    from fsspec.registry import known_implementations, registry

    # A chain such as ``simplecache::s3`` is made of several.
    if any(one not in known_implementations and one not in registry for one in protocol.split("::")):
        raise ValueError(
            f"{argument}={url!r}: fsspec knows no protocol {protocol!r}. Expected a local folder or a URL such as "
            f"{layout.BUCKET_URL!r}."
        )


def _without_doubled_slashes(path: str) -> str:
    """Undo what a template such as ``{{ CATALOG_DIR }}/x`` does; in S3 a doubled slash would be part of the key."""
    return "/".join(part for part in path.split("/") if part)


def _with_s3_defaults(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {**defaults, **options}
    for name in ("client_kwargs", "config_kwargs"):
        merged[name] = {**defaults.get(name, {}), **options.get(name, {})}
    if "anon" not in options and _CREDENTIALS.intersection(options):
        merged["anon"] = False
    return merged


def _sorted(options: Any) -> Any:
    """Return options in an order of their own, for tokens and for comparing."""
    if isinstance(options, Mapping):
        return tuple((name, _sorted(options[name])) for name in sorted(options))
    return options


def _protocols(file_system: AbstractFileSystem) -> tuple[str, ...]:
    protocol = file_system.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _info(key: str, entry: Mapping[str, Any]) -> ObjectInfo:
    size = int(entry["size"])
    etag = entry.get("ETag") or entry.get("etag")
    if etag is None and "mtime" in entry:
        etag = f"{int(float(entry['mtime']) * 1e6):x}-{size:x}"
    return ObjectInfo(key, size, str(etag or "").strip('"'))


def _client_errors() -> tuple[type[BaseException], ...]:
    """Return what an S3 client raises where a request cannot even be made: an impossible name, no credentials."""
    return _loaded("botocore.exceptions", "ParamValidationError", "NoCredentialsError", "ProfileNotFound")


def _transport_errors() -> tuple[type[BaseException], ...]:
    """Return what a broken network raises."""
    return (
        ConnectionError,
        TimeoutError,
        *_loaded("socket", "gaierror"),
        *_loaded("fsspec.exceptions", "FSTimeoutError"),
        *_loaded("aiohttp", "ClientError"),
        *_loaded("botocore.exceptions", "BotoCoreError"),
    )


def _loaded(module: str, *names: str) -> tuple[type[BaseException], ...]:
    """Return exception classes of a library; one that is not loaded has raised nothing."""
    return tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()


class _Counted(io.RawIOBase):
    """A file that tells how much of it is read; closing the one behind it is up to its owner."""

    def __init__(self, file: BinaryIO, received: Callable[[int], None]) -> None:
        self._file, self._received = file, received

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        count = self._file.readinto(target)  # type: ignore[attr-defined]
        self._received(count)
        return int(count)


class _BlockReader(io.RawIOBase):
    """A forward-only file over ranged requests, several of them under way.

    The blocks are delivered in order. A request is only made when one before it has been taken, which bounds both
    the requests and the memory.
    """

    def __init__(self, fetch: Any, size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._next = 0
        self._block = memoryview(b"")
        self._pending: deque[Future[bytes]] = deque()
        self._pool = ThreadPoolExecutor(BLOCKS_IN_FLIGHT, thread_name_prefix="laion-stream")
        self._request()

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        if not self._block and self._pending:
            self._block = memoryview(self._pending.popleft().result())
            self._request()
        view = memoryview(target).cast("B")
        count = min(len(view), len(self._block))
        view[:count] = self._block[:count]
        self._block = self._block[count:]
        return count

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._block = memoryview(b"")
        super().close()

    def _request(self) -> None:
        while self._next < self._size and len(self._pending) < BLOCKS_IN_FLIGHT:
            # The first blocks are short and grow, so that unpacking starts as soon as the first bytes are there.
            length = min(BLOCK_BYTES, max(FIRST_BLOCK_BYTES, self._next))
            stop = min(self._next + length, self._size)
            self._pending.append(self._pool.submit(self._fetch, self._next, stop))
            self._next = stop
