"""Interface of back-ends: local disk, S3, web servers, fsspec.

To add a back-end, add a module with a subclass of `Backend` and a line in `connect`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

LARGEST_BYTES = 128 * 1024 * 1024
"""Largest object that is taken whole into memory: the bucket's maps have a tenth of it."""

_SHORTEST_SECONDS = 0.001
"""Time-out of a request for which no time is left; fsspec takes 0 for none."""


class WrongAnswerError(DataIntegrityError):
    """The server answered a different question; another attempt may succeed."""


@dataclass(frozen=True)
class Answer:
    """An object's bytes, with the properties sent along."""

    content: bytes
    """One byte more than was asked for, at most: then the server has sent too much."""
    etag: str = ""
    """ETag of the object that the bytes are of; empty where the answer has none."""


def object_info(key: str, entry: Mapping[str, Any]) -> ObjectInfo:
    """Return an object's size and state from a listing's entry."""
    size = int(entry["size"])
    etag = entry.get("ETag") or entry.get("etag")
    if etag is None and "mtime" in entry:
        etag = f"{int(float(entry['mtime']) * 1e6):x}-{size:x}"
    return ObjectInfo(key, size, str(etag or "").strip('"'))


@dataclass(frozen=True)
class Listing:
    """Direct content of a folder."""

    files: Mapping[str, ObjectInfo | None]
    """Key → file; None where a listing gives names only."""
    folders: Collection[str]
    """Keys of the folders."""


class Backend(ABC):
    """Files below a root.

    Unless stated otherwise, each method makes one request and no second attempt.

    Keys are paths below the root. ``seconds`` is the time for the request; where a file system cannot be interrupted,
    or is a disk, it has no effect. All methods raise ``FileNotFoundError``, ``PermissionError``, ``ConnectionError`` or
    another ``OSError``, `WrongAnswerError` where something else was received than was asked for, or an error that
    `failures.errors_of` knows.
    """

    file_system: Any = None
    """fsspec's file system, if there is one."""
    root: str
    """The root as a path of the file system, without a trailing slash."""
    is_remote: ClassVar[bool] = True
    """Whether another attempt may help."""
    lists_deep: ClassVar[bool] = False
    """Whether there is a `find`."""
    lists_what_is_there: ClassVar[bool] = False
    """Whether an object that was just listed must be there."""
    has_md5_etags: ClassVar[bool] = False
    """Whether an ETag that looks like an MD5 is that of the content, unless `is_encrypted`."""

    def path(self, key: str) -> str:
        """Return an object's path on the file system."""
        if not self.root:  # the top of an archive
            return key
        return f"{self.root}/{key}" if key else self.root

    def key_of(self, path: str) -> str:
        """Return the key of a path on the file system."""
        return path.rstrip("/").removeprefix(self.root).removeprefix("/")

    @property
    def server(self) -> str | None:
        """Address of a server that neither URL nor options name."""
        return None

    @abstractmethod
    def list_folder(self, folder: str, seconds: float) -> Listing:
        """List a folder's direct content.

        Raises FileNotFoundError if the folder is absent.
        """

    def find(self, folder: str, seconds: float) -> dict[str, ObjectInfo]:
        """List all files below a folder; empty if it is absent."""
        raise NotImplementedError

    @abstractmethod
    def state(self, key: str, seconds: float) -> ObjectInfo:
        """Return an object's size and ETag."""

    @abstractmethod
    def get(self, key: str, start: int | None, stop: int | None, seconds: float, *, most: int) -> Answer:
        """Read an object, or its bytes from `start` to before `stop`.

        At most `most` bytes are expected; reading stops after one byte more.
        """

    def probe(self, key: str, seconds: float) -> tuple[ObjectInfo | None, bool]:
        """Return size, ETag, and whether an object is read in parts.

        Size and ETag are None if finding them would cost a request.

        In parts it is read by `get`, or else by `open`.
        """
        return None, True

    def open(self, key: str, seconds: float, errors: Callable[[], AbstractContextManager[None]]) -> BinaryIO:
        """Open an object for reading from its start.

        `seconds` bounds the opening and each read.

        `errors` returns a context for errors of reading.
        """
        raise NotImplementedError

    def is_encrypted(self, key: str, seconds: float) -> bool:
        """Return True if an ETag that resembles an MD5 is none."""
        return False

    def reason_of_absence(self, key: str) -> str:
        """Return why an existing path counts as absent; "" if nothing exists.

        No request is made.
        """
        return ""


class FileSystemBackend(Backend):
    """Back-end over an fsspec file system, used for all writing to servers."""

    file_system: AbstractFileSystem

    def __init__(self, file_system: AbstractFileSystem, root: str) -> None:
        self.file_system, self.root = file_system, root

    def exists(self, key: str, seconds: float) -> bool:
        """Return True if an object exists now."""
        self.file_system.invalidate_cache()
        return bool(self.call(seconds, "exists", self.path(key)))

    def put(self, key: str, content: bytes, seconds: float, *, create: bool) -> None:
        """Write an object.

        With `create`, raises FileExistsError if the object exists and the server can tell.
        """
        self.call(seconds, "pipe_file", self.path(key), content, mode="create" if create else "overwrite")

    def remove(self, key: str, seconds: float) -> None:
        """Remove an object."""
        self.call(seconds, "rm_file", self.path(key))

    def call(self, seconds: float, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the file system, bounded in time where possible."""
        from fsspec.asyn import AsyncFileSystem

        if isinstance(self.file_system, AsyncFileSystem):
            return bounded(self.file_system.loop, getattr(self.file_system, f"_{name}"), seconds, *args, **kwargs)
        with self.alone():
            return getattr(self.file_system, name)(*args, **kwargs)

    def alone(self) -> AbstractContextManager[object]:
        """Return the lock to hold during a call.

        None means that several threads may call the file system at once.
        """
        return nullcontext()


def bounded(loop: Any, coroutine: Any, seconds: float, *args: Any, **kwargs: Any) -> Any:
    """Run a coroutine function on fsspec's event loop, bounded in time."""
    from fsspec.asyn import sync

    return sync(loop, coroutine, *args, timeout=max(seconds, _SHORTEST_SECONDS), **kwargs)
