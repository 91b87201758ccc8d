"""A place that is written to: objects appear whole, and a group of them all at once or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from intake_laion_fmri.errors import AccessDeniedError, NotInBucketError
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.access import Bucket, check_storage_options, open_root
from intake_laion_fmri.remote.locks import HeldError
from intake_laion_fmri.remote.messages import Messages, Wording
from intake_laion_fmri.store.groups import WAIT_SECONDS, GroupBusyError, GroupWriter, Workshop, in_place, staged

__all__ = ["NotWritableError", "StoreRoot", "open_store"]

_SINGLE_OBJECTS = "root"
"""Name under which objects are written that are in no session's group."""

_NO_CONDITIONS = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}
"""What s3fs makes of the answers of servers that know no conditional writes; these only settle a race."""


class NotWritableError(AccessDeniedError):
    """A store may not be written to."""


def _denied(messages: Messages, key: str) -> str:
    if messages.is_local:
        return f"{messages.locate(key)} may not be read or written: its permissions forbid it. Change them."
    return (
        f"{messages.locate(key)} may not be read or written: the server refuses it to these credentials. Check "
        f"{messages.wording.options_argument}."
    )


@dataclass(frozen=True, repr=False)
class StoreRoot(Bucket):
    """The root of a store, on any file system that fsspec knows."""

    wording: ClassVar[Wording] = Wording("store", "store_options", elsewhere="", denied=_denied)

    def put(self, key: str, content: Sequence[bytes]) -> None:
        """Write an object, given in pieces; it appears whole or not at all."""
        with self.errors_of_writing(key):
            if self.is_local:
                with self._workplace(_SINGLE_OBJECTS, wait_seconds=WAIT_SECONDS) as staging:
                    self._put_locally(key, content, staging)
            else:
                self._send(key, b"".join(content))

    def create(self, key: str, content: bytes) -> None:
        """Write an object unless there is one; of several writers one wins, where the file system can tell."""
        with self.errors_of_writing(key):
            if self.is_local:
                with self._workplace(_SINGLE_OBJECTS, wait_seconds=WAIT_SECONDS) as staging:
                    if not os.path.exists(self.path(key)):
                        self._put_locally(key, [content], staging)
            elif not self._is_there(key):
                self._send(key, content, create=True)

    def _is_there(self, key: str) -> bool:
        return self.requests.ask(key, lambda seconds: self.backend.exists(key, seconds))

    def serves_like(self, other: Bucket) -> bool:
        """Whether the same path is the same object there, as far as can be told."""
        if not (self.is_s3 and other.is_s3):
            return type(self.file_system) is type(other.file_system)
        return self.messages.endpoint() == other.messages.endpoint()

    def first_link(self, group: str, keys: Iterable[str]) -> str:
        """Return the first path below a store on a local disk that leads out of it, or an empty text."""
        if not self.is_local:
            return ""
        top = os.path.realpath(self.root)
        for folder in sorted({f"{group}/{key}".rpartition("/")[0] for key in keys} | {group}):
            if not _is_within(os.path.realpath(self.path(folder)), top):
                return folder
        for key in keys:
            path = self.path(f"{group}/{key}")
            if os.path.islink(path) and not _is_within(os.path.realpath(path), top):
                return key
        return ""

    def _send(self, key: str, content: bytes, *, create: bool = False) -> None:
        backend = self.backend

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
            self.requests.ask(key, put_if_new if create else overwrite, size=len(content))
        except FileExistsError:
            if not self._is_there(key):  # a server that takes every condition for not met
                self.requests.ask(key, overwrite, size=len(content))

    def remove(self, keys: Sequence[str]) -> None:
        """Remove objects; those that are not there are no error."""
        for key in keys:
            with contextlib.suppress(FileNotFoundError):
                self._remove(key)

    def _remove(self, key: str) -> None:
        self.requests.ask(key, lambda seconds: self.backend.remove(key, seconds))

    @contextmanager
    def writing(
        self, group: str, *, wait: bool = False, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[GroupWriter]:
        """Write a group.

        Parameters
        ----------
        group : str
            Path of the group below the root.
        wait : bool, default False
            Whether to wait where another builder on the same file system is writing this group.
        while_waiting : callable, optional
            Called each second meanwhile; it ends the waiting by raising something.

        Yields
        ------
        GroupWriter
            What was put into it is gone unless it was published.

        Raises
        ------
        GroupBusyError
            If another builder is writing the group, and there is no waiting.
        HeldError
            If there was, and in vain; names the other one.
        """
        if not self.is_local:
            yield in_place(self, group)
            return
        seconds = WAIT_SECONDS if wait else 0
        with self._workplace(group.replace("/", "_"), wait_seconds=seconds, while_waiting=while_waiting) as staging:
            yield staged(self.errors_of_writing, group, Path(self.path(group)), staging)

    def tidy(self) -> None:
        """Remove what builders that were killed have left beside a store on a local disk."""
        if self.is_local:
            self.workshop.tidy()

    @property
    def workshop(self) -> Workshop:
        """Where a store on a local disk is written: on the same disk, and the same by whichever link it is reached."""
        return Workshop(Path(os.path.realpath(self.root)))

    @contextmanager
    def _workplace(
        self, name: str, *, wait_seconds: float, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[Path]:
        with contextlib.ExitStack() as stack:
            try:
                with self.errors_of_writing(f"../{self.workshop.folder.name}"):
                    staging = stack.enter_context(
                        self.workshop.place(name, wait_seconds=wait_seconds, while_waiting=while_waiting)
                    )
            except HeldError as error:
                if wait_seconds:
                    raise
                raise GroupBusyError(str(error)) from error
            yield staging

    def _put_locally(self, key: str, content: Sequence[bytes], staging: Path) -> None:
        atomic.create(staging, content, durable=True)
        atomic.move(staging, self.path(key), durable=True)

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


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


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
    check_storage_options(store_options, StoreRoot.wording.options_argument)
    # It is the user's own: credentials and region are found as in every other program.
    return open_root(StoreRoot, store, store_options, s3_defaults={})
