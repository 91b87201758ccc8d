"""A mirror's own folder: records of files, listings, and work in progress."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, unquote

from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import atomic, marks
from intake_laion_fmri.remote.parents import make_folder

METADATA_FOLDER = ".laion-fmri"
"""Folder below a mirror that is no part of the bucket's layout: records, listings, locks, partial files."""

MARK = marks.Mark("the internal folder of a mirror", "mirror.json", lambda content: b"intake-laion-fmri" in content)

OWN_BYTES = 64 * 1024 * 1024
"""Longest file of the mirror's own: a listing of 500,000 objects."""

_Identity = tuple[int, int] | None
"""Device and inode of a folder."""

DAMAGED, OTHER = "damaged", "other"
"""What a record may say of a file: that it is not as it was copied, or that it is not the object with this ETag and
was not written by this project."""


@dataclass(frozen=True)
class MirrorRecord:
    """Record of a fetched file, or of a found and verified one."""

    key: str
    """Its object."""
    size: int
    """Bytes."""
    etag: str
    """The object's, when it was fetched."""
    mtime_ns: int
    """The file's modification time, by which a change of it is noticed."""
    checked: str
    """How it was checked: ``"md5"`` (the ETag), ``"gzip"`` (its CRC-32 and length) or ``"size"``."""
    crc32: int
    """Of the file as it lies there, for checking it again."""
    when: str
    """When it was checked, ISO 8601 in UTC."""
    replaces: str = ""
    """The file that was in its place before, as `fingerprint` tells it: the record is written first, and a crash may
    leave that file."""
    file: str = ""
    """The file, where it does not lie at the key: an ROI's, with the public name of the ROI."""

    @property
    def location(self) -> str:
        """Path below the mirror."""
        return self.file or self.key

    @property
    def fingerprint(self) -> str:
        """Size, modification time and CRC-32 that identify the file."""
        return f"{self.size}-{self.mtime_ns}-{self.crc32:08x}"


@dataclass(frozen=True)
class MirrorRecords:
    """A mirror's own folder, ``.laion-fmri``."""

    path: Path
    """The mirror."""

    @cached_property
    def metadata(self) -> Path:
        """Path of the folder."""
        return self.path / METADATA_FOLDER

    @cached_property
    def _checked(self) -> dict[str, tuple[_Identity, _Identity]]:
        """Subfolder → identities of both folders when they were checked."""
        return {}

    def workplace(self, name: str) -> Path:
        """Return a subfolder such as ``"records"``, created if absent.

        FileExistsError if the folder `METADATA_FOLDER` is not this project's, DataIntegrityError if a link is in its
        place.
        """
        folder = self.metadata / name
        # This is called several times per file, so folders that are unchanged since the last check are skipped.
        found = _identity(self.metadata), _identity(folder)
        if None not in found and self._checked.get(name) == found:
            return folder
        for part in (self.metadata, folder):
            if part.is_symlink():
                raise DataIntegrityError(
                    f"{part} is a link to {os.path.realpath(part)}: nothing is written there. Remove the link, or "
                    "mirror to another folder."
                )
        if not MARK.is_on(self.metadata):
            marks.raise_unless_ours(self.metadata, MARK)
            content = {"made by": "intake-laion-fmri", "what": "records of the files beside this folder"}
            atomic.write_whole(self.metadata / MARK.name, json.dumps(content).encode(), within=self.path)
        make_folder(folder, within=self.path)
        self._checked[name] = _identity(self.metadata), _identity(folder)
        return folder

    def write(self, name: str, file: str, content: bytes) -> None:
        """Write a small file of this folder atomically."""
        atomic.write_whole(self.workplace(name) / file, content, within=self.path)

    def notice_was_shown(self) -> bool:
        """Return True if the licence notice was shown for this mirror."""
        return (self.metadata / "notice").exists()

    def note_shown(self, notice: str) -> None:
        """Record that the notice was shown."""
        self.workplace("records")
        atomic.write_whole(self.metadata / "notice", f"{notice}\n".encode(), within=self.path)

    def record(self, file: str) -> MirrorRecord | None:
        """Return a file's record, or None if unreadable or absent."""
        return _parsed(self.metadata / "records" / f"{name_of(file)}.json")

    def records(self) -> Iterator[MirrorRecord]:
        """Yield all readable records, in no order."""
        for path in _files(self.metadata / "records", ".json"):
            record = _parsed(path)
            if record and path.stem == name_of(record.location):
                yield record

    def write_record(self, record: MirrorRecord) -> None:
        """Write a file's record, in place of an earlier one."""
        self.write("records", f"{name_of(record.location)}.json", json.dumps(vars(record), indent=1).encode())

    def listing(self, folder: str) -> dict[str, ObjectInfo] | None:
        """Return the last listing below a folder, or None.

        Key → object, from the newest listings of that folder, of folders above it and below it; "" is all that was
        listed.
        """
        # Idea: listings are applied from the oldest to the newest; each replaces older entries of its folder.
        # Cost: O(objects) for each listing that concerns the folder.
        saved = [
            (when, listed, objects)
            for when, listed, objects in self._listings()
            if _within(listed, folder) or (listed and _within(folder, listed))
        ]
        if not saved:
            return None
        found: dict[str, ObjectInfo] = {}
        for _, listed, objects in sorted(saved, key=lambda listing: listing[0]):
            found = {key: info for key, info in found.items() if not _listed_in(key, listed)}
            found |= {key: info for key, info in objects.items() if _within(key, folder)}
        return dict(sorted(found.items()))

    def save_listing(self, folder: str, objects: Mapping[str, ObjectInfo]) -> None:
        """Save a folder's complete listing, in place of earlier ones.

        Of the bucket itself, "", only the files directly in it are listed.
        """
        rows = [(info.key, info.size, info.etag) for info in objects.values()]
        content = json.dumps({"folder": folder, "listed": now(), "objects": rows}).encode()
        self.write("listings", f"{quote(folder, safe='')}.list.json", content)

    def _listings(self) -> Iterator[tuple[str, str, dict[str, ObjectInfo]]]:
        """Yield time, folder and objects of each listing."""
        for path in _files(self.metadata / "listings", ".list.json"):
            folder = unquote(path.name.removesuffix(".list.json"))
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                saved = json.loads(read_own(path))
                rows = [ObjectInfo(str(key), int(size), str(etag)) for key, size, etag in saved["objects"]]
                yield str(saved["listed"]), folder, {info.key: info for info in rows}


def read_own(path: Path) -> bytes:
    """Read a file of the mirror's own.

    It must be a regular file of limited size, because others may have written it.
    """
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        content = file.read(OWN_BYTES + 1)
    if len(content) > OWN_BYTES:
        raise OSError(errno.EFBIG, "too long for an internal file of a mirror", os.fspath(path))
    return content


def name_of(key: str, etag: str = "") -> str:
    """Return the file name of an object's or a version's data."""
    return hashlib.sha256(f"{key}\n{etag}".encode()).hexdigest()[:40]


def now() -> str:
    """Return the current time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _identity(folder: Path) -> _Identity:
    """Return a folder's device and inode.

    None means that it is absent or a link.
    """
    with contextlib.suppress(OSError):
        state = os.lstat(folder)
        if stat.S_ISDIR(state.st_mode):
            return state.st_dev, state.st_ino
    return None


def _within(key: str, folder: str) -> bool:
    """Return True if a path is a folder or lies below it."""
    return not folder or key == folder or key.startswith(f"{folder}/")


def _listed_in(key: str, folder: str) -> bool:
    """Return True if a folder's listing covers a key.

    The root's listing covers only the files directly in it.
    """
    return key.startswith(f"{folder}/") if folder else "/" not in key


def _parsed(path: Path) -> MirrorRecord | None:
    """Parse a record; None if invalid, so that the file is rechecked."""
    try:
        record = MirrorRecord(**json.loads(read_own(path)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    numbers = (record.size, record.mtime_ns, record.crc32)
    texts = (record.key, record.etag, record.checked, record.when, record.replaces, record.file)
    sound = all(type(value) is int for value in numbers) and all(type(value) is str for value in texts)
    return record if sound else None


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
    except OSError:
        return []
