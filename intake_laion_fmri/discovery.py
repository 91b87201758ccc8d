"""Current contents of the bucket: subjects, sessions, ROIs, objects.

They are read from listings (see `recent_listings`), never from a list in the code.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from intake_laion_fmri import layout
from intake_laion_fmri.errors import IncompleteBucketWarning, unknown_value
from intake_laion_fmri.reading.contents import no_subjects, only_subjects, public_sessions, roi_files
from intake_laion_fmri.reading.recent_listings import recent_dataset_objects, recent_folders, recent_objects
from intake_laion_fmri.remote.access import Bucket, open_bucket

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["describe", "get_categories", "get_rois", "get_sessions", "get_subjects", "inspect_bucket", "inventory"]


_INSPECTED = (*layout.MAIN_TREES, layout.FREESURFER, layout.ANATOMY, layout.LOCALIZERS)
"""The trees of `inspect_bucket`, in its order."""


def get_subjects(
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> list[str]:
    """List the subjects of the bucket, sorted.

    Parameters
    ----------
    bucket, storage_options, mirror, mirror_only
        As in `intake_laion_fmri.open_betas`.
    refresh : bool, default False
        Whether to list a server again that this process has listed within the last five minutes. Local folders,
        including mirrors without their bucket, are always listed.

    Returns
    -------
    list of str
        The union over the derivative trees, including subjects whose data are partly uploaded.

    Raises
    ------
    NotInBucketError
        If the bucket does not exist, or has none of the trees.
    BucketUnreachableError
        If the bucket does not respond.

    Warns
    -----
    IncompleteBucketWarning
        If a tree lacks subjects that another tree has.

    Notes
    -----
    Costs two listings.
    """
    return _subjects(open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only), refresh=refresh)


def get_sessions(
    subject: str,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> list[str]:
    """List a subject's public sessions with betas, ascending.

    Parameters
    ----------
    subject : str
        ``"sub-01"`` or ``"01"``.
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`.

    Returns
    -------
    list of str
        Without the held-out sessions.

    Raises
    ------
    ValueError
        If there is no such subject.
    NotInBucketError, BucketUnreachableError
        As in `get_subjects`.

    Warns
    -----
    IncompleteBucketWarning
        If the subject has none, although another tree has the subject.

    Notes
    -----
    Costs one listing, and two more if that is empty.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    subject = layout.subject_name(subject)
    objects = recent_objects(bucket, layout.BETAS.folder(subject), refresh=refresh)
    if not objects:
        _expect_subject(bucket, subject, refresh=refresh)
    return list(public_sessions(objects, ["betas"]))


def get_rois(
    subject: str | None = None,
    category: str | None = None,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> list[str]:
    """List the ROIs of a subject, sorted.

    Parameters
    ----------
    subject : str, optional
        ``"sub-01"`` or ``"01"``; by default the first subject. The ROIs of other subjects may differ.
    category : str, optional
        ROIs of this category only.
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`.

    Returns
    -------
    list of str
        Public names of the ROIs that exist in any format.

    Raises
    ------
    ValueError
        If the subject or category is unknown; the message lists the nearest names.
    NotInBucketError, BucketUnreachableError
        As in `get_subjects`.

    Warns
    -----
    IncompleteBucketWarning
        If the subject has none, although another tree has the subject.

    Notes
    -----
    Costs one listing per subject, regardless of the number of categories, and two more if that is empty.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    subject = layout.subject_name(_subjects(bucket, refresh=refresh)[0] if subject is None else subject)
    categories = _categories(bucket, subject, refresh=refresh)
    if not categories:
        _expect_subject(bucket, subject, refresh=refresh)
    known = set().union(*categories.values())
    if categories and category is not None and category not in known:
        raise unknown_value("ROI category", category, sorted(known), where=f"{subject} in {bucket.url}")
    return sorted(roi for roi, found in categories.items() if category is None or category in found)


def get_categories(
    subject: str,
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> list[str]:
    """List the ROI categories of a subject, sorted; otherwise as `get_rois`."""
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    subject = layout.subject_name(subject)
    categories = _categories(bucket, subject, refresh=refresh)
    if not categories:
        _expect_subject(bucket, subject, refresh=refresh)
    return sorted(set().union(*categories.values()))


def describe(
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> None:
    """Print the bucket's URL, subjects, and the first subject's ROIs.

    Costs three listings.

    Parameters
    ----------
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`, as are errors and warnings.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    names = _subjects(bucket, refresh=refresh)
    rois = sorted(_categories(bucket, names[0], refresh=refresh))
    print("LAION-fMRI Dataset")
    print(f"  Bucket:    {bucket.url}")
    print(f"  Subjects:  {len(names)} ({', '.join(names)})")
    print(f"  ROIs:      {', '.join(rois)}")


def inspect_bucket(
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> None:
    """Print the top-level folders and the subjects per tree (six listings).

    Parameters
    ----------
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`, as are errors and warnings.
    """
    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    _subjects(bucket, refresh=refresh)  # raises and warns; its listings are reused below
    top = recent_folders(bucket, "", refresh=refresh)
    print(f"Bucket: {bucket.url}")
    print(f"Top-level prefixes ({len(top)}):")
    for name in top:
        print(f"  {name}/")
    for tree in _INSPECTED:
        entries = recent_folders(bucket, tree.root, refresh=refresh and not tree.is_main)
        if entries or tree.is_main:
            print(f"{tree.root}/: {len(entries)} entries, {len(only_subjects(entries))} sub-* entries")
    if raw := only_subjects(top):
        print(f"sub-*/  (raw BIDS root): {len(top)} entries, {len(raw)} sub-* entries")


def inventory(
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> pd.DataFrame:
    """List every object that this package can read, as a table.

    Parameters
    ----------
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`, as are errors and warnings.

    Returns
    -------
    pandas.DataFrame
        A row per object, sorted by key, with the columns ``subject``, ``session``, ``roi`` and ``category`` (empty
        strings where they do not apply), ``group`` (see `layout.GROUPS`), ``kind`` (see `layout.KINDS`), ``key``,
        ``bytes`` and ``held_out``.

    Notes
    -----
    Costs two listings for the subjects, four for objects without a subject, and at least seven per subject.
    """
    import pandas as pd

    bucket = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    names = _subjects(bucket, refresh=refresh)
    objects = recent_dataset_objects(bucket, refresh=refresh)
    for name in names:
        for tree in layout.SUBJECT_TREES:
            objects |= recent_objects(bucket, tree.folder(name), refresh=refresh)
    rows = []
    for key, info in sorted(objects.items()):
        if (parsed := layout.parse_key(key)) is not None:
            session, label, category = (parsed.entities.get(name, "") for name in ("session", "label", "category"))
            roi, group = layout.clean_label(label), layout.KINDS[parsed.kind].group
            held_out = not layout.is_of_public(key)
            subject = parsed.entities.get("subject", "")
            rows.append((subject, session, roi, category, group, parsed.kind, key, info.size, held_out))
    columns = ["subject", "session", "roi", "category", "group", "kind", "key", "bytes", "held_out"]
    return pd.DataFrame(rows, columns=columns)


def _subjects(bucket: Bucket, *, refresh: bool, stacklevel: int = 3) -> list[str]:
    """Return the union of the trees' subjects, and warn of gaps."""
    by_tree = {
        tree.root: only_subjects(recent_folders(bucket, tree.root, refresh=refresh)) for tree in layout.MAIN_TREES
    }
    names = sorted({name for found in by_tree.values() for name in found})
    if not names:
        raise no_subjects(bucket)
    gaps = [
        f"{tree} has no {', '.join(name for name in names if name not in found)}"
        for tree, found in by_tree.items()
        if len(found) < len(names)
    ]
    if gaps:
        message = f"{bucket.url} is incomplete: {'; '.join(gaps)}."
        warnings.warn(message, IncompleteBucketWarning, stacklevel=stacklevel)
    return names


def _expect_subject(bucket: Bucket, subject: str, *, refresh: bool) -> None:
    names = _subjects(bucket, refresh=refresh, stacklevel=4)
    if subject not in names:
        raise unknown_value("subject", subject, names, where=bucket.url)


def _categories(bucket: Bucket, subject: str, *, refresh: bool) -> dict[str, set[str]]:
    """Return the categories of each ROI: one, unless its files disagree."""
    objects = recent_objects(bucket, layout.ROIS.folder(subject), refresh=refresh)
    found: dict[str, set[str]] = {}
    for file in roi_files(objects):
        found.setdefault(file.name, set()).add(file.category)
    return found
