"""What the bucket holds now, from its listings: never from a remembered list.

The functions that users ask share a server's listings for `LISTING_SECONDS` within a process (`refresh` asks again).
Those of a local folder, which anything may have changed, are not kept. Opening data always asks the bucket, because
sizes and ETags are pinned from its answer.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from intake_laion_fmri import layout
from intake_laion_fmri.errors import (
    IncompleteBucketWarning,
    NotInBucketError,
    unknown_value,
)
from intake_laion_fmri.forks import concurrently
from intake_laion_fmri.remote.access import Bucket, ObjectInfo, open_bucket

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "RoiFile",
    "SubjectContents",
    "describe",
    "get_categories",
    "get_rois",
    "get_sessions",
    "get_subjects",
    "inspect_bucket",
    "inventory",
    "odd_sessions",
    "public_sessions",
    "roi_files",
    "subject_contents",
    "subjects",
]

Listing = TypeVar("Listing", list[str], dict[str, ObjectInfo])

LISTING_SECONDS = 300.0
"""How long a server's listing answers the questions of users: a page of them asks for each once."""

_listings: dict[tuple[Bucket, str, str], tuple[float, Any]] = {}
"""Bucket, kind of listing and folder → when it was made, and the listing: a few hundred objects a subject."""


@dataclass(frozen=True)
class RoiFile:
    """One file of an ROI."""

    name: str
    """Public name, without hyphens."""
    category: str
    """The category's folder."""
    kind: str
    """``roi`` (a volume on the grid of the betas), ``roi_gii`` or ``roi_label``."""
    hemi: str
    """``L`` or ``R`` on a surface, empty for a volume."""
    info: ObjectInfo
    """Its file."""


@dataclass(frozen=True)
class SubjectContents:
    """What the bucket holds of one subject."""

    subject: str
    """``"sub-01"``."""
    objects: Mapping[str, ObjectInfo]
    """Key → object, of everything that was asked for; held-out sessions among them."""
    sessions: tuple[str, ...]
    """Public sessions with betas, ascending."""
    rois: tuple[RoiFile, ...]
    """ROI volumes, sorted by public name."""

    def find(self, kind: str, **entities: str) -> ObjectInfo | None:
        """Return an object of this subject, or None where the bucket has none; see `layout.key`."""
        return self.objects.get(layout.key(kind, subject=self.subject, **entities))


def subjects(bucket: Bucket) -> list[str]:
    """List the subjects of which the bucket holds betas or ROIs, sorted: two listings."""
    return sorted({name for tree in layout.MAIN_TREES for name in _only_subjects(bucket.folders(tree.root))})


def subject_contents(
    bucket: Bucket, subject: str, *, anatomy: bool = False, everything: bool = False
) -> SubjectContents:
    """List what the bucket holds of a subject: a few hundred objects, by listings that are under way at once.

    From S3 this takes two listings, and one more with `anatomy`: 115 to 170 kB of a whole subject.

    Parameters
    ----------
    bucket : Bucket
        Where to look.
    subject : str
        ``"sub-01"``.
    anatomy : bool, default False
        Whether to list the anatomical tree too.
    everything : bool, default False
        Whether to list all trees with a folder for each subject.

    Returns
    -------
    SubjectContents

    Raises
    ------
    ValueError
        If there is no such subject, with the nearest names.
    NotInBucketError
        If there is no such bucket, or none of its folders is there.
    BucketUnreachableError
        If the bucket does not answer.
    """
    trees = layout.SUBJECT_TREES if everything else (*layout.MAIN_TREES, *([layout.ANATOMY] if anatomy else []))
    objects: dict[str, ObjectInfo] = {}
    for found in _at_once(bucket, [tree.folder(subject) for tree in trees]):
        objects |= found
    if not objects:
        known = subjects(bucket)
        raise unknown_value("subject", subject, known, where=bucket.url) if known else _empty(bucket)
    volumes = tuple(file for file in roi_files(objects) if file.kind == "roi")
    return SubjectContents(subject, objects, public_sessions(objects, ["betas"]), volumes)


def _at_once(bucket: Bucket, folders: Sequence[str]) -> list[dict[str, ObjectInfo]]:
    if bucket.is_local:
        return [bucket.find(folder) for folder in folders]
    # Whoever interrupts it need not wait for a server.
    return concurrently(bucket.find, folders, len(folders), name="list", wait=False)


def roi_files(objects: Mapping[str, ObjectInfo]) -> list[RoiFile]:
    """Pick the ROI files from a listing, sorted by public name: two of one name, where both spellings are there."""
    found = []
    for path, info in objects.items():
        parsed = layout.parse_key(path)
        if parsed and parsed.kind in layout.ROI_KINDS:
            entities = parsed.entities
            name = layout.clean_label(entities["label"])
            found.append(RoiFile(name, entities["category"], parsed.kind, entities.get("hemi", ""), info))
    return sorted(found, key=lambda file: (file.name, file.kind, file.hemi, file.info.key))


def public_sessions(objects: Mapping[str, ObjectInfo], kinds: Collection[str]) -> tuple[str, ...]:
    """Return the public sessions of which a listing has an object of one of these kinds, ascending."""
    parsed = map(layout.parse_key, objects)
    names = {entry.entities["session"] for entry in parsed if entry and entry.kind in kinds}
    public = (name for name in names if not layout.is_held_out(name))
    return tuple(sorted(public, key=lambda name: (layout.session_number(name), name)))


def odd_sessions(subject: str, objects: Mapping[str, ObjectInfo]) -> list[str]:
    """Return the folders of a listing that hold betas or a trial table, but not under a session's name, sorted."""
    root = f"{layout.BETAS.folder(subject)}/"
    read: set[str] = set()
    found: set[str] = set()
    for key in objects:
        folder, _, rest = key.removeprefix(root).partition("/")
        if rest and key.startswith(root) and key.endswith(layout.BETAS_ENDINGS):
            (found if layout.parse_key(key) is None else read).add(folder)
    return sorted(found - read)


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
        Whether to ask a server again that this process has asked within the last five minutes. A local folder, a
        mirror that is read alone among them, is always looked at.

    Returns
    -------
    list of str
        The union over the derivative trees: subjects whose data are uploaded in part are among them.

    Raises
    ------
    NotInBucketError
        If there is no such bucket, or it has none of the trees.
    BucketUnreachableError
        If it does not answer.

    Warns
    -----
    IncompleteBucketWarning
        If a tree misses subjects that another has.

    Notes
    -----
    Two listings.
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
    """List the public sessions of a subject that have betas, ascending.

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
        If the subject has none, and another tree has the subject.

    Notes
    -----
    One listing; two more where it is empty.
    """
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    name = layout.subject_name(subject)
    objects = _find(place, layout.BETAS.folder(name), refresh=refresh)
    if not objects:
        _expect_subject(place, name, refresh=refresh)
    return list(public_sessions(objects, ["betas"]))


def get_rois(
    subject: str,
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
    subject : str
        ``"sub-01"`` or ``"01"``.
    category : str, optional
        ROIs of this category only.
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`.

    Returns
    -------
    list of str
        Public names, of the ROIs that exist in any format.

    Raises
    ------
    ValueError
        If there is no such subject, or no such category, with the nearest ones.
    NotInBucketError, BucketUnreachableError
        As in `get_subjects`.

    Warns
    -----
    IncompleteBucketWarning
        If the subject has none, and another tree has the subject.

    Notes
    -----
    One listing per subject, whatever the number of categories asked for; two more where it is empty.
    """
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    name = layout.subject_name(subject)
    categories = _categories(place, name, refresh=refresh)
    if not categories:
        _expect_subject(place, name, refresh=refresh)
        return []
    known = set().union(*categories.values())
    if category is not None and category not in known:
        raise unknown_value("ROI category", category, sorted(known), where=f"{name} in {place.url}")
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
    """List the categories of a subject's ROIs, sorted; arguments, errors and costs as in `get_rois`."""
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    name = layout.subject_name(subject)
    categories = _categories(place, name, refresh=refresh)
    if not categories:
        _expect_subject(place, name, refresh=refresh)
    return sorted(set().union(*categories.values()))


def describe(
    *,
    bucket: str | os.PathLike[str] | Bucket | None = None,
    storage_options: Mapping[str, Any] | None = None,
    mirror: str | os.PathLike[str] | None = None,
    mirror_only: bool | None = None,
    refresh: bool = False,
) -> None:
    """Print what the bucket holds: its address, its subjects, and the ROIs of the first of them.

    Parameters
    ----------
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`, as are errors and warnings.

    Notes
    -----
    Three listings.
    """
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    names = _subjects(place, refresh=refresh)
    rois = sorted(_categories(place, names[0], refresh=refresh))
    print("LAION-fMRI Dataset")
    print(f"  Bucket:    {place.url}")
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
    """Print the top-level folders of the bucket and the number of subjects in each derivative tree.

    Parameters
    ----------
    bucket, storage_options, mirror, mirror_only, refresh
        As in `get_subjects`, as are errors and warnings.

    Notes
    -----
    Three listings.
    """
    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    _subjects(place, refresh=refresh)  # for its errors and its warning; its listings are used again below
    top = _folders(place, "", refresh=refresh)
    print(f"Bucket: {place.url}")
    print(f"Top-level prefixes ({len(top)}):")
    for name in top:
        print(f"  {name}/")
    for tree in layout.MAIN_TREES:
        entries = _folders(place, tree.root, refresh=False)
        print(f"{tree.root}/: {len(entries)} entries, {len(_only_subjects(entries))} sub-* entries")


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
        texts where they do not apply), ``group`` (see `layout.GROUPS`), ``kind`` (see `layout.KINDS`), ``key``,
        ``bytes`` and ``held_out``.

    Notes
    -----
    Two listings for the subjects and three per subject.
    """
    import pandas as pd

    place = open_bucket(bucket, storage_options, mirror=mirror, mirror_only=mirror_only)
    objects: dict[str, ObjectInfo] = {}
    for name in _subjects(place, refresh=refresh):
        for tree in layout.SUBJECT_TREES:
            objects |= _find(place, tree.folder(name), refresh=refresh)
    rows = []
    for path, info in sorted(objects.items()):
        parsed = layout.parse_key(path)
        if parsed is None:
            continue
        session = parsed.entities.get("session", "")
        rows.append(
            {
                "subject": parsed.entities["subject"],
                "session": session,
                "roi": layout.clean_label(parsed.entities.get("label", "")),
                "category": parsed.entities.get("category", ""),
                "group": layout.KINDS[parsed.kind].group,
                "kind": parsed.kind,
                "key": path,
                "bytes": info.size,
                "held_out": bool(session) and layout.is_held_out(session),
            }
        )
    columns = ["subject", "session", "roi", "category", "group", "kind", "key", "bytes", "held_out"]
    return pd.DataFrame(rows, columns=columns)


def _subjects(bucket: Bucket, *, refresh: bool, stacklevel: int = 3) -> list[str]:
    """Return the union over the trees; say which tree misses whom."""
    by_tree = {tree.root: _only_subjects(_folders(bucket, tree.root, refresh=refresh)) for tree in layout.MAIN_TREES}
    names = sorted({name for found in by_tree.values() for name in found})
    if not names:
        raise _empty(bucket)
    gaps = [
        f"{tree} has no {', '.join(name for name in names if name not in found)}"
        for tree, found in by_tree.items()
        if len(found) < len(names)
    ]
    if gaps:
        message = f"{bucket.url} is filled in part: {'; '.join(gaps)}."
        warnings.warn(message, IncompleteBucketWarning, stacklevel=stacklevel)
    return names


def _only_subjects(names: list[str]) -> list[str]:
    """Pick the subjects from names of folders, which may be anything that a file system or a server takes."""
    return [name for name in names if layout.is_subject(name)]


def _expect_subject(bucket: Bucket, subject: str, *, refresh: bool) -> None:
    names = _subjects(bucket, refresh=refresh, stacklevel=4)
    if subject not in names:
        raise unknown_value("subject", subject, names, where=bucket.url)


def _categories(bucket: Bucket, subject: str, *, refresh: bool) -> dict[str, set[str]]:
    """Return the categories of every ROI of a subject: one each, unless two files contradict each other."""
    objects = _find(bucket, layout.ROIS.folder(subject), refresh=refresh)
    found: dict[str, set[str]] = {}
    for file in roi_files(objects):
        found.setdefault(file.name, set()).add(file.category)
    return found


def _folders(bucket: Bucket, folder: str, *, refresh: bool) -> list[str]:
    return _once(bucket, "folders", folder, bucket.folders, refresh=refresh)


def _find(bucket: Bucket, folder: str, *, refresh: bool) -> dict[str, ObjectInfo]:
    return _once(bucket, "objects", folder, bucket.find, refresh=refresh)


def _once(bucket: Bucket, kind: str, folder: str, ask: Callable[[str], Listing], *, refresh: bool) -> Listing:
    if bucket.is_local:
        return ask(folder)
    key, now = (bucket, kind, folder), time.monotonic()
    made, kept = _listings.get(key, (0.0, None))
    if refresh or not kept or now - made > LISTING_SECONDS:  # what is not there yet is asked for again
        for outdated in [one for one, (then, _) in list(_listings.items()) if now - then > LISTING_SECONDS]:
            _listings.pop(outdated, None)
        kept = ask(folder)
        _listings[key] = (now, kept)
    listing: Listing = kept
    return listing


def _empty(bucket: Bucket) -> NotInBucketError:
    if not bucket.exists():
        return bucket.messages.no_such_bucket()
    return NotInBucketError(
        f"{bucket.url!r} holds no {layout.BETAS_ROOT!r}: expected the root of a bucket, or of a copy of it, with the "
        "bucket's folders."
    )
