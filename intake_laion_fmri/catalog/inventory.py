"""A bucket's inventory: listed, written, read and compared as one file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from intake_laion_fmri import layout
from intake_laion_fmri.discovery import get_subjects
from intake_laion_fmri.errors import DataIntegrityError, check_option
from intake_laion_fmri.reading.contents import roi_files
from intake_laion_fmri.reading.pages import counted
from intake_laion_fmri.remote.access import Bucket, ObjectInfo

INVENTORY_FILE = "inventory.json"

MAX_INVENTORY_CHARACTERS = 4 * 1024 * 1024
"""Maximum length of an inventory's file; one of five subjects with all ROIs has about 40 kB."""


@dataclass(frozen=True)
class SessionRecord:
    """A session with betas."""

    session: str
    """``"ses-01"``."""
    bytes: int | None = None
    """Size of its betas, if known."""
    held_out: bool = False
    """Whether it is listed but held out by the data set's authors."""

    def __str__(self) -> str:
        return "held out" if self.held_out else "public"


@dataclass(frozen=True)
class RoiRecord:
    """A region of interest of a subject."""

    roi: str
    """Public name."""
    category: str
    """Its category."""
    formats: tuple[str, ...] | None = None
    """Available formats, of `layout.ROI_KINDS`, if known."""
    bytes: int | None = None
    """Total size of its files, if known."""

    def __str__(self) -> str:
        return self.category


@dataclass(frozen=True)
class SubjectRecord:
    """Inventory of one subject."""

    sessions: tuple[SessionRecord, ...]
    """Ascending."""
    rois: tuple[RoiRecord, ...] | None = None
    """Sorted by name; None if the names are unknown."""
    roi_counts: Mapping[str, int] = field(default_factory=dict)
    """From category, or ``"all"``, to the documented number of ROIs."""

    @property
    def public(self) -> list[SessionRecord]:
        """Public sessions."""
        return [session for session in self.sessions if not session.held_out]

    def __str__(self) -> str:
        sessions = counted(len(self.public), "public session")
        if self.rois is not None:
            return f"{sessions} and {counted(len(self.rois), 'ROI')}"
        return f"{sessions}; its {self.roi_counts.get('all', 'many')} ROIs are not known by name"


@dataclass(frozen=True)
class Inventory:
    """Contents of a bucket, from which the catalog's files are generated."""

    source: str
    """Source of the information."""
    subjects: Mapping[str, SubjectRecord]
    """From subject, such as ``"sub-01"``, to its record, ascending."""

    def to_json(self) -> str:
        """Return the inventory's file, one line per session and ROI."""
        subjects = {
            name: {
                **({"roi_counts": dict(subject.roi_counts)} if subject.roi_counts else {}),
                "sessions": [_without_defaults(session) for session in subject.sessions],
                "rois": None if subject.rois is None else [_without_defaults(roi) for roi in subject.rois],
            }
            for name, subject in self.subjects.items()
        }
        return _json({"source": self.source, "subjects": subjects}) + "\n"

    @classmethod
    def from_json(cls, text: str, *, name: str) -> Inventory:
        """Parse an inventory's file.

        Raises
        ------
        DataIntegrityError
            If the text is not an inventory; the message has `name`, that of the file.
        """
        try:
            if len(text) > MAX_INVENTORY_CHARACTERS:
                raise ValueError(f"{len(text)} characters, expected at most {MAX_INVENTORY_CHARACTERS}")
            content = json.loads(text)
            subjects = {}
            for subject, known in content["subjects"].items():
                rois = known["rois"]
                if rois is not None:
                    rois = tuple(_roi_record(**record) for record in rois)
                sessions = tuple(_session_record(**record) for record in known["sessions"])
                counts = {_line(category): _count(count) for category, count in known.get("roi_counts", {}).items()}
                subjects[layout.subject_name(subject)] = SubjectRecord(sessions, rois, counts)
            return cls(_line(content["source"]), subjects)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataIntegrityError(
                f"{name} is not an inventory ({type(error).__name__}: {str(error)[:200]}). Write it again with "
                "`intake-laion-fmri catalog write`."
            ) from error


def _session_record(session: str, bytes: int | None = None, held_out: bool = False) -> SessionRecord:
    if not layout.is_session(_line(session)) or not isinstance(held_out, bool):
        raise ValueError(f"session={session[:200]!r}, held_out={held_out!r}")
    return SessionRecord(session, None if bytes is None else _count(bytes), held_out)


def _roi_record(roi: str, category: str, formats: list[str] | None = None, bytes: int | None = None) -> RoiRecord:
    if formats is not None:
        formats = [check_option("format", name, valid=layout.ROI_KINDS.values()) for name in formats]  # type: ignore[misc]
    return RoiRecord(
        _line(roi),
        _line(category),
        None if formats is None else tuple(formats),
        None if bytes is None else _count(bytes),
    )


def _line(value: object) -> str:
    """Return a printable string, or raise TypeError."""
    if not isinstance(value, str) or not value.isprintable():
        raise TypeError(f"expected a printable string, found {str(value)[:200]!r}")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"expected a number of bytes or ROIs, found {str(value)[:200]}")
    return value


def _without_defaults(record: SessionRecord | RoiRecord) -> dict[str, Any]:
    defaults = {field.name: field.default for field in fields(record)}
    return {name: value for name, value in asdict(record).items() if value != defaults[name]}


def _json(value: object, indent: str = "") -> str:
    """Format JSON, with items on one line if they fit."""
    flat = json.dumps(value)
    if len(indent) + len(flat) <= 116 or not isinstance(value, dict | list):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {_json(part, inner)}" for name, part in value.items()]
        opening, closing = "{}"
    else:
        parts = [_json(part, inner) for part in value]
        opening, closing = "[]"
    return f"{opening}\n" + ",\n".join(inner + part for part in parts) + f"\n{indent}{closing}"


def catalog_folder() -> Path:
    """Return the folder of the catalog that ships with the package.

    It is inside the package in a wheel, and at the top of a checkout.
    """
    package = Path(__file__).parents[1]
    folder = package / "catalogs"
    return folder if folder.is_dir() else package.parent / "catalogs"


def read_inventory(folder: Path) -> Inventory:
    """Read the inventory of a folder with catalog files.

    Raises
    ------
    FileNotFoundError
        If there is none.
    DataIntegrityError
        If it cannot be parsed.
    """
    path = folder / INVENTORY_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataIntegrityError(
            f"{path} is not an inventory ({error}). Write it again with `intake-laion-fmri catalog write`."
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FileNotFoundError(
            f"There is no {path}. Expected a folder written by `intake-laion-fmri catalog write --out FOLDER`."
        ) from error
    return Inventory.from_json(text, name=str(path))


def take_inventory(bucket: Bucket) -> Inventory:
    """List a bucket's current contents.

    Costs two listings, and two per subject. Equal objects give equal inventories, apart from the source. Errors and
    warnings are those of `discovery.get_subjects`.
    """
    return inventory_from_listings(bucket, list_subjects(bucket))


def list_subjects(bucket: Bucket) -> dict[str, dict[str, ObjectInfo]]:
    """List each subject's objects in the main trees; see `take_inventory`."""
    found = {}
    for subject in get_subjects(bucket=bucket, refresh=True):
        objects: dict[str, ObjectInfo] = {}
        for tree in layout.MAIN_TREES:
            objects |= bucket.find(tree.folder(subject))
        if objects:
            found[subject] = objects
    return found


def inventory_from_listings(bucket: Bucket, listings: Mapping[str, Mapping[str, ObjectInfo]]) -> Inventory:
    """Return the inventory of the result of `list_subjects`."""
    found = {subject: SubjectRecord(_sessions(objects), _rois(objects)) for subject, objects in listings.items()}
    return Inventory(f"a listing of {bucket.url}", found)


def _sessions(objects: Mapping[str, ObjectInfo]) -> tuple[SessionRecord, ...]:
    """Return sessions with betas, and held-out sessions with any object."""
    records = {}
    for key, info in objects.items():
        parsed = layout.parse_key(key)
        session = parsed.entities.get("session") if parsed else None
        if session and layout.is_held_out(session):
            records[session] = SessionRecord(session, held_out=True)
        elif session and parsed and parsed.kind == "betas":
            records[session] = SessionRecord(session, info.size)
    return tuple(sorted(records.values(), key=lambda record: layout.session_number(record.session)))


def _rois(objects: Mapping[str, ObjectInfo]) -> tuple[RoiRecord, ...]:
    records = []
    files = roi_files(objects)
    for name, group in itertools.groupby(files, key=lambda file: file.name):
        same = list(group)
        kinds = {file.kind for file in same}
        formats = tuple(text for kind, text in layout.ROI_KINDS.items() if kind in kinds)
        sizes = {(file.kind, file.hemi): file.info.size for file in reversed(same)}  # the first of two spellings wins
        records.append(RoiRecord(name, same[0].category, formats, sum(sizes.values())))
    return tuple(records)
