"""Contents of a store: sessions by subject, missing sessions, sizes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import DataIntegrityError
from intake_laion_fmri.remote.access import Bucket, open_store
from intake_laion_fmri.store.format import StoredSession
from intake_laion_fmri.store.listing import public_sessions, read_options, read_sessions, stored_subjects
from intake_laion_fmri.store.options import StoreOptions


@dataclass(frozen=True)
class SubjectInfo:
    """Sessions and sizes of one subject in a store."""

    subject: str
    """``"sub-01"``."""
    public: tuple[str, ...]
    """The sessions that the bucket had when the store was built."""
    sessions: Mapping[str, StoredSession]
    """The sessions that are complete, ascending."""
    damaged: Mapping[str, str]
    """Session → why its metadata cannot be trusted."""
    n_objects: int
    """Objects in the subject's folder, of incomplete sessions too."""
    n_bytes: int
    """Their size."""

    @property
    def missing(self) -> tuple[str, ...]:
        """Public sessions that are absent or incomplete."""
        return tuple(name for name in self.public if name not in self.sessions)

    def __str__(self) -> str:
        """Summarise the subject in one line."""
        there = f"{len(self.sessions)} of {len(self.public)} sessions"
        missing = f"; missing or incomplete: {', '.join(self.missing)}" if self.missing else ""
        if not self.sessions:
            return f"{self.subject}: {there}{missing}"
        trials = sum(stored.grid.n_trials for stored in self.sessions.values())
        voxels = " or ".join(str(n) for n in sorted({stored.grid.n_voxels for stored in self.sessions.values()}))
        return f"{self.subject}: {there}, {trials} trials x {voxels} voxels, {self.n_objects} objects{missing}"

    def to_json(self) -> dict[str, Any]:
        """Return the summary as JSON-compatible values."""
        sessions = {
            name: {
                "n_trials": stored.grid.n_trials,
                "n_voxels": stored.grid.n_voxels,
                "bytes": stored.n_bytes,
                "sources": [{"key": info.key, "size": info.size, "etag": info.etag} for info in stored.session_sources],
            }
            for name, stored in self.sessions.items()
        }
        return {
            "subject": self.subject,
            "public": list(self.public),
            "sessions": sessions,
            "missing": list(self.missing),
            "damaged": dict(self.damaged),
            "objects": self.n_objects,
            "bytes": self.n_bytes,
        }


@dataclass(frozen=True)
class StoreInfo:
    """Contents of a store."""

    url: str
    """Where it is."""
    options: StoreOptions
    """How it was built."""
    subjects: tuple[SubjectInfo, ...]
    """Sorted."""

    @property
    def n_bytes(self) -> int:
        """Total size in bytes."""
        return sum(subject.n_bytes for subject in self.subjects)

    def to_json(self) -> dict[str, Any]:
        """Return the contents as JSON-compatible values."""
        return {
            "store": self.url,
            "bytes": self.n_bytes,
            "options": self.options.to_json(),
            "subjects": [subject.to_json() for subject in self.subjects],
        }


def store_info(store: str | os.PathLike[str] | Bucket, *, store_options: Mapping[str, Any] | None = None) -> StoreInfo:
    """List the subjects and sessions of a store.

    Parameters
    ----------
    store, store_options
        As in `intake_laion_fmri.open_betas`.

    Returns
    -------
    StoreInfo

    Raises
    ------
    NotInStoreError
        If there is no store.
    DataIntegrityError
        If its root, or a subject's group, cannot be trusted.
    AccessDeniedError, BucketUnreachableError
        If it cannot be read.

    Notes
    -----
    A listing per subject and a small request per session.
    """
    root = open_store(store, store_options)
    options = read_options(root)
    return StoreInfo(root.url, options, tuple(subject_info(root, name) for name in stored_subjects(root)))


def subject_info(root: Bucket, subject: str) -> SubjectInfo:
    """List the sessions of a subject in a store, sound and damaged."""
    listing = root.find(subject)
    found: dict[str, StoredSession] = {}
    damaged: dict[str, str] = {}
    folders = {key.split("/")[1] for key in listing if key.count("/") > 1}
    for session in by_number(filter(layout.is_session, folders)):
        try:
            found |= read_sessions(root, subject, [session])
        except DataIntegrityError as error:
            damaged[session] = str(error)
    size = sum(info.size for info in listing.values())
    return SubjectInfo(subject, public_sessions(root, subject), found, damaged, len(listing), size)


def by_number(sessions: Iterable[str]) -> list[str]:
    """Sort session names by number, without repeats."""
    return sorted(dict.fromkeys(sessions), key=layout.session_number)
