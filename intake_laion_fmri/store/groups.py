"""Writing groups to a store: atomically, and never over foreign data.

On a local disk a group is written beside the store and moved into it. An object store knows no moving: there a group
is written where it belongs, and its metadata, without which nobody sees it, come last. The rest of the protocol is that
all writers of a group write the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from intake_laion_fmri.errors import in_short
from intake_laion_fmri.remote import atomic
from intake_laion_fmri.remote.locks import HeldError, locked

METADATA = "zarr.json"
"""Name of the object that makes a folder a group or an array."""

WAIT_SECONDS = 600.0
"""How long to wait for another builder that lives and does not come to an end."""

Known = Callable[[str], bool]
"""Takes a key below a group; returns True if the group has, or may have had, such an object."""


class GroupBusyError(Exception):
    """Another builder on this file system has taken the group over."""


class ForeignError(FileExistsError):
    """A store holds data that this package has not written."""

    @classmethod
    def from_keys(cls, where: str, keys: Iterable[str]) -> ForeignError:
        """Return the error that names foreign keys and the next step."""
        return cls(
            f"{where} holds {in_short(sorted(keys), most=3)}, which this package did not write: nothing there is "
            "changed. Move it away and run this again, or build another store."
        )


class GroupWriter(Protocol):
    """Receives a group's objects and makes the group visible."""

    def begin(self, known: Known) -> None:
        """Raise ForeignError if the group holds foreign data."""

    def put(self, key: str, content: Sequence[bytes]) -> None:
        """Write an object, given in pieces."""

    def holds(self, key: str, content: Sequence[bytes]) -> bool:
        """Return True if an object reads back as these pieces."""

    def withdraw(self) -> None:
        """Hide an existing group before its parts could be confused."""

    def publish(self, metadata: bytes) -> None:
        """Write the group's metadata, which makes it visible."""


class Workshop:
    """Folder beside a local store, in which groups are prepared."""

    def __init__(self, store: Path) -> None:
        self.store = store
        self.folder = store.with_name(f".{store.name}.building")

    def expect_own(self) -> None:
        """Raise FileExistsError unless it holds builders' leftovers only."""
        if not os.path.lexists(self.folder):
            return
        if self.folder.is_symlink() or not self.folder.is_dir():
            raise FileExistsError(
                f"{self.folder} is not a folder: sessions are written there before they are moved into the store. "
                "Move it away, or build a store with another name."
            )
        foreign = [name for name in os.listdir(self.folder) if not _OWN(name)]
        if foreign:
            raise ForeignError.from_keys(os.fspath(self.folder), foreign)

    @contextmanager
    def staging(
        self, name: str, *, wait_seconds: float, while_waiting: Callable[[], object] = lambda: None
    ) -> Iterator[Path]:
        """Yield a path for a group, locked against other builders.

        Raises
        ------
        HeldError
            If somebody else does.
        """
        lock = self.folder / f"{name}.lock"
        try:
            what = f"writing {name.replace('_', '/')}"
            with locked(lock, wait_seconds=wait_seconds, what=what, while_waiting=while_waiting):
                try:
                    self._put_back(name)
                    yield self.folder / f"{name}.{uuid.uuid4().hex}"
                finally:
                    self._clean(name)
        finally:
            atomic.remove_empty(self.folder)

    def tidy(self) -> None:
        """Remove leftovers of killed builders."""
        for lock in self.folder.glob("*.lock"):
            with contextlib.suppress(HeldError), self.staging(lock.stem, wait_seconds=0):
                pass
        # Killed after its lock was removed, a builder leaves the folder empty.
        atomic.remove_empty(self.folder)

    def _clean(self, name: str) -> None:
        """Remove leftovers under this name, whose lock is held."""
        for left in self._left(name):
            atomic.remove_known(left, lambda key: _OBJECT(key) is not None)
            if not left.is_dir():
                atomic.remove(left)

    def _left(self, name: str, suffix: str = "") -> list[Path]:
        is_left = re.compile(rf"{re.escape(name)}\.[0-9a-f]{{32}}{suffix or _SUFFIXES}").fullmatch
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:  # a builder that took over is done, and has removed the folder
            return []
        return [self.folder / left for left in names if is_left(left)]

    def _put_back(self, name: str) -> None:
        """Restore a group that a killed builder had moved away.

        This is needed only if the file system cannot exchange folders.
        """
        target = self.store / name.replace("_", "/")
        for left in self._left(name, r"\.outdated"):
            if not os.path.lexists(target):
                atomic.put_in_place(left, target)


_SUFFIXES = r"(?:\.outdated)?"
_OWN = re.compile(rf"(?:root|sub-\w+_ses-\w+)(?:\.lock.*|\.[0-9a-f]{{32}}{_SUFFIXES})").fullmatch
_OBJECT = re.compile(r"(?:.*/)?zarr\.json|.*/c(?:/\d+)*").fullmatch
