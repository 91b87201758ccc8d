"""Writing to a store: objects and groups appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import ClassVar

from intake_laion_fmri.errors import AccessDeniedError, NotInBucketError
from intake_laion_fmri.remote import atomic, marks
from intake_laion_fmri.remote.access import SMALL_FILES_IN_FLIGHT, Bucket
from intake_laion_fmri.remote.locks import HeldError
from intake_laion_fmri.store.groups import (
    METADATA,
    WAIT_SECONDS,
    ForeignError,
    GroupBusyError,
    GroupWriter,
    Workshop,
    in_place,
    staged,
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
    def put(self, key: str, content: Sequence[bytes]) -> None:
        """Write an object, given in pieces, atomically."""

    @abstractmethod
    def create(self, key: str, content: bytes) -> None:
        """Write an object unless it exists.

        One of several writers wins, where the file system can tell.
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
        GroupBusyError
            If another builder is writing the group, and there is no waiting.
        HeldError
            If there was, and in vain; names the other one.
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
        # On the same disk, and the same by whichever link the store is reached.
        return Workshop(Path(os.path.realpath(self.root.root)))

    def expect_own(self) -> None:
        if not os.path.isfile(self.root.path(METADATA)):  # reading the root says what it is
            marks.raise_unless_ours(self.root.root, marks.STORE)
        self._workshop.expect_own()

    def put(self, key: str, content: Sequence[bytes]) -> None:
        with self.errors_of_writing(key), self._workplace(_SINGLE_OBJECTS, wait_seconds=WAIT_SECONDS) as staging:
            self._put_from(staging, key, content)

    def create(self, key: str, content: bytes) -> None:
        with self.errors_of_writing(key), self._workplace(_SINGLE_OBJECTS, wait_seconds=WAIT_SECONDS) as staging:
            if not os.path.exists(self.root.path(key)):
                self._put_from(staging, key, [content])

    @contextmanager
    def writing(
        self, group: str, *, wait: bool = False, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[GroupWriter]:
        seconds = WAIT_SECONDS if wait else 0
        with self._workplace(group.replace("/", "_"), wait_seconds=seconds, while_waiting=while_waiting) as staging:
            yield staged(self.errors_of_writing, group, Path(self.root.path(group)), staging)

    def tidy(self) -> None:
        self._workshop.tidy()

    @contextmanager
    def _workplace(
        self, name: str, *, wait_seconds: float, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[Path]:
        workshop = self._workshop
        with contextlib.ExitStack() as stack:
            try:
                with self.errors_of_writing(f"../{workshop.folder.name}"):
                    staging = stack.enter_context(
                        workshop.staging(name, wait_seconds=wait_seconds, while_waiting=while_waiting)
                    )
            except HeldError as error:
                if wait_seconds:
                    raise
                raise GroupBusyError(str(error)) from error
            yield staging

    def _put_from(self, staging: Path, key: str, content: Sequence[bytes]) -> None:
        atomic.create(staging, content, durable=True)
        atomic.move(staging, self.root.path(key), durable=True)


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

    def put(self, key: str, content: Sequence[bytes]) -> None:
        with self.errors_of_writing(key):
            self._send(key, b"".join(content))

    def create(self, key: str, content: bytes) -> None:
        with self.errors_of_writing(key):
            if not self._is_there(key):
                self._send(key, content, create=True)

    @contextmanager
    def writing(
        self, group: str, *, wait: bool = False, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[GroupWriter]:
        yield in_place(self.root, self, group)

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects, if they exist."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self._remove(key)

    def tidy(self) -> None:
        pass

    def _is_there(self, key: str) -> bool:
        return self.root.requests.ask(key, lambda seconds: self.root.backend.exists(key, seconds))

    def _remove(self, key: str) -> None:
        self.root.requests.ask(key, lambda seconds: self.root.backend.remove(key, seconds))

    def _send(self, key: str, content: bytes, *, create: bool = False) -> None:
        backend, ask = self.root.backend, self.root.requests.ask

        def put_if_new(seconds: float) -> None:
            try:
                backend.put(key, content, seconds, create=True)
            except OSError as error:
                if error.errno not in _NO_CONDITIONS:
                    raise
                overwrite(seconds)

        def overwrite(seconds: float) -> None:
            backend.put(key, content, seconds, create=False)

        try:
            ask(key, put_if_new if create else overwrite, size=len(content))
        except FileExistsError:
            if not self._is_there(key):  # a server that takes every condition for not met
                ask(key, overwrite, size=len(content))


def store_writer(root: Bucket) -> StoreWriter:
    """Return the writer of a store's root; see `open_store`."""
    return _DiskWriter(root) if root.is_local else _ObjectWriter(root)
