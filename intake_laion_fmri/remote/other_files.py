"""Other file systems of fsspec: archives, memory, FTP, caches, other clouds."""

from __future__ import annotations

import contextlib
import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.backend import Answer, FileSystemBackend, Listing, object_info
from intake_laion_fmri.running.forks import PerProcess

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_ARCHIVES = PerProcess(threading.Lock)
"""Held while a file in an archive is looked for or read: fsspec makes its list of them at the first question, and
answers another thread from half of it; a TAR file has one position for all."""


class OtherFiles(FileSystemBackend):
    """Files below a root, by fsspec's own methods."""

    def list_folder(self, folder: str, seconds: float) -> Listing:
        """List a folder's direct content.

        fsspec's `find` and `walk` silently skip folders that cannot be listed.
        """
        self.file_system.invalidate_cache()
        entries = self.call(seconds, "ls", self.path(folder), detail=True)
        by_key = {self.key_of(entry["name"]): entry for entry in entries}
        files = {
            key: None if entry.get("size") is None else object_info(key, entry)
            for key, entry in by_key.items()
            if entry["type"] != "directory"
        }
        return Listing(files, [key for key in by_key if key not in files])

    def state(self, key: str, seconds: float) -> ObjectInfo:
        """Return a file's size and ETag, or its modification time."""
        self.file_system.invalidate_cache()
        return object_info(key, self.call(seconds, "info", self.path(key)))

    def get(self, key: str, start: int | None, stop: int | None, seconds: float, *, most: int) -> Answer:
        """Read a file, or bytes of it."""
        end = most + 1 if stop is None else stop
        return Answer(self.call(seconds, "cat_file", self.path(key), start=start or 0, end=end))

    def alone(self) -> AbstractContextManager[object]:
        """Return a lock for archives and caches with lists."""
        is_shared = not (_is_archive(self.file_system) or _keeps_lists(self.file_system))
        return contextlib.nullcontext() if is_shared else _ARCHIVES.get()


def top_of(file_system: AbstractFileSystem, root: str) -> str:
    """Return the root inside an archive.

    ``.`` precedes it after ``tar -cf FILE .``.
    """
    if not _is_archive(file_system):
        return root
    with _ARCHIVES.get():
        top = [entry["name"] for entry in file_system.ls("", detail=True)]
    return f"./{root}".rstrip("/") if top == ["."] else root


def _is_archive(file_system: AbstractFileSystem) -> bool:
    from fsspec.archive import AbstractArchiveFileSystem

    return isinstance(file_system, AbstractArchiveFileSystem)


def _keeps_lists(file_system: AbstractFileSystem) -> bool:
    """Return True for fsspec's caches that threads would corrupt."""
    from fsspec.implementations.cached import CachingFileSystem, SimpleCacheFileSystem

    return isinstance(file_system, CachingFileSystem) and not isinstance(file_system, SimpleCacheFileSystem)
