"""What the bucket holds now, from its listings: never from a remembered list."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from intake_laion_fmri import layout
from intake_laion_fmri.access import Bucket, ObjectInfo
from intake_laion_fmri.errors import DataIntegrityError, NotInBucketError, unknown_value

__all__ = ["RoiVolume", "SubjectContents", "subject_contents", "subjects"]


@dataclass(frozen=True)
class RoiVolume:
    """One ROI of a subject, as a volume on the grid of the betas."""

    name: str
    """Public name, without hyphens."""
    category: str
    """The category's folder."""
    info: ObjectInfo
    """Its file."""


@dataclass(frozen=True)
class SubjectContents:
    """What the bucket holds of one subject."""

    subject: str
    """``"sub-01"``."""
    objects: Mapping[str, ObjectInfo]
    """Key → object, of everything listed; held-out sessions among them."""
    sessions: tuple[str, ...]
    """Public sessions with betas, ascending."""
    rois: tuple[RoiVolume, ...]
    """ROI volumes, sorted by public name."""

    def find(self, kind: str, **entities: str) -> ObjectInfo | None:
        """Return an object of this subject, or None where the bucket has none; see `layout.key`."""
        return self.objects.get(layout.key(kind, subject=self.subject, **entities))


def subjects(bucket: Bucket) -> list[str]:
    """List the subjects of which the bucket holds betas or ROIs, sorted: two listings."""
    names = {*bucket.folders(layout.BETAS_ROOT), *bucket.folders(layout.ROIS_ROOT)}
    return sorted(name for name in names if name.startswith("sub-"))


def subject_contents(bucket: Bucket, subject: str, *, anatomy: bool = False) -> SubjectContents:
    """List what the bucket holds of a subject: one listing per tree, of a few hundred objects each.

    Parameters
    ----------
    bucket : Bucket
        Where to look.
    subject : str
        ``"sub-01"``.
    anatomy : bool, default False
        Whether to list the anatomical tree too.

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
    DataIntegrityError
        If two ROI files have the same public name.
    """
    folders = [layout.subject_folder(subject), layout.roi_folder(subject)]
    if anatomy:
        folders.append(layout.anatomy_folder(subject))
    objects: dict[str, ObjectInfo] = {}
    for folder in folders:
        objects |= bucket.find(folder)
    if not objects:
        raise _no_such_subject(bucket, subject)
    parsed = {path: layout.parse_key(path) for path in objects}
    sessions = {
        entry.entities["session"]
        for entry in parsed.values()
        if entry and entry.kind == "betas" and not layout.is_held_out(entry.entities["session"])
    }
    rois = [
        RoiVolume(layout.clean_label(entry.entities["label"]), entry.entities["category"], objects[path])
        for path, entry in parsed.items()
        if entry and entry.kind == "roi"
    ]
    rois.sort(key=lambda roi: (roi.name, roi.info.key))
    for one, other in itertools.pairwise(rois):
        if one.name == other.name:
            raise DataIntegrityError(
                f"Two ROIs of {subject} have the name {one.name!r}: {bucket.locate(one.info.key)} and "
                f"{bucket.locate(other.info.key)}. Expected one; if the bucket holds both, report it."
            )
    return SubjectContents(subject, objects, tuple(sorted(sessions, key=layout.session_number)), tuple(rois))


def _no_such_subject(bucket: Bucket, subject: str) -> Exception:
    known = subjects(bucket)
    if known:
        return unknown_value("subject", subject, known, where=bucket.url)
    if not bucket.exists():
        return bucket.no_such_bucket()
    return NotInBucketError(
        f"{bucket.url!r} holds no {layout.BETAS_ROOT!r}: expected the root of a bucket, or of a copy of it, with the "
        "bucket's folders."
    )
