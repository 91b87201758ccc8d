"""Planning a build: jobs for sessions that are not complete.

A store is built neither over foreign files nor inside its own bucket.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intake_laion_fmri.axes.roles import SHARED
from intake_laion_fmri.building.report import SessionReport
from intake_laion_fmri.errors import DataIntegrityError, NotInStoreError
from intake_laion_fmri.reading.arguments import check_subjects
from intake_laion_fmri.reading.assembly import BucketPlan
from intake_laion_fmri.reading.contents import SubjectContents, subject_contents, subjects
from intake_laion_fmri.reading.plans.trials import TrialQuery
from intake_laion_fmri.reading.plans.voxels import VoxelQuery
from intake_laion_fmri.remote import marks
from intake_laion_fmri.remote.access import SMALL_FILES_IN_FLIGHT, Bucket
from intake_laion_fmri.running.forks import concurrently
from intake_laion_fmri.store.format import StoredSession
from intake_laion_fmri.store.groups import METADATA, ForeignError
from intake_laion_fmri.store.listing import read_options
from intake_laion_fmri.store.metadata import metadata_key, root_metadata, session_group, subject_metadata, sum_of_inputs
from intake_laion_fmri.store.options import StoreOptions
from intake_laion_fmri.store.writing import store_writer


@dataclass(frozen=True)
class Job:
    """A session to build."""

    root: Bucket
    """The store."""
    bucket: Bucket
    """The bucket to read from."""
    subject: str
    """``"sub-01"``."""
    session: str
    """``"ses-01"``."""
    options: StoreOptions
    """The options of the store."""
    splits: str | os.PathLike[str] | None
    """Folder or URL of split files, as the user gave it."""
    size: int
    """Packed bytes of the session's betas."""
    wait: bool = False
    """Whether to wait for another builder of the session, instead of leaving it for later."""

    @property
    def group(self) -> str:
        """Path of the session's group in the store."""
        return session_group(self.subject, self.session)


@dataclass(frozen=True)
class _SubjectPlan:
    """A subject's contents in the bucket, and the sessions to build."""

    public: tuple[str, ...]
    """Every public session with betas."""
    sessions: Mapping[str, BucketPlan]
    """Those to build."""


def checked_options(root: Bucket, given: Mapping[str, Any]) -> StoreOptions:
    """Check build options against those of an existing store."""
    try:
        stored = read_options(root)
    except NotInStoreError:
        stored = None
    return StoreOptions.from_arguments(given, stored)


def subject_plans(
    bucket: Bucket, asked: str | Sequence[str], query: TrialQuery, options: StoreOptions
) -> dict[str, _SubjectPlan]:
    """List the bucket and plan every requested session before writing starts."""
    names = check_subjects(asked)
    if names is None:
        names = tuple(subjects(bucket))
        if not names:
            subject_contents(bucket, "sub-01")  # for its error
    voxels = VoxelQuery.from_arguments(options.roi, options.mask)
    plans = {}
    for name in names:
        contents = subject_contents(bucket, name, anatomy=voxels.needs_anatomy)
        asked_for = BucketPlan.from_listing(bucket, contents, query, voxels).trials.sessions
        each = {session: session_plan(bucket, contents, session, options) for session in asked_for}
        plans[name] = _SubjectPlan(contents.sessions, each)
    return plans


def session_plan(bucket: Bucket, contents: SubjectContents, session: str, options: StoreOptions) -> BucketPlan:
    """Plan the reading of a session.

    The plan covers the whole mask, because the voxels left out are recorded as well.
    """
    return BucketPlan.from_listing(
        bucket, contents, whole_session(session), VoxelQuery.from_arguments(None, options.mask)
    )


def whole_session(session: str) -> TrialQuery:
    """Return the selection of all trials of a session."""
    return TrialQuery.from_arguments(session, None, None, SHARED, "both")


def begin(root: Bucket, options: StoreOptions, plans: Mapping[str, _SubjectPlan]) -> None:
    """Write the metadata of the groups above the sessions."""
    writer = store_writer(root)
    writer.put(metadata_key(""), root_metadata(options), unless_there=True)
    written = read_options(root)
    if written != options:
        raise ValueError(
            f"Another builder has just begun {root.url} with {written}, instead of {options} as requested here. "
            "Choose another URL, or the same options."
        )
    for subject, plan in plans.items():
        key, content = metadata_key(subject), subject_metadata(subject, plan.public)
        there = root.read_present([key]).get(key)
        if there is not None and _is_foreign(there):
            raise ForeignError.from_keys(root.locate(subject), [METADATA])
        if there != content:
            writer.put(key, content)


def pending_jobs(
    root: Bucket,
    plans: Mapping[str, _SubjectPlan],
    options: StoreOptions,
    splits: str | os.PathLike[str] | None,
) -> tuple[list[SessionReport], list[Job]]:
    """Return reports of complete sessions and jobs for the others."""
    wanted = [(session, plan) for subject in plans.values() for session, plan in subject.sessions.items()]
    statuses = concurrently(
        lambda pair: session_status(root, pair[1], pair[0], options), wanted, SMALL_FILES_IN_FLIGHT, name="store"
    )
    complete, jobs = [], []
    for (session, plan), status in zip(wanted, statuses, strict=True):
        if status == "complete":
            complete.append(SessionReport(plan.subject, session, status))
        else:
            size = plan.trials.betas[session].size
            jobs.append(Job(root, plan.bucket, plan.subject, session, options, splits, size))
    return complete, jobs


def session_status(root: Bucket, plan: BucketPlan, session: str, options: StoreOptions) -> str:
    """Return ``"complete"``, ``"built"`` or ``"renewed"``: what a session needs."""
    group = session_group(plan.subject, session)
    key = metadata_key(group)
    content = root.read_present([key])
    if not content:
        return "built"
    if _is_foreign(content[key]):
        raise ForeignError.from_keys(root.locate(group), [METADATA])
    try:
        stored = StoredSession.parse(content[key], group=group, name=root.locate(key))
    except DataIntegrityError:
        return "renewed"
    if stored.record.inputs != sum_of_inputs(plan.inputs) or stored.record.options != options:
        return "renewed"
    sizes = {key: info.size for key, info in root.find(group).items()}
    return "complete" if all(sizes.get(f"{group}/{key}") == size for key, size in stored.keys.items()) else "renewed"


def expect_apart(root: Bucket, source: Bucket) -> None:
    """Raise ValueError if a store and its sources lie inside each other."""
    mirror = source.copies.mirror
    roots = [("bucket", source), *([("mirror", Bucket(os.fspath(mirror.path)))] if mirror else [])]
    for kind, other in roots:
        if root.is_local and other.is_local:
            paths = [Path(os.path.realpath(bucket.root)) for bucket in (root, other)]
            inside = paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])
        else:
            first, second = (f"{bucket.root}/" for bucket in (root, other))
            inside = _serve_alike(root, other) and (first.startswith(second) or second.startswith(first))
        if inside:
            raise ValueError(
                f"The store {root.url} and the {kind} {other.url} must not contain each other: the source of a store "
                "is never written to. Build the store in a folder beside it."
            )


def _serve_alike(root: Bucket, other: Bucket) -> bool:
    """Return True if equal paths are known to be equal objects in both."""
    if not (root.is_s3 and other.is_s3):
        return type(root.file_system) is type(other.file_system)
    return root.messages.endpoint() == other.messages.endpoint()


def _is_foreign(content: bytes) -> bool:
    """Return True for metadata of a Zarr node of another program.

    Returns False for damaged metadata.
    """
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return not marks.STORE.recognises(content)
