"""Atomic writing of objects and groups to a store."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from intake_laion_fmri.errors import AccessDeniedError, NotInBucketError
from intake_laion_fmri.remote import atomic, marks
from intake_laion_fmri.remote.access import SMALL_FILES_IN_FLIGHT, Bucket
from intake_laion_fmri.remote.backend import FileSystemBackend
from intake_laion_fmri.store.groups import (
    METADATA,
    WAIT_SECONDS,
    ForeignError,
    GroupBusyError,
    GroupWriter,
    Known,
    Workshop,
)

_SINGLE_OBJECTS = "root"
"""Name under which objects are written that are in no session's group."""

_NO_CONDITIONS = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
"""What s3fs makes of the answers of servers that know no conditional writes; these only settle a race."""


class NotWritableError(AccessDeniedError):
    """A store must not be written to."""


class StoreWriter(ABC):
    """Writer of a store.

    Parameters
    ----------
    root : Bucket
        Its root.
    """

    small_at_a_time: ClassVar[int]
    """Small objects that are written at a time."""
    large_at_a_time: ClassVar[int]
    """Objects with betas that are written at a time: each takes up to three times its size of memory."""

    def __init__(self, root: Bucket) -> None:
        self.root = root

    @abstractmethod
    def expect_own(self) -> None:
        """Raise FileExistsError if the root holds foreign data."""

    @abstractmethod
    def put(self, key: str, content: bytes, *, unless_there: bool = False) -> None:
        """Write an object atomically; with `unless_there`, keep an existing one.

        Of several writers, one wins, if the file system supports exclusive creation.
        """

    @abstractmethod
    def writing(
        self, group: str, *, wait: bool = False, while_waiting: Callable[[], object] = lambda: None
    ) -> AbstractContextManager[GroupWriter]:
        """Yield a group's writer; without publishing, its objects are removed.

        With `wait`, another builder on the same file system that is writing this group is waited for; `while_waiting`
        is called each second meanwhile, and ends the waiting by raising something.

        Raises
        ------
        HeldError
            If another builder is writing the group, and there was no waiting, or in vain; names the other one.
        """

    @abstractmethod
    def tidy(self) -> None:
        """Remove leftovers of killed builders beside the store."""

    @contextmanager
    def errors_of_writing(self, key: str) -> Iterator[None]:
        """Map errors of a file system while writing."""
        try:
            with self.root.requests.errors_of(key):
                yield
        except NotInBucketError as error:
            raise FileNotFoundError(
                f"{self.root.locate(key)} cannot be written: its folder or bucket does not exist and could not be "
                "created."
            ) from error
        except AccessDeniedError as error:
            raise NotWritableError(str(error)) from error


class _DiskWriter(StoreWriter):
    """Writer for a local disk: prepares groups beside the store."""

    small_at_a_time = 1
    large_at_a_time = 2

    @property
    def _workshop(self) -> Workshop:
        # On the store's disk, and the same path whichever link leads to the store.
        return Workshop(Path(os.path.realpath(self.root.root)))

    def expect_own(self) -> None:
        if not os.path.isfile(self.root.path(METADATA)):  # reading the root says what it is
            marks.raise_unless_ours(self.root.root, marks.STORE)
        self._workshop.expect_own()

    def put(self, key: str, content: bytes, *, unless_there: bool = False) -> None:
        with self.errors_of_writing(key), self._workplace(_SINGLE_OBJECTS, wait_seconds=WAIT_SECONDS) as staging:
            if not (unless_there and os.path.exists(self.root.path(key))):
                atomic.create(staging, content, durable=True)
                atomic.move(staging, self.root.path(key), durable=True)

    @contextmanager
    def writing(
        self, group: str, *, wait: bool = False, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[GroupWriter]:
        seconds = WAIT_SECONDS if wait else 0
        with self._workplace(group.replace("/", "_"), wait_seconds=seconds, while_waiting=while_waiting) as staging:
            yield _StagedGroup(self, group, staging)

    def tidy(self) -> None:
        self._workshop.tidy()

    @contextmanager
    def _workplace(
        self, name: str, *, wait_seconds: float, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[Path]:
        workshop = self._workshop
        with contextlib.ExitStack() as stack:
            with self.errors_of_writing(f"../{workshop.folder.name}"):
                staging = stack.enter_context(
                    workshop.staging(name, wait_seconds=wait_seconds, while_waiting=while_waiting)
                )
            yield staging


class _StagedGroup:
    """A group on a local disk, prepared beside the store."""

    def __init__(self, store: _DiskWriter, group: str, staging: Path) -> None:
        self._store, self._group, self._staging = store, group, staging
        self._target = Path(store.root.path(group))
        self._known: Known = lambda _: False
        self._written: list[Path] = []

    def begin(self, known: Known) -> None:
        self._known = known
        if self._target.is_symlink():
            raise ForeignError.from_keys(os.fspath(self._target.parent), [self._target.name])
        foreign = [key for key in atomic.files_below(self._target) if not known(key)]
        if foreign:
            raise ForeignError.from_keys(os.fspath(self._target), foreign)

    def put(self, key: str, content: Sequence[bytes]) -> None:
        with self._writing(key):
            atomic.create(self._staging / key, content)
            self._written.append(self._staging / key)

    def holds(self, key: str, content: Sequence[bytes]) -> bool:
        with self._writing(key), (self._staging / key).open("rb", buffering=0) as file:
            return all(file.read(len(piece)) == piece for piece in content) and not file.read(1)

    def withdraw(self) -> None:
        pass

    def publish(self, metadata: bytes) -> None:
        with self._writing(METADATA):
            atomic.create(self._staging / METADATA, metadata)
            atomic.sync_files([*self._written, self._staging / METADATA], top=self._staging)
            replaced = atomic.put_in_place(self._staging, self._target, durable=True)
        left = atomic.remove_known(replaced, self._known) if replaced else []
        if replaced and left:  # it has come since the beginning
            raise ForeignError.from_keys(os.fspath(replaced), left)

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        with self._store.errors_of_writing(f"{self._group}/{key}"):
            try:
                yield
            except FileNotFoundError as error:
                if all(path.exists() for path in self._written):
                    raise
                # This process was suspended for so long that another builder took over.
                raise GroupBusyError(f"{self._group}: another builder has taken it over") from error


class _ObjectWriter(StoreWriter):
    """Writer for an object store, which cannot move objects."""

    small_at_a_time = SMALL_FILES_IN_FLIGHT
    large_at_a_time = 4

    def expect_own(self) -> None:
        try:
            listing = self.root.list_folder("")
        except NotInBucketError:  # neither the folder, nor perhaps what it is in: the first object will tell
            return
        names = [*listing.files, *listing.folders]
        if names and METADATA not in names:
            raise ForeignError.from_keys(self.root.url, names)

    def put(self, key: str, content: bytes, *, unless_there: bool = False) -> None:
        ask = functools.partial(self.root.requests.ask, key, size=len(content))

        def put(seconds: float, create: bool = unless_there) -> None:
            try:
                self._backend.put(key, content, seconds, create=create)
            except OSError as error:
                if not create or error.errno not in _NO_CONDITIONS:
                    raise
                put(seconds, create=False)

        with self.errors_of_writing(key):
            if unless_there and self._is_there(key):
                return
            try:
                ask(put)
            except FileExistsError:
                if not self._is_there(key):  # a server that takes every condition for not met
                    ask(functools.partial(put, create=False))

    @contextmanager
    def writing(
        self, group: str, *, wait: bool = False, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[GroupWriter]:
        yield _GroupInPlace(self, group)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects, if they exist."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self.root.requests.ask(key, functools.partial(self._backend.remove, key))

    def tidy(self) -> None:
        pass

    @property
    def _backend(self) -> FileSystemBackend:
        assert isinstance(self.root.backend, FileSystemBackend), "stores on a disk have another writer"
        return self.root.backend

    def _is_there(self, key: str) -> bool:
        return self.root.requests.ask(key, functools.partial(self._backend.exists, key))


class _GroupInPlace:
    """A group on an object store, written at its final keys.

    The group is invisible until its metadata are written.
    """

    def __init__(self, store: _ObjectWriter, group: str) -> None:
        self._root, self._store, self._group = store.root, store, group
        self._written: set[str] = set()
        self._before: set[str] = set()

    def begin(self, known: Known) -> None:
        self._before = {key[len(self._group) + 1 :] for key in self._root.find(self._group)}
        foreign = [key for key in self._before if not known(key)]
        if foreign:
            raise ForeignError.from_keys(self._root.locate(self._group), foreign)

    def put(self, key: str, content: Sequence[bytes]) -> None:
        self._store.put(f"{self._group}/{key}", b"".join(content))
        self._written.add(key)

    def holds(self, key: str, content: Sequence[bytes]) -> bool:
        expected = b"".join(content)
        return self._root.read(f"{self._group}/{key}", 0, len(expected) + 1) == expected

    def withdraw(self) -> None:
        self._store.remove([f"{self._group}/{METADATA}"])

    def publish(self, metadata: bytes) -> None:
        # Existing metadata were written by another builder for the same objects.
        surplus = self._before - self._written - {METADATA}
        self._store.remove([f"{self._group}/{key}" for key in sorted(surplus)])
        self._store.put(f"{self._group}/{METADATA}", metadata)


def store_writer(root: Bucket) -> StoreWriter:
    """Return the writer of a store's root; see `open_store`."""
    return _DiskWriter(root) if root.is_local else _ObjectWriter(root)
