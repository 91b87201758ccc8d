"""From a selection and a listing to the files that have to be read, and from these files to the axes of a Dataset.

A query is a checked selection. A plan tells which objects it needs before any is read, so that all of them can be
fetched together; what is needed and absent is an error then, what is left out is told in words. Its `read` takes their
content. The plans of ROIs on surfaces are in `roi_plans`.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from intake_laion_fmri import layout
from intake_laion_fmri.axes.rois import (
    RoiMembership,
    RoiNames,
    RoiSelection,
    check_selection,
    operands,
    roi_coordinates,
)
from intake_laion_fmri.axes.trials import not_understood, read_trials, stack_sessions, stimuli_of
from intake_laion_fmri.axes.voxels import MASKS, SESSION_MAPS, SUBJECT_MAPS, VOXEL, VoxelAxis
from intake_laion_fmri.discovery import SubjectContents, odd_sessions, public_sessions, roi_files
from intake_laion_fmri.errors import (
    AccessDeniedError,
    DataIntegrityError,
    NotInBucketError,
    Remarks,
    in_short,
    unknown_value,
)
from intake_laion_fmri.formats.grid import Coordinates, Grid
from intake_laion_fmri.formats.masks import mask_of
from intake_laion_fmri.formats.nifti import Gather, VolumeReader
from intake_laion_fmri.reading.arguments import check_argument, check_sessions
from intake_laion_fmri.reading.blocks import MapBlock, read_map, read_volume
from intake_laion_fmri.reading.roi_files import (
    UNREADABLE,
    RoiFault,
    RoiForm,
    RoiListing,
    form_of,
    in_words,
    raise_if_asked,
)
from intake_laion_fmri.remote.access import Bucket, ObjectInfo
from intake_laion_fmri.splits import OOD, SHARED, SPLITS, SplitSource, has_role, role_mask

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Brain",
    "Fetched",
    "MapPlan",
    "MapQuery",
    "TrialPlan",
    "TrialQuery",
    "VoxelPlan",
    "VoxelQuery",
    "choose_sessions",
    "expect_known",
    "no_rois",
]


# --- trials -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrialQuery:
    """A checked selection of trials."""

    sessions: tuple[str, ...] | None
    """Ascending; None for all."""
    stimuli: str | None
    """One of `trials.STIMULI`, or None for all."""
    split: str | None
    """One of `splits.SPLITS`, or None for all trials."""
    pool: str
    """Pool of the split."""
    role: str
    """Side of the split."""

    @classmethod
    def of(cls, session: object, stimuli: object, split: object, pool: object, role: object) -> TrialQuery:
        """Check what a user gave; ValueError where it cannot be right."""
        given = {"stimuli": stimuli, "split": split, "pool": pool, "role": role}
        checked: dict[str, Any] = {name: check_argument(name, value) for name, value in given.items()}
        for name, value, default in (("role", role, "both"), ("pool", pool, SHARED)):
            if split is None and value != default:
                raise ValueError(f"{name}={value!r} needs a split: add split=, one of {', '.join(SPLITS)}.")
        return cls(check_sessions(session), **checked)

    @property
    def needs_files(self) -> bool:
        """Whether the selection needs split files: ``ood`` follows from the labels."""
        return self.split not in (None, OOD)

    def select(
        self, table: pd.DataFrame, subject: str, source: SplitSource | None, roles: Coordinates | None = None
    ) -> NDArray[np.bool_]:
        """Tell which trials of a table are chosen.

        Parameters
        ----------
        table : pandas.DataFrame
            From `trials.stack_sessions`.
        subject : str
            ``"sub-01"``.
        source : SplitSource or None
            Where split files are; not needed where `roles` are given, or `needs_files` is False.
        roles : dict, optional
            From `splits.split_roles`, of this table; empty where they could not be told.
        """
        chosen = np.ones(len(table), dtype=bool)
        if self.stimuli is not None:
            chosen &= stimuli_of(table, self.stimuli)
        if self.split is not None:
            if roles:
                every = roles["split_role"][1]
                chosen &= has_role(every[int(self.pool != SHARED), SPLITS.index(self.split)], self.role)
            else:
                chosen &= role_mask(table, subject, split=self.split, pool=self.pool, role=self.role, source=source)
        return chosen


@dataclass(frozen=True)
class TrialPlan:
    """What has to be read for the trial axis."""

    sessions: tuple[str, ...]
    """The chosen sessions, ascending."""
    betas: Mapping[str, ObjectInfo]
    """Their betas."""
    tables: Mapping[str, ObjectInfo]
    """Trial tables: of the chosen sessions, and of those before them where repetitions can be counted."""
    counts_repetitions: bool
    """Whether the table of every session from the first to the last chosen one is there."""
    missing: tuple[str, ...]
    """What is left out, in words."""

    @classmethod
    def of(cls, bucket: Bucket, contents: SubjectContents, query: TrialQuery) -> TrialPlan:
        """Find the objects; NotInBucketError where one is absent."""
        with_table = public_sessions(contents.objects, ["trials"])
        known = {*contents.sessions, *with_table}
        sessions = choose_sessions(bucket, contents.subject, query.sessions, contents.sessions, known)
        if not sessions:
            raise bucket.missing(layout.key("betas", subject=contents.subject, session="ses-01"), contents.objects)
        needed = {}
        for session in sessions:
            for kind in ("trials", "betas"):
                info = contents.find(kind, session=session)
                if info is None:
                    key = layout.key(kind, subject=contents.subject, session=session)
                    raise bucket.missing(key, contents.objects)
                needed[kind, session] = info
        betas = {session: needed["betas", session] for session in sessions}
        tables = {session: needed["trials", session] for session in sessions}
        earlier, gap = _earlier_sessions(contents, with_table, last=sessions[-1], chosen=sessions)
        if not gap:
            found = {session: contents.find("trials", session=session) for session in earlier}
            tables = {session: info for session, info in found.items() if info is not None} | tables
        missing = [gap] if gap else []
        if query.sessions is None:
            skipped = sorted(known - set(contents.sessions))
            if skipped:
                missing.append(f"the trials of {in_short(skipped)} (a trial table, but no betas)")
            odd = odd_sessions(contents.subject, contents.objects)
            if odd:
                where = bucket.locate(layout.subject_folder(contents.subject))
                expected = "expected the name ses-<number>, and files of that name"
                missing.append(f"the folders {in_short(list(map(repr, odd)))} of {where} ({expected})")
        return cls(sessions, betas, tables, not gap, tuple(missing))

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> tuple[pd.DataFrame, Remarks]:
        """Return the chosen sessions' rows, with all that follows from labels and order, and what is to be said."""
        tables, gap = [], ""
        for session in sorted(self.tables, key=layout.session_number):
            info = self.tables[session]
            parsed = layout.parse_key(info.key)
            participant = layout.PARTICIPANT_CODES.get(parsed.entities["subject"]) if parsed else None
            name = bucket.locate(info.key)
            try:
                table = read_trials(files[info.key], name=name, session=session, participant=participant)
            except UNREADABLE as error:
                if session in self.sessions:
                    raise
                gap = f"repetition (it is counted from the first session on; {error})"
                continue
            tables.append((layout.session_number(session), table))
        stacked = stack_sessions(tables)
        if gap or not self.counts_repetitions:
            stacked = stacked.drop(columns="repetition")
        chosen = stacked[stacked["session"].isin(self.sessions)]
        return chosen, Remarks((*self.missing, *([gap] if gap else [])), tuple(not_understood(chosen)))


def _earlier_sessions(
    contents: SubjectContents, with_table: Sequence[str], *, last: str, chosen: Sequence[str]
) -> tuple[list[str], str]:
    """Return the public sessions up to the last chosen one, or why repetitions cannot be counted over them."""
    why = "repetition (it is counted from the first session on; {})".format
    until = layout.session_number(last)
    names: dict[int, set[str]] = {}
    for session in with_table:
        names.setdefault(layout.session_number(session), set()).add(session)
    public = [number for number in range(1, until) if number not in layout.HELD_OUT_SESSIONS]
    absent = [f"ses-{number:02d}" for number in public if number not in names]
    if absent:
        return [], why(f"no trial table of {in_short(absent)}")
    earlier: list[str] = []
    for number in sorted(number for number in names if number <= until):
        same = names[number]
        for preferred in (same & set(chosen), same & set(contents.sessions)):
            same = preferred or same
        if len(same) > 1:
            return [], why(f"session {number} has the names {in_short(sorted(same))}")
        earlier += same
    return earlier, ""


class Fetched(dict[str, bytes]):
    """Key → content; a key that could not be read raises why, where it is asked for.

    Only then is it known whether anything that the user asked for needs it.
    """

    def __init__(self, bucket: Bucket, objects: Iterable[ObjectInfo]) -> None:
        self._failures: dict[str, Exception] = {}
        super().__init__(bucket.fetch({info.key: info for info in objects}.values(), self._failures))

    def __missing__(self, key: str) -> bytes:
        raise self._failures.get(key, KeyError(key))


def choose_sessions(
    bucket: Bucket,
    subject: str,
    asked: tuple[str, ...] | None,
    found: Sequence[str],
    known: Iterable[str],
) -> tuple[str, ...]:
    """Return the folders of the sessions that were asked for, or of all that were found.

    Parameters
    ----------
    bucket : Bucket
        Where they are, for errors.
    subject : str
        ``"sub-01"``.
    asked : tuple of str, or None
        Names from `layout.session_name`; the number counts, so that ``ses-01`` is a folder ``ses-001`` too.
    found : sequence of str
        The folders that all stands for, ascending.
    known : iterable of str
        The folders that may be asked for.

    Raises
    ------
    AccessDeniedError
        If a session is held out.
    ValueError
        If there is none of a number.
    DataIntegrityError
        If there are two of a number, which would give two trials one number.
    """
    folders = set(known)
    chosen = []
    for session in found if asked is None else asked:
        if layout.is_held_out(session):
            raise AccessDeniedError(
                f"{session} of {subject} is held out by the data set's authors: its betas and maps are not "
                f"public. Use one of {_span(found)}, or ask {layout.CONTACT}."
            )
        names = layout.same_session(session, found) or layout.same_session(session, folders)
        if not names:
            raise unknown_value("session", session, found, where=f"{subject} in {bucket.url}")
        if len(names) > 1:
            raise DataIntegrityError(
                f"{' and '.join(names)} of {subject} in {bucket.url} are two names of one session. Expected one folder "
                "of each number: rename or remove the other, or choose other sessions with session=."
            )
        chosen += names
    return tuple(chosen)


def _span(sessions: Sequence[str]) -> str:
    return f"{sessions[0]} to {sessions[-1]}" if sessions else "none (the bucket has no public session of this subject)"


# --- voxels -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class VoxelQuery:
    """A checked selection of voxels."""

    roi: RoiSelection | None
    """None for the whole mask."""
    mask: str
    """One of `voxels.MASKS`."""
    min_noise_ceiling: float | None = None
    """Percent; None for no threshold."""
    noise_ceiling: str = "12rep"
    """The map that the threshold reads."""

    @classmethod
    def of(
        cls, roi: object, mask: str, min_noise_ceiling: float | None = None, noise_ceiling: str = "12rep"
    ) -> VoxelQuery:
        """Check what a user gave; ValueError where it cannot be right."""
        check_argument("mask", mask)
        check_argument("noise_ceiling", noise_ceiling)
        percentage: Any = check_argument("min_noise_ceiling", min_noise_ceiling)
        return cls(check_selection(roi), mask, percentage, noise_ceiling)

    @property
    def needs_anatomy(self) -> bool:
        """Whether the mask is in the anatomical tree."""
        return MASKS[self.mask].kind == "brain_mask"

    @property
    def threshold_map(self) -> str | None:
        """The map that the threshold reads, if there is one."""
        return None if self.min_noise_ceiling is None else f"nc_{self.noise_ceiling}"


@dataclass(frozen=True, eq=False)
class Brain:
    """What was read for the voxel axis."""

    axis: VoxelAxis
    """The chosen voxels."""
    maps: Mapping[str, NDArray[Any]]
    """Map → shape (voxel,)."""
    rois: RoiMembership | None
    """Membership of these voxels; None where no ROI was read."""
    faults: tuple[RoiFault, ...] = ()
    """ROIs whose volumes are of no use; nobody has asked for them."""
    remarks: Remarks = field(default_factory=Remarks)
    """What is left out of this, and what was read otherwise than documented."""

    def chosen(self, query: VoxelQuery, *, where: str) -> NDArray[np.intp]:
        """Return the places of the voxels that a query chooses, ascending; `where` says whose they are, for errors."""
        chosen = np.ones(len(self.axis), dtype=bool)
        if query.roi is not None and self.rois is not None:
            chosen = self.rois.select(query.roi, where=where)
        if query.threshold_map is not None:
            # A voxel whose ceiling is NaN is not known to reach the threshold.
            chosen &= self.maps[query.threshold_map] >= query.min_noise_ceiling
        return np.flatnonzero(chosen)

    def take(self, places: NDArray[np.intp]) -> Brain:
        """Return the voxels at some places, shape (voxel,), in that order."""
        return replace(
            self,
            axis=self.axis.select(places),
            maps={name: values[places] for name, values in self.maps.items()},
            rois=self.rois.keep(places) if self.rois else None,
        )

    def only(self, rois: RoiNames) -> Brain:
        """Return the membership in some ROIs alone, all of them known."""
        if self.rois is None:
            return self
        rows = [self.rois.names.index(name) for name in rois.names]
        return replace(self, rois=RoiMembership(rois.names, rois.categories, self.rois.inside[rows]))

    def coordinates(self) -> Coordinates:
        """Return all of it as xarray takes coordinates."""
        coordinates = self.axis.coordinates(layout.SPACE)
        for name, values in self.maps.items():
            coordinates[name] = ((VOXEL,), values, dict(SUBJECT_MAPS[name].attrs))
        return coordinates | (roi_coordinates(self.rois) if self.rois else {})


@dataclass(frozen=True)
class VoxelPlan:
    """What has to be read for the voxel axis."""

    subject: str
    """``"sub-01"``."""
    query: VoxelQuery
    """The selection."""
    mask: ObjectInfo
    """The map that the mask's rule reads."""
    maps: Mapping[str, ObjectInfo]
    """Coordinate → its map."""
    needed: frozenset[str]
    """Those that the user asked for."""
    volumes: tuple[RoiForm, ...]
    """The volumes of ROIs."""
    rois: RoiNames
    """The ROIs along ``roi``."""
    keeps_rows: bool
    """Whether one without a usable volume stays, and has no voxel."""
    faults: tuple[RoiFault, ...]
    """ROIs that are of no use, as the listing tells."""
    missing: tuple[str, ...]
    """What is left out, in words."""

    @classmethod
    def of(
        cls,
        bucket: Bucket,
        contents: SubjectContents,
        query: VoxelQuery,
        *,
        maps: Iterable[str] = tuple(SUBJECT_MAPS),
        needed: Iterable[str] = (),
        volumes: Sequence[RoiForm] | None = None,
        rois: RoiNames | None = None,
    ) -> VoxelPlan:
        """Find the objects.

        Parameters
        ----------
        bucket : Bucket
            Where to read from.
        contents : SubjectContents
            The subject's listing.
        query : VoxelQuery
            The selection.
        maps : iterable of str
            Maps of the subject that become coordinates.
        needed : iterable of str
            Those that must be readable.
        volumes : sequence of RoiForm, optional
            ROIs to read; by default all that have a volume.
        rois : RoiNames, optional
            The ROIs along ``roi``, by default those of `volumes` that can be read.

        Raises
        ------
        NotInBucketError
            If the mask is absent, or what the selection needs.
        ValueError
            If the selection names an unknown ROI.
        """
        kind = MASKS[query.mask].kind
        mask = contents.find(kind)
        if mask is None:
            raise bucket.missing(layout.key(kind, subject=contents.subject), contents.objects)
        listing = RoiListing.of(bucket, contents.rois if volumes is None else ())
        wanted = listing.forms if volumes is None else tuple(volumes)
        names = listing.names if rois is None else rois
        if query.roi is not None:
            if not wanted and not listing.faults:
                raise no_rois(bucket, contents, ["volume"])
            if rois is None:
                expect_known(bucket, contents, query.roi, names, [("volume", "")])
            raise_if_asked(query.roi, names, listing.faults)
        keys = {name: SUBJECT_MAPS[name].key(contents.subject) for name in maps}
        found = {name: contents.objects[key] for name, key in keys.items() if key in contents.objects}
        threshold = query.threshold_map
        if threshold is not None and threshold not in found:
            raise bucket.missing(keys[threshold], contents.objects)
        missing = [f"{name} (no {bucket.locate(key)})" for name, key in keys.items() if name not in found]
        if volumes is None and not contents.rois:
            missing.append(f"in_roi (no {bucket.locate(layout.roi_folder(contents.subject))})")
        return cls(
            contents.subject,
            query,
            mask,
            found,
            frozenset(needed) | ({threshold} if threshold else frozenset()),
            wanted,
            names,
            rois is not None,
            listing.faults,
            tuple(missing),
        )

    @property
    def files(self) -> tuple[ObjectInfo, ...]:
        """Every object to read, each once."""
        infos = [self.mask, *self.maps.values(), *(info for form in self.volumes for info in form.infos)]
        return tuple({info.key: info for info in infos}.values())

    def read(self, bucket: Bucket, files: Mapping[str, bytes]) -> Brain:
        """Return the chosen voxels, and what is known of them; what is of no use and not asked for is left out."""
        mask = VolumeReader(io.BytesIO(files[self.mask.key]), name=bucket.locate(self.mask.key))
        axis = VoxelAxis(mask.header.grid, mask.where(MASKS[self.query.mask]))
        left_out, noted = list(self.missing), list[str]()
        if mask.header.note:
            noted.append(f"{bucket.locate(self.mask.key)}: {mask.header.note}")
        gather = Gather.of(axis.index, axis.grid.shape)
        maps = {}
        for map, info in self.maps.items():
            name = bucket.locate(info.key)
            try:
                file = io.BytesIO(files[info.key])
                maps[map] = read_map(map, file, name=name, grid=axis.grid, gather=gather, note=noted.append)
            except UNREADABLE as error:
                if map in self.needed:
                    raise
                left_out.append(f"{map} ({error})")

        def inside(content: bytes, name: str) -> NDArray[np.bool_]:
            values = read_volume(io.BytesIO(content), name=name, grid=axis.grid, gather=gather, note=noted.append)
            return mask_of(values, name=name, note=noted.append)

        masks, faults = {}, list(self.faults)
        for form in self.volumes:
            try:
                masks[form.name] = form.read(bucket, files, inside, np.array_equal)
            except UNREADABLE as error:
                faults.append(RoiFault(form.name, (form.category,), error))
        raise_if_asked(self.query.roi, self.rois, faults)
        left_out += [str(fault) for fault in faults]
        rois = self._membership(masks, len(axis))
        brain = Brain(axis, maps, rois, tuple(faults), Remarks(tuple(left_out), tuple(noted)))
        return brain.take(brain.chosen(self.query, where=f"{self.subject} in {bucket.url}"))

    def _membership(self, masks: Mapping[str, NDArray[np.bool_]], n_voxels: int) -> RoiMembership | None:
        if not masks and not (self.volumes and self.keeps_rows):
            return None
        pairs = zip(self.rois.names, self.rois.categories, strict=True)
        kept = [(name, category) for name, category in pairs if self.keeps_rows or name in masks]
        none = np.zeros(n_voxels, dtype=bool)
        inside = np.array([masks.get(name, none) for name, _ in kept])
        return RoiMembership(tuple(name for name, _ in kept), tuple(category for _, category in kept), inside)


def no_rois(bucket: Bucket, contents: SubjectContents, formats: Sequence[str]) -> NotInBucketError:
    """Describe a subject of which there is no ROI in any of some formats."""
    folder = layout.roi_folder(contents.subject)
    return NotInBucketError(
        f"{bucket.locate(folder)} holds no ROI {' or '.join(formats)}. If this is a partial copy, fetch that folder; "
        "betas and maps of the whole mask open with roi=None."
    )


def expect_known(
    bucket: Bucket,
    contents: SubjectContents,
    selection: RoiSelection,
    rois: RoiNames,
    asked: Sequence[tuple[str, str]],
) -> None:
    """Raise unless everything that a selection names is among the ROIs of the forms that were asked for."""
    for operand in operands(selection):
        if rois.meant(operand):
            continue
        every = roi_files(bucket.find(layout.roi_folder(contents.subject)))
        names = RoiListing.of(bucket, every).names.meant(operand)
        if not names:
            raise rois.unknown(operand, where=f"{contents.subject} in {bucket.url}")
        others = dict.fromkeys(in_words(*form_of(file)) for file in every if file.name in names)
        raise NotInBucketError(
            f"{operand!r} of {contents.subject} has no {' or '.join(in_words(*form) for form in asked)} in "
            f"{bucket.locate(layout.roi_folder(contents.subject))}. It is there as {', '.join(others)}: choose "
            "this format, or fetch the file."
        )


# --- maps -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MapQuery:
    """A checked selection of maps, of a subject or of its sessions."""

    per_session: bool
    """Whether they are maps of sessions."""
    sessions: tuple[str, ...] | None
    """Ascending; None for all."""
    maps: tuple[str, ...]
    """Their names."""
    named: bool
    """Whether the user named the maps, so that each must be there."""
    grid: str
    """One of `arguments.GRIDS`."""

    @classmethod
    def of(cls, session: object, maps: object, grid: str) -> MapQuery:
        """Check what a user gave; ValueError where it cannot be right."""
        check_argument("grid", grid)
        per_session = session is not None
        names: Any = check_argument("maps", maps)
        here, other = (SESSION_MAPS, SUBJECT_MAPS) if per_session else (SUBJECT_MAPS, SESSION_MAPS)
        for name in names or ():
            if name in other:
                raise ValueError(
                    f"maps={name!r} is a map of the whole subject: leave session= out, or choose {', '.join(here)}."
                    if per_session
                    else f"maps={name!r} is a map of sessions: add session='all', or choose {', '.join(here)}."
                )
        sessions = check_sessions(session) if per_session else None
        return cls(per_session, sessions, names or tuple(here), names is not None, grid)


@dataclass(frozen=True)
class MapPlan:
    """The files of maps, which are read when they are computed."""

    sessions: tuple[str, ...] | None
    """The chosen sessions, ascending; None for maps of the whole subject."""
    files: Mapping[str, tuple[ObjectInfo, ...]]
    """Map → its file, or those of the sessions."""
    missing: tuple[str, ...]
    """What is left out, in words."""

    @classmethod
    def of(cls, bucket: Bucket, contents: SubjectContents, query: MapQuery) -> MapPlan:
        """Find the objects; NotInBucketError where none is there, or one that was named is absent."""
        sessions: tuple[str, ...] | None = None
        slots: Sequence[str | None] = [None]
        if query.per_session:
            found = public_sessions(contents.objects, [spec.kind for spec in SESSION_MAPS.values()])
            sessions = choose_sessions(bucket, contents.subject, query.sessions, found, {*found, *contents.sessions})
            slots = sessions or ["ses-01"]  # where there is none, the first one is missed
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
        """Return what to read of each map, in the order of the sessions."""
        return {name: [MapBlock(bucket, info, grid, name) for info in infos] for name, infos in self.files.items()}
