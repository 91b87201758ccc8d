"""A mirror's folder: its files, and their relation to the bucket's objects.

Below the folder every object lies at its key. Beside them, in ``.laion-fmri``, lie a record for each file that was
fetched (size, ETag, how it was checked), the bucket's listings as of the last run, and what is under way. A file
without a record was copied by other means, for instance by the data set's own package; it counts where its content is
proved to be the object's. Only a file that is as its record says is this project's own, and may be replaced. Reading
never writes, so a mirror may be read-only or belong to somebody else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import addresses
from intake_laion_fmri.remote.proofs import can_tell, content_is, crc32_of, crc32_of_file, file_is
from intake_laion_fmri.remote.records import DAMAGED, METADATA_FOLDER, OTHER, MirrorRecord, MirrorRecords

PROVED_BYTES = 64 * 1024 * 1024
"""A file is proved to be an object when a bucket is listed up to this size; larger ones when they are read."""

NAME_BYTES = 255
"""Longest name of a file that file systems take."""

_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*(?:/[A-Za-z0-9_][\w.+-]*)*", re.ASCII).fullmatch
"""What nearly all keys are like; thousands of them are looked at in a row."""


@dataclass(frozen=True)
class Copy:
    """The file in an object's place."""

    path: Path
    """The file, or whatever is there."""
    state: os.stat_result
    """Of the regular file."""
    record: MirrorRecord | None
    """What is known of it, if its size and time are what its record says."""
    known: MirrorRecord | None
    """What is known of it in any case: a mirror that was copied may have lost its times."""

    def is_complete(self, info: ObjectInfo) -> bool:
        """Return True if the record is of this version of the object."""
        return bool(self.record and self.state.st_size == info.size and _is_current(self.record, info))


@dataclass(frozen=True)
class Target:
    """Path to which an object is written."""

    path: Path
    """The file."""
    within: Path
    """The folder above it below which no link may be followed: the mirror's, or one that the user has linked to."""


class MirrorFolder(MirrorRecords):
    """A folder with the bucket's layout, which need not exist."""

    @classmethod
    def from_argument(cls, given: object) -> MirrorFolder:
        """Return a user's folder.

        TypeError or ValueError if it is no local folder's name.
        """
        return cls(addresses.local_folder(given, "mirror"))

    def path_of(self, key: str) -> Path:
        """Return an object's path for reading.

        Symbolic links are followed.

        Raises
        ------
        DataIntegrityError
            If the key would leave the folder, or cannot be a file's name; see `rejection`.
        """
        reason = rejection(key)
        if reason:
            raise DataIntegrityError(
                f"The key {key!r} is not written to {self.path}: it {reason}. Expected names separated by single "
                "slashes. Report it to the bucket's owner."
            )
        return self.path.joinpath(*key.split("/"))

    def target(self, key: str) -> Target:
        """Return an object's path for writing.

        A folder of the mirror may be a link that this user has made, for instance to another disk. One that somebody
        else has put there is not written through: it could lead to this user's files. That is a DataIntegrityError, as
        is a key that would leave the folder or cannot be a file's name.
        """
        *folders, name = self.path_of(key).relative_to(self.path).parts
        base = path = self.path
        for folder in folders:
            path /= folder
            if path.is_symlink():
                self._expect_own(path)
                base = path = Path(os.path.realpath(path))
        return Target(path / name, base)

    def _expect_own(self, link: Path) -> None:
        """Raise for a link of another user; root's links are accepted."""
        owner = link.lstat().st_uid
        if hasattr(os, "geteuid") and owner not in (0, os.geteuid()):
            raise DataIntegrityError(
                f"{link} is a link of another user (uid {owner}) to {os.path.realpath(link)}: nothing is written "
                f"there. Remove the link, create it yourself, or mirror to its target."
            )

    def holds(self, info: ObjectInfo) -> Path | None:
        """Return an object's complete, current copy.

        Large files are judged by their records, without reading them.

        None too where the key cannot be a file's. A file with a record counts if the ETag, its size and its
        modification time agree with the bucket's listing. Any other file counts if its content is proved to be the
        object's: by the sum in a record where the time alone differs (mirrors get copied), or by the ETag. Files of
        more than `PROVED_BYTES` are proved by `proves`, when they are read. An ROI's file may lack the hyphens inside
        its label, as in copies that the data set's own package makes.
        """
        copy = self.copy_of(info.key)
        return copy.path if copy and self._is_held(copy, info) else None

    def _is_held(self, copy: Copy, info: ObjectInfo) -> bool:
        if copy.state.st_size != info.size:
            return False
        if copy.record and _is_current(copy.record, info):
            return True
        if not (can_tell(info) or (copy.known and _is_current(copy.known, info))):
            return False
        return info.size > PROVED_BYTES or self._is_proved(copy, info)

    def proves(self, info: ObjectInfo) -> Path | None:
        """Return an object's copy, proved at any size; see `holds`."""
        copy = self.copy_of(info.key)
        if copy is None or not self._is_held(copy, info):
            return None
        return copy.path if copy.is_complete(info) or self._is_proved(copy, info) else None

    def is_complete(self, info: ObjectInfo) -> bool:
        """Return True for a current copy with a matching record."""
        copy = self.copy_of(info.key)
        return copy is not None and copy.is_complete(info)

    def is_unprovable(self, info: ObjectInfo) -> bool:
        """Return True for a possible copy that nothing can prove."""
        if can_tell(info):
            return False
        copy = self.copy_of(info.key)
        return copy is not None and copy.known is None and copy.state.st_size == info.size

    def content_of(self, info: ObjectInfo) -> bytes | None:
        """Return a small object's verified content, or None.

        The content is verified against its record or ETag.
        """
        copy = self.copy_of(info.key)
        if copy is None or not self._is_held(copy, info):
            return None
        content = _content(copy.path, info.size)
        if content is None:
            return None
        if copy.known and _is_current(copy.known, info):
            return content if crc32_of(content) == copy.known.crc32 else None
        return content if content_is(content, info) else None

    def recorded_content(self, key: str, size: int) -> bytes | None:
        """Return a recorded small file's content, or None.

        Raises
        ------
        DataIntegrityError
            If it is not what was copied.
        """
        record = self.record(key)
        if record is None or record.checked == OTHER:
            return None
        path = self.path / key
        content = _content(path, size)
        if content is None or record.checked == DAMAGED or crc32_of(content) != record.crc32:
            raise DataIntegrityError(
                f"{path} has changed since it was copied, or is damaged. Move it away and run "
                f"'intake-laion-fmri mirror --to {self.path}', or read the folder as it is with "
                f"bucket={str(self.path)!r}."
            )
        return content

    def copy_of(self, key: str) -> Copy | None:
        """Return the file in an object's place, or None."""
        with contextlib.suppress(DataIntegrityError):
            for name in (key, alias_of(key)):
                path = self.path_of(name) if name else None
                state = _state(path) if path else None
                if name and path and state:
                    known = self.record(name)
                    if known and (known.key != key or known.checked == OTHER):
                        known = None
                    fits = known and (known.size, known.mtime_ns) == (state.st_size, state.st_mtime_ns)
                    return Copy(path, state, known if fits else None, known)
        return None

    def file_of(self, key: str, path: Path) -> str:
        """Return a record's file name; "" if it is the key."""
        alias = alias_of(key)
        return alias if alias and path.name == alias.rpartition("/")[2] else ""

    def is_own(self, copy: Copy) -> bool:
        """Return True for a file of this project, which may be replaced."""
        if copy.known is None or copy.path.is_symlink():
            return False
        if copy.record:
            return True
        crc32 = crc32_of_file(copy.path, copy.state)
        found = f"{copy.state.st_size}-{copy.state.st_mtime_ns}-{crc32:08x}" if crc32 is not None else ""
        same = copy.known.size == copy.state.st_size and copy.known.crc32 == crc32
        return same or found == copy.known.replaces

    def is_known_other(self, info: ObjectInfo, copy: Copy) -> bool:
        """Return True if a file was found to differ from this version."""
        record = self.record(self.file_of(info.key, copy.path) or info.key)
        found = (info.etag, copy.state.st_size, copy.state.st_mtime_ns)
        return bool(record and record.checked == OTHER and (record.etag, record.size, record.mtime_ns) == found)

    def _is_proved(self, copy: Copy, info: ObjectInfo) -> bool:
        if copy.known and _is_current(copy.known, info):
            return crc32_of_file(copy.path, copy.state) == copy.known.crc32
        return file_is(copy.path, copy.state, info)

    def known(self, info: ObjectInfo) -> ObjectInfo:
        """Return an object with its recorded ETag, if any."""
        record = self.record(info.key)
        state = _state(self.path_of(info.key)) if record and record.checked not in (OTHER, DAMAGED) else None
        if not record or not state or (record.size, record.mtime_ns) != (state.st_size, state.st_mtime_ns):
            return info
        return dataclasses.replace(info, etag=record.etag)

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield key and state of every file in the bucket's layout.

        Files without a record are included.
        """
        pending = [""]
        while pending:
            folder = pending.pop()
            try:
                entries = sorted(os.scandir(self.path / folder), key=lambda entry: entry.name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                key = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    if key != METADATA_FOLDER:
                        pending.append(key)
                elif entry.is_file():
                    yield key, entry.stat()


def _state(path: Path) -> os.stat_result | None:
    """Return a regular file's state, links followed, or None."""
    try:
        state = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG):
            return None
        raise
    return state if stat.S_ISREG(state.st_mode) else None


def _is_current(record: MirrorRecord, info: ObjectInfo) -> bool:
    """Return True if a record is of this version and undamaged."""
    return record.etag == info.etag and record.size == info.size and record.checked != DAMAGED


def _content(path: Path, size: int) -> bytes | None:
    """Return a file's content of known size.

    A longer file is not read to its end.
    """
    try:
        with path.open("rb", buffering=0) as file:
            content = file.read(size + 1)
    except OSError:
        return None
    return content if len(content) == size else None


def rejection(key: str) -> str | None:
    """Return why a key cannot be a mirror's file, or None.

    The text follows "it": ``"has a part '..'"``.
    """
    parts = key.split("/")
    if _PLAIN(key) and parts[0] != METADATA_FOLDER and ".." not in parts and len(key) <= NAME_BYTES:
        return None
    if not {"", ".", ".."}.isdisjoint(parts):
        return "is empty, absolute, or has an empty part, '.' or '..'"
    if "\\" in key or re.match("[A-Za-z]:", key):
        return "has a backslash or begins with a drive letter"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in key):
        return "has control or invisible characters"
    if unicodedata.normalize("NFKC", parts[0]).casefold() == METADATA_FOLDER:
        return f"begins with {METADATA_FOLDER!r}, the mirror's internal folder"
    if any(len(part.encode()) > NAME_BYTES for part in parts):
        return f"has a name of more than {NAME_BYTES} bytes"
    return None


def alias_of(key: str) -> str | None:
    """Return the key with the ROI's public name, if different."""
    if not key.startswith(f"{layout.ROIS_ROOT}/"):
        return None
    alias = re.sub(r"(?<=_label-)[^_./]+(?=_[^/]*$)", lambda label: layout.clean_label(label[0]), key)
    return alias if alias != key else None
