"""A local folder with the bucket's layout, and what is known of its files.

Below the folder every object lies at its key. Beside them, in ``.laion-fmri``, lie a record for each file that was
fetched (size, ETag, how it was checked), the bucket's listings as of the last run, and what is under way. A file
without a record was copied by other means, for instance by the data set's own package; it counts as far as it can be
told. Reading never writes, so a mirror may be read-only or belong to somebody else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import re
import stat
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from intake_laion_fmri import addresses, layout
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo

__all__ = ["METADATA_FOLDER", "MirrorFolder", "MirrorRecord", "name_of", "now", "rejection", "write_whole"]

METADATA_FOLDER = ".laion-fmri"
"""Folder below a mirror that is no part of the bucket's layout: records, listings, locks, partial files."""

MD5_BYTES = 64 * 1024 * 1024
"""A file without a record is compared by its MD5 up to this size, when it is read; larger ones only when mirrored."""

NAME_BYTES = 255
"""Longest name of a file that file systems take."""

_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*(?:/[A-Za-z0-9_][\w.+-]*)*", re.ASCII).fullmatch
"""What nearly all keys are like; thousands of them are looked at in a row."""

_workplaces: set[Path] = set()
"""Folders that were looked at in this process, and lie inside their mirror."""

_sums: dict[tuple[str, int, int], str] = {}
"""Path, mtime and size → the file's MD5, for this process: a file is summed once."""


@dataclass(frozen=True)
class MirrorRecord:
    """What is known of a file that was fetched, or that was found and checked."""

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
    replaces: bool = False
    """Whether another file was in its place before: the record is written first, and a crash may leave that file."""


@dataclass(frozen=True)
class MirrorFolder:
    """A folder with the bucket's layout. It need not exist."""

    path: Path
    """The folder."""

    @classmethod
    def of(cls, given: object) -> MirrorFolder:
        """Return the folder that a user has named; TypeError or ValueError where that is no local folder's name."""
        return cls(addresses.local_folder(given, "mirror"))

    @property
    def metadata(self) -> Path:
        """The folder with all that is not the bucket's."""
        return self.path / METADATA_FOLDER

    def place(self, key: str) -> Path:
        """Return where an object lies, for reading: symbolic links on the way are its owner's affair.

        Raises
        ------
        DataIntegrityError
            If the key would leave the folder, or cannot be a file's name; see `rejection`.
        """
        reason = rejection(key)
        if reason:
            raise DataIntegrityError(
                f"The key {key!r} is not written to {self.path}: it {reason}. Expected names separated by single "
                "slashes. Report it to whoever keeps the bucket."
            )
        return self.path.joinpath(*key.split("/"))

    def target(self, key: str) -> Path:
        """Return where an object belongs, for writing.

        Parameters
        ----------
        key : str
            Path below the bucket's root.

        Returns
        -------
        Path
            Inside this folder, also once symbolic links are followed. The folder itself may be reached by one.

        Raises
        ------
        DataIntegrityError
            If the key would leave the folder or cannot be a file's name, or a link inside the folder leads out of it.
        """
        place = self.place(key)
        self._expect_inside(place.parent)
        return place

    def workplace(self, name: str) -> Path:
        """Return a folder for what is under way, made if it does not exist.

        Parameters
        ----------
        name : str
            ``"records"``, ``"partial"``, ``"listings"`` or ``"locks"``.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        folder = self.metadata / name
        if folder not in _workplaces or not folder.is_dir():
            self._expect_inside(folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._expect_inside(folder)
            _workplaces.add(folder)
        return folder

    def holds(self, info: ObjectInfo) -> Path | None:
        """Return the local file of an object if it is complete and current.

        Parameters
        ----------
        info : ObjectInfo
            From the bucket's listing, with the size and ETag that are current.

        Returns
        -------
        Path or None
            None too where the key cannot be a file's. A file with a record counts if the ETag, its size and its
            modification time agree. One without a record, or whose modification time alone differs (mirrors get
            copied), counts if the size agrees, no record tells of another ETag, and the ETag, where it is the MD5 of
            a file of up to 64 MB, agrees too. An ROI's file may lack the hyphens inside its label, as in copies that
            the data set's own package makes.
        """
        found = self.copy_of(info)
        return found[0] if found else None

    def copy_of(self, info: ObjectInfo) -> tuple[Path, MirrorRecord | None] | None:
        """Return the file of an object as `holds` does, and the record by which it counts, if there is one."""
        try:
            place = self.place(info.key)
        except DataIntegrityError:
            return None
        state = _state(place)
        if state is None:
            alias = _without_hyphens(info.key)
            copy = self._alias(info, alias) if alias else None
            return (copy, None) if copy else None
        if state.st_size != info.size:
            return None
        record = self.record(info.key)
        if record and record.mtime_ns == state.st_mtime_ns and record.size == state.st_size:
            return (place, record) if record.etag == info.etag else None
        if record and (record.etag != info.etag or record.replaces):
            return None
        return (place, record) if _md5_agrees(place, state, info) else None

    def record(self, key: str) -> MirrorRecord | None:
        """Return what is known of an object's file; None where nothing is, or the record cannot be read."""
        return _parsed(self.metadata / "records" / f"{name_of(key)}.json")

    def known(self, info: ObjectInfo) -> ObjectInfo:
        """Return what the bucket said of an object, given what the disk says of it; the latter without a record."""
        record = self.record(info.key)
        state = _state(self.place(info.key)) if record else None
        if not record or not state or (record.size, record.mtime_ns) != (state.st_size, state.st_mtime_ns):
            return info
        return dataclasses.replace(info, etag=record.etag)

    def records(self) -> Iterator[MirrorRecord]:
        """Yield all records that can be read, in no order."""
        for path in _files(self.metadata / "records", ".json"):
            record = _parsed(path)
            if record and path.stem == name_of(record.key):
                yield record

    def write_record(self, record: MirrorRecord) -> None:
        """Replace the record of an object."""
        content = json.dumps(dataclasses.asdict(record), indent=1).encode()
        write_whole(self.workplace("records") / f"{name_of(record.key)}.json", content)

    def listing(self, folder: str) -> dict[str, ObjectInfo] | None:
        """Return what the bucket held below a folder when it was last listed for this mirror.

        Parameters
        ----------
        folder : str
            Path below the bucket's root; "" is all that was ever listed.

        Returns
        -------
        dict or None
            Key → object, from the newest listing of that folder or of one above it, and of folders below it, whichever
            there are; of a folder of which some parts were listed only, it has these. None where nothing is known.
        """
        saved = [one for one in self._listings() if _within(one[1], folder) or (one[1] and _within(folder, one[1]))]
        if not saved:
            return None
        found: dict[str, ObjectInfo] = {}
        for _, listed, objects in sorted(saved, key=lambda listing: listing[0]):
            found = {key: info for key, info in found.items() if not _listed_in(key, listed)}
            found |= {key: info for key, info in objects.items() if _within(key, folder)}
        return dict(sorted(found.items()))

    def save_listing(self, folder: str, objects: Mapping[str, ObjectInfo]) -> None:
        """Keep a listing of the bucket, in place of any earlier one of this folder.

        Parameters
        ----------
        folder : str
            What was listed, with all that is below it; of the bucket itself, "", only the files directly in it.
        objects : mapping
            Key → object.
        """
        rows = [(info.key, info.size, info.etag) for info in objects.values()]
        content = json.dumps({"folder": folder, "listed": now(), "objects": rows}).encode()
        write_whole(self.workplace("listings") / f"{quote(folder, safe='')}.list.json", content)

    def files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Yield key and state of every file that lies in the bucket's layout, record or not."""
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

    def _alias(self, info: ObjectInfo, alias: str) -> Path | None:
        place = self.place(alias)
        state = _state(place)
        if state is None or state.st_size != info.size or self.record(alias):
            return None
        return place if _md5_agrees(place, state, info) else None

    def _listings(self) -> Iterator[tuple[str, str, dict[str, ObjectInfo]]]:
        """Yield when, of what folder, and what."""
        for path in _files(self.metadata / "listings", ".list.json"):
            folder = unquote(path.name.removesuffix(".list.json"))
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                saved = json.loads(path.read_bytes())
                rows = [ObjectInfo(str(key), int(size), str(etag)) for key, size, etag in saved["objects"]]
                yield str(saved["listed"]), folder, {info.key: info for info in rows}

    def _expect_inside(self, folder: Path) -> None:
        root, real = os.path.realpath(self.path), os.path.realpath(folder)
        if real != root and not real.startswith(root.rstrip(os.sep) + os.sep):
            raise DataIntegrityError(
                f"{folder} leads out of the mirror, to {real}: nothing is written there. Expected a folder inside "
                f"{root}; remove the symbolic link, or mirror to that other place."
            )


def rejection(key: str) -> str | None:
    """Say why an object cannot be a file of a mirror, or None if it can.

    Parameters
    ----------
    key : str
        Path below a bucket's root, which may hold anything.

    Returns
    -------
    str or None
        To follow "it": ``"has a part '..'"``.
    """
    parts = key.split("/")
    if _PLAIN(key) and parts[0] != METADATA_FOLDER and ".." not in parts and len(key) <= NAME_BYTES:
        return None
    if not {"", ".", ".."}.isdisjoint(parts):
        return "is empty, absolute, or has an empty part, '.' or '..'"
    if "\\" in key or re.match("[A-Za-z]:", key):
        return "has a backslash or begins with a drive's letter"
    if any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in key):
        return "has control or invisible characters"
    if unicodedata.normalize("NFKC", parts[0]).casefold() == METADATA_FOLDER:
        return f"begins with {METADATA_FOLDER!r}, which is the mirror's own folder"
    if any(len(part.encode()) > NAME_BYTES for part in parts):
        return f"has a part of more than {NAME_BYTES} bytes"
    return None


def name_of(key: str, etag: str = "") -> str:
    """Return a file's name for what belongs to an object, or to one version of it."""
    return hashlib.sha256(f"{key}\n{etag}".encode()).hexdigest()[:40]


def now() -> str:
    """Return the time, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file that appears whole or not at all."""
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _within(key: str, folder: str) -> bool:
    """Whether a key or folder is another folder or lies below it."""
    return not folder or key == folder or key.startswith(f"{folder}/")


def _listed_in(key: str, folder: str) -> bool:
    """Whether the listing of a folder tells of a key; that of the root tells of the files directly in it."""
    return key.startswith(f"{folder}/") if folder else "/" not in key


def _without_hyphens(key: str) -> str | None:
    """Return the key of an ROI's file with its public name, where that is another."""
    if not key.startswith(f"{layout.ROIS_ROOT}/"):
        return None
    alias = re.sub(r"(?<=_label-)[^_./]+(?=_[^/]*$)", lambda label: layout.clean_label(label[0]), key)
    return alias if alias != key else None


def _state(path: Path) -> os.stat_result | None:
    """Return the state of a regular file, links followed; None where there is none."""
    try:
        state = path.stat()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.ENAMETOOLONG):
            return None
        raise
    return state if stat.S_ISREG(state.st_mode) else None


def _md5_agrees(path: Path, state: os.stat_result, info: ObjectInfo) -> bool:
    """Whether a small file is the object, where the ETag can tell; else yes."""
    if not re.fullmatch("[0-9a-f]{32}", info.etag) or state.st_size > MD5_BYTES:
        return True
    known = (os.fspath(path), state.st_mtime_ns, state.st_size)
    if known not in _sums:
        try:
            with path.open("rb") as file:
                _sums[known] = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError:
            return False
    return _sums[known] == info.etag


def _parsed(path: Path) -> MirrorRecord | None:
    """Read a record; what is not one counts as none, so that the file is checked anew."""
    try:
        found: Any = json.loads(path.read_bytes())
        record = MirrorRecord(**found)
    except (OSError, ValueError, TypeError):
        return None
    numbers = (record.size, record.mtime_ns, record.crc32)
    texts = (record.key, record.etag, record.checked, record.when)
    sound = all(type(one) is int for one in numbers) and all(type(one) is str for one in texts)
    return record if sound and type(record.replaces) is bool else None


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
    except OSError:
        return []
