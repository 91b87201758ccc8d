"""Fresh listings of a subject's objects, and contents of small files."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from intake_laion_fmri import layout
from intake_laion_fmri.errors import NotInBucketError, unknown_value
from intake_laion_fmri.remote.access import Bucket, ObjectInfo
from intake_laion_fmri.running.forks import concurrently


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
    """A subject's objects in the bucket."""

    subject: str
    """``"sub-01"``."""
    objects: Mapping[str, ObjectInfo]
    """Key → object, for all listed trees, held-out sessions included."""
    sessions: tuple[str, ...]
    """Public sessions with betas, ascending."""
    rois: tuple[RoiFile, ...]
    """ROI volumes, sorted by public name."""

    def find(self, kind: str, **entities: str) -> ObjectInfo | None:
        """Return an object of this subject, or None; see `layout.key`."""
        return self.objects.get(layout.key(kind, subject=self.subject, **entities))


def expect_object(bucket: Bucket, key: str, objects: Mapping[str, ObjectInfo]) -> ObjectInfo:
    """Return a listed object, or raise NotInBucketError with its neighbours."""
    if key not in objects:
        raise bucket.missing(key, objects)
    return objects[key]


def subjects(bucket: Bucket) -> list[str]:
    """List the subjects with betas or ROIs, sorted; two listings."""
    return sorted({name for tree in layout.MAIN_TREES for name in only_subjects(bucket.folders(tree.root))})


def subject_contents(
    bucket: Bucket,
    subject: str,
    *,
    anatomy: bool = False,
    trees: Sequence[layout.Tree] = (),
) -> SubjectContents:
    """List a subject's objects.

    Parameters
    ----------
    bucket : Bucket
        Bucket to list.
    subject : str
        ``"sub-01"``.
    anatomy : bool, default False
        Whether to list the anatomical images.
    trees : sequence of Tree, optional
        Further trees, of a subject or of the whole data set.

    Raises
    ------
    ValueError
        If there is no such subject, with the nearest names.
    NotInBucketError
        If there is no such bucket, or none of its folders exists.
    BucketUnreachableError
        If the bucket does not respond.

    Notes
    -----
    Two concurrent listings, and one per further tree: 115 to 170 kB from S3 for a whole subject.
    """
    objects: dict[str, ObjectInfo] = {}
    is_known = False
    each = tuple(dict.fromkeys((*layout.MAIN_TREES, *([layout.ANATOMY] if anatomy else []), *trees)))
    for tree, found in zip(each, find_each(bucket, [tree.folder(subject) for tree in each]), strict=True):
        objects |= found
        is_known |= bool(found) and tree.per == "subject"
    if not is_known:
        known = subjects(bucket)
        raise unknown_value("subject", subject, known, where=bucket.url) if known else no_subjects(bucket)
    volumes = tuple(file for file in roi_files(objects) if file.kind == "roi")
    return SubjectContents(subject, objects, public_sessions(objects, ["betas"]), volumes)


def dataset_objects(bucket: Bucket) -> dict[str, ObjectInfo]:
    """List stimuli, splits and the files at the root; four listings."""
    folders = [tree.root for tree in layout.TREES if tree.per == "dataset" and tree.root]
    objects = {key: info for key, info in bucket.root_files().items() if layout.tree_of(key)}
    for found in find_each(bucket, folders):
        objects |= found
    return objects


def betas_contents(bucket: Bucket, subject: str, *, anatomy: bool) -> SubjectContents:
    """List a subject's objects and the stimuli, as needed for betas."""
    return subject_contents(bucket, subject, anatomy=anatomy, trees=[layout.STIMULI])


def find_each(bucket: Bucket, folders: Sequence[str]) -> list[dict[str, ObjectInfo]]:
    """List folders, concurrently from a server; see `Bucket.find`."""
    if bucket.is_local:
        return [bucket.find(folder) for folder in folders]
    # An interrupt must not wait for a server.
    return concurrently(bucket.find, folders, len(folders), name="list", wait=False)


def roi_files(objects: Mapping[str, ObjectInfo]) -> list[RoiFile]:
    """List the ROI files, sorted by public name, in all spellings."""
    found = []
    for path, info in objects.items():
        parsed = layout.parse_key(path)
        if parsed and parsed.kind in layout.ROI_KINDS:
            entities = parsed.entities
            name = layout.clean_label(entities["label"])
            found.append(RoiFile(name, entities["category"], parsed.kind, entities.get("hemi", ""), info))
    return sorted(found, key=lambda file: (file.name, file.kind, file.hemi, file.info.key))


def public_sessions(objects: Mapping[str, ObjectInfo], kinds: Collection[str]) -> tuple[str, ...]:
    """List public sessions with an object of these kinds, ascending."""
    parsed = map(layout.parse_key, objects)
    names = {entry.entities["session"] for entry in parsed if entry and entry.kind in kinds}
    public = (name for name in names if not layout.is_held_out(name))
    return tuple(sorted(public, key=lambda name: (layout.session_number(name), name)))


def odd_sessions(subject: str, objects: Mapping[str, ObjectInfo]) -> list[str]:
    """List folders with betas or trials that are not named like sessions."""
    root = f"{layout.BETAS.folder(subject)}/"
    read: set[str] = set()
    found: set[str] = set()
    for key in objects:
        folder, _, rest = key.removeprefix(root).partition("/")
        if rest and key.startswith(root) and key.endswith(layout.BETAS_ENDINGS):
            (found if layout.parse_key(key) is None else read).add(folder)
    return sorted(found - read)


def only_subjects(names: list[str]) -> list[str]:
    """Select the subjects among folder names."""
    return [name for name in names if layout.is_subject(name)]


def no_subjects(bucket: Bucket) -> NotInBucketError:
    """Return the error for a wrong address or a bucket without subjects."""
    if not bucket.exists():
        return bucket.messages.no_such_bucket()
    return NotInBucketError(
        f"{bucket.url!r} holds no folder {layout.BETAS_ROOT!r}: expected the root of the bucket, or of a copy with the "
        "same folders."
    )


class Fetched(dict[str, bytes]):
    """Key → content; a failed key raises its error on access."""

    def __init__(self, bucket: Bucket, objects: Iterable[ObjectInfo]) -> None:
        self._failures: dict[str, Exception] = {}
        super().__init__(bucket.fetch({info.key: info for info in objects}.values(), self._failures))

    def __missing__(self, key: str) -> bytes:
        raise self._failures.get(key, KeyError(key))
