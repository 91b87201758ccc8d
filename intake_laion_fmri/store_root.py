"""A place that is written to: objects appear whole, and a group of them all at once or not at all.

On a local disk a group is written beside the store and moved into it. An object store knows no moving: there a group
is written where it belongs, and its metadata, without which nobody sees it, come last. The rest of the protocol is that
whoever writes the same group writes the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from intake_laion_fmri.access import Bucket, check_storage_options, open_root
from intake_laion_fmri.errors import AccessDeniedError, NotInBucketError

if TYPE_CHECKING:
    from filelock import FileLock

__all__ = ["METADATA", "GroupBusyError", "GroupWriter", "NotWritableError", "StoreRoot", "open_store"]

METADATA = "zarr.json"
"""Name of the object that makes a folder a group or an array."""

_SINGLE_OBJECTS = "root"
"""Name under which objects are written that are in no session's group."""

_MOST_MISSES = 1000
"""How often a folder that others remove is made anew, before something else must be wrong with it."""


class GroupBusyError(Exception):
    """Another builder on this file system is writing the group."""


class NotWritableError(AccessDeniedError):
    """A store may not be written to."""


class GroupWriter(Protocol):
    """Takes the objects of a group, and makes it visible."""

    def put(self, key: str, content: Sequence[bytes]) -> None:
        """Write an object of the group, given in pieces."""

    def holds(self, key: str, content: Sequence[bytes]) -> bool:
        """Tell whether an object reads back as these pieces."""

    def withdraw(self) -> None:
        """Make a group that is there invisible, if what is written next could be taken for a part of it."""

    def publish(self, metadata: bytes) -> None:
        """Write the group's metadata: from then on it is there."""


@dataclass(frozen=True, repr=False)
class StoreRoot(Bucket):
    """The root of a store, on any file system that fsspec knows."""

    argument: ClassVar[str] = "store"
    options_argument: ClassVar[str] = "store_options"
    _elsewhere: ClassVar[str] = ""

    def put(self, key: str, content: Sequence[bytes]) -> None:
        """Write an object, given in pieces; it appears whole or not at all."""
        with self.errors_of_writing(key):
            if self.is_local:
                with self._workshop(_SINGLE_OBJECTS, wait=True) as staging:
                    self._put_locally(key, content, staging)
            else:
                self._send(key, b"".join(content), mode="overwrite")

    def create(self, key: str, content: bytes) -> None:
        """Write an object unless there is one; of several writers one wins, where the file system can tell."""
        with self.errors_of_writing(key):
            if self.is_local:
                with self._workshop(_SINGLE_OBJECTS, wait=True) as staging:
                    if not os.path.exists(self.path(key)):
                        self._put_locally(key, [content], staging)
            else:
                self.file_system.invalidate_cache()
                if not self._ask(key, lambda seconds: self._call(seconds, "exists", self.path(key))):
                    with contextlib.suppress(FileExistsError):
                        self._send(key, content, mode="create")

    def _send(self, key: str, content: bytes, *, mode: str) -> None:
        def pipe(seconds: float) -> None:
            self._call(seconds, "pipe_file", self.path(key), content, mode=mode)

        self._ask(key, pipe, size=len(content))

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self._remove(key)

    def _remove(self, key: str) -> None:
        self._ask(key, lambda seconds: self._call(seconds, "rm_file", self.path(key)))

    @contextmanager
    def writing(self, group: str, *, wait: bool = False) -> Iterator[GroupWriter]:
        """Write a group.

        Parameters
        ----------
        group : str
            Path of the group below the root.
        wait : bool, default False
            Whether to wait where another builder on the same file system is writing this group.

        Yields
        ------
        GroupWriter
            What was put into it is gone unless it was published.

        Raises
        ------
        GroupBusyError
            If another builder is writing the group, and there is no waiting.
        """
        if not self.is_local:
            yield _GroupInPlace(self, group)
            return
        with self._workshop(group.replace("/", "_"), wait=wait) as staging:
            yield _StagedGroup(self, group, staging)

    def tidy(self) -> None:
        """Remove what builders that were killed have left beside a store on a local disk."""
        if self.is_local:
            for lock in self._workshop_folder.glob("*.lock"):
                with contextlib.suppress(GroupBusyError), self._workshop(lock.stem, wait=False):
                    pass

    @property
    def _workshop_folder(self) -> Path:
        return Path(self.root).with_name(f".{Path(self.root).name}.building")

    @contextmanager
    def _workshop(self, name: str, *, wait: bool) -> Iterator[Path]:
        """Yield a path beside the store to write to, while nobody else on this file system writes under this name."""
        folder = self._workshop_folder
        with self.errors_of_writing(f"../{folder.name}"):
            lock = _locked(folder / f"{name}.lock", wait=wait)
        try:
            yield folder / f"{name}.{uuid.uuid4().hex}"
        finally:
            # What is under this name is this builder's, or of one that was killed: nobody else has the lock.
            for left in folder.glob(f"{name}.*"):
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                elif left.suffix != ".lock":
                    left.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                Path(lock.lock_file).unlink()  # while it is held: whoever waits for it notices
            lock.release()
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _put_locally(self, key: str, content: Sequence[bytes], staging: Path) -> None:
        _write(staging, content)
        target = Path(self.path(key))
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.replace(target)

    @contextmanager
    def errors_of_writing(self, key: str) -> Iterator[None]:
        """Turn what a file system raises into the contract's errors, where something is written."""
        try:
            with self.errors_of(key):
                yield
        except NotInBucketError as error:
            raise FileNotFoundError(
                f"{self.locate(key)} cannot be written: the folder or bucket that it should be in does not exist, and "
                "could not be made."
            ) from error
        except AccessDeniedError as error:
            raise NotWritableError(str(error)) from error

    def _denied(self, key: str) -> str:
        if self.is_local:
            return f"{self.locate(key)} may not be read or written: its permissions forbid it. Change them."
        return (
            f"{self.locate(key)} may not be read or written: the server refuses it to these credentials. Check "
            f"{self.options_argument}."
        )


class _StagedGroup:
    """A group on a local disk, written beside the store."""

    def __init__(self, root: StoreRoot, group: str, staging: Path) -> None:
        self._root, self._group, self._staging = root, group, staging

    def put(self, key: str, content: Sequence[bytes]) -> None:
        with self._root.errors_of_writing(f"{self._group}/{key}"):
            _write(self._staging / key, content)

    def holds(self, key: str, content: Sequence[bytes]) -> bool:
        with (
            self._root.errors_of_writing(f"{self._group}/{key}"),
            (self._staging / key).open("rb", buffering=0) as file,
        ):
            return all(file.read(len(piece)) == piece for piece in content) and not file.read(1)

    def withdraw(self) -> None:
        pass

    def publish(self, metadata: bytes) -> None:
        target = Path(self._root.path(self._group))
        outdated = self._staging.with_name(f"{self._staging.name}.outdated")
        with self._root.errors_of_writing(self._group):
            _write(self._staging / METADATA, [metadata])
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._staging.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
                target.rename(outdated)
                self._staging.rename(target)
            finally:
                shutil.rmtree(outdated, ignore_errors=True)


class _GroupInPlace:
    """A group on an object store, written where it belongs; invisible from its first object to its metadata."""

    def __init__(self, root: StoreRoot, group: str) -> None:
        self._root, self._group = root, group
        self._written: set[str] = set()

    def put(self, key: str, content: Sequence[bytes]) -> None:
        self._root.put(f"{self._group}/{key}", content)
        self._written.add(f"{self._group}/{key}")

    def holds(self, key: str, content: Sequence[bytes]) -> bool:
        expected = b"".join(content)
        return self._root.read(f"{self._group}/{key}", 0, len(expected) + 1) == expected

    def withdraw(self) -> None:
        self._root.remove([f"{self._group}/{METADATA}"])

    def publish(self, metadata: bytes) -> None:
        # Metadata that are there are another builder's, of the same objects.
        own = {*self._written, f"{self._group}/{METADATA}"}
        self._root.remove(sorted(self._root.find(self._group).keys() - own))
        self._root.put(f"{self._group}/{METADATA}", [metadata])


def open_store(store: str | os.PathLike[str] | StoreRoot, store_options: Mapping[str, Any] | None = None) -> StoreRoot:
    """Say where a store is.

    Parameters
    ----------
    store : str or path
        URL that fsspec knows, or a local folder.
    store_options : mapping, optional
        Options of its file system. For S3 credentials and region are found as in every other program; a public store
        needs ``{"anon": True}``.

    Returns
    -------
    StoreRoot
        Nothing is contacted yet.

    Raises
    ------
    ValueError
        If fsspec knows no such protocol.
    TypeError
        If `store` is neither a text nor a path, or `store_options` is no mapping.
    """
    if isinstance(store, StoreRoot):
        return store
    check_storage_options(store_options, StoreRoot.options_argument)
    # It is the user's own: credentials and region are found as in every other program.
    return open_root(StoreRoot, store, store_options, s3_defaults={})


def _locked(path: Path, *, wait: bool) -> FileLock:
    """Take a lock, which ends with this process at the latest."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    misses = 0
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=1 if wait else 0)
        except (FileExistsError, FileNotFoundError):
            # Whoever is done removes the folder, also between any two system calls here.
            misses += 1
            if misses == _MOST_MISSES:
                raise
        except Timeout as error:
            if not wait:
                raise GroupBusyError(f"{path}: another builder is writing this session") from error
        else:
            return lock


def _write(path: Path, content: Sequence[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(content)
