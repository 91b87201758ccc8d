"""What a bucket needs of a kind of file system: one interface, for a disk, S3, web servers and all of fsspec.

Another kind is one more module with a subclass of `Backend`, and one more line in `connect`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.answers import Answer

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_SHORTEST_SECONDS = 0.001
"""Time-out of a request for which no time is left; fsspec takes 0 for none."""


@dataclass(frozen=True)
class Listing:
    """What is directly in a folder."""

    files: Mapping[str, ObjectInfo | None]
    """Key → file; None where a listing gives names only."""
    folders: Collection[str]
    """Keys of the folders."""


class Backend(ABC):
    """The files below a root. Each method makes one request, if not said otherwise, and no second attempt.

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
        """Return the path of an object on the file system."""
        if not self.root:  # the top of an archive
            return key
        return f"{self.root}/{key}" if key else self.root

    def key_of(self, path: str) -> str:
        """Return the key of an object that the file system names by its path."""
        return path.rstrip("/").removeprefix(self.root).removeprefix("/")

    @property
    def server(self) -> str | None:
        """The server's address, where neither the root's address nor the options need to name it."""
        return None

    @abstractmethod
    def list_folder(self, folder: str, seconds: float) -> Listing:
        """List what is directly in a folder; an absent folder raises ``FileNotFoundError``."""

    def find(self, folder: str, seconds: float) -> dict[str, ObjectInfo]:
        """List all files below a folder; none where there is no such folder."""
        raise NotImplementedError

    @abstractmethod
    def state(self, key: str, seconds: float) -> ObjectInfo:
        """Return size and ETag of an object."""

    @abstractmethod
    def get(self, key: str, start: int | None, stop: int | None, seconds: float, *, most: int) -> Answer:
        """Read an object, or its bytes from `start` to before `stop`; the whole of it where both are None.

        At most `most` bytes are expected; one more is read, and then no other.
        """

    def probe(self, key: str, seconds: float) -> tuple[ObjectInfo | None, bool]:
        """Return size and ETag, where that needs a request, and whether an object is streamed in parts.

        In parts it is read by `get`, or else by `open`.
        """
        return None, True

    def open(self, key: str, seconds: float, errors: Callable[[], AbstractContextManager[None]]) -> BinaryIO:
        """Open an object for reading once from its start, within `seconds`, which each piece of it may take, too.

        `errors` returns a context for errors of reading.
        """
        raise NotImplementedError

    def is_encrypted(self, key: str, seconds: float) -> bool:
        """Return True if the ETag is no MD5 although it looks like one."""
        return False

    def reason_of_absence(self, key: str) -> str:
        """Return why something at a path counts as absent; "" where nothing is there. Makes no request."""
        return ""

    def exists(self, key: str, seconds: float) -> bool:
        """Return True if there is an object now."""
        raise NotImplementedError

    def put(self, key: str, content: bytes, seconds: float, *, create: bool) -> None:
        """Write an object; with `create`, one that is there already raises ``FileExistsError``, where it can tell."""
        raise NotImplementedError

    def remove(self, key: str, seconds: float) -> None:
        """Remove an object."""
        raise NotImplementedError


class FileSystemBackend(Backend):
    """A back-end over one of fsspec's file systems, which does all the writing."""

    file_system: AbstractFileSystem

    def __init__(self, file_system: AbstractFileSystem, root: str) -> None:
        self.file_system, self.root = file_system, root

    def exists(self, key: str, seconds: float) -> bool:
        """Return True if there is an object now."""
        self.file_system.invalidate_cache()
        return bool(self.call(seconds, "exists", self.path(key)))

    def put(self, key: str, content: bytes, seconds: float, *, create: bool) -> None:
        """Write an object."""
        self.call(seconds, "pipe_file", self.path(key), content, mode="create" if create else "overwrite")

    def remove(self, key: str, seconds: float) -> None:
        """Remove an object."""
        self.call(seconds, "rm_file", self.path(key))

    def call(self, seconds: float, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the file system, for so long at most where it can be interrupted."""
        from fsspec.asyn import AsyncFileSystem

        if isinstance(self.file_system, AsyncFileSystem):
            return bounded(self.file_system.loop, getattr(self.file_system, f"_{name}"), seconds, *args, **kwargs)
        with self.alone():
            return getattr(self.file_system, name)(*args, **kwargs)

    def alone(self) -> AbstractContextManager[object]:
        """Return the lock to hold during a call: none, if several threads may call the file system."""
        return nullcontext()


def bounded(loop: Any, coroutine: Any, seconds: float, *args: Any, **kwargs: Any) -> Any:
    """Run a coroutine function on fsspec's event loop, for so long at most."""
    from fsspec.asyn import sync

    return sync(loop, coroutine, *args, timeout=max(seconds, _SHORTEST_SECONDS), **kwargs)
