"""Plans of maps: from a selection to files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intake_laion_fmri.axes.voxels import SESSION_MAPS, SUBJECT_MAPS
from intake_laion_fmri.formats.grid import Grid
from intake_laion_fmri.reading.arguments import check_argument, check_sessions
from intake_laion_fmri.reading.blocks import MapBlock
from intake_laion_fmri.reading.contents import SubjectContents, public_sessions
from intake_laion_fmri.reading.plans.sessions import choose_sessions
from intake_laion_fmri.remote.access import Bucket, ObjectInfo


@dataclass(frozen=True)
class MapQuery:
    """A checked selection of maps of a subject or its sessions."""

    per_session: bool
    """True for maps of sessions."""
    sessions: tuple[str, ...] | None
    """Ascending; None for all."""
    maps: tuple[str, ...]
    """Their names."""
    named: bool
    """True if the user named the maps, so that each must be there."""
    grid: str
    """One of `arguments.GRIDS`."""

    @classmethod
    def from_arguments(cls, session: object, maps: object, grid: str) -> MapQuery:
        """Check the arguments of a user; ValueError if one is wrong."""
        check_argument("grid", grid)
        per_session = session is not None
        names: Any = check_argument("maps", maps)
        here, other = (SESSION_MAPS, SUBJECT_MAPS) if per_session else (SUBJECT_MAPS, SESSION_MAPS)
        for name in names or ():
            if name in other:
                raise ValueError(
                    f"maps={name!r} is a map of the whole subject: omit session=, or choose {', '.join(here)}."
                    if per_session
                    else f"maps={name!r} is a map of sessions: add session='all', or choose {', '.join(here)}."
                )
        sessions = check_sessions(session) if per_session else None
        return cls(per_session, sessions, names or tuple(here), names is not None, grid)


@dataclass(frozen=True)
class MapPlan:
    """Files of maps, read when they are computed."""

    sessions: tuple[str, ...] | None
    """The chosen sessions, ascending; None for maps of the whole subject."""
    files: Mapping[str, tuple[ObjectInfo, ...]]
    """Map → its file, or those of the sessions."""
    missing: tuple[str, ...]
    """Descriptions of files that are left out."""

    @classmethod
    def from_listing(cls, bucket: Bucket, contents: SubjectContents, query: MapQuery) -> MapPlan:
        """Find the objects; NotInBucketError if a named map, or all, are absent."""
        sessions: tuple[str, ...] | None = None
        slots: Sequence[str | None] = [None]
        if query.per_session:
            found = public_sessions(contents.objects, [spec.kind for spec in SESSION_MAPS.values()])
            sessions = choose_sessions(bucket, contents.subject, query.sessions, found, {*found, *contents.sessions})
            slots = sessions or ["ses-01"]  # without sessions, report the first one as missing
        files, missing, absent = {}, [], []
        for name in query.maps:
            spec = (SESSION_MAPS if query.per_session else SUBJECT_MAPS)[name]
            keys = [spec.key(contents.subject, session) for session in slots]
            gaps = [key for key in keys if key not in contents.objects]
            if gaps and query.named:
                raise bucket.missing(gaps[0], contents.objects)
            if not gaps:
                files[name] = tuple(contents.objects[key] for key in keys)
                continue
            absent += gaps
            more = f", nor {len(gaps) - 1} more: choose session= without them" if len(gaps) > 1 else ""
            missing.append(f"{name} (no {bucket.locate(gaps[0])}{more})")
        if not files:
            raise bucket.missing(absent[0], contents.objects)
        return cls(sessions, files, tuple(missing))

    def blocks(self, bucket: Bucket, grid: Grid) -> dict[str, list[MapBlock]]:
        """Return each map's blocks, in the order of sessions."""
        return {name: [MapBlock(bucket, info, grid, name) for info in infos] for name, infos in self.files.items()}
