"""Small files that were read from a server, kept in the user's cache.

A file is found by its address and its ETag, so one that was replaced is another file: whoever has a listing needs no
other request to know that a copy is current. Every copy carries its own checksum, and appears whole or not at all;
several processes may read, write and remove at a time. A cache that cannot be used is no error.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CACHE_VARIABLE",
    "LIMIT_VARIABLE",
    "CacheInfo",
    "SmallFileCache",
    "cache_folder",
    "cache_info",
    "clear_cache",
]

CACHE_VARIABLE = "LAION_FMRI_CACHE"
"""Environment variable with the folder to keep fetched files in."""

LIMIT_VARIABLE = "LAION_FMRI_CACHE_LIMIT"
"""Environment variable with the most bytes to keep of small files; 0 keeps none."""

LIMIT = 2_000_000_000
"""Most bytes to keep where the user says nothing: the small files of five subjects take about 0.3 GB."""

_FOLDERS = ("objects", "splits")
"""What is kept: small files of buckets, and split files."""

_TEMPORARY = ".tmp"
_SUM_BYTES = hashlib.sha256().digest_size
_KEPT_SHARE = 0.8
"""Of the limit, after files were removed: so that not every new file has the folder looked through."""

_ABANDONED_SECONDS = 3600.0
"""Age from which a temporary file is no longer somebody's."""


@dataclass(frozen=True)
class CacheInfo:
    """What the user's cache holds."""

    folder: Path
    """Where it is."""
    n_files: int
    """Files in it."""
    n_bytes: int
    """Their size."""
    limit: int
    """Most bytes of small files that are kept; split files are not counted."""


@dataclass(frozen=True)
class SmallFileCache:
    """The copies of small files."""

    folder: Path
    """Where they are."""
    limit: int
    """Most bytes to keep."""

    @classmethod
    def of_user(cls) -> SmallFileCache:
        """Return the user's."""
        return cls(cache_folder() / _FOLDERS[0], _limit())

    def get(self, name: str) -> bytes | None:
        """Return a copy, or None where there is none that is intact, or none is wanted."""
        if not self.limit:
            return None
        path = self._path(name)
        try:
            kept = path.read_bytes()
        except OSError:
            return None
        content = kept[_SUM_BYTES:]
        if hashlib.sha256(content).digest() != kept[:_SUM_BYTES]:
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the least recently used goes first
        return content

    def put(self, name: str, content: bytes) -> None:
        """Keep a copy, where that can be done."""
        if not 0 < len(content) + _SUM_BYTES <= self.limit:
            return
        path = self._path(name)
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_TEMPORARY}")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(hashlib.sha256(content).digest() + content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove the least recently used files while there is more than the limit, and what killed processes left."""
        files = _files(self.folder)
        for path, state in files:
            if path.name.endswith(_TEMPORARY) and time.time() - state.st_mtime > _ABANDONED_SECONDS:
                _remove(path)
        excess = sum(state.st_size for _, state in files) - self.limit
        if excess <= 0:
            return
        excess += round(self.limit * (1 - _KEPT_SHARE))
        for path, state in sorted(files, key=lambda one: one[1].st_mtime):
            if excess <= 0:
                break
            _remove(path)
            excess -= state.st_size

    def _path(self, name: str) -> Path:
        return self.folder / hashlib.sha256(name.encode()).hexdigest()


def cache_folder() -> Path:
    """Return the user's cache folder: the environment variable ``LAION_FMRI_CACHE``, or the system's own place."""
    import platformdirs

    given = os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path(platformdirs.user_cache_dir("intake-laion-fmri"))


def cache_info() -> CacheInfo:
    """Tell what the user's cache holds: small files of buckets, and split files."""
    files = [one for name in _FOLDERS for one in _files(cache_folder() / name)]
    return CacheInfo(cache_folder(), len(files), sum(state.st_size for _, state in files), _limit())


def clear_cache() -> CacheInfo:
    """Remove everything that is kept in the user's cache, and nothing else that may be in its folder.

    Returns
    -------
    CacheInfo
        What was removed.

    Raises
    ------
    OSError
        If something cannot be removed.
    """
    removed = cache_info()
    for name in _FOLDERS:
        for parent, _, files in os.walk(removed.folder / name, topdown=False):
            for file in files:
                Path(parent, file).unlink(missing_ok=True)  # another process may have come first
            with contextlib.suppress(OSError):  # or have put something there
                Path(parent).rmdir()
    return removed


def _limit() -> int:
    given = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = int(float(given)) if given else LIMIT
        if limit < 0:
            raise ValueError(given)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{LIMIT_VARIABLE}={given!r}: expected a number of bytes, such as 2e9, or 0.") from error
    return limit


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Return the files below a folder; others may come and go meanwhile."""
    found = []
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with contextlib.suppress(OSError):
                found.append((path, path.stat()))
    return found


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
