"""Verifying a store by checksums, or against the bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.stimulus_table import STIMULUS
from intake_laion_fmri.axes.trials import TRIALS_PER_SESSION
from intake_laion_fmri.building.contents import SubjectInfo, by_number, subject_info
from intake_laion_fmri.building.plan import session_plan, whole_session
from intake_laion_fmri.building.session import axis_sum, kept_voxels
from intake_laion_fmri.errors import NotInBucketError, unknown_value
from intake_laion_fmri.reading.arguments import ALL, SessionSelection, check_sessions, check_subjects
from intake_laion_fmri.reading.assembly import BetasParts
from intake_laion_fmri.reading.blocks import SessionBlock
from intake_laion_fmri.reading.contents import betas_contents
from intake_laion_fmri.reading.plans.voxels import VoxelQuery
from intake_laion_fmri.remote.access import Bucket, open_bucket, open_store
from intake_laion_fmri.splits.sources import find_source
from intake_laion_fmri.store.format import BETAS, StoredSession
from intake_laion_fmri.store.listing import read_options, stored_subjects
from intake_laion_fmri.store.metadata import metadata_key, object_sum
from intake_laion_fmri.store.options import StoreOptions


@dataclass(frozen=True)
class SessionCheck:
    """Result of verifying one session."""

    subject: str
    """``"sub-01"``."""
    session: str
    """``"ses-01"``."""
    status: str
    """``"ok"``; ``"incomplete"``: it is not built to the end, and nobody reads it; ``"damaged"``: an object is not what
    was written; ``"different"``: it is not what the bucket holds."""
    detail: str = ""
    """In words, unless all is well."""
    n_bytes: int = 0
    """Bytes that were read of the store."""


def verify_store(
    store: str | os.PathLike[str] | Bucket,
    *,
    store_options: Mapping[str, Any] | None = None,
    subjects: str | Sequence[str] = ALL,
    sessions: SessionSelection = ALL,
    against_source: bool = False,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    splits: str | os.PathLike[str] | None = None,
) -> Iterator[SessionCheck]:
    """Verify the sessions of a store, one after the other.

    Parameters
    ----------
    store, store_options
        As in `intake_laion_fmri.open_betas`.
    subjects, sessions
        As in `store.build_store`; of what the store holds.
    against_source : bool, default False
        Whether to stream the bucket again, and compare every label, coordinate and value.
    bucket, storage_options, mirror, mirror_only, splits
        For that, as in `intake_laion_fmri.open_betas`.

    Yields
    ------
    SessionCheck
        By subject and session, as soon as it is known. Differences from the source are named by subject, session, trial
        and voxel; the first one is the one in the first trial.

    Raises
    ------
    ValueError
        If the store holds no such subject or session, with the nearest ones.
    NotInStoreError
        If there is no store.
    AccessDeniedError, BucketUnreachableError, NotInBucketError, DataIntegrityError
        If the store cannot be read, or the source cannot be; a damaged store is no error here.

    Notes
    -----
    Reads every object once, one at a time. Against the source a session takes the memory of its block besides.
    """
    root = open_store(store, store_options)
    options = read_options(root)
    source = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only) if against_source else None
    wanted = check_sessions(sessions)
    for subject in _chosen_subjects(root, subjects):
        info = subject_info(root, subject)
        there = by_number([*info.sessions, *info.damaged, *info.missing])
        for session in wanted or ():
            if not layout.same_session(session, there):
                raise unknown_value("session", session, there, where=f"{subject} in {root.url}")
        named = (
            there if wanted is None else [name for session in wanted for name in layout.same_session(session, there)]
        )
        for session in named:
            yield _check(root, options, info, session, source, splits)


# --- what is there ----------------------------------------------------------------------------------------------------


def _chosen_subjects(root: Bucket, asked: str | Sequence[str]) -> list[str]:
    names, there = check_subjects(asked), stored_subjects(root)
    for name in names or ():
        if name not in there:
            raise unknown_value("subject", name, there, where=root.url)
    return there if names is None else list(names)


# --- a session --------------------------------------------------------------------------------------------------------


def _check(
    root: Bucket,
    options: StoreOptions,
    info: SubjectInfo,
    session: str,
    bucket: Bucket | None,
    splits: str | os.PathLike[str] | None,
) -> SessionCheck:
    subject = info.subject
    if session in info.damaged:
        return SessionCheck(subject, session, "damaged", info.damaged[session])
    if session not in info.sessions:
        return SessionCheck(subject, session, "incomplete", "run 'intake-laion-fmri store build' to build it")
    stored = info.sessions[session]
    size, problem = _damage(root, options, stored)
    problem = problem or stored.counted_otherwise(info.sessions.values())
    if problem:
        return SessionCheck(subject, session, "damaged", problem, size)
    if bucket is not None:
        difference = _difference(root, stored, bucket, splits)
        if difference:
            return SessionCheck(subject, session, "different", difference, size)
    return SessionCheck(subject, session, "ok", n_bytes=size)


def _damage(root: Bucket, options: StoreOptions, stored: StoredSession) -> tuple[int, str]:
    """Return the bytes read and a description of the first damage."""
    size = 0
    if stored.record.options != options:
        return size, f"built with {stored.record.options}, but the store has {options}"
    below = {key[len(stored.group) + 1 :] for key in root.find(stored.group)}
    surplus = below - {*stored.keys, metadata_key("")}
    if surplus:
        return size, f"{min(surplus)} does not belong to it"
    contents = {}
    link = _first_link(root, stored)
    if link:
        return size, f"{link} leads out of the store and is not followed"
    for key, expected in stored.record.objects.items():
        content = _read(root, stored, key, stored.record.sizes[key])
        if content is None:
            return size, f"{key} is missing"
        size += len(content)
        if object_sum(content) != expected:
            return size, f"{key}: expected the SHA-256 {expected}, found {object_sum(content)}"
        contents[key] = content
    if axis_sum(stored.attributes, stored.arrays, contents) != stored.record.axis:
        return size, "its coordinates along voxels do not have the recorded SHA-256"
    for number in range(stored.grid.n_objects):
        key = f"{BETAS}/{stored.grid.key(number)}"
        content = _read(root, stored, key, stored.grid.object_bytes(number, stored.record.chunks))
        if content is None:
            return size, f"{key} is missing"
        size += len(content)
        try:
            stored.grid.check_object(number, content, stored.record.chunks)
        except ValueError as error:
            return size, f"{key}: {error}"
    return size, ""


def _read(root: Bucket, stored: StoredSession, key: str, size: int) -> bytes | None:
    """Read an object and one byte beyond its recorded size.

    The extra byte reveals an object that is too long.
    """
    try:
        return root.read(f"{stored.group}/{key}", 0, size + 1)
    except NotInBucketError:
        return None


def _first_link(root: Bucket, stored: StoredSession) -> str:
    """Return a session's first path that leads out of the store.

    The text is empty if there is none.
    """
    if not root.is_local:
        return ""
    top, keys = os.path.realpath(root.root), stored.keys

    def leads_out(path: str) -> bool:
        return not Path(os.path.realpath(root.path(path))).is_relative_to(top)

    for folder in sorted({f"{stored.group}/{key}".rpartition("/")[0] for key in keys} | {stored.group}):
        if leads_out(folder):
            return folder
    for key in keys:
        path = f"{stored.group}/{key}"
        if os.path.islink(root.path(path)) and leads_out(path):
            return key
    return ""


def _difference(root: Bucket, stored: StoredSession, bucket: Bucket, splits: str | os.PathLike[str] | None) -> str:
    """Describe a session's first difference from the bucket, or return ""."""
    options = stored.record.options
    query = VoxelQuery.from_arguments(options.roi, options.mask)
    contents = betas_contents(bucket, stored.subject, anatomy=query.needs_anatomy)
    plan = session_plan(bucket, contents, stored.session, options)
    parts = plan.read(plan.fetch(), whole_session(stored.session), find_source(splits, bucket=bucket))
    kept, _ = kept_voxels(parts, query, where=f"{stored.subject} in {bucket.url}")
    difference = _other_labels(root, stored, replace(parts, brain=kept))
    if difference:
        return difference
    block = parts.steps[stored.session].block
    assert isinstance(block, SessionBlock), "parts from a bucket are streams"
    source = block.read(kept.axis.index)
    first: tuple[int, int] | None = None
    detail = ""
    for part in stored.grid.parts(range(stored.grid.n_chunks), stored.record.chunks):
        content = root.read(f"{stored.group}/{BETAS}/{part.key}", part.start, part.stop)
        for chunk, values in zip(part.chunks, stored.grid.unpack(part, content), strict=True):
            start = chunk * stored.grid.width
            expected = options.rounding.apply(source[:, start : start + stored.grid.width])
            found = values[:, : expected.shape[1]]
            # Compared as bits, so that NaNs count as equal.
            rows, columns = np.nonzero(_bits(found) != _bits(expected))
            if len(rows):
                voxels = kept.axis.index[start + columns]
                at = min(zip(rows.tolist(), voxels.tolist(), range(len(rows)), strict=True))
                if first is None or at[:2] < first:
                    first = at[:2]
                    here = rows[at[2]], columns[at[2]]
                    detail = f"found {found[here]}, expected {expected[here]}"
    if first is None:
        return ""
    number = layout.session_number(stored.session) * TRIALS_PER_SESSION + first[0]
    return f"{stored.subject} {stored.session} trial {number} voxel {first[1]}: {detail}"


def _other_labels(root: Bucket, stored: StoredSession, parts: BetasParts) -> str:
    """Describe the first differing coordinate, or return ""."""
    contents = root.read_present([stored.key(name) for name in stored.arrays if name != BETAS])
    for name, (_, expected, _) in parts.coordinates().items():
        if name not in stored.arrays:
            if name == STIMULUS:
                continue  # the store was built before the bucket had the table
            return f"{stored.subject} {stored.session}: the store has no coordinate {name}"
        found = stored.value(name, contents, where=root.url)
        if found.shape != np.shape(expected):
            return (
                f"{stored.subject} {stored.session}: {name} has the shape {found.shape}, expected {np.shape(expected)}"
            )
        differs = np.flatnonzero(~_same(found, np.asarray(expected)))
        if len(differs):
            at = np.unravel_index(differs[0], found.shape)
            where = f"{stored.subject} {stored.session}: {name} at {tuple(map(int, at))}"
            return f"{where}: found {found[at]!r}, expected {np.asarray(expected)[at]!r}"
    return ""


def _same(found: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.bool_]:
    same = np.asarray(found == expected, dtype=bool)
    if found.dtype.kind == "f":
        same |= np.isnan(found) & np.isnan(expected)
    return same


def _bits(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(values).view(f"u{values.itemsize}")
