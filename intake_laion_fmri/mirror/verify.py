"""A mirror's state, found without a network."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.checks import check_file
from intake_laion_fmri.mirror.partial import partial_objects
from intake_laion_fmri.mirror.selection import MirrorSelection, subject_of
from intake_laion_fmri.reading.arguments import ALL, SessionSelection
from intake_laion_fmri.remote.copy import MirrorFolder
from intake_laion_fmri.remote.records import DAMAGED, OTHER, MirrorRecord, now


@dataclass(frozen=True)
class MirrorCheck:
    """State of one file of a mirror."""

    key: str
    """Its object."""
    status: str
    """``"complete"``; ``"damaged"``; ``"missing"``, recorded and gone; ``"unrecorded"``, copied by other means and
    sound as far as one can tell; or ``"partial"``, received in part."""
    detail: str = ""
    """How it was checked, or what is wrong."""

    @property
    def is_good(self) -> bool:
        """True if nothing is wrong with the file."""
        return self.status in ("complete", "unrecorded")


@dataclass(frozen=True)
class SubjectStatus:
    """A mirror's files of one subject."""

    subject: str
    """``"sub-01"``; empty for files of no subject."""
    sessions: tuple[str, ...]
    """Sessions of which there are betas."""
    groups: Mapping[str, int]
    """Group, one of `layout.GROUPS` → files."""
    files: int
    """Files in all."""
    bytes: int
    """Their bytes."""


@dataclass(frozen=True)
class MirrorStatus:
    """A mirror's contents by names and sizes; see `verify_mirror` for content."""

    to: Path
    """The mirror."""
    subjects: tuple[SubjectStatus, ...]
    """By subject; last the files of none."""
    files: int
    """Files in all."""
    bytes: int
    """Their bytes."""
    unrecorded: int
    """Files among them that were copied by other means."""
    missing: tuple[str, ...]
    """Files that were copied, and are gone or were changed."""
    partial: tuple[tuple[str, int, int], ...]
    """Objects that were received in part: key, bytes received, bytes in all."""
    unknown: tuple[str, ...]
    """Files whose names are not the data set's."""

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON-compatible values."""
        return asdict(self) | {
            "to": os.fspath(self.to),
            "partial": [dict(zip(("key", "received", "bytes"), part, strict=True)) for part in self.partial],
        }


def verify_mirror(
    to: str | os.PathLike[str],
    *,
    subjects: str | Sequence[str] | None = ALL,
    sessions: SessionSelection | None = ALL,
    kinds: str | Sequence[str] | None = None,
) -> Iterator[MirrorCheck]:
    """Read every file of a mirror and compare it with its record.

    This needs no network.

    Parameters
    ----------
    to : str or path
        Folder of the mirror.
    subjects, sessions, kinds
        As in `plan_mirror`.

    Yields
    ------
    MirrorCheck
        Of each file; of each that is recorded and gone; and of each that was received in part.

    Raises
    ------
    NotInBucketError
        If there is no such folder, or nothing in it of what is chosen.
    ValueError, AccessDeniedError
        As in `plan_mirror`.

    Notes
    -----
    A damaged file is no longer read, and the next run of `mirror_bucket` fetches it again: that is noted in its
    record, unless the mirror is read-only.
    """
    folder = _existing(to)
    selection = MirrorSelection.from_arguments(subjects=subjects, sessions=sessions, kinds=kinds)
    selection = replace(selection, besides=layout.LARGE_GROUPS if kinds is None else frozenset())
    records = {record.location: record for record in folder.records() if selection.takes(record.key)}
    seen, found = set(), False
    for key, state in folder.files():
        if selection.takes(key):
            seen.add(key)
            found |= key in records or layout.group_of(key) != "other"
            yield _verified(folder, key, state, records.get(key))
    for key in sorted(records.keys() - seen):
        if records[key].checked != OTHER:
            found = True
            yield MirrorCheck(key, "missing", f"{records[key].size} bytes were copied, but the file is gone")
    for info, received in partial_objects(folder):
        if selection.takes(info.key) and info.key not in records:
            found = True
            yield MirrorCheck(info.key, "partial", f"{received} of {info.size} bytes were received")
    if not found:
        raise NotInBucketError(
            f"{os.fspath(folder.path)!r} holds no files of the data set, or none of those chosen: nothing was "
            f"verified. Copy files with 'intake-laion-fmri mirror --to {folder.path}', or give another folder."
        )


def mirror_status(to: str | os.PathLike[str]) -> MirrorStatus:
    """List a mirror's contents, without reading files or any network.

    Parameters
    ----------
    to : str or path
        Folder of the mirror.

    Returns
    -------
    MirrorStatus

    Raises
    ------
    NotInBucketError
        If there is no such folder.
    """
    folder = _existing(to)
    records = {record.location: record for record in folder.records() if record.checked != OTHER}
    files = dict(folder.files())
    own = {key for key in files if layout.tree_of(key) is not None}
    known = {key: state for key, state in files.items() if key in records or key in own}
    by_subject: dict[str, list[str]] = {}
    for key in known:
        by_subject.setdefault(subject_of(key) or "", []).append(key)
    return MirrorStatus(
        folder.path,
        subjects=tuple(
            SubjectStatus(
                subject,
                sessions=_sessions_with_betas(keys),
                groups=dict(sorted(Counter(map(layout.group_of, keys)).items())),
                files=len(keys),
                bytes=sum(known[key].st_size for key in keys),
            )
            for subject, keys in sorted(by_subject.items(), key=lambda item: (not item[0], item[0]))
        ),
        files=len(known),
        bytes=sum(state.st_size for state in known.values()),
        unrecorded=len(known.keys() - records.keys()),
        missing=tuple(
            sorted(key for key, record in records.items() if key not in files or files[key].st_size != record.size)
        ),
        partial=tuple((info.key, received, info.size) for info, received in partial_objects(folder)),
        unknown=tuple(sorted(files.keys() - known.keys())),
    )


def _existing(to: object) -> MirrorFolder:
    folder = MirrorFolder.from_argument(to)
    if not folder.path.is_dir():
        raise NotInBucketError(
            f"There is no mirror {os.fspath(folder.path)!r}. Create it with 'intake-laion-fmri mirror --to FOLDER'."
        )
    return folder


def _verified(folder: MirrorFolder, key: str, state: os.stat_result, record: MirrorRecord | None) -> MirrorCheck:
    """Read one file and compare it with its record."""
    path = folder.path / key
    if record and record.checked == OTHER:
        record = None
    info = ObjectInfo(key, record.size, record.etag) if record else ObjectInfo(key, state.st_size, "")
    how = "md5" if record and record.checked == "md5" else "size"
    if record is None and key.endswith(".gz"):
        how = "gzip"
    try:
        crc32 = check_file(path, info, how)
        if record and crc32 != record.crc32:
            raise DataIntegrityError(f"{path} has the CRC-32 {crc32:08x}, expected {record.crc32:08x}. Fetch it again.")
        if record and record.checked == DAMAGED:
            raise DataIntegrityError(f"{path} was found damaged before. Fetch it again.")
    except DataIntegrityError as error:
        return _broken(folder, key, state, record, error)
    except OSError as error:
        return MirrorCheck(key, "damaged", f"{path} cannot be read: {error.strerror or error}")
    if record is None:
        return MirrorCheck(key, "unrecorded", "copied by other means; the next mirror run verifies it")
    return MirrorCheck(key, "complete", "size and MD5" if how == "md5" else "size and CRC-32")


def _broken(
    folder: MirrorFolder, key: str, state: os.stat_result, record: MirrorRecord | None, error: DataIntegrityError
) -> MirrorCheck:
    """Report a damaged file.

    The damage is recorded if possible, so that the file is neither read nor kept.
    """
    if record is None:
        return MirrorCheck(key, "damaged", f"{error} It was copied by other means: move it away, then mirror again.")
    if (state.st_size, state.st_mtime_ns) != (record.size, record.mtime_ns):
        return MirrorCheck(
            key, "damaged", f"{error} It was changed since it was copied: move it away, then mirror again."
        )
    with contextlib.suppress(OSError, DataIntegrityError):
        folder.write_record(replace(record, checked=DAMAGED, when=now()))
    return MirrorCheck(key, "damaged", str(error))


def _sessions_with_betas(keys: Iterable[str]) -> tuple[str, ...]:
    parsed = (layout.parse_key(key) for key in keys)
    names = {key.entities["session"] for key in parsed if key and key.kind == "betas"}
    return tuple(sorted(names, key=layout.session_number))
