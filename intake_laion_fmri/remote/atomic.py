"""Atomic writing and deleting, limited to this project's own files.

Nothing is written through a symbolic link.

Every other module that changes a disk asks here. Below a folder that others may write to (`within`) each part of a path
is opened from its parent, so that no link that is planted meanwhile leads a write elsewhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import re
import shutil
import stat
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from intake_laion_fmri.remote.parents import NO_LINK, AnyPath, make_folder, open_parent, sync_folder
from intake_laion_fmri.running.forks import concurrently

TEMPORARY = ".tmp"
"""Suffix of what a process that was killed may leave: ``<name>.<32 hexadecimal digits>.tmp``."""

_NAME_BYTES = 255
_SYNCS_AT_A_TIME = 16
# --- files ------------------------------------------------------------------------------------------------------------


def write_whole(
    path: AnyPath,
    content: bytes | Iterable[bytes],
    *,
    durable: bool = False,
    exclusive: bool = False,
    private: bool = False,
    within: AnyPath | None = None,
) -> None:
    """Write a file atomically, in place of any earlier one.

    Parameters
    ----------
    path : str or path
        The file. Its folders are made. A link of this name is replaced, and not followed.
    content : bytes or iterable of bytes
        What it holds.
    durable : bool, default False
        Whether it has to outlive a power failure as soon as it can be seen.
    exclusive : bool, default False
        Raise FileExistsError where there is one; of several writers one wins.
    private : bool, default False
        Whether nobody but this user may read it.
    within : str or path, optional
        Folder above it below which no link is followed.

    Raises
    ------
    OSError
        If it cannot be written, or a link is on the way. Nothing is left then.
    """
    path = Path(path)
    with open_parent(path, within, make=True, durable=durable) as parent:
        temporary = _temporary_name(path.name)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open(parent.open(temporary, flags, private=private), "wb") as file:
                _fill(file, content, durable=durable)
            if not exclusive:
                os.replace(parent.at(temporary), parent.at(path.name), src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
            else:
                parent.link(temporary, path.name)
        finally:
            parent.remove(temporary)
        if durable:
            parent.sync()


@contextmanager
def open_whole(path: AnyPath, n_bytes: int, check: Callable[[], None]) -> Iterator[io.FileIO]:
    """Open a new file of known size, named when complete.

    An existing file of that name is replaced.

    Parameters
    ----------
    path : str or path
        The file. Its folders are made.
    n_bytes : int
        Its size. They are set aside at once: to write through a memory map where the disk is full kills the process.
    check : callable
        Raises if what is there under the name may not be replaced; called at the beginning and at the end.

    Raises
    ------
    OSError
        If it cannot be written, or the disk has too little space. Nothing is left then, nor if the block raises.
    """
    path = Path(path)
    check()
    with open_parent(path, None, make=True) as parent:
        temporary = _temporary_name(path.name)
        try:
            with io.FileIO(parent.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL), "rb+") as file:
                _set_aside(file, n_bytes, path)
                yield file
            check()
            os.replace(parent.at(temporary), parent.at(path.name), src_dir_fd=parent.fd, dst_dir_fd=parent.fd)
        finally:
            parent.remove(temporary)


def is_unfinished(name: str, of: str) -> bool:
    """Return True for a temporary name of `write_whole`.

    The process that created it is still writing, or was killed.
    """
    return re.fullmatch(rf"{re.escape(of)}\.[0-9a-f]{{32}}{re.escape(TEMPORARY)}", name) is not None


def create(path: AnyPath, content: bytes | Iterable[bytes], *, durable: bool = False) -> None:
    """Write a new file in a private folder under its final name."""
    with open_new(path) as file:
        _fill(file, content, durable=durable)


def open_new(path: AnyPath) -> BinaryIO:
    """Open a new file for writing in a private folder.

    Parent folders are created. Raises FileExistsError if the file exists.
    """
    make_folder(Path(path).parent)
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666), "wb")


def open_in_place(path: AnyPath, *, within: AnyPath | None = None, private: bool = False) -> io.FileIO:
    """Open a file for reading and writing, created if absent.

    Other processes see the file grow.

    One that is made private may be read by this user alone.

    Raises
    ------
    OSError
        If it is not a regular file, is a link, or has a second name, under which it may be somebody else's.
    """
    path = Path(path)
    with open_parent(path, within, make=True) as parent:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
        number = parent.open(path.name, flags, private=private)
        state = os.fstat(number)
        if not stat.S_ISREG(state.st_mode) or state.st_nlink > 1:
            os.close(number)
            raise OSError(errno.EEXIST, "not a file of this package: it is not written to", os.fspath(path))
    return io.FileIO(number, "rb+")


def remove(path: AnyPath, *, within: AnyPath | None = None) -> None:
    """Remove a file or a link, if it exists."""
    with contextlib.suppress(FileNotFoundError), open_parent(Path(path), within) as parent:
        parent.remove(Path(path).name)


def move(old: AnyPath, new: AnyPath, *, within: AnyPath | None = None, durable: bool = False) -> None:
    """Move a file atomically, in place of any earlier one.

    Parent folders of the new name are created.
    """
    old, new = Path(old), Path(new)
    with open_parent(old, within) as source, open_parent(new, within, make=True, durable=durable) as target:
        os.replace(source.at(old.name), target.at(new.name), src_dir_fd=source.fd, dst_dir_fd=target.fd)
        if durable:
            target.sync()


def mark_used(path: AnyPath) -> None:
    """Set the times of a file to now."""
    os.utime(path)


# --- folders ----------------------------------------------------------------------------------------------------------


def sync(file: BinaryIO | io.FileIO) -> None:
    """Flush a file's data to disk."""
    os.fsync(file.fileno())


def sync_files(paths: Sequence[Path], *, top: Path) -> None:
    """Flush all files and names below a folder to disk.

    Flushing many files together costs little more than flushing one.
    """
    folders = {folder for path in paths for folder in path.parents if folder.is_relative_to(top)}

    def sync(path: Path) -> None:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())

    concurrently(sync, paths, _SYNCS_AT_A_TIME, name="sync")
    concurrently(sync_folder, folders, _SYNCS_AT_A_TIME, name="sync")


def put_in_place(new: AnyPath, target: AnyPath, *, durable: bool = False) -> Path | None:
    """Move a folder into place, exchanging it with any earlier one.

    Both must be on the same file system. Parent folders are created.

    Returns where the other one is now, beside `new`; None if there was none. Where the system can exchange two folders,
    in no moment was there neither; elsewhere the other one is moved away first, to ``<new>.outdated``. If `durable`,
    the move outlives a power failure.
    """
    new, target = Path(new), Path(target)
    make_folder(target.parent, durable=durable)
    replaced: Path | None = None
    if not os.path.lexists(target):
        new.rename(target)
    elif not target.is_dir() or target.is_symlink():
        raise FileExistsError(errno.EEXIST, "expected a folder, or no such path", os.fspath(target))
    elif _exchange(new, target):
        replaced = new
    else:
        replaced = new.with_name(f"{new.name}.outdated")
        target.rename(replaced)
        try:
            new.rename(target)
        except BaseException:
            replaced.rename(target)
            raise
    if durable:
        sync_folder(target.parent)
    return replaced


def files_below(folder: AnyPath) -> Iterator[str]:
    """Yield the path of every file and link below a folder.

    Paths have ``/``; links are not followed.
    """
    for parent, folders, files in os.walk(folder):
        for name in [*files, *(name for name in folders if os.path.islink(os.path.join(parent, name)))]:
            yield Path(parent, name).relative_to(folder).as_posix()


def remove_empty(folder: AnyPath) -> None:
    """Remove a folder if it is empty."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def remove_tree(folder: AnyPath) -> None:
    """Remove a folder of this project with its content.

    Links in it are removed and not followed.

    One that is not there is no error. A link in its place is (NotADirectoryError or OSError).
    """
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def remove_known(folder: AnyPath, known: Callable[[str], bool]) -> list[str]:
    """Remove a folder's known files, and emptied folders.

    Returns the remaining paths, sorted.

    `known` takes the path of a file below the folder, with ``/``; it returns True if this project wrote it. The folder
    need not exist.
    """
    left = []
    for file in list(files_below(folder)):
        if known(file):
            remove(Path(folder, file))
        else:
            left.append(file)
    for parent, _, _ in os.walk(folder, topdown=False):
        remove_empty(parent)
    return sorted(left)


# --- how --------------------------------------------------------------------------------------------------------------


def _temporary_name(name: str) -> str:
    token = f"{uuid.uuid4().hex}{TEMPORARY}"
    full = f"{name}.{token}"
    return full if len(full.encode()) <= _NAME_BYTES else token


def _fill(file: BinaryIO, content: bytes | Iterable[bytes], *, durable: bool) -> None:
    file.writelines([content] if isinstance(content, bytes) else content)
    if durable:
        file.flush()
        os.fsync(file.fileno())


def _set_aside(file: io.FileIO, n_bytes: int, path: Path) -> None:
    """Give an empty file its size, and reserve disk space."""
    free = shutil.disk_usage(path.parent).free
    try:
        if n_bytes > free:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if hasattr(os, "posix_fallocate") and n_bytes:
            os.posix_fallocate(file.fileno(), 0, n_bytes)
        else:
            file.truncate(n_bytes)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}:
            raise
        raise OSError(
            error.errno,
            f"{path} needs {n_bytes} bytes ({n_bytes / 1e9:.1f} GB), and its disk has {free} ({free / 1e9:.1f} GB) "
            "free. Free some space, or choose less.",
        ) from None


def _exchange(path: Path, other: Path) -> bool:
    """Exchange two names atomically; False if the system cannot."""
    names = {"linux": ("renameat2", -100), "darwin": ("renameatx_np", -2)}  # and "here" of each
    if sys.platform not in names:
        return False
    name, here = names[sys.platform]
    call = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    exchange = 2  # the same number on both
    return call is not None and call(here, os.fsencode(path), here, os.fsencode(other), ctypes.c_uint(exchange)) == 0
