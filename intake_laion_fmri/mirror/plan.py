"""Planning a mirror: chosen objects that are complete, or to be fetched."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from intake_laion_fmri import layout
from intake_laion_fmri.errors import NoMatchingDataError, NotInBucketError, unknown_value
from intake_laion_fmri.layout import ObjectInfo
from intake_laion_fmri.mirror.partial import received_before
from intake_laion_fmri.mirror.report import MirrorPlan
from intake_laion_fmri.mirror.selection import MirrorSelection, subject_of
from intake_laion_fmri.mirror.splits import pools_of
from intake_laion_fmri.mirror.targets import ObjectBusyError, errors_of_writing, locked, what_is_in_the_way
from intake_laion_fmri.reading.contents import subjects as list_subjects
from intake_laion_fmri.remote.access import Bucket
from intake_laion_fmri.remote.copy import MirrorFolder, rejection

ROOT_FILE_BYTES = 1024 * 1024
"""Files directly in the bucket come along up to this size."""


def plan_from_listings(
    bucket: Bucket,
    folder: MirrorFolder,
    selection: MirrorSelection,
    listings: Mapping[str, Mapping[str, ObjectInfo]],
    notes: list[str],
) -> MirrorPlan:
    """Compare chosen objects of listings with the files of a mirror."""
    listed = {key: info for listing in listings.values() for key, info in listing.items() if not key.endswith("/")}
    selection.expect_in(listed, where=bucket.url)
    if selection.wants("stimuli") and not notes:
        notes.append(f"The images require a data use agreement: request access at {layout.REQUEST_URL}.")
    chosen = [info for key, info in sorted(listed.items()) if selection.takes(key)]
    if not any(selection.has_entities(info.key) for info in chosen):
        raise NoMatchingDataError(
            f"{bucket.url} has none of the chosen objects. Choose others; 'intake-laion-fmri ls' lists them."
        )
    public = [info for info in chosen if layout.is_of_public(info.key)]
    ungated = [info for info in public if info.key != layout.GATED]
    folders = _folders_among(listed)
    refused = {}
    for key in (info.key for info in ungated):
        if reason := rejection(key):
            refused[key] = reason
        elif key in folders:
            refused[key] = f"is also the name of the folder that holds {folders[key]!r}"
    objects = [info for info in ungated if info.key not in refused]
    complete, unrecorded, fetch, left_alone = _compared(folder, objects)
    return MirrorPlan(
        folder.path,
        bucket,
        objects=tuple(objects),
        complete=tuple(complete),
        unrecorded=tuple(unrecorded),
        fetch=tuple(fetch),
        n_bytes=sum(info.size for info in objects),
        bytes_to_fetch=sum(info.size - received_before(folder, info) for info in fetch),
        held_out=len(chosen) - len(public),
        gated=len(public) - len(ungated),
        refused=tuple(refused.items()),
        left_alone=tuple(left_alone.items()),
        free_bytes=free_bytes(folder.path),
        notes=tuple(notes),
        listings=listings,
        pools=pools_of(listed) if selection.wants("splits") else (),
    )


def _folders_among(keys: Iterable[str]) -> dict[str, str]:
    """Map each folder of the keys to one of its keys."""
    folders: dict[str, str] = {}
    for key in keys:
        folder = key.rpartition("/")[0]
        while folder and folder not in folders:
            folders[folder] = key
            folder = folder.rpartition("/")[0]
    return folders


def _compared(
    folder: MirrorFolder, objects: Sequence[ObjectInfo]
) -> tuple[list[ObjectInfo], list[ObjectInfo], list[ObjectInfo], dict[str, str]]:
    """Sort objects into complete, unrecorded, to be fetched, and left alone.

    Objects that are left alone come with the reason.
    """
    complete: list[ObjectInfo] = []
    unrecorded: list[ObjectInfo] = []
    fetch: list[ObjectInfo] = []
    left_alone: dict[str, str] = {}
    for info in objects:
        copy = folder.copy_of(info.key)
        if copy and copy.is_complete(info):
            complete.append(info)
        elif reason := what_is_in_the_way(folder, info, copy):
            left_alone[info.key] = reason
        else:
            seems = copy and copy.state.st_size == info.size and (not copy.record or folder.holds(info))
            seems = seems and not folder.is_unprovable(info)
            (unrecorded if seems else fetch).append(info)
    return complete, unrecorded, fetch, left_alone


def listed_now(bucket: Bucket, selection: MirrorSelection) -> tuple[dict[str, dict[str, ObjectInfo]], list[str]]:
    """List the folders of a selection: folder → objects, and notes."""
    root, top = _directly_in(bucket, "")
    trees = [f"derivatives/{name}" for name in _directly_in(bucket, "derivatives")[1]] if "derivatives" in top else []
    listings, notes = {"": root}, []
    there = {"", *top, *trees}
    wanted = [tree for tree in layout.TREES if selection.wants(*layout.groups_in(tree))]
    for tree in (tree for tree in wanted if tree.per == "subject" and tree.root in there):
        every = [tree.root] if tree.root else [name for name in top if layout.is_subject(name)]
        folders = every if selection.subjects is None else map(tree.folder, selection.subjects)
        listings |= {folder: bucket.find(folder) for folder in folders}
    if any(tree.per == "subject" for tree in wanted):
        _expect_subjects(bucket, selection, listings)
    for tree in (tree for tree in wanted if tree.per == "dataset" and tree.root):
        if tree.root in there:
            listings[tree.root] = bucket.find(tree.root)
        elif tree is layout.STIMULI and (selection.besides or selection.groups):
            notes.append(f"{bucket.url} has no {tree.root}/ yet.")
    return listings, notes


def listed_before(bucket: Bucket, folder: MirrorFolder, selection: MirrorSelection) -> dict[str, dict[str, ObjectInfo]]:
    """Return the last run's listing, in the form of `listed_now`."""
    known = folder.listing("") or {}
    missing = set(selection.subjects or ()) - {subject_of(key) for key in known}
    if not known or missing:
        what = f"of {', '.join(sorted(missing))} " if known else ""
        raise NotInBucketError(
            f"{folder.path} has no listing {what}of {bucket.url}: nothing was copied yet. Copy it once the bucket "
            "responds."
        )
    return {"": known}


def _directly_in(bucket: Bucket, folder: str) -> tuple[dict[str, ObjectInfo], list[str]]:
    """List a folder's small files and the names of its folders."""
    try:
        listing = bucket.list_folder(folder)
    except NotInBucketError as error:
        if folder:
            return {}, []
        raise bucket.messages.no_such_bucket() from error
    files = [info for info in listing.files.values() if info is not None]
    folders = [key.rpartition("/")[2] for key in listing.folders]
    return {info.key: info for info in files if info.size <= ROOT_FILE_BYTES}, folders


def _expect_subjects(
    bucket: Bucket, selection: MirrorSelection, listings: Mapping[str, Mapping[str, ObjectInfo]]
) -> None:
    """Raise unless every chosen subject was listed, and at least one."""
    found = {subject_of(key) for listing in listings.values() for key in listing} - {None}
    for name in selection.subjects or ():
        if name not in found:
            known = list_subjects(bucket)
            if name not in known:
                raise unknown_value("subject", name, known, where=bucket.url)
    if not found and not list_subjects(bucket):
        trees = ", ".join(tree.root for tree in layout.SUBJECT_TREES if tree.root)
        raise NotInBucketError(
            f"{bucket.url!r} holds none of {trees}: expected the root of a bucket, or of a copy of it, with the "
            "bucket's folders."
        )


def raise_unless_apart(bucket: Bucket, folder: MirrorFolder) -> None:
    """Raise unless a mirror is a possible folder outside the bucket."""
    if folder.path.exists() and not folder.path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder.path} is a file. A mirror is a folder: give another path.")
    if bucket.is_local and os.path.realpath(bucket.root) == os.path.realpath(folder.path):
        raise ValueError(
            f"{folder.path} is both the bucket and the mirror. Give another bucket=, or copy to another folder."
        )


def free_bytes(path: Path) -> int:
    """Return the free bytes of a folder's disk.

    The folder may not exist yet.
    """
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def save_listings(folder: MirrorFolder, plan: MirrorPlan) -> None:
    """Save the listings for offline use."""
    try:
        with errors_of_writing("A listing", folder.metadata), locked(folder, "listings"):
            for name, objects in plan.listings.items():
                folder.save_listing(name, objects)
    except ObjectBusyError:
        pass  # another process has just listed the same
    except OSError:
        if plan.fetch or plan.unrecorded:  # a complete mirror may be read-only
            raise
