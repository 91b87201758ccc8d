"""A local folder with the bucket's layout, and what is known of its files.

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
import hashlib
import json
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.remote import addresses, atomic, marks
from intake_laion_fmri.remote.proofs import can_tell, content_is, crc32_of, crc32_of_file, file_is

__all__ = [
    "DAMAGED",
    "METADATA_FOLDER",
    "OTHER",
    "Copy",
    "MirrorFolder",
    "MirrorRecord",
    "Target",
    "alias_of",
    "name_of",
    "now",
    "read_own",
    "rejection",
]

METADATA_FOLDER = ".laion-fmri"
"""Folder below a mirror that is no part of the bucket's layout: records, listings, locks, partial files."""

MARK = marks.Mark("the own folder of a mirror", "mirror.json", lambda content: b"intake-laion-fmri" in content)
_WORKPLACES = ("records", "listings", "partial", "locks", "splits")

PROVED_BYTES = 64 * 1024 * 1024
"""A file is proved to be an object when a bucket is listed up to this size; larger ones when they are read."""

OWN_BYTES = 64 * 1024 * 1024
"""Longest file of the mirror's own: a listing of 500,000 objects."""

NAME_BYTES = 255
"""Longest name of a file that file systems take."""

DAMAGED, OTHER = "damaged", "other"
"""What a record may say of a file: that it is not as it was copied, or that it is not the object with this ETag and
was not written by this project."""

_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]*(?:/[A-Za-z0-9_][\w.+-]*)*", re.ASCII).fullmatch
"""What nearly all keys are like; thousands of them are looked at in a row."""


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
    replaces: str = ""
    """The file that was in its place before, as `fingerprint` tells it: the record is written first, and a crash may
    leave that file."""
    file: str = ""
    """The file, where it does not lie at the key: an ROI's, with the public name of the ROI."""

    @property
    def place(self) -> str:
        """The file, below the mirror."""
        return self.file or self.key

    @property
    def fingerprint(self) -> str:
        """What the file is told by."""
        return f"{self.size}-{self.mtime_ns}-{self.crc32:08x}"


@dataclass(frozen=True)
class Copy:
    """What lies where an object belongs."""

    path: Path
    """The file, or whatever is there."""
    state: os.stat_result
    """Of the regular file."""
    record: MirrorRecord | None
    """What is known of it, if its size and time are what its record says."""
    known: MirrorRecord | None
    """What is known of it in any case: a mirror that was copied may have lost its times."""


@dataclass(frozen=True)
class Target:
    """Where an object is to be written."""

    path: Path
    """The file."""
    within: Path
    """The folder above it below which no link may be followed: the mirror's, or one that the user has linked to."""


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

    def target(self, key: str) -> Target:
        """Return where an object belongs, for writing.

        A folder of the mirror may be a link that this user has made, for instance to another disk. One that somebody
        else has put there is not written through: it could lead to this user's files.

        Parameters
        ----------
        key : str
            Path below the bucket's root.

        Raises
        ------
        DataIntegrityError
            If the key would leave the folder or cannot be a file's name, or a link of another user is on the way.
        """
        *folders, name = self.place(key).relative_to(self.path).parts
        base = path = self.path
        for folder in folders:
            path /= folder
            if path.is_symlink():
                self._expect_own(path)
                base = path = Path(os.path.realpath(path))
        return Target(path / name, base)

    def workplace(self, name: str) -> Path:
        """Return a folder for what is under way, made if it does not exist.

        Parameters
        ----------
        name : str
            ``"records"``, ``"partial"``, ``"listings"``, ``"splits"`` or ``"locks"``.

        Raises
        ------
        FileExistsError
            If the folder `METADATA_FOLDER` is not this project's.
        DataIntegrityError
            If a link is in its place.
        OSError
            If it cannot be made.
        """
        folder = self.metadata / name
        for part in (self.metadata, folder):
            if part.is_symlink():
                raise DataIntegrityError(
                    f"{part} is a link to {os.path.realpath(part)}: nothing is written there. Remove the link, or "
                    "mirror to another folder."
                )
        if not MARK.is_on(self.metadata):
            if not self._is_of_before():
                marks.raise_unless_ours(self.metadata, MARK)
            content = {"made by": "intake-laion-fmri", "what": "records of the files beside this folder"}
            atomic.write_whole(self.metadata / MARK.name, json.dumps(content).encode(), within=self.path)
        atomic.make_folder(folder, within=self.path)
        return folder

    def write(self, name: str, file: str, content: bytes) -> None:
        """Write a small file of this folder's own, whole."""
        atomic.write_whole(self.workplace(name) / file, content, within=self.path)

    def _expect_own(self, link: Path) -> None:
        """Raise for a link that another user has made; links that root has made are as good as one's own."""
        owner = link.lstat().st_uid
        if owner not in (0, _user(owner)):
            raise DataIntegrityError(
                f"{link} is a link of another user (number {owner}), to {os.path.realpath(link)}: nothing is written "
                "there. Remove the link, make it yourself, or mirror to that other place."
            )

    def _is_of_before(self) -> bool:
        """Tell whether the folder of what is under way was made before it was marked: by what is in it."""
        try:
            names = set(os.listdir(self.metadata))
        except OSError:
            return False
        notice = self.metadata / "notice"
        told = notice.is_file() and notice.read_bytes()[:100].startswith(b"LAION-fMRI")
        return bool(names) and names <= {*_WORKPLACES, "notice"} and (told or any(self.records()))

    def was_told(self) -> bool:
        """Tell whether the notice on the data's licence was shown for this mirror."""
        return (self.metadata / "notice").exists()

    def note_told(self, notice: str) -> None:
        """Note that it was."""
        self.workplace("records")
        atomic.write_whole(self.metadata / "notice", f"{notice}\n".encode(), within=self.path)

    def holds(self, info: ObjectInfo) -> Path | None:
        """Return the local file of an object if it is complete and current, as far as is told without reading it all.

        Parameters
        ----------
        info : ObjectInfo
            From the bucket's listing, with the size and ETag that are current.

        Returns
        -------
        Path or None
            None too where the key cannot be a file's. A file with a record counts if the ETag, its size and its
            modification time agree. Any other file counts if its content is proved to be the object's: by the sum in
            a record where the time alone differs (mirrors get copied), or by the ETag. Files of more than
            `PROVED_BYTES` are proved by `proves`, when they are read. An ROI's file may lack the hyphens inside its
            label, as in copies that the data set's own package makes.
        """
        copy = self.copy_of(info.key)
        if copy is None or copy.state.st_size != info.size:
            return None
        if copy.record and _is_current(copy.record, info):
            return copy.path
        if not (can_tell(info) or (copy.known and _is_current(copy.known, info))):
            return None
        return copy.path if info.size > PROVED_BYTES or self._is_proved(copy, info) else None

    def proves(self, info: ObjectInfo) -> Path | None:
        """Return the local file of an object as `holds` does, once it is proved whatever its size."""
        path, copy = self.holds(info), self.copy_of(info.key)
        if path is None or copy is None or copy.path != path:
            return None
        is_recorded = copy.record is not None and _is_current(copy.record, info)
        return path if is_recorded or self._is_proved(copy, info) else None

    def is_complete(self, info: ObjectInfo) -> bool:
        """Tell whether there is a current copy, with a record that agrees."""
        copy = self.copy_of(info.key)
        return bool(copy and copy.record and copy.state.st_size == info.size and _is_current(copy.record, info))

    def untold(self, info: ObjectInfo) -> bool:
        """Tell whether there may be a copy, and nothing that could prove it."""
        if can_tell(info):
            return False
        copy = self.copy_of(info.key)
        return copy is not None and copy.known is None and copy.state.st_size == info.size

    def content_of(self, info: ObjectInfo) -> bytes | None:
        """Return the content of an object's small file if it is what was recorded, or what the ETag says; else None."""
        path, copy = self.holds(info), self.copy_of(info.key)
        if path is None or copy is None:
            return None
        content = _content(path, info.size)
        if content is None:
            return None
        if copy.known and _is_current(copy.known, info):
            return content if crc32_of(content) == copy.known.crc32 else None
        return content if content_is(content, info) else None

    def recorded_content(self, key: str, size: int) -> bytes | None:
        """Return the content of a small file as it lies there; None where nothing is recorded of it.

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
                f"{path} is not what was copied there: it was changed, or is damaged. Move it away and run "
                f"'intake-laion-fmri mirror --to {self.path}', or read the folder as it is, with "
                f"bucket={str(self.path)!r}."
            )
        return content

    def copy_of(self, key: str) -> Copy | None:
        """Return the file of an object, and what is known of it; None where there is none."""
        with contextlib.suppress(DataIntegrityError):
            for name in (key, alias_of(key)):
                path = self.place(name) if name else None
                state = _state(path) if path else None
                if name and path and state:
                    known = self.record(name)
                    if known and (known.key != key or known.checked == OTHER):
                        known = None
                    fits = known and (known.size, known.mtime_ns) == (state.st_size, state.st_mtime_ns)
                    return Copy(path, state, known if fits else None, known)
        return None

    def name_for(self, key: str) -> str:
        """Return where an object is to be written, below this folder: where a copy of it is, under either name."""
        copy = self.copy_of(key)
        return self.file_of(key, copy.path) or key if copy else key

    def file_of(self, key: str, path: Path) -> str:
        """Return what a record says of where a file is: nothing if that is at the key."""
        alias = alias_of(key)
        return alias if alias and path.name == alias.rpartition("/")[2] else ""

    def is_own(self, copy: Copy) -> bool:
        """Tell whether this project wrote a file, so that it may be replaced."""
        if copy.known is None or copy.path.is_symlink():
            return False
        if copy.record:
            return True
        crc32 = crc32_of_file(copy.path, copy.state)
        found = f"{copy.state.st_size}-{copy.state.st_mtime_ns}-{crc32:08x}" if crc32 is not None else ""
        same = copy.known.size == copy.state.st_size and copy.known.crc32 == crc32
        return same or found == copy.known.replaces

    def is_known_other(self, info: ObjectInfo, copy: Copy) -> bool:
        """Tell whether a file was compared with this version of an object before, and is another one."""
        record = self.record(self.file_of(info.key, copy.path) or info.key)
        found = (info.etag, copy.state.st_size, copy.state.st_mtime_ns)
        return bool(record and record.checked == OTHER and (record.etag, record.size, record.mtime_ns) == found)

    def _is_proved(self, copy: Copy, info: ObjectInfo) -> bool:
        if copy.known and _is_current(copy.known, info):
            return crc32_of_file(copy.path, copy.state) == copy.known.crc32
        return file_is(copy.path, copy.state, info)

    def record(self, file: str) -> MirrorRecord | None:
        """Return what is known of a file; None where nothing is, or the record cannot be read."""
        return _parsed(self.metadata / "records" / f"{name_of(file)}.json")

    def known(self, info: ObjectInfo) -> ObjectInfo:
        """Return what the bucket said of an object, given what the disk says of it; the latter without a record."""
        record = self.record(info.key)
        state = _state(self.place(info.key)) if record and record.checked not in (OTHER, DAMAGED) else None
        if not record or not state or (record.size, record.mtime_ns) != (state.st_size, state.st_mtime_ns):
            return info
        return dataclasses.replace(info, etag=record.etag)

    def records(self) -> Iterator[MirrorRecord]:
        """Yield all records that can be read, in no order."""
        for path in _files(self.metadata / "records", ".json"):
            record = _parsed(path)
            if record and path.stem == name_of(record.place):
                yield record

    def write_record(self, record: MirrorRecord) -> None:
        """Replace the record of a file."""
        self.write(
            "records", f"{name_of(record.place)}.json", json.dumps(dataclasses.asdict(record), indent=1).encode()
        )

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
        self.write("listings", f"{quote(folder, safe='')}.list.json", content)

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

    def _listings(self) -> Iterator[tuple[str, str, dict[str, ObjectInfo]]]:
        """Yield when, of what folder, and what."""
        for path in _files(self.metadata / "listings", ".list.json"):
            folder = unquote(path.name.removesuffix(".list.json"))
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                saved = json.loads(read_own(path))
                rows = [ObjectInfo(str(key), int(size), str(etag)) for key, size, etag in saved["objects"]]
                yield str(saved["listed"]), folder, {info.key: info for info in rows}


def read_own(path: Path) -> bytes:
    """Read a file of the mirror's own, which others may have put there: a regular file, and no endless one."""
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no regular file", os.fspath(path))
        content = file.read(OWN_BYTES + 1)
    if len(content) > OWN_BYTES:
        raise OSError(errno.EFBIG, "no file of a mirror's own is so long", os.fspath(path))
    return content


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


def _within(key: str, folder: str) -> bool:
    """Whether a key or folder is another folder or lies below it."""
    return not folder or key == folder or key.startswith(f"{folder}/")


def _listed_in(key: str, folder: str) -> bool:
    """Whether the listing of a folder tells of a key; that of the root tells of the files directly in it."""
    return key.startswith(f"{folder}/") if folder else "/" not in key


def alias_of(key: str) -> str | None:
    """Return the key of an ROI's file with the ROI's public name, where that is another."""
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


def _is_current(record: MirrorRecord, info: ObjectInfo) -> bool:
    """Tell whether a record is of this version of the object, and of a file that is not known to be another."""
    return record.etag == info.etag and record.size == info.size and record.checked != DAMAGED


def _content(path: Path, size: int) -> bytes | None:
    """Return the content of a file of this size; no more is read of one that has grown."""
    try:
        with path.open("rb", buffering=0) as file:
            content = file.read(size + 1)
    except OSError:
        return None
    return content if len(content) == size else None


def _user(otherwise: int) -> int:
    """Return this user's number; on a system without such numbers, any will do."""
    return os.geteuid() if hasattr(os, "geteuid") else otherwise


def _parsed(path: Path) -> MirrorRecord | None:
    """Read a record; what is not one counts as none, so that the file is checked anew."""
    try:
        found: Any = json.loads(read_own(path))
        if found["replaces"] in (True, False):  # as it was written before the file of before was told
            found["replaces"] = ""
        record = MirrorRecord(**found)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    numbers = (record.size, record.mtime_ns, record.crc32)
    texts = (record.key, record.etag, record.checked, record.when, record.replaces, record.file)
    sound = all(type(one) is int for one in numbers) and all(type(one) is str for one in texts)
    return record if sound else None


def _files(folder: Path, suffix: str) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.name.endswith(suffix))
    except OSError:
        return []
