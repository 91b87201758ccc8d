"""Local files: regular ones only, behind any links.

Links to folders and files are followed, and circles of them are not. A pipe, a socket or a device is never opened:
it could wait for ever. A link that leads nowhere, and a file that stands for contents which git-annex or Git LFS have
not fetched, count as absent; `reason_of_absence` says so where the file is needed.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote.backend import Answer, Backend, Listing, object_info

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

POINTER_BYTES = 1024
"""Largest file that is looked at for being a pointer: Git LFS allows no larger one, git-annex writes none."""

_POINTERS = {b"/annex/objects/": "git-annex", b"version https://git-lfs.github.com/spec/": "Git LFS"}
_MOST_FILES = 1_000_000
_DEEPEST = 24
"""Levels of folders that are listed: links across could nest without end and yet without a circle."""

_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""Of a link that leads nowhere, or to itself, or of a file that was removed since its folder was listed."""

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


@contextmanager
def _nothing_in_files() -> Iterator[None]:
    """Raise FileNotFoundError for a path through a file or too long."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
            raise FileNotFoundError(str(error)) from error
        raise


class LocalFiles(Backend):
    """Files below a local folder.

    Parameters
    ----------
    file_system : fsspec.implementations.local.LocalFileSystem
        For others; nothing here needs it.
    root : str
        The folder.
    """

    is_remote = False
    lists_deep = True

    def __init__(self, file_system: AbstractFileSystem, root: str) -> None:
        self.file_system, self.root = file_system, root

    def path(self, key: str) -> str:
        """Return a file's path."""
        return f"{self.root}/{key}" if key else self.root or "/"

    @_nothing_in_files()
    def list_folder(self, folder: str, seconds: float) -> Listing:
        """List a folder's direct content."""
        return Listing(*self._listed(folder))

    def _listed(self, folder: str) -> tuple[dict[str, ObjectInfo], dict[str, bool]]:
        """Return key → file, and key of each folder → whether it is a link."""
        files: dict[str, ObjectInfo] = {}
        folders: dict[str, bool] = {}
        with os.scandir(self.path(folder)) as entries:
            for entry in entries:
                key = f"{folder}/{entry.name}" if folder else entry.name
                try:
                    if entry.is_dir():
                        folders[key] = entry.is_symlink()
                    elif entry.is_file():
                        info = _info(key, entry.stat())
                        if not _pointer(entry.path, info.size):
                            files[key] = info
                except OSError as error:
                    if error.errno not in _ABSENT:
                        raise
        return files, folders

    @_nothing_in_files()
    def find(self, folder: str, seconds: float) -> dict[str, ObjectInfo]:
        """List all files below a folder; empty if it is absent.

        Raises
        ------
        OSError
            If a folder cannot be listed.
        DataIntegrityError
            If there are more than a million files.
        """
        try:
            top = os.path.realpath(self.path(folder), strict=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        above = {_identity(os.stat(path)) for path in (top, *map(str, Path(top).parents))}
        found: dict[str, ObjectInfo] = {}
        pending = [(folder, frozenset(above), 0)]
        while pending:
            below, above_it, depth = pending.pop()
            files, folders = self._listed(below)
            found |= files
            if len(found) > _MOST_FILES:
                path = self.path(folder)
                raise DataIntegrityError(f"{path} holds more than {_MOST_FILES} files: expected a bucket.")
            for key, is_link in folders.items():
                if depth == _DEEPEST:
                    continue
                own = _identity(os.stat(self.path(key)))
                if not (is_link and own in above_it):  # only a link leads back to a folder on the way down
                    pending.append((key, above_it | {own}, depth + 1))
        return found

    @_nothing_in_files()
    def state(self, key: str, seconds: float) -> ObjectInfo:
        """Return a file's size and time.

        Raises DataIntegrityError if it is not a regular file.
        """
        path = self.path(key)
        found = os.stat(path)
        _raise_unless_regular(path, found)
        return _info(key, found)

    @_nothing_in_files()
    def get(self, key: str, start: int | None, stop: int | None, seconds: float, *, most: int) -> Answer:
        """Read a file, or bytes of it."""
        return _read(self.path(key), start or 0, stop, most=most)

    def probe(self, key: str, seconds: float) -> tuple[ObjectInfo | None, bool]:
        """Return that a file is read as a whole."""
        return None, False

    @_nothing_in_files()
    def open(self, key: str, seconds: float, errors: Callable[[], AbstractContextManager[None]]) -> BinaryIO:
        """Open a file for reading."""
        return _open_regular(self.path(key))

    def reason_of_absence(self, key: str) -> str:
        """Return why an existing path counts as absent; "" if nothing exists."""
        path = self.path(key)
        try:
            found = os.stat(path)
        except OSError:
            if not os.path.islink(path):
                return ""
            target = os.readlink(path)
            is_annexed = "annex/objects" in target
            advice = "fetch it with 'datalad get' or 'git annex get'" if is_annexed else "repair the link"
            return f"it is a link to {target!r}, which does not exist: {advice}"
        if not stat.S_ISREG(found.st_mode):
            return f"it is {_kind(found)}: expected a file"
        tool = _pointer(path, found.st_size)
        command = "git lfs pull" if tool == "Git LFS" else "datalad get' or 'git annex get"
        return f"it is a {tool} pointer whose contents were not fetched: fetch them with '{command}'" if tool else ""


def _open_regular(path: str) -> io.FileIO:
    """Open a regular file for unbuffered reading.

    Raises
    ------
    IsADirectoryError, FileNotFoundError, PermissionError
        As `open` does.
    DataIntegrityError
        If it is neither a file nor a folder: to open a pipe would wait for a writer.
    """
    _raise_unless_regular(path, os.stat(path))
    descriptor = os.open(path, _OPEN_FLAGS)
    try:
        _raise_unless_regular(path, os.fstat(descriptor))
        return io.FileIO(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _read(path: str, start: int = 0, stop: int | None = None, *, most: int | None = None) -> Answer:
    """Read a file or a range of bytes.

    Reading stops one byte after `most`.

    The answer has the file's state after the last byte was read: that of before would be another if it was written to.
    """
    with _open_regular(path) as file:
        file.seek(start)
        wanted = [*([] if stop is None else [stop - start]), *([] if most is None else [most + 1])]
        # Python allocates the requested size before reading.
        there = max(0, os.fstat(file.fileno()).st_size - start) + 1
        content = file.read(min(*wanted, there)) if wanted else file.readall()
        return Answer(content or b"", _info("", os.fstat(file.fileno())).etag)


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _info(key: str, found: os.stat_result) -> ObjectInfo:
    return object_info(key, {"size": found.st_size, "mtime": found.st_mtime})


def _pointer(path: str, size: int) -> str:
    """Return the tool behind a pointer file; "" for real content."""
    if not 0 < size <= POINTER_BYTES or path.endswith(".json"):  # sidecars are small and many, and nothing needs them
        return ""
    try:
        start = _read(path, 0, max(map(len, _POINTERS))).content
    except OSError:
        return ""  # reading it raises the error
    return next((tool for mark, tool in _POINTERS.items() if start.startswith(mark)), "")


def _kind(found: os.stat_result) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a named pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((kind for test, kind in kinds.items() if test(found.st_mode)), "not a regular file")


def _raise_unless_regular(path: str, found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        raise DataIntegrityError(f"{path} is {_kind(found)}: expected a file. Remove it, or fetch the file again.")
