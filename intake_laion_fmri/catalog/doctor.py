"""Report on a bucket: list it, compare it with the catalog, open each source."""

from __future__ import annotations

import importlib.metadata
import platform
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from intake_laion_fmri import __version__, layout
from intake_laion_fmri.catalog.drift import Change, compare
from intake_laion_fmri.catalog.inventory import (
    catalog_folder,
    inventory_from_listings,
    list_subjects,
    read_inventory,
)
from intake_laion_fmri.errors import AccessDeniedError, NotInBucketError, in_short, redact, unknown_value
from intake_laion_fmri.reading.pages import counted, shaped
from intake_laion_fmri.remote.access import Bucket, ObjectInfo
from intake_laion_fmri.sources import SOURCES, Source

_LIBRARIES = (
    *("intake", "intake-xarray", "xarray", "dask", "fsspec", "s3fs"),
    *("zarr", "nibabel", "h5py", "numpy", "pandas"),
)
_FAILURES = (OSError, ValueError, LookupError, TypeError, ArithmeticError, RuntimeError, ImportError)
"""Exceptions that opening a source may raise if the bucket is not as expected."""
_MOST_CHARACTERS = 400
_MOST_LINES = 20


@dataclass(frozen=True)
class Opened:
    """Result of opening one source."""

    source: str
    """Name of the source."""
    result: str
    """``opened``, ``not there``, ``on request`` or ``failed``."""
    seconds: float
    """Time to open it."""
    detail: str
    """Sizes of the opened data, or the error."""
    warnings: tuple[str, ...] = ()
    """Warnings from opening it."""


@dataclass
class Report:
    """Report on a bucket."""

    bucket: str
    """URL of the bucket, without secrets."""
    versions: dict[str, str]
    """Versions of this package, Python and libraries."""
    subjects: list[str] = field(default_factory=list)
    """Subjects of the bucket."""
    listing_seconds: float = 0.0
    """Time to list all subjects."""
    changes: list[str] = field(default_factory=list)
    """Differences from the catalog that ships with the package."""
    subject: str = ""
    """Subject whose sources were opened."""
    groups: dict[str, tuple[int, int]] = field(default_factory=dict)
    """From group to the number and bytes of its objects, of that subject or of none."""
    unlisted: list[str] = field(default_factory=list)
    """Folders of that subject, or of none, that could not be listed, with the error."""
    unknown: list[str] = field(default_factory=list)
    """Unexpected folders, such as those of unknown derivatives."""
    unread: list[str] = field(default_factory=list)
    """Keys of objects that no source reads."""
    opened: list[Opened] = field(default_factory=list)
    """Results by source."""

    @property
    def failed(self) -> list[str]:
        """Names of the sources that are present and failed to open."""
        return [result.source for result in self.opened if result.result == "failed"]

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values."""
        return asdict(self)

    def markdown(self) -> str:
        """Return the report as Markdown, for an issue."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"## {self.bucket}, checked by intake-laion-fmri\n"
        yield ", ".join(f"{name} {version}" for name, version in self.versions.items())
        yield f"\nSubjects: {', '.join(self.subjects)}; listed in {self.listing_seconds:.1f} s.\n"
        yield "### Differences from the catalog that ships with the package\n"
        yield from _listed(self.changes, "None.")
        yield f"\n### Objects of {self.subject}, and of no subject\n"
        yield from _table(
            ("group", "objects", "bytes"), [(name, f"{n:,}", f"{size:,}") for name, (n, size) in self.groups.items()]
        )
        if self.unlisted:
            yield "\n### Folders that could not be listed\n"
            yield from _listed(self.unlisted, "")
        yield "\n### Folders that this package does not know\n"
        yield from _listed([f"`{folder}`" for folder in self.unknown], "None.")
        yield f"\n### {counted(len(self.unread), 'object')} that no source reads\n"
        yield from _listed([f"`{key}`" for key in self.unread], "None.")
        yield f"\n### Sources of {self.subject}, opened lazily\n"
        rows = [(result.source, result.result, f"{result.seconds:.2f} s", result.detail) for result in self.opened]
        yield from _table(("source", "result", "time", "detail"), rows)
        warned = [f"{result.source}: {warning}" for result in self.opened for warning in result.warnings]
        yield "\n### Warnings\n"
        yield from _listed(warned, "None.")


def look(bucket: Bucket, subject: str | None = None, session: str | None = None) -> Report:
    """Report on a bucket, from listings and one subject's small files.

    Parameters
    ----------
    bucket : Bucket
        The bucket.
    subject : str, optional
        The subject whose sources are opened; by default the first of the bucket.
    session : str, optional
        A session whose betas are read, too, which streams its whole file. By default none.

    Raises
    ------
    BucketUnreachableError, AccessDeniedError, NotInBucketError
        If the bucket cannot be listed.
    ValueError
        If the bucket does not have the subject.
    """
    import dask.array  # noqa: F401  # imported before timing
    import xarray  # noqa: F401

    system = {"intake-laion-fmri": __version__, "Python": platform.python_version(), "system": platform.platform()}
    report = Report(bucket.url, system | {name: importlib.metadata.version(name) for name in _LIBRARIES})
    start = time.monotonic()
    listings = list_subjects(bucket)
    report.listing_seconds = time.monotonic() - start
    report.subjects = list(listings)
    found = inventory_from_listings(bucket, listings)
    report.changes = list(_together(compare(read_inventory(catalog_folder()), found)))
    report.subject = layout.subject_name(subject) if subject else report.subjects[0]
    objects, report.unlisted = _others(bucket, report.subject)
    report.unknown, denied = _unknown_folders(bucket)
    report.unlisted += denied
    objects |= listings.get(report.subject, {})
    if not any(tree.per == "subject" for tree in map(layout.tree_of, objects) if tree):
        raise unknown_value("subject", report.subject, report.subjects, where=bucket.url)
    number, size = Counter[str](), Counter[str]()
    for key, info in objects.items():
        number[layout.group_of(key)] += 1
        size[layout.group_of(key)] += info.size
    report.groups = {name: (number[name], size[name]) for name in sorted(number)}
    sidecar = ".json"  # read together with the file that it describes
    report.unread = sorted(key for key in objects if layout.parse_key(key) is None and not key.endswith(sidecar))
    report.opened = [_open(source, bucket, report.subject) for source in SOURCES.values()]
    if session is not None:
        report.opened.append(_read(bucket, report.subject, session))
    return report


def _others(bucket: Bucket, subject: str) -> tuple[dict[str, ObjectInfo], list[str]]:
    """List the root and all but the main trees; describe denials."""
    objects = {key: info for key, info in bucket.root_files().items() if layout.tree_of(key)}
    unlisted = []
    for tree in layout.TREES:
        folder = tree.folder(subject) if tree.per == "subject" else tree.root
        if tree in layout.MAIN_TREES or not folder:
            continue
        try:
            objects |= bucket.find(folder)
        except AccessDeniedError as error:
            unlisted.append(_unlisted(folder, error))
    return objects, unlisted


def _unknown_folders(bucket: Bucket) -> tuple[list[str], list[str]]:
    """List folders at the root, or beside trees, without a tree.

    A second list describes folders for which access is denied.
    """
    roots = [tree.root for tree in layout.TREES if tree.root]
    known = {"/".join(root.split("/")[:depth]) for root in roots for depth in range(1, root.count("/") + 2)}
    unknown, unlisted = [], []
    for parent in sorted({"", *(root.rpartition("/")[0] for root in roots)}):
        try:
            found = [f"{parent}/{name}".lstrip("/") for name in bucket.folders(parent)]
        except AccessDeniedError as error:
            unlisted.append(_unlisted(parent, error))
            continue
        unknown += [folder for folder in found if folder not in known and not layout.is_subject(folder)]
    return unknown, unlisted


def _unlisted(folder: str, error: AccessDeniedError) -> str:
    return f"`{folder or '/'}`: {type(error).__name__}: {_short(error)}"


def _together(changes: Sequence[Change]) -> Iterator[str]:
    """Yield one line for all changes of a kind in a subject."""
    groups: dict[tuple[str, str, str], list[Change]] = {}
    for change in changes:
        groups.setdefault((change.subject, change.kind, change.change), []).append(change)
    for (subject, kind, change_type), same in groups.items():
        names = in_short([change.name for change in same], most=8)
        yield str(same[0]) if len(same) == 1 else f"{change_type:<8} {subject}: {counted(len(same), kind)} ({names})"


def _open(source: Source, bucket: Bucket, subject: str) -> Opened:
    """Open a source with its default arguments."""
    arguments = {"subject": subject} if source.of_subject else {}
    return _tried(source.name, lambda: _described(source.load()(bucket=bucket, **arguments)))


def _read(bucket: Bucket, subject: str, session: str) -> Opened:
    """Read one session's betas of an ROI category, and report the rate."""

    def read() -> str:
        from intake_laion_fmri.reading.betas import open_betas

        start = time.monotonic()
        betas = open_betas(subject, session=session, roi="all", bucket=bucket).betas.load()
        seconds = time.monotonic() - start
        missing = float(betas.isnull().mean())
        return f"{shaped(betas)} in {seconds:.1f} s, {betas.nbytes / 1e6:.0f} MB of voxels in ROIs, {missing:.2%} NaN"

    return _tried(f"betas, {session} read", read)


def _tried(name: str, action: Callable[[], str]) -> Opened:
    start = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result, detail = "opened", action()
        except _FAILURES as error:
            result = "not there" if isinstance(error, NotInBucketError) else "failed"
            result = "on request" if isinstance(error, AccessDeniedError) else result
            detail = f"{type(error).__name__}: {error}"
    warned = dict.fromkeys(_short(warning.message) for warning in caught)
    return Opened(name, result, round(time.monotonic() - start, 2), _short(detail), tuple(warned))


def _described(opened: Any) -> str:
    """Return the sizes of opened data."""
    import pandas as pd

    if isinstance(opened, pd.DataFrame):
        return f"{len(opened):,} rows, {len(opened.columns)} columns"
    return shaped(opened)


def _short(message: object) -> str:
    text = " ".join(redact.text(message).split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _listed(lines: Sequence[str], without: str) -> Iterator[str]:
    yield from (f"- {line}" for line in lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        yield f"- … and {len(lines) - _MOST_LINES:,} more"
    if not lines:
        yield without


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (columns, ["---"] * len(columns), *rows):
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
