"""Buckets: listings, small files and streams of any file system.

Every failure leaves it as one of the contract's errors, naming the URL and what to do. Requests to a server are made
again as `retry.NetworkPolicy` says, by one loop for all of them. Listings are not kept: two calls see the bucket as
it is at either time. Small files are, by their ETags.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from intake_laion_fmri.errors import AccessDeniedError, DataIntegrityError, NotInBucketError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import addresses
from intake_laion_fmri.remote.backend import LARGEST_BYTES, Backend, Listing
from intake_laion_fmri.remote.cache import LARGEST_BYTES as KEPT_BYTES
from intake_laion_fmri.remote.cache import SmallFileCache
from intake_laion_fmri.remote.messages import Messages, Wording
from intake_laion_fmri.remote.mirrored import Copies
from intake_laion_fmri.remote.requests import SMALL_FILES_IN_FLIGHT, Requests
from intake_laion_fmri.remote.retry import NetworkPolicy, network_policy
from intake_laion_fmri.remote.s3 import S3Objects
from intake_laion_fmri.remote.stream import Counted
from intake_laion_fmri.running.forks import concurrently


@dataclass(frozen=True, repr=False)
class Bucket:
    """A root: attempts, cache, checks and copies over a back-end.

    Equal roots pickle to the same bytes and have the same Dask token; the connection is made on first use, once in
    each process.
    """

    address: str
    """URL without a trailing slash; a local folder is an absolute path. May hold a password: see `url`."""
    storage_options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Options of the file system, complete. May hold secrets: see `redact.options`."""
    network: NetworkPolicy = field(default_factory=network_policy, compare=False)
    """How patient requests are."""

    copies: Copies = field(default_factory=Copies)
    """What is read from a mirror instead."""
    wording: Wording = field(default_factory=Wording, compare=False)
    """Texts of its kind: a bucket or a store."""

    def __repr__(self) -> str:
        return f"Bucket({self.url!r})"

    def __dask_tokenize__(self) -> object:
        # Copies equal their objects, and a worker may lack the folder.
        return ("intake_laion_fmri.Bucket", self.address, _sorted(self.storage_options))

    def __reduce__(self) -> tuple[Any, ...]:
        return Bucket, tuple(getattr(self, one.name) for one in fields(self))

    @functools.cached_property
    def messages(self) -> Messages:
        """Messages about this root."""
        return Messages(self.address, self.storage_options, self.wording)

    @property
    def url(self) -> str:
        """Address without secrets, for messages, records and attributes; it may be of no use for opening."""
        return self.messages.url

    @functools.cached_property
    def requests(self) -> Requests:
        """Requests for the root's objects."""
        return self.copies.requests(self.messages, self.network)

    @property
    def backend(self) -> Backend:
        """Back-end, connected by each process on first use."""
        return self.requests.backend

    @property
    def file_system(self) -> Any:
        """File system of the back-end."""
        return self.backend.file_system

    @property
    def root(self) -> str:
        """Path of the root on the file system."""
        return self.backend.root

    @property
    def is_s3(self) -> bool:
        """True for S3 and compatible servers."""
        return isinstance(self.backend, S3Objects)

    @property
    def is_local(self) -> bool:
        """True for a local folder."""
        return self.messages.is_local

    def path(self, key: str) -> str:
        """Return an object's path on the file system."""
        return self.backend.path(key)

    def locate(self, key: str) -> str:
        """Return an object's URL for messages, without secrets."""
        return self.messages.locate(key)

    def below(self, folder: str) -> Bucket:
        """Return a folder of this root as a root."""
        return Bucket(addresses.below(self.address, folder), self.storage_options, self.network)

    def find(self, folder: str) -> dict[str, ObjectInfo]:
        """List all objects below a folder, one request per thousand.

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
            If it does not respond.
        """
        return self.copies.find(self.requests, folder)

    def list_folder(self, folder: str) -> Listing:
        """List a folder's direct content."""
        return self.requests.list_folder(folder)

    def folders(self, folder: str) -> list[str]:
        """List a folder's direct folders, sorted; empty if it is absent."""
        return self.copies.folders(self.requests, folder)

    def root_files(self) -> dict[str, ObjectInfo]:
        """List the objects directly below the root: key → state."""
        return self.copies.root_files(self.requests)

    def exists(self) -> bool:
        """Return True if the bucket or folder exists."""
        try:
            self.list_folder("")
        except NotInBucketError:
            return False
        return True

    def fetch(self, objects: Iterable[ObjectInfo], failures: dict[str, Exception] | None = None) -> dict[str, bytes]:
        """Read whole objects, concurrently.

        They come from local copies, the user's cache or one GET each; large objects are read in parts.

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
        if failures is None and (too_large := next(filter(None, map(self._too_large, wanted)), None)):
            raise too_large
        found = self.copies.contents(wanted, failures)
        rest = [info for info in wanted if info.key not in found and info.key not in (failures or ())]
        cache = SmallFileCache(None, 0) if self.is_local else SmallFileCache.of_user()

        def tried(info: ObjectInfo) -> bytes | None:
            error: Exception | None = self._too_large(info)
            if error is None:
                try:
                    return cache.read(info, self.name_in_cache(info), self.requests.read_whole)
                except (NotInBucketError, AccessDeniedError) as unreadable:
                    if self.backend.lists_what_is_there and isinstance(unreadable, NotInBucketError):
                        raise  # it has just been listed: gone between two requests, or denied by mistake
                    error = unreadable
            if failures is None:
                raise error
            failures[info.key] = error
            return None

        contents = concurrently(tried, rest, SMALL_FILES_IN_FLIGHT)
        found |= {info.key: content for info, content in zip(rest, contents, strict=True) if content is not None}
        if cache.added.is_set():
            cache.trim()
        return {info.key: found[info.key] for info in wanted if info.key in found}

    def name_in_cache(self, info: ObjectInfo) -> str:
        """Return the cache's name for this version of an object."""
        return "\n".join([self._server, addresses.below(self.address, info.key), info.etag, str(info.size)])

    @functools.cached_property
    def _server(self) -> str:
        """Identity of the server: AWS's settings may name another endpoint than the address."""
        server = self.backend.server
        if server is None:
            plain = addresses.protocol_of(self.address) in ("http", "https")
            return "" if plain else repr(_sorted(self.storage_options))
        return server

    def read_present(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Read small existing objects without a listing, one GET each, concurrently.

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
        contents = concurrently(read, wanted, 1 if self.is_local else SMALL_FILES_IN_FLIGHT)
        return {key: content for key, content in zip(wanted, contents, strict=True) if content is not None}

    def read(self, key: str, start: int | None = None, stop: int | None = None) -> bytes:
        """Read an object, or the bytes from `start` to before `stop`.

        Fewer bytes are returned if the object ends earlier.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        most = LARGEST_BYTES if stop is None else stop - (start or 0)
        size = KEPT_BYTES if stop is None else most
        return self.requests.read(key, start, stop, most=most, size=size)

    def read_within(self, key: str) -> bytes:
        """Read a small object within `PINNED_SECONDS`, without a listing.

        A server that fails is asked `PINNED_ATTEMPTS` times within that bound, and then not for `PATIENCE_SECONDS`: a
        machine without a network waits once, whatever the number of objects.

        Raises
        ------
        NotInBucketError, AccessDeniedError, BucketUnreachableError
            If it cannot be read.
        """
        return self.requests.read_within(key, most=LARGEST_BYTES)

    @contextmanager
    def stream(self, info: ObjectInfo, received: Callable[[int], None] | None = None) -> Iterator[BinaryIO]:
        """Open an object for reading from its start.

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
        path = self.copies.path_of(info)
        if path is not None:
            with self._stream_copy(path, info, received) as file:
                yield file
            return
        with self.requests.open(info) as file:
            try:
                yield file if received is None else Counted(file, received)  # type: ignore[misc]
            except DataIntegrityError:
                self.requests.expect_unchanged(info)  # what looks broken may be two objects in one
                raise
        self.requests.expect_unchanged(info)

    @contextmanager
    def _stream_copy(self, path: Path, info: ObjectInfo, received: Callable[[int], None] | None) -> Iterator[BinaryIO]:
        folder = Bucket(path.parent.as_posix())
        with folder.stream(folder.state(path.name), received) as file:
            yield file
        if self.copies.path_of(info) is None:
            raise DataIntegrityError(f"{path} was replaced while being read. Open the data again.")

    def missing(self, key: str, beside: Iterable[str]) -> NotInBucketError:
        """Return the error for an absent object; see `Messages.missing`."""
        described = self.copies.missing(self.messages, key)
        return described or self.messages.missing(key, beside, self.backend.reason_of_absence(key))

    def _too_large(self, info: ObjectInfo) -> DataIntegrityError | None:
        """Return the error for an object too large for memory."""
        if info.size <= LARGEST_BYTES:
            return None
        return DataIntegrityError(
            f"{self.locate(info.key)}: expected a table, mask or map of at most {LARGEST_BYTES} bytes, found "
            f"{info.size}. Fetch the object again; if it persists, report it."
        )

    def state(self, key: str) -> ObjectInfo:
        """Return an object's present state."""
        return self.requests.state(key)


def _sorted(options: Any) -> Any:
    """Return options in canonical order, for tokens and comparison."""
    if isinstance(options, Mapping):
        return tuple((name, _sorted(options[name])) for name in sorted(options))
    return options
