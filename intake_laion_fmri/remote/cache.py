"""The user's cache of small files from servers.

A file is found by its address and its ETag, so one that was replaced is another file: with a listing, no other
request is needed to know that a copy is current. Every copy carries a checksum over its name and its content, and
appears whole or not at all; several processes may read, write and remove at a time. A cache that cannot be used is no
error.

All of it lies in a folder of its own below the one that the user names, which may hold anything else: that folder is
marked with ``CACHEDIR.TAG``, and nothing is removed but files there whose names are of this module's making.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from intake_laion_fmri.layout import GATED, ObjectInfo
from intake_laion_fmri.remote import atomic, marks
from intake_laion_fmri.remote.addresses import user_folder

CACHE_VARIABLE = "LAION_FMRI_CACHE"
"""Environment variable with the folder to keep fetched files in."""

LIMIT_VARIABLE = "LAION_FMRI_CACHE_LIMIT"
"""Environment variable with the most bytes to keep of small files; 0 keeps none."""

LIMIT = 2_000_000_000
"""Most bytes to keep where the user says nothing: the small files of five subjects take about 0.3 GB."""

_OWN_FOLDER = "laion-fmri-cache"
"""Name of the folder below the user's; with all that is written."""

_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This file is a cache directory tag created by intake-laion-fmri.\n"
    "# For information about cache directory tags, see https://bford.info/cachedir/\n"
)

_OBJECTS, _SPLITS, _FILES = "objects", "splits", "files"
"""What is kept: small files of buckets, split files, and files for programs that want a path."""

_TEMPORARY = r"\.[0-9a-f]{32}\.tmp"
_KNOWN = re.compile(
    rf"{_OBJECTS}/[0-9a-f]{{64}}({_TEMPORARY})?|{_SPLITS}/[0-9a-f]{{40}}/[\w-]+/\w+\.json({_TEMPORARY})?"
    rf"|{_FILES}/[0-9a-f]{{40}}/[\w.+-]+|{re.escape(marks.CACHE.name)}{_TEMPORARY}",
    re.ASCII,
)
"""Files that this module writes; nothing else is counted or removed."""

LARGEST_BYTES = 64 * 1024 * 1024
"""Largest file that is kept."""

_SUM_BYTES = hashlib.sha256().digest_size
_KEPT_SHARE = 0.8
"""Of the limit, after files were removed: so that not every new file has the folder looked through."""

_ABANDONED_SECONDS = 3600.0
"""Age from which a temporary file is no longer somebody's."""

_TRUSTED_SECONDS = 60.0
"""How long a process goes by its last count of the folder, to which others may add."""


@dataclass(frozen=True)
class CacheInfo:
    """Contents of the user's cache."""

    folder: Path | None
    """Where it is; None where no home folder is known."""
    n_files: int
    """Files in it."""
    n_bytes: int
    """Their size."""
    limit: int
    """Most bytes of small files that are kept; split files, and those that have a path, are not counted."""


@dataclass
class _Count:
    """Size of the cache, as counted by this process."""

    until: float
    """By the monotonic clock."""
    room: int = 0
    """Bytes that were free; none while the folder is looked through."""
    added: list[int] = field(default_factory=list)
    """Sizes of the files that it has added since the look began."""


_counts: dict[tuple[Path, int], _Count] = {}
"""Folder and limit → the last count."""


@dataclass(frozen=True)
class SmallFileCache:
    """Copies of small files, for use by several threads."""

    folder: Path | None
    """Where they are; None keeps nothing."""
    limit: int
    """Most bytes to keep."""
    added: threading.Event = field(default_factory=threading.Event, compare=False)
    """Set once a file was added to it."""

    @classmethod
    def of_user(cls) -> SmallFileCache:
        """Return the user's cache."""
        own = own_folder()
        return cls(own and own / _OBJECTS, _limit())

    def read(self, info: ObjectInfo, name: str, fetch: Callable[[ObjectInfo], bytes]) -> bytes:
        """Return a current copy's content, or fetch it.

        Data that only this user may read are not cached.
        """
        if not info.etag or info.key == GATED:
            return fetch(info)
        content = self.get(name)
        if content is None or len(content) != info.size:
            content = fetch(info)
            if info.size <= LARGEST_BYTES:
                self.put(name, content)
                self.added.set()
        return content

    def get(self, name: str) -> bytes | None:
        """Return an intact copy, or None."""
        if not (self.limit and self.folder):
            return None
        path = self._path(self.folder, name)
        kept = read_kept(path)
        if kept is None or _sum(name, kept[_SUM_BYTES:]) != kept[:_SUM_BYTES]:
            return None
        with contextlib.suppress(OSError):
            atomic.mark_used(path)  # the least recently used goes first
        return kept[_SUM_BYTES:]

    def put(self, name: str, content: bytes) -> None:
        """Store a copy, if possible."""
        if self.folder and 0 < len(content) + _SUM_BYTES <= min(self.limit, LARGEST_BYTES):
            keep(self._path(self.folder, name), _sum(name, content) + content)
            if (self.folder, self.limit) in _counts:
                _counts[self.folder, self.limit].added.append(len(content) + _SUM_BYTES)

    def trim(self) -> None:
        """Remove least recently used files beyond the limit.

        Temporary files of killed processes are removed as well.

        The folder is looked through once a minute, or when this process has added more than there was room for.
        """
        if self.folder is None:
            return
        # Idea: count what is added between two scans; a scan costs a stat of each file, and opening a subject from an
        # empty cache adds files in 24 batches.
        # Cost: the limit may be exceeded by what other processes add within a minute.
        known = _counts.get((self.folder, self.limit))
        if known is None or time.monotonic() > known.until or sum(known.added) > known.room:
            # Counted from before the scan, which may miss files that other threads add meanwhile.
            count = _counts[self.folder, self.limit] = _Count(time.monotonic() + _TRUSTED_SECONDS)
            count.room = self._trimmed(self.folder)

    def _trimmed(self, folder: Path) -> int:
        """Remove what exceeds the limit, and return the free bytes."""
        files = _files(folder.parent, _OBJECTS)
        for path, state in files:
            if path.suffix and time.time() - state.st_mtime > _ABANDONED_SECONDS:
                _remove(path)
        excess = sum(state.st_size for _, state in files) - self.limit
        if excess <= 0:
            return -excess
        room = round(self.limit * (1 - _KEPT_SHARE))
        excess += room
        for path, state in sorted(files, key=lambda item: item[1].st_mtime):
            if excess <= 0:
                break
            _remove(path)
            excess -= state.st_size
        return room - excess

    def _path(self, folder: Path, name: str) -> Path:
        return folder / hashlib.sha256(name.encode()).hexdigest()


def _sum(name: str, content: bytes) -> bytes:
    """Return a checksum of a copy and its name."""
    digest = hashlib.sha256(hashlib.sha256(name.encode()).digest())
    digest.update(content)
    return digest.digest()


def read_kept(path: Path) -> bytes | None:
    """Return a cached file's content.

    None means that it is absent or of the wrong size.

    Neither links nor pipes nor devices are opened: others may be able to write to the folder.
    """
    with contextlib.suppress(OSError):
        state = path.lstat()
        if stat.S_ISREG(state.st_mode) and state.st_size <= LARGEST_BYTES:
            with path.open("rb") as file:
                return file.read(LARGEST_BYTES)
    return None


def keep(path: Path, content: bytes) -> None:
    """Write a file to a cache atomically, if possible.

    In the user's cache nothing is written unless the folder is this package's own, or can become so.
    """
    own = own_folder()
    with contextlib.suppress(OSError):
        if own is not None and path.is_relative_to(own):
            marks.raise_unless_ours(own, marks.CACHE)
            if not marks.CACHE.is_on(own):
                with contextlib.suppress(FileExistsError):
                    atomic.write_whole(own / marks.CACHE.name, _TAG.encode(), exclusive=True)
            atomic.write_whole(path, content, within=own)
        else:
            atomic.write_whole(path, content)


def cache_folder() -> Path | None:
    """Return the user's cache folder, shared with other programs.

    Returns
    -------
    path or None
        The environment variable ``LAION_FMRI_CACHE``, or the system's own place. None where no home folder is known.

    Raises
    ------
    ValueError
        If the variable names no local folder.
    """
    return user_folder("cache", CACHE_VARIABLE)


def own_folder() -> Path | None:
    """Return this package's own folder in the user's cache.

    None means that no home folder is known.
    """
    folder = cache_folder()
    return folder and folder / _OWN_FOLDER


def cache_info() -> CacheInfo:
    """Count the user's cached files: small files and split files."""
    files = _files(own_folder())
    return CacheInfo(cache_folder(), len(files), sum(state.st_size for _, state in files), _limit())


def clear_cache() -> CacheInfo:
    """Remove all files of this package from the user's cache.

    Returns
    -------
    CacheInfo
        What was removed.

    Raises
    ------
    OSError
        If something cannot be removed.
    """
    removed, own = cache_info(), own_folder()
    if own is not None and marks.CACHE.is_on(own):
        left = atomic.remove_known(own, lambda key: _KNOWN.fullmatch(key) is not None)
        if left == [marks.CACHE.name]:
            atomic.remove_known(own, lambda key: key == marks.CACHE.name)
    return removed


def path_in_cache(version: str, key: str) -> Path | None:
    """Return a path in the cache for other programs.

    None means that caching is impossible or switched off.

    Parameters
    ----------
    version : str
        What tells this version of the object from others.
    key : str
        Path below the bucket's root, whose last part the file is called.
    """
    own = own_folder()
    name = hashlib.sha256(f"{version}\n{key}".encode()).hexdigest()[:40]
    return own / _FILES / name / key.rpartition("/")[2] if own and _limit() else None


def _limit() -> int:
    given = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = int(float(given)) if given else LIMIT
        if limit < 0:
            raise ValueError(given)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{LIMIT_VARIABLE}={given!r}: expected a number of bytes, such as 2e9, or 0.") from error
    return limit


def _files(own: Path | None, folder: str = "") -> list[tuple[Path, os.stat_result]]:
    """Return this module's files in its own folder.

    Other processes may add or remove files during the iteration.
    """
    found = []
    if own is not None and marks.CACHE.is_on(own):
        for parent, _, names in os.walk(own / folder):
            for name in names:
                path = Path(parent, name)
                with contextlib.suppress(OSError):
                    if _KNOWN.fullmatch(path.relative_to(own).as_posix()):
                        found.append((path, path.lstat()))
    return found


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        atomic.remove(path)
