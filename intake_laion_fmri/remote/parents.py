"""Folders: created, opened without following links, and flushed."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

AnyPath = str | os.PathLike[str]

_CAN_WALK = os.open in os.supports_dir_fd and os.mkdir in os.supports_dir_fd and os.rename in os.supports_dir_fd
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def make_folder(path: AnyPath, *, within: AnyPath | None = None, durable: bool = False) -> None:
    """Create a folder and those above it, unless they exist."""
    path = Path(path)
    if within is not None:
        with open_parent(path / "it", within, make=True, durable=durable):
            return
    if path.is_dir():  # cheaper than a failing mkdir, above all on network disks
        return
    missing = []
    for folder in (path, *path.parents) if durable else ():
        if folder.exists():
            break
        missing.append(folder)
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync_folder(path: AnyPath) -> None:
    """Flush a folder's names to disk, if the system can."""
    if os.name == "nt":
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@dataclass(frozen=True)
class Parent:
    """An open folder, by its descriptor or its path."""

    path: Path
    """The folder."""
    fd: int | None
    """Its descriptor; None where the system cannot walk by descriptors, or no link was forbidden."""

    def at(self, name: str) -> str:
        """Return a name relative to `fd` for functions of `os`."""
        return name if self.fd is not None else os.path.join(self.path, name)

    def open(self, name: str, flags: int, *, private: bool = False) -> int:
        """Open a file of the folder, unless it is a link.

        A new private file is readable by this user only.
        """
        return os.open(self.at(name), flags | NO_LINK, 0o600 if private else 0o666, dir_fd=self.fd)

    def link(self, old: str, new: str) -> None:
        """Hard-link a file; FileExistsError if the name exists."""
        try:
            os.link(self.at(old), self.at(new), src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except FileExistsError:
            raise
        except OSError:  # a file system without second names: of two writers at once the last one wins
            if os.path.lexists(self.path / new):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(self.path / new)) from None
            os.replace(self.at(old), self.at(new), src_dir_fd=self.fd, dst_dir_fd=self.fd)

    def remove(self, name: str) -> None:
        """Remove a file of the folder, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.at(name), dir_fd=self.fd)

    def sync(self) -> None:
        """Flush the folder's names to disk."""
        if self.fd is not None:
            os.fsync(self.fd)
        else:
            sync_folder(self.path)


@contextmanager
def open_parent(path: Path, within: AnyPath | None, *, make: bool = False, durable: bool = False) -> Iterator[Parent]:
    """Open a path's folder; below `within` no link is followed."""
    # Idea: walk from `within` down, each folder opened by the descriptor of the one above and without links, so that
    # nobody can put a link in between; what follows is done relative to the last descriptor.
    # Reference: openat(2), O_NOFOLLOW.
    # Cost: two system calls a level.
    if within is None:
        if make:
            make_folder(path.parent, durable=durable)
        yield Parent(path.parent, None)
        return
    parts = path.parent.relative_to(within).parts
    if ".." in parts:
        raise ValueError(f"{path} is not within {os.fspath(within)}")
    if make:
        make_folder(within, durable=durable)
    folder = os.fspath(within)
    if not _CAN_WALK:
        for part in parts:
            folder = os.path.join(folder, part)
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)
            _refuse_link(folder, folder, None)
        yield Parent(path.parent, None)
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        for part in parts:
            folder = os.path.join(folder, part)
            below = _open_below(folder, part, number, make=make)
            os.close(number)
            number = below
        yield Parent(path.parent, number)
    finally:
        os.close(number)


def _open_below(path: str, name: str, above: int, *, make: bool) -> int:
    """Open a folder of an open one, optionally created."""
    flags = os.O_RDONLY | os.O_DIRECTORY | NO_LINK
    try:
        return os.open(name, flags, dir_fd=above)
    except FileNotFoundError:
        if not make:
            raise
    except OSError:  # of a link, which error depends on the system
        _refuse_link(path, name, above)
        raise
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=above)
    _refuse_link(path, name, above)
    return os.open(name, flags, dir_fd=above)


def _refuse_link(path: str, entry: str, above: int | None) -> None:
    """Raise OSError naming `path` if a folder's entry is a link."""
    if stat.S_ISLNK(os.stat(entry, dir_fd=above, follow_symlinks=False).st_mode):
        raise OSError(
            errno.ELOOP, "the path contains a symbolic link, and nothing is written through it. Remove it", path
        )
