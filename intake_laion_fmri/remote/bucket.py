"""A root with the bucket's layout: listings, small files and streams, from any file system.

Every failure leaves it as one of the contract's errors, naming the URL and what to do. Requests to a server are made
again as `retry.NetworkPolicy` says, by one loop for all of them. Listings are not kept: two calls see the bucket as
it is at either time. Small files are, by their ETags.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeVar

from intake_laion_fmri import layout, redact
from intake_laion_fmri.errors import (
    AccessDeniedError,
    BucketUnreachableError,
    DataIntegrityError,
    NotInBucketError,
    in_short,
)
from intake_laion_fmri.forks import PerProcess, in_threads
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import addresses, local
from intake_laion_fmri.remote.answers import LARGEST_BYTES, Answer, WrongAnswerError, object_info
from intake_laion_fmri.remote.cache import LARGEST_BYTES as KEPT_BYTES
from intake_laion_fmri.remote.cache import SmallFileCache, keep, read_kept
from intake_laion_fmri.remote.retry import Attempts, NetworkPolicy, network_policy
from intake_laion_fmri.remote.s3 import NoSuchBucketError, S3Objects, is_encrypted, s3_options
from intake_laion_fmri.remote.s3_settings import for_client
from intake_laion_fmri.remote.stream import BLOCKS_IN_FLIGHT, BlockReader, Counted
from intake_laion_fmri.remote.web import WebFiles, web_options

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

__all__ = [
    "BUCKET_VARIABLE",
    "MIRROR_VARIABLE",
    "SMALL_FILES_IN_FLIGHT",
    "Bucket",
    "is_encrypted",
    "object_info",
    "read_pinned",
]

BUCKET_VARIABLE = "LAION_FMRI_BUCKET"
"""Environment variable with the bucket's URL or folder, used where no ``bucket`` is given."""

MIRROR_VARIABLE = "LAION_FMRI_MIRROR"
"""Environment variable with a local folder that is read first, used where no ``mirror`` is given."""

SMALL_FILES_IN_FLIGHT = 16


LISTING_BYTES = 5_000_000
"""What a listing may come to, for the time that it is given: some 15,000 objects."""

_SHORTEST_SECONDS = 0.001
"""Time-out of a request for which no time is left; fsspec takes 0 for none."""

PINNED_ATTEMPTS = 2
PINNED_SECONDS = 20.0
"""Longest wait for a small file from a web server."""

PATIENCE_SECONDS = 60.0
"""How long a web server that failed is not asked again in this process."""

_failures: dict[str, tuple[float, BucketUnreachableError]] = {}
"""Root → when and how it failed."""

_ARCHIVES = PerProcess(threading.Lock)
"""Held while a file in an archive is looked for or read: fsspec makes its list of them at the first question, and
answers another thread from half of it; a TAR file has one position for all."""

Root = TypeVar("Root", bound="Bucket")
T = TypeVar("T")


@dataclass(frozen=True, repr=False)
class Bucket:
    """A root with the bucket's layout, on any file system that fsspec knows.

    Equal roots pickle to the same bytes and have the same Dask token; the connection is made on first use, once in
    each process.
    """

    address: str
    """URL without a trailing slash; a local folder is an absolute path. May hold a password: see `url`."""
    storage_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Options of the file system, complete. May hold secrets: see `redact.options`."""
    network: NetworkPolicy = field(default_factory=network_policy, compare=False)
    """How patient requests are."""

    argument: ClassVar[str] = "bucket"
    """Name of the argument that users give it by."""
    options_argument: ClassVar[str] = "storage_options"
    """Name of the argument with the options of its file system."""
    _elsewhere: ClassVar[str] = (
        f", or read from a local copy: mirror='/folder/of/the/copy' or the environment variable {MIRROR_VARIABLE}"
    )
    """What else to try where it does not answer."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @functools.cached_property
    def url(self) -> str:
        """The address without its secrets: for messages, records and attributes; it may open nothing."""
        return redact.url(self.address)

    def __dask_tokenize__(self) -> object:
        return (f"intake_laion_fmri.{type(self).__name__}", self.address, _sorted(self.storage_options))

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (type(self), {one.name: getattr(self, one.name) for one in fields(self)})

    @functools.cached_property
    def _connections(self) -> PerProcess[tuple[AbstractFileSystem, str]]:
        return PerProcess(self._connect)

    @property
    def _connection(self) -> tuple[AbstractFileSystem, str]:
        return self._connections.get()

    def _connect(self) -> tuple[AbstractFileSystem, str]:
        if redact.holds_hidden([self.address if "://" in self.address else "", self.storage_options]):
            raise ValueError(
                f"The {self.argument} {self.url} or its {self.options_argument} hold {redact.HIDDEN!r} in place of a "
                "secret: what is printed or saved hides it. Give the address and the options again."
            )
        options = dict(self.storage_options)
        is_s3 = self.address.startswith(("s3://", "s3a://"))
        if is_s3:
            options = s3_options(for_client(options, self.options_argument), self.network)
        elif self.address.startswith(("http://", "https://")):
            options = web_options(options, self.network)
        with self.errors_of(""):
            try:
                file_system, root = _connected(self.address, options)
            except ImportError as error:
                raise ImportError(
                    f"{self.argument}={self.url!r} needs a package that is not installed: {redact.text(error)}."
                ) from redact.cause(error)
            except _broken_archives() as error:
                raise DataIntegrityError(
                    f"{self.url!r} is no such archive, or a part of one: {redact.text(error)}. Copy it again."
                ) from redact.cause(error)
        if is_s3:
            # fsspec shares instances between equal options; with these among them, this one is nobody else's.
            file_system.retries = 1
        return file_system, str(root).rstrip("/")

    @property
    def file_system(self) -> AbstractFileSystem:
        """The file system, connected by each process on first use and kept."""
        return self._connection[0]

    @property
    def root(self) -> str:
        """The bucket's root as a path of the file system."""
        return self._connection[1]

    @property
    def is_s3(self) -> bool:
        """Whether it is S3, or a server that speaks like it."""
        return "s3" in _protocols(self.file_system)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder on this machine."""
        return addresses.is_folder(self.address)

    @property
    def is_web(self) -> bool:
        """Whether it is a plain web server."""
        return "http" in _protocols(self.file_system)

    def path(self, key: str) -> str:
        """Return the path of an object on the file system."""
        if not (self.root or self.is_local):  # the top of an archive
            return key
        return f"{self.root}/{key}" if key else self.root or "/"

    def key_of(self, path: str) -> str:
        """Return the key of an object that a listing names by its path."""
        return path.rstrip("/").removeprefix(self.root).removeprefix("/")

    @property
    def _s3(self) -> S3Objects:
        return S3Objects(self.file_system, self.root)

    @property
    def _web(self) -> WebFiles:
        return WebFiles(self.file_system, self.root)

    def locate(self, key: str) -> str:
        """Return the URL of an object, for messages: without secrets."""
        return addresses.below(self.url, key)

    def _address_of(self, key: str) -> str:
        return addresses.below(self.address, key)

    def below(self, folder: str) -> Bucket:
        """Return a folder of this root as a root of its own."""
        return Bucket(self._address_of(folder), self.storage_options, self.network)

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
        if self.is_s3:
            return self._list(folder, deep=True)[0]
        if self.is_local:
            with self._errors_of_disk(folder):
                return local.find(self.root, folder)
        return self._walk(folder)

    def _list(self, folder: str, *, deep: bool) -> tuple[dict[str, ObjectInfo], set[str]]:
        """List S3. Nothing is kept."""

        def ask(seconds: float) -> tuple[dict[str, ObjectInfo], set[str]]:
            try:
                with self._named(folder):
                    return self._s3.list(folder, seconds, deep=deep)
            except NoSuchBucketError as error:
                raise self.no_such_bucket() from error

        return self._ask(folder, ask, size=LISTING_BYTES)

    def _walk(self, folder: str) -> dict[str, ObjectInfo]:
        """List folder by folder. fsspec's own `find` and `walk` leave out what they cannot list, without a word."""
        found: dict[str, Mapping[str, Any]] = {}
        pending = [folder]
        while pending:
            below = pending.pop()
            try:
                entries = self.entries(below)
            except NotInBucketError:
                if below == folder:
                    return {}
                raise
            for entry in entries:
                if entry["type"] == "directory":
                    pending.append(self.key_of(entry["name"]))
                else:
                    found[self.key_of(entry["name"])] = entry
        known = {key: object_info(key, entry) for key, entry in found.items() if entry.get("size") is not None}
        unknown = [key for key in found if key not in known]  # a listing over HTTP tells names only
        if unknown:
            known |= dict(zip(unknown, in_threads(self.state, unknown, SMALL_FILES_IN_FLIGHT), strict=True))
        return known

    def entries(self, folder: str) -> list[Mapping[str, Any]]:
        """List what is directly below a folder."""
        if self.is_s3:
            objects, folders = self._list(folder, deep=False)
            if self._s3.split(folder)[1] and not (objects or folders):
                raise NotInBucketError(f"{self.locate(folder)} does not exist.")
            return self._as_entries(objects, folders)
        if self.is_local:
            with self._errors_of_disk(folder):
                return self._as_entries(*local.list_folder(self.root, folder))

        if self.is_web:
            files, below = self._ask_web(folder, lambda seconds: self._web.list(folder, seconds), size=LISTING_BYTES)
            return [
                *({"name": self.path(key), "type": "file", "size": None} for key in files),
                *({"name": self.path(key), "type": "directory", "size": 0} for key in below),
            ]

        def ls(seconds: float) -> list[Mapping[str, Any]]:
            entries: list[Mapping[str, Any]] = self._call(seconds, "ls", self.path(folder), detail=True)
            return entries

        self.file_system.invalidate_cache()
        return self._ask(folder, ls, size=LISTING_BYTES)

    def _as_entries(self, objects: Mapping[str, ObjectInfo], folders: Iterable[str]) -> list[Mapping[str, Any]]:
        return [
            *(
                {"name": self.path(one.key), "type": "file", "size": one.size, "ETag": one.etag}
                for one in objects.values()
            ),
            *({"name": self.path(key), "type": "directory", "size": 0} for key in folders),
        ]

    def _ask_web(self, key: str, action: Callable[[float], T], *, size: int = 0) -> T:
        def ask(seconds: float) -> T:
            with self._named(key):
                return action(seconds)

        return self._ask(key, ask, size=size)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders directly below one, sorted; empty where there is no such folder."""
        try:
            entries = self.entries(folder)
        except NotInBucketError:
            return []
        names = [_name(entry) for entry in entries if entry["type"] == "directory"]
        return sorted(name for name in names if not name.startswith("."))

    def exists(self) -> bool:
        """Tell whether there is such a bucket or folder at all."""
        try:
            self.entries("")
        except NotInBucketError:
            return False
        return True

    def fetch(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None = None) -> dict[str, bytes]:
        """Read whole small objects, many at a time: from the user's cache, or with one GET each.

        Parameters
        ----------
        objects : iterable of ObjectInfo
            From a listing; the sizes spare a request each, and the ETags tell whether a copy is current.
        failures : dict, optional
            Filled with key → error of the objects that are absent, too large or not to be read, instead of raising it.
            What comes otherwise than it was listed is an error all the same: another attempt may find it whole.

        Returns
        -------
        dict
            Key → content.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            Of the first object that cannot be read.
        DataIntegrityError
            If an object has not the size, or not the MD5, that the listing said, or is larger than `LARGEST_BYTES`.
        """
        wanted = list(objects)
        if failures is None:
            self._expect_small(wanted)
        cache = None if self.is_local else SmallFileCache.of_user()
        added = threading.Event()

        def read(info: ObjectInfo) -> bytes:
            if cache is None or not info.etag:
                return self._read_whole(info)
            name = self._name_in_cache(info)
            content = cache.get(name)
            if content is None or len(content) != info.size:
                content = self._read_whole(info)
                if info.size <= KEPT_BYTES:
                    cache.put(name, content)
                    added.set()
            return content

        def tried(info: ObjectInfo) -> bytes | None:
            error: Exception
            try:
                self._expect_small([info])
            except DataIntegrityError as too_large:
                error = too_large
            else:
                try:
                    return read(info)
                except (NotInBucketError, AccessDeniedError) as unreadable:
                    if self.is_s3 and isinstance(unreadable, NotInBucketError):
                        raise  # it has just been listed: gone between two requests, or denied by mistake
                    error = unreadable
            if failures is None:
                raise error
            failures[info.key] = error
            return None

        pairs = zip(wanted, in_threads(tried, wanted, SMALL_FILES_IN_FLIGHT), strict=True)
        found = {info.key: content for info, content in pairs if content is not None}
        if cache and added.is_set():
            cache.trim()
        return found

    def _name_in_cache(self, info: ObjectInfo) -> str:
        return "\n".join([self._server, self._address_of(info.key), info.etag, str(info.size)])

    @functools.cached_property
    def _server(self) -> str:
        """What tells this server from others that have the same address: AWS's settings may name another endpoint."""
        if self.is_s3:
            return str(self.file_system.s3.meta.endpoint_url)
        plain = addresses.protocol_of(self.address) in ("http", "https")
        return "" if plain else repr(_sorted(self.storage_options))

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
        contents = [*map(read, wanted)] if self.is_local else in_threads(read, wanted, SMALL_FILES_IN_FLIGHT)
        return {key: content for key, content in zip(wanted, contents, strict=True) if content is not None}

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Read an object, or the bytes from `start` to before `stop`, of which there may be fewer.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        most = LARGEST_BYTES if stop is None else stop - (start or 0)
        if self.is_local:
            return self._get_within(0, key, start, stop, most=most)
        size = KEPT_BYTES if stop is None else most
        return self._ask(key, lambda seconds: self._get_within(seconds, key, start, stop, most=most), size=size)

    def _get(self, seconds: float, key: str, start: int | None, stop: int | None, *, most: int) -> Answer:
        """Ask for an object, or bytes of it; one byte more than `most` is read, and no other."""
        if self.is_s3:
            return self._s3.get(key, start, stop, seconds, most=most)
        if self.is_local:
            with self._errors_of_disk(key):
                return local.read(self.path(key), start or 0, stop, most=most)
        if self.is_web:
            with self._named(key):
                return self._web.get(key, start, stop, seconds, most=most)
        end = most + 1 if stop is None else stop
        return Answer(self._call(seconds, "cat_file", self.path(key), start=start or 0, end=end))

    def _get_within(self, seconds: float, key: str, start: int | None, stop: int | None, *, most: int) -> bytes:
        content = self._get(seconds, key, start, stop, most=most).content
        if len(content) > most:
            raise WrongAnswerError(
                f"{self.locate(key)}: expected at most {most} bytes, and the server sends more. Check the address."
            )
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
        with self._opened(info) as file:
            try:
                yield file if received is None else Counted(file, received)  # type: ignore[misc]
            except DataIntegrityError:
                self._expect_unchanged(info)  # what looks broken may be two objects in one
                raise
        self._expect_unchanged(info)

    @contextmanager
    def _opened(self, info: ObjectInfo) -> Iterator[BinaryIO]:
        """Open an object that is what a listing has told of."""
        if self.is_web:
            state, gives_parts = self._ask_web(info.key, lambda seconds: self._web.probe(info.key, seconds))
            # Some tell a date with whole files only.
            self._expect_unchanged(info, state if state.etag else None)
            if not gives_parts:
                errors = functools.partial(self.errors_of, info.key)
                with self._ask_web(info.key, lambda seconds: self._web.open(info.key, seconds, errors)) as body:
                    yield body  # type: ignore[misc]
                return
        if self.is_local:
            with self._errors_of_disk(info.key):
                file: BinaryIO = local.open_regular(self.path(info.key))
        else:
            # Its first requests are on their way while the object is looked at.
            file = BlockReader(functools.partial(self._read_part, info), info.size)  # type: ignore[assignment]
        with file:
            if not self.is_web:
                self._expect_unchanged(info)
            yield file

    def no_such_bucket(self) -> NotInBucketError:
        """Describe a root that does not exist."""
        if self.is_local and os.path.isfile(self.root):
            return NotInBucketError(
                f"{self.url!r} is a file: expected the folder of a bucket, or of a copy of it. Check the argument "
                f"{self.argument!r}."
            )
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
        below = (other[len(folder) + 1 :] for other in beside if other.startswith(f"{folder}/"))
        names = sorted(name for name in below if "/" not in name)
        listing = f"Beside it: {in_short(names)}." if names else "Its folder is empty."
        reason = local.reason_of_absence(self.path(key)) if self.is_local else ""
        if reason:
            return NotInBucketError(f"{self.locate(key)} is not in the bucket: {reason}.")
        return NotInBucketError(
            f"{self.locate(key)} is not in the bucket. {listing} "
            f"If this is a partial copy, fetch the object, or read from {layout.BUCKET_URL!r}."
        )

    def read_within(self, key: str) -> bytes:
        """Read a whole small object without a listing, in `PINNED_SECONDS` however slowly a server drips.

        A server that fails is asked `PINNED_ATTEMPTS` times within that bound, and then not for `PATIENCE_SECONDS`: a
        machine without a network waits once, whatever the number of objects.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        attempts = min(self.network.attempts, PINNED_ATTEMPTS)
        seconds = min(self.network.total_seconds, PINNED_SECONDS)
        hasty = replace(self, network=replace(self.network, attempts=attempts, total_seconds=seconds))
        self._expect_patience(key)
        try:
            return hasty._ask(key, lambda left: hasty._get_within(left, key, None, None, most=LARGEST_BYTES))
        except BucketUnreachableError as error:
            self._remember(error)
            raise

    def _expect_patience(self, key: str) -> None:
        """Raise at once where this root has not answered within the last `PATIENCE_SECONDS`."""
        failed, error = _failures.get(self.address, (-math.inf, None))
        if error is not None and time.monotonic() - failed < PATIENCE_SECONDS:
            raise BucketUnreachableError(
                f"{self.locate(key)} is not asked for, {time.monotonic() - failed:.0f} s after this: {error}"
            ) from error.__cause__

    def _remember(self, error: BucketUnreachableError) -> None:
        """Note that this root does not answer."""
        failed, _ = _failures.get(self.address, (-math.inf, None))
        if time.monotonic() - failed >= PATIENCE_SECONDS:
            _failures[self.address] = (time.monotonic(), error)

    def is_md5(self, info: ObjectInfo) -> bool:
        """Tell whether an ETag is the MD5 of the content: of what was uploaded to S3 in one piece, and not by a key."""
        return self.is_s3 and re.fullmatch(r"[0-9a-f]{32}", info.etag) is not None

    def _expect_small(self, objects: Iterable[ObjectInfo]) -> None:
        """Raise DataIntegrityError for an object that is not to be taken whole into memory."""
        for info in objects:
            if info.size > LARGEST_BYTES:
                raise DataIntegrityError(
                    f"{self.locate(info.key)}: expected a table, mask or map of at most {LARGEST_BYTES} bytes, found "
                    f"{info.size}. Fetch the object again; if it stays so, report it."
                )

    def _read_whole(self, info: ObjectInfo) -> bytes:
        return self._read_part(info, 0, info.size)

    def _read_part(self, info: ObjectInfo, start: int, stop: int) -> bytes:
        """Read some bytes of an object that a listing has told of, all of them or none."""
        if start == stop:
            return b""
        is_whole = stop - start == info.size

        def cat(seconds: float) -> bytes:
            answer = self._get(seconds, info.key, *((None, None) if is_whole else (start, stop)), most=stop - start)
            content = answer.content
            if answer.etag and info.etag and answer.etag != info.etag:
                self._expect_unchanged(info)
                if self.is_local and info.origin == "mirror":
                    return content  # its ETag is the bucket's
                raise WrongAnswerError(
                    f"{self.locate(info.key)}: expected the version with ETag {info.etag}, as the server's listing "
                    f"tells, found one with ETag {answer.etag}: a proxy or a cache on the way gives another version. "
                    "Open the data again."
                )
            if len(content) != stop - start:
                self._expect_unchanged(info)
                found = len(content) if len(content) < stop - start else "more"
                raise WrongAnswerError(
                    f"{self.locate(info.key)}: expected {stop - start} bytes from byte {start} on, found "
                    f"{found}. The object was replaced, or the server gives no parts of objects: open the data "
                    "again, or copy them."
                )
            if is_whole and info.size <= KEPT_BYTES and self.is_md5(info) and not self._has_md5(info, content):
                self._expect_unchanged(info)
                raise WrongAnswerError(
                    f"{self.locate(info.key)}: what was received has not the MD5 {info.etag} that the server tells. "
                    "Open the data again; if it stays so, report it."
                )
            return content

        # The line is shared with the other requests that are under way.
        sharing = SMALL_FILES_IN_FLIGHT if is_whole else BLOCKS_IN_FLIGHT
        return self._ask(info.key, cat, size=(stop - start) * sharing)

    def _has_md5(self, info: ObjectInfo, content: bytes) -> bool:
        return hashlib.md5(content, usedforsecurity=False).hexdigest() == info.etag or self._is_encrypted(info.key)

    def _is_encrypted(self, key: str) -> bool:
        return self._ask(key, lambda seconds: self._s3.is_encrypted(key, seconds))

    def state(self, key: str) -> ObjectInfo:
        """Return what there is of an object now."""
        if self.is_local:
            with self._errors_of_disk(key):
                return local.state(self.root, key)
        if self.is_web:
            return self._ask_web(key, lambda seconds: self._web.state(key, seconds))
        if not self.is_s3:
            self.file_system.invalidate_cache()
            return self._ask(key, lambda seconds: object_info(key, self._call(seconds, "info", self.path(key))))

        def head(seconds: float) -> ObjectInfo:
            with self._named(key):
                return self._s3.state(key, seconds)

        return self._ask(key, head)

    @contextmanager
    def _named(self, key: str) -> Iterator[None]:
        """Add to a wrong answer's error what it is about, and what to do."""
        try:
            yield
        except WrongAnswerError as error:
            raise WrongAnswerError(
                f"{self.locate(key)}: {error}. Check the network and the endpoint{self._elsewhere}."
            ) from error.__cause__

    def _expect_unchanged(self, info: ObjectInfo, now: ObjectInfo | None = None) -> None:
        now = now or self.state(info.key)
        if now != info:
            raise DataIntegrityError(
                f"{self.locate(info.key)} was replaced: expected {info.size} bytes with ETag {info.etag}, "
                f"found {now.size} bytes with ETag {now.etag}. Open the data again."
            )

    def _call(self, seconds: float, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the file system, for so long at most where it can be interrupted."""
        from fsspec.asyn import AsyncFileSystem, sync

        file_system = self.file_system
        if isinstance(file_system, AsyncFileSystem):
            timeout = max(seconds, _SHORTEST_SECONDS)
            return sync(file_system.loop, getattr(file_system, f"_{name}"), *args, timeout=timeout, **kwargs)
        with _ARCHIVES.get() if _is_archive(file_system) or _keeps_lists(file_system) else contextlib.nullcontext():
            return getattr(file_system, name)(*args, **kwargs)

    def _ask(self, key: str, action: Callable[[float], T], *, size: int = 0) -> T:
        """Do something with the file system, and do it again where that may help: the one place that retries.

        Parameters
        ----------
        key : str
            What it is about, for errors.
        action : callable
            Takes the seconds that it may take.
        size : int, default 0
            Bytes that are asked for.
        """
        attempts = Attempts(self.network, size)
        while True:
            try:
                with self.errors_of(key, attempts):
                    return action(attempts.seconds_left)
            except BucketUnreachableError:
                if self.is_local or not attempts.again():
                    raise
            except WrongAnswerError as error:
                if self.is_local or not attempts.again():
                    tried = f"{attempts.count} attempts over {attempts.seconds:.1f} s at {self._endpoint()}"
                    raise DataIntegrityError(f"{error} (In {tried}.)") from error.__cause__

    @contextmanager
    def errors_of(self, key: str, attempts: Attempts | None = None) -> Iterator[None]:
        """Turn what a file system raises into the contract's errors.

        What they say holds all that their causes do, and the tracebacks of a client's tries have some 90 lines: they
        are left out, but of answers that nobody has foreseen.
        """
        try:
            yield
        except (NotInBucketError, AccessDeniedError, BucketUnreachableError):
            raise
        except FileNotFoundError:
            raise NotInBucketError(
                f"{self.locate(key)} does not exist, or no longer. Open the data again, or fetch the object."
            ) from None
        except PermissionError:
            raise AccessDeniedError(self._denied(key)) from None
        except _client_errors() as error:
            raise ValueError(
                f"{self.locate(key)} cannot be asked for: {redact.text(error)}. Check the URL and "
                f"{self.options_argument} (public data are read with {{'anon': True}})."
            ) from None
        except TypeError as error:
            if self.is_local or not self.storage_options or addresses.protocol_of(self.address) in ("s3", "s3a"):
                raise
            raise ValueError(
                f"{self.options_argument}: something in {', '.join(map(str, self.storage_options))} is no option of "
                f"{addresses.protocol_of(self.address)}, or has not such a value: {redact.text(error)}. Correct it, or "
                "leave it away."
            ) from redact.cause(error)
        except _transport_errors() as error:
            if getattr(error, "status", None) in (401, 403):  # of a web server's answer
                raise AccessDeniedError(self._denied(key)) from None
            raise BucketUnreachableError(self._unreachable(key, error, attempts)) from None
        except OSError as error:
            if self.is_local or isinstance(error, FileExistsError):  # the second: what was to be created is there
                raise
            # Whatever else a server answers, s3fs gives some number (500 and 503: EREMOTEIO and EBUSY, 400: EINVAL).
            raise BucketUnreachableError(self._unreachable(key, error, attempts)) from redact.cause(error)

    @contextmanager
    def _errors_of_disk(self, key: str) -> Iterator[None]:
        """Turn what a disk raises into the contract's errors; a file in a folder's place holds nothing."""
        with self.errors_of(key):
            try:
                yield
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):  # nothing can be there
                    raise FileNotFoundError(str(error)) from error
                raise

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

    def _unreachable(self, key: str, error: BaseException, attempts: Attempts | None) -> str:
        tried = f" in {attempts.count} attempts over {attempts.seconds:.1f} s" if attempts else ""
        detail = redact.text(error) or type(error).__name__
        return (
            f"{self.locate(key)} could not be reached at {self._endpoint()}{tried} ({detail}). Check the network and "
            f"the endpoint{self._elsewhere}."
        )

    def _endpoint(self) -> str:
        options = self.storage_options
        url = options.get("endpoint_url") or options.get("client_kwargs", {}).get("endpoint_url")
        protocol, _, rest = self.url.partition("://")
        if protocol in ("http", "https"):
            url = f"{protocol}://{rest.split('/', 1)[0]}"
        if not url and protocol in ("s3", "s3a"):
            url = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        return redact.url(url) if url else f"the default endpoint of {protocol}"


def read_pinned(root: Bucket, key: str, *, sha256: str, cache: Path | None) -> bytes:
    """Read a small file that is known by its sum: from the cache, or once from its root.

    Parameters
    ----------
    root : Bucket
        Where the file is served.
    key : str
        Its path below the root, and below the cache.
    sha256 : str
        Its sum. A cached file with another sum is fetched again.
    cache : path or None
        The folder to keep it in, if any. A file appears there whole and checked, or not at all; several processes may
        fetch it at a time. Where the folder cannot be written to, the file is used without being kept.

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
    kept = read_kept(cache / key) if cache else None
    if kept is not None and hashlib.sha256(kept).hexdigest() == sha256:
        return kept
    content = root.read_within(key)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataIntegrityError(
            f"{root.locate(key)}: expected the SHA-256 {sha256}, found {found}. It was not kept; try again."
        )
    if cache:
        keep(cache / key, content)
    return content


def _sorted(options: Any) -> Any:
    """Return options in an order of their own, for tokens and for comparing."""
    if isinstance(options, Mapping):
        return tuple((name, _sorted(options[name])) for name in sorted(options))
    return options


def _connected(url: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a URL, and the path of its root there."""
    from fsspec.core import filesystem, strip_protocol, url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    if addresses.is_folder(url):
        return LocalFileSystem(**options), url
    if addresses.is_chain(url) or "::" not in url:
        file_system, root = url_to_fs(url, **options)
    else:  # an IPv6 address, or a name: a chain to fsspec
        file_system, root = filesystem(addresses.protocol_of(url), **options), strip_protocol(url)
    if _is_archive(file_system):
        with _ARCHIVES.get():
            top = [entry["name"] for entry in file_system.ls("", detail=True)]
        if top == ["."]:  # packed as 'tar -cf FILE .' does it
            root = f"./{root}".rstrip("/")
    return file_system, str(root)


def _is_archive(file_system: AbstractFileSystem) -> bool:
    from fsspec.archive import AbstractArchiveFileSystem

    return isinstance(file_system, AbstractArchiveFileSystem)


def _keeps_lists(file_system: AbstractFileSystem) -> bool:
    """Return True for fsspec's caches that keep a list: several threads at a time make it inconsistent."""
    from fsspec.implementations.cached import CachingFileSystem, SimpleCacheFileSystem

    return isinstance(file_system, CachingFileSystem) and not isinstance(file_system, SimpleCacheFileSystem)


def _protocols(file_system: AbstractFileSystem) -> tuple[str, ...]:
    protocol = file_system.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def _name(entry: Mapping[str, Any]) -> str:
    """Return the name of a file or folder within the folder that it is in."""
    return str(entry["name"]).rstrip("/").rpartition("/")[2]


def _client_errors() -> tuple[type[BaseException], ...]:
    """Return what an S3 client raises where a request cannot even be made: an impossible name, no credentials."""
    return _loaded("botocore.exceptions", "ParamValidationError", "NoCredentialsError", "ProfileNotFound")


def _broken_archives() -> tuple[type[BaseException], ...]:
    """Return what is raised for a file that is no archive, or not the whole of one."""
    return (*_loaded("zipfile", "BadZipFile"), *_loaded("tarfile", "TarError"))


def _transport_errors() -> tuple[type[BaseException], ...]:
    """Return what a broken network raises."""
    return (
        ConnectionError,
        TimeoutError,
        *_loaded("socket", "gaierror"),
        *_loaded("fsspec.exceptions", "FSTimeoutError"),
        *_loaded("aiohttp", "ClientError"),
        *_loaded("botocore.exceptions", "BotoCoreError"),
        *_loaded("botocore.parsers", "ResponseParserError"),
    )


def _made(kind: type[Root], given: Mapping[str, Any]) -> Root:
    """Make a root anew, where it was pickled to."""
    return kind(**given)


def _loaded(module: str, *names: str) -> tuple[type[BaseException], ...]:
    """Return exception classes of a library; one that is not loaded has raised nothing."""
    return tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()
